"""Keep a conversation from asking a slow or failing LLM more often than it can answer.

All times are seconds on whatever monotonic clock the caller uses; nothing here sleeps.
"""

from __future__ import annotations

from collections import deque

BACK_OFF_FIRST = 5.0
BACK_OFF_LONGEST = 60.0


class RouteBudget:
    """How often one conversation may ask: ``turns_per_minute``, fewer after bad answers.

    Two bad answers in a row (failed, or slower to the first word than ``slow_after``) close
    the way for 5 s; each further one doubles that up to a minute. A good answer opens it.
    """

    def __init__(self, turns_per_minute: int = 20, slow_after: float = 8.0) -> None:
        self._turns_per_minute = turns_per_minute
        self._slow_after = slow_after
        self._asked: deque[float] = deque(maxlen=turns_per_minute)
        self._bad_in_a_row = 0
        self._closed_until = 0.0

    def refusal(self, now: float) -> str | None:
        """Say why nothing may be asked at ``now``, or None if it may."""
        if now < self._closed_until:
            return f"backing off for {self._closed_until - now:.0f} s: the LLM was slow or failed"
        if len(self._asked) == self._turns_per_minute and now - self._asked[0] < 60.0:
            return f"{self._turns_per_minute} turns in the last minute"
        return None

    def asked(self, now: float) -> None:
        """Note that the LLM is asked."""
        self._asked.append(now)

    def answered(self, now: float, first_text: float | None) -> None:
        """Note how it went: seconds to the first text, None if it failed."""
        if first_text is not None and first_text <= self._slow_after:
            self._bad_in_a_row = 0
            return
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= 2:
            # Bounded: after a night without an LLM the power itself would be too large.
            doublings = min(self._bad_in_a_row - 2, 10)
            self._closed_until = now + min(BACK_OFF_FIRST * 2.0**doublings, BACK_OFF_LONGEST)


class Restarts:
    """Whether thinking that began on a partial transcript begins anew on a longer one.

    Anew on two further words or changed ones, or on any while the user pauses, at most five
    times in two seconds, and always when the turn is final (KAME's rule).
    """

    def __init__(self, new_words: int = 2, most: int = 5, within: float = 2.0) -> None:
        self._new_words = new_words
        self._within = within
        self._times: deque[float] = deque(maxlen=most)
        self._words: list[str] = []

    def wanted(self, text: str, now: float, *, final: bool = False, settled: bool = False) -> bool:
        """Tell whether to begin (anew) with ``text``; True is noted as done.

        ``settled``: the user has paused, so that the last word may be the last.
        """
        words = text.lower().split()
        if words == self._words:
            return False
        kept = sum(a == b for a, b in zip(words, self._words, strict=False))
        more = len(words) - kept
        enough = settled or more >= self._new_words or kept < len(self._words)
        often = len(self._times) == self._times.maxlen and now - self._times[0] < self._within
        if final or (enough and not often):
            self._words = words
            self._times.append(now)
            return True
        return False

    def begun_with(self, text: str) -> bool:
        """Whether the last beginning was with these very words."""
        return text.lower().split() == self._words

    def reset(self) -> None:
        """Begin a new turn."""
        self._words = []
        self._times.clear()
