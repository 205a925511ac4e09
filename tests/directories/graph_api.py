"""A stand-in for Microsoft Graph: users by id and filter, deleted items, memberships; all of it may lag."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.directories.stand_in import Asked, Someone, StandIn, Told

CLIENT, SECRET = "graph-client-of-the-tests", "graph-secret-of-the-tests"
EQUAL = re.compile(r"(?P<name>\w+) eq '(?P<value>(?:[^']|'')*)'")
ENDING = re.compile(r"endswith\((?P<name>\w+),'(?P<value>(?:[^']|'')*)'\)")
# Of the properties that Graph gives a user; another one is no property.
PROPERTIES = frozenset(
    {
        "id",
        "accountEnabled",
        "userPrincipalName",
        "mail",
        "givenName",
        "surname",
        "displayName",
        "jobTitle",
        "department",
        "employeeOrgData",
        "companyName",
        "employeeId",
        "employeeType",
        "userType",
        "businessPhones",
        "mobilePhone",
        "preferredLanguage",
        "employeeHireDate",
        "employeeLeaveDateTime",
        "onPremisesExtensionAttributes",
    }
)


@dataclass
class GraphApi(StandIn):
    """One tenant. ``someone.more`` has properties of Graph's; ``manager`` is an id."""

    shows_names: bool = True
    """Whether the permission to see groups was granted."""
    kinds: dict[str, str] = field(default_factory=dict)
    """What a membership is of, where it is no group."""

    @property
    def section(self) -> dict[str, Any]:
        """Return the keys."""
        return {
            "adapter": "entra",
            "tenant": "acme.example",
            "client_id": "env:DIRECTORY_CLIENT",
            "client_secret": "env:DIRECTORY_SECRET",
            "token_url": f"{self.url}/token",
            "graph_url": f"{self.url}/v1.0",
        }

    def refuses(self, form: dict[str, str]) -> str:
        """Take the secret in the form, for the scope of this host."""
        given = (form.get("grant_type"), form.get("client_id"), form.get("client_secret"), form.get("scope"))
        expected = ("client_credentials", CLIENT, SECRET, f"{self.url}/.default")
        return "" if given == expected else "AADSTS7000215: Invalid client secret provided."

    def problem(self, status: int, words: str) -> Told:
        """Return an error as Graph writes it."""
        return Told(status, {"error": {"code": "Error", "message": words, "innerError": {"request-id": "r"}}})

    def answer(self, asked: Asked) -> Told:
        """Answer for users, the deleted ones, and memberships."""
        match asked.parts:
            case ["v1.0", "users"]:
                return self._listed(asked, is_deleted=False)
            case ["v1.0", "users", id_]:
                found = self._named(id_)
                return self._shown(asked, found) if found else self._missing(id_)
            case ["v1.0", "directory", "deletedItems", "microsoft.graph.user"]:
                return self._listed(asked, is_deleted=True)
            case ["v1.0", "users", id_, "memberOf"] if id_ in self.lagging:
                return self._paged(asked, [self._membership(name) for name in self.lagging[id_].groups])
            case [*_, id_, "memberOf"]:
                return self._missing(id_)
            case _:
                return self.problem(400, "Resource not found for the segment")

    def user(self, someone: Someone) -> dict[str, Any]:
        """Return one of the people as Graph shows them, all of it."""
        mark = someone.id.replace("-", "") if someone.is_deleted else ""
        return {
            **dict.fromkeys(PROPERTIES),
            "id": someone.id,
            "accountEnabled": someone.works_here,
            "userPrincipalName": mark + someone.user_name,
            "mail": someone.email or None,
            "jobTitle": someone.title,
            "businessPhones": [],
            **someone.more,
        }

    def _missing(self, id_: str) -> Told:
        return self.problem(404, f"Resource '{id_}' does not exist or one of its queried references is not present.")

    def _named(self, name: str) -> Someone | None:
        people = [each for each in self.lagging.values() if not each.is_deleted]
        return next((each for each in people if name in {each.id, each.user_name}), None)

    def _membership(self, name: str) -> dict[str, Any]:
        kind = self.kinds.get(name, "group")
        return {
            "@odata.type": f"#microsoft.graph.{kind}",
            "id": name,
            "displayName": name if self.shows_names else None,
        }

    def _shown(self, asked: Asked, someone: Someone) -> Told:
        user = self._selected(asked, someone)
        return Told(200, user) if user else self.problem(400, "Could not find a property in $select.")

    def _selected(self, asked: Asked, someone: Someone) -> dict[str, Any] | None:
        names = asked.query["$select"].split(",")
        if not PROPERTIES.issuperset(names):
            return None
        user = {name: value for name, value in self.user(someone).items() if name in names}
        if asked.query.get("$expand") == "manager($select=id)" and "manager" in someone.more:
            user["manager"] = {"@odata.type": "#microsoft.graph.user", "id": someone.more["manager"]}
        return user

    def _listed(self, asked: Asked, *, is_deleted: bool) -> Told:
        people = [each for each in self.lagging.values() if each.is_deleted is is_deleted]
        text = asked.query.get("$filter")
        equal, ending = EQUAL.fullmatch(text or ""), ENDING.fullmatch(text or "")
        if text and not (equal or ending):
            return self.problem(400, f"Invalid filter clause: {text}")
        if ending and (asked.headers.get("consistencylevel"), asked.query.get("$count")) != ("eventual", "true"):
            return self.problem(400, "Operator 'endsWith' is not supported because it needs advanced query.")
        if found := equal or ending:
            value = found["value"].replace("''", "'").lower()
            shown = [(each, str(self.user(each).get(found["name"]) or "").lower()) for each in people]
            people = [each for each, is_ in shown if (is_ == value if equal else is_.endswith(value))]
        users = [self._selected(asked, each) for each in people]
        if None in users:
            return self.problem(400, "Could not find a property in $select.")
        return self._paged(asked, [each for each in users if each])

    def _paged(self, asked: Asked, found: Sequence[dict[str, Any]]) -> Told:
        start, size = int(asked.query.get("$skiptoken", 0)), min(int(asked.query.get("$top", 100)), self.page)
        body: dict[str, Any] = {"@odata.context": "x", "value": list(found[start : start + size])}
        if start + size < len(found):
            body["@odata.nextLink"] = f"{self.url}{asked.path}?" + urlencode(
                {**asked.query, "$skiptoken": str(start + size)}
            )
        return Told(200, body)
