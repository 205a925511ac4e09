"""The control plane, ``/sandbox/*``: what a demo or a test sees and does past the API. Loopback only, no token.

GET /sandbox/state; POST, DELETE /sandbox/faults; POST /sandbox/groups, /sandbox/queues, /sandbox/users/{id}/sessions;
GET, DELETE /sandbox/requests; DELETE /sandbox/tokens.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

from pydantic import ValidationError
from scim2_models import Group, ResourceType

from gatepost.sandbox.errors import Refused, not_found
from gatepost.sandbox.faults import FAULTS, Faults
from gatepost.sandbox.platform import Platform
from gatepost.sandbox.store import USER, Store
from gatepost.sandbox.tokens import Tokens
from gatepost.sandbox.web import Answer, Request

REQUESTS_MAX = 100_000
GROUPS = ResourceType.from_resource(Group)


@dataclass(frozen=True)
class Line:
    """One request in the log; status 0 is a connection that was cut."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    limited: bool


class Log:
    """The requests that came, the last ones of them."""

    def __init__(self) -> None:
        """Start empty."""
        self._lines: deque[Line] = deque(maxlen=REQUESTS_MAX)
        self._lock = Lock()

    def add(self, request: Request, status: int, *, limited: bool = False) -> None:
        """Keep one."""
        with self._lock:
            self._lines.append(Line(request.method, request.path, dict(request.query), status, limited))

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._lines.clear()

    def shown(self) -> dict[str, Any]:
        """Return the lines, and how many of them were refused by the rate limit."""
        with self._lock:
            items = [asdict(line) for line in self._lines]
        return {"items": items, "total": len(items), "limited": sum(item["limited"] for item in items)}


class Control:
    """The routes of the control plane."""

    def __init__(self, store: Store, platform: Platform, tokens: Tokens, faults: Faults, log: Log) -> None:
        """Control these."""
        self._store = store
        self._platform = platform
        self._tokens = tokens
        self._faults = faults
        self._log = log
        self._routes: tuple[tuple[str, re.Pattern[str], Callable[..., Answer]], ...] = (
            ("GET", re.compile("/state"), self._state),
            ("POST", re.compile("/faults"), self._add_faults),
            ("DELETE", re.compile("/faults"), self._clear_faults),
            ("POST", re.compile("/groups"), self._add_group),
            ("POST", re.compile("/queues"), self._add_queue),
            ("POST", re.compile("/users/([^/]+)/sessions"), self._log_in),
            ("GET", re.compile("/requests"), self._requests),
            ("DELETE", re.compile("/requests"), self._clear_requests),
            ("DELETE", re.compile("/tokens"), self._forget_clients),
        )

    def answer(self, request: Request, path: str) -> Answer:
        """Answer a request below ``/sandbox``. Raises Refused."""
        for method, pattern, route in self._routes:
            found = pattern.fullmatch(path)
            if found and method == request.method:
                return route(request, *found.groups())
        raise not_found(path)

    def _state(self, _: Request) -> Answer:
        """Show everything there is, deleted users too; a password is never shown."""
        kept = [record.model_dump() for record in self._store.resources]
        users = [user for user in kept if "userName" in user]
        shown = [self._user(user, "active" if user["active"] else "inactive") for user in users]
        shown += [self._user(user, "deleted") for user in self._store.deleted.values()]
        groups = [
            {"id": group["id"], "displayName": group["displayName"], "members": _members(group)}
            for group in kept
            if "userName" not in group
        ]
        queues = [asdict(queue) for queue in self._platform.queues.values()]
        return Answer.of(200, {"users": shown, "groups": groups, "queues": queues})

    def _user(self, user: dict[str, Any], state: str) -> dict[str, Any]:
        shown = {name: value for name, value in user.items() if name not in {"password", "meta", "schemas"}}
        return {
            **shown,
            "state": state,
            "sessions": self._tokens.sessions(user["id"]),
            "groups": sorted(self._store.group_names(user["id"]).values()),
            "queues": [queue.name for queue in self._platform.queues_of(user["id"])],
        }

    def _add_faults(self, request: Request) -> Answer:
        try:
            faults = FAULTS.validate_json(request.body)
        except ValidationError as error:
            raise Refused(400, "bad.request", str(error)) from error
        self._faults.add(faults)
        return Answer(204)

    def _clear_faults(self, _: Request) -> Answer:
        self._faults.clear()
        return Answer(204)

    def _add_group(self, request: Request) -> Answer:
        """Make a group by hand: SCIM has no POST of groups, the vendor's console has."""
        body = request.json()
        members = [{"value": member} for member in body.get("members", [])] or None
        given = Group.model_validate({"displayName": body["displayName"], "members": members})
        group = self._store.create(GROUPS, given)
        return Answer.of(201, {"id": group.id, "displayName": body["displayName"]})

    def _add_queue(self, request: Request) -> Answer:
        body = request.json()
        return Answer.of(201, asdict(self._platform.add_queue(body["name"], body.get("members", []))))

    def _log_in(self, _: Request, user: str) -> Answer:
        """Log a user in; only an active one can."""
        record = self._store.record(USER, user)
        if record is None:
            raise not_found(f"user {user}")
        if not getattr(record, "active", False):
            raise Refused(409, "user.inactive", "An inactive user cannot log in.")
        return Answer.of(201, {"token": self._tokens.log_in(user)})

    def _requests(self, _: Request) -> Answer:
        return Answer.of(200, self._log.shown())

    def _clear_requests(self, _: Request) -> Answer:
        self._log.clear()
        return Answer(204)

    def _forget_clients(self, _: Request) -> Answer:
        """Let the client's tokens die early, as a 15-minute idle timeout does."""
        self._tokens.forget_clients()
        return Answer(204)


def _members(group: dict[str, Any]) -> list[str]:
    return [member["value"] for member in group.get("members", [])]
