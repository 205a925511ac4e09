"""A SCIM service provider in memory, strict where the RFCs are, and as odd as real ones where a test says so.

It is a function over requests: ``Http(transport=httpx.MockTransport(fake))``. Strict means: a bearer, the right
media type, exact ``schemas``, operations in lower case, no nulls, one account a userName, PATCH all or nothing. A
``Quirk`` is how a server is all the time; a fault is what happens to one request.
"""

import copy
import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import httpx

TOKEN = "scim-token-of-the-tests"
BASE = "/scim/v2"
BASE_URL = f"https://crm.test{BASE}"
MEDIA_TYPE = "application/scim+json"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PLATFORM = "/api/v2"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BULK_REQUEST = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
BULK_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

SCHEMA = {"Users": USER, "Groups": GROUP}
READ_ONLY = frozenset({"id", "meta", "groups"})
INACTIVE = "active%20eq%20false"
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
    IGNORES_MEMBER_PATCH = auto()  # answers 200 with the group as it was
    IGNORES_MEMBERS = auto()  # the same, of PUT too
    DOUBLES_MEMBERS = auto()  # keeps two copies of a member that is added twice
    HIDES_MEMBERS = auto()  # shows them to who asks for them by name
    NEVER_SHOWS_MEMBERS = auto()
    IGNORES_ATTRIBUTES = auto()  # shows one resource whole, whatever was asked of it
    TAKES_NO_ID = auto()  # refuses a PUT that has one in its body
    MEMBER_TWICE_IS_409 = auto()
    KNOWS_ITS_MEMBERS = auto()  # refuses the whole for one member that is not there
    SMALL_BATCHES = auto()  # two members a PATCH, and no more
    GROUP_VERSIONS = auto()  # If-Match is honoured for groups
    BULK_STATUS_IS_A_NUMBER = auto()
    BULK_STATUS_IS_AN_OBJECT = auto()
    BULK_IN_OTHER_ORDER = auto()
    BULK_TELLS_NO_PLACES = auto()
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
    DROPS_TITLE = auto()  # takes it, and does not keep it
    ANSWERS_LITTLE = auto()  # to a create, with the name and the id alone
    USER_VERSIONS = auto()  # strong tags for accounts, and 400 invalidVers where If-Match names another one
    HIDES_INACTIVE = auto()  # shows them to who asks for them only
    RESTORES = auto()  # a deleted account of this name comes back under its old id, without roles


REFUSED_METHODS = {
    ("PATCH", Quirk.NO_PATCH_404): 404,
    ("PATCH", Quirk.NO_PATCH_405): 405,
    ("PATCH", Quirk.NO_PATCH_501): 501,
    ("PUT", Quirk.NO_PUT): 405,
}
REFUSED_FILTERS = {Quirk.REFUSES_FILTER_400: 400, Quirk.REFUSES_FILTER_501: 501}
REFUSED_TITLES = {Quirk.CREATE_KNOWS_NO_TITLE_400: 400, Quirk.CREATE_KNOWS_NO_TITLE_422: 422}
SMALL_PAGE = SMALL_BATCH = 2


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
    deleted: dict[str, Resource] = field(default_factory=dict)
    queues: dict[str, list[str]] = field(default_factory=dict)
    """Of the platform API: ids of members by the id of a queue."""
    revoked: list[str] = field(default_factory=list)
    """Ids of the accounts whose tokens were deleted, as often as they were."""
    _faults: list[list[Any]] = field(default_factory=list)
    _next_id: int = 0
    _asked: str = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        raw_path = re.sub(rf"^({PLATFORM})?{BASE}", "", request.url.raw_path.decode())
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
            self._asked = ""
            if said.line() == "POST /Bulk":
                return self._bulk(said.body)
            if said.path.startswith(PLATFORM):
                return self._platform(said)
            kind, resource_id, query = self._place(said.raw_path)
            self._check_version(said, kind, resource_id)
            self._asked = query
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
        asked = dict(part.split("=", 1) for part in query.split("&")) if query else {}
        resources = [each for each in self.held[kind].values() if self._is_listed(each, asked)]
        if asked.get("filter") == INACTIVE:
            del asked["filter"]
        if asked.keys() - {"filter", "startIndex", "count", "attributes"}:
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
            "Resources": [self._told(_only(self._shown(kind, each), asked.get("attributes"))) for each in page],
        }
        if not resources and Quirk.NO_EMPTY_RESOURCES in self.quirks:
            del body["Resources"]
        return reply(200, body)

    def _search(self, kind: str, place: str, body: Resource) -> httpx.Response:
        """Answer a query in a body (RFC 7644 section 3.4.3)."""
        if place != ".search" or body.get("schemas") != [SEARCH]:
            raise Problem(404, "no such endpoint")
        return self._query(kind, f"filter={quote(body['filter'], safe='')}", None)

    def _is_listed(self, resource: Resource, asked: dict[str, str]) -> bool:
        if asked.get("filter") == INACTIVE:
            return resource.get("active") is False
        return Quirk.HIDES_INACTIVE not in self.quirks or resource.get("active") is not False

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
        shown = self._shown(kind, self._held(kind, resource_id))
        if Quirk.HIDES_MEMBERS in self.quirks and self._asked != "attributes=members":
            shown.pop("members", None)
        if Quirk.IGNORES_ATTRIBUTES not in self.quirks and self._asked.startswith("attributes="):
            shown = _only(shown, self._asked.removeprefix("attributes="))
        headers = {"etag": version_of(shown)} if kind == "Groups" and Quirk.GROUP_VERSIONS in self.quirks else {}
        return reply(200, self._told(shown), headers)

    def _check_version(self, said: Said, kind: str, resource_id: str | None) -> None:
        asked = said.headers.get("if-match")
        if asked is None or resource_id is None:
            return
        if kind == "Users" and Quirk.USER_VERSIONS in self.quirks:
            if asked != self._shown(kind, self._held(kind, resource_id))["meta"]["version"]:
                raise Problem(400, "it changed meanwhile", "invalidVers")
            return
        if Quirk.GROUP_VERSIONS not in self.quirks or kind != "Groups":
            raise Problem(400, "versions are not for this server", "invalidVers")
        if asked != version_of(self._shown(kind, self._held(kind, resource_id))):
            raise Problem(412, "it changed meanwhile")

    def _bulk(self, body: Resource) -> httpx.Response:
        """Do each part as if it came alone (RFC 7644 section 3.7); ``bulkId:x`` becomes the id of what x made."""
        if body.get("schemas") != [BULK_REQUEST] or body.keys() - {"schemas", "Operations"}:
            raise Problem(400, "this is no BulkRequest", "invalidSyntax")
        made: dict[str, str] = {}
        told = [self._bulk_part(part, made) for part in body["Operations"]]
        if Quirk.BULK_IN_OTHER_ORDER in self.quirks:
            told.reverse()
        return reply(200, {"schemas": [BULK_RESPONSE], "Operations": told})

    def _bulk_part(self, part: Resource, made: dict[str, str]) -> Resource:
        data = json.dumps(part["data"])
        for bulk_id, made_id in made.items():
            data = data.replace(f"bulkId:{bulk_id}", made_id)
        kind, resource_id, _ = self._place(part["path"])
        try:
            _check_resolved(data)
            answer = METHODS[part["method"], resource_id is not None](self, kind, resource_id or "", json.loads(data))
        except Problem as problem:
            answer = self._error(problem)
        told: Resource = {name: part[name] for name in ("method", "bulkId") if name in part}
        response: Any = json.loads(answer.content) if answer.content else None
        if answer.is_success and "bulkId" in part:
            made[part["bulkId"]] = str(response["id"])
        place = answer.headers.get("location") or (f"{BASE_URL}{part['path']}" if resource_id else None)
        if place and Quirk.BULK_TELLS_NO_PLACES not in self.quirks:
            told["location"] = place
        if not answer.is_success:
            told["response"] = response
        return told | {"status": self._bulk_status(answer.status_code)}

    def _bulk_status(self, status: int) -> object:
        if Quirk.BULK_STATUS_IS_AN_OBJECT in self.quirks:
            return {"code": str(status)}
        return status if Quirk.BULK_STATUS_IS_A_NUMBER in self.quirks else str(status)

    def _create(self, kind: str, _: str, body: Resource) -> httpx.Response:
        if READ_ONLY & body.keys():
            raise Problem(400, "the server gives these", "mutability")
        self._check_new(body)
        check(kind, body)
        self._check_unique(kind, body, None)
        resource = {**copy.deepcopy(body), "id": self._new_id(kind)}
        if kind == "Users" and (deleted := self.deleted.pop(body["userName"].lower(), None)):
            resource["id"] = deleted["id"]
            resource.pop("roles", None)
        if Quirk.KNOWS_NO_EXTERNAL_ID in self.quirks:
            resource.pop("externalId", None)
        if Quirk.DROPS_TITLE in self.quirks:
            resource.pop("title", None)
        self.held[kind][str(resource["id"])] = resource
        told = self._told(self._shown(kind, resource))
        if Quirk.ANSWERS_LITTLE in self.quirks:
            told = {name: told[name] for name in ("schemas", "id", "meta", "userName")}
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
        if kind == "Groups":
            self._check_members(held, body["Operations"])
        for operation in body["Operations"]:
            self._check_dialect(operation)
            apply(changed, operation)
            self._double(held, changed, operation)
        if kind == "Users" and Quirk.KNOWS_NO_EXTERNAL_ID in self.quirks:
            changed.pop("externalId", None)
        if kind == "Users" and Quirk.DROPS_TITLE in self.quirks:
            changed.pop("title", None)
        check(kind, changed)
        self._check_unique(kind, changed, resource_id)
        ignores = {Quirk.IGNORES_PATCH} | (
            {Quirk.IGNORES_MEMBER_PATCH, Quirk.IGNORES_MEMBERS} if kind == "Groups" else set()
        )
        if not ignores & self.quirks:
            self.held[kind][resource_id] = changed
        if Quirk.NO_CONTENT in self.quirks:
            return httpx.Response(204)
        return self._get(kind, resource_id, None)

    def _replace(self, kind: str, resource_id: str, body: Resource) -> httpx.Response:
        """Keep what is said and nothing else (RFC 7644 section 3.5.1 lets a server clear what is left out)."""
        held = self._held(kind, resource_id)
        if (READ_ONLY - {"id"}) & body.keys() or body.get("id", held["id"]) != held["id"]:
            raise Problem(400, "the server gives these", "mutability")
        if Quirk.TAKES_NO_ID in self.quirks and "id" in body:
            raise Problem(400, "Cannot update read-only field 'id'", "mutability")
        check(kind, body)
        self._check_unique(kind, body, resource_id)
        changed = {**copy.deepcopy(body), "id": held["id"]}
        if self.quirks & {Quirk.PUT_FORGETS_TITLE, Quirk.DROPS_TITLE}:
            changed.pop("title", None)
        if kind == "Users" or Quirk.IGNORES_MEMBERS not in self.quirks:
            self.held[kind][resource_id] = changed
        return httpx.Response(204) if Quirk.NO_CONTENT in self.quirks else self._get(kind, resource_id, None)

    def _delete(self, kind: str, resource_id: str, _: object) -> httpx.Response:
        gone = self._held(kind, resource_id)
        del self.held[kind][resource_id]
        for group in self.held["Groups"].values() if kind == "Users" else ():
            if left := [member for member in group.get("members", []) if member["value"] != resource_id]:
                group["members"] = left
            else:
                group.pop("members", None)
        if kind == "Users" and Quirk.RESTORES in self.quirks:
            self.deleted[gone["userName"].lower()] = gone
        return httpx.Response(204)

    def _platform(self, said: Said) -> httpx.Response:
        """Answer as Genesys Cloud's platform API does, which is not SCIM."""
        part, *names = said.path.removeprefix(f"{PLATFORM}/").partition("?")[0].split("/")
        if (said.method, part) == ("DELETE", "tokens"):
            self._held("Users", names[0])
            self.revoked.append(names[0])
            return httpx.Response(200)
        if (said.method, part, names[1:]) == ("GET", "users", ["queues"]):
            entities = [{"id": queue} for queue, members in self.queues.items() if names[0] in members]
            return reply(200, {"entities": entities, "pageCount": 1})
        if (said.method, part, names[2:3]) == ("DELETE", "routing", ["members"]):
            self.queues[names[1]].remove(names[3])
            return httpx.Response(204)
        raise Problem(404, "no such endpoint")

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

    def _check_members(self, held: Resource, operations: list[Resource]) -> None:
        """Refuse what some servers refuse of a group's members."""
        adds = [entry["value"] for each in operations if each.get("op") == "add" for entry in each["value"]]
        removes = sum(len(each.get("value", "1")) for each in operations if each.get("op") == "remove")
        if Quirk.SMALL_BATCHES in self.quirks and len(adds) + removes > SMALL_BATCH:
            raise Problem(400, "too many members at once", "tooMany")
        there = {member["value"] for member in held.get("members", [])}
        if Quirk.MEMBER_TWICE_IS_409 in self.quirks and there & set(adds):
            raise Problem(409, "is a member already", "uniqueness")
        if (
            Quirk.KNOWS_ITS_MEMBERS in self.quirks
            and set(adds) - self.held["Users"].keys() - self.held["Groups"].keys()
        ):
            raise Problem(400, "there is no such member", "invalidValue")

    def _double(self, held: Resource, changed: Resource, operation: Resource) -> None:
        if Quirk.DOUBLES_MEMBERS in self.quirks and operation["op"] == "add" and operation.get("path") == "members":
            again = [entry for entry in operation["value"] if entry in held.get("members", [])]
            changed["members"] += copy.deepcopy(again)

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
        if kind == "Users" and Quirk.USER_VERSIONS in self.quirks:
            shown["meta"]["version"] = version_of(resource).removeprefix("W/")
        if Quirk.NEVER_SHOWS_MEMBERS in self.quirks:
            shown.pop("members", None)
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
    ("POST", True): FakeScim._search,
    ("PATCH", True): FakeScim._patch,
    ("PUT", True): FakeScim._replace,
    ("DELETE", True): FakeScim._delete,
}


def reply(status: int, body: Resource, headers: dict[str, str] | None = None) -> httpx.Response:
    """Return an answer of SCIM."""
    content = json.dumps(body).encode()
    return httpx.Response(status, headers={"content-type": MEDIA_TYPE, **(headers or {})}, content=content)


def _only(resource: Resource, asked: str | None) -> Resource:
    """Return the attributes that were asked for, and those that come with every answer."""
    names = {*unquote(asked).split(","), "id", "meta", "schemas"} if asked else resource.keys()
    return {name: value for name, value in resource.items() if name in names}


def _check_resolved(data: str) -> None:
    if "bulkId:" in data:
        raise Problem(409, "what this needs was not made", "invalidValue")


def version_of(resource: Resource) -> str:
    """Return the weak version of what is held (RFC 7644 section 3.14)."""
    text = json.dumps({name: value for name, value in resource.items() if name != "meta"}, sort_keys=True)
    return f'W/"{zlib.crc32(text.encode())}"'


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
