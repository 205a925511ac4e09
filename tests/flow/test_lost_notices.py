"""Vendors that lose a third of what they tell: by the poll everybody is right in the end, whatever dies meanwhile."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import httpx
import pytest

from tests.flow.patience import eventually
from tests.flow.stage import Stage
from tests.notices import SECRETS, okta
from tests.watch.graph_tenant import BASE, TOKEN_PATH, GraphTenant
from tests.watch.loopback import Reply
from tests.watch.okta_org import TOKEN, OktaOrg

PEOPLE = 24
LOST_SHARE = 1 / 3
WITHIN, EVERY = 120.0, 0.2
CLIENT_STATE = "client-state-of-the-tests"
LOGIC_APP = "logic-app-secret-of-the-tests"
RESUME = "/identityGovernance/lifecycleWorkflows/workflows/w1/tasks/t1/taskProcessingResults/{0}/resume"

VENDORS = """
[sources.okta]
adapter = "okta"
secrets = ["env:OKTA_HOOK_SECRET"]
directory = "okta"
poll = "1s"

[sources.entra]
adapter = "entra_graph"
secrets = ["env:ENTRA_CLIENT_STATE"]
directory = "entra"
url = "http://127.0.0.1:{receiver}/hooks/entra"
poll = "1s"

[sources.workflows]
adapter = "entra_workflows"
secrets = ["env:ENTRA_LOGIC_APP"]
directory = "entra"
kinds = {{ w1 = "leaver" }}

[directories.okta]
adapter = "okta"
base_url = "{okta}"
token = "env:OKTA_API_TOKEN"

[directories.entra]
adapter = "entra"
tenant = "acme.example"
client_id = "env:ENTRA_CLIENT_STATE"
client_secret = "env:ENTRA_CLIENT_STATE"
token_url = "{graph}{token}"
graph_url = "{graph}{base}"

[safety]
leavers = {{ max = 1000, share = 1.0, window = "10m" }}
"""
HOOK = '[sources.okta]\nadapter = "okta"\nsecrets = ["env:OKTA_HOOK_SECRET"]\n'
People = dict[str, str | None]
"""Who has an account: the name on one that is active, None on one that is not."""


class Lossy(Stage):
    """A stage on which vendors lose a third of what they tell, and answer whoever asks."""

    def __init__(self, org: OktaOrg, tenant: GraphTenant) -> None:
        """Write the vendors into the configuration."""
        super().__init__()
        self.org, self.tenant = org, tenant
        self.random = random.Random(17)  # noqa: S311 - a story that is the same each time
        self.lost = self.told = 0
        text, port = self.config.read_text(), self.receiver.base_url.port
        assert HOOK in text
        vendors = VENDORS.format(okta=org.url, graph=tenant.url, token=TOKEN_PATH, base=BASE, receiver=port)
        self.config.write_text(text.replace(HOOK, "") + vendors)

    @property
    def environment(self) -> dict[str, str]:
        """Add what opens the vendors."""
        own = {"OKTA_API_TOKEN": TOKEN, "ENTRA_CLIENT_STATE": CLIENT_STATE, "ENTRA_LOGIC_APP": LOGIC_APP}
        return super().environment | own

    def hook(self, entry: dict[str, Any]) -> None:
        """Let Okta tell of an entry of its log, or lose it."""
        headers = {"authorization": SECRETS["okta"], "content-type": "application/json"}
        self._lossy(partial(self.receiver.post, "/hooks/okta", content=okta(entry), headers=headers))

    def notify(self, user: dict[str, Any]) -> None:
        """Let Graph tell its subscriptions of a user, or lose it."""
        self._lossy(partial(self.tenant.deliver, user["id"]))

    def _lossy(self, tell: Callable[[], object]) -> None:
        if self.random.random() < LOST_SHARE:
            self.lost += 1
        else:
            self.told += 1
            tell()

    def wanted(self) -> People:
        """Return who is to have one, as the vendors have it now."""
        okta_people = {
            user: each["profile"]["displayName"] if each["status"] == "ACTIVE" else None
            for user, each in self.org.users.items()
        }
        entra_people = {
            user: each["displayName"] if each["accountEnabled"] else None for user, each in self.tenant.users.items()
        }
        return {**okta_people, **entra_people, **dict.fromkeys(self.tenant.deleted)}

    def shown(self) -> People:
        """Return who has one."""
        wanted = self.wanted()
        return {
            str(each["externalId"]): str(each["displayName"]) if each["active"] else None
            for each in self.resources("Users").values()
            if each.get("externalId") in wanted
        }

    def await_right(self) -> None:
        """Return when everybody is right."""

        def is_right() -> bool:
            with suppress(httpx.TransportError):
                return self.shown() == self.wanted()
            return False

        eventually(is_right, within=WITHIN, every=EVERY)

    def metric(self, name: str) -> float:
        """Return a number of those that are shown."""
        lines = self.receiver.get("/metrics").text.splitlines()
        return next(float(line.split(" ")[1]) for line in lines if line.startswith(name))


@pytest.fixture
def lossy() -> Iterator[Lossy]:
    """Give the stage, with a watch that has begun and subscriptions that were made."""
    with ExitStack() as stack:
        org, tenant = OktaOrg(), GraphTenant()
        stack.callback(org.close)
        stack.callback(tenant.close)
        stage = Lossy(org, tenant)
        stack.callback(stage.close)
        stage.start()
        eventually(lambda: org.count("GET", "/api/v1/logs"))
        eventually(lambda: {each["resource"] for each in tenant.all()} == {"users", "groups"})
        eventually(lambda: tenant.count("GET", f"{BASE}/groups/delta"))
        yield stage


def test_everybody_is_right_though_a_third_is_lost(lossy: Lossy) -> None:
    """One story of four parts, each on what the one before left behind."""
    everybody_is_right(lossy)
    operators_see_that_the_gaps_were_filled(lossy)
    tenant_that_forgot_where_we_were_is_caught_up(lossy)
    workflow_hears_that_its_leaver_is_locked_out(lossy)


def everybody_is_right(lossy: Lossy) -> None:
    """Joiners, movers, leavers, deleted; the watching worker is killed again and again, and some answers are none."""
    org, tenant = lossy.org, lossy.tenant
    users = [f"00u{number:03d}" for number in range(PEOPLE)]
    for user in users:
        lossy.hook(org.join(user, displayName=f"Joined {user}"))
        lossy.notify(tenant.join(f"entra.{user}", displayName=f"Joined {user}"))
    lossy.await_right()
    ids = list(tenant.users)

    acts: list[Callable[[], None]] = []
    acts += [partial(_told, lossy.hook, partial(org.move, user, displayName=f"Moved {user}")) for user in users[::2]]
    acts += [partial(_told, lossy.hook, partial(org.leave, user)) for user in users[1::4]]
    acts += [partial(_told, lossy.notify, partial(tenant.changed, user, displayName="Moved")) for user in ids[::2]]
    acts += [partial(_told, lossy.notify, partial(tenant.changed, user, accountEnabled=False)) for user in ids[1::4]]
    acts += [partial(_told, lossy.notify, partial(tenant.delete, user)) for user in ids[3::4]]
    lossy.random.shuffle(acts)
    for number, act in enumerate(acts):
        act()
        if number % 10 == 5:
            lossy.workers["lookups"].kill()
        if number % 10 == 8:
            org.faults.append(Reply(429, None, {"retry-after": "1"}))
    lossy.await_right()

    assert lossy.lost > (2 * PEOPLE + len(acts)) / 6
    assert lossy.told > lossy.lost
    gone = list(lossy.shown().values()).count(None)
    assert gone == len([*users[1::4], *ids[1::4], *ids[3::4]])
    assert {each["resource"] for each in tenant.all()} == {"users", "groups"}
    assert len(tenant.all()) == 2


def _told(tell: Callable[[dict[str, Any]], None], act: Callable[[], dict[str, Any]]) -> None:
    tell(act())


def tenant_that_forgot_where_we_were_is_caught_up(lossy: Lossy) -> None:
    """Let its links be gone and every notice lost: everybody is looked up once."""
    user = lossy.tenant.join("late", displayName="Late")["id"]
    gone = next(each for each, found in lossy.tenant.users.items() if found["accountEnabled"])
    lossy.tenant.delete(gone)
    lossy.tenant.forget()

    lossy.await_right()

    assert lossy.shown()[user] == "Late"
    assert lossy.shown()[gone] is None


def workflow_hears_that_its_leaver_is_locked_out(lossy: Lossy) -> None:
    """Let a Logic App tell of a leaver; when the account is locked, Graph is told that the task is done."""
    user = lossy.tenant.join("leaver", displayName="Leaver")["id"]
    lossy.await_right()
    lossy.tenant.users[user]["accountEnabled"] = False
    document = {
        "source": "lcw",
        "type": "lifecycleEvent",
        "data": {
            "callbackUriPath": RESUME.format("r1"),
            "subject": {"id": user, "displayName": "Leaver", "userPrincipalName": "leaver@acme.example"},
            "task": {"id": "t1", "displayName": "Provision"},
            "workflow": {"id": "w1", "displayName": "Leaver", "workflowVersion": 1},
            "taskProcessingResult": {"id": "r1", "createdDateTime": "2026-03-02T09:00:00Z"},
        },
    }
    lossy.receiver.post("/hooks/workflows", json=document, headers={"authorization": LOGIC_APP}).raise_for_status()

    resumed = eventually(lambda: list(lossy.tenant.resumed))

    assert resumed == [(f"{BASE}{RESUME.format('r1')}", "completed")]
    assert lossy.shown()[user] is None
    why = lossy.gatepost("why", "workflows:r1").stdout
    assert "outcome=told" in why


def operators_see_that_the_gaps_were_filled(lossy: Lossy) -> None:
    """See how many a poll had to find, up to where it was asked, and that nothing is unseen."""
    check = lossy.gatepost("check").stdout

    assert lossy.metric('gatepost_polled_total{result="new",source="okta"}') > 0
    for source in ("okta", "entra"):
        assert lossy.metric(f'gatepost_source_blind_seconds{{source="{source}"}}') == 0
        assert f"sources.{source} poll" in check
        assert f"sources.{source} heard" in check
    assert "sources.entra subscriptions" in check
