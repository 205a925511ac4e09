"""Requests to one SCIM service provider: plain dicts on the wire, each answer a value or an error of ours."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from lifecycle.errors import Postponed, Refused
from lifecycle.target import Target
from workers.http import Answer, Http
from workers.scim.answers import failure, parse
from workers.scim.token import Bearer

MEDIA_TYPE = "application/scim+json"
ACCEPT = f"{MEDIA_TYPE}, application/json;q=0.9"
PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

OK, CREATED, ACCEPTED, NO_CONTENT = 200, 201, 202, 204
BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, NOT_IMPLEMENTED = 400, 401, 404, 501

# A target that cannot filter is read whole, this far: a lookup is not worth more of its requests.
PAGE_SIZE, PAGES_MAX = 100, 50

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


@dataclass
class Conversation:
    """What was said to one target in one attempt, and the leave to go on, asked before every request."""

    may_send: Callable[[], None]
    exchanges: list[Exchange] = field(default_factory=list)


class Client:
    """Speaks SCIM to one target; lives as long as the process."""

    def __init__(self, target: Target, http: Http) -> None:
        """Keep the connection and the bearer."""
        self._base = target.base_url.rstrip("/")
        self._http = http
        self._bearer = Bearer(target, http)

    def get(self, talk: Conversation, kind: str, resource_id: str) -> Resource | None:
        """Return a resource by id, or None when the target has no such (RFC 7644 section 3.4.1)."""
        answer = self.send(talk, "GET", _path(kind, resource_id), allow={OK, NOT_FOUND})
        return parse(answer) if answer.status == OK else None

    def query(
        self, talk: Conversation, kind: str, attribute: str, value: str, *, allow: set[int] | None = None
    ) -> list[Resource]:
        """Return what the filter ``attribute eq "value"`` gives; the caller verifies each (section 3.4.2.2).

        The value is a JSON string and the whole filter one percent-encoded query value, so that no character of it can
        end the filter or begin another. Where the target refuses the filter, with a status in ``allow`` too, or answers
        with the first page of everybody, all are read.
        """
        text = f"{attribute} eq {json.dumps(value, ensure_ascii=False)}"
        path = f"/{kind}?filter={quote(text, safe='')}"
        refusals = {BAD_REQUEST, NOT_IMPLEMENTED} | (allow or set())
        answer = self.send(talk, "GET", path, allow={OK} | refusals, shown=f"/{kind}?filter={attribute} eq ...")
        found = _resources(answer)
        total = parse(answer).get("totalResults")
        partial = isinstance(total, int) and total > len(found) > 0
        if answer.status == OK and not partial:
            return found
        try:
            return self.everyone(talk, kind)
        except Refused as error:
            raise error if answer.status == OK else failure(answer, datetime.now(UTC)) from error

    def everyone(self, talk: Conversation, kind: str) -> list[Resource]:
        """Return all resources of a kind (section 3.4.2.4). Raises Refused when they are too many to be read."""
        found: dict[str, Resource] = {}
        received = 0
        for _ in range(PAGES_MAX):
            answer = self.send(talk, "GET", f"/{kind}?startIndex={received + 1}&count={PAGE_SIZE}")
            page = _resources(answer)
            received += len(page)
            known = len(found)
            found |= {json.dumps(hit, sort_keys=True): hit for hit in page}
            total = parse(answer).get("totalResults")
            # Some ignore where to start and give the same page again; who else there is, such a server never tells.
            repeated = len(found) == known
            complete = len(found) >= total if isinstance(total, int) else repeated
            if complete or not page:
                return list(found.values())
            if repeated:
                break
        raise Refused(
            f"more than {len(found)} {kind} to look through for want of a filter", reason="filter_unsupported"
        )

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
    ) -> Answer:
        """Change a resource (section 3.5.2); 200 and 204 are both success."""
        body = {"schemas": [PATCH_SCHEMA], "Operations": operations}
        path = _path(kind, resource_id)
        return self.send(talk, "PATCH", path, body, allow={OK, NO_CONTENT} | (allow or set()))

    def put(self, talk: Conversation, kind: str, resource_id: str, body: Resource, *, allow: set[int]) -> Answer:
        """Replace a resource (section 3.5.1); the statuses in ``allow`` come back as they are."""
        return self.send(talk, "PUT", _path(kind, resource_id), body, allow={OK, NO_CONTENT} | allow)

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
        """Send one request; after a 401 once more with a new token. Raises Postponed or Refused."""
        answer = self._send_once(talk, method, path, body, shown or path)
        if answer.status == UNAUTHORIZED and self._bearer.renew():
            answer = self._send_once(talk, method, path, body, shown or path)
        if answer.status == ACCEPTED:
            # RFC 9967: a target may answer before it has acted; the next attempt looks whether it did.
            raise Postponed("the target accepted the request and will act later", reason="accepted")
        if answer.status not in allow:
            raise failure(answer, datetime.now(UTC))
        return answer

    def _send_once(self, talk: Conversation, method: str, path: str, body: Resource | None, shown: str) -> Answer:
        headers = {"accept": ACCEPT, "authorization": f"Bearer {self._bearer.token()}"}
        if body is not None:
            headers["content-type"] = MEDIA_TYPE
        talk.may_send()
        content = json.dumps(body).encode() if body is not None else None
        started = datetime.now(UTC)
        status = 0
        try:
            answer = self._http.send(method, self._base + path, headers=headers, body=content)
            status = answer.status
        finally:
            took = datetime.now(UTC) - started
            talk.exchanges.append(Exchange(started, method, shown, status, round(took.total_seconds() * 1000)))
        return answer


def _path(kind: str, resource_id: str) -> str:
    """Return where a resource is. Dots alone would be resolved away (RFC 3986 section 5.2.4), so they are no id."""
    if not resource_id.strip("."):
        raise Refused(f"the target gave {resource_id!r} as an id", reason="refused")
    return f"/{kind}/{quote(resource_id, safe='')}"


def _resources(answer: Answer) -> list[Resource]:
    found = parse(answer).get("Resources")
    return [hit for hit in found if isinstance(hit, dict)] if isinstance(found, list) else []
