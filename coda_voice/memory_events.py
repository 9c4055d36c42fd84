"""What happened to memory and personality in a conversation, as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coda_voice.events import (
    MemoryInjected,
    MemoryStored,
    PersonalityAdapted,
    RefusedMemory,
)
from coda_voice.moshi.conditioning import Injection, Refusal
from coda_voice.recollection import Adaptation, By, Kept

if TYPE_CHECKING:
    from coda_voice.conversation import Conversation


def injected(
    conversation: Conversation,
    told: Injection,
    said: str = "",
    seconds: float = 0.0,
    *,
    refused: Sequence[Refusal] = (),
    skipped: str | None = None,
    by: By = "rules",
) -> MemoryInjected:
    """Say what was told; ``said`` is empty for what lasts, ``seconds`` until it was decided."""
    return MemoryInjected(
        conversation_id=conversation.id,
        time=conversation.seconds,
        generation=told.generation,
        injected=told.told,
        channel=told.channel,
        frame=told.frame,
        refused=tuple(
            RefusedMemory(text=one.text, reason=one.reason) for one in (*told.refused, *refused)
        ),
        said=said,
        skipped=skipped,
        milliseconds=seconds * 1e3,
        by=by,
    )


def stored(conversation: Conversation, kept: Kept) -> MemoryStored:
    """Say what was stored of what the user said."""
    return MemoryStored(
        conversation_id=conversation.id,
        time=conversation.seconds,
        generation=conversation.generation,
        text=kept.text,
        facts=kept.facts,
        by=kept.by,
        refused=tuple(RefusedMemory(text=text, reason=why) for text, why in kept.refused),
        why_not=kept.why_not,
        taken_back=kept.taken_back,
    )


def adapted(conversation: Conversation, change: Adaptation) -> PersonalityAdapted:
    """Say which trait moved, and why."""
    return PersonalityAdapted(
        conversation_id=conversation.id,
        time=conversation.seconds,
        generation=conversation.generation,
        trait=change.trait,
        before=change.before,
        after=change.after,
        because=change.because,
    )
