"""Put messages into the order that every model's chat template takes.

The templates of Gemma and Mistral refuse (400 from vLLM and llama.cpp) what the others bear:
a system message that is not the first, an assistant that begins, two messages of one role in
a row, nothing of the user's to answer at the end. Calls of tools and their results do not count
for it: they stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from coda_voice.hybrid.llm import Message

NOTHING_SAID = "(silence)"
"""The user's part where the agent spoke first, or is to speak unasked, as in a greeting."""


def alternating(messages: Sequence[Message]) -> list[Message]:
    """Give ``messages`` as one system message at most, then user and assistant by turns.

    The last is the user's, or a tool's result. Neighbours of one role become one message. A later
    system message is a note in brackets: in the user's message, or in the result of the tool that
    it follows.
    """
    ordered: list[Message] = []
    for message in messages:
        last = ordered[-1] if ordered else None
        joins = last is not None and last.role == message.role and not last.tool_calls
        if last is not None and message.role == "system":
            joins = last.role in ("user", "tool")
            message = Message(last.role if joins else "user", f"({message.content})")
        elif message.role == "assistant" and (last is None or last.role == "system"):
            ordered.append(Message("user", NOTHING_SAID))
        elif message.role == "tool":
            joins = False  # each call has a result of its own
        if last is not None and joins:
            ordered[-1] = _joined(last, message)
        else:
            ordered.append(message)
    if ordered and ordered[-1].role in ("system", "assistant"):
        ordered.append(Message("user", NOTHING_SAID))
    return ordered


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """Tell in words what tools have said, for a model that knows no tools."""
    told: list[Message] = []
    for message in messages:
        if message.role == "tool":
            told.append(Message("system", f"The tool {message.tool_name} said: {message.content}"))
        elif not message.tool_calls:
            told.append(message)
        elif message.content:
            told.append(Message(message.role, message.content))
    return told


def _joined(first: Message, second: Message) -> Message:
    return replace(
        first,
        content="\n".join(text for text in (first.content, second.content) if text),
        thinking=first.thinking + second.thinking,
        tool_calls=second.tool_calls,
    )
