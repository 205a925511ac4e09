"""The endpoints at which receivers manage their streams.

https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html section 8.1. A stream is the client's that made
it: of another one's nobody learns even that it is there.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from redis import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lifecycle import keys, outbox
from lifecycle.config import Config
from lifecycle.errors import Malformed, Refused, Unavailable
from lifecycle.ssf import sets, streams
from lifecycle.ssf.excluded import name
from lifecycle.ssf.section import Ssf
from lifecycle.ssf.signing import Signing
from lifecycle.ssf.status import DISABLED, Status, set_status, status
from lifecycle.ssf.streams import Stream
from lifecycle.vault import Vault
from service.problems import problem
from service.ssf.asked import (
    REASON_CHARS_MAX,
    Change,
    Configuration,
    StatusChange,
    SubjectChange,
    Verification,
    read,
)
from service.ssf.configuration import LEGACY, VERIFICATION_SECONDS, Terms
from service.ssf.discovery import Discovery
from service.ssf.door import TooMany, for_receivers
from service.ssf.oauth import TokenEndpoint
from service.ssf.polling import WAIT_SECONDS, LongPolls, Polling
from service.ssf.pool import in_pool
from service.ssf.tokens import MANAGE, READ, WINDOW_SECONDS, Client, Tokens

STREAM_CHANGES_MAX: Final = 30
SUBJECT_CHANGES_MAX: Final = 120
"""Of a receiver within ``WINDOW_SECONDS``: each lets those who send read anew who gets what."""
ALL_CHANGES_MAX: Final = 600
"""Of all receivers together: however many there are, what is sent is not held up by what they change."""

log = structlog.get_logger()


class Transmitter:
    """``/ssf/*``, and what leads there."""

    def __init__(self, redis: Redis, config: Config, ssf: Ssf, wait_seconds: float = WAIT_SECONDS) -> None:
        """Keep what the endpoints need."""
        self._redis = redis
        self._terms = Terms(ssf, config.signals.ports, self._seal)
        self._vault = Vault.of(redis, config)
        self._tokens = Tokens(redis, ssf.receivers)
        signing = Signing(ssf)
        self._discovery = Discovery(ssf, signing)
        self._long_polls = LongPolls(redis, wait_seconds)
        self._polling = Polling(redis, ssf, signing, self._long_polls)

    async def close(self) -> None:
        """End what waits."""
        await self._long_polls.close()

    def routes(self) -> list[Route]:
        """Return the routes, under the issuer's path as well: whoever stands before us may take it away, or not."""
        by_path: dict[str, tuple[list[str], Callable[[Request], Awaitable[Response]]]] = {
            "/ssf/token": (["POST"], TokenEndpoint(self._tokens).__call__),
        }
        for path, by_method in self._endpoints().items():
            by_path[path] = (list(by_method), for_receivers(self._tokens, by_method))
        return self._discovery.routes() + [
            Route(prefix + path, endpoint, methods=methods)
            for prefix in dict.fromkeys(["", self._discovery.path])
            for path, (methods, endpoint) in by_path.items()
        ]

    def _endpoints(self) -> Mapping[str, Mapping[str, tuple[Callable[[Request, Client], Awaitable[Response]], str]]]:
        return {
            "/ssf/streams": {
                "GET": (self.read, READ),
                "POST": (self.create, MANAGE),
                "PATCH": (self.update, MANAGE),
                "PUT": (self.replace, MANAGE),
                "DELETE": (self.delete, MANAGE),
            },
            "/ssf/status": {"GET": (self.status, READ), "POST": (self.set_status, MANAGE)},
            "/ssf/subjects/add": {"POST": (self.add_subject, MANAGE)},
            "/ssf/subjects/remove": {"POST": (self.remove_subject, MANAGE)},
            "/ssf/verify": {"POST": (self.verify, MANAGE)},
            "/ssf/poll/{stream_id}": {"POST": (self._polling.poll, READ)},
        }

    # ---- configuration

    async def create(self, request: Request, client: Client) -> Response:
        """``POST /ssf/streams``."""
        asked = await read(request, Configuration)
        await self._count(client, "streams", STREAM_CHANGES_MAX)

        def make() -> Stream:
            stream = self._terms.made(client, asked)
            # Legacy receivers wait for it, and do not ask.
            hello = [sets.verification(stream.id, None, datetime.now(UTC))] if client.receiver.profile == LEGACY else []
            streams.create(self._redis, stream, client.receiver.streams_max, hello)
            return stream

        stream = await in_pool(make)
        log.info("ssf.stream_created", stream=stream.id, receiver=client.name, method=stream.method)
        return JSONResponse(self._terms.shown(stream, client.receiver), 201)

    async def read(self, request: Request, client: Client) -> Response:
        """``GET /ssf/streams``: one of them, or all."""
        stream_id = request.query_params.get("stream_id")
        if stream_id is None:
            found = await in_pool(lambda: streams.of_receiver(self._redis, client.name))
            return JSONResponse([self._terms.shown(each, client.receiver) for each in found])
        stream = await self._stream(client, stream_id)
        return JSONResponse(self._terms.shown(stream, client.receiver))

    async def update(self, request: Request, client: Client) -> Response:
        """``PATCH /ssf/streams``: what is there is changed."""
        return await self._change(request, client, whole=False)

    async def replace(self, request: Request, client: Client) -> Response:
        """``PUT /ssf/streams``: what is not there is taken away."""
        return await self._change(request, client, whole=True)

    async def _change(self, request: Request, client: Client, *, whole: bool) -> Response:
        asked = await read(request, Change)
        stream_id = (await self._stream(client, asked.stream_id)).id
        await self._count(client, "streams", STREAM_CHANGES_MAX)

        def to(before: Stream) -> Stream:
            return self._terms.changed(before, client.receiver, asked, whole=whole)

        stream = await in_pool(lambda: streams.change(self._redis, client.name, stream_id, to))
        log.info("ssf.stream_changed", stream=stream.id, receiver=client.name, method=stream.method)
        return JSONResponse(self._terms.shown(stream, client.receiver))

    async def delete(self, request: Request, client: Client) -> Response:
        """``DELETE /ssf/streams``."""
        # One that is being deleted is found by nobody else, but its deletion can be finished.
        stream_id = request.query_params.get("stream_id") or (await self._stream(client, None)).id
        await self._count(client, "streams", STREAM_CHANGES_MAX)
        await in_pool(lambda: streams.delete(self._redis, client.name, stream_id))
        log.info("ssf.stream_deleted", stream=stream_id, receiver=client.name)
        return Response(status_code=204)

    # ---- status

    async def status(self, request: Request, client: Client) -> Response:
        """``GET /ssf/status``."""
        stream = await self._stream(client, request.query_params.get("stream_id"))
        return _status(stream.id, await in_pool(lambda: status(self._redis, stream.id)))

    async def set_status(self, request: Request, client: Client) -> Response:
        """``POST /ssf/status``."""
        asked = await read(request, StatusChange)
        stream = await self._stream(client, asked.stream_id)
        await self._count(client, "streams", STREAM_CHANGES_MAX)
        reason = asked.reason and asked.reason[:REASON_CHARS_MAX]
        if not await in_pool(lambda: set_status(self._redis, stream.id, asked.status, reason)):
            return problem(
                403, "paused_by_us", "the transmitter's operator paused this stream, and alone lets it go on"
            )
        log.info("ssf.status_changed", stream=stream.id, receiver=client.name, status=asked.status)
        return _status(stream.id, Status(asked.status, reason))

    # ---- subjects

    async def add_subject(self, request: Request, client: Client) -> Response:
        """``POST /ssf/subjects/add``: every subject is in a stream, so this takes back that it was removed."""
        return await self._change_subject(request, client, streams.include, 200)

    async def remove_subject(self, request: Request, client: Client) -> Response:
        """``POST /ssf/subjects/remove``; whether we know the subject nobody learns."""
        return await self._change_subject(request, client, streams.exclude, 204)

    async def _change_subject(
        self, request: Request, client: Client, change: Callable[[Redis, Stream, str], None], done: int
    ) -> Response:
        asked = await read(request, SubjectChange)
        stream = await self._stream(client, asked.stream_id)
        subject = name(asked.subject)
        await self._count(client, "subjects", SUBJECT_CHANGES_MAX)
        await in_pool(lambda: change(self._redis, stream, subject))
        return Response(status_code=done)

    # ---- verification

    async def verify(self, request: Request, client: Client) -> Response:
        """``POST /ssf/verify``: the event goes the way of all others."""
        asked = await read(request, Verification)
        stream = await self._stream(client, asked.stream_id)
        if (await in_pool(lambda: status(self._redis, stream.id))).word == DISABLED:
            raise Malformed("the stream is disabled, and nothing is sent over it", reason="stream_disabled")
        if wait := await in_pool(lambda: self._verify(stream, asked.state)):
            raise TooMany(f"at most one verification within {VERIFICATION_SECONDS} seconds", retry_after=wait)
        return Response(status_code=204)

    def _verify(self, stream: Stream, state: str | None) -> int:
        """Let a verification be sent; return how long to wait where one was of late, or 0."""
        if not self._redis.set(keys.verified(stream.id), 1, ex=VERIFICATION_SECONDS, nx=True):
            left: Any = self._redis.ttl(keys.verified(stream.id))
            return max(int(left), 1)
        with self._redis.pipeline() as pipe:
            outbox.keep(pipe, sets.verification(stream.id, state, datetime.now(UTC)))
            pipe.execute()
        return 0

    # ---- what they have in common

    async def _count(self, client: Client, kind: str, most: int) -> None:
        """Count a change, whatever comes of it. Raises TooMany where there were enough for now."""

        def wait() -> int:
            own = self._tokens.tries(kind, client.name, most)
            return own or self._tokens.tries("changes", "all", ALL_CHANGES_MAX)

        if seconds := await in_pool(wait):
            said = f"at most {most} changes of {kind} within {WINDOW_SECONDS} seconds, and {ALL_CHANGES_MAX} of all"
            raise TooMany(said, retry_after=seconds)

    async def _stream(self, client: Client, stream_id: str | None) -> Stream:
        """Return the client's stream. Raises Unknown where it has none with this id, Malformed where it says none.

        A legacy receiver may leave it out where it has only one.
        """
        if stream_id is not None:
            return await in_pool(lambda: streams.find(self._redis, client.name, stream_id))
        own = await in_pool(lambda: streams.of_receiver(self._redis, client.name))
        if client.receiver.profile != LEGACY or len(own) != 1:
            raise Malformed("stream_id: Field required", reason="stream_id_missing")
        return own[0]

    def _seal(self, text: str, owner: str) -> str:
        try:
            return self._vault.seal(text, owner)
        except Refused as error:
            raise Unavailable(f"the authorization cannot be kept: {error.message}", reason=error.reason) from error


def _status(stream_id: str, found: Status) -> Response:
    reason = {"reason": found.reason} if found.reason else {}
    return JSONResponse({"stream_id": stream_id, "status": found.word, **reason})
