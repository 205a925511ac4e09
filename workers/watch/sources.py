"""Which tasks a source has: by its adapter, by its directory, and by what its section of the configuration says.

The adapters live in ``service`` and are known here by their names alone.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlsplit, urlunsplit

from pydantic import ConfigDict
from redis import Redis

from lifecycle.config import Config, Source, own_options
from lifecycle.errors import Misconfigured, Refused
from lifecycle.fields import HttpUrl, Section, Words
from lifecycle.stream import Stream as StreamSection
from lifecycle.stream import metadata_url
from lifecycle.watching import SUBSCRIPTIONS
from workers.directories.answers import read
from workers.directories.api import ANSWER_BYTES_MAX, Api
from workers.directories.base import Directory
from workers.directories.changes import TellsChanges
from workers.directories.credentials import Credential, Fetched, Grant, Static
from workers.http import Http
from workers.scim.grants import by_basic
from workers.watch.base import Task
from workers.watch.poll import Poll
from workers.watch.stream import Stream, Transmitter
from workers.watch.subscriptions import Subscriptions, Wanted

POLL_DEFAULT = timedelta(seconds=60)
POLLED = frozenset({"okta", "entra_graph", "event_grid"})
"""The adapters of which notices are known to get lost, and whose directory is the vendor's own."""
SUBSCRIBED, STREAMED, REPLIED = "entra_graph", "ssf", "entra_workflows"

METADATA_SECONDS = 3_600.0
OK = 200


@runtime_checkable
class OverHttp(Protocol):
    """A directory that is asked over HTTP, and can be asked more than who works here."""

    @property
    def api(self) -> Api:
        """How it is asked."""


class StreamKeys(Section):
    """The keys of a stream's source that the watch needs; its adapter checks the others."""

    model_config = ConfigDict(extra="ignore")

    issuer: Words
    metadata_url: HttpUrl | None = None
    stream: StreamSection | None = None


class Watching(NamedTuple):
    """All that is watched."""

    tasks: Mapping[str, Sequence[Task]]
    """By source; of most there are none."""
    apis: Mapping[str, Api]
    """By source that waits to hear what became of its events, how it is told."""


def watching(config: Config, directories: Mapping[str, Directory], redis: Redis) -> Watching:
    """Return what is watched, and how. Raises Misconfigured."""
    tasks: dict[str, Sequence[Task]] = {}
    apis: dict[str, Api] = {}
    lines: list[str] = []
    for name, section in config.sources.items():
        directory = directories.get(section.directory or "")
        try:
            tasks[name] = list(_tasks(name, section, directory, redis))
        except Misconfigured as error:
            lines += error.lines
        if section.adapter == REPLIED and (api := _api(directory)):
            apis[name] = api.apart("replies", yields=True)
    if lines:
        raise Misconfigured(lines)
    return Watching(tasks, apis)


def _tasks(name: str, section: Source, directory: object, redis: Redis) -> Iterator[Task]:
    every = section.poll if section.poll is not None else POLL_DEFAULT if section.adapter in POLLED else timedelta()
    if every and isinstance(directory, TellsChanges):
        yield Poll(redis, name, directory, every)
    elif section.poll:
        found = f"{section.poll.total_seconds():.0f}s"
        line = f"sources.{name}.poll: found {found}; allowed: 0s, for it has no directory that can tell what changed"
        raise Misconfigured([line])
    if section.adapter == SUBSCRIBED and section.url and section.secrets and (api := _api(directory)):
        wanted = Wanted(name, section.url, section.secrets[0].value)
        yield Subscriptions(redis, wanted, api.apart(SUBSCRIPTIONS, yields=True))
    if section.adapter == STREAMED:
        yield from _stream(name, section, redis)


def _api(directory: object) -> Api | None:
    """Return how a directory is asked; None for one that is not asked over HTTP."""
    return directory.api if isinstance(directory, OverHttp) else None


def _stream(name: str, section: Source, redis: Redis) -> Iterator[Task]:
    keys = own_options(f"sources.{name}", section, StreamKeys)
    if keys.stream is None:
        return
    http = Http(bytes_max=ANSWER_BYTES_MAX)
    credential = _credential(keys.stream, http, redis)
    secrets = tuple(secret.value for secret in section.secrets)
    wanted = Transmitter(name, keys.issuer, keys.stream, section.url, secrets)
    metadata = Metadata(http, keys.issuer, keys.metadata_url or metadata_url(keys.issuer))
    yield Stream(redis, wanted, metadata, lambda url: Api(_origin(url), credential, http, redis))


def _credential(section: StreamSection, http: Http, redis: Redis) -> Credential:
    if section.token is not None:
        return Static("Bearer", section.token.value)
    if section.token_url is None or section.client_id is None or section.client_secret is None:
        raise Misconfigured(["stream: found no token; allowed: token, or token_url with client_id and client_secret"])
    grant = Grant(section.token_url, section.client_id, section.client_secret, section.scopes)
    return Fetched(grant, http, redis, by_basic)


def _origin(url: str) -> str:
    """Return what the credential of a stream is sent to: wherever the issuer's metadata say."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


class Metadata:
    """What a transmitter tells of itself, to whoever asks; asked for once an hour."""

    def __init__(self, http: Http, issuer: str, url: str) -> None:
        """Ask nothing yet."""
        self._http = http
        self._issuer = issuer
        self._url = url
        self._found: Mapping[str, Any] = {}
        self._read_at = float("-inf")

    def __call__(self) -> Mapping[str, Any]:
        """Return it. Raises Postponed or Refused."""
        if time.monotonic() - self._read_at > METADATA_SECONDS:
            self._found, self._read_at = self._ask(), time.monotonic()
        return self._found

    def _ask(self) -> Mapping[str, Any]:
        answer = self._http.send("GET", self._url, headers={"accept": "application/json"})
        if answer.status != OK:
            raise Refused(f"the transmitter's metadata answer {answer.status}", reason="metadata")
        found = read(answer)
        if not isinstance(found, dict) or found.get("issuer") != self._issuer:
            raise Refused("the metadata are another issuer's", reason="issuer")
        return found
