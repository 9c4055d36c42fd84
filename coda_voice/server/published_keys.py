"""The public keys that an identity provider publishes at an https address (JWKS).

Its server may be away, or answer what are no keys: that says nothing about anybody's token. Keys
that were had before go on being used for an hour; without any, callers are told to come back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import jwt

from coda_voice.errors import AccessError

logger = logging.getLogger(__name__)

FRESH_SECONDS = 300.0
"""After so long the keys are asked for anew: the provider may have taken one back."""
KEPT_SECONDS = 3_600.0
"""For so long keys are used where newer ones cannot be had. Not longer: one may be taken back."""
NEW_KEY_SECONDS = 30.0
"""A key that is not known makes us ask for new ones, no more often than this: anybody can name
keys that do not exist."""
AGAIN_SECONDS = 10.0
"""Pause after a failure; callers are told to try again after as long."""
FETCH_SECONDS = 5.0
"""A caller waits so long for the provider's answer."""
LOG_SECONDS = 300.0
"""A failure that goes on is logged so often."""
NO_KEYS = (jwt.PyJWTError, OSError, ValueError, TypeError, AttributeError, RecursionError)
"""What comes of a provider that is away or answers rubbish; PyJWT trusts the types of its JSON."""


class PublishedKeys:
    """The keys at ``address``. All methods are called in the event loop's thread."""

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._client = jwt.PyJWKClient(address, cache_jwk_set=False, timeout=FETCH_SECONDS)
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = self._logged = float("-inf")
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, key_id: str | None) -> jwt.PyJWK:
        """Give the key of that id.

        Raises AccessError where the keys cannot be had, PyJWTError where there is no such key.
        """
        age = self._clock() - self._fetched
        known = key_id is not None and key_id in self._keys and age <= KEPT_SECONDS
        if age > FRESH_SECONDS or (not known and age > NEW_KEY_SECONDS):
            fetching = self._fetch_soon()
            if fetching is not None and not (known and self._failing):
                await asyncio.wait([fetching], timeout=FETCH_SECONDS)
        if self._clock() - self._fetched > KEPT_SECONDS:
            raise _unavailable()
        if key_id is not None and key_id in self._keys:
            return self._keys[key_id]
        if self._failing or self._fetching is not None:
            raise _unavailable()  # it may be a new key, which we had no chance to hear of
        raise jwt.PyJWKClientError(f"there is no key {key_id!r}")

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """Give the task that asks for the keys, one for all callers; None just after a failure."""
        if self._fetching is None:
            if self._failing and self._clock() - self._tried < AGAIN_SECONDS:
                return None
            self._fetching = asyncio.create_task(self._fetch(), name="published keys")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            found = await asyncio.to_thread(self._client.get_signing_keys)
        except NO_KEYS as error:
            self._failed(error)
        else:
            self._keys = {key.key_id: key for key in found if isinstance(key.key_id, str)}
            self._fetched = self._clock()
            if self._failing:
                logger.warning("The keys of server.jwks_url %s can be had again.", self._address)
            self._failing = False
            self._logged = float("-inf")
        finally:
            self._tried = self._clock()
            self._fetching = None

    def _failed(self, error: Exception) -> None:
        self._failing = True
        now = self._clock()
        if now - self._logged < LOG_SECONDS:
            return
        self._logged = now
        left = self._fetched + KEPT_SECONDS - now
        logger.warning(
            "The keys of server.jwks_url %s cannot be had (%s): %s. Trying again every %.0f s "
            "while somebody calls.",
            self._address,
            error or type(error).__name__,
            f"tokens of keys that are known are good for {left / 60:.0f} min more"
            if left > 0
            else "RS256 tokens are answered with 503",
            AGAIN_SECONDS,
        )


def _unavailable() -> AccessError:
    return AccessError(
        "The keys that your token is checked with cannot be had at the moment. That is not your "
        f"token's fault: try again in {AGAIN_SECONDS:.0f} s.",
        "keys_unavailable",
        retry_after=round(AGAIN_SECONDS),
    )
