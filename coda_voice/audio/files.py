"""Audio files in and out: WAV, FLAC, OGG, MP3 and bare PCM to mono float32; WAV back.

Reading uses what can be used: a truncated file gives the part that is there, samples that
are no numbers become silence, several channels become their mean. What was mended is in
the result, and what cannot be used is an AudioProcessingError that says what to do.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from coda_voice.audio.containers import foreign, looks_like_text, mend_wav_header, recognise
from coda_voice.audio.pcm import MAX_CHANNELS, SampleReader, downmix, sanitise
from coda_voice.audio.resample import check_rate, resample
from coda_voice.audio.telephony import to_int16
from coda_voice.errors import AudioProcessingError
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

MAX_SECONDS = 6 * 3600.0
"""Longer files are refused: a few bytes of FLAC can claim days of silence."""
_BLOCK_FRAMES = 4_096
_READABLE = "WAV, FLAC, OGG, MP3, AIFF, AU or CAF, or bare 16-bit PCM"


@dataclass(frozen=True, slots=True)
class Audio:
    """Mono sound and what had to be mended to get it.

    ``pcm``: float32 [samples], −1…1, ``sample_rate`` Hz. ``format``: "wav", "flac", …, or
    "pcm". ``bad_samples`` were NaN or ±Inf and are silence now, ``clipped_samples`` were
    beyond −1…1, ``dropped_bytes`` did not make a whole sample, ``truncated`` says that the
    file ends before its header says it should.
    """

    pcm: Pcm
    sample_rate: int
    channels: int = 1
    format: str = "pcm"
    bad_samples: int = 0
    clipped_samples: int = 0
    dropped_bytes: int = 0
    truncated: bool = False

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return len(self.pcm) / self.sample_rate

    def at(self, sample_rate: int = SAMPLE_RATE) -> Pcm:
        """Give the samples at another rate, by default the one Mimi hears."""
        return resample(self.pcm, self.sample_rate, sample_rate)

    @property
    def mended(self) -> tuple[str, ...]:
        """What was wrong with the input and was put right, one sentence each."""
        notes = []
        if self.truncated:
            notes.append(f"The file is truncated; its first {self.seconds:.2f} s were used.")
        if self.bad_samples:
            notes.append(f"{self.bad_samples} samples were NaN or infinite; now silence.")
        if self.clipped_samples:
            notes.append(f"{self.clipped_samples} samples were beyond −1…1 and were clipped.")
        if self.dropped_bytes:
            notes.append(f"{self.dropped_bytes} bytes at the end made no whole sample: dropped.")
        return tuple(notes)


def read(path: str | Path, fallback_rate: int | None = None) -> Audio:
    """Give the sound of a file.

    A file without a known header is refused unless ``fallback_rate`` says at what rate to
    take it as bare 16-bit mono PCM (``.raw`` and ``.pcm`` files).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioProcessingError(
            f"{path} cannot be read: {error.strerror}. Check the path and its permissions.",
            path=str(path),
        ) from error
    if fallback_rate is None and data and recognise(data) is None:
        raise AudioProcessingError(
            f"{path.name} is no audio file: it begins with {data[:8]!r}. Give {_READABLE} "
            "(bare PCM together with its sample rate).",
            path=str(path),
        )
    try:
        return decode(data, fallback_rate or SAMPLE_RATE)
    except AudioProcessingError as error:
        raise AudioProcessingError(
            f"{path.name}: {error.message}",
            error.error_code,
            **{**error.context, "path": str(path)},
        ) from error


def decode(data: bytes, fallback_rate: int = SAMPLE_RATE) -> Audio:
    """Give the sound in ``data``: a file's bytes if they begin like one, else 16-bit mono PCM.

    ``fallback_rate``: the rate of bare PCM, Hz. Text is refused, not played.
    """
    if not data:
        raise AudioProcessingError(
            f"The audio is empty (0 bytes). Send {_READABLE}.", "audio_empty"
        )
    container = recognise(data)
    if container is not None:
        return _decode_container(data, container)
    if looks_like_text(data):
        raise AudioProcessingError(
            f"This is text, not audio: it begins with {data[:16]!r}. Send {_READABLE}.",
            "audio_is_text",
        )
    if (kind := foreign(data)) is not None:
        raise AudioProcessingError(
            f"This is {kind}, which is not read here. Send {_READABLE}.", "audio_unreadable"
        )
    return decode_pcm(data, fallback_rate)


def decode_pcm(data: bytes, sample_rate: int, channels: int = 1) -> Audio:
    """Bare little-endian 16-bit PCM, interleaved; an incomplete last sample is dropped."""
    check_rate(sample_rate)
    reader = SampleReader("int16", channels)
    pcm = reader.read_bytes(data)
    dropped = reader.finish()
    if not len(pcm):
        raise AudioProcessingError(
            f"{len(data)} bytes do not make one 16-bit sample of {channels} channel(s).",
            "audio_empty",
        )
    return Audio(pcm, sample_rate, channels, dropped_bytes=dropped)


def _decode_container(data: bytes, container: str) -> Audio:
    mended, truncated = mend_wav_header(data) if container == "wav" else (data, False)
    try:
        with soundfile.SoundFile(io.BytesIO(mended)) as file:
            return _read_blocks(file, container, truncated)
    except soundfile.LibsndfileError as error:
        raise AudioProcessingError(
            f"This begins like a {container.upper()} file but cannot be decoded "
            f"({error.error_string.strip().rstrip('.')}). It is damaged or cut off in its header; "
            "send it again, whole.",
            "audio_corrupt",
            container=container,
        ) from error


def _read_blocks(file: soundfile.SoundFile, container: str, truncated: bool) -> Audio:
    """Read to the end, or to where decoding fails: in a cut-off file, the part before it."""
    rate, channels = check_rate(file.samplerate), file.channels
    if channels > MAX_CHANNELS:
        raise AudioProcessingError(f"{channels} channels are more than {MAX_CHANNELS}.")
    blocks: list[Pcm] = []
    bad = clipped = frames = 0
    while True:
        try:
            block = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            # Where the file was cut off the decoder fails; what came before is good.
            truncated = True
            break
        if not len(block):
            break
        frames += len(block)
        if frames > MAX_SECONDS * rate:
            raise AudioProcessingError(
                f"The file is longer than {MAX_SECONDS / 3600:.0f} hours; send it in parts.",
                "audio_too_long",
            )
        samples, found = sanitise(block)
        mono = downmix(samples, channels)
        bad += found
        clipped += int(np.count_nonzero(np.abs(mono) > 1.0))
        blocks.append(np.clip(mono, np.float32(-1.0), np.float32(1.0)))
    if not frames:
        why = "is cut off before its first sound" if truncated else "holds no samples"
        raise AudioProcessingError(
            f"This {container.upper()} file {why}; send it again, whole.", "audio_empty"
        )
    return Audio(
        np.concatenate(blocks), rate, channels, container, bad, clipped, truncated=truncated
    )


def write_wav(target: str | Path | io.BytesIO, pcm: Pcm, sample_rate: int = SAMPLE_RATE) -> None:
    """Write 16-bit WAV: ``pcm`` float32 [samples] mono, or [samples, 2].

    Beyond −1…1 is clipped, NaN and ±Inf become silence.
    """
    clean, _ = sanitise(np.asarray(pcm, dtype=np.float32))
    try:
        soundfile.write(
            str(target) if isinstance(target, Path) else target,
            to_int16(clean),
            check_rate(sample_rate),
            format="WAV",
            subtype="PCM_16",
        )
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioProcessingError(
            f"{target} cannot be written: {error}. Check the folder, its permissions and the disk.",
            path=str(target),
        ) from error


def wav_bytes(pcm: Pcm, sample_rate: int = SAMPLE_RATE) -> bytes:
    """16-bit WAV of ``pcm`` ([samples] or [samples, 2]) in memory."""
    buffer = io.BytesIO()
    write_wav(buffer, pcm, sample_rate)
    return buffer.getvalue()


def user_left_agent_right(user: Pcm, agent: Pcm) -> Pcm:
    """Both sides of a conversation as [samples, 2]; the shorter one ends in silence."""
    both = np.zeros((max(len(user), len(agent)), 2), dtype=np.float32)
    both[: len(user), 0] = user
    both[: len(agent), 1] = agent
    return both
