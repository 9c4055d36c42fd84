"""All sessions of the server: who gets a slot, who waits for one, who comes back, who must go."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from coda_voice.config.server import ServerConfig
from coda_voice.errors import (
    AccessError,
    ConfigurationError,
    ConversationError,
    ProtocolError,
    SlotsFullError,
)
from coda_voice.events import Event
from coda_voice.manager import VoiceManager
from coda_voice.moshi.prompt import Prompt
from coda_voice.server import outputs
from coda_voice.server.access import Caller, may_touch, token_ended
from coda_voice.server.outputs import Draining, Failed, Lost
from coda_voice.server.recording import Recorder
from coda_voice.server.session import Session, Wish, checked_rate
from coda_voice.server.voices import Voices

logger = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds after which a refused client may try again."""
WATCH_SECONDS = 0.25
END_SECONDS = 10.0
"""At a shutdown, for a conversation's memories to be stored and its tools to stop."""
AUDIO_THREADS = 2


@dataclass(slots=True)
class Opening:
    """A conversation on its way to becoming a session of ``subject``."""

    subject: str
    events: list[Event] = field(default_factory=list)
    """What has happened in it so far: its session is to be told."""


class Sessions:
    """Opens, finds and ends sessions; ``watch`` ends those whose time is over."""

    def __init__(self, manager: VoiceManager, settings: ServerConfig) -> None:
        self.manager = manager
        self.settings = settings
        self.voices = Voices(settings.voices)
        self.draining = False
        self.refused = 0
        self.lost: Lost = lambda where, frames: None
        """Counts frames that sessions lose."""
        self.pool = ThreadPoolExecutor(AUDIO_THREADS, thread_name_prefix="coda-server-audio")
        self._sessions: dict[str, Session] = {}
        self._by_token: dict[str, Session] = {}
        self._openings: dict[str, Opening] = {}
        self._line: deque[asyncio.Event] = deque()
        """Who waits, in order; ``settings.waiting`` at most."""
        self._kept: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def waiting(self) -> int:
        """Clients in line."""
        return len(self._line)

    def all(self) -> list[Session]:
        """Give the sessions that go on."""
        return list(self._sessions.values())

    def of(self, caller: Caller, conversation_id: str) -> Session:
        """Give a session that ``caller`` may touch. Raises ConversationError, also for others'."""
        session = self._sessions.get(conversation_id)
        if session is None or not may_touch(caller, session.caller.subject):
            raise ConversationError(
                f"There is no conversation {conversation_id!r} of yours.", "unknown_conversation"
            )
        return session

    # ---- begin ------------------------------------------------------------------------

    async def open(
        self, caller: Caller, wish: Wish, on_position: Callable[[int], None] | None = None
    ) -> Session:
        """Begin a conversation for ``caller``; it is attached to nobody yet.

        With ``wish.wait`` and no free slot, waits in line and tells ``on_position`` where.
        Raises SlotsFullError, AccessError for more than the caller's own share,
        ConversationError while the server shuts down, ProtocolError and ConfigurationError for
        wishes that cannot be met.
        """
        await self._let_go_for(caller)
        self._check_share(caller)
        if wish.record is not None and self.settings.recordings is None:
            raise ProtocolError("This server records nothing.", "no_recording", fatal=True)
        checked_rate(wish.sample_rate)
        prompt = await self._prompt(wish)
        session = None if self._line else await self._start(caller, wish, prompt)
        if session is None:
            session = await self._in_line(caller, wish, prompt, on_position)
        return session

    async def _start(self, caller: Caller, wish: Wish, prompt: Prompt | None) -> Session | None:
        """Give a session, or None if no slot is free."""
        self._check_share(caller)
        sampling = self.manager.sampling()
        if wish.seed is not None:
            sampling = replace(sampling, seed=wish.seed)
        if wish.sampling is not None:
            sampling = wish.sampling(sampling)
        conversation_id = str(uuid.uuid4())
        self._openings[conversation_id] = Opening(caller.subject)
        try:
            await self.manager.start_conversation(
                caller.subject, conversation_id, prompt=prompt, sampling=sampling
            )
            return await self._take_up(conversation_id, caller, wish)
        except SlotsFullError:
            return None
        finally:
            self._openings.pop(conversation_id, None)

    async def _take_up(self, conversation_id: str, caller: Caller, wish: Wish) -> Session:
        """Make a session of a conversation; it is told what has happened from the start on."""
        session = Session(
            self.manager.conversation(conversation_id),
            self.manager,
            caller,
            self.pool,
            wish,
            self.lost,
        )
        self._sessions[conversation_id] = session
        self._by_token[session.token] = session
        try:
            if wish.record is not None:
                session.recorder = await self._recorder(session, wish.record)
            for event in self._openings.pop(conversation_id).events:
                session.happened(event)
            await session.begin()
        except BaseException:  # nobody would ever attach to it
            await self.end(session, "connection_lost")
            raise
        return session

    async def _recorder(self, session: Session, agreed: str) -> Recorder:
        def begin() -> Recorder:
            return Recorder(
                Path(self.settings.recordings or "").expanduser(),
                session.conversation.id,
                agreed=agreed,
                user_id=session.caller.subject,
                checkpoint=self.manager.config.moshi.checkpoint,
            )

        opening = asyncio.ensure_future(asyncio.to_thread(begin))
        try:
            return await asyncio.shield(opening)
        except ConfigurationError:
            await self.end(session, "cannot_record")
            raise
        except asyncio.CancelledError:  # the client has gone; the thread has not
            opening.add_done_callback(_discard)
            raise

    def resume(self, caller: Caller, token: str) -> Session:
        """Give ``caller`` the session that ``token`` belongs to. Raises ConversationError."""
        session = self._by_token.get(token)
        if session is None or session.ended is not None or session.caller.subject != caller.subject:
            raise ConversationError(
                "This server does not have that conversation (any more): it was too late, or the "
                "server was restarted. Connect without resume; what was remembered is kept.",
                "resume_unknown",
            )
        session.caller = caller  # it lasts as long as the token shown now, not the first one
        return session

    async def _let_go_for(self, caller: Caller) -> None:
        """End the caller's lost conversations where those alone keep them from a new one."""
        if caller.conversations is None:
            return
        while self._held_by(caller) >= caller.conversations:
            mine = (s for s in self.all() if s.caller.subject == caller.subject)
            lost = next((s for s in mine if s.left), None)  # anew: it may have come back
            if lost is None:
                return
            await self.end(lost, "replaced")

    def _held_by(self, caller: Caller) -> int:
        """Give how many conversations are the caller's, those included that are being opened."""
        ids = {key for key, s in self._sessions.items() if s.caller.subject == caller.subject}
        ids |= {key for key, o in self._openings.items() if o.subject == caller.subject}
        return len(ids)

    def _check_share(self, caller: Caller) -> None:
        if self.draining:
            raise ConversationError(
                "The server is shutting down and begins no conversations.",
                "draining",
                retry_after=RETRY_AFTER,
            )
        mine = self._held_by(caller)
        if caller.conversations is not None and mine >= caller.conversations:
            raise AccessError(
                f"You hold {mine} conversations, as many as you may at once; end one first.",
                "too_many_conversations",
            )

    async def _prompt(self, wish: Wish) -> Prompt | None:
        if wish.prompt is None and wish.voice is None:
            return None
        voice = None
        if wish.voice is not None:
            voice = await asyncio.to_thread(self.voices.read, wish.voice)
        text = self.manager.config.moshi.prompt if wish.prompt is None else wish.prompt
        return Prompt(text=text or "", voice=voice) or None

    async def _in_line(
        self,
        caller: Caller,
        wish: Wish,
        prompt: Prompt | None,
        on_position: Callable[[int], None] | None,
    ) -> Session:
        if not wish.wait or len(self._line) >= self.settings.waiting:
            self.refused += 1
            raise SlotsFullError(
                "Every slot is taken; try again in a few seconds"
                + ("." if wish.wait else ", or ask to wait in line."),
                retry_after=RETRY_AFTER,
            )
        moved = asyncio.Event()
        until = asyncio.get_running_loop().time() + self.settings.wait_seconds
        self._line.append(moved)
        told = 0
        try:
            while True:
                moved.clear()
                position = self._line.index(moved) + 1
                if position == 1:
                    # Who is being given a slot gets it, however long that takes.
                    session = await self._start(caller, wish, prompt)
                    if session is not None:
                        return session
                if position != told and on_position is not None:
                    on_position(position)
                told = position
                async with asyncio.timeout_at(until):
                    await moved.wait()
        except TimeoutError as error:
            self.refused += 1
            raise SlotsFullError(
                f"No slot has become free in {self.settings.wait_seconds:.0f} s; try again later.",
                retry_after=RETRY_AFTER,
            ) from error
        finally:
            self._line.remove(moved)
            self._move_line()

    def _move_line(self) -> None:
        for moved in self._line:
            moved.set()

    # ---- end --------------------------------------------------------------------------

    def happened(self, event: Event) -> None:
        """Pass an event to the session of its conversation. In the event loop's thread."""
        opening = self._openings.get(event.conversation_id)
        if opening is not None:
            opening.events.append(event)
            return
        session = self._sessions.get(event.conversation_id)
        if session is not None:
            session.happened(event)

    async def end(self, session: Session, reason: str, failure: Failed | None = None) -> None:
        """End a session; its slot is free for the next in line."""
        await session.end(reason, failure)
        self._forget(session)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.conversation.id, None)
        self._by_token.pop(session.token, None)
        self._move_line()

    async def watch(self) -> None:
        """End, for ever, sessions that are over: idle, lost, expired, too long, too slow."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for session in self.all():
                if self._over(session) is not None:
                    self._keep(asyncio.create_task(self._end_if_over(session)))
            self._move_line()  # a slot may also be freed by somebody who is no session

    async def _end_if_over(self, session: Session) -> None:
        """End a session whose time is over still: its client may just have come back."""
        over = self._over(session)
        if over is not None:
            await self.end(session, *over)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def _over(self, session: Session) -> tuple[str, Failed | None] | None:
        now, rules = time.monotonic(), self.settings
        if session.ended is not None:
            return session.ended, None
        if session.detached_since is not None:
            lost = now - session.detached_since > rules.resume_seconds
            return ("connection_lost", None) if lost else None
        if now - session.last_audio > rules.idle_seconds:
            return "idle", Failed(
                "idle", f"No audio came for {rules.idle_seconds:.0f} s.", fatal=True
            )
        if rules.longest_seconds is not None and now - session.began > rules.longest_seconds:
            return "time_limit", Failed(
                "time_limit", "The longest time of a connection is over.", fatal=True
            )
        if session.caller.seconds_left == 0:
            error = token_ended()
            return error.error_code, Failed(error.error_code, error.message, fatal=True)
        behind = session.outbox.behind_since
        slow = behind is not None and now - behind > outputs.SLOW_SECONDS
        if slow or session.too_slow:
            return "slow_reader", outputs.slow_reader()
        return None

    async def drain(self, seconds: float) -> None:
        """Begin nothing new; let what goes on end in peace, or end it after ``seconds``."""
        self.draining = True
        self._move_line()
        for session in self.all():
            session.outbox.put(Draining(seconds))
        deadline = time.monotonic() + seconds
        ending: dict[Session, asyncio.Task[None]] = {}

        def end(session: Session) -> None:
            if session not in ending:
                ending[session] = asyncio.create_task(self.end(session, "server_restart"))
                self._keep(ending[session])

        while self._sessions and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            for session in self.all():
                if session.ended is not None or session.left:
                    end(session)
        for session in self.all():
            end(session)  # all at once: what each still has to store takes its time
        await self._wait_for_ends(ending.values())

    async def _wait_for_ends(self, ending: Iterable[asyncio.Task[None]]) -> None:
        """Wait for ends that are under way, but not for what does not let go of one."""
        tasks = set(ending)
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=END_SECONDS)
        if left:
            logger.warning(
                "%d conversations have not let go within %.0f s (a tool, a memory or an attendant "
                "of theirs goes on); the server does not wait for them.",
                len(left),
                END_SECONDS,
            )

    async def close(self) -> None:
        """End everything."""
        for session in self.all():
            self._keep(asyncio.create_task(self.end(session, "shutdown")))
        await self._wait_for_ends(self._kept)
        self.pool.shutdown(wait=False, cancel_futures=True)


def _discard(opening: asyncio.Future[Recorder]) -> None:
    """Leave nothing of a recording whose conversation never began."""
    if not opening.cancelled() and opening.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, opening.result().discard)
