"""The responses of one Realtime session: which is under way, and what is sent of the voice.

One response belongs to the conversation at a time: a stretch of the agent's own speech, one
that the client asked for, or an LLM's words spoken or written. Others are out of band.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from openai.types.realtime import (
    RealtimeConversationItemUserMessage,
    ResponseCancelEvent,
    ResponseCreateEvent,
)
from openai.types.realtime.realtime_response_create_params import RealtimeResponseCreateParams

from coda_integrations.realtime.codec import RealtimeProtocolError
from coda_integrations.realtime.commands import Hush, Out, Script, StopThinking, Think
from coda_integrations.realtime.items import ItemLog, messages_of
from coda_integrations.realtime.response import Reason, Response
from coda_integrations.realtime.settings import SessionSettings
from coda_voice.events import SpeechEnded, SpeechStarted
from coda_voice.heard import Heard
from coda_voice.hybrid.llm import Message, ToolCall
from coda_voice.moshi.frames import FRAME_SECONDS
from coda_voice.protocols import ToolSpec

ANSWER_FRAMES = 100
"""So long a requested response waits for the agent to begin by itself."""
TAIL_FRAMES = 6
"""The sound of a script's last word comes after its text: so many frames at least."""
LEAD_FRAMES = 8
"""An onset is certain only some frames later: so many are remembered."""
MAX_BESIDE = 8
"""Responses out of band at once."""


class _Kind(Enum):
    NATIVE = "native"
    """The agent spoke by itself."""
    AWAITED = "awaited"
    """The client asked, and the agent has not begun yet."""
    SCRIPTED = "scripted"
    """An LLM's words, spoken by the voice."""
    WRITTEN = "written"
    """An LLM's words, as text."""
    CALLS = "calls"
    """Nothing but calls of the client's tools."""


_AUDIBLE = (_Kind.NATIVE, _Kind.AWAITED, _Kind.SCRIPTED)


class Responses:
    """Makes and ends responses; every method gives what is to be sent and done."""

    def __init__(self, conversation_id: str, settings: SessionSettings, items: ItemLog) -> None:
        self._conversation_id = conversation_id
        self._settings = settings
        self._items = items
        self._outlet = settings.output_wire.outlet()
        self._active: Response | None = None
        self._kind = _Kind.NATIVE
        self._thinking = False
        self._begun = False
        self._waited = 0
        self._tail = 0
        self._gated = False
        """The agent is still saying what is not wanted any more."""
        self._calls: list[ToolCall] = []
        """Of the client's tools, which follow on the words that are being said."""
        self._beside: dict[str, Response] = {}
        self._tool_thought: Response | None = None
        """Thought about while the agent answers by itself; announced only if it calls a tool."""
        self._known: str | None = None
        """The last of the user's items whose words are known."""
        self._to_answer: str | None = None
        """The last of the user's items that the client wants answered by the voice."""
        self._answer_tools: tuple[ToolSpec, ...] = ()
        """The client's tools for that answer."""
        self._considered: tuple[str, tuple[ToolSpec, ...]] | None = None
        """For which item an LLM was asked for tools last, and for which."""
        self.own_tools = False
        """Whether a response has had tools of its own: the next one may, too."""
        self._recent: deque[Heard] = deque(maxlen=LEAD_FRAMES)
        self._frames = 0
        self._frames_told = 0

    # ---- asked for -----------------------------------------------------------------------

    def create(self, event: ResponseCreateEvent) -> list[Out]:
        """Begin the response that a client asks for. Raises RealtimeProtocolError."""
        asked = event.response or RealtimeResponseCreateParams()
        beside = asked.conversation == "none"
        text_only = (
            self._settings.text_only
            if asked.output_modalities is None
            else asked.output_modalities == ["text"]
        )
        tools = self._settings.tools_for(asked)  # what is refused ends nothing
        by_voice = not beside and self._is_for_the_voice(asked)
        outs: list[Out] = []
        if not (beside and text_only):
            outs += self._make_room(by_voice=by_voice)
        elif len(self._beside) >= MAX_BESIDE:
            raise RealtimeProtocolError(
                f"{MAX_BESIDE} responses out of band are under way; wait for one to be done.",
                "conversation_already_has_active_response",
            )
        response = Response(
            self._conversation_id,
            None if beside else self._items,
            text_only=text_only,
            metadata=asked.metadata,
        )
        self.own_tools = self.own_tools or bool(asked.tools)
        thought = None if by_voice else self._thought_for(response, asked, tools)
        outs += response.created()
        if beside and text_only:
            self._beside[response.id] = response
        elif thought is None:
            self._begin(response, _Kind.AWAITED)
            self._to_answer, self._answer_tools = self._items.last_id, tools
            if self._known == self._to_answer:
                outs += self._think_of_tools()
        else:
            self._begin(response, _Kind.WRITTEN if text_only else _Kind.SCRIPTED)
        if thought is not None:
            outs.append(thought)
        return outs

    def _make_room(self, *, by_voice: bool) -> list[Out]:
        """End what the agent says by itself; a response that was asked for is not ended.

        Nor, where the voice is to answer, what it is saying: that is the answer.
        """
        if self._active is None:
            return []
        if self._kind is _Kind.CALLS or (self._kind is _Kind.NATIVE and not by_voice):
            return self._end_active("client_cancelled")
        raise RealtimeProtocolError(
            f"Conversation already has an active response in progress: {self._active.id}. Wait "
            "until the response is finished before creating a new one.",
            "conversation_already_has_active_response",
        )

    def _is_for_the_voice(self, asked: RealtimeResponseCreateParams) -> bool:
        """Whether the voice answers by itself, to what it has heard, and not the LLM."""
        if asked.instructions is not None or asked.input is not None:
            return False
        last = self._items.last
        if last is not None and self._active is not None and last.id == self._active.item_id:
            last = self._items.before(self._active.item_id)  # what that is the answer to
        if last is None:
            return not self._settings.instructions
        return isinstance(last, RealtimeConversationItemUserMessage) and any(
            part.type == "input_audio" for part in last.content
        )

    def _thought_for(
        self,
        response: Response,
        asked: RealtimeResponseCreateParams,
        tools: tuple[ToolSpec, ...],
    ) -> Think:
        """What to ask the LLM."""
        heard = self._items.messages() if asked.input is None else messages_of(asked.input)
        return Think(response, self._with_instructions(heard, asked.instructions), tools)

    def _with_instructions(
        self, messages: list[Message], instructions: str | None = None
    ) -> list[Message]:
        text = instructions or self._settings.instructions
        return [Message("system", text), *messages] if text else messages

    def _begin(self, response: Response, kind: _Kind) -> None:
        self._active, self._kind = response, kind
        self._begun, self._waited, self._tail, self._calls = False, 0, 0, []
        self._thinking = kind in (_Kind.SCRIPTED, _Kind.WRITTEN, _Kind.CALLS)
        self._outlet = self._settings.output_wire.outlet()

    def cancel(self, event: ResponseCancelEvent) -> list[Out]:
        """Cancel as a client asks. Raises RealtimeProtocolError."""
        beside = self._beside.pop(event.response_id or "", None)
        if beside is not None:
            return [*beside.done("cancelled", reason="client_cancelled"), StopThinking()]
        if self._active is None or event.response_id not in (None, self._active.id):
            raise RealtimeProtocolError(
                "Cancellation failed: no active response found.", "response_cancel_not_active"
            )
        return [*self._no_tools(), *self._end_active("client_cancelled")]

    def cut_off(self, item_id: str) -> list[Out]:
        """Cancel the response that is saying an item which the client cuts short."""
        if self._active is None or self._active.item_id != item_id:
            return []
        return self._end_active("client_cancelled")

    def interrupted(self) -> list[Out]:
        """The user speaks: what is being said ends, where the client wants it so."""
        detection = self._settings.turn_detection
        if detection is None or not detection.interrupt_response:
            return []
        outs = self._no_tools()
        if self._kind is _Kind.WRITTEN:
            return outs
        return outs + self._end_active("turn_detected")

    def encode_anew(self) -> None:
        """Begin to send sound in the format that was set."""
        self._outlet = self._settings.output_wire.outlet()

    @property
    def audible(self) -> bool:
        """Whether the agent's speech is sent, should it begin at this moment."""
        if self._gated:
            return False
        return self._answers_itself if self._active is None else self._kind in _AUDIBLE

    @property
    def _answers_itself(self) -> bool:
        detection = self._settings.turn_detection
        return detection is not None and detection.create_response

    def _end_active(self, reason: Reason) -> list[Out]:
        """Cancel the response under way; what the agent is still saying is not sent on."""
        response, self._active = self._active, None
        if response is None:
            return []
        self._to_answer = None
        self._gated = self._kind is not _Kind.WRITTEN
        return [*response.done("cancelled", reason=reason, input_frames=self._new_frames()), Hush()]

    def _finish(self, *, error: tuple[str, str] | None = None) -> list[Out]:
        response, self._active = self._active, None
        if response is None:
            return []
        return list(
            response.done(
                "completed" if error is None else "failed",
                error=error,
                input_frames=self._new_frames(),
            )
        )

    def _new_frames(self) -> int:
        new, self._frames_told = self._frames - self._frames_told, self._frames
        return new

    def words_known(self, item_id: str) -> list[Out]:
        """The user's words are known, up to this item: an LLM may want to call tools."""
        self._known = item_id
        return self._think_of_tools()

    def _think_of_tools(self) -> list[Out]:
        """Ask an LLM once words are known and to be answered, whichever comes later."""
        known, asked_for = self._known, self._known == self._to_answer
        if known is None or not (self._answers_itself or asked_for):
            return []
        tools = self._answer_tools if asked_for else self._settings.tools
        if self._considered == (known, tools):
            return []
        outs = self._no_tools()  # those of the session are not those of the answer
        self._considered = known, tools
        if not tools:
            return outs
        # The agent may have begun to answer by itself: that is not to be gone on with.
        messages = self._with_instructions(self._items.messages(up_to=known))
        self._tool_thought = response = self._new()
        return [*outs, Think(response, messages, tools, tools_only=True)]

    def _no_tools(self) -> list[Out]:
        """Think no more about tools for what was said last."""
        response, self._tool_thought = self._tool_thought, None
        self._considered = None
        if response is None:
            return []
        response.forgo()
        return [StopThinking()]

    def _new(self) -> Response:
        return Response(self._conversation_id, self._items, text_only=self._settings.text_only)

    # ---- thoughts ------------------------------------------------------------------------

    def _alive(self, response: Response) -> bool:
        return not response.over and (response is self._active or response.id in self._beside)

    def thought_text(self, response: Response, delta: str) -> list[Out]:
        """The LLM wrote more of a text response."""
        return list(response.text(delta)) if self._alive(response) and response.text_only else []

    def thought_calls(
        self,
        response: Response,
        calls: list[ToolCall],
        tokens: tuple[int, int] = (0, 0),
        *,
        spoken: bool = False,
    ) -> list[Out]:
        """The LLM calls tools of the client; ``tokens``: what it read and wrote for it.

        ``spoken``: the voice was given words before, and says them first. A client answers a
        call at once, and can only do so once the response is over.
        """
        if not calls:
            return []
        outs: list[Out] = []
        beside_the_voice = response is self._tool_thought
        if beside_the_voice:
            self._tool_thought = None
            if self._active is not None and self._kind is _Kind.AWAITED and not self._begun:
                response = self._active
            elif self._active is None or self._kind in (_Kind.NATIVE, _Kind.AWAITED):
                # The agent had begun to answer by itself: the calls come in its place.
                outs += self._end_active("client_cancelled")
                self._begin(response, _Kind.CALLS)
                outs += response.created()
        if not self._alive(response):
            return outs
        response.text_tokens = tokens
        if spoken and response is self._active and self._kind is _Kind.SCRIPTED:
            self._calls = calls
            return outs
        for call in calls:
            outs += response.call(call)
        return outs + self._finish() if beside_the_voice else outs

    def _finish_with_calls(self) -> list[Out]:
        calls = [event for call in self._calls if self._active for event in self._active.call(call)]
        return [*calls, *self._finish()]

    def thought_over(
        self, response: Response, *, tokens: tuple[int, int] = (0, 0), spoken: bool = False
    ) -> list[Out]:
        """The LLM has ended; ``spoken``: the voice was given words that it may still be saying."""
        response.text_tokens = tokens
        if self._beside.pop(response.id, None) is not None:
            return list(response.done())
        if response is not self._active:
            return []
        self._thinking = False
        return [] if spoken and self._kind is _Kind.SCRIPTED else self._finish()

    def thought_failed(
        self, response: Response, code: str, message: str, *, spoken: bool = False
    ) -> list[Out]:
        """The LLM could not answer; ``spoken``: the voice was given words and says no more."""
        if self._beside.pop(response.id, None) is not None:
            return list(response.done("failed", error=(code, message)))
        if response is not self._active:
            return []
        self._gated = self._gated or spoken
        return [*self._finish(error=(code, message)), *([Hush()] if spoken else [])]

    # ---- the voice -----------------------------------------------------------------------

    def heard(self, heard: Heard, script: Script) -> list[Out]:
        """Take the agent's next frame: what of it is sent, and in which response."""
        self._frames += 1
        began = any(isinstance(e, SpeechStarted) and e.speaker == "agent" for e in heard.events)
        ended = any(isinstance(e, SpeechEnded) and e.speaker == "agent" for e in heard.events)
        self._recent.append(heard)
        if self._gated:
            wanted = self._active is not None and self._kind is _Kind.SCRIPTED and script.begun
            self._gated = heard.agent_speaking and not (began or wanted)
            if self._gated:
                return []
        if self._active is None:
            if not began or not self._answers_itself:
                return []
            response = self._new()
            self._begin(response, _Kind.NATIVE)
            return [*response.created(), *self._lead_in(heard)]
        if self._kind is _Kind.SCRIPTED:
            return self._scripted_frame(heard, script)
        if self._kind not in _AUDIBLE:
            return []
        if not self._begun:
            if heard.agent_speaking:
                return self._lead_in(heard)
            self._waited += 1
            return self._finish() if self._waited >= ANSWER_FRAMES else []
        outs = self._sent(heard)
        return outs + self._finish() if ended else outs

    def _lead_in(self, heard: Heard) -> list[Out]:
        """Send the agent's first frames, from a frame before its onset."""
        self._begun = True
        onset = next(
            (e.time for e in heard.events if isinstance(e, SpeechStarted) and e.speaker == "agent"),
            heard.frame.time,
        )
        outs: list[Out] = []
        for frame in self._recent:
            if frame.frame.time >= onset - 1.5 * FRAME_SECONDS:
                outs += self._sent(frame)
        return outs

    def _scripted_frame(self, heard: Heard, script: Script) -> list[Out]:
        if script is Script.LOST:
            if self._calls:  # they were what mattered
                return self._finish_with_calls()
            late = "not_spoken", "The answer could not be begun within 8 s of its request."
            return [*self._finish(error=late), StopThinking()]
        if script in (Script.NONE, Script.WAITING):
            return []
        outs = self._sent(heard)
        if script is Script.OVER and not self._thinking:
            self._tail += 1
            if self._tail >= TAIL_FRAMES and not heard.agent_speaking:
                outs += self._finish_with_calls()
        return outs

    def _sent(self, heard: Heard) -> list[Out]:
        response = self._active
        if response is None:
            return []
        if response.text_only:
            text = heard.text
            spaced = f" {text}" if response.item_id else text
            return list(response.text(spaced)) if text else []
        sound = self._outlet.push(heard.frame.pcm)
        return list(response.audio(sound, heard.frame.words, heard.frame.time))
