"""The one receiving endpoint: greet, verify, read, put, answer. Glue only; a source is known to its module alone."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lifecycle.errors import GatepostError, Oversized, Unauthentic, Unknown, Unreadable
from lifecycle.failures import SetAside, drop_notice_commands, set_aside_commands
from service.intake import Intake
from service.sources.base import Answer, Counts, Notice, Source

# Whatever proves who sent a notice stays out of what is kept.
CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
NOTICE_ID_CHARS = 32
ANNOUNCED_DIGITS_MAX = 18
METHODS = ["GET", "POST", "OPTIONS"]

log = structlog.get_logger()


class Configured(NamedTuple):
    """A source as the configuration names it, with its module and its live secrets."""

    name: str
    adapter: Source
    secrets: tuple[str, ...]


class Hooks:
    """Receives notices of all configured sources; an ASGI application, for a Request is much of what a notice costs."""

    def __init__(
        self, sources: Mapping[str, Configured], intake: Intake, registry: CollectorRegistry, body_bytes_max: int
    ) -> None:
        """Keep what every request needs."""
        notices = Counter("gatepost_notices", "Notices received", ("source", "result"), registry=registry)
        text = "Events of kinds that we do not carry"
        self._ignored = Counter("gatepost_kinds_ignored", text, ("source",), registry=registry)
        self._sources = sources
        self._intake = intake
        self._notices = cache(notices.labels)
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one notice as its source wants it."""
        answer = await self.receive(scope, receive)
        await Response(answer.body, answer.status, media_type=answer.media_type)(scope, receive, send)

    async def receive(self, scope: Scope, receive: Receive) -> Answer:
        """Take one notice and count what became of it. Raises Rejected or Unavailable."""
        source = self._sources.get(scope["path_params"]["source"])
        if source is None:
            raise Unknown("no source of this name is configured", reason="source_unknown")
        try:
            answer, result = await self._take(source, scope, receive)
        except GatepostError as error:
            self._notices(source.name, "unauthentic" if isinstance(error, Unauthentic) else "refused").inc()
            raise
        self._notices(source.name, result).inc()
        return answer

    async def _take(self, source: Configured, scope: Scope, receive: Receive) -> tuple[Answer, str]:
        # Of a header that comes twice the first counts.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        body = await read_body(headers, receive, self._body_bytes_max)
        notice = Notice(scope["method"], scope["query_string"].decode("latin-1"), headers, body)
        greeting = source.adapter.greet(notice)
        if greeting is not None:
            return greeting, "greeted"
        now = datetime.now(UTC)
        source.adapter.verify(notice, source.secrets, now)
        try:
            return await self._keep(source, notice, now)
        except Unreadable as error:
            await self._set_aside(source, notice, now, error)
            return source.adapter.answer(Counts(0, 0, 0)), "set_aside"

    async def _keep(self, source: Configured, notice: Notice, now: datetime) -> tuple[Answer, str]:
        reading = source.adapter.read(notice, source.name, now)
        accepted = await self._intake.put(reading.events) if reading.events else 0
        counts = Counts(accepted, len(reading.events) - accepted, len(reading.ignored))
        if reading.ignored:
            self._ignored.labels(source.name).inc(len(reading.ignored))
        result = "accepted" if accepted else "duplicate" if reading.events else "ignored"
        return source.adapter.answer(counts), result

    async def _set_aside(self, source: Configured, notice: Notice, now: datetime, error: Unreadable) -> None:
        headers = {name: value for name, value in notice.headers.items() if name not in CREDENTIAL_HEADERS}
        # Named by what it says, so that a vendor's retries of it are one failure.
        name = hashlib.sha256(f"{source.name}\n{notice.query}\n".encode() + notice.body).hexdigest()[:NOTICE_ID_CHARS]
        aside = SetAside(
            name,
            source.name,
            notice.method,
            notice.query,
            headers,
            notice.body,
            now,
            error.reason,
            error.message,
        )
        await self._intake.run(set_aside_commands(aside))
        log.error("notice.set_aside", source=source.name, notice=aside.id, reason=error.reason)

    async def read_again(self, aside: SetAside) -> Counts:
        """Read a notice that was set aside once more and forget it. Raises Unreadable while the reader still fails."""
        source = self._sources.get(aside.source)
        if source is None:
            raise Unknown(f"source {aside.source!r} is no longer configured", reason="source_unknown")
        notice = Notice(aside.method, aside.query, aside.headers, aside.body)
        reading = source.adapter.read(notice, source.name, aside.received_at)
        accepted = await self._intake.put(reading.events) if reading.events else 0
        await self._intake.run(drop_notice_commands(aside.id))
        return Counts(accepted, len(reading.events) - accepted, len(reading.ignored))


async def read_body(headers: Mapping[str, str], receive: Receive, bytes_max: int) -> bytes:
    """Read at most ``bytes_max`` bytes. Raises Oversized as soon as there are more, without reading on."""
    announced = headers.get("content-length", "")
    # isdecimal, for isdigit takes digits that int() refuses; int() refuses a number of thousands of digits as well.
    if announced.isdecimal() and int(announced[:ANNOUNCED_DIGITS_MAX]) > bytes_max:
        raise Oversized(f"the body is announced with more than {bytes_max} bytes", reason="body_too_large")
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unauthentic("the sender went away before the body was complete", reason="body_cut")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise Oversized(f"the body has more than {bytes_max} bytes", reason="body_too_large")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)
