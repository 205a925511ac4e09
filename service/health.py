"""Probes and metrics: alive while the loop turns, ready while Redis takes a write."""

import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from redis import Redis
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lifecycle import keys
from lifecycle.errors import Unavailable


class Health:
    """``/health/*`` and ``/metrics``."""

    def __init__(self, redis: Redis, registry: CollectorRegistry) -> None:
        """Keep what is probed and shown."""
        self._redis = redis
        self._registry = registry

    async def live(self, _request: Request) -> Response:
        """``GET /health/live``."""
        return JSONResponse({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        """``GET /health/ready``: 503 while Redis is not writable."""
        try:
            await run_in_threadpool(self._redis.set, keys.READY, time.time(), ex=keys.READY_TTL_SECONDS)
        except (RedisError, OSError) as error:
            raise Unavailable("Redis is not reachable or not writable", reason="redis") from error
        return JSONResponse({"status": "ready"})

    async def metrics(self, _request: Request) -> Response:
        """``GET /metrics``."""
        try:
            text = await run_in_threadpool(generate_latest, self._registry)
        except (RedisError, OSError) as error:
            raise Unavailable("Redis is not reachable", reason="redis") from error
        return Response(text, media_type=CONTENT_TYPE_LATEST)
