"""Scripts read by a synthesizer in Moshi's place: sound, account of words, manners, fallback.

The checkpoint is a miniature with random weights: what is heard is noise, everything else
(files, process, timing, words) is real.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moshi.utils.compile import no_compile
from safetensors.torch import load_file, save_file

from coda_voice import VoiceManager
from coda_voice.errors import ConfigurationError, ModelLoadingError
from coda_voice.events import ScriptEnded, ScriptStarted, VoiceFellBack, WordSpoken
from coda_voice.heard import Heard
from coda_voice.hybrid.attendant import HybridAttendant
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SECONDS
from coda_voice.moshi.synthesis import Synthesis
from coda_voice.moshi.synthesizer import AHEAD_FRAMES, Synthesizer, SynthesizerOptions
from coda_voice.moshi.tts import choose_tts, open_tts
from coda_voice.moshi.voice_over import LATE_FRAMES, VoiceOver
from coda_voice.scripted_voice import ScriptedVoice
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.tts_checkpoint import CODEBOOKS, SUFFIX, write_tts_checkpoint

TEXT = "Hello there, it is 3:30 ( now ) ."
SAID = "the answer is seven"
LONG = "one two three four five six seven eight nine ten eleven twelve"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small models on a busy machine: torch's threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tts_checkpoint(tmp_path_factory.mktemp("tts") / "noise")


@pytest.fixture(scope="module")
def synthesizer(checkpoint: Path) -> Iterator[Synthesizer]:
    made = Synthesizer(choose_tts(checkpoint, None), SynthesizerOptions(rows=2))
    made.start()
    yield made
    made.close()


async def until(done: Callable[[], object]) -> None:
    """Wait for another process; the test's own time limit ends it."""
    while True:
        if done():
            return
        await asyncio.sleep(0.005)


# ---- the model -------------------------------------------------------------------------


def read_aloud(synthesis: Synthesis, row: int, text: str) -> tuple[list[np.ndarray], list[int]]:
    assert synthesis.begin(row, text.split())
    sound, said = [], []
    while synthesis.busy(row):
        for frame in synthesis.step([row]).values():
            if frame.pcm is not None:
                sound.append(frame.pcm)
                said.append(frame.said)
    return sound, said


def test_it_sounds_exactly_as_the_package_makes_it(checkpoint: Path):
    choice = choose_tts(checkpoint, None)
    model, _ = open_tts(choice, "cpu")
    torch.manual_seed(3)
    with no_compile():
        (theirs,) = model.simple_generate(TEXT, str(choice.speaker), show_progress=False)
    model, voice = open_tts(choice, "cpu")
    synthesis = Synthesis(model, voice, rows=1)
    torch.manual_seed(3)
    sound, said = read_aloud(synthesis, 0, TEXT)
    np.testing.assert_array_equal(np.concatenate(sound), theirs.numpy())
    assert said == sorted(said), "words begin in order"
    assert said[-1] == len(TEXT.split()), "also those that make no sound, in the end"
    # 3:30 is two words to the package, and a lone bracket none: the count is ours all the same.
    assert {1, 2, 3, 4, 5, 7} <= set(said)


def test_a_sentence_sounds_the_same_alone_and_beside_another(checkpoint: Path):
    def greedy() -> Synthesis:
        model, voice = open_tts(choose_tts(checkpoint, None), "cpu")
        model.temp = 0.0
        return Synthesis(model, voice, rows=2)

    alone, _ = read_aloud(greedy(), 0, SAID)
    both = greedy()
    assert both.begin(1, ["something", "else", "is", "being", "read", "meanwhile"])
    for _ in range(7):
        both.step([1])
    assert both.begin(0, SAID.split())
    beside = []
    while both.busy(0):
        sounds = both.step([0, 1] if both.busy(1) else [0])
        if sounds[0].pcm is not None:
            beside.append(sounds[0].pcm)
    np.testing.assert_allclose(np.concatenate(beside), np.concatenate(alone), atol=1e-4)


# ---- the process -----------------------------------------------------------------------


async def test_a_process_reads_ahead_so_far_and_no_further(synthesizer: Synthesizer):
    utterance = synthesizer.begin()
    utterance.add(LONG.split())
    await until(lambda: utterance.waiting == AHEAD_FRAMES)
    other = synthesizer.begin()  # while the first waits, there is time for another
    other.add(["hello"])
    await until(lambda: not other.pending)
    assert utterance.waiting == AHEAD_FRAMES
    taken = 0
    while utterance.pending or utterance.waiting:
        taken += utterance.take() is not None
        await asyncio.sleep(0.002)  # the process wants the processor, too
    assert taken > AHEAD_FRAMES
    for each in (utterance, other):
        each.drop()


async def test_what_is_dropped_gives_its_place_to_others(synthesizer: Synthesizer):
    rows = synthesizer.options.rows
    blocked = [synthesizer.begin() for _ in range(rows + 1)]
    for utterance in blocked:
        utterance.add(LONG.split())
    await until(lambda: all(u.waiting == AHEAD_FRAMES for u in blocked[:rows]))
    assert not blocked[-1].waiting, "all places are taken"
    blocked[0].drop()
    await until(lambda: blocked[-1].waiting)
    assert blocked[0].take() is None
    for utterance in blocked[1:]:
        utterance.drop()


def kill(synthesizer: Synthesizer, how: int = signal.SIGKILL) -> None:
    assert synthesizer._process is not None
    os.kill(synthesizer._process.pid, how)


def test_weights_that_do_not_fit_are_named(checkpoint: Path, tmp_path: Path):
    broken = write_tts_checkpoint(tmp_path / "broken")
    weights = next(broken.glob("tts_*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    synthesizer = Synthesizer(choose_tts(broken, None))
    with pytest.raises(ModelLoadingError, match=weights.name.replace("@", ".")):
        synthesizer.start()
    synthesizer.close()


def test_a_voice_of_another_checkpoint_is_refused(checkpoint: Path, tmp_path: Path):
    file = tmp_path / f"other{SUFFIX}"
    save_file({"speaker_wavs": torch.zeros(1, 7, 5)}, file)
    with pytest.raises(ModelLoadingError, match="7 dimensions, the checkpoint takes 24"):
        open_tts(choose_tts(checkpoint, str(file)), "cpu")
    sample = load_file(next((checkpoint / "voices").rglob(f"bert*{SUFFIX}")))
    save_file({"voice": sample["speaker_wavs"]}, file)
    with pytest.raises(ModelLoadingError, match="other"):
        open_tts(choose_tts(checkpoint, str(file)), "cpu")


# ---- settings --------------------------------------------------------------------------


def test_voices_are_found_by_name_and_by_file(checkpoint: Path):
    anna = choose_tts(checkpoint, None).speaker
    bert = choose_tts(checkpoint, "studio/bert.wav").speaker
    assert (anna.name, bert.name) == (f"anna.wav{SUFFIX}", f"bert.wav{SUFFIX}")
    assert choose_tts(checkpoint, str(bert)).speaker == bert


@pytest.mark.parametrize(
    ("speaking", "error", "says"),
    [
        ({"voice": "kyutai/tts-1.6"}, ModelLoadingError, "did you mean 'kyutai/tts-1.6b-en_fr'"),
        (
            {"voice": "kyutai/tts-1.6b-en_fr"},
            ModelLoadingError,
            "coda-voice download kyutai/tts-1.6b-en_fr",
        ),
        ({"voice": "coda-tiny"}, ConfigurationError, "does not read text aloud"),
        ({"speaker": "anna"}, ConfigurationError, "scripts are said by Moshi"),
        ({"voice": "{}", "speaker": "carl"}, ConfigurationError, r"it has: studio/anna.wav, studi"),
        ({"voice": "{}", "speaker": "{}/mimi.json"}, ConfigurationError, "not a recording"),
        ({"voice": "{}", "codebooks": 5}, ModelLoadingError, f"has {CODEBOOKS}; choose at most"),
        ({"voice": "{}", "device": "tpu"}, ConfigurationError, "speaking.device"),
        ({"voise": "moshi"}, ConfigurationError, "did you mean 'speaking.voice'"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_starts(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    speaking: dict[str, Any],
    error: type[Exception],
    says: str,
):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("coda_voice.hardware.hub_cache", lambda: tmp_path)
    filled = {k: v.format(checkpoint) if isinstance(v, str) else v for k, v in speaking.items()}
    with pytest.raises(error, match=says):
        async with VoiceManager({"speaking": filled}):
            pass


async def test_a_server_elsewhere_has_a_voice_of_its_own(checkpoint: Path):
    config = {
        "moshi": {"device": "cloud"},
        "endpoint": "ws://localhost:1",
        "speaking": {"voice": str(checkpoint)},
    }
    with pytest.raises(ConfigurationError, match="the other server's affair"):
        await VoiceManager(config).initialize()


def test_a_synthesizer_cannot_converse(checkpoint: Path):
    from coda_voice.moshi.checkpoint import load_models

    with pytest.raises(ModelLoadingError, match="reads text aloud and cannot converse"):
        load_models(checkpoint, "cpu")
    with pytest.raises(ModelLoadingError, match="is no transcriber"):
        load_models("coda-tiny", "cpu", transcriber=checkpoint)


# ---- a conversation --------------------------------------------------------------------


class Reading:
    """A conversation whose scripts are read; frames wait for the process, so that a busy
    machine does not make it slow.
    """

    def __init__(self, manager: VoiceManager, talk: HybridTalk) -> None:
        self.manager, self.talk = manager, talk
        attendants = talk.conversation.attendants
        self.voice = next(a for a in attendants if isinstance(a, ScriptedVoice))
        assert isinstance(self.voice.speaker, VoiceOver)
        self.speaker: VoiceOver = self.voice.speaker
        talk.pace = self.pace

    async def pace(self) -> None:
        utterance = self.speaker._utterance
        if utterance is not None:
            await until(lambda: utterance.waiting > 3 or not utterance.pending or utterance.failure)

    @property
    def synthesizer(self) -> Synthesizer:
        return self.speaker._synthesizer

    @property
    def read(self) -> list[Heard]:
        """The frames in which the other voice was heard."""
        return [heard for heard in self.talk.heard if heard.frame.other_voice]

    def ended(self) -> list[ScriptEnded]:
        return self.talk.of(ScriptEnded)


@pytest.fixture
async def reading(engine: Engine, synthesizer: Synthesizer) -> AsyncIterator[Reading]:
    config = {"moshi": {"seed": 1}}
    async with VoiceManager(config, engine=engine, synthesizer=synthesizer) as manager:
        yield Reading(manager, await HybridTalk.begin(manager))


async def test_a_script_is_read_in_moshis_place_and_every_word_is_told(reading: Reading):
    await reading.talk.silence(4)
    reading.manager.say(reading.talk.conversation.id, SAID)
    await reading.talk.until(reading.ended)
    await reading.talk.silence(8)
    (ended,), (started,) = reading.ended(), reading.talk.of(ScriptStarted)
    assert (ended.outcome, ended.heard, ended.unsaid) == ("done", SAID, 0)
    frames = [heard.frame for heard in reading.read]
    numbers = [frame.frame for frame in frames]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "in one piece"
    assert started.time == pytest.approx(frames[0].time)
    assert all(frame.text_token in (None, 3) for frame in frames[1:]), "Moshi is kept to PADs"
    # The words are events of the agent like any other, at the times at which they sounded.
    words = [w for w in reading.talk.of(WordSpoken) if w.speaker == "agent"]
    inside = [w for w in words if frames[0].time <= w.start <= frames[-1].time]
    assert [w.text for w in inside] == SAID.split()
    assert [w.start for w in inside] == sorted(w.start for w in inside)
    assert inside[-1].end <= frames[-1].time + 2 * FRAME_SECONDS
    loud = [heard for heard in reading.read if heard.agent_speaking]
    assert len(loud) > len(frames) / 2, "whoever derives turns hears it speak"


async def test_sentences_are_read_while_the_rest_is_written(reading: Reading):
    spoken = reading.voice.say("first this comes.", complete=False)
    await reading.talk.until(lambda: len(spoken.script.said) == 3)
    await reading.talk.silence(30)
    assert reading.speaker.speaking, "the writer is slower than the voice, and it waits"
    assert reading.read[-1].level < -100, "silently, and without Moshi"
    assert reading.voice.append(spoken, "then that.")
    reading.voice.finish(spoken)
    await reading.talk.until(reading.ended)
    assert reading.ended()[0].heard == "first this comes. then that."
    assert not reading.talk.of(VoiceFellBack)


async def test_an_llms_answer_is_read_and_nothing_else_is_heard(
    engine: Engine, synthesizer: Synthesizer
):
    config = {
        "mode": "hybrid",
        "external_llm": {"provider": "offline"},
        "hybrid": {"voice": "llm_only"},
        "moshi": {"seed": 1},
    }
    async with VoiceManager(config, engine=engine, synthesizer=synthesizer) as manager:
        reading = Reading(manager, await HybridTalk.begin(manager))
        await reading.talk.silence(4)
        manager.send_text(reading.talk.conversation.id, "what is three plus four")
        await reading.talk.until(reading.ended)
        await reading.talk.silence(4)
        (ended,) = reading.ended()
        assert (ended.origin, ended.outcome, ended.unsaid) == ("answer", "done", 0)
        assert "seven" in ended.heard
        own = [h.frame.pcm for h in reading.talk.heard if not h.frame.other_voice]
        assert max(np.abs(pcm).max() for pcm in own) == 0.0
        attendants = reading.talk.conversation.attendants
        hybrid = next(a for a in attendants if isinstance(a, HybridAttendant))
        assert ended.heard in str(hybrid.history.before(99)), "so the LLM will know of it"


async def test_an_interruption_ends_it_with_the_fourth_voiced_frame(
    reading: Reading, spoken: Spoken
):
    script = reading.voice.say(LONG).script
    await reading.talk.until(lambda: len(script.said) >= 4)
    began = len(reading.talk.heard)
    await reading.talk.say(spoken.pcm("hello"))
    voiced = [h.frame.voiced for h in reading.talk.heard[began:]]
    fourth = began + [i for i, v in enumerate(voiced) if v][3]
    assert not any(h.frame.other_voice for h in reading.talk.heard[fourth:])
    silent = [np.abs(h.frame.pcm).max() for h in reading.talk.heard[fourth : fourth + 4]]
    assert max(silent) == 0.0, "and Moshi does not step in"
    (ended,) = reading.ended()
    assert ended.outcome == "interrupted"
    assert 0 < len(ended.heard.split()) <= len(script.said)
    assert LONG.startswith(ended.heard)
    # What was heard of it is what had sounded for three frames, to the word.
    heard = [w.text for w in reading.talk.of(WordSpoken) if w.speaker == "agent"]
    assert " ".join(heard).endswith(ended.heard)
    assert reading.speaker._utterance is None, "the rest is not even made"


async def test_who_is_too_slow_leaves_the_rest_to_moshi(reading: Reading):
    script = reading.voice.say(f"{SAID} {SAID}").script
    await reading.talk.until(lambda: len(script.said) >= 2)
    kill(reading.synthesizer, signal.SIGSTOP)
    reading.talk.pace = None
    try:
        await reading.talk.until(lambda: reading.talk.of(VoiceFellBack))
        (told,) = reading.talk.of(VoiceFellBack)
        assert told.reason == "slow"
        assert "s late" in told.detail
        waited = [h for h in reading.read if h.level < -100]
        assert len(waited) <= LATE_FRAMES
        read = len(reading.read)
        await reading.talk.until(reading.ended)
    finally:
        kill(reading.synthesizer, signal.SIGCONT)
    assert len(reading.read) == read, "from there on it is Moshi"
    assert reading.ended()[0].heard == f"{SAID} {SAID}", "and not a word is lost"
    # The next one is tried again.
    reading.talk.pace = reading.pace
    reading.voice.say("hello")
    await reading.talk.until(lambda: len(reading.ended()) == 2)
    assert len(reading.read) > read


async def test_who_stays_too_slow_is_told_of_once_and_again_after_a_script_that_was_read(
    reading: Reading,
):
    async def say(*, stopped: bool) -> int:
        """Have a sentence said; gives how often the user was told until its end."""
        reading.talk.pace = None if stopped else reading.pace
        over = len(reading.ended()) + 1
        if stopped:
            kill(reading.synthesizer, signal.SIGSTOP)
        try:
            reading.voice.say(SAID)
            await reading.talk.until(lambda: len(reading.ended()) == over)
        finally:
            kill(reading.synthesizer, signal.SIGCONT)
        assert reading.ended()[-1].heard == SAID, "in the one voice or the other"
        return len(reading.talk.of(VoiceFellBack))

    assert [await say(stopped=True), await say(stopped=True)] == [1, 1]
    assert await say(stopped=False) == 1
    assert [await say(stopped=True), await say(stopped=True)] == [2, 2]


async def test_from_the_configuration_to_a_process_that_dies_and_costs_only_its_voice(
    engine: Engine, checkpoint: Path
):
    config = {
        "speaking": {"voice": str(checkpoint), "speaker": "studio/bert.wav"},
        "hybrid": {"greeting": "good morning"},
        "moshi": {"device": "cpu", "slots": 1, "seed": 1},
    }
    async with VoiceManager(config, engine=engine) as manager:
        reading = Reading(manager, await HybridTalk.begin(manager))
        await reading.talk.until(reading.ended)
        assert (reading.ended()[0].origin, reading.ended()[0].heard) == ("greeting", "good morning")
        assert reading.read
        script = reading.voice.say(f"{SAID} {SAID}").script
        await reading.talk.until(lambda: len(script.said) >= 2)
        kill(reading.synthesizer)
        await until(lambda: reading.synthesizer.failure)
        await reading.talk.until(lambda: len(reading.ended()) == 2)
        reading.voice.say("hello again")
        await reading.talk.until(lambda: len(reading.ended()) == 3)
        assert [e.heard for e in reading.ended()[1:]] == [f"{SAID} {SAID}", "hello again"]
        (told,) = reading.talk.of(VoiceFellBack)
        assert (told.reason, told.voice) == ("failed", str(checkpoint))
        assert "status -9" in told.detail
        assert "ended with status -9" in str(reading.synthesizer.failure)
        utterance = reading.synthesizer.begin()
        utterance.add(["hello"])
        assert utterance.failure
    for _ in range(2):
        reading.synthesizer.close()
