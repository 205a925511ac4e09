"""``python -m bench.requests``: what each kind of event costs a conforming target, counted on real programs.

scim2-server, which is not ours, and the sandbox Genesys; one worker process a lane, group ids warm. A number that is
above its budget is a regression of everybody's rate limit: exit 1.
"""

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from redis import Redis

from bench.machine import Broken, Store, free_port, python, running
from lifecycle import keys
from lifecycle.event import OPEN_STATES, Event, Kind, Profile
from lifecycle.queue import LEAVERS, PEOPLE, PUT, JobWriter, put_arguments
from lifecycle.records import Records

GROUPS = ("Support Agents", "Sales Team")
GROUP_URN = "urn:ietf:params:scim:schemas:core:2.0:Group"
CRM, GENESYS = "scim2-server", "sandbox Genesys"
TOKEN, CLIENT, SECRET = "bench-token", "bench-client", "bench-secret"
LOOK_SECONDS, WAIT_SECONDS_MAX = 0.02, 60.0
REFERENCE = "from scim2_server.testserver.cli import main; main()"

CONFIG = """
[redis]
url = "{redis}"

[targets.crm]
adapter = "scim"
base_url = "http://127.0.0.1:{crm}/v2"
token = "env:BENCH_TOKEN"

[targets.genesys]
adapter = "genesys_cloud"
base_url = "http://127.0.0.1:{genesys}/api/v2/scim/v2"
token_url = "http://127.0.0.1:{genesys}/login/oauth/token"
client_id = "env:BENCH_CLIENT"
client_secret = "env:BENCH_SECRET"

[[policy.grants]]
when = "person.department == 'Support'"
groups = ["Support Agents"]

[[policy.grants]]
when = "person.department == 'Sales'"
groups = ["Sales Team"]
"""
TARGETS = {"crm": CRM, "genesys": GENESYS}


class Step(NamedTuple):
    """What happens next to a person, and how many requests it may cost each target."""

    name: str
    person: str
    kind: Kind
    says: Mapping[str, str]
    crm: int
    genesys: int
    again: bool = False
    """Whether it is the event before it once more, under the same id."""


STORY = (
    Step("joiner", "E1", Kind.JOINER, {"title": "Engineer"}, 2, 2),
    Step("mover", "E1", Kind.MOVER, {"title": "Lead"}, 2, 2),
    Step("same event again", "E1", Kind.MOVER, {"title": "Lead"}, 0, 0, again=True),
    Step("nothing new", "E1", Kind.MOVER, {"title": "Lead"}, 1, 1),
    Step("leaver", "E1", Kind.LEAVER, {}, 3, 4),  # of Genesys Cloud the tokens too
    Step("joiner with a group", "E2", Kind.JOINER, {"department": "Support"}, 3, 3),
    Step("mover to another group", "E2", Kind.MOVER, {"department": "Sales"}, 4, 4),
    Step("leaver with a group", "E2", Kind.LEAVER, {}, 4, 5),
)
START = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Counted(NamedTuple):
    """What a step cost, by target, and the budget."""

    step: Step
    requests: Mapping[str, int]

    @property
    def over(self) -> bool:
        """Whether it cost more than it may."""
        return self.requests["crm"] > self.step.crm or self.requests["genesys"] > self.step.genesys


def main() -> None:
    """Count and print one table."""
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-") as place:
        found = count(Path(place))
    for line in lines(found):
        print(line)
    sys.exit(any(counted.over for counted in found))


def lines(found: Iterable[Counted]) -> Iterator[str]:
    """Return the table as it is printed."""
    yield f"{'g  Requests an event, group ids warm':<40}{CRM:>14}{'budget':>8}{GENESYS:>17}{'budget':>8}"
    for counted in found:
        step, requests = counted.step, counted.requests
        numbers = f"{requests['crm']:>14}{step.crm:>8}{requests['genesys']:>17}{step.genesys:>8}"
        yield f"   {step.name:<37}{numbers}{'   OVER' * counted.over}"


def count(folder: Path) -> list[Counted]:
    """Let the story happen and return what each step of it cost."""
    with _programs(folder) as redis:
        return [_count(redis, step, number) for number, step in enumerate(STORY)]


def _count(redis: Redis, step: Step, number: int) -> Counted:
    event = _event(step, number - step.again)
    before = _requests(redis, event) if step.again else dict.fromkeys(TARGETS, 0)
    redis.eval(PUT, 0, *put_arguments([event], JobWriter()))
    _await(lambda: not any(redis.zcard(keys.events(state)) for state in OPEN_STATES), "the workers did not settle it")
    after = _requests(redis, event)
    return Counted(step, {name: after[name] - before[name] for name in TARGETS})


def _event(step: Step, number: int) -> Event:
    email = f"{step.person.lower()}@acme.example"
    names = {"external_id": step.person, "email": email, "display_name": f"Bo {step.person}"}
    said = names if step.kind is Kind.JOINER else {"external_id": step.person}
    return Event(
        id=f"event-{number}",
        source="bench",
        kind=step.kind,
        person=step.person,
        profile=Profile.model_validate({**said, **step.says}),
        occurred_at=START + timedelta(minutes=number),
        received_at=datetime.now(UTC),
        vendor_kind=f"person.{step.kind}",
    )


def _requests(redis: Redis, event: Event) -> dict[str, int]:
    found = Records(redis).event(event.ref, [event.source])
    return {each["target"]: int(each["requests"]) for each in found["deliveries"]}


# ---- the programs


@contextmanager
def _programs(folder: Path) -> Iterator[Redis]:
    crm, genesys = free_port(), free_port()
    secret = folder / "genesys.secret"
    secret.write_text(SECRET)
    sandbox = ["--client-id", CLIENT, "--client-secret-file", str(secret), "--port", str(genesys)]
    reference = [sys.executable, "-c", REFERENCE, "--bearer-token", TOKEN, "--port", str(crm)]
    environment = {"BENCH_TOKEN": TOKEN, "BENCH_CLIENT": CLIENT, "BENCH_SECRET": SECRET}
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder))
        stack.enter_context(running(reference, folder / "crm.log", crm))
        stack.enter_context(running(python("gatepost.sandbox", *sandbox), folder / "genesys.log", genesys))
        _make_groups(crm, genesys)
        config = folder / "gatepost.toml"
        config.write_text(CONFIG.format(redis=store.url, crm=crm, genesys=genesys))
        for lane in (PEOPLE, LEAVERS):
            command = python("workers", "--config", str(config), "--lane", lane)
            stack.enter_context(running(command, folder / f"{lane}.log", environment=environment))
        redis = stack.enter_context(store.client())
        _await(lambda: redis.scard("rq:workers") == len((PEOPLE, LEAVERS)), "the workers did not start")
        yield redis


def _make_groups(crm: int, genesys: int) -> None:
    """Make the groups as an administrator does: at Genesys Cloud that is not for SCIM."""
    for name in GROUPS:
        _post(f"http://127.0.0.1:{crm}/v2/Groups", {"schemas": [GROUP_URN], "displayName": name})
        _post(f"http://127.0.0.1:{genesys}/sandbox/groups", {"displayName": name})


def _post(url: str, body: Mapping[str, object]) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/scim+json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - http, on loopback
    urllib.request.urlopen(request).close()  # noqa: S310 - the same


def _await(ready: Callable[[], bool], trouble: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not ready():
        if time.monotonic() > deadline:
            raise Broken(trouble)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
