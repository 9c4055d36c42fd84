"""Scripts are spoken in the model's rhythm, politely, and end when the user speaks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest

from coda_voice.moshi.script import Manners, ScriptState
from coda_voice.moshi.speaking import Speaker

PAD, EPAD = 3, 0
VOCABULARY: dict[str, list[int]] = {}


def encode(word: str) -> list[int]:
    """Two pieces a word, for words of over three letters; made up as they come."""
    base = 100 + 10 * len(VOCABULARY)
    return VOCABULARY.setdefault(word, [base, base + 1] if len(word) > 3 else [base])


def spell(tokens: Iterable[int]) -> list[str]:
    known = {tuple(pieces): word for word, pieces in VOCABULARY.items()}
    words, run = [], []
    for token in [*tokens, PAD]:
        if token in (PAD, EPAD):
            run = []
            continue
        run.append(token)
        if tuple(run) in known:
            words.append(known[tuple(run)])
            run = []
    return words


def pads(step: int) -> int:
    return PAD


def eager(step: int) -> int:
    """A model that announces a word every third frame."""
    return EPAD if step % 3 == 0 else PAD


@pytest.fixture
def speaker() -> Speaker:
    return Speaker(encode, PAD, EPAD, Manners(longest_pause=4))


def run(
    speaker: Speaker,
    frames: int,
    model: Callable[[int], int] = eager,
    voiced: Callable[[int], bool] = lambda step: False,
) -> list[int]:
    said = []
    for step in range(frames):
        speaker.heard(voiced(step))
        said.append(speaker.choose(model(step)))
    return said


@pytest.mark.parametrize("model", [pads, eager])
def test_every_word_is_said_once_in_order_and_led_by_epad(
    speaker: Speaker, model: Callable[[int], int]
) -> None:
    script = speaker.say("the answer is seven")
    said = run(speaker, 60, model)
    assert spell(said) == ["the", "answer", "is", "seven"]
    assert script.state is ScriptState.DONE
    for word in script.said:
        first = encode(word.text)[0]
        assert said[word.step - 1] == first, "the account says in which step"
        assert said[word.step - 2] == EPAD


def test_the_model_keeps_its_rhythm_up_to_a_longest_pause(speaker: Speaker) -> None:
    speaker.say("one two ten")
    said = run(speaker, 60, pads)
    starts = [i for i, token in enumerate(said) if token not in (PAD, EPAD)]
    assert {b - a for a, b in itertools.pairwise(starts)} == {6}


def test_without_a_script_the_model_says_what_it_wants(speaker: Speaker) -> None:
    assert run(speaker, 5, lambda step: 700 + step) == [700, 701, 702, 703, 704]


def test_it_begins_only_when_the_user_has_been_quiet(speaker: Speaker) -> None:
    speaker.say("hello there")
    said = run(speaker, 40, pads, voiced=lambda step: step < 20)
    first = next(i for i, token in enumerate(said) if token != PAD)
    assert first >= 20 + speaker.manners.quiet_before - 1


def test_it_does_not_cut_the_model_off_in_a_word(speaker: Speaker) -> None:
    speaker.say("hello there")
    own = [900, 901, 902, 903, 904, 905, 906, 907, 908]
    said = run(speaker, 40, lambda step: own[step] if step < len(own) else PAD)
    assert said[: len(own)] == own
    assert spell(said) == ["hello", "there"]


def test_it_begins_where_the_model_would_begin_a_word_of_its_own() -> None:
    speaker = Speaker(encode, PAD, EPAD, Manners(quiet_before=0, patience=3))
    speaker.say("one two")
    own = [900, 901, EPAD, 902, EPAD, 903]  # never two PADs in a row
    said = run(speaker, len(own), lambda step: own[step])
    assert said[:4] == [900, 901, EPAD, encode("one")[0]]


def takes_the_turn(at: int) -> Callable[[int], int]:
    """A model that is silent until ``at``, then says a word of its own."""
    own = [EPAD, 901]
    return lambda step: own[step - at] if at <= step < at + len(own) else PAD


def test_where_the_model_takes_the_turn_the_script_comes_in_place_of_its_first_word(
    speaker: Speaker,
) -> None:
    speaker.say("six", answers=True)
    said = run(speaker, 40, takes_the_turn(23), voiced=lambda step: step < 20)
    spoken = [(step, token) for step, token in enumerate(said) if token != PAD]
    assert spoken == [(23, EPAD), (24, encode("six")[0])], "no sooner, no later, nothing else"


def test_a_script_that_comes_between_the_models_lead_and_its_first_word_takes_its_place(
    speaker: Speaker,
) -> None:
    said = run(speaker, 24, takes_the_turn(23), voiced=lambda step: step < 20)
    assert said == [*[PAD] * 23, EPAD]
    speaker.say("six", answers=True)
    assert run(speaker, 3, lambda step: [901, PAD, PAD][step]) == [encode("six")[0], PAD, PAD]


def test_what_is_no_answer_leaves_the_turn_to_the_model(speaker: Speaker) -> None:
    script = speaker.say("six")
    said = run(speaker, 24, takes_the_turn(22), voiced=lambda step: step < 20)
    assert said[22:] == [EPAD, 901]
    assert script.state is ScriptState.WAITING


@pytest.mark.parametrize("user", [lambda step: step < 24, lambda step: step % 2 == 0])
def test_where_the_model_speaks_up_while_the_user_does_the_script_waits(
    speaker: Speaker, user: Callable[[int], bool]
) -> None:
    script = speaker.say("seven", answers=True)
    said = run(speaker, 30, takes_the_turn(23), voiced=lambda step: step < 28 and user(step))
    assert said[23:25] == [EPAD, 901]
    assert all(word.step > 25 for word in script.said)


def test_between_two_words_of_the_model_a_script_waits_for_the_users_quiet(
    speaker: Speaker,
) -> None:
    script = speaker.say("seven", answers=True)
    own = [EPAD, 900, PAD, PAD, EPAD, 901, PAD, PAD, EPAD, 902]
    said = run(speaker, 24, lambda step: own[step % len(own)], voiced=lambda step: step < 20)
    assert said == [own[step % len(own)] for step in range(24)]
    assert script.state is ScriptState.WAITING


def test_the_user_speaking_over_it_drops_the_rest_within_four_frames(speaker: Speaker) -> None:
    script = speaker.say("one two three four five six seven eight nine ten")
    run(speaker, 24)
    before = [word.text for word in script.said]
    assert 1 <= len(before) < 10
    said = run(speaker, 20, voiced=lambda step: True)
    assert script.state is ScriptState.INTERRUPTED
    assert script.words_left == 0
    later = [word.text for word in script.said[len(before) :]]
    assert len(later) <= 1, "at most the word that had begun"
    assert said[4 : 4 + 5] == [PAD] * 5


def test_a_backchannel_is_no_interruption(speaker: Speaker) -> None:
    script = speaker.say("one two three")
    run(speaker, 15)
    run(speaker, 60, voiced=lambda step: step < 3)
    assert script.state is ScriptState.DONE


def test_one_that_comes_too_late_is_not_begun(speaker: Speaker) -> None:
    script = speaker.say("old news")
    run(speaker, 120, voiced=lambda step: True)
    said = run(speaker, 40)
    assert script.state is ScriptState.STALE
    assert spell(said) == []


def test_a_newer_one_replaces_one_that_has_not_begun(speaker: Speaker) -> None:
    old = speaker.say("it will rain")
    new = speaker.say("it will snow")
    said = run(speaker, 60)
    assert old.state is ScriptState.REPLACED and new.state is ScriptState.DONE
    assert spell(said) == ["it", "will", "snow"]
    assert not speaker.append(old, "tomorrow")


def test_it_speaks_while_the_rest_is_still_being_written(speaker: Speaker) -> None:
    script = speaker.say("first part", complete=False)
    said = run(speaker, 40)
    assert spell(said) == ["first", "part"]
    assert script.state is ScriptState.SPEAKING
    speaker.append(script, "second part", complete=True)
    assert spell(run(speaker, 40)) == ["second", "part"]
    assert script.state is ScriptState.DONE


def test_a_word_once_begun_is_finished_when_the_script_is_cancelled(speaker: Speaker) -> None:
    speaker.say("wonderful things")
    for _ in range(30):
        if run(speaker, 1, pads) == [encode("wonderful")[0]]:
            break
    speaker.cancel()
    assert run(speaker, 1, pads) == [encode("wonderful")[1]]


class Switch:
    """What the speaker does to the sound."""

    def __init__(self) -> None:
        self.muted = False

    def __call__(self, muted: bool) -> None:
        self.muted = muted


def test_a_model_that_will_not_pause_is_made_to() -> None:
    speaker = Speaker(encode, PAD, EPAD, Manners(patience=3))
    script = speaker.say("one two")
    said = run(speaker, 60, lambda step: 700 + step)
    begun = next(i for i, token in enumerate(said) if token == encode("one")[0])
    assert begun <= speaker.manners.quiet_before + 3 + 4
    assert said[begun - 3 : begun] == [PAD, PAD, EPAD]
    assert script.state is ScriptState.DONE


def test_an_interruption_mutes_until_the_user_is_done() -> None:
    sound = Switch()
    speaker = Speaker(encode, PAD, EPAD, mute=sound)
    script = speaker.say("one two three four five six seven eight")
    run(speaker, 24)
    assert not sound.muted
    run(speaker, 4, voiced=lambda step: True)
    assert script.state is ScriptState.INTERRUPTED and sound.muted
    run(speaker, 10, voiced=lambda step: True)
    assert sound.muted, "the user still speaks"
    run(speaker, 12)
    assert not sound.muted


def test_of_an_interrupted_script_only_what_sounded_was_heard(speaker: Speaker) -> None:
    script = speaker.say("one two three four five six seven eight nine ten")
    run(speaker, 30)
    run(speaker, 5, voiced=lambda step: True)
    forced = [word.text for word in script.said]
    assert script.heard() == forced[: len(script.heard())]
    assert len(forced) - 1 <= len(script.heard()) <= len(forced)
    assert script.ended_step is not None
    assert all(w.step + 3 <= script.ended_step for w in script.said[: len(script.heard())])


def test_only_scripts_are_heard_where_that_is_wanted() -> None:
    sound = Switch()
    speaker = Speaker(encode, PAD, EPAD, Manners(tail_pads=4), mute=sound)
    speaker.only_scripts(True)
    assert sound.muted
    run(speaker, 10)
    script = speaker.say("seven")
    heard = []
    for _ in range(30):
        run(speaker, 1, lambda step: 900)
        heard.append(not sound.muted)
    assert script.state is ScriptState.DONE
    assert any(heard) and not heard[-1]
    # From the EPAD that leads the word in to the last PAD of the tail.
    assert 2 + 4 <= sum(heard) <= 2 + 4 + 2
    speaker.only_scripts(False)
    assert not sound.muted


def test_the_last_word_has_time_to_sound() -> None:
    speaker = Speaker(encode, PAD, EPAD, Manners(tail_pads=4))
    speaker.say("seven")
    said = run(speaker, 40, lambda step: PAD if step < 20 else 900)
    last = max(i for i, token in enumerate(said) if token in encode("seven"))
    assert said[last + 1 : last + 5] == [PAD] * 4


def test_some_checkpoints_need_every_word_led_in() -> None:
    speaker = Speaker(encode, PAD, EPAD, Manners(lead_every_word=True))
    speaker.say("one two three")
    said = run(speaker, 60, lambda step: PAD if step < 10 else 900)
    for word in ("one", "two", "three"):
        assert said[said.index(encode(word)[0]) - 1] == EPAD


def test_hush_ends_a_script_and_the_models_own_words() -> None:
    sound = Switch()
    speaker = Speaker(encode, PAD, EPAD, mute=sound)
    script = speaker.say("one two three four")
    run(speaker, 16)
    speaker.hush()
    assert script.state is ScriptState.CANCELLED and sound.muted
    assert run(speaker, 4, lambda step: 900) == [PAD] * 4


def test_a_script_that_follows_a_hush_begins_when_it_can_be_heard() -> None:
    sound = Switch()
    speaker = Speaker(encode, PAD, EPAD, mute=sound)
    speaker.say("one two three four")
    run(speaker, 16)
    speaker.hush()
    script = speaker.say("well then")
    for step in range(20):  # the engine is behind: these frames of the user's came before
        speaker.choose(eager(step))
        assert not (script.said and sound.muted)
    run(speaker, 20)
    assert [word.text for word in script.said] == ["well", "then"] and not sound.muted


@pytest.mark.parametrize(("later", "heard"), [(0, ["one"]), (4, ["one", "two"])])
def test_the_last_word_counts_if_it_had_time_to_sound(later: int, heard: list[str]) -> None:
    speaker = Speaker(encode, PAD, EPAD)
    script = speaker.say("one two")
    while script.state is not ScriptState.DONE:
        run(speaker, 1)
    run(speaker, later)
    speaker.hush()
    assert script.heard() == heard


def lead(step: int) -> int:
    """A model that has been silent and says a word of its own from frame 12 on."""
    if step < 12:
        return PAD
    return EPAD if step % 2 == 0 else 900


def takes_the_turn_when_let(speaker: Speaker, frames: int) -> list[int]:
    """A model that wants to begin in frame 12, and still wants to as long as it is not let."""
    said: list[int] = []
    for step in range(frames):
        speaker.heard(False)
        begun = EPAD in said
        said.append(speaker.choose(PAD if step < 12 else 900 if begun else EPAD))
    return said


def test_the_models_lead_waits_for_an_answer_that_is_due(speaker: Speaker) -> None:
    run(speaker, 12, pads)
    speaker.expect_answer(True)
    speaker.heard(False)
    assert speaker.choose(EPAD) == PAD, "one frame later there is the answer"
    script = speaker.say("seven", answers=True)
    said = run(speaker, 8, lambda step: EPAD if step == 0 else PAD)
    assert spell(said) == ["seven"]
    assert said[:2] == [EPAD, encode("seven")[0]], "in place of the word that was held back"
    assert script.state is ScriptState.DONE


def test_the_lead_does_not_wait_for_ever(speaker: Speaker) -> None:
    speaker.expect_answer(True)
    said = takes_the_turn_when_let(speaker, 30)
    assert said.index(EPAD) == 12 + speaker.manners.hold_back
    assert said[said.index(EPAD) + 1] == 900


def test_the_lead_waits_for_no_answer_that_is_far(speaker: Speaker) -> None:
    assert takes_the_turn_when_let(speaker, 30).index(EPAD) == 12


def test_a_lead_that_has_begun_goes_on(speaker: Speaker) -> None:
    run(speaker, 13, lead)
    speaker.expect_answer(True)
    speaker.heard(False)
    assert speaker.choose(900) == 900
