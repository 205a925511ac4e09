"""A stand-in for an Okta organisation's API: users by id, login, filter and search; groups; its limits told."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import jwt

from tests.directories.stand_in import Asked, Someone, StandIn, Told

TOKEN = "okta-token-of-the-tests"
COMPARISON = re.compile(r'(?P<name>[a-zA-Z.]+) eq (?P<value>"(?:[^"\\]|\\.)*")')
NAMES = {"profile.login": "user_name", "profile.email": "email", "id": "id", "status": "status"}


@dataclass
class OktaApi(StandIn):
    """One organisation. ``someone.more["status"]`` is a status of Okta's."""

    public_key: str = ""
    """Of a service app; without it only the API token opens."""
    remaining: int | None = None
    """How many requests the limit lets through until it begins anew."""

    @property
    def section(self) -> dict[str, Any]:
        """Return the keys with an API token."""
        return {"adapter": "okta", "base_url": self.url, "token": "env:DIRECTORY_SECRET"}

    def opens(self, authorization: str) -> bool:
        """Take the API token."""
        return authorization == f"SSWS {TOKEN}" or super().opens(authorization)

    def tell(self, asked: Asked) -> Told:
        """Keep to the limit, and have the token endpoint where Okta has it."""
        if asked.path == "/oauth2/v1/token":
            return super().tell(asked._replace(path="/token"))
        if self.remaining is None:
            return super().tell(asked)
        self.remaining -= 1
        told = super().tell(asked) if self.remaining >= 0 else self.problem(429, "API call exceeded rate limit")
        limits = {"x-rate-limit-limit": "600", "x-rate-limit-reset": str(int(time.time()) + 20)}
        return told._replace(headers={**told.headers, **limits, "x-rate-limit-remaining": str(max(self.remaining, 0))})

    def refuses(self, form: dict[str, str]) -> str:
        """Take an assertion that the app's key signed for this endpoint (RFC 7523 section 2.2)."""
        url = f"{self.url}/oauth2/v1/token"
        try:
            claims = jwt.decode(form["client_assertion"], self.public_key, algorithms=["RS256"], audience=url)
        except (KeyError, jwt.PyJWTError) as error:
            return str(error)
        is_good = claims["iss"] == claims["sub"] and "okta.users.read" in form.get("scope", "")
        return "" if is_good else "the assertion names nobody, or no scope"

    def problem(self, status: int, words: str) -> Told:
        """Return an error as Okta writes it."""
        return Told(
            status, {"errorCode": "E0000000", "errorSummary": words, "errorLink": "E0000000", "errorCauses": []}
        )

    def answer(self, asked: Asked) -> Told:
        """Answer for users and their groups."""
        match asked.parts:
            case ["api", "v1", "users"]:
                return self._users(asked)
            case ["api", "v1", "users", name] if "%2F" not in asked.path:
                found = self._named(name)
                return Told(200, self.user(found)) if found else self.problem(404, f"Not found: Resource {name} (User)")
            case ["api", "v1", "users", id_, "groups"] if id_ in self.people:
                groups = [{"id": f"00g{name}", "profile": {"name": name}} for name in self.people[id_].groups]
                return self._paged(asked, groups)
            case _:
                return self.problem(404, "Not found")

    def user(self, someone: Someone) -> dict[str, Any]:
        """Return one of the people as Okta shows them."""
        more = dict(someone.more)
        status = more.pop("status", "ACTIVE" if someone.works_here else "DEPROVISIONED")
        profile = {"login": someone.user_name, "email": someone.email, "title": someone.title, **more}
        return {"id": someone.id, "status": status, "profile": profile}

    def _named(self, name: str) -> Someone | None:
        logins = {each.user_name.lower(): each for each in self.people.values()}
        short = {login.partition("@")[0]: each for login, each in logins.items()}
        return self.people.get(name) or logins.get(name.lower()) or short.get(name.lower())

    def _users(self, asked: Asked) -> Told:
        if "filter" in asked.query:
            return self._matching(asked, asked.query["filter"], exact=True)
        if "search" in asked.query:
            return self._matching(asked, asked.query["search"], exact=False)
        users = [self.user(each) for each in self.people.values()]
        return self._paged(asked, [each for each in users if each["status"] != "DEPROVISIONED"])

    def _matching(self, asked: Asked, text: str, *, exact: bool) -> Told:
        found = list(COMPARISON.finditer(text))
        if " or ".join(each[0] for each in found) != text or any(each["name"] not in NAMES for each in found):
            return self.problem(400, f"Invalid search criteria: {text}")
        terms = [(NAMES[each["name"]], json.loads(each["value"])) for each in found]
        people = self.people if exact else self.lagging
        return self._paged(asked, [self.user(each) for each in people.values() if self._fits(each, terms, exact=exact)])

    def _fits(self, someone: Someone, terms: Sequence[tuple[str, str]], *, exact: bool) -> bool:
        def shown(name: str) -> str:
            found = self.user(someone)["status"] if name == "status" else getattr(someone, name)
            return str(found) if exact else str(found).lower()

        return any(shown(name) == (value if exact else value.lower()) for name, value in terms)

    def _paged(self, asked: Asked, found: Sequence[dict[str, Any]]) -> Told:
        start, size = int(asked.query.get("after", 0)), min(int(asked.query.get("limit", 200)), self.page)
        links = [f'<{self.url}{asked.path}>; rel="self"']
        if start + size < len(found):
            query = urlencode({**asked.query, "after": str(start + size)})
            links.append(f'<{self.url}{asked.path}?{query}>; rel="next"')
        return Told(200, list(found[start : start + size]), {"link": ", ".join(links)})
