"""What clients may ask of a running conversation, by socket or REST, besides talking to it."""

from __future__ import annotations

from coda_voice.errors import ValidationError
from coda_voice.manager import VoiceManager
from coda_voice.server import commands, personalities
from coda_voice.server.outputs import Confirmed
from coda_voice.server.session import Session


class Control:
    """Does what a command asks of a session. Raises VoiceProcessingError with the reason not to."""

    def __init__(self, manager: VoiceManager) -> None:
        self.manager = manager

    async def do(self, session: Session, command: commands.Command) -> None:
        """Obey."""
        if isinstance(command, commands.Interrupt):
            session.interrupt()
        elif isinstance(command, commands.Mute):
            session.mute(command.muted)
        elif isinstance(command, commands.Type):
            session.type_text(command.text)
        elif isinstance(command, commands.ChooseMode):
            await self.choose_mode(session, command)
        elif isinstance(command, commands.ChoosePersonality):
            await self.choose_personality(session, command)
        else:
            raise ValidationError(f"{type(command).__name__} is nothing to ask of a conversation.")

    async def choose_mode(self, session: Session, wanted: commands.ChooseMode) -> None:
        """Have the conversation go on in another mode; the change confirms itself by its event."""
        name = session.conversation.id
        if not await self.manager.set_mode(wanted.mode, name, voice=wanted.voice):
            session.outbox.put(Confirmed("mode", wanted.mode))

    async def choose_personality(
        self, session: Session, wanted: commands.ChoosePersonality
    ) -> None:
        """Give the agent another personality, or other traits."""
        async with session.steering:  # two at once, by socket and by REST, would not see each other
            now = await personalities.take_on(
                session.conversation, wanted.name, wanted.traits, self.manager.memories
            )
        session.outbox.put(Confirmed("personality", now))
