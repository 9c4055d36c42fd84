"""Every error this package raises on purpose.

    VoiceProcessingError
    ├── AudioProcessingError          input that is no audio, or audio that cannot be used
    ├── ModelLoadingError             a checkpoint that is missing, corrupt or of an unknown shape
    │   └── DownloadError             no way to the hub, licence not accepted, disk full
    ├── VRAMAllocationError           the device has not enough memory for what was asked
    ├── ConversationError             unknown id, ended twice, stream that cannot go on
    │   └── SlotsFullError            every slot of the engine is leased
    ├── IntegrationError              a memory, personality or tool manager that misbehaves
    ├── LlmError                      the LLM cannot be reached, stalls, or breaks its protocol
    ├── ConfigurationError            a setting that is unknown, impossible, or contradicts another
    │   └── UnsupportedModeError      a mode this build does not have yet
    ├── VoiceTimeoutError             something did not answer in time
    ├── ValidationError               an argument of the public API has the wrong shape
    ├── VoiceInitializationError      the manager could not start
    ├── MoshiConnectionError          a remote Moshi cannot be reached
    ├── AccessError                   a caller who is not known, or may not do this
    ├── ProtocolError                 a client's message that its protocol does not have
    └── ComponentNotInitializedError  used before initialize()

Each carries ``message`` (what happened and what to do), ``error_code`` (stable,
machine-readable) and ``context`` (a dict of the values that matter).
"""

from __future__ import annotations

from typing import ClassVar


class VoiceProcessingError(Exception):
    """Base of all errors of this package."""

    default_code: ClassVar[str] = "voice_processing"

    def __init__(self, message: str, error_code: str | None = None, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code or self.default_code
        self.context: dict[str, object] = context


class AudioProcessingError(VoiceProcessingError):
    """The bytes given are no audio, or audio that cannot be used."""

    default_code = "audio_processing"


class ModelLoadingError(VoiceProcessingError):
    """A checkpoint is missing, corrupt, or of a shape that is not understood."""

    default_code = "model_loading"


class DownloadError(ModelLoadingError):
    """A checkpoint could not be fetched."""

    default_code = "download"


class VRAMAllocationError(VoiceProcessingError):
    """The device has not enough memory for what was asked of it."""

    default_code = "vram_allocation"


class ConversationError(VoiceProcessingError):
    """The conversation is unknown, has ended, or cannot go on."""

    default_code = "conversation"


class SlotsFullError(ConversationError):
    """Every slot of the engine is leased; try again when a conversation has ended."""

    default_code = "slots_full"


class IntegrationError(VoiceProcessingError):
    """A memory, personality or tool manager behaved against its interface."""

    default_code = "integration"


class LlmError(VoiceProcessingError):
    """The LLM could not answer; ``error_code`` says why.

    llm_unreachable, llm_model_missing, llm_refused, llm_server_error, llm_stalled,
    llm_disconnected, llm_stream_error, llm_bad_answer, llm_prompt_too_long, llm_tool_loop,
    llm_not_understood (the offline brain has no rule for it), llm_internal (a client raised what
    it should not).
    """

    default_code = "llm"


class ConfigurationError(VoiceProcessingError):
    """A setting is unknown, impossible, or contradicts another."""

    default_code = "configuration"


class UnsupportedModeError(ConfigurationError):
    """The mode asked for is not part of this build."""

    default_code = "unsupported_mode"


class VoiceTimeoutError(VoiceProcessingError):
    """Something did not answer in time."""

    default_code = "timeout"


class ValidationError(VoiceProcessingError):
    """An argument of the public API has the wrong type or shape."""

    default_code = "validation"


class VoiceInitializationError(VoiceProcessingError):
    """The voice manager could not start."""

    default_code = "initialization"


class MoshiConnectionError(VoiceProcessingError):
    """A remote Moshi cannot be reached."""

    default_code = "moshi_connection"


class ComponentNotInitializedError(VoiceProcessingError):
    """A component was used before ``initialize()``."""

    default_code = "not_initialized"


class AccessError(VoiceProcessingError):
    """The caller is not known, or may not do what was asked; ``error_code`` says which."""

    default_code = "access_denied"


class ProtocolError(VoiceProcessingError):
    """A client sent what its protocol does not have.

    ``fatal`` in the context: the connection cannot go on.
    """

    default_code = "bad_message"
