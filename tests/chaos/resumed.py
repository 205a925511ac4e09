"""How long whoever was worked on waited for somebody else, when the worker died. From the trace alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Resumed(NamedTuple):
    """One person whose worker died: in which lane, and how many seconds until somebody worked on it again."""

    person: str
    lane: str
    seconds: float


@dataclass
class Work:
    """What one process works on."""

    person: str
    lane: str


def resumed(trace: Iterable[list[str]], killed: Mapping[int, float]) -> list[Resumed]:
    """Return each person whose worker died before it settled, once somebody worked on it again."""
    works: dict[int, Work] = {}
    waiting: dict[str, tuple[float, str]] = {}
    found = []
    for line in _with_deaths(trace, killed):
        at, pid, word, rest = float(line[0]), int(line[1]), line[2], line[3:]
        if word == "popped":
            works[pid] = Work(rest[0], rest[1])
        elif word == "begun" and rest[0] in waiting:
            died_at, lane = waiting.pop(rest[0])
            found.append(Resumed(rest[0], lane, at - died_at))
        elif word in {"settled", "end"}:
            works.pop(pid, None)
        elif (word == "killed" or (word == "died" and rest[1] == "self")) and pid in works:
            work = works.pop(pid)
            waiting.setdefault(work.person, (at, work.lane))
    return found


def deaths_of(trace: Iterable[list[str]], killed: Mapping[int, float]) -> Counter[str]:
    """Return how often a process died that had popped a person and not ended with it yet."""
    works: dict[int, str] = {}
    found = Counter[str]()
    for line in _with_deaths(trace, killed):
        pid, word, rest = int(line[1]), line[2], line[3:]
        if word in {"popped", "begun"}:
            works[pid] = rest[0]
        elif word in {"settled", "end"}:
            works.pop(pid, None)
        elif (word == "killed" or (word == "died" and rest[1] == "self")) and pid in works:
            found[works.pop(pid)] += 1
    return found


def _with_deaths(trace: Iterable[list[str]], killed: Mapping[int, float]) -> list[list[str]]:
    lines = [*trace, *([f"{at:.4f}", str(pid), "killed"] for pid, at in killed.items())]
    return sorted(lines, key=lambda line: float(line[0]))
