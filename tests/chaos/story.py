"""The load: stories of persons with a known right answer, told in any order, some of it twice. All of it by a seed."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

from tests.flow.stage import GROUPS, Told

START = datetime.now(UTC) - timedelta(days=1)
DEPARTMENTS = (*GROUPS, "Finance")
OPEN_AT_ONCE = 40
TOLD_TWICE = 0.15
STORIES = (
    ("joins", "moves", "leaves"),
    ("joins", "moves", "moves", "leaves", "joins"),
    ("joins", "leaves", "joins", "moves", "leaves"),
    ("joins", "moves", "moves"),
    ("joins", "leaves"),
)


class Chapter(NamedTuple):
    """One event of a story: its place in the source's time, and what it says."""

    version: int
    kind: str
    title: str | None
    department: str | None


@dataclass(frozen=True)
class Person:
    """One person's story; ``title`` bears the version, so that a write shows from when it is."""

    key: str
    chapters: Sequence[Chapter]

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

    def told(self, chapter: Chapter) -> Told:
        """Tell of one event as the HR system does."""
        said = {"title": chapter.title, "department": chapter.department}
        if chapter.kind == "joins":
            said |= {"email": self.email, "display_name": f"Bo {self.key}"}
        person = {"external_id": self.key} | {name: value for name, value in said.items() if value}
        event_id = f"{self.key}-{chapter.version}"
        body = {
            "type": {"joins": "person.joined", "moves": "person.moved", "leaves": "person.left"}[chapter.kind],
            "timestamp": (START + timedelta(minutes=chapter.version)).isoformat(),
            "data": {"id": event_id, "person": person},
        }
        return Told("hris", event_id, json.dumps(body).encode())


@dataclass
class Load:
    """A stream of notices of persons whose stories overlap; ``persons`` are all of whom something was told."""

    seed: int
    persons: dict[str, Person] = field(default_factory=dict)

    def stream(self, enough: Callable[[], bool]) -> Iterator[Told]:
        """Begin stories until there is enough, each event in any order among the others, and end those that began."""
        chance = random.Random(self.seed)  # noqa: S311 - the same load at every run of a seed
        waiting: list[Told] = []
        for number in count():
            if enough():
                break
            person = _person(f"C{self.seed}-{number}", chance)
            self.persons[person.key] = person
            for chapter in person.chapters:
                waiting += [person.told(chapter)] * (1 + (chance.random() < TOLD_TWICE))
            while len(waiting) > OPEN_AT_ONCE:
                yield waiting.pop(chance.randrange(len(waiting)))
        chance.shuffle(waiting)
        yield from waiting


def _person(key: str, chance: random.Random) -> Person:
    chapters = []
    for version, kind in enumerate(chance.choice(STORIES), 1):
        title = None if kind == "leaves" else f"v{version}"
        department = chance.choice(DEPARTMENTS) if kind == "joins" or chance.random() < 0.3 else None
        chapters.append(Chapter(version, kind, title, None if kind == "leaves" else department))
    return Person(key, chapters)
