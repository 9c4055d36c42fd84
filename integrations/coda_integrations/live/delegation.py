"""What is delegated in a Live session: what was said so far, open delegations, calls of tools."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from openai.types.live import DelegationCreatedEvent, ResponseItemCreateEvent, SessionConfig
from openai.types.live.delegation_created_event import Delegation

from coda_integrations.live.codec import LiveProtocolError
from coda_integrations.live.commands import Think
from coda_integrations.live.settings import Backend, Role
from coda_integrations.realtime.codec import new_id
from coda_voice.hybrid.llm import Message, ToolCall
from coda_voice.protocols import ToolSpec

MAX_HISTORY = 256
MAX_OPEN = 64


class Delegations:
    """What those who think in a session are asked and told; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._history: deque[Message] = deque(maxlen=MAX_HISTORY)
        self._open: deque[str] = deque(maxlen=MAX_OPEN)
        self._calls: dict[str, ToolCall] = {}

    def note(self, *messages: Message) -> None:
        """Add what was said, or what is to be known."""
        self._history.extend(messages)

    def check(self, delegation_id: str | None) -> None:
        """Look whether there is such a delegation. Raises LiveProtocolError."""
        if delegation_id is not None and delegation_id not in self._open:
            raise LiveProtocolError(
                f"There is no delegation {delegation_id[:80]!r}.", param="delegation_id"
            )

    def begin(self, target: Backend, now_ms: int) -> tuple[str, DelegationCreatedEvent]:
        """Open a delegation; give its id and the event that tells of it."""
        delegation_id = new_id("del")
        self._open.append(delegation_id)
        return delegation_id, DelegationCreatedEvent(
            type="session.delegation.created",
            event_id=new_id("event"),
            offset_ms=now_ms,
            delegation=Delegation(id=delegation_id, target=target, type="delegation"),
        )

    def called(self, calls: Sequence[ToolCall]) -> None:
        """Remember calls of the client's tools, whose results it will send."""
        for call in calls[-MAX_OPEN:]:
            self._calls[call.call_id] = call
        while len(self._calls) > MAX_OPEN:
            del self._calls[next(iter(self._calls))]

    def take(self, event: ResponseItemCreateEvent) -> None:
        """Take a message or a tool's result from the client. Raises LiveProtocolError."""
        item = event.item
        fields = item if isinstance(item, Mapping) else item.model_dump(exclude_unset=True)
        if fields.get("type") == "function_call_output":
            self._take_result(fields)
            return
        role, text = fields.get("role"), _text_of(fields.get("content"))
        if role not in ("user", "assistant", "system", "developer") or not text:
            raise LiveProtocolError(
                "Items are messages with text, or function_call_output.", param="item"
            )
        shown: Role = "user" if role == "user" else "assistant" if role == "assistant" else "system"
        self.note(Message(shown, text))

    def _take_result(self, fields: Mapping[str, object]) -> None:
        call = self._calls.pop(str(fields.get("call_id")), None)
        if call is None:
            raise LiveProtocolError("No such call was made.", param="item.call_id")
        output = str(fields.get("output", ""))
        self.note(
            Message("assistant", "", (call,)),
            Message("tool", output, tool_call_id=call.call_id, tool_name=call.name),
        )

    def thought(self, config: SessionConfig, delegation_id: str | None) -> Think:
        """Give what the LLM is to be asked."""
        responses = getattr(config.delegation, "responses", None)
        instructions = getattr(responses, "instructions", None) or config.instructions
        messages = list(self._history)
        if instructions:
            messages.insert(0, Message("system", str(instructions)))
        return Think(delegation_id, messages, _tools(getattr(responses, "tools", None) or ()))


def _tools(tools: Iterable[object]) -> tuple[ToolSpec, ...]:
    functions = (tool for tool in tools if getattr(tool, "type", None) == "function")
    return tuple(
        ToolSpec(
            str(getattr(tool, "name", "")),
            str(getattr(tool, "description", None) or ""),
            _schema(getattr(tool, "parameters", None)),
        )
        for tool in functions
    )


def _schema(parameters: object) -> Mapping[str, object]:
    return parameters if isinstance(parameters, dict) else {"type": "object", "properties": {}}


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return " ".join(text for text in texts if isinstance(text, str))
