"""Whom a stream does not tell of: a receiver removes a subject from its stream, and may add it again.

Two simple subjects match if they are identical (SSF 1.0 section 8.1.3.1), addresses whatever the case of their letters.
A person has a name in each format, and whichever of them was removed, the person is. Of a ``scim`` one only
``externalId`` counts: ``id`` and ``uri`` are one target's own, and another's account may have the same.

https://www.rfc-editor.org/rfc/rfc9493 and, for ``scim``, https://www.rfc-editor.org/rfc/rfc9967
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from lifecycle.errors import Malformed
from lifecycle.signal import Told
from lifecycle.ssf.section import SubjectFormat
from lifecycle.ssf.subjects import Naming, by_address

MEMBER_CHARS_MAX = 500
MEMBERS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "email": (frozenset({"email"}), frozenset()),
    "iss_sub": (frozenset({"iss", "sub"}), frozenset()),
    "scim": (frozenset({"externalId"}), frozenset({"uri", "id"})),
    "opaque": (frozenset({"id"}), frozenset()),
}
"""By format what a subject must have, and what it may have besides."""
_BESIDES: Final[Mapping[str, str]] = {"scim": " (id and uri alone may be another person's, on another target)"}
_FORMATS: Final[tuple[SubjectFormat, ...]] = get_args(SubjectFormat)


@dataclass(frozen=True)
class Excluded:
    """The subjects that a stream does not tell of, as ``name`` writes them."""

    issuer: str
    audience: str
    names: frozenset[str]

    def covers(self, signal: Told) -> bool:
        """Tell whether a signal is about one of them."""
        return bool(self.names) and not self.names.isdisjoint(self._names(signal))

    def _names(self, signal: Told) -> Iterator[str]:
        for wanted in _FORMATS:
            yield from _names(Naming(self.issuer, self.audience, wanted).person(signal))
        # Whoever is called otherwise now is told of by the old name.
        for former in (signal.facts.get("old") or {}).values():
            if (subject := by_address(former)) is not None:
                yield from _names(subject)


def name(subject: Any) -> str:  # noqa: ANN401 - JSON
    """Return the one name under which a subject is kept. Raises Malformed for what is none, or of another format."""
    found = _simple(subject)
    kind, members = found.get("format"), {key: value for key, value in found.items() if key != "format"}
    if not isinstance(kind, str) or kind not in MEMBERS:
        raise Malformed(f"subject.format: allowed: {', '.join(MEMBERS)}", reason="subject_format")
    required, optional = MEMBERS[kind]
    wrong = sorted((required - members.keys()) | (members.keys() - required - optional))
    if wrong:
        allowed = f"{', '.join(sorted(required))}{_BESIDES.get(kind, '')}"
        raise Malformed(f"subject: {kind} has {allowed} and no other member", reason="subject_malformed")
    if not all(isinstance(value, str) and 0 < len(value) <= MEMBER_CHARS_MAX for value in members.values()):
        raise Malformed(
            f"subject: each member is a text of 1 to {MEMBER_CHARS_MAX} characters", reason="subject_malformed"
        )
    return next(_names(found))


def _simple(subject: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a simple subject; of a complex one its user, where that is all it names."""
    if not isinstance(subject, dict):
        raise Malformed("subject: a JSON object is required", reason="subject_malformed")
    if subject.get("format") != "complex":
        return subject
    user = subject.get("user")
    if subject.keys() != {"format", "user"} or not isinstance(user, dict):
        raise Malformed("subject: of a complex one only user is known here", reason="subject_format")
    return user


def _names(subject: Mapping[str, str]) -> Iterator[str]:
    """Yield the name of a subject, where it has one."""
    yield from _NAMES[subject["format"]](subject)


def _scim(subject: Mapping[str, str]) -> Iterator[str]:
    if "externalId" in subject:
        yield f"scim {subject['externalId']}"


_NAMES: Final[Mapping[str, Callable[[Mapping[str, str]], Iterator[str]]]] = {
    "email": lambda subject: iter([f"email {subject['email'].strip().lower()}"]),
    "iss_sub": lambda subject: iter([f"iss_sub {subject['iss']} {subject['sub']}"]),
    "scim": _scim,
    "opaque": lambda subject: iter([f"opaque {subject['id']}"]),
}
