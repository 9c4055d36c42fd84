"""What users say is written down, in the same ticks, while the agent goes on undisturbed.

How well coda-tiny understands is for its evaluation to say: here it is when and for whom
words come, and that nothing else changes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
import torch
from moshi.models import LMModel, loaders
from safetensors.torch import save_file

from coda_voice.audio.ingest import Ingest, IngestFrame
from coda_voice.errors import ModelLoadingError
from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FRAME_SAMPLES, FrameOut, Pcm, Sampling, Word
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.transcriber import Transcriber, Written
from coda_voice.moshi.transcript import UserTranscript
from coda_voice.moshi.user_words import TranscriptFormat, UserWords
from tests.conftest import Spoken
from tests.integration.speech import Talk, silence
from tests.integration.speech import spoken as frames_of

NAMES = ["hello", "what_is_your_name", "weather", "thank_you", "goodbye", "agent_answer"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    options = EngineOptions(slots=2, threads=1, inbox_frames=400, outbox_frames=400)
    with Engine(load_models("coda-tiny", "cpu"), options) as running:
        yield running


class Listened(Talk):
    """A conversation that is written down; its frames may come with the detector's word."""

    def __init__(self, engine: Engine, transcribe: bool = True, **lease: object) -> None:
        super().__init__(engine, transcribe=transcribe, **lease)

    def hear(self, pcm: Pcm) -> list[FrameOut]:
        return self.feed_voiced(Ingest().push(pcm.astype(np.float32)))

    def feed_voiced(self, frames: list[IngestFrame]) -> list[FrameOut]:
        before = len(self.out)
        for frame in frames:
            assert self.slot.push(frame.pcm, voiced=frame.speech)
        while len(self.out) < before + len(frames):
            self._wait()
        return self.out[before:]


def with_silence(pcm: Pcm, seconds: float = 0.5) -> Pcm:
    return np.pad(pcm, (0, int(24_000 * seconds)))


def user_words(frames: list[FrameOut]) -> list[Word]:
    return [word for frame in frames for word in frame.user_words]


# -- words and their times -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_words_come_in_order_at_the_times_they_were_said(
    engine: Engine, spoken: Spoken, name: str
) -> None:
    talk, transcript = Listened(engine), UserTranscript()
    frames = talk.hear(with_silence(spoken.pcm(name)))
    talk.close()
    for frame in frames:
        transcript.push(frame)
        # Nothing is known before it was said, and nothing is kept back for long.
        assert all(word.end <= frame.time + 0.081 for word in frame.user_words)
        assert all(frame.time - word.start < 1.6 for word in frame.user_words)
    said = transcript.utterance.words
    assert said, "nothing was understood"
    starts = [word.start for word in said]
    assert starts == sorted(starts)
    onset, offset = spoken.facts[name]["onset"], spoken.facts[name]["offset"]
    assert abs(starts[0] - onset) < 0.5
    assert all(onset - 0.5 < word.start < word.end < offset + 0.5 for word in said)


def test_silence_and_noise_give_no_words_but_speech_after_them_does(
    engine: Engine, spoken: Spoken
) -> None:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(24_000 * 2).astype(np.float32)
    bursts = noise * (np.arange(len(noise)) // 6_000 % 4 == 0)
    quiet = np.concatenate([np.zeros(24_000 * 2), 0.003 * noise, 0.02 * noise, 0.1 * bursts])
    talk, transcript = Listened(engine), UserTranscript()
    frames = talk.hear(np.concatenate([quiet, with_silence(spoken.pcm("what_is_your_name"))]))
    talk.close()
    before = int(len(quiet) / FRAME_SAMPLES)
    for frame in frames[:before]:
        transcript.push(frame)
    assert transcript.utterance.text == ""
    for frame in frames[before:]:
        transcript.push(frame)
    assert transcript.utterance.words
    raw = len(user_words(frames))
    assert raw == len(transcript.utterance.words) + transcript.silence_dropped


def test_a_user_who_speaks_from_the_first_frame_on_is_understood(
    engine: Engine, spoken: Spoken
) -> None:
    said, understood = [], []
    for name in (
        "hello", "what_is_your_name", "what_do_i_like", "thank_you", "stop", "goodbye",
    ):  # fmt: skip
        pcm = spoken.pcm(name)[int(spoken.facts[name]["onset"] * 24_000) :]
        talk, transcript = Listened(engine), UserTranscript()
        for frame in talk.hear(with_silence(pcm, 1.0)):
            transcript.push(frame)
        talk.close()
        said += str(spoken.facts[name]["text"]).split()
        understood += transcript.utterance.text.split()
    matching = SequenceMatcher(None, said, understood, autojunk=False).get_matching_blocks()
    assert sum(block.size for block in matching) >= 0.9 * len(said), understood


def test_pause_heads_are_probabilities_and_tell_silence_from_speech(
    engine: Engine, spoken: Spoken
) -> None:
    talk = Listened(engine)
    frames = talk.hear(with_silence(spoken.pcm("weather")))
    talk.close()
    pauses = np.array([frame.pause for frame in frames])
    assert pauses.shape == (len(frames), 4)
    assert (pauses >= 0).all() and (pauses <= 1).all()
    onset, offset = spoken.facts["weather"]["onset"], spoken.facts["weather"]["offset"]
    times = np.array([frame.time for frame in frames])
    during = pauses[(times > onset + 0.2) & (times < offset - 0.4), 0]
    after = pauses[(times > offset) & (times < offset + 0.6), 0]
    assert after.mean() > during.mean() + 0.3


# -- flushing --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch() -> SlotBatch:
    torch.set_num_threads(1)
    return SlotBatch(load_models("coda-tiny", "cpu"), 3, history_frames=50)


@pytest.fixture(scope="module")
def transcriber(batch: SlotBatch) -> Transcriber:
    """One of its own, to be stepped on codes."""
    models = load_models("coda-tiny", "cpu")
    assert models.transcriber is not None
    return Transcriber(models.transcriber, 3, heard_in_silence(batch))


def heard_in_silence(batch: SlotBatch) -> torch.Tensor:
    return batch.encode_sound(np.zeros(FRAME_SAMPLES * 20, dtype=np.float32))[:, -1]


def listen(transcriber: Transcriber, row: int, codes: torch.Tensor) -> list[int]:
    """Step one row through codes [codebooks, T]; gives its tokens."""
    mask = [r == row for r in range(transcriber.slots)]
    tokens = []
    for frame in codes.T:
        out = transcriber.step(frame[None, :, None].expand(transcriber.slots, -1, -1), mask)
        tokens.append(transcriber.written(out)[row].token)
    return tokens


@pytest.mark.parametrize("name", ["what_is_your_name", "thank_you"])
def test_a_flush_writes_what_waiting_would_have_written(
    batch: SlotBatch, transcriber: Transcriber, spoken: Spoken, name: str
) -> None:
    end = int(spoken.facts[name]["offset"] * 24_000 / FRAME_SAMPLES)
    codes = batch.encode_sound(spoken.pcm(name)[: end * FRAME_SAMPLES])
    still = heard_in_silence(batch)[:, None].expand(-1, 14)
    transcriber.reset(1)
    before = listen(transcriber, 1, codes)
    flushed = transcriber.flush([1])[1]
    waited = listen(transcriber, 1, still)
    assert flushed == waited[: len(flushed)]
    assert not set(waited[len(flushed) :]) - {0, 3}, "the flush ended too early"

    model = transcriber.model
    form = TranscriptFormat(model.tokenizer, model.pad_token, model.epad_token, model.delay_frames)
    patient, hasty = UserWords(form), UserWords(form)
    texts: dict[str, list[str]] = {"patient": [], "hasty": []}
    for number, token in enumerate([*before, *waited]):
        texts["patient"] += [word.text for word in patient.push(number, token)]
        texts["hasty"] += [word.text for word in hasty.push(number, token)]
        if number == len(before) - 1:
            soon = [word.text for word in hasty.flushed(flushed)]
            assert soon, "the last words should still have been on their way"
            texts["hasty"] += soon
    assert texts["hasty"] == texts["patient"]


def test_neither_the_flushed_row_nor_its_neighbours_notice_a_flush(
    batch: SlotBatch, transcriber: Transcriber, spoken: Spoken
) -> None:
    codes = batch.encode_sound(spoken.pcm("weather")[: 30 * FRAME_SAMPLES])

    def run(flushed_at: int) -> list[list[Written]]:
        for row in range(3):
            transcriber.reset(row)
        out = []
        for number in range(24):
            apart = torch.stack([codes[:, number + row] for row in range(3)])[:, :, None]
            out.append(transcriber.written(transcriber.step(apart, [True] * 3)))
            if number == flushed_at:
                assert transcriber.flush([0, 2]).keys() == {0, 2}
        return out

    assert run(flushed_at=14) == run(flushed_at=99)  # to the last bit of the pause heads


def test_the_last_words_can_be_had_without_another_frame(engine: Engine, spoken: Spoken) -> None:
    end = int((spoken.facts["what_is_your_name"]["offset"] + 0.1) * 24_000)
    frames = Ingest().push(spoken.pcm("what_is_your_name")[:end])
    talk = Listened(engine)
    known = user_words(talk.feed_voiced(frames))
    rest = list(talk.slot.flush_transcript().result(30))
    assert rest, "the last word was still on its way"
    assert talk.slot.flush_transcript().result(30) == ()
    assert user_words(talk.feed(silence(12))) == []
    both = [word.text for word in known + rest]
    talk.close()
    waiting = Listened(engine)
    waited = user_words(waiting.feed_voiced(frames) + waiting.feed(silence(12)))
    waiting.close()
    assert both == [word.text for word in waited]


# -- beside everything else --------------------------------------------------------------


def test_a_model_that_reads_along_is_given_each_word_a_frame_after_it_was_written() -> None:
    table = torch.randn(1_201, 256, generator=torch.Generator().manual_seed(1))
    table[:4] = 0.0
    models = replace(load_models("coda-tiny", "cpu"), transcript_embedding=table)
    batch = SlotBatch(models, 2, history_frames=100)
    frames, greedy = frames_of("what_do_i_like", silence_after=4), Sampling.greedy()
    batch.reset(0, greedy)
    written = [batch.step([frame, None]).written[0] for frame in frames[:14]]
    snapshot = batch.snapshot(0)
    written += [batch.step([frame, None]).written[0] for frame in frames[14:]]
    tokens = [entry.token for entry in written if entry is not None]
    assert len(tokens) == len(frames) and max(tokens) > 3
    sums = batch.recent(0, 100).sums
    assert sums is not None and not sums[0].any()
    assert torch.equal(sums[1:], table[torch.tensor(tokens[:-1])])
    # What is told meanwhile goes first: of two pieces added up the model makes a third.
    told = torch.ones(len(frames), 256)
    batch.reset(0, greedy)
    batch.add_references(0, told)
    for frame in frames:
        batch.step([frame, None])
    told_then = batch.recent(0, 100).sums
    assert told_then is not None and torch.equal(told_then, told)
    # It goes on so in another slot, and where nobody wants to know what was written.
    batch.restore(1, snapshot)
    batch.transcribe(1, False)
    assert all(batch.step([None, frame]).written[1] is None for frame in frames[14:])
    again = batch.recent(1, 100).sums
    assert again is not None and torch.equal(again, sums)


def test_a_model_does_not_read_what_a_strange_transcriber_writes() -> None:
    own, strange, none = (
        load_models("coda-tiny", "cpu", transcriber=choice)
        for choice in ("auto", TINY_FOLDER / "stt", "off")
    )
    assert own.transcript_embedding is not None
    assert strange.transcript_embedding is None and none.transcript_embedding is None


def test_it_can_be_switched_off_and_on_and_the_agent_says_the_same(engine: Engine) -> None:
    frames = frames_of("what_is_your_name", silence_after=8)
    greedy = Sampling.greedy()
    on, off = Listened(engine, sampling=greedy), Talk(engine, sampling=greedy)
    heard, unheard = on.feed(frames), off.feed(frames)
    assert user_words(heard) and all(frame.pause is not None for frame in heard)
    assert not user_words(unheard) and all(frame.pause is None for frame in unheard)
    assert [f.text_token for f in heard] == [f.text_token for f in unheard]
    off.slot.transcribe(True)
    again = off.feed(frames)
    assert [w.text for w in user_words(again)] == [w.text for w in user_words(heard)]
    start = len(frames) * 0.08
    assert all(word.start >= start - 0.1 for word in user_words(again))
    on.close()
    off.close()


def test_a_new_prompt_does_not_disturb_what_is_being_written(engine: Engine) -> None:
    frames = frames_of("long_question")[:45]
    plain = Listened(engine)
    expected = user_words(plain.feed(frames))
    plain.close()
    talk = Listened(engine)
    talk.feed(frames[:20])
    done = talk.slot.prime(Prompt(text="You are called Nova."))
    talk.feed(frames[20:])
    assert done.result(30).kept_frames >= 20
    assert user_words(talk.out) == expected
    talk.close()


def test_a_snapshot_takes_the_transcript_along(batch: SlotBatch) -> None:
    frames = frames_of("what_do_i_like", silence_after=4)
    batch.reset(0, Sampling.greedy())
    whole = [batch.step([frame, None, None]).written[0] for frame in frames[:14]]
    snapshot = batch.snapshot(0)
    whole += [batch.step([frame, None, None]).written[0] for frame in frames[14:]]
    batch.restore(2, snapshot)
    rest = [batch.step([None, None, frame]).written[2] for frame in frames[14:]]
    assert rest == whole[14:]
    assert any(written is not None and written.token not in (0, 3) for written in rest)


# -- other checkpoints ---------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "checkpoint"
    shutil.copytree(TINY_FOLDER, copy)
    return copy


def test_without_a_transcriber_nothing_is_written_and_the_future_says_so(spoken: Spoken) -> None:
    models = load_models("coda-tiny", "cpu", transcriber="off")
    assert models.transcriber is None
    with Engine(models, EngineOptions(slots=1, threads=1)) as engine:
        talk = Listened(engine)
        frames = talk.feed(frames_of("hello", silence_after=8))
        assert not talk.slot.can_transcribe
        assert not user_words(frames) and all(frame.pause is None for frame in frames)
        talk.slot.transcribe(True)
        assert talk.slot.flush_transcript().result(30) == ()
        talk.close()


def test_a_transcriber_of_more_codebooks_gets_them_and_moshi_hears_its_own(folder: Path) -> None:
    """The shape of kyutai/stt-1b-en_fr beside Moshi, in miniature: one encoding for both."""
    config = json.loads((folder / "mimi.json").read_text())
    config["quantizer"]["n_q"] = 12
    torch.manual_seed(0)
    mimi = loaders.get_mimi(None, config, num_codebooks=12)
    save_file(
        {key: value.contiguous() for key, value in mimi.state_dict().items()},
        folder / "mimi.safetensors",
    )
    (folder / "mimi.json").write_text(json.dumps(config))
    whole = json.loads((folder / "stt" / "config.json").read_text())
    whole |= {"n_q": 12, "delays": [0] * 13, "dim": 32, "num_layers": 2}
    shape = {
        key: value
        for key, value in whole.items()
        if not key.endswith(("_name", "_config", "_id")) and key != "model_type"
    } | {"existing_text_padding_id": 3}
    stt = LMModel(**shape, dtype=torch.float32, device="cpu")
    save_file(dict(stt.state_dict()), folder / "stt" / "model.safetensors")
    (folder / "stt" / "config.json").write_text(json.dumps(whole))

    models = load_models(folder, "cpu", "fp32")
    assert models.mimi.num_codebooks == 12
    both, alone = (
        SlotBatch(opened, 1, history_frames=50)
        for opened in (models, load_models(folder, "cpu", "fp32", transcriber="off"))
    )
    frames = frames_of("hello")
    one, other = ([batch.step([frame]) for frame in frames] for batch in (both, alone))
    assert all(step.written[0] is not None for step in one)
    assert len({step.written[0].token for step in one if step.written[0]}) > 1
    for a, b in zip(one, other, strict=True):
        assert a.tokens == b.tokens and torch.equal(a.codes, b.codes)


def test_a_transcriber_in_a_folder_of_its_own_may_serve_another_checkpoint(folder: Path) -> None:
    models = load_models("coda-tiny", "cpu", transcriber=folder / "stt")
    assert models.transcriber is not None
    assert (models.transcriber.delay_frames, models.transcriber.pad_token) == (6, 3)


def test_a_transcriber_that_cannot_serve_is_a_clear_error(folder: Path) -> None:
    with pytest.raises(ModelLoadingError, match="is no transcriber"):
        load_models("coda-tiny", "cpu", transcriber="coda-tiny")
    with pytest.raises(ModelLoadingError, match="coda-voice download kyutai/stt"):
        load_models("coda-tiny", "cpu", transcriber="kyutai/stt-1b-en_fr")
    with pytest.raises(ModelLoadingError, match="cannot converse"):
        load_models(folder / "stt", "cpu")

    other = loaders.get_mimi(None, json.loads((folder / "mimi.json").read_text()))
    save_file(
        {key: value.contiguous() for key, value in other.state_dict().items()},
        folder / "mimi.safetensors",
    )
    with pytest.raises(ModelLoadingError, match="another codec"):
        load_models("coda-tiny", "cpu", transcriber=folder / "stt")
    shutil.rmtree(folder / "stt")
    with pytest.raises(ModelLoadingError, match="stt is missing"):
        load_models(folder, "cpu")
