"""What the LLM is told: how to speak, what is known, what happened meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from coda_voice.hybrid.llm import Message
from coda_voice.protocols import ToolOutcome

SPEAKING_STYLE = (
    "You think for a voice assistant. What you write is spoken aloud, word for word, while you "
    "write it. Answer in one to three short sentences of plain English, the answer first. No "
    "markdown, no lists, no emoji, no links. Write numbers and units as one says them. Use a tool "
    "whenever it gives a better answer than your memory, and say that something is done only "
    "after its tool has said so. If you do not know, say so."
)
NO_MORE_TOOLS = (
    "No more tools can be used in this turn. Answer now, from what you have, and say honestly "
    "what you could not find out."
)
REFUSED = "The user did not allow this. It was not done."


def prompt_messages(
    text: str,
    history: Sequence[Message],
    context: str,
    kept: Sequence[ToolOutcome],
    style: str = SPEAKING_STYLE,
) -> list[Message]:
    """Put a prompt together: style, context, late results, history, the user's words."""
    parts = [style]
    if context.strip():
        parts.append(f"What you know about the user and the talk:\n{context.strip()}")
    if kept:
        lines = [f"- {outcome.tool_name}: {outcome_text(outcome)}" for outcome in kept]
        parts.append("Tools that finished after the user had interrupted:\n" + "\n".join(lines))
    return [Message("system", "\n\n".join(parts)), *history, Message("user", text)]


def outcome_text(outcome: ToolOutcome) -> str:
    """Write what came of a call for the LLM."""
    return outcome.result if outcome.success else f"Error: {outcome.error}"


def tool_message(outcome: ToolOutcome) -> Message:
    """Give the outcome back to the LLM that asked for it."""
    return Message(
        "tool", outcome_text(outcome), tool_call_id=outcome.call_id, tool_name=outcome.tool_name
    )
