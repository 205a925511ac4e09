"""``python -m bench.receivers STAGE --port N``: what Gatepost's receiver is compared with, one process each.

``bare`` answers 202. ``checked`` reads the body, checks the signature and validates with pydantic. ``obvious`` does the
same and then what RQ's documentation shows: ``Queue.enqueue``, which blocks, hence in the thread pool. It keeps no
record, sees no repeats, and has no lanes.
"""

import argparse
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal

import uvicorn
from pydantic import BaseModel
from redis import Redis
from rq import Queue
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.notices import SECRET
from lifecycle import signature
from lifecycle.event import Profile

REDIS_VARIABLE = "BENCH_REDIS_URL"
PATH = "/hooks/hris"
QUEUE = "default"

KEY = signature.key(SECRET)


class Data(BaseModel):
    """What happened, and to whom."""

    id: str
    person: Profile


class Body(BaseModel):
    """A canonical notice."""

    type: Literal["person.joined", "person.moved", "person.left"]
    timestamp: datetime
    data: Data


async def bare(_request: Request) -> Response:
    """Answer."""
    return Response(status_code=202)


async def checked(request: Request) -> Response:
    """Believe and understand, then answer."""
    await _read(request)
    return Response(status_code=202)


def obvious(url: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that believes, understands, makes one job of it, then answers."""
    queue = Queue(QUEUE, connection=Redis.from_url(url))

    async def receive(request: Request) -> Response:
        body = await _read(request)
        await run_in_threadpool(queue.enqueue, "jobs.apply", body.model_dump_json(exclude_unset=True))
        return Response(status_code=202)

    return receive


async def _read(request: Request) -> Body:
    body = await request.body()
    signature.verify([KEY], dict(request.headers), body, datetime.now(UTC))
    return Body.model_validate_json(body)


def main() -> None:
    """Serve one of them, with the settings that ``python -m service`` has."""
    parser = argparse.ArgumentParser(prog="python -m bench.receivers", description=__doc__)
    parser.add_argument("stage", choices=("bare", "checked", "obvious"))
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    endpoints = {"bare": bare, "checked": checked, "obvious": obvious(os.environ[REDIS_VARIABLE])}
    app = Starlette(routes=[Route(PATH, endpoints[options.stage], methods=["POST"])])
    uvicorn.run(
        app,
        port=options.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=65,
    )


if __name__ == "__main__":
    main()
