"""Who a request is from: a configured proxy's word is believed, nobody else's; and the limits."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from coda_voice.config import VoiceConfig
from coda_voice.config.server import ServerConfig
from coda_voice.errors import ConfigurationError
from coda_voice.server.app import create_app
from coda_voice.server.doorstep import Callers
from coda_voice.server.gate import Gate
from coda_voice.server.limits import AddressLimits
from coda_voice.server.proxies import BehindProxies, Proxies, counted_as
from coda_voice.server.refusal_log import RefusalLog

PROXIES = "10.0.0.1, 192.168.7.0/24, fd00::/64"


async def seen(
    peer: str | None, *lines: str, proto: str = "", kind: str = "http"
) -> tuple[str, str]:
    """Give client and scheme as the application sees them."""
    got: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(scope)

    async def nothing(*_: object) -> Message:
        raise AssertionError

    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    if proto:
        headers.append((b"x-forwarded-proto", proto.encode()))
    scheme = "http" if kind == "http" else "ws"
    client = None if peer is None else (peer, 40_000)
    scope = {"type": kind, "headers": headers, "client": client, "scheme": scheme}
    await BehindProxies(app, Proxies(PROXIES))(scope, nothing, nothing)
    (one,) = got
    return (one["client"] or ("",))[0], one["scheme"]


@pytest.mark.parametrize("peer", ["198.51.100.7", "10.0.0.2", "fd00:0:0:1::1", None, "unix:/x"])
async def test_a_stranger_is_who_he_is_whatever_he_writes(peer: str | None):
    assert await seen(peer, "203.0.113.9", "10.0.0.1", proto="https") == (peer or "", "http")


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
        (["10.0.0.1, 127.0.0.1, 203.0.113.9, 192.168.7.3"], "203.0.113.9"),
        (["203.0.113.9:51000"], "203.0.113.9"),
        (["[2001:db8::5]:51000"], "2001:db8::5"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["192.168.7.3"], "192.168.7.3"),
        (["203.0.113.9, unknown"], "10.0.0.1"),
        (["203.0.113.9, unknown, 192.168.7.3"], "192.168.7.3"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
        (["1.2.3.4\x00"], "10.0.0.1"),
    ],
)
async def test_of_what_a_proxy_says_the_last_that_is_no_proxy_counts(lines: list[str], client: str):
    assert (await seen("10.0.0.1", *lines))[0] == client
    assert (await seen("::ffff:10.0.0.1", *lines))[0] in (client, "::ffff:10.0.0.1")


async def test_the_proxy_says_whether_it_was_asked_by_tls():
    assert (await seen("10.0.0.1", "203.0.113.9", proto="https"))[1] == "https"
    assert (await seen("fd00::9", "203.0.113.9", proto="https", kind="websocket"))[1] == "wss"
    assert (await seen("10.0.0.1", "203.0.113.9", proto="gopher"))[1] == "http"


@pytest.mark.parametrize("wrong", ["*", "nginx", "10.0.0.1:80", "10.0.0.1/8", "10.0.0.1 10.0.0.2"])
def test_what_is_no_address_is_said_at_the_start(wrong: str):
    with pytest.raises(ConfigurationError, match=r"server\.proxies"):
        create_app(VoiceConfig.load(env={}, server__proxies=wrong))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_one_who_has_many_addresses_is_counted_once(address: str, name: str):
    assert counted_as(address) == name


async def come(*comers: tuple[str, str, str]) -> list[int]:
    """Have them come to a gate with room for two of each address, and stay; what they get.

    Each is a peer, what it writes as ``X-Forwarded-For``, and as ``Origin``.
    """
    statuses: list[int] = []
    leave = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        statuses.append(200)
        await leave.wait()

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    settings = ServerConfig(proxies=PROXIES, connections_per_address=2)
    gate = Gate(app, settings, AddressLimits(2, 1_000), RefusalLog(), open_to_all=False)
    way_in = BehindProxies(gate, Proxies(settings.proxies))
    async with asyncio.TaskGroup() as all_of_them:
        for peer, forwarded, origin in comers:
            headers = [(b"host", b"h")]
            headers += [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
            headers += [(b"origin", origin.encode())] if origin else []
            scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": headers}
            all_of_them.create_task(way_in({**scope, "client": (peer, 1)}, receive, send))
            await asyncio.sleep(0.01)
        leave.set()
    return statuses


async def test_the_clients_of_a_proxy_are_counted_one_by_one():
    by_proxy = [("10.0.0.1", f"203.0.113.{n}", "") for n in (1, 1, 2, 2, 3)]
    assert await come(*by_proxy) == [200] * 5
    assert await come(*by_proxy[:2], by_proxy[0]) == [200, 200, 429]


async def test_who_forges_the_header_is_counted_all_the_same():
    directly = [("203.0.113.1", f"198.51.100.{n}", "") for n in range(4)]
    assert await come(*directly) == [200, 200, 429, 429]
    by_proxy = [("10.0.0.1", f"198.51.100.{n}, 203.0.113.1", "") for n in range(4)]
    assert await come(*by_proxy) == [200, 200, 429, 429]


async def test_a_whole_network_of_ipv6_is_one_caller():
    assert await come(*[(f"2001:db8::{n}", "", "") for n in range(3)]) == [200, 200, 429]
    several = [(f"2001:db8:0:{n}::1", "", "") for n in range(3)]
    assert await come(*several) == [200] * 3


@pytest.mark.parametrize("origin", ["http://[", "http://[x", "null", "http://a\u2100b", "//", ""])
async def test_an_origin_that_is_none_is_refused_and_breaks_nothing(origin: str):
    expected = 403 if origin else 200
    assert await come(("203.0.113.1", "", origin)) == [expected]


def test_a_network_of_proxies_is_not_counted_on_the_doorstep():
    class Transport:
        def __init__(self, peer: str) -> None:
            self.peer = peer

        def get_extra_info(self, name: str) -> tuple[str, int]:
            return self.peer, 1

        def is_closing(self) -> bool:
            return False

    def entered(*peers: str) -> list[bool]:
        callers = Callers(ServerConfig(proxies=PROXIES), AddressLimits(1, 1), RefusalLog())
        return [callers.enter(Transport(peer)) for peer in peers]  # type: ignore[arg-type]

    assert entered(*["192.168.7.9"] * 5, *["::ffff:10.0.0.1"] * 5) == [True] * 10
    assert entered(*["203.0.113.1"] * 3) == [True, True, False]
    assert entered("2001:db8::1", "2001:db8::2", "2001:db8::3") == [True, True, False]
