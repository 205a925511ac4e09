"""The endpoint: a request in, an answer out, and one line each."""

import json
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

import uvicorn

from gatepost.listen.base import Format, Letter, Reply
from gatepost.listen.protocol import HEAD_BYTES_MAX, Protocol
from gatepost.listen.shown import Delivery, Repeats, say, show
from gatepost.listen.tokens import MEDIA_TYPE
from lifecycle import signature
from lifecycle.errors import Misconfigured, Rejected, Unavailable

BODY_BYTES_MAX = 1_000_000
SPILLED_BYTES_MAX = 20_000_000
"""So much of a larger body is still taken off the line, so that its sender hears the answer."""
IDLE_SECONDS_MAX = 65
GRACEFUL_SECONDS_MAX = 1
BACKLOG = 128
RETRY_AFTER_SECONDS = 5
NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED})
EXIT_FAILED = 1


class Formats(NamedTuple):
    """The two ways in which a delivery may be written."""

    webhooks: Format
    tokens: Format

    def of(self, letter: Letter) -> Format:
        """Return the format of a delivery, by its media type."""
        media_type = letter.headers.get("content-type", "").partition(";")[0].strip().lower()
        return self.tokens if media_type == MEDIA_TYPE else self.webhooks


class _SenderGone(Exception):
    """The sender went away in the middle of its request."""


class Endpoint:
    """Answers deliveries at whatever path; an ASGI application."""

    def __init__(self, formats: Formats, *, answer: int | None, as_json: bool, number_max: int | None) -> None:
        """Keep what is believed, what is answered to it, and after how many deliveries it ends."""
        self._formats = formats
        self._answer = answer
        self._as_json = as_json
        self._left = number_max
        self._repeats = Repeats()
        self.ended = False
        self._all_verified = True

    @property
    def is_content(self) -> bool:
        """Whether all that was waited for came, and each of it verified."""
        return self._left is None or (self._left <= 0 and self._all_verified)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own
        """Answer one request."""
        try:
            reply = await self._reply(scope, receive)
        except _SenderGone:
            return
        body = b"" if reply.status in NO_BODY else reply.body
        headers = {"content-type": reply.media_type} if body else {}
        headers |= {**reply.headers} | ({} if reply.status in NO_BODY else {"content-length": str(len(body))})
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    async def _reply(self, scope: Any, receive: Any) -> Reply:  # noqa: ANN401 - ASGI's own
        if scope["method"] != "POST":
            return _refused(HTTPStatus.METHOD_NOT_ALLOWED, "deliveries come by POST", allow="POST")
        body = await _body(receive)
        if body is None:
            return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a delivery has at most {BODY_BYTES_MAX} bytes")
        # Of a header that comes twice the first counts.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        return await self._deliver(Letter(headers, body))

    async def _deliver(self, letter: Letter) -> Reply:
        now = datetime.now(UTC)
        wanted = self._formats.of(letter)
        claimed = letter.headers.get(signature.STANDARD.id, "")
        try:
            heard = await wanted.hear(letter, now)
        except Rejected as error:
            reply = wanted.refuse(error)
            found = Delivery(now, wanted.NAME, wanted.KNOWN_BY, claimed, reply.status, fault=error)
        except Unavailable as error:
            reply = _problem(HTTPStatus.SERVICE_UNAVAILABLE, error.message, retry_after=str(RETRY_AFTER_SECONDS))
            found = Delivery(now, wanted.NAME, wanted.KNOWN_BY, claimed, reply.status, fault=error)
        else:
            reply = Reply(self._answer or wanted.TAKEN)
            seen = self._repeats.count(wanted.NAME, heard.id)
            found = Delivery(now, wanted.NAME, wanted.KNOWN_BY, heard.id, reply.status, heard, seen)
        self._tell(found)
        return reply

    def _tell(self, delivery: Delivery) -> None:
        self._all_verified = self._all_verified and delivery.heard is not None
        try:
            show(delivery, as_json=self._as_json)
        except BrokenPipeError:
            # Nobody reads any more; nor may the end of the process try to write what is left.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.ended = True
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.ended = True


class _Server(uvicorn.Server):
    """Ends when its endpoint has ended as well."""

    def __init__(self, settings: uvicorn.Config, endpoint: Endpoint) -> None:
        super().__init__(settings)
        self._endpoint = endpoint

    async def on_tick(self, counter: int) -> bool:
        return self._endpoint.ended or await super().on_tick(counter)


def listening(host: str, port: int) -> socket.socket:
    """Listen. Raises Misconfigured when nobody can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        line = f"--host {host} --port {port}: found {error.strerror}; allowed: a free port of this machine"
        raise Misconfigured([line]) from error


def server(endpoint: Endpoint, protocol: type[Protocol] = Protocol) -> uvicorn.Server:
    """Return what serves an endpoint."""
    settings = uvicorn.Config(
        endpoint,
        http=protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_keep_alive=IDLE_SECONDS_MAX,
        timeout_graceful_shutdown=GRACEFUL_SECONDS_MAX,
    )
    return _Server(settings, endpoint)


def run(endpoint: Endpoint, at: socket.socket) -> int:
    """Serve until a signal or the endpoint ends it; return the exit code."""
    serving = server(endpoint)

    def end(*_: object) -> None:
        serving.should_exit = True

    # uvicorn hands on the signal that ended it; that is no fault here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    serving.run(sockets=[at])
    return 0 if endpoint.is_content else EXIT_FAILED


async def _body(receive: Any) -> bytes | None:  # noqa: ANN401 - ASGI's own
    """Return the body; None for one that is too large. Raises _SenderGone."""
    body, spilled, more = b"", 0, True
    while more and spilled <= SPILLED_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _SenderGone
        body += message["body"]
        more = message["more_body"]
        if len(body) > BODY_BYTES_MAX:
            body, spilled = b"", spilled + len(body)
    return None if spilled else body


def _refused(status: HTTPStatus, detail: str, **headers: str) -> Reply:
    """Refuse what is no delivery, and say so."""
    say(f"Refused: {detail}; answered {status}")
    return _problem(status, detail, **headers)


def _problem(status: HTTPStatus, detail: str, **headers: str) -> Reply:
    """Return an answer with a problem document (RFC 9457)."""
    body = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), "application/problem+json", named)
