"""SCIM as Genesys Cloud speaks it: scim2-server's service with the documented deviations.

The definition of the operations is in the vendor's SDK (SCIMApi) and CLI.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from scim2_models import (
    Context,
    InvalidFilterException,
    InvalidVersionException,
    PatchOp,
    PreconditionFailedException,
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
)
from scim2_server.conditions import Conditions
from scim2_server.handler import ScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.service import ScimService

from gatepost.sandbox.errors import Refused, missing, not_found
from gatepost.sandbox.schema import ENTERPRISE, PURECLOUD, provider
from gatepost.sandbox.settings import Settings
from gatepost.sandbox.store import USER, Store
from gatepost.sandbox.web import Answer, Request

COUNT_DEFAULT = 25
COUNT_MAX_WIDE = 25
ENDPOINTS = {name.lower(): name for name in ("Users", "Groups", "Schemas", "ResourceTypes", "ServiceProviderConfig")}
# No POST and no DELETE of groups, no /Bulk, no /.search, no /Me. By endpoint: methods without and with an id.
METHODS = {
    "Users": (("GET", "POST"), ("GET", "PUT", "PATCH", "DELETE")),
    "Groups": (("GET",), ("GET", "PUT", "PATCH")),
    "Schemas": (("GET",), ("GET",)),
    "ResourceTypes": (("GET",), ("GET",)),
    "ServiceProviderConfig": (("GET",), ()),
}
PERMISSIONS = {
    ("Users", "POST"): "directory:user:add",
    ("Users", "PUT"): "directory:user:edit",
    ("Users", "PATCH"): "directory:user:edit",
    ("Users", "DELETE"): "directory:user:delete",
    ("Groups", "GET"): "directory:group:edit",
    ("Groups", "PUT"): "directory:group:edit",
    ("Groups", "PATCH"): "directory:group:edit",
}
# The documented filters, all eq; two of the names are no attribute paths.
FILTERS = {
    "Users": {
        "id": "id",
        "username": "userName",
        "email": "emails.value",
        "externalid": "externalId",
        "manager": f"{ENTERPRISE}:manager.value",
        "division": f"{ENTERPRISE}:division",
        "employeenumber": f"{ENTERPRISE}:employeeNumber",
        "active": "active",
    },
    "Groups": {"id": "id", "displayname": "displayName"},
}
COMPARISON = re.compile(r"(\w+) +eq +(\S.*)", re.IGNORECASE)
EXTERNAL_IDS = re.compile(rf"{re.escape(PURECLOUD)}:externalIds\[authority eq .+ and value eq .+\]", re.IGNORECASE)
LIST_PARAMETERS = ("filter", "startIndex", "count", "attributes", "excludedAttributes")
WIDE = ("externalid", "roles", "routingskills", "routinglanguages")
ALWAYS = "id,userName,active,meta"


class Service(ScimService):
    """The steps of the protocol that the vendor takes otherwise."""

    def __init__(self, store: Store) -> None:
        """Serve the records of a store."""
        super().__init__(provider())
        self._store = store

    def check_preconditions(self, resource: Resource[Any], method: str, conditions: Conditions) -> bool:
        """Answer a version that does not match with 400 invalidVers, never 412: SCIMApi, on every write."""
        try:
            return super().check_preconditions(resource, method, conditions)
        except PreconditionFailedException as error:
            raise InvalidVersionException(detail="If-Match does not match the current version") from error

    def publish(self, base_url: str, resource: Resource[Any]) -> Resource[Any]:
        """Show the groups of a user, which are read-only there: field mappings."""
        published = super().publish(base_url, resource)
        if self.get_resource_type_of(resource).name != USER:
            return published
        groups = [
            {"value": group, "display": name} for group, name in self._store.group_names(resource.id or "").items()
        ]
        return type(published).model_validate({**published.model_dump(), "groups": groups or None})

    def read_patch(self, resource_type: ResourceType, body: bytes, content_type: str | None) -> "PatchOp[Any]":
        """Let a change of the state go alone: whatever comes with ``active`` is not applied (Terraform, updateUser)."""
        alone = state_alone(body) if resource_type.name == USER else body
        return super().read_patch(resource_type, alone, content_type)

    def patch_response(
        self, base_url: str, resource: Resource[Any], response_parameters: ResponseParameters[Any]
    ) -> ScimResponse:
        """Answer a PATCH with 200 and the whole: SCIMApi, patch_scim_user returns the user."""
        published = self.publish(base_url, resource)
        return self.resource_response(published, Context.RESOURCE_REPLACEMENT_RESPONSE, response_parameters)

    @staticmethod
    def deletion_response() -> ScimResponse:
        """Answer a DELETE with 200: SCIMApi, delete_scim_user returns an empty object."""
        return ScimResponse(HTTPStatus.OK, {})


def state_alone(body: bytes) -> bytes:
    """Return a PATCH of the state alone when it changes the state, else as it is."""
    try:
        patch = json.loads(body)
        states = [state for operation in patch["Operations"] if (state := _state(operation)) is not None]
    except (ValueError, LookupError, TypeError, AttributeError):
        return body  # malformed: the next reader says how
    return json.dumps({**patch, "Operations": states}).encode() if states else body


def _state(operation: dict[str, Any]) -> dict[str, Any] | None:
    path, value = operation.get("path"), operation.get("value")
    if path:
        return operation if path.lower() == "active" else None
    found = {name: each for name, each in (value or {}).items() if name.lower() == "active"}
    return {**operation, "value": found} if found else None


class Scim:
    """The SCIM base paths: which requests exist, who may send them, and their answers."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Serve the records of a store."""
        self._settings = settings
        self._service = Service(store)
        self._handler = ScimHandler(self._service, store)

    def answer(self, request: Request, base: str, path: str) -> Answer:
        """Answer a request below a base path. Raises Refused as the gateway would."""
        endpoint, record_id = _endpoint(path)
        allowed = METHODS[endpoint][record_id is not None]
        if request.method not in allowed:
            raise Refused(405, "method.not.allowed", "HTTP 405 Method Not Allowed", {"allow": ", ".join(allowed)})
        permission = PERMISSIONS.get((endpoint, request.method))
        if permission in self._settings.without:
            raise missing({permission})
        target = f"/{endpoint}/{record_id}" if record_id else f"/{endpoint}"
        host = request.headers.get("host", "")
        try:
            query = dict(request.query)
            if record_id is None and endpoint in FILTERS and request.method == "GET":
                query = list_query(endpoint, request.query)
            asked = ScimRequest(request.method, f"http://{host}{base}", target, query, request.headers, request.body)
            found = self._handler.handle(asked)
        except SCIMException as error:
            found = self._service.error_response(error)
        body = b"" if found.body is None else json.dumps(found.body).encode()
        return Answer(found.status.value, body, found.headers)


def _endpoint(path: str) -> tuple[str, str | None]:
    """Return the endpoint, in any letter case, and the id: IdPs append /Users to paths published as /users."""
    first, _, record_id = path.strip("/").partition("/")
    endpoint = ENDPOINTS.get(first.lower())
    if endpoint is None or "/" in record_id or record_id == ".search":
        raise not_found(f"/{path.strip('/')}")
    return endpoint, record_id or None


def list_query(endpoint: str, query: Mapping[str, str]) -> dict[str, str]:
    """Return the query of a list as scim2-server shall see it; other parameters than the documented are ignored."""
    asked = {name: query[name] for name in LIST_PARAMETERS if name in query}
    if "filter" in asked:
        asked["filter"] = documented_filter(endpoint, asked["filter"])
    elif endpoint == "Groups":
        raise InvalidFilterException(detail="filter is required")  # SCIMApi, get_scim_v2_groups
    asked.setdefault("count", str(COUNT_DEFAULT))
    if endpoint == "Users" and _number(asked["count"]) > COUNT_MAX_WIDE and _wide(asked):
        message = "The request exceeded internal limits: lower count, or leave out costly attributes"
        raise Refused(429, "too.many.requests", message)  # waiting does not help, so no Retry-After
    if asked.get("attributes"):
        asked["attributes"] += f",{ALWAYS}"
    return asked


def documented_filter(endpoint: str, text: str) -> str:
    """Return a documented filter in the RFC's words; values need no quotes. Raises InvalidFilterException."""
    if endpoint == "Users" and EXTERNAL_IDS.fullmatch(text.strip()):
        return text
    found = COMPARISON.fullmatch(text.strip())
    path = FILTERS[endpoint].get(found[1].lower()) if found else None
    if not found or path is None:
        listed = ", ".join(FILTERS[endpoint])
        raise InvalidFilterException(detail=f"only eq is supported, on: {listed}")
    return f"{path} eq {_literal(path, found[2])}"


def _literal(path: str, text: str) -> str:
    if path == "active":
        return text.strip('"').lower()
    try:
        return json.dumps(str(json.loads(text))) if text.startswith('"') else json.dumps(text)
    except ValueError as error:
        raise InvalidFilterException(detail="the value of the filter is not one string") from error


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0  # scim2-server says what is wrong with it


def _wide(asked: Mapping[str, str]) -> bool:
    """Tell whether a list answers with one of the attributes that are costly to read."""
    wanted, left_out = _names(asked.get("attributes", "")), _names(asked.get("excludedAttributes", ""))
    return any(name in wanted if wanted else name not in left_out for name in WIDE)


def _names(text: str) -> set[str]:
    """Return attribute names in lower case, without their URN; the URN alone stands for all of its attributes."""
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    whole = set(WIDE[2:]) if PURECLOUD.lower() in names else set()
    return {name.rpartition(":")[2] for name in names} | whole
