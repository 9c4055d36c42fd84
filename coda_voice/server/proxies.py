"""Proxies in front of the server: whose word on where a request is from is believed.

Everybody can write ``X-Forwarded-For``. It counts only where the connection itself comes from a
proxy that the settings name, and of its entries the last one that no such proxy is: what stands
before that, the client may have written.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from coda_voice.errors import ConfigurationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
CUSTOMER_BITS = 64
"""Of an IPv6 address: whoever has one has all that begin with these."""


class Proxies:
    """The proxies that ``several`` names: addresses and networks, with commas between.

    Raises ConfigurationError for an entry that is neither: it would never be met, and ``*``
    would believe everybody.
    """

    def __init__(self, several: str) -> None:
        entries = [entry.strip() for entry in several.split(",") if entry.strip()]
        try:
            self._networks = [ipaddress.ip_network(entry) for entry in entries]
        except ValueError as error:
            raise ConfigurationError(
                f"server.proxies: {error}; give addresses (10.0.0.1) or networks (10.0.0.0/24), "
                "with commas between.",
                "bad_proxies",
            ) from error

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        read = read_address(address)
        return read is not None and any(read in network for network in self._networks)

    def client(self, forwarded: Iterable[str]) -> str | None:
        """Give the client by ``X-Forwarded-For``, line by line; None where it names nobody."""
        client = None
        for entry in reversed([entry for line in forwarded for entry in line.split(",")]):
            read = read_address(entry)
            if read is None:
                return client  # a proxy that hides its clients: it stands for them
            client = str(read)
            if client not in self:
                break
        return client


class BehindProxies:
    """ASGI middleware that gives the client's address and scheme where a proxy tells them."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on as if the client had made it directly."""
        if scope["type"] in ("http", "websocket") and _peer(scope) in self._proxies:
            headers = Headers(scope=scope)
            client = self._proxies.client(headers.getlist("x-forwarded-for"))
            scheme = headers.get("x-forwarded-proto", "").strip().lower()
            scope = dict(scope)
            if client is not None:
                scope["client"] = (client, 0)
            if scheme in ("http", "https", "ws", "wss"):
                secure = scheme in ("https", "wss")
                plain = "http" if scope["type"] == "http" else "ws"
                scope["scheme"] = f"{plain}s" if secure else plain
        await self._app(scope, receive, send)


def counted_as(address: str) -> str:
    """Give the name under which an address is counted: IPv6 by its network, all of one customer.

    What is no address is counted by itself.
    """
    read = read_address(address)
    if isinstance(read, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((read, CUSTOMER_BITS), strict=False))
    return address if read is None else str(read)


def read_address(text: str) -> Address | None:
    """Read an address, with or without a port; an IPv4 one that is written as IPv6 is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
