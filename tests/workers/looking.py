"""What looks are told with: a source that has a file of people as its directory, and jobs that run one by one."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from lifecycle import keys
from lifecycle.event import Event, Kind
from lifecycle.queue import CONVERGE, LEAVERS, LOOKUPS, PEOPLE, lanes
from lifecycle.settlement import Looked
from tests.conftest import MakeConfig
from tests.workers.conftest import SUBSCRIBER
from tests.workers.fake_scim import BASE_URL, FakeScim
from tests.workers.stories import BO, Stage, event
from workers.converge import converge
from workers.directories.base import COPIES_LAG, Directory, Glance, Record, Subject
from workers.directories.file import FileDirectory
from workers.look import look
from workers.outcome import World

JOINED = event(Kind.JOINER, "joined", **BO)
LOOK = event(Kind.CHANGED, "look", minute=5, external_id="E1042")
ACTIVE = {**BO, "status": "active"}
LEFT = {**BO, "status": "left"}


class StaffFile:
    """A file of people that tests write."""

    def __init__(self, path: Path) -> None:
        """Keep the path."""
        self.path = path

    def say(self, *rows: Mapping[str, Any], at: datetime | None = None) -> None:
        """Write the file, as a file beside it that is renamed."""
        beside = self.path.with_suffix(".new")
        beside.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        if at is not None:
            os.utime(beside, (at.timestamp(), at.timestamp()))
        beside.rename(self.path)


def make_stage(redis: Redis, config: MakeConfig, fake: FakeScim, hr: StaffFile, **section: str) -> Stage:
    """Make that stage; what is given is more of the target's section."""
    hris = {"adapter": "standard_webhooks", "secrets": ["env:HRIS_WHSEC"], "directory": "hr"}
    found = config(
        sources={"hris": hris, "okta": {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"]}},
        directories={"hr": {"adapter": "file", "path": str(hr.path)}},
        targets={"crm": {"adapter": "scim", "base_url": BASE_URL, "token": "env:CRM_SCIM_TOKEN", **section}},
        subscribers={"siem": SUBSCRIBER},
    )
    stage = Stage(redis, found, {"crm": httpx.MockTransport(fake)})
    with_directory(stage, FileDirectory(hr.path))
    return stage


def with_directory(stage: Stage, directory: Directory) -> None:
    """Look people up there."""
    stage.world = World(stage.config, stage.people, stage.world.places, {"hr": directory})


def jobs(stage: Stage, lane: str) -> list[str]:
    """Return whom the jobs of a lane are about."""
    return [str(job.args[0]) for job in lanes(stage.redis)[lane].get_jobs()]


def work(stage: Stage) -> list[str]:
    """Run every job that is offered until there is none; return the lanes in the order of the work."""
    done = []
    while found := [(lane, job) for lane in (LEAVERS, LOOKUPS, PEOPLE) for job in lanes(stage.redis)[lane].get_jobs()]:
        lane, job = found[0]
        lanes(stage.redis)[lane].remove(job)
        assert job.func_name == CONVERGE
        done.append(lane)
        run(stage, *job.args)
    return done


def run(stage: Stage, key: str, lane: str) -> None:
    """Run one job as ``workers.jobs`` does."""
    if lane == LOOKUPS:
        look(stage.world, key)
    else:
        converge(stage.world, key, lane)


def tell(stage: Stage, *events: Event) -> list[str]:
    """Hear events and run what is offered."""
    stage.hear(*events)
    return work(stage)


def steps(stage: Stage, event_id: str = "look") -> list[dict[str, Any]]:
    """Return the details of an event's look-ups."""
    return [step["detail"] for step in stage.found(event_id)["timeline"] if step["step"] == "find"]


def status(stage: Stage, key: str = "E1042") -> str | None:
    """Return a person's status."""
    found = stage.person(key).status
    return str(found.value) if found else None


def claim(kind: Kind, event_id: str = "look", minute: int = 5, **names: str) -> Event:
    """Make an event that only claims to be of this kind."""
    told = event(Kind.CHANGED, event_id, minute=minute, **(names or {"external_id": "E1042"}))
    return told.model_copy(update={"hint": kind})


def looked(stage: Stage, event_id: str = "look") -> Looked:
    """Return how often an event was looked up."""
    found: Any = stage.redis.hget(keys.event(f"hris:{event_id}"), "looked")
    return Looked.from_json(found)


def wait_out(stage: Stage, event_id: str = "look") -> None:
    """Make as if the moment of the event's next look had come."""
    at_once = looked(stage, event_id)._replace(retry_at=None)
    stage.redis.hset(keys.event(f"hris:{event_id}"), "looked", at_once.to_json())
    run(stage, "E1042", LOOKUPS)
    work(stage)


class Counted:
    """A directory that notes how often it is asked, and does something meanwhile."""

    needs = ""
    lags = False

    def __init__(self, inner: Directory, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Keep both."""
        self._inner, self._meanwhile = inner, meanwhile
        self.asked: list[Subject] = []

    def find(self, subject: Subject) -> Sequence[Record]:
        """Note it."""
        self.asked.append(subject)
        self._meanwhile()
        return self._inner.find(subject)

    def list(self) -> Iterator[Record]:
        """Yield everybody."""
        return self._inner.list()

    def glance(self) -> Glance:
        """Look into the other one."""
        return self._inner.glance()

    def notes(self) -> Sequence[str]:
        """Return what the other one says."""
        return self._inner.notes()


class Copies(Counted):
    """A directory that lags: what it shows holds as of a moment that a test moves on."""

    lags = True

    def __init__(self, inner: Directory) -> None:
        """Show what was so as long ago as a copy may be old."""
        super().__init__(inner)
        self.as_of = datetime.now(UTC) - COPIES_LAG

    def find(self, subject: Subject) -> Sequence[Record]:
        """Find them, as of that moment."""
        return [record._replace(as_of=self.as_of) for record in super().find(subject)]

    def catch_up(self) -> None:
        """Show what is so now, as ``COPIES_LAG`` later."""
        self.as_of = datetime.now(UTC)
