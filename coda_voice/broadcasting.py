"""A VoiceManager whose every operation is broadcast, as Coda's WebSocketVoiceManager does it.

    manager = WebSocketVoiceManager(config)
    await manager.set_websocket_integration(coda.websocket)

The integration has ``await broadcast_event(event_type, data)``, itself or as ``.server``. It is
called by a task of its own, in order: a slow or broken one holds up no conversation. Up to
1024 messages wait; then the oldest is dropped and counted.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

from coda_voice.errors import IntegrationError
from coda_voice.events import ConversationEnded, Event
from coda_voice.exchange import AudioChunk
from coda_voice.manager import VoiceManager
from coda_voice.models import VoiceAnalytics, VoiceResponse, VoiceStreamChunk
from coda_voice.moshi.frames import Sampling
from coda_voice.moshi.prompt import Prompt

logger = logging.getLogger(__name__)

WAITING = 1_024
SENDING_SECONDS = 5.0
"""A broadcast that takes longer is given up."""
Broadcast = Callable[[str, dict[str, object]], Awaitable[object] | object]


class WebSocketVoiceManager(VoiceManager):
    """A VoiceManager that broadcasts what it does.

    The event types are Coda's: ``conversation_start``, ``conversation_end``,
    ``audio_processed``, ``audio_chunk``, ``response_generated``, ``analytics_update``.
    ``dropped_broadcasts`` and ``failed_broadcasts`` count what did not arrive. With
    ``integration.websocket_events: false`` nothing is sent.
    """

    dropped_broadcasts = 0
    failed_broadcasts = 0
    _broadcast: Broadcast | None = None
    _sender: asyncio.Task[None] | None = None
    _stop_listening: Callable[[], None] | None = None

    async def set_websocket_integration(self, integration: object | None) -> None:
        """Broadcast through ``integration``; None ends it.

        Raises IntegrationError for one without ``broadcast_event``.
        """
        await self._stop_sending()
        if integration is None:
            return
        for place in (integration, getattr(integration, "server", None)):
            broadcast = getattr(place, "broadcast_event", None)
            if callable(broadcast):
                self._broadcast = broadcast
                self._messages: deque[tuple[str, dict[str, object]]] = deque(maxlen=WAITING)
                self._there = asyncio.Event()
                self._sender = asyncio.create_task(self._send(broadcast))
                self._stop_listening = self.events.listen(self._over)
                return
        raise IntegrationError(
            f"The WebSocket integration ({type(integration).__name__}) has no method "
            "broadcast_event(event_type, data), and its .server has none.",
            "no_broadcast_event",
        )

    # ---- operations -------------------------------------------------------------------

    async def start_conversation(
        self,
        user_id: str | None = None,
        conversation_id: str | None = None,
        *,
        prompt: Prompt | None = None,
        sampling: Sampling | None = None,
    ) -> str:
        """See ``VoiceManager.start_conversation``."""
        started = await super().start_conversation(
            user_id, conversation_id, prompt=prompt, sampling=sampling
        )
        self._tell("conversation_start", conversation_id=started, user_id=user_id)
        return started

    async def process_voice_input(self, conversation_id: str, audio_data: bytes) -> VoiceResponse:
        """See ``VoiceManager.process_voice_input``."""
        response = await super().process_voice_input(conversation_id, audio_data)
        self._tell(
            "audio_processed",
            conversation_id=conversation_id,
            audio_size=len(audio_data),
            latency_ms=response.total_latency_ms,
        )
        self._tell(
            "response_generated",
            **response.model_dump(mode="json", exclude={"audio_data"}),
        )
        return response

    async def process_voice_stream(
        self,
        conversation_id: str,
        audio_stream: AsyncIterable[AudioChunk],
        *,
        finish_answer: bool | None = None,
    ) -> AsyncGenerator[VoiceStreamChunk, None]:
        """See ``VoiceManager.process_voice_stream``."""
        chunks = super().process_voice_stream(
            conversation_id, audio_stream, finish_answer=finish_answer
        )
        try:
            async for chunk in chunks:
                self._tell("audio_chunk", **chunk.model_dump(mode="json", exclude={"audio_data"}))
                yield chunk
        finally:
            await chunks.aclose()

    async def get_analytics(self) -> VoiceAnalytics:
        """See ``VoiceManager.get_analytics``."""
        analytics = await super().get_analytics()
        self._tell("analytics_update", **analytics.model_dump(mode="json"))
        return analytics

    async def shutdown(self) -> None:
        """See ``VoiceManager.shutdown``; what waits is sent first."""
        await super().shutdown()
        await self._stop_sending()

    # ---- sending ----------------------------------------------------------------------

    def _over(self, event: Event) -> None:
        """Tell each end: most are asked for, others come at a limit, of idleness, by a shutdown."""
        if isinstance(event, ConversationEnded):
            self._tell(
                "conversation_end", conversation_id=event.conversation_id, reason=event.reason
            )

    def _tell(self, event_type: str, **data: object) -> None:
        if self._broadcast is None or not self.config.integration.websocket_events:
            return
        self.dropped_broadcasts += len(self._messages) == WAITING
        self._messages.append((event_type, data))
        self._there.set()

    async def _send(self, broadcast: Broadcast) -> None:
        while True:
            await self._there.wait()
            self._there.clear()
            while self._messages:
                event_type, data = self._messages.popleft()
                try:
                    async with asyncio.timeout(SENDING_SECONDS):
                        sent = broadcast(event_type, data)
                        if inspect.isawaitable(sent):
                            await sent
                except Exception as error:  # noqa: BLE001 - it is somebody else's code
                    self.failed_broadcasts += 1
                    if self.failed_broadcasts == 1:
                        logger.warning("a broadcast failed: %s: %s", type(error).__name__, error)

    async def _stop_sending(self) -> None:
        sender, self._sender = self._sender, None
        if sender is None:
            return
        if self._stop_listening is not None:
            self._stop_listening()
        for _ in range(100):
            if not self._messages:
                break
            await asyncio.sleep(0.01)
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        self._broadcast = None
