"""``/v1/subscribers``: operators make, change, rotate, test, replay and delete subscribers; a secret is shown once."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lifecycle import asked
from lifecycle.config import Config
from lifecycle.errors import Malformed
from lifecycle.replay import Replay, Replayed
from lifecycle.sealed import Signing, public_key
from lifecycle.subscriber_view import one, shown
from lifecycle.subscribers import API, Subscribers
from lifecycle.times import moment_of
from service.api.admin import guarded
from service.api.bodies import JSON, MERGE_PATCH, read_object
from service.api.endpoints import page_of, read
from service.api.queries import paging, query

CHOICES = ("since", "id", "failed")


class SubscribersApi:
    """The endpoints under ``/v1/subscribers``."""

    def __init__(self, redis: Redis, config: Config) -> None:
        """Keep the store, and what the file says of subscribers."""
        self._redis = redis
        self._config = config
        self._store = Subscribers(redis, config)

    def routes(self, tokens: Sequence[str]) -> list[Route]:
        """Return the routes, each for bearers of one of the tokens only."""
        path = "/v1/subscribers"
        return [
            Route(path, guarded(self.list, tokens), methods=["GET"]),
            Route(path, guarded(self.create, tokens), methods=["POST"]),
            Route(f"{path}/{{name}}", guarded(self.show, tokens), methods=["GET"]),
            Route(f"{path}/{{name}}", guarded(self.change, tokens), methods=["PATCH"]),
            Route(f"{path}/{{name}}", guarded(self.delete, tokens), methods=["DELETE"]),
            Route(f"{path}/{{name}}/rotate", guarded(self.rotate, tokens), methods=["POST"]),
            Route(f"{path}/{{name}}/test", guarded(self.test, tokens), methods=["POST"]),
            Route(f"{path}/{{name}}/replay", guarded(self.replay, tokens), methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """``GET /v1/subscribers``."""
        found = paging(query(request, "after", "limit"))
        return await page_of(lambda: shown(self._redis, self._config, datetime.now(UTC), **found))

    async def create(self, request: Request) -> Response:
        """``POST /v1/subscribers``."""
        body, now = await read_object(request, JSON), datetime.now(UTC)

        def make() -> dict[str, Any]:
            name, made = asked.created(body, self._config, now)
            self._store.create(name, made, actor=API)
            given = None if body.get("secret") else next(iter(made.secrets), None)
            return self._view(name, now) | _shown_once(given)

        made = await read(make)
        return JSONResponse(made, 201, {"Location": f"/v1/subscribers/{made['name']}"})

    async def show(self, request: Request) -> Response:
        """``GET /v1/subscribers/{name}``."""
        return JSONResponse(await read(lambda: self._view(_name(request), datetime.now(UTC))))

    async def change(self, request: Request) -> Response:
        """``PATCH /v1/subscribers/{name}``: a JSON merge patch (RFC 7396)."""
        body, name, now = await read_object(request, MERGE_PATCH, JSON), _name(request), datetime.now(UTC)

        def change() -> dict[str, Any]:
            self._store.change(name, asked.change(body), now, actor=API)
            return self._view(name, now)

        return JSONResponse(await read(change))

    async def delete(self, request: Request) -> Response:
        """``DELETE /v1/subscribers/{name}``: what waits for it is dropped; past deliveries stay."""
        await read(lambda: self._store.delete(_name(request), actor=API))
        return Response(status_code=204)

    async def rotate(self, request: Request) -> Response:
        """``POST /v1/subscribers/{name}/rotate``: a new secret signs first, the old ones for a while longer."""
        body = await read_object(request, JSON, may_be_empty=True)
        name, now = _name(request), datetime.now(UTC)

        def rotate() -> dict[str, Any]:
            made = self._store.rotate(name, body, now, actor=API)
            return self._view(name, now) | _shown_once(None if body.get("secret") else made.secrets[0])

        return JSONResponse(await read(rotate))

    async def test(self, request: Request) -> Response:
        """``POST /v1/subscribers/{name}/test``: a signal for this one alone."""
        name = _name(request)
        signal = await read(lambda: self._store.test(name, datetime.now(UTC), actor=API))
        return JSONResponse({"subscriber": name, "signal": signal}, 202)

    async def replay(self, request: Request) -> Response:
        """``POST /v1/subscribers/{name}/replay``: by ``since``, ``id`` or ``failed=true``."""
        found, name = query(request, *CHOICES), _name(request)
        if len(found) != 1:
            raise Malformed("one of since, id and failed says what is replayed", reason="replay_malformed")
        replayed = await read(lambda: self._replayed(name, **found))
        following = replayed.next.isoformat() if replayed.next else None
        found_room = {"enlisted": replayed.enlisted, "full": replayed.is_full}
        return JSONResponse({"subscriber": name, **found_room, "next": following}, 202)

    def _replayed(self, name: str, **found: str) -> Replayed:
        if "since" in found:
            moment = moment_of(found["since"])
            return Replay(self._redis, self._config, name).since(moment, actor=API)
        if "id" in found:
            return Replay(self._redis, self._config, name).one(found["id"], actor=API)
        if found["failed"] != "true":
            raise Malformed("failed is true, or is left out", reason="replay_malformed")
        return Replay(self._redis, self._config, name).failed(actor=API)

    def _view(self, name: str, now: datetime) -> dict[str, Any]:
        return one(self._redis, self._config, now, name)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _shown_once(made: Signing | None) -> dict[str, str | None]:
    """Return a secret that we made; of a key pair only the public half, which is all that a receiver needs."""
    if made is None:
        return {"secret": None, "public_key": None}
    public = public_key(made.value)
    return {"secret": None if public else made.value, "public_key": public}
