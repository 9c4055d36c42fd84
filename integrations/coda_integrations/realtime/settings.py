"""What a Realtime client has set: the session as OpenAI writes it, and what it means here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from openai.types.realtime import (
    RealtimeFunctionTool,
    RealtimeSessionCreateRequest,
    SessionUpdateEvent,
)
from openai.types.realtime.realtime_audio_input_turn_detection import SemanticVad, ServerVad
from openai.types.realtime.realtime_response_create_params import RealtimeResponseCreateParams
from openai.types.responses import ToolChoiceFunction, ToolChoiceMcp
from pydantic import BaseModel, ValidationError

from coda_integrations.realtime.codec import RealtimeProtocolError
from coda_integrations.wire_audio import ALAW_8K, MULAW_8K, PCM_24K, WireFormat
from coda_voice.audio.ingest import AudioSettings
from coda_voice.protocols import ToolSpec

_WITHOUT_EFFECT = (
    "include", "max_output_tokens", "parallel_tool_calls", "prompt", "reasoning", "tracing",
    "truncation",
)  # fmt: skip
"""Settings of OpenAI's that mean nothing here: ``session.updated`` comes back without them."""
_WIRES: Mapping[str | None, WireFormat] = {
    None: PCM_24K,
    "audio/pcm": PCM_24K,
    "audio/pcmu": MULAW_8K,
    "audio/pcma": ALAW_8K,
}
_SEMANTIC_SILENCE_MS = {"low": 800, "medium": 500, "auto": 500, "high": 300}
_MIN_SILENCE_MS, _MAX_SILENCE_MS = 80, 10_000
_MIN_THRESHOLD, _MAX_THRESHOLD = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How turns are cut out of the stream: ``create_response`` lets the model answer by
    itself, ``interrupt_response`` ends a response when the user speaks.
    """

    create_response: bool
    interrupt_response: bool
    threshold: float
    silence_ms: int


class SessionSettings:
    """The session's settings; ``update`` merges what a client gives into them."""

    def __init__(self, model: str) -> None:
        self._session: dict[str, object] = {
            "type": "realtime",
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "",
            "tools": [],
            "tool_choice": "auto",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "silence_duration_ms": 500,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "coda"},
            },
        }
        self._request = RealtimeSessionCreateRequest.model_validate(self._session)

    def update(self, event: SessionUpdateEvent) -> None:
        """Take in a ``session.update``. Raises RealtimeProtocolError; then nothing changes."""
        if event.session.type != "realtime":
            raise RealtimeProtocolError(
                "Sessions of type 'transcription' are not served here; use type 'realtime'.",
                param="session.type",
                event_id=event.event_id,
            )
        given = event.session.model_dump(exclude_unset=True)
        merged = _merge(self._session, given)
        for name in (*_WITHOUT_EFFECT, "model"):
            merged.pop(name, None)
        merged["model"] = self._session["model"]
        _section(merged, "audio", "output").pop("speed", None)
        _section(merged, "audio", "output")["voice"] = "coda"
        detection = _section(merged, "audio", "input").get("turn_detection")
        if isinstance(detection, dict):
            for name in ("idle_timeout_ms", "prefix_padding_ms"):
                detection.pop(name, None)
        try:
            request = _in_force(RealtimeSessionCreateRequest.model_validate(merged))
            _drop_unknown(request)
        except ValidationError as error:
            raise RealtimeProtocolError(
                f"session: {error.errors(include_url=False)[0]['msg']}.",
                param="session",
                event_id=event.event_id,
            ) from error
        _offered(request.tools, request.tool_choice)
        self._session, self._request = merged, request

    @property
    def request(self) -> RealtimeSessionCreateRequest:
        """The settings in force, as the client is told of them."""
        return self._request

    @property
    def instructions(self) -> str:
        """What the client wants the agent to be."""
        return self._request.instructions or ""

    @property
    def text_only(self) -> bool:
        """Whether answers are written instead of spoken."""
        return (self._request.output_modalities or ["audio"]) == ["text"]

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """The client's own tools."""
        return _offered(self._request.tools, self._request.tool_choice)

    def tools_for(self, asked: RealtimeResponseCreateParams) -> tuple[ToolSpec, ...]:
        """The client's tools for one response, whose own settings go before the session's.

        Raises RealtimeProtocolError.
        """
        choice = self._request.tool_choice if asked.tool_choice is None else asked.tool_choice
        tools = self._request.tools if asked.tools is None else asked.tools
        return _offered(tools, choice)

    @property
    def input_wire(self) -> WireFormat:
        """How the user's sound comes."""
        sound = self._request.audio.input if self._request.audio else None
        return _WIRES[sound.format.type if sound and sound.format else None]

    @property
    def output_wire(self) -> WireFormat:
        """How the agent's sound goes."""
        sound = self._request.audio.output if self._request.audio else None
        return _WIRES[sound.format.type if sound and sound.format else None]

    @property
    def transcribes(self) -> bool:
        """Whether the client wants to be told the user's words."""
        sound = self._request.audio.input if self._request.audio else None
        return sound is not None and sound.transcription is not None

    @property
    def turn_detection(self) -> TurnDetection | None:
        """How turns are detected; None where the client commits them itself."""
        sound = self._request.audio.input if self._request.audio else None
        match sound.turn_detection if sound else None:
            case ServerVad() as vad:
                silence, threshold = _within(vad)
            case SemanticVad() as vad:
                silence, threshold = _SEMANTIC_SILENCE_MS[vad.eagerness or "auto"], 0.5
            case _:
                return None
        return TurnDetection(
            create_response=vad.create_response is not False,
            interrupt_response=vad.interrupt_response is not False,
            threshold=threshold,
            silence_ms=silence,
        )

    @property
    def audio(self) -> AudioSettings:
        """What this means for the input chain."""
        sound = self._request.audio.input if self._request.audio else None
        quiet = sound is not None and sound.noise_reduction is not None
        detection = self.turn_detection
        if detection is None:
            return AudioSettings(noise_reduction=quiet)
        return AudioSettings(
            vad_threshold=detection.threshold,
            silence_duration_ms=detection.silence_ms,
            noise_reduction=quiet,
        )


def tool_spec(tool: object) -> ToolSpec:
    """Give a client's tool as the reasoner knows tools. Raises RealtimeProtocolError."""
    if not isinstance(tool, RealtimeFunctionTool) or not tool.name:
        raise RealtimeProtocolError(
            "Only function tools with a name are served; MCP servers are set on the server's side.",
            param="session.tools",
        )
    parameters = tool.parameters
    return ToolSpec(
        tool.name,
        tool.description or "",
        cast("Mapping[str, object]", parameters)
        if isinstance(parameters, dict)
        else {"type": "object", "properties": {}},
    )


def _offered(tools: Sequence[object] | None, choice: object) -> tuple[ToolSpec, ...]:
    """The tools that the LLM is shown: none, the one that is named, or all.

    Ollama's API cannot make an LLM call one, so no LLM is made to: "required" is "auto". Raises
    RealtimeProtocolError, also for a choice that cannot be.
    """
    specs = tuple(tool_spec(tool) for tool in tools or ())
    match choice:
        case "none":
            return ()
        case ToolChoiceFunction(name=name):
            named = tuple(spec for spec in specs if spec.name == name)
            if not named:
                known = ", ".join(spec.name for spec in specs) or "none"
                raise RealtimeProtocolError(
                    f"tool_choice names {name!r}; the tools are: {known}.",
                    param="tool_choice",
                )
            return named
        case ToolChoiceMcp():
            raise RealtimeProtocolError(
                "tool_choice: MCP servers are set on the server's side; name a function.",
                param="tool_choice",
            )
    return specs


def _within(vad: ServerVad) -> tuple[int, float]:
    """Give the milliseconds of silence and the threshold that the voice detector can take."""
    silence = 500 if vad.silence_duration_ms is None else vad.silence_duration_ms
    threshold = 0.5 if vad.threshold is None else vad.threshold
    return (
        min(max(silence, _MIN_SILENCE_MS), _MAX_SILENCE_MS),
        min(max(threshold, _MIN_THRESHOLD), _MAX_THRESHOLD),
    )


def _in_force(request: RealtimeSessionCreateRequest) -> RealtimeSessionCreateRequest:
    """Write what really holds where the client is told of it."""
    if request.tool_choice == "required":
        request.tool_choice = "auto"
    sound = request.audio.input if request.audio else None
    if sound is not None and isinstance(sound.turn_detection, ServerVad):
        vad = sound.turn_detection
        vad.silence_duration_ms, vad.threshold = _within(vad)
    return request


def _drop_unknown(settings: BaseModel) -> None:
    """Drop what the package has no field for, as of the beta: it means nothing here."""
    if settings.model_extra:
        settings.model_extra.clear()
    for name in type(settings).model_fields:
        inner = getattr(settings, name)
        if isinstance(inner, BaseModel):
            _drop_unknown(inner)


_MERGED = ("audio", "input", "output")
"""Sections whose keys are kept where the client gives others; all else is replaced."""


def _merge(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    merged = dict(old)
    for key, value in new.items():
        before = old.get(key)
        if key in _MERGED and isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merge(before, value)
        elif key in _MERGED and value is None:
            continue
        else:
            merged[key] = dict(value) if isinstance(value, dict) else value
    return merged


def _section(session: dict[str, object], *path: str) -> dict[str, object]:
    here = session
    for name in path:
        inner = here.get(name)
        copied = dict(inner) if isinstance(inner, dict) else {}
        here[name] = copied
        here = copied
    return here
