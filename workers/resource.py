"""A resource as a target shows it, and edits of one: an edit is one operation of a PATCH, and what a PUT does instead.

Names of attributes compare without case (RFC 7643 section 2.1); PATCH is RFC 7644 section 3.5.2. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lifecycle.paths import Path

Resource = Mapping[str, Any]
Operation = dict[str, Any]

SEPARATORS = str.maketrans("", "", " -.()")


@dataclass(frozen=True)
class Edit:
    """One change of one managed value; ``path`` may lead to a whole entry, or to all entries where some are added."""

    op: str
    path: Path
    value: Any = None

    def operation(self) -> Operation:
        """Return it as an operation of a PATCH."""
        line = {"op": self.op, "path": self.path.text}
        return line if self.op == "remove" else {**line, "value": self.value}


def plain(name: str) -> Path:
    """Return the path of an attribute that no mapping may manage, because it is always ours."""
    return Path(name, None, name, None, None, None)


def entry_path(whole: Path, key: str, equals: Any, sub: str | None = None) -> Path:  # noqa: ANN401 - a SCIM value
    """Return the path of one entry of a multi-valued attribute, or of a sub-attribute of it."""
    # A JSON text: no character of a value can end the filter (RFC 7644 section 3.4.2.2).
    text = f"{whole.text}[{key} eq {json.dumps(equals, ensure_ascii=False)}]" + (f".{sub}" if sub else "")
    return Path(text, whole.urn, whole.name, key, equals, sub)


def whole_path(path: Path) -> Path:
    """Return the path of the multi-valued attribute that an entry is of."""
    text = f"{path.urn}:{path.name}" if path.urn else path.name
    return Path(text, path.urn, path.name, None, None, None)


# ---- reading


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


def holder_at(resource: Resource, path: Path) -> Any:  # noqa: ANN401 - a SCIM value
    """Return the attribute that a path leads into, whatever entry or sub-attribute it names."""
    return attribute(attribute(resource, path.urn) if path.urn else resource, path.name)


def value_at(resource: Resource, path: Path) -> Any:  # noqa: ANN401 - a SCIM value
    """Return what an account shows at a managed path."""
    found = holder_at(resource, path)
    if path.key:
        found = entry_of(found, path.key, path.equals)
    return attribute(found, path.sub) if path.sub else found


def entry_of(entries: Any, key: str, equals: Any) -> Any:  # noqa: ANN401 - SCIM values
    """Return the entry that a filter names; ``type`` is not case-exact (RFC 7643 section 2.4), other keys are."""
    if not isinstance(entries, list):
        return None
    if key.lower() == "type":
        return next((each for each in entries if str(attribute(each, key)).lower() == str(equals).lower()), None)
    return next((each for each in entries if attribute(each, key) == equals), None)


def same(path: Path, shown: Any, value: Any) -> bool:  # noqa: ANN401 - SCIM values
    """Tell whether a target shows just this value; null, empty and absent are the same."""
    if shown in (None, "", []):
        return value is None
    if isinstance(shown, str) and isinstance(value, str):
        return _folded(path, shown) == _folded(path, value)
    if isinstance(shown, int | float) and isinstance(value, int | float) and not isinstance(shown, bool):
        return not isinstance(value, bool) and shown == value  # JSON has one kind of number
    return type(shown) is type(value) and bool(shown == value)


def alike(shown: Any, value: Any) -> bool:  # noqa: ANN401 - SCIM values
    """Tell whether a target may have written a text in its own way: other letter case, other separators."""
    both = isinstance(shown, str) and isinstance(value, str) and bool(_bare(value))
    return both and _bare(shown) == _bare(value)


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text.removeprefix("tel:").casefold()))


def _folded(path: Path, text: str) -> str:
    """Return a text as it compares: userName and addresses without case, phone numbers without separators.

    RFC 7643 sections 4.1.1 and 8.7.1, RFC 3966 section 3. Of all else letter case is news.
    """
    name = path.name.lower()
    if name == "phonenumbers":
        return text.removeprefix("tel:").translate(SEPARATORS).casefold()
    return text.casefold() if name in {"username", "emails"} else text


# ---- writing


def apply(body: dict[str, Any], edits: list[Edit]) -> None:
    """Make the edits in a body that is ours to change: what a PATCH would do, for a create or a PUT."""
    for edit in edits:
        holder = body
        if edit.path.urn:
            holder = _object(body, edit.path.urn)
            schemas = body[own_name(body, "schemas")]
            if edit.path.urn not in schemas:
                schemas.append(edit.path.urn)
        if edit.path.key:
            _apply_to_entry(holder, edit)
        else:
            _apply_to_value(holder, edit)
        if edit.path.urn and not holder:
            _drop_extension(body, edit.path.urn)


def own_name(holder: Mapping[str, Any], name: str) -> str:
    """Return an attribute's name as the target spells it."""
    return next((found for found in holder if found.lower() == name.lower()), name)


def _apply_to_entry(holder: dict[str, Any], edit: Edit) -> None:
    path, name = edit.path, own_name(holder, edit.path.name)
    entries = holder[name] = holder[name] if isinstance(holder.get(name), list) else []
    entry = entry_of(entries, str(path.key), path.equals)
    if edit.op == "remove" and not path.sub:
        holder[name] = [each for each in entries if each is not entry]
        return
    if edit.op == "remove":
        if entry is not None:
            entry.pop(own_name(entry, str(path.sub)), None)
        return
    if entry is None:
        entry = {path.key: path.equals}
        entries.append(entry)
    entry[own_name(entry, str(path.sub))] = edit.value


def _apply_to_value(holder: dict[str, Any], edit: Edit) -> None:
    path = edit.path
    if path.sub:
        holder = _object(holder, path.name)
    name = own_name(holder, path.sub or path.name)
    if edit.op == "remove":
        holder.pop(name, None)
    elif edit.op == "add" and isinstance(edit.value, list):
        known = holder[name] if isinstance(holder.get(name), list) else []
        holder[name] = [*known, *edit.value]
    else:
        holder[name] = edit.value


def _drop_extension(body: dict[str, Any], urn: str) -> None:
    """Take an extension out of which nothing is left: no URN without its object (RFC 7643 section 3.3)."""
    schemas = own_name(body, "schemas")
    body[schemas] = [each for each in body[schemas] if each != urn]
    body.pop(own_name(body, urn), None)


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object of this name, made if there is none."""
    own = own_name(holder, name)
    if not isinstance(holder.get(own), dict):
        holder[own] = {}
    found: dict[str, Any] = holder[own]
    return found
