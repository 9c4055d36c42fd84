"""Corpus and conversations of coda-tiny's recipe, on made-up codes."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts.train_tiny import corpus
from scripts.train_tiny.corpus import Facts, Question
from scripts.train_tiny.dialogue import (
    DISTURBED,
    HEARD_LATEST,
    PAD_WEIGHT,
    READS_ALONG,
    RECALLING,
    Conversation,
    Material,
    Mix,
)
from scripts.train_tiny.encode import Codes
from scripts.train_tiny.lm import Talker, collate, delayed
from scripts.train_tiny.synthesis import UserLine
from scripts.train_tiny.tokenizer import EPAD, PAD

SILENCE = np.arange(8)
WORDS = corpus.Vocabulary(["anna", "ben"], ["tea", "chess"], ["coda"], ["paris"])


class Letters:
    """A tokenizer of letters: enough for laying out a monologue."""

    def encode(self, text):
        return [100 + ord(letter) % 64 for letter in text.replace(" ", "")][:6]


def codes_of(texts, frames=30):
    start = [frames * index for index in range(len(texts) + 1)]
    words = [
        [(word, 3.0 + 4 * k, 7.0 + 4 * k) for k, word in enumerate(text.split())] for text in texts
    ]
    return Codes(torch.full((8, frames * len(texts)), 300, dtype=torch.int16), start, texts, words)


@pytest.fixture
def material():
    lines = [
        UserLine("what is my name", "name", None, "awb"),
        UserLine("i like tea", "remember", "tea", "awb"),
        UserLine("stop", "stop", None, "awb"),
        UserLine("yes", "backchannel", None, "awb"),
    ]
    agent = ["your name is anna", "your name is ben", "i do not know your name"]
    agent += ["i will remember that you like tea", "it rains today"]
    return Material(
        codes_of(agent),
        codes_of([line.text for line in lines], 24),
        codes_of([""], 250),
        codes_of([""], 125),
        lines,
        SILENCE,
        SILENCE + 50,
        Letters(),
    )


def test_answers_follow_the_facts():
    assert corpus.answer(Question("who am i", "name"), Facts(name="anna")) == "your name is anna"
    assert corpus.answer(Question("who am i", "name"), Facts()) == "i do not know your name"
    assert corpus.answer(Question("stop", "stop"), Facts()) == ""
    assert corpus.answer(Question("i like tea", "remember", "tea"), Facts()).endswith("like tea")


def test_held_out_names_are_not_trained_on():
    train, held = corpus.vocabularies()
    assert not {*train.names} & {*held.names}
    assert not {*train.likes} & {*held.likes}
    assert len(set(train.names)) > 600


def test_a_prompt_states_its_facts():
    text = corpus.prompt_text(random.Random(1), Facts("nova", "anna", ("tea",), "paris"))
    assert all(word in text for word in ("nova", "anna", "tea", "paris"))


def test_every_sample_has_its_shape_and_an_untrained_prompt(material):
    for seed in range(30):
        sample = Conversation(random.Random(seed), material, WORDS, Mix(), 160).build()
        assert sample.text.shape == sample.reference.shape == (160,)
        assert sample.agent.shape == sample.user.shape == (8, 160)
        prompt = ~sample.audio
        assert not sample.text_weight[prompt].any()
        assert (sample.agent[:, prompt] == SILENCE[:, None]).all()


def test_the_reading_of_unknown_sentences_trains_only_the_rhythm(material):
    mix = Mix(noise=0, interrupt=0, backchannel=0)
    conversation = Conversation(random.Random(2), material, WORDS, mix, 120)
    conversation.read()
    said = conversation.text[: conversation.now]
    weight = conversation.weight[: conversation.now]
    assert not weight[(said != PAD) & (said != EPAD)].any()
    assert set(np.unique(weight)) <= {0.0, np.float32(PAD_WEIGHT)}


def test_after_an_interruption_the_agent_is_silent(material):
    conversation = Conversation(random.Random(3), material, WORDS, Mix(noise=0), 120)
    conversation.now = conversation.speak("i will remember that you like tea", 0)
    conversation._interrupt(0, conversation.now)
    last = np.flatnonzero((conversation.agent[:, :60] != SILENCE[:, None]).any(0))
    assert last[-1] < 29


def test_the_transcript_of_the_user_comes_a_little_later(material):
    conversation = Conversation(random.Random(4), material, WORDS, Mix(noise=0), 120)
    start, end = conversation._user_speaks(0, 10)
    written = np.flatnonzero(conversation.heard > PAD)
    pieces = sum(len(Letters().encode(word)) for word in material.lines[0].text.split())
    assert len(written) == pieces
    assert start + 6 <= written[0] <= start + 7
    assert written[-1] > end


def test_delays_shift_all_but_the_first_codebooks(material):
    samples = [Conversation(random.Random(s), material, WORDS, Mix(), 60).build() for s in (1, 2)]
    batch = collate(samples, SILENCE)
    initial = torch.full((1, 17, 1), 512)
    moved = delayed(batch.codes, initial, torch.tensor([True, False]))
    assert moved.shape == (2, 17, 61)
    assert (moved[:, 0, 1:] == batch.codes[:, 0]).all()
    assert (moved[:, 2, 2:] == batch.codes[:, 2, :-1]).all()
    assert (moved[0, 2, :2] == 512).all()
    assert (moved[1, 2, 0] == batch.codes[1, 2, 0]).all()


def test_real_words_are_heard_more_often_than_invented_ones():
    items = ["tea" if index < 10 else "zorina" for index in range(100)]
    often = corpus.real_often(items)
    assert set(often) == set(range(100))
    assert 0.75 < sum(index < 10 for index in often) / len(often) < 0.85
    assert corpus.real_often(["zorina"]) == [0]


def test_what_the_transcriber_writes_comes_in_a_frame_later_with_its_mistakes(material):
    mix = Mix(noise=0, read=0, say=0, interrupt=0, backchannel=0, rest=0, long_pause=0, told=0)
    reading, as_said, otherwise = 0, 0, 0
    for seed in range(60):
        sample = Conversation(random.Random(seed), material, WORDS, mix, 200).build()
        frames = np.flatnonzero(sample.written >= 0)
        reading += len(frames) > 0
        if not len(frames):
            continue
        assert (sample.written[frames] > PAD).all()
        after = max(
            (1, 2), key=lambda by: (sample.heard[frames - by] == sample.written[frames]).sum()
        )
        same = sample.heard[frames - after] == sample.written[frames]
        as_said, otherwise = as_said + same.sum(), otherwise + (~same).sum()
    assert abs(reading / 60 - READS_ALONG) < 0.2
    assert 0.01 < otherwise / (as_said + otherwise) < 0.12


def test_what_is_told_goes_before_what_is_written_and_silence_adds_nothing():
    torch.manual_seed(5)
    model = Talker(200)
    told, read = torch.tensor([[-1, 7, -1, 7]]), torch.tensor([[-1, -1, 9, 9]])
    added = model.added(told, read)[0]
    assert not added[0].any()
    assert torch.allclose(added[3], added[1])
    assert torch.allclose(added[1], model.reference_embedding()[7])


def test_answers_with_real_names_and_things_are_read_aloud_too(material):
    assert material.readable == ["i do not know your name", "it rains today"]
    assert material.answers == [
        "i will remember that you like tea", "your name is anna", "your name is ben"
    ]  # fmt: skip
    mix = Mix(noise=0, interrupt=0, backchannel=0)
    read = set()
    for seed in range(20):
        conversation = Conversation(random.Random(seed), material, WORDS, mix, 120)
        conversation.read()
        read.add(tuple(conversation.text[: conversation.now]))
    assert len(read) == 5


HEARD_AS = 777


def asked_and_overheard(material, kind):
    """Of 60 conversations of one kind of question: in how many the real transcript came in."""
    mix = Mix(
        noise=0, read=0, say=0, idle_backchannel=0, interrupt=0, backchannel=0, rest=0,
        long_pause=0, told=0, kinds=(kind,),
    )  # fmt: skip
    really = read = 0
    for seed in range(60):
        written = Conversation(random.Random(seed), material, WORDS, mix, 60).build().written
        really += (written == HEARD_AS).any()
        read += (written >= 0).any()
    return really, read


def test_what_the_transcriber_really_wrote_comes_in_where_it_was_asked(material):
    material.overheard = [np.full(24 + HEARD_LATEST, PAD) for _ in material.lines]
    for tokens in material.overheard:
        tokens[12] = HEARD_AS
    really, read = asked_and_overheard(material, "name")
    assert 0.3 < really / read < 1


def test_a_thing_that_the_transcriber_took_for_another_is_no_lesson(material):
    material.overheard = [np.full(24 + HEARD_LATEST, PAD) for _ in material.lines]
    for tokens in material.overheard:
        tokens[12] = HEARD_AS
    lost, _ = asked_and_overheard(material, "remember")
    pieces = Letters().encode("tea")
    material.overheard[1][13 : 13 + len(pieces)] = pieces
    kept, _ = asked_and_overheard(material, "remember")
    assert lost == 0 < kept


def test_a_thing_that_is_told_is_always_right_in_the_transcript(material):
    mix = Mix(
        noise=0, read=0, say=0, idle_backchannel=0, interrupt=0, backchannel=0, rest=0,
        long_pause=0, told=0, kinds=("remember",),
    )  # fmt: skip
    pieces = Letters().encode("tea")
    for seed in range(60):
        sample = Conversation(random.Random(seed), material, WORDS, mix, 60).build()
        written = sample.written[sample.written >= 0].tolist()
        if len(written) >= len(pieces):
            assert set(pieces) <= set(written)


def test_of_what_sounds_most_names_and_things_are_real():
    words, _ = corpus.vocabularies()
    said = corpus.as_spoken(words, 0.6)
    for items in (said.names, said.likes):
        real = sum(item in {*corpus.NAMES, *corpus.LIKES} for item in items)
        assert 0.5 < real / len(items) < 0.7
    assert {*said.names} == {*words.names}
    assert {*said.likes} == {*words.likes}


def test_in_the_lessons_for_it_the_user_mostly_speaks_while_the_agent_does(material):
    at_once = 0
    for seed in range(60):
        mix = replace(DISTURBED, noise=0.0)
        sample = Conversation(random.Random(seed), material, WORDS, mix, 160).build()
        agent, user = ((side == 300).all(0) for side in (sample.agent, sample.user))
        at_once += (agent & user).any()
    assert at_once > 30


def test_a_sentence_that_begins_as_an_answer_does_is_read_aloud_too(material):
    texts = [*material.agent.texts, "your timer is set"]
    material = replace(material, agent=codes_of(texts))
    assert "your timer is set" in material.readable
    assert material.begun_alike == ["your timer is set"]


def test_what_is_told_is_asked_for_after_something_else(material):
    mix = replace(RECALLING, told=1.0, far=1.0)
    asked = Conversation(random.Random(3), material, WORDS, mix, 160)
    kinds = [asked._kind() for _ in range(60)]
    for at, kind in enumerate(kinds[:50]):
        if kind in ("remember", "introduce"):
            following = kinds[at + 1 : at + 7]
            wanted = "likes" if kind == "remember" else "name"
            until = next(
                (k for k, other in enumerate(following) if other in ("remember", "introduce")), 6
            )
            assert wanted in following[1:until]


def test_without_it_nothing_told_is_asked_for_on_purpose(material):
    asked = Conversation(
        random.Random(3), material, WORDS, replace(RECALLING, told=1.0, far=0.0), 160
    )
    assert {asked._kind() for _ in range(30)} == {"remember", "introduce"}
