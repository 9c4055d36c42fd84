"""Audio files in and out, the broken ones too."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from coda_voice.audio.files import (
    decode,
    decode_pcm,
    read,
    user_left_agent_right,
    wav_bytes,
    write_wav,
)
from coda_voice.errors import AudioProcessingError

DATA = Path(__file__).parents[1] / "data"
SPOKEN = json.loads((DATA / "spoken.json").read_text())


def original() -> np.ndarray:
    return soundfile.read(DATA / "stop.flac", dtype="float32")[0]


def encoded(samples: np.ndarray, rate: int, container: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two signals at the lag where they match best."""
    size = 1 << (len(a) + len(b)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)))
    return float(cross.max() / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("name", SPOKEN)
def test_every_spoken_file_is_what_its_table_says(name: str) -> None:
    entry = SPOKEN[name]
    audio = read(DATA / entry["file"])
    assert audio.sample_rate == entry["sample_rate"]
    assert audio.seconds == pytest.approx(entry["duration"], abs=1e-3)
    onset, offset = (round(entry[key] * audio.sample_rate) for key in ("onset", "offset"))
    assert not audio.pcm[:onset].any()
    assert not audio.pcm[offset:].any()
    assert np.abs(audio.pcm[onset:offset]).max() > 0.1


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "ULAW"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_each_format_sounds_like_the_original(container: str, subtype: str) -> None:
    audio = decode(encoded(original(), 16_000, container, subtype))
    assert audio.format == container.lower()
    assert audio.sample_rate == 16_000
    assert not audio.mended
    assert audio.pcm.dtype == np.float32
    assert likeness(audio.pcm, original()) > 0.97


def test_bare_pcm_is_taken_at_the_rate_given() -> None:
    samples = original()
    audio = decode((samples * 32768).astype("<i2").tobytes(), fallback_rate=16_000)
    assert (audio.format, audio.sample_rate) == ("pcm", 16_000)
    np.testing.assert_allclose(audio.pcm, samples, atol=1e-4)
    assert len(audio.at(24_000)) == round(len(samples) * 1.5)


def test_pcm_that_begins_like_an_mp3_header_is_still_pcm() -> None:
    samples = original()[8_000:20_000].copy()
    data = b"\xff\xfb\x90\x64" + (samples * 32768).astype("<i2").tobytes()
    assert decode(data, 16_000).format == "pcm"


def test_eight_channels_at_192_khz_become_one() -> None:
    rate = 192_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
    channels = np.outer(tone, np.linspace(0.2, 1.0, 8)).astype(np.float32)
    audio = decode(encoded(channels, rate, "WAV", "FLOAT"))
    assert (audio.channels, audio.sample_rate) == (8, rate)
    np.testing.assert_allclose(audio.pcm, channels.mean(axis=1), atol=1e-6)
    at_24k = audio.at(24_000)
    assert len(at_24k) == 12_000
    assert np.abs(np.fft.rfft(at_24k * np.hanning(12_000))).argmax() == 220


def test_samples_that_are_no_numbers_become_silence_and_are_counted() -> None:
    samples = original().copy()
    samples[100:110] = np.nan
    samples[200] = np.inf
    samples[201] = -np.inf
    samples[300] = 3.0
    audio = decode(encoded(samples, 16_000, "WAV", "FLOAT"))
    assert (audio.bad_samples, audio.clipped_samples) == (12, 1)
    assert np.isfinite(audio.pcm).all()
    assert not audio.pcm[100:110].any()
    assert np.abs(audio.pcm).max() == 1.0
    assert len(audio.mended) == 2


@pytest.mark.parametrize(("container", "least"), [("WAV", 0.62), ("FLAC", 0.4), ("MP3", 0.5)])
def test_a_truncated_file_gives_the_part_that_is_there(container: str, least: float) -> None:
    rng = np.random.default_rng(0)
    samples = np.tile(original(), 4) + 0.01 * rng.standard_normal(4 * len(original()))
    data = encoded(samples.astype(np.float32), 16_000, container)
    audio = decode(data[: len(data) * 2 // 3])
    assert least * len(samples) < len(audio.pcm) < len(samples)
    # A lossy decoder may round: what counts is that it is the beginning of the same sound.
    assert likeness(audio.pcm, samples[: len(audio.pcm)].astype(np.float32)) > 0.95
    if container != "MP3":
        assert audio.truncated
        assert "truncated" in audio.mended[0]


def test_a_wav_written_into_a_pipe_has_no_sizes_and_plays() -> None:
    data = bytearray(wav_bytes(original(), 16_000))
    for size in (0, 0xFFFF_FFFF):
        struct.pack_into("<I", data, 4, size)
        struct.pack_into("<I", data, data.find(b"data") + 4, size)
        audio = decode(bytes(data))
        assert not audio.truncated
        assert len(audio.pcm) == len(original())


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("size", [12, 30, 60])
def test_a_file_cut_off_in_its_header_is_a_clear_error(container: str, size: int) -> None:
    data = encoded(np.tile(original(), 2), 16_000, container)
    if container == "WAV" and size == 60:
        assert len(decode(data[:60]).pcm) == 8
        return
    with pytest.raises(AudioProcessingError, match=r"again, whole|bare|text") as caught:
        decode(data[:size])
    assert caught.value.error_code.startswith("audio_")


def test_empty_and_sampleless_files_are_clear_errors(tmp_path: Path) -> None:
    for data in (b"", b"\x01", wav_bytes(np.zeros(0, dtype=np.float32))):
        with pytest.raises(AudioProcessingError) as caught:
            decode(data)
        assert caught.value.error_code == "audio_empty"
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    with pytest.raises(AudioProcessingError, match=r"empty\.wav.*0 bytes"):
        read(empty)


@pytest.mark.parametrize("text", ["Dear Sir,\nplease find", "çà et là, déjà vu\n" * 40, "{}\n{}\n"])
def test_text_named_wav_is_refused_not_played(tmp_path: Path, text: str) -> None:
    path = tmp_path / "letter.wav"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AudioProcessingError, match=r"letter\.wav is no audio file"):
        read(path)
    with pytest.raises(AudioProcessingError, match="text, not audio"):
        decode(path.read_bytes())


def test_a_missing_file_and_a_folder_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(AudioProcessingError, match="No such file"):
        read(tmp_path / "nowhere.wav")
    with pytest.raises(AudioProcessingError, match="cannot be read"):
        read(tmp_path)


def test_odd_byte_counts_lose_half_a_sample_and_say_so() -> None:
    data = (original() * 32768).astype("<i2").tobytes()
    audio = decode(data[:-1], 16_000)
    assert len(audio.pcm) == len(original()) - 1
    assert audio.dropped_bytes == 1
    assert "1 bytes" in audio.mended[0]
    stereo = decode_pcm(data[:1002], 16_000, channels=2)
    assert (len(stereo.pcm), stereo.dropped_bytes) == (250, 2)


@pytest.mark.parametrize("rate", [0, -1, 100, 10_000_000])
def test_a_rate_that_cannot_be_is_refused(rate: int) -> None:
    with pytest.raises(AudioProcessingError, match="sample rate"):
        decode(b"\x00\x80" * 100, rate)


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    user = original()
    agent = read(DATA / "hello.flac").pcm
    path = tmp_path / "both.wav"
    write_wav(path, user_left_agent_right(user, agent), 16_000)
    back, rate = soundfile.read(path, dtype="float32")
    assert (rate, back.shape) == (16_000, (len(user), 2))
    np.testing.assert_allclose(back[:, 0], user, atol=2e-5)
    np.testing.assert_allclose(back[: len(agent), 1], agent, atol=2e-5)
    assert not back[len(agent) :, 1].any()


def test_writing_clips_and_silences_what_no_file_can_hold() -> None:
    samples = np.array([2.0, -2.0, np.nan, np.inf, 0.5], dtype=np.float32)
    back = decode(wav_bytes(samples)).pcm
    np.testing.assert_allclose(back, [1.0, -1.0, 0.0, 0.0, 0.5], atol=1e-4)


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AudioProcessingError, match="cannot be written"):
        write_wav(tmp_path / "no" / "where.wav", original(), 16_000)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_damaged_bytes_give_sound_or_a_clear_error_nothing_else(container: str) -> None:
    rng = np.random.default_rng(0)
    whole = encoded(original()[:12_000], 16_000, container)
    for attempt in range(60):
        data = bytearray(whole)
        reach = 200 if attempt % 2 else len(data)
        for position in rng.integers(0, min(reach, len(data)), size=4):
            data[position] = rng.integers(0, 256)
        try:
            audio = decode(bytes(data))
        except AudioProcessingError as error:
            assert error.message.endswith(".")
        else:
            assert len(audio.pcm)
            assert np.isfinite(audio.pcm).all()
            assert np.abs(audio.pcm).max() <= 1.0
