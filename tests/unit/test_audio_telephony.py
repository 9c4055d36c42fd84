"""G.711 against the standard's own values and an independent implementation."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from coda_voice.audio.files import read
from coda_voice.audio.pcm import BYTES_PER_SAMPLE, SampleReader, encode_samples
from coda_voice.audio.telephony import (
    FromTelephone,
    ToTelephone,
    decode,
    decode_int16,
    encode,
    encode_int16,
)
from coda_voice.errors import AudioProcessingError

DATA = Path(__file__).parents[1] / "data"
EVERY_BYTE = bytes(range(256))

# G.711 tables 2a/2b and 1a/1b: the decoder's output for the first code of each segment
# (and zero), in the standard's 14- and 13-bit units.
MULAW_TABLE = {
    0x80: 8031, 0x8F: 4191, 0x9F: 2079, 0xAF: 1023, 0xBF: 495, 0xCF: 231, 0xDF: 99, 0xEF: 33,
    0xFE: 2, 0xFF: 0, 0x00: -8031, 0x0F: -4191, 0x7E: -2, 0x7F: 0,
}  # fmt: skip
ALAW_TABLE = {0xAA: 4032, 0xA5: 2112, 0xD5: 1, 0x55: -1, 0x2A: -4032, 0x25: -2112}


def test_mulaw_decodes_to_the_standards_values() -> None:
    for code, value in MULAW_TABLE.items():
        assert decode_int16(bytes([code]), "mulaw")[0] == value * 4, hex(code)


def test_alaw_decodes_to_the_standards_values() -> None:
    for code, value in ALAW_TABLE.items():
        assert decode_int16(bytes([code]), "alaw")[0] == value * 8, hex(code)


@pytest.mark.parametrize(("law", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_every_byte_decodes_as_libsndfile_decodes_it(law: str, subtype: str) -> None:
    theirs, _ = soundfile.read(
        io.BytesIO(EVERY_BYTE),
        format="RAW",
        subtype=subtype,
        channels=1,
        samplerate=8_000,
        dtype="int16",
    )
    np.testing.assert_array_equal(decode_int16(EVERY_BYTE, law), theirs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("law", "borders", "unit"),
    [("mulaw", [31, 95, 223, 479, 991, 2015, 4063], 4), ("alaw", [128, 256, 512, 1024, 2048], 8)],
)
def test_segments_meet_at_the_standards_decision_values(
    law: str, borders: list[int], unit: int
) -> None:
    for border in borders:
        pair = np.array([border - 1, border], dtype=np.int16) * unit
        below, above = np.frombuffer(encode_int16(pair.astype(np.int16), law), np.uint8)  # type: ignore[arg-type]
        mask = 0xFF if law == "mulaw" else 0x55
        segments = [((int(code) ^ mask) >> 4) & 7 for code in (below, above)]
        assert segments[1] == segments[0] + 1, border


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_every_value_comes_back_within_half_a_step(law: str) -> None:
    values = np.arange(-32_768, 32_768, dtype=np.int32)
    decoded = decode_int16(encode_int16(values.astype(np.int16), law), law).astype(int)  # type: ignore[arg-type]
    assert (np.diff(decoded) >= 0).all()
    steps = np.diff(np.unique(decoded))
    for value, heard in zip(values[::37].tolist(), decoded[::37].tolist(), strict=True):
        # Steps double at each segment; an overload beyond the last value is cut off.
        near = steps[np.searchsorted(np.unique(decoded), heard).clip(0, len(steps) - 1)]
        assert abs(heard - value) <= max(near, 4) or abs(value) > 32_000
    codes = encode_int16(decode_int16(EVERY_BYTE, law), law)  # type: ignore[arg-type]
    # µ-law has two zeros; the negative one comes back as the positive one.
    assert codes in (EVERY_BYTE, EVERY_BYTE.replace(b"\x7f", b"\xff"))


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
@pytest.mark.parametrize(("level", "least_db"), [(1.0, 36), (0.1, 31)])
def test_speech_is_carried_at_the_noise_g711_allows(
    law: str, level: float, least_db: float
) -> None:
    pcm = read(DATA / "long_question.flac").pcm * np.float32(level)
    error = decode(encode(pcm, law), law) - pcm  # type: ignore[arg-type]
    assert 10 * np.log10(np.sum(pcm**2) / np.sum(error**2)) > least_db


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_a_call_goes_through_and_back_in_20_ms_packets(law: str) -> None:
    spoken = read(DATA / "what_is_your_name.flac").at(24_000)
    spoken = spoken[: len(spoken) // 480 * 480]
    to_line, from_line = ToTelephone(law), FromTelephone(law)  # type: ignore[arg-type]
    line = b"".join(to_line.process(spoken[i : i + 480]) for i in range(0, len(spoken), 480))
    line += to_line.flush()
    assert len(line) == len(spoken) // 3
    heard = [from_line.process(line[i : i + 160]) for i in range(0, len(line), 160)]
    back = np.concatenate([*heard, from_line.flush()])
    assert len(back) == len(spoken)
    # What a telephone carries (below 3.4 kHz) comes back whole, within 0.25 ms of its place.
    before, after = np.fft.rfft(spoken), np.fft.rfft(back)
    top = round(3_400 * len(spoken) / 24_000)
    before[top:] = after[top:] = 0
    match = np.fft.irfft(after * np.conj(before), 16 * len(spoken))
    lag = int(match.argmax())
    lag -= len(match) if lag > len(match) // 2 else 0
    assert abs(lag) / 16 / 24_000 <= 0.00025
    shifted = after * np.exp(2j * np.pi * np.arange(len(after)) * lag / 16 / len(spoken))
    error = np.abs(shifted - before)
    assert 10 * np.log10(np.sum(np.abs(before) ** 2) / np.sum(error**2)) > 20


@pytest.mark.parametrize("encoding", BYTES_PER_SAMPLE)
def test_each_encoding_comes_back_through_any_chunking(encoding: str) -> None:
    pcm = read(DATA / "hello.flac").pcm
    data = encode_samples(pcm, encoding)  # type: ignore[arg-type]
    assert len(data) == len(pcm) * BYTES_PER_SAMPLE[encoding]  # type: ignore[index]
    reader = SampleReader(encoding)  # type: ignore[arg-type]
    back = np.concatenate([reader.read_bytes(data[i : i + 7]) for i in range(0, len(data), 7)])
    assert reader.finish() == 0
    assert len(back) == len(pcm)
    allowed = 0.01 if encoding in ("mulaw", "alaw") else 1.6e-5 if encoding == "int16" else 1e-6
    np.testing.assert_allclose(back, pcm, atol=allowed)


def test_integers_clip_and_do_not_wrap() -> None:
    for encoding in ("int16", "int24", "int32", "mulaw", "alaw"):
        loud = np.array([1.5, -1.5], dtype=np.float32)
        reader = SampleReader(encoding)  # type: ignore[arg-type]
        np.testing.assert_allclose(
            reader.read_bytes(encode_samples(loud, encoding)),  # type: ignore[arg-type]
            [1.0, -1.0],
            atol=0.02,
        )


def test_formats_that_make_no_sense_are_refused() -> None:
    with pytest.raises(AudioProcessingError, match="opus"):
        SampleReader("opus")  # type: ignore[arg-type]
    for channels in (0, -1, 1_000):
        with pytest.raises(AudioProcessingError, match="channels"):
            SampleReader("int16", channels)
    with pytest.raises(AudioProcessingError, match="shape"):
        SampleReader().read_array(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(AudioProcessingError, match="complex64"):
        SampleReader().read_array(np.zeros(10, np.complex64))  # type: ignore[arg-type]


def test_the_table_of_spoken_audio_names_every_file() -> None:
    table = json.loads((DATA / "spoken.json").read_text())
    assert {entry["file"] for entry in table.values()} == {p.name for p in DATA.glob("*.flac")}
