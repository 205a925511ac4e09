"""The stage: Gatepost as it runs in production, between real peers, and the words to tell it stories."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import httpx

from lifecycle.queue import LANES
from tests.conftest import ADMIN_TOKEN, ENVIRONMENT, ROOT, SUBSCRIBER_SECRET, free_port
from tests.flow.patience import eventually
from tests.flow.programs import Keeper, Program
from tests.flow.proxy import Proxy, Sent
from tests.flow.security_tool import Delivery, SecurityTool
from tests.notices import SECRETS, signed
from tests.redis_server import RedisServer, place

GROUPS = {"Support": "Support Agents", "Sales": "Sales Team"}
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
SCIM_TOKEN = ENVIRONMENT["CRM_SCIM_TOKEN"]
START = datetime.now(UTC) - timedelta(hours=1)
OPEN = frozenset({"kept", "scheduled", "postponed"})
COMMAND_SECONDS_MAX = 60
SENDERS = 16
PAGE = 500

CONFIG = """\
[redis]
url = "{redis}"

[service]
admin_tokens = ["env:GATEPOST_ADMIN_TOKEN"]

[sources.okta]
adapter = "okta"
secrets = ["env:OKTA_HOOK_SECRET"]

[sources.hris]
adapter = "standard_webhooks"
secrets = ["env:HRIS_WHSEC"]

[sources.payroll]
adapter = "standard_webhooks"
secrets = ["env:HRIS_WHSEC"]
directory = "people"

[directories.people]
adapter = "file"
path = "people.csv"

[targets.crm]
adapter = "scim"
base_url = "http://127.0.0.1:{proxy}/v2"
token = "env:CRM_SCIM_TOKEN"

[[policy.grants]]
when = "person.department == 'Support'"
groups = ["Support Agents"]

[[policy.grants]]
when = "person.department == 'Sales'"
groups = ["Sales Team"]

[subscribers.siem]
url = "http://127.0.0.1:{tool}/hooks/gatepost"
secrets = ["env:SIEM_WHSEC"]
allow_private = true
"""


class Told(NamedTuple):
    """One event as a source tells it."""

    source: str
    id: str
    body: bytes

    @property
    def ref(self) -> str:
        """The event's name over all sources."""
        return f"{self.source}:{self.id}"


class Somebody:
    """A person whom only one test knows; moments are seconds after ``START``."""

    def __init__(self) -> None:
        """Invent the person."""
        self.key = f"E{uuid4().hex[:12]}"
        self.email = f"{self.key.lower()}@acme.example"
        self.name = f"Bo {self.key}"

    def joins(self, at: float = 0, event: str = "joined", **more: str | None) -> Told:
        """Tell of a joiner."""
        return self._told("person.joined", event, at, {"email": self.email, "display_name": self.name, **more})

    def moves(self, at: float = 60, event: str = "moved", **changed: str | None) -> Told:
        """Tell of a mover, with what changed only."""
        return self._told("person.moved", event, at, changed)

    def leaves(self, at: float = 120, event: str = "left", **more: str) -> Told:
        """Tell of a leaver; ``effective_at`` is when it shall take effect."""
        return self._told("person.left", event, at, {}, **more)

    def changes(self, event: str = "changed") -> Told:
        """Tell that something changed, by the source that has a directory, and nothing else."""
        event_id = f"{self.key}-{event}"
        data = {"id": event_id, "person": {"external_id": self.key}}
        notice = {"type": "person.changed", "timestamp": START.isoformat(), "data": data}
        return Told("payroll", event_id, json.dumps(notice).encode())

    def _told(self, kind: str, event: str, at: float, person: dict[str, str | None], **more: str) -> Told:
        event_id = f"{self.key}-{event}"
        data = {"id": event_id, "person": {"external_id": self.key} | person, **more}
        moment = START + timedelta(seconds=at)
        return Told(
            "hris", event_id, json.dumps({"type": kind, "timestamp": moment.isoformat(), "data": data}).encode()
        )


class Stage:
    """Everything real, over loopback; the target is asked past Gatepost, by a plain client."""

    def __init__(self) -> None:
        """Start all of it; ``close`` ends it."""
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(place()))
        self.redis_server = RedisServer(self.folder).start()
        self._stack.callback(self.redis_server.kill)
        self._target_port, self._receiver_port = free_port(), free_port()
        self.receiver = httpx.Client(base_url=f"http://127.0.0.1:{self._receiver_port}", timeout=20)
        self.target = httpx.Client(
            base_url=f"http://127.0.0.1:{self._target_port}/v2", headers={"authorization": f"Bearer {SCIM_TOKEN}"}
        )
        self._stack.callback(self.receiver.close)
        self._stack.callback(self.target.close)
        self.tool = SecurityTool(SUBSCRIBER_SECRET)
        self._stack.callback(self.tool.stop)
        self.proxy = Proxy(self._target_port)
        self.proxy.start()
        self._stack.callback(self.proxy.close)
        self.config = self.folder / "gatepost.toml"
        self.config.write_text(CONFIG.format(redis=self.redis_server.url, proxy=self.proxy.port, tool=self.tool.port))

    @property
    def environment(self) -> dict[str, str]:
        """What the programs find in their environment."""
        return {**ENVIRONMENT, "GATEPOST_CONFIG": str(self.config)}

    def start(self) -> Self:
        """Start the target, then Gatepost; return when all of it answers."""
        port = str(self._target_port)
        target = self._program("target", "scim2_server.testserver.cli", "--port", port, "--bearer-token", SCIM_TOKEN)
        target.start()
        self._stack.callback(target.stop)
        self.service = self._program("service", "service", "--port", str(self._receiver_port))
        names = {lane: lane for lane in LANES} | {"people-2": "people"}
        self.workers = {name: self._program(name, "workers", "--lane", lane) for name, lane in names.items()}
        eventually(lambda: _answers(self.target, "/ServiceProviderConfig"))
        for name in GROUPS.values():
            self.target.post("/Groups", json={"schemas": [GROUP_SCHEMA], "displayName": name}).raise_for_status()
        keeper = Keeper([self.service, *self.workers.values()])
        self._stack.callback(keeper.stop)
        for program in (self.service, *self.workers.values()):
            program.start()
        keeper.start()
        self.await_ready()
        return self

    def await_ready(self) -> None:
        """Return when the receiver is ready and every worker works."""
        eventually(lambda: _answers(self.receiver, "/health/ready"))
        for worker in self.workers.values():
            worker.await_line("worker.started")

    def heal(self) -> None:
        """Undo what a test did to the network, to Redis and to the subscriber."""
        self.proxy.heal()
        self.tool.start()
        self.redis_server.start()

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def write_directory(self, status: str, *persons: Somebody) -> None:
        """Write the directory of ``payroll``, beside it and then renamed: who is in it, all with one status."""
        rows = "".join(f"{person.key},{person.email},{person.name},{status}\n" for person in persons)
        beside = self.folder / "people.new"
        beside.write_text(f"external_id,email,display_name,status\n{rows}")
        beside.rename(self.folder / "people.csv")

    # ---- telling

    def tell(self, told: Told, *, secret: str = SECRETS["standard_webhooks"]) -> httpx.Response:
        """Send one event, signed as its source signs."""
        okta = {"authorization": SECRETS["okta"], "content-type": "application/json"}
        headers = okta if told.source == "okta" else signed(told.body, message_id=f"msg_{uuid4().hex}", secret=secret)
        return self.receiver.post(f"/hooks/{told.source}", content=told.body, headers=headers)

    def tell_at_once(self, every: Iterable[Told]) -> list[httpx.Response]:
        """Send events by many senders at the same time; answers in the order of the events."""
        with ThreadPoolExecutor(SENDERS) as pool:
            return list(pool.map(self.tell, every))

    def settled(self, told: Told, *, within: float = 30.0) -> dict[str, Any]:
        """Return an event as the operators' API shows it once it is settled."""

        def ask() -> dict[str, Any] | None:
            found = self.ask(f"/v1/events/{told.ref}")
            return None if found["state"] in OPEN else found

        found = eventually(ask, within=within)
        assert found is not None
        return found

    def state(self, told: Told) -> str:
        """Tell it, and return the state in which it settles."""
        self.tell(told).raise_for_status()
        return str(self.settled(told)["state"])

    # ---- asking

    @cached_property
    def _admin(self) -> dict[str, str]:
        return {"authorization": f"Bearer {ADMIN_TOKEN}"}

    def ask(self, path: str) -> dict[str, Any]:
        """Ask the operators' API."""
        found: dict[str, Any] = self.receiver.get(path, headers=self._admin).raise_for_status().json()
        return found

    def failures(self, told: Told) -> list[dict[str, Any]]:
        """Return what the operators' API lists under failures of one event."""
        items: list[dict[str, Any]] = self.ask("/v1/failures?limit=500")["items"]
        return [item for item in items if item["id"] == f"event:{told.ref}"]

    def gatepost(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command as an operator does."""
        return subprocess.run(  # noqa: S603 - our own
            [sys.executable, "-m", "gatepost", *arguments],
            env={
                **os.environ,
                **self.environment,
                "PYTHONPATH": str(ROOT),
                "GATEPOST_URL": str(self.receiver.base_url),
            },
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    # ---- the target, past Gatepost

    def accounts(self, person: Somebody) -> list[dict[str, Any]]:
        """Return the accounts that carry the person's externalId or userName."""
        wanted = f'externalId eq "{person.key}" or userName eq "{person.email}"'
        found: list[dict[str, Any]] = self.target.get("/Users", params={"filter": wanted}).json().get("Resources", [])
        return found

    def account(self, person: Somebody) -> dict[str, Any]:
        """Return the person's one account."""
        (found,) = self.accounts(person)
        return found

    def create(self, user_name: str, **more: object) -> dict[str, Any]:
        """Create an account at the target, as somebody else than Gatepost."""
        body = {"schemas": [USER_SCHEMA], "userName": user_name, "active": True, **more}
        found: dict[str, Any] = self.target.post("/Users", json=body).raise_for_status().json()
        return found

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return every resource of a kind by its id."""
        found: dict[str, dict[str, Any]] = {}
        while True:
            page = self.target.get(f"/{kind}", params={"startIndex": len(found) + 1, "count": PAGE}).json()
            found |= {resource["id"]: resource for resource in page.get("Resources", [])}
            if len(found) >= page["totalResults"]:
                return found

    def groups_of(self, account_id: str) -> set[str]:
        """Return the display names of the groups that have the account as a member."""
        return {
            str(group["displayName"])
            for group in self.resources("Groups").values()
            if any(member["value"] == account_id for member in group.get("members", []))
        }

    def requests(self, person: Somebody) -> list[Sent]:
        """Return every request that was about the person, oldest first."""
        return self.proxy.about(person.key, person.email, *(account["id"] for account in self.accounts(person)))

    # ---- the subscriber

    def signals(self, person: Somebody, number: int) -> list[Delivery]:
        """Return what the subscriber was told of a person once it was told so often."""
        return eventually(lambda: found if len(found := self.tool.about(person.key)) >= number else [])

    def _program(self, name: str, *arguments: str) -> Program:
        return Program(name, list(arguments), self.environment, self.folder)


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False
