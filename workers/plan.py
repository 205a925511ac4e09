"""Plan: an account as it is and as wanted, to the fewest operations; attribute names compare without case. Pure.

RFC 7643 section 2.1 (names), RFC 7644 section 3.5.2 (PATCH). Only managed attributes take part; a multi-valued
attribute is changed entry by entry, never replaced whole.
"""

from collections.abc import Mapping
from typing import Any

from lifecycle.paths import Path
from workers.policy import Wanted

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"

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
        holder = body.setdefault(path.urn, {})
        if path.urn not in body["schemas"]:
            body["schemas"].append(path.urn)
    if path.key:
        entries = holder.setdefault(path.name, [])
        entry = _entry(entries, path)
        if entry is None:
            entry = {path.key: path.equals}
            entries.append(entry)
        entry[str(path.sub)] = value
    elif path.sub:
        holder.setdefault(path.name, {})[path.sub] = value
    else:
        holder[path.name] = value
