"""An Okta org: users, and a System Log that is polled by its ``next`` links.

https://developer.okta.com/docs/reference/system-log-query/
"""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.watch.loopback import Asked, Reply, Service

TOKEN = "okta-api-token-of-the-tests"
LOGS = "/api/v1/logs"
KINDS = re.compile(r'eventType eq "([^"]+)"')


class OktaOrg(Service):
    """Who works there, and what happened."""

    def __init__(self) -> None:
        """Begin with nobody."""
        super().__init__()
        self.users: dict[str, dict[str, Any]] = {}
        self.log: list[dict[str, Any]] = []
        self.page = 1_000
        self.born = uuid4().hex
        """Links of another one are not taken."""

    def happen(self, word: str, user: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of the log
        """Write an entry into the log, and return it as the hook would tell it."""
        login = self.users[user]["profile"]["login"] if user in self.users else f"{user}@acme.example"
        target = {"id": user, "type": "User", "alternateId": login, "displayName": "unknown"}
        group = {"id": "00g1", "type": "UserGroup", "alternateId": "unknown", "displayName": "Agents"}
        now = datetime.now(UTC)
        entry = {
            "uuid": str(uuid4()),
            "published": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "eventType": word,
            "outcome": {"result": "SUCCESS"},
            "target": [group, target],
            **more,
        }
        with self.lock:
            self.log.append(entry | {"stored_at": now})
        return entry

    def join(self, user: str, **profile: str) -> dict[str, Any]:
        """Create and activate a user."""
        login = f"{user.lower()}@acme.example"
        self.users[user] = {"id": user, "status": "ACTIVE", "profile": {"login": login, "email": login, **profile}}
        return self.happen("user.lifecycle.activate", user)

    def move(self, user: str, **profile: str) -> dict[str, Any]:
        """Change a profile."""
        self.users[user]["profile"] |= profile
        return self.happen("user.account.update_profile", user)

    def leave(self, user: str) -> dict[str, Any]:
        """Deactivate a user."""
        self.users[user]["status"] = "DEPROVISIONED"
        return self.happen("user.lifecycle.deactivate", user)

    def answer(self, asked: Asked) -> Reply:
        """Answer the API."""
        if asked.headers.get("authorization") != f"SSWS {TOKEN}":
            return Reply(401, {"errorCode": "E0000011", "errorSummary": "Invalid token provided"})
        if asked.path == LOGS:
            return self._logs(asked)
        if asked.path.endswith("/groups"):
            return Reply(200, [])
        if asked.path == "/api/v1/users":
            return Reply(200, list(self.users.values()))
        user = self.users.get(asked.path.rpartition("/")[2])
        return Reply(200, user) if user else Reply(404, {"errorCode": "E0000007", "errorSummary": "Not found"})

    def _logs(self, asked: Asked) -> Reply:
        kinds = set(KINDS.findall(asked.query["filter"]))
        with self.lock:
            if "after" in asked.query:
                born, _, place = asked.query["after"].partition(".")
                if born != self.born:
                    return Reply(400, {"errorCode": "E0000031", "errorSummary": "Invalid after"})
                start = int(place)
            else:
                assert asked.query["sortOrder"] == "ASCENDING"
                assert "until" not in asked.query
                since = datetime.fromisoformat(asked.query["since"])
                start = next((i for i, each in enumerate(self.log) if each["stored_at"] >= since), len(self.log))
            found = self.log[start : start + min(int(asked.query["limit"]), self.page)]
            after = f"{self.born}.{start + len(found)}"
        query = (
            f"sortOrder=ASCENDING&limit={asked.query['limit']}&filter={_quoted(asked.query['filter'])}&after={after}"
        )
        shown = [
            {name: value for name, value in each.items() if name != "stored_at"}
            for each in found
            if each["eventType"] in kinds
        ]
        link = f'<{self.url}{LOGS}?self>; rel="self", <{self.url}{LOGS}?{query}>; rel="next"'
        return Reply(200, shown, {"link": link})


def _quoted(text: str) -> str:
    return text.replace(" ", "%20").replace('"', "%22")
