"""What a directory module is made of, and which of the records that it finds is the one.

**Add a directory:** write ``workers/directories/NAME.py`` with ``open_directory``; its keys of the
configuration are a model in it; add one line to ``DIRECTORIES``. Whether a record is the one that was asked for is
decided here, for all of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeVar

from redis import Redis

from lifecycle.config import own_options
from lifecycle.directory import Directory as Section
from lifecycle.errors import Held
from lifecycle.event import Profile
from lifecycle.fields import Section as OwnSection

NAMES = ("external_id", "user_name", "email")
"""What a person is looked for by, the strongest first."""
SET_UP = frozenset({"credentials", "scopes", "redirected"})
"""The reasons of errors that whoever set the directory up has to mend: until then it tells of nobody."""
COPIES_LAG = timedelta(minutes=5)
"""How old what a directory that lags shows may be. No vendor tells a bound; minutes were seen, and rarely."""


class Subject(NamedTuple):
    """Whom a source speaks of, by the names that it gave; at least one is known."""

    external_id: str | None = None
    user_name: str | None = None
    email: str | None = None


class Record(NamedTuple):
    """All that a directory says of one person."""

    profile: Profile
    works_here: bool
    as_of: datetime
    """When it was so for certain; later it may have changed without the directory knowing, or the copy that we saw."""


class Glance(NamedTuple):
    """How many people a short look shows."""

    working: int
    others: int
    is_all: bool
    """Whether that is everybody."""

    @classmethod
    def of(cls, records: Iterable[Record], *, is_all: bool) -> "Glance":
        """Count records."""
        found = Counter(record.works_here for record in records)
        return cls(found[True], found[False], is_all)


class Directory(Protocol):
    """A place to look people up in; it lives as long as the worker."""

    @property
    def needs(self) -> str:
        """What whoever set it up has to give for it to be read, and where."""

    @property
    def lags(self) -> bool:
        """Whether it answers from copies that may be ``COPIES_LAG`` old; its records hold as of so long ago."""

    def find(self, subject: Subject) -> Sequence[Record]:
        """Return the records that bear the strongest of the names that any bears; which is the one is decided later.

        Raises Postponed where the directory cannot be read now, Refused where a record says nothing to act on.
        """

    def list(self) -> Iterator[Record]:
        """Yield everybody. Raises as ``find`` does, for the first record that it could not give: a part is no list."""

    def glance(self) -> Glance:
        """Read as much of the directory as shows that it can be read. Raises as ``find`` does."""

    def notes(self) -> Sequence[str]:
        """Return what whoever set the directory up should know, though it works; names nobody. Raises Postponed."""


Own = TypeVar("Own", bound=OwnSection)


@dataclass(frozen=True)
class Opening:
    """What a directory is opened with."""

    name: str
    section: Section
    redis: Redis | None = None
    """Where bearers and limits are shared by the fleet; None where the section is only checked."""

    def options(self, model: type[Own]) -> Own:
        """Return the section's keys that are the adapter's own. Raises Misconfigured."""
        return own_options(f"directories.{self.name}", self.section, model)


class Adapter(Protocol):
    """The names that a directory module has."""

    @property
    def Options(self) -> type[OwnSection]:  # noqa: N802 - a class of the module
        """The model of the keys that only this directory has."""

    def open_directory(self, opening: Opening) -> Directory:
        """Return the directory, unread. Raises Misconfigured for a section that cannot be one."""


def normal(name: str, value: str) -> str:
    """Return a name as it is compared: an external id letter by letter, the others in lower case."""
    return value if name == NAMES[0] else value.lower()


def the_one(subject: Subject, found: Sequence[Record]) -> Record | None:
    """Return the record of whom was asked for; None where nobody bears any of the names.

    It may have been found by a weaker name than the strongest that was given; whose that is, is judged later.

    Raises Held where a guess could take one person for another: two records, or a name that is another id's by now.
    """
    for name in NAMES:
        hits = [each for each in found if _bears(each, name, getattr(subject, name))]
        if len(hits) > 1:
            raise Held(f"the directory has {len(hits)} records with this {name}", reason="several_records")
        if hits and subject.external_id and hits[0].profile.external_id not in {None, subject.external_id}:
            raise Held(f"the directory has this {name} under another external_id", reason="another_id")
        if hits:
            return hits[0]
    return None


def _bears(record: Record, name: str, value: str | None) -> bool:
    theirs = getattr(record.profile, name)
    return bool(value and theirs) and normal(name, str(theirs)) == normal(name, str(value))
