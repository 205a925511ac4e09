"""The only place that imports aiohttp: it brings letters to one subscriber, by connections that are its alone.

An answer counts when it is there whole, or when it is longer than we read; what breaks off, or drips past the limit,
is no answer, for the subscriber may not have kept the letter.

https://docs.aiohttp.org/en/stable/client_reference.html
"""

import asyncio
import errno
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from yarl import URL

from lifecycle import __version__
from lifecycle.errors import GatepostError, Postponed, Refused
from lifecycle.subscriber import Subscriber
from workers.subscribers.base import Letter, Reply
from workers.subscribers.guard import Barred, Guard, OpenSocket, Resolve, open_socket, resolve

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 15.0
ANSWER_BYTES_MAX = 65_536
HEADERS_MAX, HEADER_BYTES_MAX = 100, 8_190
HEADS_BYTES_MAX = 32_768
IDLE_SECONDS = 15.0
CLOSE_SECONDS = 1.0
USER_AGENT = f"gatepost/{__version__}"
INTERIM = frozenset(range(100, 200)) - {101}

# Nothing more can be opened on this machine, or by this process.
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# How a connection ends of which the other side thought that it was no longer used.
GONE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)


class Limits(NamedTuple):
    """How long and how much."""

    connect_seconds: float = CONNECT_SECONDS
    """For one try over the addresses, TLS included."""
    answer_seconds: float = ANSWER_SECONDS
    """For everything, from the name to the end of the answer."""
    answer_bytes: int = ANSWER_BYTES_MAX
    idle_seconds: float = IDLE_SECONDS
    """For how long a connection is kept that carries nothing."""


class Network(NamedTuple):
    """What connections are made of."""

    open_socket: OpenSocket = open_socket
    tls: ssl.SSLContext | None = None
    """None trusts whom this machine trusts."""


LIMITS, NETWORK = Limits(), Network()


class _Trip:
    """How far one letter has come."""

    def __init__(self) -> None:
        self.reused = False
        self.sent = False


class _Names(AbstractResolver):
    """The guard, as the library asks for names."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        found = await self._guard.addresses(host, port)
        return [
            {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is open."""


class _Bounded(ResponseHandler):
    """A connection that takes no more bytes for one answer than we read of one, and none that it was not asked for.

    The library holds back bodies, but not interim answers without end, nor what small chunks cost besides; all others
    would wait while it works through them. And what came while nothing was asked, it takes for the next answer.
    """

    def __init__(self, bytes_max: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._bytes_max = self._bytes_left = bytes_max
        self._answer: aiohttp.StreamReader | None = None

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - the library's own
        self._bytes_left, self._answer = self._bytes_max, None
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        message, body = data
        if message.code not in INTERIM:
            self._answer = body
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if data and self._answer is not None and self._answer.is_eof():
            self._end()
            return
        taken, self._bytes_left = data[: max(self._bytes_left, 0)], self._bytes_left - len(data)
        if taken or not data:
            super().data_received(taken)
        if self._bytes_left < 0:
            self._cut()

    def _cut(self) -> None:
        """End the body here, or the whole where there is none yet."""
        body, self._payload = self._payload, None
        if body is None or body.is_eof():
            self.set_exception(aiohttp.ClientPayloadError("no end of heads"))
        else:
            self.force_close()
            body.feed_eof()
        self._end()

    def _end(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


class Carrier:
    """Connections to one subscriber; none is used for another, so each leads where the guard let this one go."""

    def __init__(
        self,
        subscriber: Subscriber,
        ports: frozenset[int],
        connections_max: int,
        resolve: Resolve = resolve,
        *,
        limits: Limits = LIMITS,
        network: Network = NETWORK,
    ) -> None:
        """Open nothing yet; it is made where a loop runs."""
        self._guard = Guard(subscriber, ports, resolve, network.open_socket)
        self._url, self._headers = subscriber.url, subscriber.header_values()
        self._limits, self._tls, self._connections_max = limits, network.tls or _trusted(), connections_max
        self._session = self._opened(keepalive_timeout=limits.idle_seconds)

    async def post(self, letter: Letter) -> Reply:
        """Send one letter to the subscriber's URL and return its answer.

        Raises Refused for an address or port that is not allowed, Postponed where there is no answer; nobody waits
        longer than ``ANSWER_SECONDS`` in all.
        """
        self._guard.check()
        started, trip = time.monotonic(), _Trip()
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                status, headers, body = await self._send_again_once(letter, trip)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            # The library's own words have the URL in them, which may be a secret.
            raise _ours(error, trip) from None
        return Reply(status, headers, body, time.monotonic() - started)

    async def close(self) -> None:
        """Close the connections."""
        with suppress(TimeoutError):  # what the other side does not take, the kernel gives up
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._session.close()

    async def _send_again_once(self, letter: Letter, trip: _Trip) -> tuple[int, Mapping[str, str], bytes]:
        """Send, and once more by a new connection when one that was kept had died before it answered.

        RFC 9110 section 9.2.2 allows that where a repeat has no effect of its own, and receivers tell repeats by
        webhook-id. The library does the same, but for no POST.
        """
        try:
            return await self._send(self._session, letter, trip)
        except GONE as error:
            begun = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
            if begun or not trip.reused:
                raise
        async with self._opened(force_close=True) as session:
            return await self._send(session, letter, trip)

    async def _send(
        self, session: aiohttp.ClientSession, letter: Letter, trip: _Trip
    ) -> tuple[int, Mapping[str, str], bytes]:
        answer = await session.post(
            URL(self._url, encoded=True),  # exactly as it is written
            data=letter.body,
            headers=_merged(self._headers, letter.headers),
            allow_redirects=False,
            trace_request_ctx=trip,
        )
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.raw_headers}
            return answer.status, headers, await _read(answer.content, self._limits.answer_bytes)
        finally:
            answer.close()  # unless it was read to its end, the connection too

    def _opened(self, **kept: Any) -> aiohttp.ClientSession:  # noqa: ANN401 - how long connections are kept
        connector = aiohttp.TCPConnector(
            resolver=_Names(self._guard),
            use_dns_cache=False,
            socket_factory=self._guard.socket,
            ssl=self._tls,
            limit=self._connections_max,
            **kept,
        )
        # It hands out no connections of one's own.
        bounded = partial(_Bounded, self._limits.answer_bytes + HEADS_BYTES_MAX, loop=asyncio.get_running_loop())
        connector._factory = bounded  # type: ignore[assignment]  # noqa: SLF001
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(sock_connect=self._limits.connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            max_headers=HEADERS_MAX,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            trace_configs=[_traced()],
        )


@cache
def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _traced() -> aiohttp.TraceConfig:
    async def reused(_session: object, context: Any, _params: object) -> None:  # noqa: ANN401 - the library's own
        context.trace_request_ctx.reused = True

    async def sent(_session: object, context: Any, _params: object) -> None:  # noqa: ANN401 - the same
        context.trace_request_ctx.sent = True

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    config.on_request_headers_sent.append(sent)
    return config


def _merged(own: Mapping[str, str], letters: Mapping[str, str]) -> dict[str, str]:
    """Join headers whose names differ in more than letter case; the letter's come before ours, ours before its own."""
    found: dict[str, tuple[str, str]] = {}
    for headers in (own, {"user-agent": USER_AGENT, "accept-encoding": "identity"}, letters):
        found |= {name.lower(): (name, value) for name, value in headers.items()}
    return dict(found.values())


async def _read(content: aiohttp.StreamReader, bytes_max: int) -> bytes:
    found = bytearray()
    while len(found) < bytes_max and (chunk := await content.readany()):
        found += chunk
    return bytes(found[:bytes_max])


def _ours(error: Exception, trip: _Trip) -> GatepostError:
    """Turn an error of the library into ours, which quotes its kind and what TLS says of a certificate, no more."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, Barred):
        return Refused("the subscriber's name leads to a private address", reason="private_address")
    if isinstance(cause, OSError) and cause.errno in NO_ROOM:
        return Postponed("no connection can be opened here", reason="no_room")
    if isinstance(error, aiohttp.InvalidURL):
        return Refused("the subscriber's URL cannot be used", reason="url")
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return Refused("a header of the letter cannot be sent", reason="headers")
    if isinstance(error, aiohttp.ClientSSLError):
        told = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or type(cause).__name__
        return Postponed(f"no TLS: {told}", reason="tls")
    return Postponed(f"no answer: {type(cause).__name__}", reason="no_answer" if trip.sent else "unreachable")
