"""Whether what is managed is there and can be written, as the target describes its accounts."""

from collections.abc import Iterator, Sequence

from lifecycle.check import Line
from workers.check.case import Case
from workers.resource import plain
from workers.scim.drift import Described, describe


def managed(case: Case) -> Iterator[Line]:
    """Tell which managed attributes are missing or cannot be written."""
    schema, paths = case.talk.can.schema, list(case.place.mapping)
    if "" not in schema.attributes:
        yield case.line("schema", True, "the target does not tell one: values are sent as they are")
        return
    described = describe(schema, paths)
    faults = {path: fault for path in paths if (fault := _fault(described[path.text]))}
    for fault, do in FAULTS.items():
        named = [path.text for path in paths if faults.get(path) == fault]
        if named:
            yield case.line("schema", do[0], f"{fault}: {', '.join(named)}", do[1].format(name=case.name))
    if not faults:
        yield case.line("schema", True, f"all {len(paths)} managed attributes are there and can be written")


def roles(case: Case, names: Sequence[str]) -> Line:
    """Tell whether accounts have roles that can be written."""
    schema = case.talk.can.schema
    if "" not in schema.attributes:
        return case.line("roles", None, f"the policy grants {len(names)}; the target does not tell if it has roles")
    described = describe(schema, [plain("roles")])["roles"]
    if not described or described["mutability"] == "readOnly":
        text = "the policy grants roles, and accounts here have none" if not described else "roles are read-only here"
        return case.line("roles", False, text, "take the roles out of policy.grants")
    return case.line("roles", True, f"can be written; the policy grants {len(names)}")


def _fault(found: Described) -> str | None:
    if not found:
        return MISSING
    if found["type"] == "complex" and not found["multi_valued"]:
        return COMPLEX
    return {"readOnly": READ_ONLY, "immutable": IMMUTABLE}.get(found["mutability"])


MISSING, READ_ONLY = "the target does not have", "the target does not let anybody write"
COMPLEX, IMMUTABLE = "has parts, of which one has to be named", "is written once, at the create"
TAKE_OUT = "take it out of [targets.{name}.attributes], or have the target offer it"
FAULTS: dict[str, tuple[bool | None, str]] = {
    MISSING: (False, TAKE_OUT),
    READ_ONLY: (False, TAKE_OUT),
    COMPLEX: (False, "manage a sub-attribute, as in name.givenName"),
    IMMUTABLE: (None, "a change of it fails for the person"),
}
