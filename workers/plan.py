"""Plan: an account as it is and as wanted, and what this target can, to the fewest edits. Pure.

Only managed attributes take part; a multi-valued attribute is changed entry by entry, never replaced whole.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lifecycle.errors import Refused
from lifecycle.paths import Path
from lifecycle.target import Rule
from workers.entries import ROLES, by_entry, entry_edit, entry_edits, identity, is_reserved, role_edits
from workers.policy import Wanted
from workers.resource import (
    Edit,
    Resource,
    apply,
    attribute,
    holder_at,
    is_active,
    own_name,
    plain,
    same,
    value_at,
)
from workers.scim.casting import cast, check_writable
from workers.scim.schema import Schema

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
ACTIVE, EXTERNAL_ID, USER_NAME = plain("active"), plain("externalId"), plain("userName")
# The target's own (RFC 7643 sections 3.1 and 4.1.2); never sent back.
READ_ONLY = frozenset({"meta", "groups"})
# What every target tried knows; others refuse a whole account for one attribute that they do not know.
ESSENTIAL = frozenset({"schemas", "userName", "externalId", "active", "name", "displayName", "emails"})


@dataclass(frozen=True)
class Terms:
    """On what terms an account is changed."""

    adopt: bool = False
    """Whether our externalId is written where there is none."""
    roles: frozenset[str] = frozenset()
    """The roles that are ours to give and to take."""
    conflicts: Mapping[str, Rule] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)
    """What the source said when the account was last settled, as ``prints`` gives it."""
    schema: Schema = field(default_factory=Schema)
    creating: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what cannot be: values that the target would not take, found before they are sent."""

    edits: tuple[Edit, ...]
    refused: tuple[Refused, ...] = ()


def plan(resource: Resource, wanted: Wanted, terms: Terms) -> Plan:
    """Return the edits that are needed, access first; none when none is."""
    edits: list[Edit] = []
    refused: list[Refused] = []
    if needs_switch(resource, wanted):
        edits.append(Edit("replace", ACTIVE, wanted.active))
    if terms.adopt and wanted.external_id and not attribute(resource, "externalId"):
        edits.append(Edit("add", EXTERNAL_ID, wanted.external_id))
    for path, value in wanted.attributes.items():
        try:
            found = _edits(resource, path, cast(terms.schema, path, value), terms)
            if found:
                check_writable(terms.schema, path, creating=terms.creating)
            edits += found
        except Refused as error:
            refused.append(error)
    if all(path.text != ROLES.text for path in wanted.attributes):
        edits += role_edits(resource, wanted.roles, terms.roles)
    return Plan(tuple(by_entry(edits)), tuple(refused))


def needs_switch(resource: Resource, wanted: Wanted) -> bool:
    """Tell whether ``active`` has to be written; an account that does not say counts as active."""
    return wanted.active is not None and (is_active(resource) is not False) is not wanted.active


def new_account(wanted: Wanted, terms: Terms) -> tuple[dict[str, Any], tuple[Refused, ...]]:
    """Return the body that creates the account, and what of it cannot be (RFC 7644 section 3.3).

    No nulls, no URN without its object. Raises Refused when the userName cannot be.
    """
    body: dict[str, Any] = {"schemas": [USER_SCHEMA]}
    name = cast(terms.schema, USER_NAME, wanted.user_name)
    first = [Edit("add", USER_NAME, name), Edit("add", ACTIVE, value=True)]
    first += [Edit("add", EXTERNAL_ID, wanted.external_id)] if wanted.external_id else []
    apply(body, first)
    planned = plan(body, replace(wanted, active=True), replace(terms, creating=True))
    apply(body, list(planned.edits))
    return body, planned.refused


def replacement(resource: Resource, edits: Sequence[Edit]) -> dict[str, Any]:
    """Return the body that replaces the account (RFC 7644 section 3.5.1): all that it shows, but for the edits.

    What a PUT leaves out may be cleared, so the resource has to be fresh and whole.
    """
    shown = {name: value for name, value in resource.items() if value is not None and name.lower() not in READ_ONLY}
    body = copy.deepcopy(shown)
    body.setdefault(own_name(body, "schemas"), [USER_SCHEMA])
    apply(body, list(edits))
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


def prints(wanted: Wanted, terms: Terms) -> dict[str, Any]:
    """Return fingerprints of what the source says now, for the attributes that are merged with the target's own."""
    return {
        path.text: [_print(identity(entry)) for entry in value] if isinstance(value, list) else _print(value)
        for path, value in wanted.attributes.items()
        if terms.conflicts.get(path.text) == "merge"
    }


# ---- one managed attribute


def _edits(resource: Resource, path: Path, value: Any, terms: Terms) -> list[Edit]:  # noqa: ANN401 - a SCIM value
    if isinstance(value, list):
        return _list_edits(resource, path, value, terms)
    shown = value_at(resource, path)
    if same(path, shown, value) or not _is_ours(path, shown, value, terms):
        return []
    if path.key:
        return [entry_edit(holder_at(resource, path), path, value)]
    return [Edit("remove", path)] if value is None else [Edit("replace", path, value)]


def _is_ours(path: Path, shown: Any, value: Any, terms: Terms) -> bool:  # noqa: ANN401 - SCIM values
    """Tell whether the source's value stands where the target shows another one."""
    rule = terms.conflicts.get(path.text, "source_wins")
    if rule == "source_wins":
        return True
    if shown in (None, "", []):
        return value is not None
    # Merged: what the source changed since the last settlement is news; else the target's own change stays.
    return rule == "merge" and path.text in terms.written and terms.written[path.text] != _print(value)


def _list_edits(resource: Resource, path: Path, wanted: list[Any], terms: Terms) -> list[Edit]:
    if sum(attribute(entry, "primary") is True for entry in wanted) > 1:
        raise Refused(f"{path.text}: more than one entry is primary", reason="value")  # RFC 7643 section 2.4
    rule = terms.conflicts.get(path.text, "source_wins")
    found = holder_at(resource, path)
    shown = [entry for entry in found if not is_reserved(entry)] if isinstance(found, list) else []
    if rule == "target_wins" and shown:
        return []
    keys = {identity(entry) for entry in wanted}
    surplus = [entry for entry in shown if identity(entry) not in keys]
    if rule == "merge":
        ours = set(terms.written.get(path.text, ()))
        surplus = [entry for entry in surplus if _print(identity(entry)) in ours]
    return entry_edits(path, shown, wanted, surplus)


def _print(value: Any) -> str:  # noqa: ANN401 - a SCIM value
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
