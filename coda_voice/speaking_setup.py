"""From a configuration to the voice that scripts are read in, where it is not Moshi's own."""

from __future__ import annotations

from coda_voice.config import VoiceConfig
from coda_voice.errors import ConfigurationError
from coda_voice.hardware import choose_device
from coda_voice.moshi.synthesizer import Synthesizer, SynthesizerOptions
from coda_voice.moshi.tts import choose_tts

OWN_VOICE = "moshi"
USUAL_ROWS = 4
MOST_ROWS = 8
"""Utterances read at once; with more conversations than that, some wait a moment."""


def open_synthesizer(config: VoiceConfig) -> Synthesizer | None:
    """Start what ``speaking.voice`` names; None for Moshi's own voice. Blocks while it loads.

    Raises ConfigurationError or ModelLoadingError saying what to set or to fetch.
    """
    speaking = config.speaking
    if speaking.voice == OWN_VOICE:
        if speaking.speaker is not None:
            raise ConfigurationError(
                "speaking.speaker is set, but scripts are said by Moshi, whose voice is its own; "
                "set speaking.voice to a TTS checkpoint such as kyutai/tts-1.6b-en_fr",
                setting="speaking.speaker",
            )
        return None
    if config.effective_device == "cloud":
        raise ConfigurationError(
            "speaking.voice cannot be used with device: cloud: what is said there is the other "
            "server's affair; set it in its configuration.",
            setting="speaking.voice",
        )
    choice = choose_tts(speaking.voice, speaking.speaker)
    synthesizer = Synthesizer(
        choice,
        SynthesizerOptions(
            device=_device(config),
            codebooks=speaking.codebooks,
            rows=min(config.moshi.slots or USUAL_ROWS, MOST_ROWS),
        ),
    )
    synthesizer.start()
    return synthesizer


def _device(config: VoiceConfig) -> str:
    """Where Moshi is, unless that is no place for torch."""
    device = choose_device(config.speaking.device or config.effective_device)
    return "cpu" if device == "mlx" else device
