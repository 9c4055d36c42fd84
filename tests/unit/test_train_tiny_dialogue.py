"""Corpus and conversations of coda-tiny's recipe, on made-up codes."""

import random

import numpy as np
import pytest
import torch

from scripts.train_tiny import corpus
from scripts.train_tiny.corpus import Facts, Question
from scripts.train_tiny.dialogue import PAD_WEIGHT, Conversation, Material, Mix
from scripts.train_tiny.ears import HEARS_AT, listening
from scripts.train_tiny.encode import Codes
from scripts.train_tiny.fast import FastForward
from scripts.train_tiny.lm import Talker, collate, delayed, listen_loss
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


def test_a_lesson_in_listening_teaches_the_layers_that_hear_and_no_others(material):
    torch.manual_seed(5)
    model = Talker(200)
    fast = FastForward(model.lm, False, torch.float32)
    batch = collate([listening(random.Random(s), material, 90) for s in (1, 2)], SILENCE)
    assert (batch.heard > PAD).any() and not batch.text_weight.any() and not batch.trained.any()
    for alone in (True, False):
        model.zero_grad()
        loss, right = listen_loss(model, fast, batch, alone)
        loss.backward()
        assert 0 <= right <= 1 and model.hearing.weight.grad.abs().sum() > 0
        moved = [layer.gating.linear_in.weight.grad is not None
                 for layer in model.lm.transformer.layers]  # fmt: skip
        assert moved == [not alone and at < HEARS_AT for at in range(len(moved))]


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
