"""The caller's audio format at the manager's edge: bytes in, bytes out, as configured."""

from __future__ import annotations

from coda_voice.audio import files
from coda_voice.audio.containers import foreign, looks_like_text, recognise
from coda_voice.audio.ingest import Outlet
from coda_voice.audio.pcm import Encoding, SampleReader, encode_samples
from coda_voice.audio.resample import resample
from coda_voice.config import AudioConfig
from coda_voice.errors import ValidationError
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

_PCM: dict[int, Encoding] = {16: "int16", 24: "int24", 32: "int32"}


class CallerAudio:
    """Translates between the caller's bytes and mono float32 at 24 kHz."""

    def __init__(self, audio: AudioConfig) -> None:
        self.sample_rate = audio.sample_rate
        self.channels = audio.channels
        self.encoding = _PCM[audio.bit_depth]
        self.format = audio.format

    def decode(self, data: bytes) -> Pcm:
        """Give a whole utterance: a file of any known kind, or bare PCM as configured.

        Raises AudioProcessingError for bytes that are no audio, ValidationError for what
        are no bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ValidationError(
                f"audio_data is {type(data).__name__}; give the bytes of an audio file or of PCM.",
                "not_audio",
            )
        data = bytes(data)
        usual = self.encoding == "int16" and self.channels == 1
        if usual or recognise(data) is not None or looks_like_text(data) or foreign(data):
            return files.decode(data, self.sample_rate).at(SAMPLE_RATE)
        bare = SampleReader(self.encoding, self.channels).read_bytes(data)
        return resample(bare, self.sample_rate, SAMPLE_RATE)

    def encode(self, pcm: Pcm) -> tuple[bytes, float]:
        """Give an answer as a WAV file or bare PCM, and its length in seconds."""
        sound = resample(pcm, SAMPLE_RATE, self.sample_rate)
        data = (
            encode_samples(sound, self.encoding)
            if self.format == "pcm"
            else files.wav_bytes(sound, self.sample_rate)
        )
        return data, len(sound) / self.sample_rate

    def outlet(self) -> Outlet:
        """Begin a stream of bare PCM out."""
        return Outlet(self.sample_rate, self.encoding)
