"""An LLM in the service of memory: asked for JSON, within a time, and left alone when it fails.

Whoever asks gets an answer of the right form or an ``LlmError``, and then does by rules what the
LLM was asked to do. Everything that users said goes to it as JSON: data, never instructions.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from pydantic import BaseModel
from pydantic import ValidationError as ShapeError

from coda_voice.errors import LlmError

log = logging.getLogger("coda_memory")

Ask = Callable[[str, str], Awaitable[str]]
"""Gives an LLM's whole answer to a system prompt and a user's message. Raises LlmError."""
Shape = TypeVar("Shape", bound=BaseModel)
WAITING = 8
"""Questions that may wait for the LLM's leisure; the next is refused."""
REST_SECONDS = 30.0
"""So long nothing is asked of an LLM that failed."""


class Leisure(Protocol):
    """Whether the LLM has something better to do: an answer that a user waits for."""

    @property
    def busy(self) -> bool:
        """Whether somebody waits for it now."""

    async def wait(self) -> None:
        """Wait until nobody does."""


class MemoryLlm:
    """One LLM for all memories of a process. For one event loop.

    leisure: None for an LLM of memory's own.
    """

    def __init__(
        self, ask: Ask, leisure: Leisure | None = None, *, rest_seconds: float = REST_SECONDS
    ) -> None:
        self._ask = ask
        self._leisure = leisure
        self._rest_seconds = rest_seconds
        self._rests_until = 0.0
        self._waiting = 0
        self._one = asyncio.Lock()

    @property
    def free(self) -> bool:
        """Whether it could answer at once."""
        busy = self._leisure is not None and self._leisure.busy
        return not busy and not self._one.locked() and self._resting() <= 0

    async def when_free(
        self, system: str, data: object, shape: type[Shape], seconds: float, patience: float
    ) -> Shape:
        """Ask once nobody waits for the LLM, in ``patience`` seconds at most. Raises LlmError."""
        if self._waiting >= WAITING:
            raise LlmError(f"{WAITING} turns wait for the LLM already.", "llm_busy")
        self._waiting += 1
        try:
            async with asyncio.timeout(patience):
                await self._one.acquire()
                try:
                    if self._leisure is not None:
                        await self._leisure.wait()
                except BaseException:
                    self._one.release()
                    raise
        except TimeoutError:
            raise LlmError(f"The LLM had no time for {patience:g} s.", "llm_busy") from None
        finally:
            self._waiting -= 1
        try:
            return await self._answer(system, data, shape, seconds)
        finally:
            self._one.release()

    async def now(self, system: str, data: object, shape: type[Shape], seconds: float) -> Shape:
        """Ask at once; give the answer as ``shape``. Raises LlmError, after ``seconds`` too."""
        if not self.free:
            raise LlmError("The LLM has no time at the moment.", "llm_busy")
        async with self._one:
            return await self._answer(system, data, shape, seconds)

    async def _answer(self, system: str, data: object, shape: type[Shape], seconds: float) -> Shape:
        if (left := self._resting()) > 0:
            raise LlmError(f"The LLM failed; it is left alone for {left:.0f} s.", "llm_resting")
        try:
            async with asyncio.timeout(seconds):
                said = await self._ask(system, json.dumps(data, ensure_ascii=False))
            return read(said, shape)
        except TimeoutError:
            error = LlmError(f"The LLM did not answer within {seconds:g} s.", "llm_stalled")
            raise self._failed(error) from None
        except LlmError as error:
            raise self._failed(error) from error

    def _resting(self) -> float:
        return self._rests_until - asyncio.get_running_loop().time()

    def _failed(self, error: LlmError) -> LlmError:
        self._rests_until = asyncio.get_running_loop().time() + self._rest_seconds
        log.warning("memory does without the LLM for %g s: %s", self._rest_seconds, error.message)
        return error


def read(said: str, shape: type[Shape]) -> Shape:
    """Read the JSON object in an LLM's answer, which may have a fence or words around it.

    Raises LlmError where there is none, or one of another form.
    """
    start, end = said.find("{"), said.rfind("}")
    try:
        return shape.model_validate_json(said[start : end + 1] if 0 <= start < end else "")
    except ShapeError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LlmError(
            f"The LLM's answer is not of the form asked for ({where or 'no JSON'}: "
            f"{first['msg']}).",
            "llm_bad_answer",
        ) from None
