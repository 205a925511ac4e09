"""A SCIM service provider in memory, strict where the RFCs are, and as odd as real ones where a test says so.

It is a function over requests: ``Http(transport=httpx.MockTransport(fake))``. Strict means: a bearer, the right
media type, exact ``schemas``, operations in lower case, no nulls, one account a userName, PATCH all or nothing. A
``Quirk`` is how a server is all the time; a fault is what happens to one request.
"""

import copy
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx

TOKEN = "scim-token-of-the-tests"
BASE = "/scim/v2"
BASE_URL = f"https://crm.test{BASE}"
MEDIA_TYPE = "application/scim+json"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

SCHEMA = {"Users": USER, "Groups": GROUP}
READ_ONLY = frozenset({"id", "meta", "groups"})
TEXT = r'"(?:[^"\\]|\\.)*"'
FILTER = re.compile(rf"(?P<name>[A-Za-z]+) eq (?P<value>{TEXT})")
PATH = re.compile(
    r"(?:(?P<urn>urn:[^\[]+):)?(?P<name>[A-Za-z$][\w$-]*)"
    rf"(?:\[(?P<key>\w+) eq (?P<equals>{TEXT})\])?(?:\.(?P<sub>\w+))?"
)

Resource = dict[str, Any]
Proceed = Callable[[], httpx.Response]
Fault = Callable[[Proceed], httpx.Response]


class Quirk(StrEnum):
    """How real servers were seen to differ."""

    IGNORES_FILTER = auto()  # answers with everybody
    KNOWS_NO_FILTER = auto()  # answers 200 with nobody
    KNOWS_NO_EXTERNAL_ID = auto()  # takes it and forgets it
    TEXT_BOOLEANS = auto()
    OTHER_LETTER_CASE = auto()
    NO_EMPTY_RESOURCES = auto()  # leaves ``Resources`` out of an empty list
    HTML_ERRORS = auto()
    CREATES_WITHOUT_ID = auto()  # only Location names what was created
    CREATES_WITHOUT_NAME = auto()  # nothing names it
    INTEGER_IDS = auto()
    IGNORES_PATCH = auto()  # answers 200 and does nothing
    NO_CONTENT = auto()  # answers 204 to PATCH
    BARE_CONFLICT = auto()  # 409 without scimType
    DUPLICATE_IS_400 = auto()
    DUPLICATE_IS_500 = auto()
    REMOVES_MEMBERS_BY_VALUE = auto()  # not RFC 7644: path ``members`` and a value
    SHOWS_NO_GROUPS = auto()
    REFUSES_FILTER_400 = auto()
    REFUSES_FILTER_501 = auto()
    SMALL_PAGES = auto()  # two resources a page, however many were asked for
    IGNORES_START = auto()  # answers with the first page whichever was asked for
    NO_PATCH_404 = auto()
    NO_PATCH_405 = auto()
    NO_PATCH_501 = auto()
    NO_VALUE_PATHS = auto()  # neither for entries nor for members
    PATCH_KNOWS_NO_TITLE = auto()  # refuses the whole for it
    PUT_FORGETS_TITLE = auto()
    NO_PUT = auto()
    CREATE_KNOWS_NO_TITLE_400 = auto()
    CREATE_KNOWS_NO_TITLE_422 = auto()
    CREATE_NEEDS_PRIMARY = auto()  # a first e-mail address that is the primary one


REFUSED_METHODS = {
    ("PATCH", Quirk.NO_PATCH_404): 404,
    ("PATCH", Quirk.NO_PATCH_405): 405,
    ("PATCH", Quirk.NO_PATCH_501): 501,
    ("PUT", Quirk.NO_PUT): 405,
}
REFUSED_FILTERS = {Quirk.REFUSES_FILTER_400: 400, Quirk.REFUSES_FILTER_501: 501}
REFUSED_TITLES = {Quirk.CREATE_KNOWS_NO_TITLE_400: 400, Quirk.CREATE_KNOWS_NO_TITLE_422: 422}
SMALL_PAGE = 2


class Said(NamedTuple):
    """One request as it came: the path without percent-encoding, the body parsed."""

    method: str
    path: str
    body: Any
    headers: httpx.Headers
    raw_path: str

    def line(self) -> str:
        """Return it as one line."""
        return f"{self.method} {self.path}"


class Problem(Exception):
    """An error answer."""

    def __init__(self, status: int, detail: str, scim_type: str = "") -> None:
        """Keep what the answer says."""
        super().__init__(detail)
        self.status, self.detail, self.scim_type = status, detail, scim_type


# ---- faults


def answers(status: int, body: object = None, **headers: str) -> Fault:
    """Answer so without doing anything; ``retry_after="7"`` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
    return lambda _: httpx.Response(status, headers=named, text=content)


def cuts_before(error: type[httpx.TransportError] = httpx.ConnectError) -> Fault:
    """Break before the server has seen the request."""

    def fault(_: Proceed) -> httpx.Response:
        raise error("cut before")

    return fault


def cuts_after(error: type[httpx.TransportError] = httpx.ReadError) -> Fault:
    """Do what was asked and lose the answer."""

    def fault(proceed: Proceed) -> httpx.Response:
        proceed()
        raise error("cut after")

    return fault


def accepts(proceed: Proceed) -> httpx.Response:
    """Do it, and say only that it was accepted (RFC 9967)."""
    proceed()
    return httpx.Response(202)


# ---- the server


@dataclass
class FakeScim:
    """The server: what it holds, how it is, and what was said to it."""

    quirks: frozenset[Quirk] = frozenset()
    token: str = TOKEN
    held: dict[str, dict[str, Resource]] = field(default_factory=lambda: {"Users": {}, "Groups": {}})
    log: list[Said] = field(default_factory=list)
    _faults: list[list[Any]] = field(default_factory=list)
    _next_id: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        raw_path = request.url.raw_path.decode().removeprefix(BASE)
        body = json.loads(request.content) if request.content else None
        said = Said(request.method, unquote(raw_path), body, request.headers, raw_path)
        self.log.append(said)
        fault = self._fault(said)

        def proceed() -> httpx.Response:
            return self._answer(said)

        return fault(proceed) if fault else proceed()

    def next(self, fault: Fault, *, on: str = "", times: int = 1) -> None:
        """Let this happen to the next requests whose line, as in ``POST /Users``, begins so."""
        self._faults.append([on, fault, times])

    def add(self, kind: str, **attributes: Any) -> Resource:  # noqa: ANN401 - SCIM values
        """Put a resource in place without a request."""
        resource = {"schemas": [SCHEMA[kind]], **attributes}
        if "id" not in resource:
            resource["id"] = self._new_id(kind)
        self.held[kind][str(resource["id"])] = resource
        return resource

    def users(self) -> list[Resource]:
        """Return copies of all accounts with the groups that they are in."""
        return [copy.deepcopy(self._shown("Users", user)) for user in self.held["Users"].values()]

    def user(self, name: str) -> Resource:
        """Return the one account of this user name."""
        (found,) = [user for user in self.users() if user["userName"].lower() == name.lower()]
        return found

    def members(self, group: str) -> list[str]:
        """Return the ids of a group's members."""
        (found,) = [each for each in self.held["Groups"].values() if each["displayName"] == group]
        return self.members_of(str(found["id"]))

    def members_of(self, group_id: str) -> list[str]:
        """Return the ids of the members of the group with this id."""
        return [member["value"] for member in self.held["Groups"][group_id].get("members", [])]

    def lines(self) -> list[str]:
        """Return what was asked, one line a request."""
        return [said.line() for said in self.log]

    def writes(self) -> list[Said]:
        """Return the requests that were meant to change something."""
        return [said for said in self.log if said.method not in {"GET", "HEAD"}]

    def _fault(self, said: Said) -> Fault | None:
        for entry in self._faults:
            on, fault, left = entry
            if left and said.line().startswith(on):
                entry[2] -= 1
                return fault  # type: ignore[no-any-return]
        return None

    def _answer(self, said: Said) -> httpx.Response:
        try:
            self._check(said)
            kind, resource_id, query = self._place(said.raw_path)
            return METHODS[said.method, resource_id is not None](self, kind, resource_id or query, said.body)
        except Problem as problem:
            return self._error(problem)
        except KeyError:
            return self._error(Problem(405, "this is not a request of SCIM"))

    def _check(self, said: Said) -> None:
        if said.headers.get("authorization") != f"Bearer {self.token}":
            raise Problem(401, "the token is wrong")
        for (method, quirk), status in REFUSED_METHODS.items():
            if method == said.method and quirk in self.quirks:
                raise Problem(status, f"{method} is not for this server")
        if said.body is None:
            return
        if said.headers["content-type"] != MEDIA_TYPE:
            raise Problem(400, f"the media type is {MEDIA_TYPE}", "invalidSyntax")
        if has_null(said.body):
            raise Problem(400, "a null says nothing", "invalidValue")

    def _place(self, raw_path: str) -> tuple[str, str | None, str]:
        path, _, query = raw_path.partition("?")
        _, kind, *rest = path.split("/")
        if kind not in self.held or len(rest) > 1:
            raise Problem(404, "no such endpoint")
        return kind, unquote(rest[0]) if rest else None, query

    # ---- the methods

    def _query(self, kind: str, query: str, _: object) -> httpx.Response:
        resources = [self._shown(kind, resource) for resource in self.held[kind].values()]
        asked = dict(part.split("=", 1) for part in query.split("&")) if query else {}
        if asked.keys() - {"filter", "startIndex", "count"}:
            raise Problem(400, "this query is not understood", "invalidSyntax")
        if "filter" in asked:
            found = FILTER.fullmatch(unquote(asked["filter"]))
            if not found:
                raise Problem(400, "this filter is not understood", "invalidFilter")
            resources = self._filtered(resources, found["name"], json.loads(found["value"]))
        page = self._page(resources, int(asked.get("startIndex", 1)), int(asked.get("count", len(resources))))
        body = {
            "schemas": [LIST],
            "totalResults": len(resources),
            "Resources": [self._told(each) for each in page],
        }
        if not resources and Quirk.NO_EMPTY_RESOURCES in self.quirks:
            del body["Resources"]
        return reply(200, body)

    def _filtered(self, resources: list[Resource], name: str, value: str) -> list[Resource]:
        for quirk, status in REFUSED_FILTERS.items():
            if quirk in self.quirks:
                raise Problem(status, "filters are not for this server")
        if Quirk.IGNORES_FILTER in self.quirks:
            return resources
        if Quirk.KNOWS_NO_FILTER in self.quirks:
            return []
        fold = str.lower if name in {"userName", "displayName"} else str
        return [each for each in resources if fold(str(each.get(name, ""))) == fold(value)]

    def _page(self, resources: list[Resource], start: int, count: int) -> list[Resource]:
        first = 0 if Quirk.IGNORES_START in self.quirks else start - 1
        return resources[first : first + (SMALL_PAGE if Quirk.SMALL_PAGES in self.quirks else count)]

    def _get(self, kind: str, resource_id: str, _: object) -> httpx.Response:
        return reply(200, self._told(self._shown(kind, self._held(kind, resource_id))))

    def _create(self, kind: str, _: str, body: Resource) -> httpx.Response:
        if READ_ONLY & body.keys():
            raise Problem(400, "the server gives these", "mutability")
        self._check_new(body)
        check(kind, body)
        self._check_unique(kind, body, None)
        resource = {**copy.deepcopy(body), "id": self._new_id(kind)}
        if Quirk.KNOWS_NO_EXTERNAL_ID in self.quirks:
            resource.pop("externalId", None)
        self.held[kind][str(resource["id"])] = resource
        told = self._told(self._shown(kind, resource))
        headers = {"location": f"{BASE_URL}/{kind}/{resource['id']}"}
        if self.quirks & {Quirk.CREATES_WITHOUT_ID, Quirk.CREATES_WITHOUT_NAME}:
            del told["id"]
            del told["meta"]
        if Quirk.CREATES_WITHOUT_NAME in self.quirks:
            headers = {}
        return reply(201, told, headers)

    def _patch(self, kind: str, resource_id: str, body: Resource) -> httpx.Response:
        held = self._held(kind, resource_id)
        if body.get("schemas") != [PATCH_OP] or not body.get("Operations") or body.keys() - {"schemas", "Operations"}:
            raise Problem(400, "this is no PatchOp", "invalidSyntax")
        changed = copy.deepcopy(held)
        for operation in body["Operations"]:
            self._check_dialect(operation)
            apply(changed, operation)
        if kind == "Users" and Quirk.KNOWS_NO_EXTERNAL_ID in self.quirks:
            changed.pop("externalId", None)
        check(kind, changed)
        self._check_unique(kind, changed, resource_id)
        if Quirk.IGNORES_PATCH not in self.quirks:
            self.held[kind][resource_id] = changed
        if Quirk.NO_CONTENT in self.quirks:
            return httpx.Response(204)
        return self._get(kind, resource_id, None)

    def _replace(self, kind: str, resource_id: str, body: Resource) -> httpx.Response:
        """Keep what is said and nothing else (RFC 7644 section 3.5.1 lets a server clear what is left out)."""
        held = self._held(kind, resource_id)
        if (READ_ONLY - {"id"}) & body.keys() or body.get("id", held["id"]) != held["id"]:
            raise Problem(400, "the server gives these", "mutability")
        check(kind, body)
        self._check_unique(kind, body, resource_id)
        changed = {**copy.deepcopy(body), "id": held["id"]}
        if Quirk.PUT_FORGETS_TITLE in self.quirks:
            changed.pop("title", None)
        self.held[kind][resource_id] = changed
        return httpx.Response(204) if Quirk.NO_CONTENT in self.quirks else self._get(kind, resource_id, None)

    def _delete(self, kind: str, resource_id: str, _: object) -> httpx.Response:
        self._held(kind, resource_id)
        del self.held[kind][resource_id]
        return httpx.Response(204)

    # ---- what is held and how it is told

    def _held(self, kind: str, resource_id: str) -> Resource:
        if resource_id not in self.held[kind]:
            raise Problem(404, f"no {kind} of this id")
        return self.held[kind][resource_id]

    def _new_id(self, kind: str) -> str | int:
        while True:
            self._next_id += 1
            new_id = self._next_id if Quirk.INTEGER_IDS in self.quirks else f"{kind[0].lower()}-{self._next_id}"
            if str(new_id) not in self.held[kind]:
                return new_id

    def _check_unique(self, kind: str, body: Resource, own_id: str | None) -> None:
        name = {"Users": "userName", "Groups": "displayName"}[kind]
        for other_id, other in self.held[kind].items():
            if other_id != own_id and other[name].lower() == body[name].lower():
                raise self._duplicate()

    def _duplicate(self) -> Problem:
        if Quirk.DUPLICATE_IS_500 in self.quirks:
            return Problem(500, "duplicate key")
        if Quirk.DUPLICATE_IS_400 in self.quirks:
            return Problem(400, "exists already")
        return Problem(409, "taken", "" if Quirk.BARE_CONFLICT in self.quirks else "uniqueness")

    def _check_new(self, body: Resource) -> None:
        for quirk, status in REFUSED_TITLES.items():
            if quirk in self.quirks and "title" in body:
                raise Problem(status, "Title is not an attribute of this server")
        emails = body.get("emails", [])
        if Quirk.CREATE_NEEDS_PRIMARY in self.quirks and not any(each.get("primary") for each in emails):
            raise Problem(400, "emails.primary is required")

    def _check_dialect(self, operation: Resource) -> None:
        path = str(operation.get("path", ""))
        if Quirk.PATCH_KNOWS_NO_TITLE in self.quirks and path == "title":
            raise Problem(400, "there is no such attribute here", "invalidPath")
        if Quirk.NO_VALUE_PATHS in self.quirks and "[" in path:
            raise Problem(400, "a path has no filter here", "invalidPath")
        by_value = operation.get("op") == "remove" and path == "members" and "value" in operation
        if self.quirks & {Quirk.REMOVES_MEMBERS_BY_VALUE, Quirk.NO_VALUE_PATHS}:
            if operation.get("op") == "remove" and path.startswith("members["):
                raise Problem(400, "a path of members has no filter", "invalidPath")
        elif by_value:
            raise Problem(400, "remove has no value", "invalidValue")

    def _shown(self, kind: str, resource: Resource) -> Resource:
        shown = {**resource, "meta": {"resourceType": kind[:-1], "location": f"{BASE_URL}/{kind}/{resource['id']}"}}
        groups = [
            {"value": str(group["id"]), "display": group["displayName"]}
            for group in self.held["Groups"].values()
            if any(member["value"] == str(resource["id"]) for member in group.get("members", []))
        ]
        if kind == "Users" and groups and Quirk.SHOWS_NO_GROUPS not in self.quirks:
            shown["groups"] = groups
        return shown

    def _told(self, resource: Resource) -> Resource:
        told = copy.deepcopy(resource)
        if Quirk.TEXT_BOOLEANS in self.quirks and "active" in told:
            told["active"] = str(told["active"])
        if Quirk.OTHER_LETTER_CASE in self.quirks:
            told = other_case(told)
        return told

    def _error(self, problem: Problem) -> httpx.Response:
        if Quirk.HTML_ERRORS in self.quirks:
            return httpx.Response(problem.status, html=f"<html><body>{problem.detail}</body></html>")
        body = {"schemas": [ERROR], "status": str(problem.status), "detail": problem.detail}
        return reply(problem.status, body | ({"scimType": problem.scim_type} if problem.scim_type else {}))


METHODS: dict[tuple[str, bool], Callable[[FakeScim, str, str, Any], httpx.Response]] = {
    ("GET", False): FakeScim._query,
    ("GET", True): FakeScim._get,
    ("POST", False): FakeScim._create,
    ("PATCH", True): FakeScim._patch,
    ("PUT", True): FakeScim._replace,
    ("DELETE", True): FakeScim._delete,
}


def reply(status: int, body: Resource, headers: dict[str, str] | None = None) -> httpx.Response:
    """Return an answer of SCIM."""
    content = json.dumps(body).encode()
    return httpx.Response(status, headers={"content-type": MEDIA_TYPE, **(headers or {})}, content=content)


def has_null(value: object) -> bool:
    """Tell whether there is a null anywhere in it."""
    inner: Iterable[object] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(has_null, inner))


def other_case(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Write every name of an attribute in another letter case."""
    if isinstance(value, list):
        return [other_case(each) for each in value]
    if isinstance(value, dict):
        return {name if name == "schemas" else name.swapcase(): other_case(each) for name, each in value.items()}
    return value


def check(kind: str, resource: Resource) -> None:
    """Raise Problem unless the resource may be kept: its schemas are those it uses, its types are right."""
    urns = [name for name in resource if name.startswith("urn:")]
    schemas = resource.get("schemas")
    if not isinstance(schemas, list) or sorted(schemas) != sorted([SCHEMA[kind], *urns]):
        raise Problem(400, "schemas names what is used, no more and no less", "invalidSyntax")
    name = {"Users": "userName", "Groups": "displayName"}[kind]
    if not isinstance(resource.get(name), str) or not resource[name]:
        raise Problem(400, f"{name} is required", "invalidValue")
    if not isinstance(resource.get("active", True), bool):
        raise Problem(400, "active is a boolean", "invalidValue")
    for emails in [resource.get("emails", [])]:
        if not isinstance(emails, list) or not all(isinstance(each, dict) and each.get("value") for each in emails):
            raise Problem(400, "emails is a list of entries with a value", "invalidValue")


# ---- PATCH


def apply(resource: Resource, operation: Resource) -> None:
    """Apply one operation in place (RFC 7644 section 3.5.2). Raises Problem."""
    verb, text = operation.get("op"), operation.get("path")
    if verb not in {"add", "replace", "remove"} or operation.keys() - {"op", "path", "value"}:
        raise Problem(400, "op is add, replace or remove", "invalidSyntax")
    if (verb == "remove") is ("value" in operation) and text != "members":
        raise Problem(400, "add and replace have a value, remove has none", "invalidValue")
    if text is None:
        _apply_whole(resource, verb, operation.get("value"))
        return
    found = PATH.fullmatch(text)
    if not found:
        raise Problem(400, f"not a path: {text}", "invalidPath")
    if found["name"].lower() in READ_ONLY | {"schemas"} and not found["urn"]:
        raise Problem(400, f"{found['name']} is read-only", "mutability")
    holder = _holder(resource, found["urn"])
    name = next((each for each in holder if each.lower() == found["name"].lower()), found["name"])
    if found["key"]:
        _apply_to_entries(holder, name, found, operation)
    elif found["sub"]:
        _apply_to_one(holder.setdefault(name, {}), found["sub"], operation)
    else:
        _apply_to_one(holder, name, operation)
    _tidy(resource, holder, name, found["urn"])


def _apply_whole(resource: Resource, verb: str, value: object) -> None:
    if verb == "remove" or not isinstance(value, dict):
        raise Problem(400, "without a path an operation has an object, and remove has a path", "noTarget")
    for name, part in value.items():
        apply(resource, {"op": verb, "path": name, "value": part})


def _holder(resource: Resource, urn: str | None) -> Resource:
    if urn is None:
        return resource
    if urn not in resource["schemas"]:
        resource["schemas"].append(urn)
    holder: Resource = resource.setdefault(urn, {})
    return holder


def _apply_to_one(holder: Resource, name: str, operation: Resource) -> None:
    if operation["op"] == "remove":
        gone = [member["value"] for member in operation.get("value", [])]
        kept = [entry for entry in holder.get(name, []) if gone and entry["value"] not in gone]
        holder.pop(name, None)
        if kept:
            holder[name] = kept
        return
    value, shown = copy.deepcopy(operation["value"]), holder.get(name)
    if operation["op"] == "add" and isinstance(shown, list):
        holder[name] = shown + [entry for entry in value if entry not in shown]
    elif isinstance(shown, dict) and isinstance(value, dict):
        holder[name] = {**shown, **value}
    else:
        holder[name] = value


def _apply_to_entries(holder: Resource, name: str, found: re.Match[str], operation: Resource) -> None:
    entries = holder.get(name, [])
    equals = json.loads(found["equals"])
    # ``type`` is not case-exact, ids are (RFC 7643 sections 2.4 and 4.2).
    fold = str if found["key"] == "value" else str.lower
    hits = [entry for entry in entries if fold(str(entry.get(found["key"]))) == fold(equals)]
    if not hits:
        raise Problem(400, "no entry fits the filter", "noTarget")
    for entry in hits:
        if found["sub"]:
            _apply_to_one(entry, found["sub"], operation)
        elif operation["op"] == "remove":
            entries.remove(entry)
        else:
            entry.update(operation["value"])


def _tidy(resource: Resource, holder: Resource, name: str, urn: str | None) -> None:
    """Leave no empty list or object behind, and no schema that is not used."""
    if holder.get(name) in ({}, []):
        del holder[name]
    if urn and not resource[urn]:
        del resource[urn]
        resource["schemas"].remove(urn)
