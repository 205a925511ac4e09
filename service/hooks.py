"""The one receiving endpoint: greet, verify, read, put, answer. Glue only; a source is known to its module alone."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lifecycle.aside import SetAside, drop_notice_commands
from lifecycle.errors import GatepostError, Malformed, Oversized, Rejected, Unauthentic, Unknown, Unreadable
from lifecycle.event import Event, Kind
from service.aside import set_aside
from service.ears import Ears
from service.intake import Intake
from service.sources.base import Answer, Counts, Greeting, Notice, Reading, Setup, Source
from service.sources.documents import NOTES_MAX

ANNOUNCED_DIGITS_MAX = 18
# What is larger takes milliseconds to read, which is everybody's wait.
LARGE_BYTES = 65_536
METHODS = ["GET", "POST", "OPTIONS"]

log = structlog.get_logger()


class Configured(NamedTuple):
    """A source as the configuration names it, with its module."""

    name: str
    adapter: Source
    setup: Setup
    rereads: bool = False
    """Whether what it says is only a hint: it signs nothing, so a directory is asked first."""
    proves_nothing: bool = False
    """Whether anybody may have sent what it sends, so that nothing is kept that cannot be read."""
    body_bytes_max: int = 1_000_000


class Hooks:
    """Receives notices of all configured sources; an ASGI application, for a Request is much of what a notice costs."""

    def __init__(
        self, sources: Mapping[str, Configured], intake: Intake, ears: Ears, registry: CollectorRegistry
    ) -> None:
        """Keep what every request needs."""
        notices = Counter("gatepost_notices", "Notices received", ("source", "result"), registry=registry)
        text = "Events of kinds that we do not carry"
        self._ignored = Counter("gatepost_kinds_ignored", text, ("source",), registry=registry)
        self._sources = sources
        self._intake = intake
        self._notices = cache(notices.labels)
        self._ears = ears

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one notice as its source wants it."""
        answer = await self.receive(scope, receive)
        headers = dict(answer.headers) if answer.headers else None
        await Response(answer.body, answer.status, headers, answer.media_type)(scope, receive, send)

    async def receive(self, scope: Scope, receive: Receive) -> Answer:
        """Take one notice and count what became of it. Raises Rejected or Unavailable."""
        source = self._sources.get(scope["path_params"]["source"])
        if source is None:
            raise Unknown("no source of this name is configured", reason="source_unknown")
        try:
            answer, result = await self._take(source, scope, receive)
        except GatepostError as error:
            self._notices(source.name, "unauthentic" if isinstance(error, Unauthentic) else "refused").inc()
            refusal = source.adapter.refuse(error) if isinstance(error, Rejected) else None
            if refusal is None:
                raise
            log.warning("notice.refused", source=source.name, status=refusal.status, reason=error.reason)
            return refusal
        self._notices(source.name, result).inc()
        return answer

    async def _take(self, source: Configured, scope: Scope, receive: Receive) -> tuple[Answer, str]:
        # Of a header that comes twice the first counts.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        body = await read_body(headers, receive, source.body_bytes_max)
        notice = Notice(scope["method"], scope["query_string"].decode("latin-1"), headers, body)
        now = datetime.now(UTC)
        greeting = source.adapter.greet(notice, source.setup, now)
        if greeting is not None:
            return await self._greet(source, greeting)
        proof = source.adapter.verify(notice, source.setup, now)
        self._ears.hear(source.name, proof, now)
        try:
            return await self._keep(source, notice, now)
        except Unreadable as error:
            await self._set_aside(source, notice, now, error)
            return source.adapter.answer(Counts(0, 0, 0)), "set_aside"

    async def _greet(self, source: Configured, greeting: Greeting) -> tuple[Answer, str]:
        if greeting.keep is not None and not await self._ears.keep(source.name, greeting.keep):
            raise Unauthentic("another token is waiting for the operator", reason="handshake_taken")
        log.info("source.greeted", source=source.name)
        return greeting.answer, "greeted"

    async def _keep(self, source: Configured, notice: Notice, now: datetime) -> tuple[Answer, str]:
        counts, reading = await self._put(await _read(source, notice, now))
        if reading.upkeep:
            await self._ears.pass_on(source.name, reading.upkeep)
        if reading.faults:
            # After the others: a leaver among them must not wait until there is room for what cannot be read.
            await self._set_aside(source, notice, now, _faults(reading))
        if reading.ignored:
            self._ignored.labels(source.name).inc(len(reading.ignored))
        return source.adapter.answer(counts), _result(reading, counts)

    async def _put(self, reading: Reading) -> tuple[Counts, Reading]:
        """Keep the events; of the reading that is returned each that cannot be written is a fault."""
        try:
            return await self._put_all(reading), reading
        except ValueError:
            reading = _writable(reading)
            return await self._put_all(reading), reading

    async def _put_all(self, reading: Reading) -> Counts:
        new = await self._intake.put(reading.events) if reading.events else 0
        return Counts(new, len(reading.events) - new, len(reading.ignored))

    async def _set_aside(self, source: Configured, notice: Notice, now: datetime, error: Unreadable) -> None:
        if source.proves_nothing:
            raise Malformed(error.message, reason=error.reason) from error
        await set_aside(self._intake, source.setup, notice, now, error)

    async def read_again(self, aside: SetAside) -> Counts:
        """Read a notice that was set aside once more and forget it. Raises Unreadable while the reader still fails."""
        source = self._sources.get(aside.source)
        if source is None:
            raise Unknown(f"source {aside.source!r} is no longer configured", reason="source_unknown")
        notice = Notice(aside.method, aside.query, aside.headers, aside.body)
        counts, reading = await self._put(await _read(source, notice, aside.received_at))
        if reading.faults:
            raise _faults(reading)
        if reading.upkeep:
            await self._ears.pass_on(source.name, reading.upkeep)
        await self._intake.run(drop_notice_commands(aside))
        return counts


async def _read(source: Configured, notice: Notice, now: datetime) -> Reading:
    """Read a notice; a large batch beside the loop, so that the others are answered meanwhile. Raises Unreadable."""
    if len(notice.body) < LARGE_BYTES:
        return _reading(source, notice, now)
    return await asyncio.to_thread(_reading, source, notice, now)


def _reading(source: Configured, notice: Notice, now: datetime) -> Reading:
    reading = source.adapter.read(notice, source.setup, now)
    return reading._replace(events=tuple(map(_unproven, reading.events))) if source.rereads else reading


def _faults(reading: Reading) -> Unreadable:
    return Unreadable("; ".join(reading.faults[:NOTES_MAX]), reason="unreadable")


def _writable(reading: Reading) -> Reading:
    """Return a reading without the events of which a text is none, such as half a pair of surrogates from JSON."""
    kept, faults = [], []
    for event in reading.events:
        try:
            event.to_json()
        except ValueError:
            faults.append(f"{event.kind}: a text of it is none, and could not be kept")
        else:
            kept.append(event)
    return reading._replace(events=tuple(kept), faults=(*reading.faults, *faults))


def _result(reading: Reading, counts: Counts) -> str:
    if reading.faults:
        return "set_aside"
    return "accepted" if counts.accepted else "duplicate" if reading.events else "ignored"


def _unproven(event: Event) -> Event:
    """Return an event as what it is without a proof: a reason to look."""
    return event.model_copy(update={"kind": Kind.CHANGED, "hint": event.kind})


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
