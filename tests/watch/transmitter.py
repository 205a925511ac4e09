"""A Shared Signals transmitter: its metadata, and the management interface of its streams (SSF 1.0 section 8)."""

from typing import Any
from uuid import uuid4

from tests.watch.loopback import Asked, Reply, Service

TOKEN = "transmitter-token-of-the-tests"
WELL_KNOWN = "/.well-known/ssf-configuration"


class Transmitter(Service):
    """Who has streams."""

    def __init__(self) -> None:
        """Begin without a stream."""
        super().__init__()
        self.streams: dict[str, dict[str, Any]] = {}
        self.status: dict[str, str] = {}
        self.verifications: list[dict[str, Any]] = []
        self.streams_max = 10
        self.keeps_paused = False

    def answer(self, asked: Asked) -> Reply:
        """Answer."""
        if asked.path == WELL_KNOWN:
            endpoints = {name: f"{self.url}/{name}" for name in ("configuration", "status", "verification")}
            return Reply(200, {"issuer": self.url, **{f"{name}_endpoint": url for name, url in endpoints.items()}})
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401)
        return {"/configuration": self._configuration, "/status": self._status, "/verification": self._verify}[
            asked.path
        ](asked)

    def create(self, **told: Any) -> str:  # noqa: ANN401 - of a stream
        """Create a stream and return its id."""
        stream = uuid4().hex
        self.streams[stream] = {"stream_id": stream, "iss": self.url, "aud": "us", **told}
        self.status[stream] = "enabled"
        return stream

    def _configuration(self, asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(200, list(self.streams.values()))
        if asked.method == "PATCH":
            self.streams[asked.body["stream_id"]] |= asked.body
            return Reply(200, self.streams[asked.body["stream_id"]])
        if len(self.streams) >= self.streams_max:
            return Reply(409)
        return Reply(201, self.streams[self.create(**asked.body)])

    def _status(self, asked: Asked) -> Reply:
        stream = asked.query.get("stream_id") or asked.body["stream_id"]
        if stream not in self.streams:
            return Reply(404)
        if asked.method == "POST" and not self.keeps_paused:
            self.status[stream] = asked.body["status"]
        return Reply(200, {"stream_id": stream, "status": self.status[stream]})

    def _verify(self, asked: Asked) -> Reply:
        self.verifications.append(asked.body)
        return Reply(204)
