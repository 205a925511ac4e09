"""Plan: an account as it is and as wanted, to the fewest operations; attribute names compare without case. Pure.

RFC 7643 section 2.1 (names), RFC 7644 section 3.5.2 (PATCH). Only managed attributes take part; a multi-valued
attribute is changed entry by entry, never replaced whole.
"""

import copy
from collections.abc import Mapping
from typing import Any

from lifecycle.paths import Path
from workers.policy import Wanted

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
# The target's own (RFC 7643 sections 3.1 and 4.1.2); never sent back.
READ_ONLY = frozenset({"meta", "groups"})
# What every target tried knows; others refuse a whole account for one attribute that they do not know.
ESSENTIAL = frozenset({"schemas", "userName", "externalId", "active", "name", "displayName", "emails"})

Resource = Mapping[str, Any]
Operation = dict[str, Any]


def attribute(resource: Any, name: str) -> Any:  # noqa: ANN401 - a SCIM value
    """Return an attribute of an object, whatever the case of its name; None when it has none."""
    if not isinstance(resource, Mapping):
        return None
    if name in resource:
        return resource[name]
    return next((value for found, value in resource.items() if found.lower() == name.lower()), None)


def is_active(resource: Resource) -> bool | None:
    """Return whether an account is active; some servers write booleans as texts. None when it does not say."""
    found = attribute(resource, "active")
    if isinstance(found, str):
        return {"true": True, "false": False}.get(found.lower())
    return found if isinstance(found, bool) else None


def value_at(resource: Resource, path: Path) -> Any:  # noqa: ANN401 - a SCIM value
    """Return what an account shows at a managed path."""
    found = attribute(attribute(resource, path.urn) if path.urn else resource, path.name)
    if path.key:
        found = _entry(found, path)
    return attribute(found, path.sub) if path.sub else found


def new_account(wanted: Wanted) -> dict[str, Any]:
    """Return the body that creates the account (RFC 7644 section 3.3): no nulls, no URN without its object."""
    body: dict[str, Any] = {"schemas": [USER_SCHEMA], "userName": wanted.user_name, "active": True}
    if wanted.external_id:
        body["externalId"] = wanted.external_id
    for path, value in wanted.attributes.items():
        if value is not None:
            _put(body, path, value)
    return body


def with_primary(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new account whose first e-mail address is the primary one; some servers take none without."""
    emails = [dict(entry) for entry in body.get("emails", [])]
    if emails and not any("primary" in entry for entry in emails):
        emails[0]["primary"] = True
    return {**body, **({"emails": emails} if emails else {})}


def essential(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a new account that every target tried knows."""
    known = {name: value for name, value in body.items() if name in ESSENTIAL}
    return with_primary({**known, "schemas": [USER_SCHEMA]})


def replacement(resource: Resource, wanted: Wanted, *, adopt: bool) -> dict[str, Any]:
    """Return the body that replaces the account (RFC 7644 section 3.5.1): all that it shows, but what is managed.

    What a PUT leaves out may be cleared, so the resource has to be fresh and whole.
    """
    shown = {name: value for name, value in resource.items() if value is not None and name.lower() not in READ_ONLY}
    body = copy.deepcopy(shown)
    body.setdefault(_own_name(body, "schemas"), [USER_SCHEMA])
    if needs_switch(resource, wanted):
        body[_own_name(body, "active")] = wanted.active
    if adopt and wanted.external_id and not attribute(resource, "externalId"):
        body[_own_name(body, "externalId")] = wanted.external_id
    for path, value in wanted.attributes.items():
        if _change(resource, path, value) is None:
            continue
        if value is None:
            _clear(body, path)
        else:
            _put(body, path, value)
    return body


def changes(resource: Resource, wanted: Wanted, *, adopt: bool) -> list[Operation]:
    """Return the operations of the one PATCH that is needed; none when none is. Adopting writes externalId."""
    operations = []
    if needs_switch(resource, wanted):
        operations.append({"op": "replace", "path": "active", "value": wanted.active})
    if adopt and wanted.external_id and not attribute(resource, "externalId"):
        operations.append({"op": "add", "path": "externalId", "value": wanted.external_id})
    for path, value in wanted.attributes.items():
        operation = _change(resource, path, value)
        if operation:
            operations.append(operation)
    return operations


def needs_switch(resource: Resource, wanted: Wanted) -> bool:
    """Tell whether ``active`` has to be written; an account that does not say counts as active."""
    return wanted.active is not None and (is_active(resource) is not False) is not wanted.active


def _change(resource: Resource, path: Path, value: Any) -> Operation | None:  # noqa: ANN401 - a SCIM value
    shown = value_at(resource, path)
    if _same(path, shown, value):
        return None
    if value is None:
        # An entry without its value says nothing, so it goes as a whole.
        gone = path.text.rpartition(".")[0] if path.key else path.text
        return {"op": "remove", "path": gone}
    if path.key and not _has_entry(resource, path):
        # RFC 7644 section 3.5.2.3: replace with a filter that matches nothing is an error, so the entry is added whole.
        prefix = f"{path.urn}:" if path.urn else ""
        return {
            "op": "add",
            "path": f"{prefix}{path.name}",
            "value": [{path.key: path.equals, str(path.sub): value}],
        }
    return {"op": "replace", "path": path.text, "value": value}


def _same(path: Path, shown: Any, value: Any) -> bool:  # noqa: ANN401 - SCIM values
    if shown in (None, "", []):
        return value is None
    # userName is not case-exact (RFC 7643 section 4.1.1).
    if path.text == "userName" and isinstance(shown, str) and isinstance(value, str):
        return shown.lower() == value.lower()
    return type(shown) is type(value) and bool(shown == value)


def _has_entry(resource: Resource, path: Path) -> bool:
    found = attribute(attribute(resource, path.urn) if path.urn else resource, path.name)
    return _entry(found, path) is not None


def _entry(entries: Any, path: Path) -> Any:  # noqa: ANN401 - a SCIM value
    if not isinstance(entries, list):
        return None
    wanted = str(path.equals).lower()
    return next((entry for entry in entries if str(attribute(entry, str(path.key))).lower() == wanted), None)


def _put(body: dict[str, Any], path: Path, value: Any) -> None:  # noqa: ANN401 - a SCIM value
    holder = body
    if path.urn:
        holder = _object(body, path.urn)
        schemas = body[_own_name(body, "schemas")]
        if path.urn not in schemas:
            schemas.append(path.urn)
    if path.key:
        name = _own_name(holder, path.name)
        holder[name] = holder[name] if isinstance(holder.get(name), list) else []
        entry = _entry(holder[name], path)
        if entry is None:
            entry = {path.key: path.equals}
            holder[name].append(entry)
        entry[_own_name(entry, str(path.sub))] = value
        return
    if path.sub:
        holder = _object(holder, path.name)
    holder[_own_name(holder, path.sub or path.name)] = value


def _clear(body: dict[str, Any], path: Path) -> None:
    """Leave a managed value out of a replacement; an entry without its value goes as a whole."""
    holder = _object(body, path.urn) if path.urn else body
    if path.key:
        name = _own_name(holder, path.name)
        holder[name] = [entry for entry in holder[name] if entry is not _entry(holder[name], path)]
        return
    if path.sub:
        holder = _object(holder, path.name)
    holder.pop(_own_name(holder, path.sub or path.name), None)


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object of this name, made if there is none."""
    own = _own_name(holder, name)
    if not isinstance(holder.get(own), dict):
        holder[own] = {}
    found: dict[str, Any] = holder[own]
    return found


def _own_name(holder: Mapping[str, Any], name: str) -> str:
    """Return an attribute's name as the target spells it."""
    return next((found for found in holder if found.lower() == name.lower()), name)
