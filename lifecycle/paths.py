"""SCIM attribute paths, the names that a mapping may manage (RFC 7644 section 3.10, value paths of section 3.5.2).

Carried are the four forms that a single value can have: ``title``, ``name.givenName``,
``emails[type eq "work"].value`` and ``urn:...:User:department`` (with a sub-attribute too:
``urn:...:User:manager.value``).
"""

import re
from dataclasses import dataclass

# externalId and active are always ours; the others are the server's (RFC 7643 sections 3.1 and 4.1.2).
NOT_MAPPED = frozenset({"id", "meta", "schemas", "externalid", "active", "groups", "password"})

CORE_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"

_PATH = re.compile(
    r"""(?:(?P<urn>urn:[A-Za-z0-9][A-Za-z0-9.:_-]*):)?
        (?P<name>[A-Za-z$][A-Za-z0-9_$-]*)
        (?:\[\s*(?P<key>[A-Za-z][A-Za-z0-9_-]*)\s+[eE][qQ]\s+"(?P<equals>[^"\\]*)"\s*\])?
        (?:\.(?P<sub>[A-Za-z$][A-Za-z0-9_$-]*))?""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Path:
    """One managed attribute, taken apart; ``text`` is how it is written in a request."""

    text: str
    urn: str | None
    name: str
    key: str | None
    equals: str | None
    sub: str | None


def parse_path(text: str) -> Path:
    """Take a path apart. Raises ValueError with a sentence when it is not one that a mapping may manage."""
    found = _PATH.fullmatch(text)
    if not found:
        msg = 'not a SCIM attribute path such as title, name.givenName or emails[type eq "work"].value'
        raise ValueError(msg)
    path = Path(text, **found.groupdict())
    if path.urn == CORE_SCHEMA:
        # A core attribute needs no prefix (RFC 7644 section 3.10) and is not nested under one.
        path = parse_path(text.removeprefix(f"{CORE_SCHEMA}:"))
    if path.urn is None and path.name.lower() in NOT_MAPPED:
        msg = f"{path.name} is not for a mapping: externalId and active are always ours, the rest is the server's"
        raise ValueError(msg)
    if path.key and not path.sub:
        msg = 'a value path names the value it manages, as in emails[type eq "work"].value'
        raise ValueError(msg)
    return path
