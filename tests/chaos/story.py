"""The load: stories of persons with a known right answer, told in any order, some of it twice. All of it by a seed."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

from tests.chaos.staff import Row
from tests.flow.stage import GROUPS

START = datetime.now(UTC) - timedelta(days=1)
DEPARTMENTS = (*GROUPS, "Finance")
OPEN_AT_ONCE = 40
TOLD_TWICE, TOLD_THINLY, TOLD_AHEAD = 0.15, 0.25, 0.3
DELAY_SECONDS_MAX = 4.0
MOVES_HOUSE = 0.3
KINDS = {"joins": "person.joined", "moves": "person.moved", "leaves": "person.left"}
STORIES = (
    ("joins", "moves", "leaves"),
    ("joins", "moves", "moves", "leaves", "joins"),
    ("joins", "leaves", "joins", "moves", "leaves"),
    ("joins", "moves", "moves"),
    ("joins", "leaves"),
)


class Chapter(NamedTuple):
    """One event of a story: its place in the source's time, and what it says.

    ``delay`` is how many seconds after it is told a leaver takes effect.
    """

    version: int
    kind: str
    title: str | None
    department: str | None
    delay: float | None = None


class Notice(NamedTuple):
    """One event as a source tells it, and for a thin one how the person stands in the directory by then."""

    id: str
    body: bytes
    row: Row | None = None


@dataclass(frozen=True)
class Person:
    """One person's story; ``title`` bears the version, so that a write shows from when it is."""

    key: str
    chapters: Sequence[Chapter]
    is_thin: bool = False
    """Whether the source only says that something changed."""

    @property
    def email(self) -> str:
        """The address, which is the name on the target."""
        return f"{self.key.lower()}@acme.example"

    @property
    def works_here(self) -> bool:
        """Whether the person works here in the end."""
        return self.statuses[-1]

    @property
    def statuses(self) -> list[bool]:
        """Whether the person works here after each joiner and leaver, in the source's time."""
        return [chapter.kind == "joins" for chapter in self.chapters if chapter.kind != "moves"]

    @property
    def title(self) -> str | None:
        """The title in the end."""
        return next(chapter.title for chapter in reversed(self.chapters) if chapter.title)

    @property
    def group(self) -> str | None:
        """The group in the end, of whoever works here."""
        department = next(chapter.department for chapter in reversed(self.chapters) if chapter.department)
        return GROUPS.get(department) if self.works_here else None

    def told(self, chapter: Chapter) -> Notice:
        """Tell of one event as the HR system does."""
        moment = START + timedelta(minutes=chapter.version)
        event_id = f"{self.key}-{chapter.version}"
        data: dict[str, Any] = {"id": event_id, "person": {"external_id": self.key} | self._said(chapter)}
        if self.is_thin:
            data["person"] = {"external_id": self.key}
        elif chapter.delay is not None:
            data["effective_at"] = (datetime.now(UTC) + timedelta(seconds=chapter.delay)).isoformat()
        kind = "person.changed" if self.is_thin else KINDS[chapter.kind]
        body = json.dumps({"type": kind, "timestamp": moment.isoformat(), "data": data}).encode()
        return Notice(event_id, body, self._row(chapter) if self.is_thin else None)

    def _said(self, chapter: Chapter) -> dict[str, str]:
        named = {"email": self.email, "display_name": f"Bo {self.key}"} if chapter.kind == "joins" else {}
        said = {"title": chapter.title, "department": chapter.department}
        return named | {name: value for name, value in said.items() if value}

    def _row(self, chapter: Chapter) -> Row:
        """Return how the person stands after a chapter: all that was said until then."""
        fields: dict[str, Any] = {"external_id": self.key}
        for each in self.chapters[: chapter.version]:
            fields |= self._said(each)
            if each.kind != "moves":
                fields["status"] = "active" if each.kind == "joins" else "left"
        return Row(chapter.version, fields)


@dataclass
class Load:
    """A stream of notices of persons whose stories overlap; ``persons`` are all of whom something was told."""

    seed: int
    persons: dict[str, Person] = field(default_factory=dict)

    def stream(self, enough: Callable[[], bool]) -> Iterator[Notice]:
        """Begin stories until there is enough, each event in any order among the others, and end those that began."""
        chance = random.Random(self.seed)  # noqa: S311 - the same load at every run of a seed
        waiting: list[tuple[Person, Chapter]] = []
        for number in count():
            if enough():
                break
            person = _person(f"C{self.seed}-{number}", chance)
            self.persons[person.key] = person
            for chapter in person.chapters:
                waiting += [(person, chapter)] * (1 + (chance.random() < TOLD_TWICE))
            while len(waiting) > OPEN_AT_ONCE:
                person, chapter = waiting.pop(chance.randrange(len(waiting)))
                yield person.told(chapter)
        chance.shuffle(waiting)
        yield from (person.told(chapter) for person, chapter in waiting)


def _person(key: str, chance: random.Random) -> Person:
    chapters = []
    for version, kind in enumerate(chance.choice(STORIES), 1):
        if kind == "leaves":
            delay = chance.uniform(0, DELAY_SECONDS_MAX) if chance.random() < TOLD_AHEAD else None
            chapters.append(Chapter(version, kind, None, None, delay))
        else:
            department = chance.choice(DEPARTMENTS) if kind == "joins" or chance.random() < MOVES_HOUSE else None
            chapters.append(Chapter(version, kind, f"v{version}", department))
    return Person(key, chapters, is_thin=chance.random() < TOLD_THINLY)
