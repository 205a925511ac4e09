"""How Security Events name a person: the Subject Identifiers of RFC 9493, and ``scim`` of RFC 9967.

An identifier has the members of its format and no other. Where a person has not what the wanted format needs, the next
of FALLBACKS names the person; an opaque one there always is.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from lifecycle.signal import Told
from lifecycle.ssf.section import SubjectFormat

Subject = dict[str, str]

FALLBACKS: Final[Mapping[SubjectFormat, tuple[SubjectFormat, ...]]] = {
    "email": ("email", "iss_sub", "scim", "opaque"),
    "iss_sub": ("iss_sub", "email", "scim", "opaque"),
    "scim": ("scim", "iss_sub", "email", "opaque"),
    "opaque": ("opaque",),
}
PATH_SAFE: Final = "@:~"
_ADDRESS: Final = re.compile(r"[^\s@]+@[^\s@]+")


@dataclass(frozen=True)
class Naming:
    """For whom the persons are named: whose names they are, and who is to understand them."""

    issuer: str
    audience: str
    wanted: SubjectFormat

    def person(self, signal: Told) -> Subject:
        """Return the identifier of the person whom a signal is about."""
        found = (_FORMATS[each](self, signal) for each in FALLBACKS[self.wanted])
        return next(each for each in found if each is not None)


def account(signal: Told) -> Subject | None:
    """Return the account by its path and id as RFC 9967 section 2.1 has it; None where it is not known."""
    data = signal.data
    account_id = (data.get("account") or {}).get("id")
    if not account_id:
        return None
    external_id = _known(signal, "external_id")
    named = {"externalId": external_id} if external_id else {}
    path = quote(str(account_id), safe=PATH_SAFE)
    return {"format": "scim", "uri": f"/Users/{path}", **named, "id": str(account_id)}


def by_address(found: Any) -> Subject | None:  # noqa: ANN401 - facts are JSON
    """Return the identifier that is an e-mail address; None for what is none."""
    return {"format": "email", "email": found} if isinstance(found, str) and _ADDRESS.fullmatch(found) else None


def opaque(name: str) -> Subject:
    """Return the identifier that is whatever both sides call it."""
    return {"format": "opaque", "id": name}


def _email(_naming: Naming, signal: Told) -> Subject | None:
    return by_address(signal.facts.get("email")) or by_address(_known(signal, "user_name"))


def _iss_sub(naming: Naming, signal: Told) -> Subject | None:
    external_id = _known(signal, "external_id")
    return {"format": "iss_sub", "iss": naming.issuer, "sub": external_id} if external_id else None


def _scim(_naming: Naming, signal: Told) -> Subject | None:
    return account(signal)


def _opaque(naming: Naming, signal: Told) -> Subject:
    """Return what two receivers cannot compare, and each can make itself of what it knows: SHA-256 in hexadecimal."""
    known = (naming.issuer, naming.audience, _known(signal, "external_id") or signal.person)
    return opaque(hashlib.sha256("\n".join(known).encode()).hexdigest())


_FORMATS: Final[Mapping[SubjectFormat, Callable[[Naming, Told], Subject | None]]] = {
    "email": _email,
    "iss_sub": _iss_sub,
    "scim": _scim,
    "opaque": _opaque,
}


def _known(signal: Told, field: str) -> str | None:
    found = (signal.data.get("person") or {}).get(field)
    return str(found) if found else None
