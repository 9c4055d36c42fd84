"""The microphone and speakers of this machine, for an asyncio program.

PortAudio calls ``Duplex.callback`` in a thread of its own that must never wait: sound goes
through two bounded buffers, and what does not fit is dropped and counted.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from coda_voice.errors import VoiceProcessingError
from coda_voice.moshi.frames import SAMPLE_RATE
from coda_voice.moshi.mailbox import Mailbox

BLOCK_SECONDS = 0.02
MICROPHONE_BLOCKS = 50
"""A second of the microphone may wait."""
CUSHION_SECONDS = 0.08
"""So much is gathered before playing begins, and again after it ran dry."""
SPEAKER_SECONDS = 0.5
"""More than this of the agent's sound never waits: it would be heard too late."""
_SAMPLE_BYTES = 2


class Duplex:
    """Sound in and out as 16-bit mono at ``rate`` Hz; made in the event loop that uses it.

    ``dropped_blocks``: blocks of the microphone that nobody fetched in time, and of the
    agent that came too fast. ``ran_dry``: how often the speakers had nothing to play.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.ran_dry = 0
        self.dropped_played = 0
        self._loop = asyncio.get_running_loop()
        self._heard: Mailbox[bytes] = Mailbox(MICROPHONE_BLOCKS)
        self._arrived = asyncio.Event()
        self._closed = False
        self._lock = threading.Lock()
        self._to_play = bytearray()
        self._playing = False
        self._cushion = round(CUSHION_SECONDS * rate) * _SAMPLE_BYTES
        self._limit = round(SPEAKER_SECONDS * rate) * _SAMPLE_BYTES

    @property
    def dropped_blocks(self) -> int:
        """Count what was lost on either side."""
        return self._heard.dropped + self.dropped_played

    def callback(
        self, heard: memoryview, played: memoryview, frames: int, time: object, status: object
    ) -> None:
        """Exchange a block with the sound card (PortAudio's thread)."""
        self._heard.put_dropping(bytes(heard))
        wanted = frames * _SAMPLE_BYTES
        with self._lock:
            if not self._playing:
                self._playing = len(self._to_play) >= max(self._cushion, wanted)
            elif len(self._to_play) < wanted:
                self._playing = False
                self.ran_dry += 1
            sound = b""
            if self._playing:
                sound = bytes(self._to_play[:wanted])
                del self._to_play[:wanted]
        played[:] = sound.ljust(wanted, b"\0")
        # The loop may have been closed under a last call of PortAudio's: nobody waits then.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def microphone(self) -> AsyncIterator[bytes]:
        """Give what is heard, block by block, until ``close``."""
        while not self._closed:
            while (block := self._heard.get()) is not None:
                yield block
            self._arrived.clear()
            if not len(self._heard) and not self._closed:
                await self._arrived.wait()

    def play(self, sound: bytes) -> None:
        """Have 16-bit mono sound played after what is waiting already."""
        with self._lock:
            self._to_play += sound
            excess = len(self._to_play) - self._limit
            if excess > 0:
                del self._to_play[:excess]
                self.dropped_played += 1

    def close(self) -> None:
        """End the microphone's blocks."""
        self._closed = True
        self._arrived.set()


def choose_rate(microphone: str | int | None, speakers: str | int | None) -> int:
    """Give the rate to open the sound card with: the model's, or the card's own.

    Raises VoiceProcessingError when there is no PortAudio, no microphone or no speaker.
    """
    sounddevice = _sounddevice()
    try:
        devices = [
            sounddevice.query_devices(microphone, "input"),
            sounddevice.query_devices(speakers, "output"),
        ]
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _no_device(error) from error
    try:
        sounddevice.check_input_settings(microphone, 1, "int16", None, SAMPLE_RATE)
        sounddevice.check_output_settings(speakers, 1, "int16", None, SAMPLE_RATE)
    except sounddevice.PortAudioError:
        return round(float(devices[0]["default_samplerate"]))
    return SAMPLE_RATE


@contextmanager
def open_sound(
    duplex: Duplex, microphone: str | int | None, speakers: str | int | None
) -> Iterator[None]:
    """Let the sound card run. Raises VoiceProcessingError when it cannot be opened."""
    sounddevice = _sounddevice()
    try:
        stream = sounddevice.RawStream(
            samplerate=duplex.rate,
            blocksize=round(BLOCK_SECONDS * duplex.rate),
            device=(microphone, speakers),
            channels=1,
            dtype="int16",
            latency="low",
            callback=duplex.callback,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _no_device(error) from error
    with stream:
        yield


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:
        raise VoiceProcessingError(
            f"There is no sound here: {error}. Install PortAudio (libportaudio2 on Debian and "
            "Ubuntu, portaudio on Fedora and Homebrew); without a microphone, "
            "`coda-voice demo` and `coda-voice run` work.",
            "no_portaudio",
        ) from error
    module: ModuleType = sounddevice
    return module


def _no_device(error: Exception) -> VoiceProcessingError:
    return VoiceProcessingError(
        f"No microphone and speakers can be opened: {error}. `coda-voice doctor` lists what is "
        "there; name them with --microphone and --speakers. Without any, `coda-voice demo` and "
        "`coda-voice run` work.",
        "no_audio_device",
    )
