"""A tenant of Microsoft Graph: users, delta queries, subscriptions that are validated and deliver, tasks that wait.

https://learn.microsoft.com/graph/delta-query-users
"""

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from tests.watch.loopback import Asked, Reply, Service

BASE = "/v1.0"
TOKEN_PATH = "/token"
BEARER = "graph-bearer-of-the-tests"
DELTAS = {f"{BASE}/users/delta": "users", f"{BASE}/groups/delta": "groups"}
DELETED = f"{BASE}/directory/deletedItems/microsoft.graph.user"
SUBSCRIPTIONS = f"{BASE}/subscriptions"
RESUME = re.compile(rf"{BASE}/identityGovernance/lifecycleWorkflows/.*/resume")
Item = dict[str, Any]


class GraphTenant(Service):
    """Who works there, what changed, and whom it tells."""

    def __init__(self) -> None:
        """Begin with nobody."""
        super().__init__()
        self.users: dict[str, Item] = {}
        self.deleted: dict[str, Item] = {}
        self.changes: dict[str, list[Item]] = {"users": [], "groups": []}
        self.oldest = {"users": 0, "groups": 0}
        """Up to where links were forgotten."""
        self.page = 2
        self.subscriptions: dict[str, Item] = {}
        self.forbidden: set[str] = set()
        """Paths that the app has no permission for."""
        self.resumed: list[tuple[str, str]] = []

    # ---- what happens

    def join(self, name: str, **more: Any) -> Item:  # noqa: ANN401 - Graph's
        """Create a user and return what a notice says of it."""
        user = {"id": str(uuid4()), "accountEnabled": True, "userPrincipalName": f"{name}@acme.example", **more}
        self.users[user["id"]] = {"mail": user["userPrincipalName"], **user}
        return self.changed(user["id"])

    def changed(self, user: str, **more: Any) -> Item:  # noqa: ANN401 - Graph's
        """Change a user."""
        self.users[user] |= more
        return self._noted(dict(self.users[user]))

    def delete(self, user: str) -> Item:
        """Put a user into the recycle bin."""
        self.deleted[user] = self.users.pop(user)
        return self._noted({"id": user, "@removed": {"reason": "changed"}})

    def member(self, user: str, *, gone: bool = False) -> None:
        """Change who is in a group."""
        item: Item = {"@odata.type": "#microsoft.graph.user", "id": user}
        item |= {"@removed": {"reason": "deleted"}} if gone else {}
        with self.lock:
            self.changes["groups"].append({"id": "g-1", "members@delta": [item]})

    def forget(self) -> None:
        """Take no link any more that was given before."""
        with self.lock:
            self.oldest = {name: len(found) + 1 for name, found in self.changes.items()}
            for found in self.changes.values():
                found.append({"id": "nobody-in-particular", "@removed": {"reason": "deleted"}})

    def _noted(self, item: Item) -> Item:
        with self.lock:
            self.changes["users"].append(item)
        return item

    def deliver(self, user: str) -> None:
        """Tell each subscription of users that one was updated."""
        for each in list(self.subscriptions.values()):
            if each["resource"] == "users":
                item = {
                    "changeType": "updated",
                    "clientState": each["clientState"],
                    "subscriptionId": each["id"],
                    "resource": f"Users/{user}",
                    "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": user, "sequenceNumber": uuid4().int},
                }
                httpx.post(each["notificationUrl"], json={"value": [item]}, timeout=10)

    # ---- what is asked

    def answer(self, asked: Asked) -> Reply:
        """Answer the API."""
        if asked.path == TOKEN_PATH:
            return Reply(200, {"access_token": BEARER, "expires_in": 3_600})
        if asked.headers.get("authorization") != f"Bearer {BEARER}":
            return Reply(401, _error("InvalidAuthenticationToken"))
        if asked.path in self.forbidden:
            return Reply(403, _error("Authorization_RequestDenied"))
        return self._allowed(asked)

    def _allowed(self, asked: Asked) -> Reply:
        if asked.path in DELTAS:
            return self._delta(asked, DELTAS[asked.path])
        if asked.path == DELETED:
            wanted = re.findall(r"'([^']*)'", asked.query.get("$filter", ""))
            found = [each for each in self.deleted.values() if not wanted or each["id"] in wanted]
            return Reply(200, {"value": found})
        if asked.path.startswith(SUBSCRIPTIONS):
            return self._subscription(asked)
        if RESUME.fullmatch(asked.path):
            self.resumed.append((asked.path, asked.body["data"]["operationStatus"]))
            return Reply(204)
        return self._users(asked)

    def _users(self, asked: Asked) -> Reply:
        if asked.path.endswith("/memberOf"):
            return Reply(200, {"value": []})
        if asked.path == f"{BASE}/users":
            return Reply(200, {"value": list(self.users.values())})
        user = self.users.get(asked.path.rpartition("/")[2])
        return Reply(200, user) if user else Reply(404, _error("Request_ResourceNotFound"))

    def _delta(self, asked: Asked, name: str) -> Reply:
        with self.lock:
            changes, path = self.changes[name], f"{self.url}{BASE}/{name}/delta"
            token, skip = asked.query.get("$deltatoken"), asked.query.get("$skiptoken")
            if token == "latest":
                return Reply(200, {"value": [], "@odata.deltaLink": f"{path}?$deltatoken={len(changes)}"})
            if token and int(token) < self.oldest[name]:
                return Reply(410, _error("SyncStateNotFound"), {"location": f"{path}?$deltatoken="})
            if token is None and skip is None:
                everybody = list(self.users.values()) if name == "users" else []
                return Reply(200, {"value": everybody, "@odata.deltaLink": f"{path}?$deltatoken={len(changes)}"})
            start = int(skip or token or 0)
            found = changes[start : start + self.page]
            more = start + len(found) < len(changes)
            link = f"{path}?{'$skiptoken' if more else '$deltatoken'}={start + len(found)}"
            return Reply(200, {"value": found, "@odata.nextLink" if more else "@odata.deltaLink": link})

    def _subscription(self, asked: Asked) -> Reply:
        name = asked.path.rpartition("/")[2]
        if asked.method == "GET":
            shown = [{key: value for key, value in each.items() if key != "clientState"} for each in self.all()]
            return Reply(200, {"value": shown})
        if asked.method == "POST":
            return self._subscribed(asked.body)
        if name not in self.subscriptions:
            return Reply(404, _error("ResourceNotFound"))
        if asked.method == "DELETE":
            del self.subscriptions[name]
            return Reply(204)
        self.subscriptions[name] |= asked.body
        return Reply(200, self.subscriptions[name])

    def all(self) -> list[Item]:
        """Return the subscriptions that live."""
        now = datetime.now(UTC)
        return [
            each for each in self.subscriptions.values() if datetime.fromisoformat(each["expirationDateTime"]) > now
        ]

    def _subscribed(self, wanted: Item) -> Reply:
        for address in (wanted["notificationUrl"], wanted["lifecycleNotificationUrl"]):
            token = f"Validation: {uuid4()}"
            if address.startswith("http://127.0.0.1"):
                answer = httpx.post(address, params={"validationToken": token}, timeout=10)
                if (answer.status_code, answer.text) != (200, token):
                    return Reply(400, _error("ValidationError"))
        made = {**wanted, "id": str(uuid4()), "resource": wanted["resource"]}
        self.subscriptions[made["id"]] = made
        return Reply(201, made)


def _error(code: str) -> Item:
    return {"error": {"code": code, "message": json.dumps(code)}}
