"""Requests to one SCIM service provider: plain dicts on the wire, each answer a value or an error of ours."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from redis import Redis

from lifecycle.errors import Postponed, Refused
from lifecycle.target import Target
from workers.http import Answer, Http
from workers.resource import attribute
from workers.scim import filters, paging
from workers.scim.answers import document, failure, honest, parse, scim_type
from workers.scim.capabilities import Capabilities
from workers.scim.token import Bearer

MEDIA_TYPE = "application/scim+json"
ACCEPT = f"{MEDIA_TYPE}, application/json;q=0.9"
PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"

# Genesys Cloud's own first; the others are what gateways add.
CORRELATIONS = ("inin-correlation-id", "x-correlation-id", "x-request-id", "request-id")
CORRELATION_CHARS_MAX = 100

OK, CREATED, ACCEPTED, NO_CONTENT = 200, 201, 202, 204
BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, NOT_IMPLEMENTED = 400, 401, 404, 501

Resource = dict[str, Any]
Operation = dict[str, Any]


class Exchange(NamedTuple):
    """One request and its answer, for the timeline; the path shows no value of a filter."""

    at: datetime
    method: str
    path: str
    status: int
    """0 when there was no answer."""
    milliseconds: int
    correlation: str = ""
    """The id by which the vendor finds this request in its own log; empty where it gives none."""


def _nobody_listens(_: Answer) -> None:
    """Do nothing."""


@dataclass
class Conversation:
    """What was said to one target in one attempt, and the leave to go on, asked before every request."""

    may_send: Callable[[], None]
    exchanges: list[Exchange] = field(default_factory=list)
    heard: Callable[[Answer], None] = _nobody_listens
    """Told of every answer, whatever it says, before anything is made of it."""
    can: Capabilities = field(default_factory=Capabilities)


class _Request(NamedTuple):
    """One request, to be sent as often as it takes."""

    method: str
    path: str
    body: Resource | None
    shown: str
    version: str | None = None
    """What ``If-Match`` names (section 3.14); an ETag alone is no promise, so only where the target honours it."""


class Client:
    """Speaks SCIM to one target; lives as long as the process."""

    def __init__(self, target: Target, http: Http, redis: Redis | None = None) -> None:
        """Keep the connection and the bearer, which the fleet shares through Redis where one is given."""
        self.base = target.base_url.rstrip("/")
        self._http = http
        self._bearer = Bearer(target, http, redis)

    def get(self, talk: Conversation, kind: str, resource_id: str) -> Resource | None:
        """Return a resource by id, or None when the target has no such (RFC 7644 section 3.4.1)."""
        answer = self.send(talk, "GET", _path(kind, resource_id), allow={OK, NOT_FOUND})
        if answer.status != OK:
            return None
        document(answer)
        return shown(answer)

    def query(
        self, talk: Conversation, kind: str, attribute: str, value: str, *, allow: set[int] | None = None
    ) -> list[Resource]:
        """Return what the filter ``attribute eq "value"`` gives; the caller verifies each (section 3.4.2.2).

        Where the target knows no such filter, refuses it, with a status in ``allow`` too, or answers with the first
        page of everybody, all are read.
        """
        if not _can_filter(talk.can, kind, attribute):
            return self.everyone(talk, kind)
        allowed = {OK, BAD_REQUEST, NOT_IMPLEMENTED} | (allow or set())
        answer = self._filter(talk, kind, filters.equals(attribute, value), allowed)
        if answer.status == OK and paging.is_whole(answer):
            return paging.resources(answer)
        if scim_type(answer) == "tooMany":
            # One name is the narrowest filter there is; everybody would be more.
            raise failure(answer, datetime.now(UTC))
        try:
            return self.everyone(talk, kind)
        except Refused as error:
            raise error if answer.status == OK else failure(answer, datetime.now(UTC)) from error

    def _filter(self, talk: Conversation, kind: str, text: str, allowed: set[int]) -> Answer:
        """Ask by a filter: in the body where the target offers that, for URLs are kept in logs (section 7.5.2)."""
        if talk.can.search:
            return self.send(
                talk, "POST", f"/{kind}/.search", {"schemas": [SEARCH_SCHEMA], "filter": text}, allow=allowed
            )
        path = f"/{kind}?filter={filters.encoded(text)}"
        return self.send(talk, "GET", path, allow=allowed, shown=f"/{kind}?filter={filters.shown(text)}")

    def some(self, talk: Conversation, kind: str) -> list[Resource]:
        """Return a few resources of a kind, at least one where there are any."""
        return paging.resources(self.send(talk, "GET", f"/{kind}?startIndex=1&count=1"))

    def everyone(
        self,
        talk: Conversation,
        kind: str,
        *,
        only: str | None = None,
        attributes: Sequence[str] = (),
        page_size: int | None = None,
    ) -> list[Resource]:
        """Return all resources of a kind (section 3.4.2.4). Raises Refused when they are too many to be read.

        ``only`` is a filter, as ``filters.equals`` makes it; ``attributes`` are those to be told, absent the target's
        default, for some count the costly ones.
        """
        size = page_size or talk.can.page_size
        listing = paging.Listing(only, tuple(attributes), size, by_cursor=talk.can.cursor)

        def fetch(query: paging.Query) -> Answer:
            path = f"/{kind}?{paging.encoded(query)}"
            return self.send(talk, "GET", path, allow=paging.ANSWERS, shown=f"/{kind}?{paging.shown(query)}")

        return paging.read(fetch, listing)

    def create(self, talk: Conversation, kind: str, body: Resource, *, allow: set[int]) -> Answer:
        """Ask for a new resource; the statuses in ``allow`` come back as they are (section 3.3)."""
        return self.send(talk, "POST", f"/{kind}", body, allow={OK, CREATED} | allow)

    def patch(
        self,
        talk: Conversation,
        kind: str,
        resource_id: str,
        operations: list[Operation],
        *,
        allow: set[int] | None = None,
        version: str | None = None,
    ) -> Answer:
        """Change a resource (section 3.5.2), only in this version if one is named; 200 and 204 are both success."""
        body = {"schemas": [PATCH_SCHEMA], "Operations": operations}
        path = _path(kind, resource_id)
        allowed = {OK, NO_CONTENT} | (allow or set())
        return self._say(talk, _Request("PATCH", path, body, path, version), allowed)

    def put(
        self,
        talk: Conversation,
        kind: str,
        resource_id: str,
        body: Resource,
        *,
        allow: set[int],
        version: str | None = None,
    ) -> Answer:
        """Replace a resource (section 3.5.1); a version as for ``patch``, ``allow`` as for ``create``."""
        path = _path(kind, resource_id)
        return self._say(talk, _Request("PUT", path, body, path, version), {OK, NO_CONTENT} | allow)

    def delete(
        self, talk: Conversation, kind: str, resource_id: str, *, allow: set[int], version: str | None = None
    ) -> Answer:
        """Delete a resource (section 3.6); a version as for ``patch``, ``allow`` as for ``create``."""
        path = _path(kind, resource_id)
        return self._say(talk, _Request("DELETE", path, None, path, version), {OK, NO_CONTENT} | allow)

    def send(
        self,
        talk: Conversation,
        method: str,
        path: str,
        body: Resource | None = None,
        *,
        allow: frozenset[int] | set[int] = frozenset({OK}),
        shown: str | None = None,
    ) -> Answer:
        """Send one request; after a 401 once more with a new token. Raises Postponed or Refused.

        ``shown`` is the path for the timeline where the real one holds what is personal.
        """
        return self._say(talk, _Request(method, path, body, shown or path), allow)

    def _say(self, talk: Conversation, request: _Request, allow: frozenset[int] | set[int]) -> Answer:
        answer = self._send_once(talk, request)
        if answer.status == UNAUTHORIZED and self._bearer.renew():
            answer = self._send_once(talk, request)
        if answer.status == ACCEPTED:
            # RFC 9967: a target may answer before it has acted; the next attempt looks whether it did.
            raise Postponed("the target accepted the request and will act later", reason="accepted")
        if answer.status not in allow:
            raise failure(answer, datetime.now(UTC))
        return answer

    def _send_once(self, talk: Conversation, request: _Request) -> Answer:
        headers = {"accept": ACCEPT, "authorization": f"Bearer {self._bearer.token(talk.may_send, talk.heard)}"}
        if request.body is not None:
            headers["content-type"] = MEDIA_TYPE
        if request.version:
            headers["if-match"] = request.version
        talk.may_send()
        content = json.dumps(request.body).encode() if request.body is not None else None
        started = datetime.now(UTC)
        status, correlation = 0, ""
        try:
            url = self.base + request.path if request.path.startswith("/") else request.path
            answer = self._http.send(request.method, url, headers=headers, body=content)
            status, correlation = answer.status, _correlation(answer)
        finally:
            took = round((datetime.now(UTC) - started).total_seconds() * 1000)
            talk.exchanges.append(Exchange(started, request.method, request.shown, status, took, correlation))
        talk.heard(answer)
        return honest(answer)


def shown(answer: Answer) -> Resource:
    """Return the resource that an answer shows, its version as ``meta.version``; empty when it shows none.

    The ETag header counts more than the body, and either is kept byte for byte: the quotes and ``W/`` are part of it
    (RFC 7644 section 3.14, RFC 9110 section 8.8.3).
    """
    found = parse(answer)
    tag = answer.headers.get("etag")
    if not tag or not found:
        return found
    name = next((each for each in found if each.lower() == "meta"), "meta")
    meta = found[name] if isinstance(found.get(name), dict) else {}
    kept = {each: value for each, value in meta.items() if each.lower() != "version"}
    return {**found, name: {**kept, "version": tag}}


def version(resource: Mapping[str, Any]) -> str | None:
    """Return the version that a resource shows, None when it shows none."""
    meta = attribute(resource, "meta")
    found = attribute(meta, "version")
    return found if isinstance(found, str) and found else None


def _correlation(answer: Answer) -> str:
    found = (answer.headers.get(name, "") for name in CORRELATIONS)
    return next(filter(None, found), "")[:CORRELATION_CHARS_MAX]


def _path(kind: str, resource_id: str) -> str:
    """Return where a resource is. Dots alone would be resolved away (RFC 3986 section 5.2.4), so they are no id."""
    if not resource_id.strip("."):
        raise Refused(f"the target gave {resource_id!r} as an id", reason="refused")
    return f"/{kind}/{quote(resource_id, safe='')}"


def _can_filter(can: Capabilities, kind: str, attribute: str) -> bool:
    return can.filter and (kind != "Users" or attribute in can.find_by)
