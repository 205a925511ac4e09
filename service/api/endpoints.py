"""What operators read and ask again. Redis is read in the thread pool: these are few, and pages are bounded."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lifecycle.errors import Malformed, Unavailable, Unknown, Unreadable
from lifecycle.pages import Page
from lifecycle.records import Records
from lifecycle.settlement import DROPPED, RELEASED
from service.api.admin import guarded
from service.api.queries import filters, paging, query
from service.hooks import Hooks

ACTOR = "api"
SIGNAL_FILTERS = ("type", "subscriber", "state", "person")


class Api:
    """The endpoints under ``/v1``."""

    def __init__(self, records: Records, hooks: Hooks, sources: list[str], restore_within: timedelta) -> None:
        """Keep what the endpoints read from, and how long a restore is possible."""
        self._records = records
        self._hooks = hooks
        self._sources = sources
        self._restore_within = restore_within

    def routes(self, tokens: Sequence[str]) -> list[Route]:
        """Return the routes, each for bearers of one of the tokens only."""
        return [
            Route("/v1/events", guarded(self.events, tokens)),
            Route("/v1/events/{id:path}", guarded(self.event, tokens)),
            Route("/v1/people/{key:path}/restore", guarded(self.restore, tokens), methods=["POST"]),
            Route("/v1/people/{key:path}", guarded(self.person, tokens)),
            Route("/v1/holds", guarded(self.holds, tokens)),
            Route("/v1/holds/{id:path}/release", guarded(self.release, tokens), methods=["POST"]),
            Route("/v1/holds/{id:path}/drop", guarded(self.drop, tokens), methods=["POST"]),
            Route("/v1/failures", guarded(self.failures, tokens)),
            Route("/v1/failures/{id:path}/retry", guarded(self.retry, tokens), methods=["POST"]),
            Route("/v1/signals", guarded(self.signals, tokens)),
            Route("/v1/signals/{id}", guarded(self.signal, tokens)),
        ]

    async def events(self, request: Request) -> Response:
        """``GET /v1/events``."""
        found = query(request, "state", "source", "person", "after", "limit")
        return await page_of(
            lambda: self._records.events(**paging(found), **filters(found, "state", "source", "person"))
        )

    async def event(self, request: Request) -> Response:
        """``GET /v1/events/{id}``."""
        found = await read(lambda: self._records.event(request.path_params["id"], self._sources))
        return JSONResponse(found)

    async def person(self, request: Request) -> Response:
        """``GET /v1/people/{key}``."""
        return JSONResponse(await read(lambda: self._records.person(request.path_params["key"])))

    async def restore(self, request: Request) -> Response:
        """``POST /v1/people/{key}/restore``: who left is taken back, by an event of the operator."""
        key = request.path_params["key"]
        event = await read(lambda: self._records.restore(key, self._restore_within, actor=ACTOR))
        return JSONResponse({"restored": event.person, "event": event.ref}, 202)

    async def holds(self, request: Request) -> Response:
        """``GET /v1/holds``."""
        found = query(request, "after", "limit")
        return await page_of(lambda: self._records.holds(**paging(found)))

    async def release(self, request: Request) -> Response:
        """``POST /v1/holds/{id}/release``: what a safety limit holds is done after all, if it still is to be."""
        return await self._rule(request, RELEASED)

    async def drop(self, request: Request) -> Response:
        """``POST /v1/holds/{id}/drop``: the event is taken back."""
        return await self._rule(request, DROPPED)

    async def _rule(self, request: Request, verdict: str) -> Response:
        event_id = request.path_params["id"]
        became = await read(lambda: self._records.rule(event_id, self._sources, verdict, actor=ACTOR))
        return JSONResponse({"id": event_id, "verdict": became}, 202)

    async def failures(self, request: Request) -> Response:
        """``GET /v1/failures``."""
        found = query(request, "after", "limit")
        return await page_of(lambda: self._records.failures(**paging(found)))

    async def retry(self, request: Request) -> Response:
        """``POST /v1/failures/{id}/retry``: an event or signal goes back to its lane, a target goes on."""
        failure = request.path_params["id"]
        what, _, notice_id = failure.partition(":")
        if what == "notice":
            return await self._retry_notice(notice_id)
        await read(lambda: self._records.retry(failure, actor=ACTOR))
        return JSONResponse({"retried": failure}, 202)

    async def _retry_notice(self, notice_id: str) -> Response:
        aside = await read(lambda: self._records.set_aside(notice_id))
        if aside is None:
            raise Unknown(f"no notice {notice_id!r} was set aside", reason="failure_unknown")
        try:
            counts = await self._hooks.read_again(aside)
        except Unreadable as error:
            raise Malformed(f"still unreadable: {error.message}", reason=error.reason) from error
        return JSONResponse({"retried": f"notice:{notice_id}", **counts._asdict()}, 202)

    async def signals(self, request: Request) -> Response:
        """``GET /v1/signals``."""
        found = query(request, *SIGNAL_FILTERS, "after", "limit")
        wanted = filters(found, *SIGNAL_FILTERS)
        return await page_of(lambda: self._records.signals(wanted, **paging(found)))

    async def signal(self, request: Request) -> Response:
        """``GET /v1/signals/{id}``."""
        return JSONResponse(await read(lambda: self._records.signal(request.path_params["id"])))


async def read(ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is asked
    """Ask Redis beside the loop. Raises Unavailable."""
    try:
        return await run_in_threadpool(ask)
    except (RedisError, OSError) as error:
        raise Unavailable("Redis is not reachable", reason="redis") from error


async def page_of(ask: Callable[[], Page]) -> Response:
    """Answer one page of a list."""
    page = await read(ask)
    return Response(json.dumps({"items": page.items, "next": page.next}), media_type="application/json")
