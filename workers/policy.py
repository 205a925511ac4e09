"""Policy: a person to the account that one target should show. Pure."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from lifecycle.errors import Refused
from lifecycle.expressions import Expression, compile_expression
from lifecycle.paths import Path, parse_path
from lifecycle.person import Account, Entitlements, Person, Status
from lifecycle.policy import Policy
from lifecycle.target import Target

OUT_OF_SCOPE, PROTECTED = "out_of_scope", "protected"

Mapped = Mapping[Path, Expression]


@dataclass(frozen=True)
class Wanted:
    """What a target should show. ``active`` None leaves that as it is: nobody said that the person joined or left."""

    external_id: str | None
    user_name: str | None
    active: bool | None
    attributes: Mapping[Path, Any]
    """By managed path a text, number or boolean; a list where the whole of a multi-valued attribute is managed."""
    groups: frozenset[str]
    roles: frozenset[str] = frozenset()

    @property
    def fingerprint(self) -> str:
        """What tells this state from another: the names that only find the account are no part of it."""
        attributes = {path.text: value for path, value in self.attributes.items()}
        parts = [self.active, attributes, sorted(self.groups), sorted(self.roles)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Ignored:
    """The policy says: not this person."""

    reason: str


def mapping_of(target: Target, defaults: Mapping[str, str]) -> Mapped:
    """Return a target's mapping: the configured one, else the adapter's own."""
    configured = target.mapping()
    if configured is not None:
        return configured
    return {parse_path(text): compile_expression(source) for text, source in defaults.items()}


def decide(person: Person, policy: Policy, mapping: Mapped, account: Account | None) -> Wanted | Ignored:
    """Return what the target should show, or why it is not ours to say.

    Raises Refused when an expression cannot be evaluated for somebody who works here. For a leaver no expression stands
    in the way of the suspension.
    """
    if protected(person.names(), policy):
        return Ignored(PROTECTED)
    fields = person.fields()
    if not _in_scope(person, policy, fields):
        # Falling out of scope is leaving, for an account that we keep; otherwise it was never ours.
        return _gone(person, mapping, fields) if account else Ignored(OUT_OF_SCOPE)
    if person.status and person.status.value == Status.LEFT.value:
        return _gone(person, mapping, fields)
    active = True if person.status else None
    attributes = {path: _value(path, found, fields) for path, found in mapping.items() if _known(found, person)}
    grants = [grant for grant in policy.grants if _holds(grant.when, fields)]
    groups = frozenset(group for grant in grants for group in grant.groups)
    roles = frozenset(role for grant in grants for role in grant.roles)
    name = next((value for path, value in attributes.items() if path.text == "userName"), None)
    name = name or _text(fields, "user_name") or _text(fields, "email")
    return Wanted(_text(fields, "external_id"), name, active, attributes, groups, roles)


def with_entitlements(wanted: Wanted, before: Entitlements | None) -> Wanted:
    """Return what is wanted with all that was taken when the person left, whatever the policy grants by now."""
    if before is None or not wanted.active:
        return wanted
    return replace(wanted, groups=wanted.groups | before.groups.keys(), roles=wanted.roles | set(before.roles))


def with_manager(wanted: Wanted, account_of: Callable[[str], str | None]) -> Wanted:
    """Return what is wanted with the id of the manager's account, as RFC 7643 section 4.3 has ``manager.value``.

    Of a manager who has no account there nothing can be said, so the target keeps what it has.
    """
    attributes = dict(wanted.attributes)
    for path, value in wanted.attributes.items():
        if (path.name.lower(), path.sub) == ("manager", "value") and value is not None:
            account_id = account_of(str(value))
            attributes |= {path: account_id}
            if account_id is None:
                del attributes[path]
    return replace(wanted, attributes=attributes)


def protected(names: set[str], policy: Policy) -> bool:
    """Tell whether one of these identifiers, in lower case, is protected."""
    return bool(names & {name.lower() for name in policy.protected})


def _in_scope(person: Person, policy: Policy, fields: Mapping[str, Any]) -> bool:
    if policy.scope is None:
        return True
    try:
        return _holds(policy.scope, fields)
    except Refused:
        if person.status and person.status.value == Status.LEFT.value:
            return True
        raise


def _gone(person: Person, mapping: Mapped, fields: Mapping[str, Any]) -> Wanted:
    """Return no access. The name only finds the account: of a leaver nothing but the access is changed."""
    name = _text(fields, "user_name") or _text(fields, "email")
    for path, expression in mapping.items():
        if path.text == "userName" and _known(expression, person):
            with suppress(Refused):
                name = _value(path, expression, fields) or name
    return Wanted(_text(fields, "external_id"), name, active=False, attributes={}, groups=frozenset())


def _known(expression: Expression, person: Person) -> bool:
    """Tell whether some source ever told what this expression reads; else the target keeps what it has."""
    return not expression.fields or any(person.knows(field) for field in expression.fields)


def _holds(expression: Expression, fields: Mapping[str, Any]) -> bool:
    found = expression.value(dict(fields))
    if not isinstance(found, bool):
        raise Refused(f"the expression {expression.source!r} gives no truth value", reason="expression")
    return found


def _value(path: Path, expression: Expression, fields: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a SCIM value
    found = expression.value(dict(fields))
    if isinstance(found, list) and not path.key and not path.sub:
        return [_entry(path, expression, each) for each in found]
    if found is not None and not isinstance(found, str | bool | int | float):
        raise Refused(f"attributes.{path.text}: {expression.source!r} gives no single value", reason="expression")
    return None if found == "" else found


def _entry(path: Path, expression: Expression, found: Any) -> dict[str, Any]:  # noqa: ANN401 - a SCIM value
    """Return one value of a multi-valued attribute as SCIM writes it (RFC 7643 section 2.4)."""
    entry = found if isinstance(found, dict) else {"value": found}
    if not entry or not all(isinstance(value, str | bool | int | float) for value in entry.values()):
        raise Refused(f"attributes.{path.text}: {expression.source!r} gives no list of values", reason="expression")
    return {str(name): value for name, value in entry.items()}


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    found = fields.get(name)
    return str(found) if found else None
