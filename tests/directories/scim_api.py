"""A stand-in for a SCIM service provider that is a source: strict, or one that knows no filter."""

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.directories.stand_in import Asked, Someone, StandIn, Told, bearing

TOKEN = "scim-token-of-the-tests"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
FILTER = re.compile(r'(?P<name>[a-zA-Z.]+) eq (?P<value>"(?:[^"\\]|\\.)*")')
NAMES = {"userName": "user_name", "emails.value": "email"}


@dataclass
class ScimApi(StandIn):
    """One provider. ``someone.more`` has attributes of SCIM."""

    filters: str = "yes"
    """What it makes of a filter: ``yes``, ``ignored``, or ``refused``."""

    @property
    def section(self) -> dict[str, Any]:
        """Return the keys with a static bearer."""
        return {"adapter": "scim", "base_url": f"{self.url}/scim/v2", "token": "env:DIRECTORY_SECRET"}

    def opens(self, authorization: str) -> bool:
        """Take the static bearer."""
        return authorization == f"Bearer {TOKEN}"

    def problem(self, status: int, words: str) -> Told:
        """Return an error (RFC 7644 section 3.12)."""
        return Told(status, {"schemas": [ERROR], "status": str(status), "detail": words})

    def answer(self, asked: Asked) -> Told:
        """Answer for users."""
        match asked.parts:
            case ["scim", "v2", "Users"]:
                return self._users(asked)
            case ["scim", "v2", "Users", id_] if id_ in self.people:
                return Told(200, self.user(self.people[id_]))
            case _:
                return self.problem(404, f"{asked.parts[-1]} not found")

    def user(self, someone: Someone) -> dict[str, Any]:
        """Return one of the people as a resource."""
        shown: dict[str, Any] = {
            "id": someone.id,
            "userName": someone.user_name,
            "emails": [{"value": someone.email, "primary": True}] if someone.email else [],
            "active": someone.works_here,
            "groups": [{"value": f"g-{name}", "display": name} for name in someone.groups],
            **({"title": someone.title} if someone.title else {}),
        }
        return shown | someone.more

    def _users(self, asked: Asked) -> Told:
        people = list(self.people.values())
        text = asked.query.get("filter") if self.filters != "ignored" else None
        if text is not None:
            found = FILTER.fullmatch(text)
            if found is None or self.filters == "refused":
                return self.problem(400, f"cannot filter by {text}")
            value = json.loads(found["value"])
            if found["name"] == "externalId":
                people = [each for each in people if each.more.get("externalId") == value]
            else:
                people = bearing(people, NAMES[found["name"]], value)
        start, size = int(asked.query.get("startIndex", 1)) - 1, min(int(asked.query.get("count", 100)), self.page)
        page = [self.user(each) for each in people[start : start + size]]
        body = {"schemas": [LIST], "totalResults": len(people), "startIndex": start + 1, "Resources": page}
        return Told(200, body)
