"""A multi-valued attribute, entry by entry: an entry is told from another by its value, else its name, else its type.

What the target adds to an entry by itself is its own. Pure.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lifecycle.errors import Refused
from lifecycle.paths import Path
from workers.resource import Edit, Resource, attribute, entry_of, entry_path, plain, same, whole_path

ROLES = plain("roles")
# What tells one entry of a multi-valued attribute from another: the first that an entry has. ``authority`` is that of
# Genesys Cloud's externalIds, where two may well bear the same value.
ENTRY_KEYS = ("authority", "value", "name", "type")
# Begins the authority under which Genesys Cloud keeps the externalId of SCIM: an entry that nobody may change.
RESERVED_AUTHORITY = "x-pc:"

Identity = tuple[str, str]


def entry_edits(path: Path, shown: Sequence[Any], wanted: Sequence[Any], surplus: Sequence[Any]) -> list[Edit]:
    """Return the edits that take the surplus out, correct what is there and add what is missing.

    Raises Refused for an entry that nothing names.
    """
    edits = [_removal(path, entry) for entry in surplus]
    for entry in wanted:
        edits += _corrections(path, _entry(shown, entry), entry)
    once = {identity(entry): entry for entry in wanted}.values()
    missing = [entry for entry in once if _entry(shown, entry) is None]
    return [*edits, Edit("add", path, missing)] if missing else edits


def is_reserved(entry: Any) -> bool:  # noqa: ANN401 - a SCIM value
    """Tell whether an entry is the target's own."""
    return str(attribute(entry, "authority") or "").startswith(RESERVED_AUTHORITY)


def entry_edit(shown: Any, path: Path, value: Any) -> Edit:  # noqa: ANN401 - SCIM values
    """Return the edit of one sub-attribute of the entry that a value path names."""
    entry = entry_of(shown, str(path.key), path.equals)
    if entry is None:
        # RFC 7644 section 3.5.2.3: replace with a filter that matches nothing is an error, so the entry is added whole.
        return Edit("add", whole_path(path), [{path.key: path.equals, str(path.sub): value}])
    key, equals = str(path.key), path.equals
    if sum(entry_of([each], key, equals) is not None for each in shown) > 1 and attribute(entry, "value"):
        # Several fit, and the others are not ours: this one is named by what it holds.
        key, equals = "value", attribute(entry, "value")
    if value is not None:
        return Edit("replace", entry_path(whole_path(path), key, equals, path.sub), value)
    # An entry without its value says nothing, so it goes as a whole.
    is_all = str(path.sub).lower() == "value"
    return Edit("remove", entry_path(whole_path(path), key, equals, None if is_all else path.sub))


def by_entry(edits: Sequence[Edit]) -> list[Edit]:
    """Return the edits with what makes one new entry in one piece, and nothing more of an entry that goes."""
    gone = {_entry_of(edit) for edit in edits if edit.op == "remove" and edit.path.key and not edit.path.sub}
    found: list[Edit] = []
    new: dict[Any, dict[str, Any]] = {}
    for edit in edits:
        place = _entry_of(edit)
        if place in new:
            new[place].update(edit.value[0])
        elif edit.path.sub is None or place not in gone:
            found.append(_own(edit) if place else edit)
            if place and edit.op == "add":
                new[place] = found[-1].value[0]
    return found


def _own(edit: Edit) -> Edit:
    return Edit("add", edit.path, [dict(edit.value[0])]) if edit.op == "add" else edit


def _entry_of(edit: Edit) -> tuple[str, str, str] | None:
    """Return which entry an edit makes or changes; None where it is about none, or not about one by its key."""
    path = edit.path
    if path.key:
        return whole_path(path).text, path.key, str(path.equals)
    if edit.op == "add" and isinstance(edit.value, list) and len(edit.value) == 1 and isinstance(edit.value[0], dict):
        key, equals = next(iter(edit.value[0].items()))
        return path.text, key, str(equals)
    return None


def identity(entry: Any) -> Identity:  # noqa: ANN401 - a SCIM value
    """Return what tells this entry from others."""
    key = next((key for key in ENTRY_KEYS if attribute(entry, key) is not None), "")
    return key, str(attribute(entry, key) if key else json.dumps(entry, sort_keys=True, default=str))


def role_edits(resource: Resource, wanted: frozenset[str], managed: frozenset[str]) -> list[Edit]:
    """Return the edits that give the wanted roles and take those of the managed that are not."""
    shown = shown_roles(resource)
    edits = [Edit("remove", entry_path(ROLES, "value", role)) for role in sorted((shown & managed) - wanted)]
    missing = sorted(wanted - shown)
    return [*edits, Edit("add", ROLES, [{"value": role} for role in missing])] if missing else edits


def role_moves(edits: Iterable[Edit]) -> tuple[list[str], list[str]]:
    """Return the roles that edits take and those that they give, in order of the alphabet."""
    ours = [edit for edit in edits if edit.path.name == ROLES.name]
    added = [entry for edit in ours if edit.op == "add" and isinstance(edit.value, list) for entry in edit.value]
    given = {str(value) for entry in added if (value := attribute(entry, "value")) is not None}
    return sorted({str(edit.path.equals) for edit in ours if edit.op == "remove"}), sorted(given)


def shown_roles(resource: Resource) -> frozenset[str]:
    """Return the roles that an account shows; some servers list them as plain texts."""
    found = attribute(resource, "roles")
    entries = found if isinstance(found, list) else []
    return frozenset(str(attribute(entry, "value") if isinstance(entry, Mapping) else entry) for entry in entries)


def _entry(shown: Sequence[Any], entry: Any) -> Any:  # noqa: ANN401 - SCIM values
    return next((each for each in shown if identity(each) == identity(entry)), None)


def _removal(path: Path, entry: Any) -> Edit:  # noqa: ANN401 - a SCIM value
    key, _ = identity(entry)
    if not key:
        raise Refused(f"an entry of {path.text} has neither value, name nor type to be named by", reason="value")
    return Edit("remove", entry_path(path, key, attribute(entry, key)))


def _corrections(path: Path, shown: Any, wanted: Any) -> list[Edit]:  # noqa: ANN401 - SCIM values
    if shown is None or not isinstance(wanted, Mapping):
        return []
    key, _ = identity(wanted)
    return [
        Edit("replace", entry_path(path, key, attribute(shown, key), sub), value)
        for sub, value in wanted.items()
        if not same(path, attribute(shown, sub), value)
    ]
