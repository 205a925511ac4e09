"""The platform API beside SCIM, as far as a leaver needs it: tokens, queues and roles.

https://developer.genesys.cloud/devapps/api-explorer; TokensApi, RoutingApi and AuthorizationApi of the vendor's SDK.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gatepost.sandbox.errors import Refused, missing, not_found
from gatepost.sandbox.settings import Settings
from gatepost.sandbox.store import USER, Store
from gatepost.sandbox.tokens import Tokens
from gatepost.sandbox.web import Answer, Request

PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX = 25, 100
MEMBERS_MAX = 100
NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


@dataclass
class Queue:
    """A queue that calls come through; not a SCIM group."""

    id: str
    name: str
    members: list[str] = field(default_factory=list)


class Platform:
    """The routes below ``/api/v2`` that are not SCIM."""

    def __init__(self, settings: Settings, store: Store, tokens: Tokens) -> None:
        """Serve the people of a store."""
        self._settings = settings
        self._store = store
        self._tokens = tokens
        self.queues: dict[str, Queue] = {}
        self._routes: tuple[tuple[str, re.Pattern[str], str, Callable[..., Answer]], ...] = (
            ("DELETE", re.compile(r"/tokens/([^/]+)"), "oauth:token:delete", self._revoke),
            ("GET", re.compile(r"/users/([^/]+)/queues"), "routing:queue:view", self._queues_of),
            ("GET", re.compile(r"/users/([^/]+)/roles"), "authorization:grant:view", self._roles_of),
            ("POST", re.compile(r"/routing/queues/([^/]+)/members"), "routing:queue:edit", self._change_members),
            (
                "DELETE",
                re.compile(r"/routing/queues/([^/]+)/members/([^/]+)"),
                "routing:queue:edit",
                self._take_out,
            ),
        )

    def answer(self, request: Request, path: str) -> Answer:
        """Answer a request below ``/api/v2``. Raises Refused."""
        for method, pattern, permission, route in self._routes:
            found = pattern.fullmatch(path)
            if found and method == request.method:
                if permission in self._settings.without:
                    raise missing({permission})
                return route(request, *found.groups())
        raise not_found(path)

    def add_queue(self, name: str, members: list[str]) -> Queue:
        """Make a queue, as an administrator would."""
        queue = Queue(str(uuid.uuid4()), name, members)
        self.queues[queue.id] = queue
        return queue

    def queues_of(self, user: str) -> list[Queue]:
        """Return the queues that a user is a member of."""
        return [queue for queue in self.queues.values() if user in queue.members]

    def me(self, request: Request) -> Answer:
        """Answer ``GET /users/me`` to somebody who is logged in, and to nobody else."""
        user = self._tokens.person(request)
        if user is None:
            raise Refused(401, "bad.credentials", "Invalid login credentials.")
        return Answer.of(200, {"id": user})

    def _revoke(self, _: Request, user: str) -> Answer:
        """Delete every token of a user, which logs the user out; an inactive user's too."""
        self._check_user(user)
        self._tokens.revoke(user)
        return Answer(200)

    def _queues_of(self, request: Request, user: str) -> Answer:
        self._check_user(user)
        found = [{"id": queue.id, "name": queue.name, "joined": True} for queue in self.queues_of(user)]
        return Answer.of(200, _page(request, found))

    def _roles_of(self, _: Request, user: str) -> Answer:
        record = self._check_user(user)
        names = [role.value for role in getattr(record, "roles", None) or []]
        roles = [{"id": str(uuid.uuid5(NAMESPACE, name)), "name": name} for name in names]
        uri = f"/api/v2/users/{user}/roles"
        return Answer.of(200, {"roles": roles, "unusedRoles": [], "permissions": [], "selfUri": uri})

    def _take_out(self, _: Request, queue_id: str, user: str) -> Answer:
        queue = self._queue(queue_id)
        if user not in queue.members:
            raise not_found(f"member {user}")
        queue.members.remove(user)
        return Answer(204)

    def _change_members(self, request: Request, queue_id: str) -> Answer:
        """Add members, or take them out with ``delete=true``; 100 in one call."""
        queue, entries = self._queue(queue_id), request.json()
        if not isinstance(entries, list) or len(entries) > MEMBERS_MAX:
            raise Refused(400, "bad.request", f"The body must be a list of at most {MEMBERS_MAX} members.")
        ids = [str(entry["id"]) for entry in entries]
        kept = [member for member in queue.members if member not in ids]
        queue.members = kept if request.query.get("delete") == "true" else kept + ids
        return Answer(204)

    def _queue(self, queue_id: str) -> Queue:
        if queue_id not in self.queues:
            raise not_found(f"queue {queue_id}")
        return self.queues[queue_id]

    def _check_user(self, user: str) -> object:
        record = self._store.record(USER, user)
        if record is None:
            raise not_found(f"user {user}")
        return record


def _page(request: Request, entities: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a page as the platform has it: numbered from 1."""
    try:
        size = min(int(request.query.get("pageSize", PAGE_SIZE_DEFAULT)), PAGE_SIZE_MAX)
        number = int(request.query.get("pageNumber", 1))
    except ValueError as error:
        raise Refused(400, "bad.request", "pageSize and pageNumber are numbers.") from error
    if size < 1 or number < 1:
        raise Refused(400, "bad.request", "pageSize and pageNumber begin at 1.")
    return {
        "entities": entities[(number - 1) * size : number * size],
        "pageSize": size,
        "pageNumber": number,
        "total": len(entities),
        "pageCount": -(-len(entities) // size),
    }
