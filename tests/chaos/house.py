"""The house under fire: Gatepost as processes that die at checkpoints and at random, between peers that misbehave."""

import random
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from redis import Redis

from lifecycle import keys
from lifecycle.event import OPEN_STATES
from lifecycle.outbox_standing import all_standing
from lifecycle.queue import QUEUES
from tests.chaos.doomed import FOLDER_VARIABLE, ORDERS, SERVICE, TRACE, WORKERS
from tests.chaos.staff import Staff
from tests.chaos.story import Notice
from tests.chaos.subscriber import Tool
from tests.chaos.target import Target
from tests.conftest import ADMIN_TOKEN, ENVIRONMENT, SUBSCRIBER_SECRET, free_port
from tests.flow.patience import eventually
from tests.flow.programs import Keeper, Program
from tests.notices import signed
from tests.redis_server import RedisServer

CONFIG = """\
[redis]
url = "{redis}"

[service]
admin_tokens = ["env:GATEPOST_ADMIN_TOKEN"]

[sources.hris]
adapter = "standard_webhooks"
secrets = ["env:HRIS_WHSEC"]
directory = "staff"

[directories.staff]
adapter = "file"
path = "staff.jsonl"

[targets.crm]
adapter = "scim"
base_url = "{target}"
token = "env:CRM_SCIM_TOKEN"
profile = {{ discovery = false, patch = true, filter = true, etag = false, bulk = false }}

[[policy.grants]]
when = "person.department == 'Support'"
groups = ["Support Agents"]

[[policy.grants]]
when = "person.department == 'Sales'"
groups = ["Sales Team"]

[subscribers.siem]
url = "http://127.0.0.1:{siem}/hooks/gatepost"
secrets = ["env:SIEM_WHSEC"]
allow_private = true

[subscribers.pager]
url = "http://127.0.0.1:{pager}/hooks/gatepost"
secrets = ["env:SIEM_WHSEC"]
events = ["person.suspended"]
allow_private = true
"""
PROGRAMS = {
    "service": "service",
    "leavers": "leavers",
    "leavers-2": "leavers",
    "lookups": "lookups",
    "people": "people",
    "people-2": "people",
    "signals": "signals",
}
REVIVE_SECONDS, RESEND_SECONDS = 0.05, 0.2
ORDER_SECONDS_MAX = 3.0
ACCEPTED_SECONDS_MAX = 60.0
QUIET_SECONDS_MAX = 240.0
# Of a hundred deaths.
SELF_AT_CHECKPOINT, REDIS_AT_CHECKPOINT, REDIS = 45, 10, 8
PAUSE_SECONDS_MAX = 0.4


class House:
    """All of it, from the notice to the signal."""

    def __init__(self, seed: int) -> None:
        """Start the peers and Redis; ``start`` starts Gatepost, ``close`` ends everything."""
        self._stack = ExitStack()
        # Not pytest's tmp_path: the address of a unix socket has 104 characters at most.
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gatepost-")))
        (self.folder / ORDERS).mkdir()
        self.redis_server = RedisServer(self.folder).start()
        self._stack.callback(self.redis_server.kill)
        self.redis = Redis.from_url(self.redis_server.url)
        self._stack.callback(self.redis.close)
        self.target = Target(seed)
        self._stack.callback(self.target.close)
        self.siem, self.pager = Tool(SUBSCRIBER_SECRET, seed), Tool(SUBSCRIBER_SECRET, seed + 1)
        self._stack.callback(self.siem.stop)
        self._stack.callback(self.pager.stop)
        self._port = free_port()
        self.receiver = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=20)
        self._stack.callback(self.receiver.close)
        self.config = self.folder / "gatepost.toml"
        text = CONFIG.format(
            redis=self.redis_server.url, target=self.target.base_url, siem=self.siem.port, pager=self.pager.port
        )
        self.config.write_text(text)
        self.staff = Staff(self.folder / "staff.jsonl")
        self.programs = {name: self._program(name, lane) for name, lane in PROGRAMS.items()}
        self._chance = random.Random(seed)  # noqa: S311 - the same deaths at every run of a seed
        self.deaths: Counter[str] = Counter()
        self.killed: dict[int, float] = {}
        """When a process was killed from outside, by its number."""
        self._done, self._reviving = threading.Event(), threading.Lock()

    def start(self) -> Self:
        """Start Gatepost; return when it receives and works."""
        keeper = Keeper(list(self.programs.values()))
        self._stack.callback(keeper.stop)
        for program in self.programs.values():
            program.start()
        keeper.start()
        reviver = threading.Thread(target=self._revive, daemon=True)
        reviver.start()
        self._stack.callback(reviver.join)
        self._stack.callback(self._done.set)
        eventually(self._is_ready)
        for name in PROGRAMS.keys() - {"service"}:
            self.programs[name].await_line("worker.started")
        return self

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    # ---- telling

    def insist(self, told: Notice) -> None:
        """Let it be so in the directory, and send as a source does: again, until somebody says 2xx."""
        if told.row is not None:
            self.staff.write(told.row)
        headers = signed(told.body, message_id=f"msg_{told.id}")

        def accepted() -> bool:
            try:
                return self.receiver.post("/hooks/hris", content=told.body, headers=headers).is_success
            except httpx.TransportError:
                return False

        eventually(accepted, within=ACCEPTED_SECONDS_MAX, every=RESEND_SECONDS)

    def retry(self, failure: str) -> None:
        """Ask for a retry as an operator does."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        self.receiver.post(f"/v1/failures/{failure}/retry", headers=headers).raise_for_status()

    # ---- killing

    def kill_one(self) -> None:
        """Kill something, somehow."""
        drawn = self._chance.randrange(100)
        if drawn < SELF_AT_CHECKPOINT:
            self._order("self")
        elif drawn < SELF_AT_CHECKPOINT + REDIS_AT_CHECKPOINT:
            with self._reviving:
                victim = str(self.redis_server.pid)
            self._order(victim)
        elif drawn < SELF_AT_CHECKPOINT + REDIS_AT_CHECKPOINT + REDIS:
            self.deaths["redis"] += 1
            with self._reviving:
                self.redis_server.die()
        else:
            self._kill_program()
        time.sleep(self._chance.uniform(0, PAUSE_SECONDS_MAX))

    def _order(self, victim: str) -> None:
        """Order a death at a checkpoint and wait until somebody obeys; one that nobody reaches is taken back."""
        name = self._chance.choice(sorted(SERVICE | WORKERS))
        order = self.folder / ORDERS / name.replace(" ", "-")
        order.write_text(victim)
        deadline = time.monotonic() + ORDER_SECONDS_MAX
        while order.exists() and time.monotonic() < deadline:
            time.sleep(REVIVE_SECONDS)
        try:
            order.unlink()
        except FileNotFoundError:
            self.deaths[f"{'redis' if victim != 'self' else 'self'} at {name}"] += 1

    def _kill_program(self) -> None:
        name = self._chance.choice(sorted(PROGRAMS))
        alone = self._chance.random() < 0.5
        killed_at = time.monotonic()
        self.killed[self.programs[name].die(alone=alone)] = killed_at
        self.deaths[name if alone else f"{name} with all it forked"] += 1

    @property
    def deaths_total(self) -> int:
        """How often something died."""
        return sum(self.deaths.values())

    # ---- the end

    def calm(self) -> None:
        """End all faults."""
        self.target.is_calm = self.siem.is_calm = self.pager.is_calm = True

    def await_quiet(self) -> None:
        """Return when nothing is left to do. Raises AssertionError when that does not come."""
        eventually(self._is_quiet, within=QUIET_SECONDS_MAX, every=RESEND_SECONDS)

    def left(self) -> dict[str, Any]:
        """Return how much is still to do, by what it is."""
        left: dict[str, Any] = {
            **{state.value: self.redis.zcard(keys.events(state)) for state in OPEN_STATES},
            **{lane: self.redis.llen(f"rq:queue:{lane}") for lane in QUEUES},
            "signals": self.redis.xlen(keys.OUTBOX),
            "deliveries": sum(found.waiting for _, found in all_standing(self.redis)),
            "leases": self.redis.zcard(keys.WORKING),
        }
        return {what: number for what, number in left.items() if number}

    def trace(self) -> list[list[str]]:
        """Return what the programs traced, by time."""
        lines = (self.folder / TRACE).read_text().splitlines()
        return sorted((line.split("\t") for line in lines), key=lambda line: float(line[0]))

    def _is_quiet(self) -> bool:
        return not self.left()

    def _is_ready(self) -> bool:
        try:
            return self.receiver.get("/health/ready").is_success
        except httpx.TransportError:
            return False

    def _program(self, name: str, lane: str) -> Program:
        arguments = ["service", "--port", str(self._port)] if name == "service" else ["workers", "--lane", lane]
        environment = {**ENVIRONMENT, "GATEPOST_CONFIG": str(self.config), FOLDER_VARIABLE: str(self.folder)}
        return Program(name, ["tests.chaos.doomed", *arguments], environment, self.folder)

    def _revive(self) -> None:
        while not self._done.wait(REVIVE_SECONDS):
            with self._reviving:
                self.redis_server.revive()
