"""A stand-in for Google's Directory API: users by id and query, the deleted, groups; its quota in words of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from tests.directories.stand_in import Asked, Someone, StandIn, Told, bearing

SUBJECT, ACCOUNT = "admin@acme.example", "gatepost@project.iam.gserviceaccount.com"
QUERY = re.compile(r"email='(?P<value>(?:[^'\\]|\\.)*)'")


@dataclass
class GoogleApi(StandIn):
    """One customer. ``someone.more`` has fields of Google's; ``aliases`` are other addresses."""

    public_key: str = ""

    @property
    def section(self) -> dict[str, Any]:
        """Return the keys."""
        return {
            "adapter": "google",
            "credentials": "env:DIRECTORY_SECRET",
            "subject": SUBJECT,
            "base_url": f"{self.url}/admin/directory/v1",
            "token_url": f"{self.url}/token",
        }

    def refuses(self, form: dict[str, str]) -> str:
        """Take an assertion of the service account in the name of the administrator."""
        try:
            claims = jwt.decode(form["assertion"], self.public_key, algorithms=["RS256"], audience=f"{self.url}/token")
        except (KeyError, jwt.PyJWTError) as error:
            return str(error)
        scopes = claims.get("scope", "").split()
        delegated = [f"https://www.googleapis.com/auth/admin.directory.{name}.readonly" for name in ("user", "group")]
        is_good = (claims["iss"], claims["sub"]) == (ACCOUNT, SUBJECT) and scopes and set(scopes) <= set(delegated)
        return "" if is_good else "Client is unauthorized to retrieve access tokens using this method."

    def problem(self, status: int, words: str) -> Told:
        """Return an error as Google writes it."""
        return Told(status, {"error": {"code": status, "message": words, "errors": [{"reason": "forbidden"}]}})

    def quota(self) -> Told:
        """Return what a used up quota is told by."""
        error = {"code": 403, "message": "Quota exceeded", "errors": [{"reason": "userRateLimitExceeded"}]}
        return Told(403, {"error": error})

    def answer(self, asked: Asked) -> Told:
        """Answer for users and groups."""
        match asked.parts:
            case ["admin", "directory", "v1", "users"]:
                return self._users(asked)
            case ["admin", "directory", "v1", "users", key]:
                people = [each for each in self.people.values() if not each.is_deleted]
                found = [each for each in people if key in {each.id, each.email, *each.more.get("aliases", [])}]
                return Told(200, self.user(found[0])) if found else self.problem(404, "Resource Not Found: userKey")
            case ["admin", "directory", "v1", "groups"]:
                names = self.people[asked.query["userKey"]].groups
                groups = [{"kind": "group", "name": name, "email": f"{name}@acme.example"} for name in names]
                return self._paged(asked, "groups", groups)
            case _:
                return self.problem(404, "Not Found")

    def user(self, someone: Someone) -> dict[str, Any]:
        """Return one of the people as Google shows them: what is empty is left out."""
        shown: dict[str, Any] = {
            "kind": "admin#directory#user",
            "id": someone.id,
            "primaryEmail": someone.email,
            "suspended": not someone.works_here and not someone.is_deleted,
            **({"organizations": [{"title": someone.title, "primary": True}]} if someone.title else {}),
            **({"deletionTime": "2026-03-01T09:00:00.000Z"} if someone.is_deleted else {}),
        }
        return shown | someone.more

    def _users(self, asked: Asked) -> Told:
        if asked.query.get("customer") != "my_customer":
            return self.problem(400, "Bad Request")
        is_deleted = asked.query.get("showDeleted") == "true"
        people = [each for each in self.people.values() if each.is_deleted is is_deleted]
        if "query" in asked.query:
            found = QUERY.fullmatch(asked.query["query"])
            if found is None:
                return self.problem(400, "Invalid Input: query")
            value = re.sub(r"\\(.)", r"\1", found["value"])
            aliased = [each for each in people if value in each.more.get("aliases", [])]
            people = [*bearing(people, "email", value), *aliased]
        return self._paged(asked, "users", [self.user(each) for each in people])

    def _paged(self, asked: Asked, name: str, found: Sequence[dict[str, Any]]) -> Told:
        start, size = int(asked.query.get("pageToken", 0)), min(int(asked.query["maxResults"]), self.page)
        body: dict[str, Any] = {"kind": f"admin#directory#{name}", "etag": "x"}
        if page := found[start : start + size]:
            body[name] = list(page)
        if start + size < len(found):
            body["nextPageToken"] = str(start + size)
        return Told(200, body)
