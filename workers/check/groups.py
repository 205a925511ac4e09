"""Whether every group that the policy names is there, under that name once. Nothing is created."""

from collections.abc import Iterator

from lifecycle.check import Line
from lifecycle.errors import Refused
from workers.check.case import Case
from workers.scim.groups import BY_ID, Groups
from workers.scim.headcount import GROUPS

GROUPS_MAX = 50
NONE = "the target has no group named"


def named(case: Case) -> Iterator[Line]:
    """Look for each group, past the ids that the fleet remembers."""
    policy = case.policy
    nested = {inner for names in policy.nesting.values() for inner in names}
    names = sorted(policy.groups | policy.nesting.keys() | nested)
    faults = {name: fault for name in names[:GROUPS_MAX] if (fault := _fault(case, name))}
    creates = policy.create_groups and case.talk.can.create_groups
    for fault in faults.values():
        if creates and fault.startswith(NONE):
            yield case.line("groups", True, f"{fault}: it will be created")
        else:
            yield case.line("groups", False, fault, "make it one there, or correct the name in the policy")
    if len(names) > GROUPS_MAX:
        yield case.line("groups", None, f"{GROUPS_MAX} of {len(names)} were looked for")
    if names and not faults:
        yield case.line("groups", True, f"{min(len(names), GROUPS_MAX)} of the policy are there")


def _fault(case: Case, name: str) -> str | None:
    client = case.place.client
    if name.startswith(BY_ID):
        found = client.get(case.talk, GROUPS, name.removeprefix(BY_ID))
        return None if found is not None else f"the target has no group of this id: {name!r}"
    groups = Groups(case.redis, case.name, client)
    groups.forget(name)
    try:
        groups.find(case.talk, name)
    except Refused as error:
        if error.reason != "group_missing":
            raise
        groups.forget(name)  # whoever makes it now shall not find that it is remembered as missing
        return error.message
    return None
