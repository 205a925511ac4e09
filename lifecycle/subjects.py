"""Subject identifiers (RFC 9493) and complex subjects (SSF 1.0 section 3): whom a Security Event Token is about. Pure.

The formats have had other letters, and their member another name, before they were a standard.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lifecycle.errors import Unreadable

IDENTIFIERS_MAX = 100
PERSON = "user"
"""The member of a complex subject that is a person; the others are devices, sessions, tenants, groups."""
MEMBERS = frozenset({PERSON, "device", "session", "application", "tenant", "org_unit", "group"})
NOT_OF_PERSONS = frozenset({"jwt_id", "saml_assertion_id", "ip_addresses", "oauth_token"})

Subject = Mapping[str, Any]
Names = Mapping[str, str | None]
"""By fields of a profile what a subject is called."""


@dataclass(frozen=True)
class Reader:
    """Reads the subjects of one issuer's tokens."""

    issuers: frozenset[str]
    """Of whose ``sub`` it tells: the same id may be another person's at another issuer."""
    critical: frozenset[str] = frozenset()
    """Members of a complex subject without which an event must not be understood."""

    @classmethod
    def of(cls, issuers: Iterable[str], critical: Iterable[str] = ()) -> "Reader":
        """Return a reader for these issuers; whether they are written with a slash at the end does not count."""
        return cls(frozenset(each.rstrip("/") for each in issuers), frozenset(critical))

    def names(self, subject: Subject) -> Names | None:
        """Return what a person is called; None for a subject that is no person.

        Raises Unreadable for a format that is not known: it may be a person.
        """
        form = _form(subject)
        if form == "complex" or (not form and MEMBERS & subject.keys()):
            member = subject.get(PERSON)
            if not isinstance(member, dict) or subject.keys() & self.critical - {PERSON}:
                return None
            subject, form = member, _form(member)
        if form == "aliases":
            return self._aliases(subject.get("identifiers"))
        if form in NOT_OF_PERSONS:
            return None
        if form not in _FORMATS:
            raise Unreadable("the format of the subject is not one that we know", reason="person_unnamed")
        return _FORMATS[form](subject, self.issuers)

    def _aliases(self, identifiers: object) -> Names:
        """Return what all of them say, for they mean one person; the first of a kind counts."""
        names: Names = {}
        for each in identifiers[:IDENTIFIERS_MAX] if isinstance(identifiers, list) else ():
            form = _form(each) if isinstance(each, dict) else ""
            if form in _FORMATS:
                names = {
                    **{name: value for name, value in _FORMATS[form](each, self.issuers).items() if value},
                    **names,
                }
        return names


def _iss_sub(subject: Subject, issuers: frozenset[str]) -> Names:
    is_known = (_text(subject, "iss") or "").rstrip("/") in issuers
    return {"external_id": _text(subject, "sub") if is_known else None, "email": _text(subject, "email")}


def _account(subject: Subject, _issuers: frozenset[str]) -> Names:
    scheme, _, name = (_text(subject, "uri") or "").partition(":")
    return {"user_name": name if scheme == "acct" else None}


def _as(field: str, member: str) -> Callable[[Subject, frozenset[str]], Names]:
    return lambda subject, _issuers: {field: _text(subject, member)}


def _form(subject: Subject) -> str:
    return (_text(subject, "format") or _text(subject, "subject_type") or "").replace("-", "_")


def _text(subject: Subject, name: str) -> str | None:
    """Return one member as a text; an id may be a number."""
    found = subject.get(name)
    is_number = isinstance(found, int) and not isinstance(found, bool)
    return str(found) if isinstance(found, str) or is_number else None


_FORMATS: Mapping[str, Callable[[Subject, frozenset[str]], Names]] = {
    "email": _as("email", "email"),
    "iss_sub": _iss_sub,
    "id_token_claims": _iss_sub,
    "opaque": _as("external_id", "id"),
    "account": _account,
    "phone_number": _as("phone", "phone_number"),
    "phone": _as("phone", "phone_number"),
    # RFC 9967 section 2.1; the path is of a server that we do not know.
    "scim": _as("external_id", "externalId"),
}
