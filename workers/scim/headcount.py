"""Who is in a group that shows nobody when it is read, before a PUT puts out whoever was not told of.

RFC 7643 section 2.5 leaves an empty list out, section 7 lets a server show an attribute to who asks for it only, and
some never show members at all. So such a group is empty only where the target's own answers prove it.
"""

from collections.abc import Callable
from urllib.parse import quote

from lifecycle.errors import Refused
from workers.resource import Resource, attribute
from workers.scim.answers import parse
from workers.scim.client import BAD_REQUEST, NOT_FOUND, NOT_IMPLEMENTED, OK, Client, Conversation
from workers.scim.moves import Members, members_in

GROUPS = "Groups"
FORBIDDEN = 403
# How a target says that it is not asked so.
UNKNOWN = {BAD_REQUEST, FORBIDDEN, NOT_FOUND, NOT_IMPLEMENTED}

Look = Callable[[Client, Conversation, Resource, str], Members | None]


def hidden_members(client: Client, talk: Conversation, group: Resource, group_id: str) -> Members:
    """Return the members of a group that was read and showed none. Raises Refused where nothing tells who they are."""
    for look in LOOKS:
        found = look(client, talk, group, group_id)
        if found is not None:
            return found
    raise Refused(
        "the target does not show whether anybody is in this group, so that a PUT could put them all out: put somebody"
        " into it there by hand, or into any group if the target shows members at all",
        reason="group_members_hidden",
    )


def _asked_by_name(client: Client, talk: Conversation, group: Resource, group_id: str) -> Members | None:
    """Ask for the members alone (RFC 7644 section 3.9).

    An answer without the name, which comes with every other, is one to just this question: no members are nobody.
    """
    path = f"/{GROUPS}/{quote(group_id, safe='')}?attributes=members"
    answer = client.send(talk, "GET", path, allow={OK} | UNKNOWN)
    found = parse(answer) if answer.status == OK else {}
    understood = str(attribute(found, "id")) == group_id and not attribute(found, "displayName")
    nobody: Members | None = [] if understood and attribute(group, "displayName") else None
    return nobody if (told := members_in(found)) is None else told


def _among_all(client: Client, talk: Conversation, _: Resource, group_id: str) -> Members | None:
    """List all groups: where others show their members, one that shows none has none."""
    try:
        groups = client.everyone(talk, GROUPS, attributes=("members",))
    except Refused:
        return None
    own = next((each for each in groups if str(attribute(each, "id")) == group_id), None)
    if own is None or (told := members_in(own)) is not None:
        return None if own is None else told
    return [] if any(members_in(each) for each in groups) else None


LOOKS: tuple[Look, ...] = (_asked_by_name, _among_all)
