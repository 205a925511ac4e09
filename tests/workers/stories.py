"""What the workers' tests are told with: events and persons in few words, a target to meet, and a referee."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from hypothesis import settings
from redis import Redis
from scim2_models import BulkRequest, Context, EnterpriseUser, PatchOp, SearchRequest, User
from scim2_models import Group as ScimGroup

from gatepost.sandbox.schema import PureCloud
from lifecycle import keys
from lifecycle.config import Config
from lifecycle.event import Event, Kind, Profile
from lifecycle.people import People
from lifecycle.person import Account, Fact, Person, Status
from lifecycle.policy import Policy
from lifecycle.queue import LANES, PUT, JobWriter, lanes, put_arguments
from lifecycle.records import Records
from lifecycle.secrets import Secret
from lifecycle.settlement import dump_deliveries
from lifecycle.target import Target
from tests.workers.fake_scim import BASE_URL, PATCH_OP, SCHEMA, SEARCH, TOKEN, FakeScim, Quirk, Said, has_null
from workers.agree import task_of
from workers.converge import converge
from workers.http import Http
from workers.jobs import place_of
from workers.keeper import Keeper
from workers.outcome import Place, World
from workers.policy import Wanted, decide
from workers.scim.client import Conversation
from workers.task import Agreement, Task

# Where a target's SCIM stands beside another API of its own.
BASE_URLS = {"genesys_cloud": BASE_URL.replace("/scim", "/api/v2/scim")}

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
"""When a story begins; its moments are counted in minutes from here."""

patiently = settings(deadline=None)
"""For drawn examples: how fast a machine is, is not what they are about."""

BO: dict[str, Any] = {
    "external_id": "E1042",
    "email": "bo.ray@acme.example",
    "display_name": "Bo Ray",
    "given_name": "Bo",
    "family_name": "Ray",
    "title": "Agent",
    "department": "Support",
}


def event(
    kind: Kind,
    event_id: str = "e1",
    *,
    minute: int = 0,
    person: str = "E1042",
    effective_at: datetime | str | None = None,
    **profile: Any,  # noqa: ANN401 - a profile's fields
) -> Event:
    """Make an event that says just this of the person; what takes effect at a text does so by local time."""
    return Event(
        id=event_id,
        source="hris",
        kind=kind,
        person=person,
        profile=Profile(**profile),
        occurred_at=AT + timedelta(minutes=minute),
        effective_at=effective_at if isinstance(effective_at, datetime) else None,
        effective_on=effective_at if isinstance(effective_at, str) else None,
        received_at=AT + timedelta(minutes=minute),
        vendor_kind=f"person.{kind}",
    )


def person(status: str | None = "active", key: str = "E1042", **facts: Any) -> Person:  # noqa: ANN401 - facts are JSON
    """Make a person of whom just this is known."""
    known = {name: Fact(value=value, at=AT, event="hris:e1") for name, value in facts.items()}
    found = Fact(value=Status(status).value, at=AT, event="hris:e1") if status else None
    return Person(key=key, status=found, facts=known)


def policy(*, protected: Iterable[str] = (), scope: str | None = None, **groups: str) -> Policy:
    """Make a policy; ``policy(Agents="person.department == 'Support'")`` grants a group."""
    grants = [{"when": when, "groups": [name.replace("_", " ")]} for name, when in groups.items()]
    return Policy.model_validate({"protected": list(protected), "scope": scope, "grants": grants})


def target(**changed: Any) -> Target:  # noqa: ANN401 - a section of the configuration
    """Make a target's section; a bearer that the fake server takes unless said otherwise."""
    default = {"adapter": "scim", "base_url": BASE_URL, "token": Secret("env:CRM_SCIM_TOKEN", TOKEN)}
    return Target.model_validate(default | changed)


def place(
    redis: Redis,
    transport: httpx.BaseTransport,
    *,
    adapter: str = "scim",
    name: str = "crm",
    **section: Any,  # noqa: ANN401 - a section of the configuration
) -> Place:
    """Make a target with everything that it takes to speak to it."""
    section = {"adapter": adapter, "base_url": BASE_URLS.get(adapter, BASE_URL), **section}
    return place_of(redis, name, target(**section), Http(transport=transport))


@dataclass
class Meeting:
    """One target module that meets one server: what is asked of it, and what it remembers between attempts."""

    redis: Redis
    adapter: str = "scim"
    quirks: Iterable[Quirk] = ()
    policy: Policy = field(default_factory=Policy)
    account: Account | None = None
    section: Mapping[str, Any] = field(default_factory=dict)
    """More of the target's section of the configuration."""

    def __post_init__(self) -> None:
        """Start the server and make the client."""
        self.fake = FakeScim(frozenset(self.quirks))
        self.place = place(self.redis, httpx.MockTransport(self.fake), adapter=self.adapter, **self.section)

    def task(self, known: Person, *, cautious: bool = False) -> Task:
        """Return what one attempt needs."""
        wanted = decide(known, self.policy, self.place.mapping, self.account)
        assert isinstance(wanted, Wanted), "the policy is tested elsewhere"
        config = Config(policy=self.policy)
        world = World(config, People(self.redis, lanes(self.redis)), {self.place.name: self.place})
        accounts = {self.place.name: self.account} if self.account else {}
        known = known.model_copy(update={"accounts": accounts})
        talk = Conversation(lambda: None, can=self.place.capabilities())
        return task_of(world, self.place, known, wanted, talk, cautious=cautious)

    def agree(self, known: Person, *, cautious: bool = False) -> Agreement:
        """Make one attempt, and remember the account as a settled attempt does."""
        agreement = self.place.adapter.agree(self.task(known, cautious=cautious))
        self.account = agreement.account or self.account
        return agreement

    def said_since(self, start: int) -> list[str]:
        """Return the lines of what was asked after the first ``start`` requests."""
        return self.fake.lines()[start:]


def referee(said: Iterable[Said]) -> None:
    """Hold every body to scim2-models in its strict request contexts, and to what that library forgives."""
    for each in said:
        if each.body is None:
            continue
        assert not has_null(each.body), each
        if each.path == "/Bulk":
            _check_bulk(each.body)
        else:
            _check_body(each.method, each.path.split("/")[1], each.body)


def _check_body(method: str, kind: str, body: dict[str, Any]) -> None:
    if method == "POST":
        _check_create(kind, body)
    elif method == "PUT":
        _check_replacement(kind, body)
    else:
        _check_patch(kind, body)


def _check_bulk(body: dict[str, Any]) -> None:
    """Each part is held to what it would have to be alone; the library keeps what it cannot read with a status."""
    found = BulkRequest[User[EnterpriseUser] | ScimGroup].model_validate(body, scim_ctx=Context.BULK_REQUEST)
    assert all(part.status is None for part in found.operations or ())
    for part in body["Operations"]:
        assert ("bulkId" in part) is (part["method"] == "POST")
        _check_body(part["method"], part["path"].split("/")[1], part["data"])


def _check_create(kind: str, body: dict[str, Any]) -> None:
    if body["schemas"] == [SEARCH]:
        SearchRequest.model_validate(body, scim_ctx=Context.SEARCH_REQUEST)
        return
    if kind == "Groups":
        ScimGroup.model_validate(body, scim_ctx=Context.RESOURCE_CREATION_REQUEST)
        assert body["schemas"] == [SCHEMA[kind]]
        return
    User[EnterpriseUser | PureCloud].model_validate(body, scim_ctx=Context.RESOURCE_CREATION_REQUEST)
    assert body["schemas"] == [SCHEMA[kind], *(name for name in body if name.startswith("urn:"))]
    assert isinstance(body["active"], bool)


def _check_replacement(kind: str, body: dict[str, Any]) -> None:
    """Schemas that the library does not know are the server's own, and are said again."""
    assert not {"meta", "groups"} & {name.lower() for name in body}
    if kind == "Groups":
        ScimGroup.model_validate(body, scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST)
        return
    theirs = {name for name in body if name.startswith("urn:") and ":enterprise:" not in name}
    known = {name: value for name, value in body.items() if name not in theirs}
    known["schemas"] = [name for name in body["schemas"] if name not in theirs]
    User[EnterpriseUser].model_validate(known, scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST)


def _check_patch(kind: str, body: dict[str, Any]) -> None:
    assert body["schemas"] == [PATCH_OP]
    assert all(operation["op"] in {"add", "replace", "remove"} for operation in body["Operations"])
    if kind == "Groups":
        PatchOp[ScimGroup].model_validate(body, scim_ctx=Context.RESOURCE_PATCH_REQUEST)
    else:
        PatchOp[User[EnterpriseUser | PureCloud]].model_validate(body, scim_ctx=Context.RESOURCE_PATCH_REQUEST)


def facts(known: Mapping[str, Any]) -> Person:
    """Read a person from a fixture: ``status`` and fields."""
    fields = dict(known)
    return person(fields.pop("status"), **fields)


# ---- the whole way of an event


@dataclass
class Stage:
    """Redis, a configuration and servers: events are heard, a person is worked on, what is kept can be asked for."""

    redis: Redis
    config: Config
    transports: Mapping[str, httpx.BaseTransport]

    def __post_init__(self) -> None:
        """Make what lives as long as a worker process."""
        places = {name: place(self.redis, found, name=name) for name, found in self.transports.items()}
        self.people = People(self.redis, lanes(self.redis))
        self.world = World(self.config, self.people, places)
        self.records = Records(self.redis)

    def hear(self, *events: Event) -> list[int]:
        """Keep events as the receiver does."""
        answers: Any = self.redis.eval(PUT, 0, *put_arguments(events, JobWriter()))
        return list(answers)

    def work(self, key: str = "E1042", lane: str = "people", *, early: bool = False) -> None:
        """Run one job, when what was postponed is due; early, as the job of another event comes."""
        if not early:
            self.fall_due(key)
        converge(self.world, key, lane)

    def fall_due(self, key: str = "E1042") -> None:
        """Let the moment come for which a target asked: what is kept of it says so, and no pause is left."""
        for pace in self.redis.keys(keys.pace("*")):
            self.redis.hdel(pace, "paused_until", "leavers_until")
        for kept in self.world.people.mailbox(key):
            due = {name: replace(each, retry_at=None) for name, each in kept.deliveries.items()}
            self.redis.hset(keys.event(kept.event.ref), "deliveries", dump_deliveries(due))

    def let_in(self) -> list[str]:
        """Let the keeper make a step, and return the lanes of the jobs that it offered."""
        before = {lane: self.redis.llen(f"rq:queue:{lane}") for lane in LANES}
        Keeper(self.redis, [each.gate for each in self.world.places.values()], lanes(self.redis)).tick()
        return [lane for lane in LANES for _ in range(self.redis.llen(f"rq:queue:{lane}") - before[lane])]

    def tell(self, *events: Event) -> None:
        """Hear events and work on the person."""
        self.hear(*events)
        self.work(events[0].person)

    def found(self, event_id: str = "e1") -> dict[str, Any]:
        """Return an event's record with its timeline."""
        return self.records.event(event_id, ["hris"])

    def state(self, event_id: str = "e1") -> str:
        """Return where an event stands."""
        return str(self.found(event_id)["state"])

    def delivery(self, event_id: str = "e1", name: str = "crm") -> dict[str, Any]:
        """Return what an event came to on one target."""
        (found,) = [each for each in self.found(event_id)["deliveries"] if each["target"] == name]
        return dict(found)

    def person(self, key: str = "E1042") -> Person:
        """Return what is known of a person."""
        return self.people.get(key)

    def signals(self) -> list[dict[str, Any]]:
        """Return the bodies of the signals made so far, oldest first."""
        return [each["body"] for each in reversed(self.records.signals().items)]

    def later(self, lane: str = "people") -> list[datetime]:
        """Return when a lane's scheduled jobs are due, soonest first."""
        found: Any = self.redis.zrange(f"rq:scheduled:{lane}", 0, -1, withscores=True)
        return [datetime.fromtimestamp(score, UTC) for _, score in found]

    def is_free(self, key: str = "E1042") -> bool:
        """Tell whether nobody works on the person."""
        return not self.redis.exists(keys.lease(key))

    def mailbox(self, key: str = "E1042") -> list[str]:
        """Return the refs of a person's unsettled events."""
        found: Any = self.redis.lrange(keys.mailbox(key), 0, -1)
        return [ref.decode() for ref in found]
