"""What leavers are told with: a stage whose one target has a section of its own, and deletions that fall due."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from redis import Redis

from lifecycle import keys
from lifecycle.event import OURSELVES, Event, Kind
from lifecycle.settlement import event_of
from tests.conftest import MakeConfig
from tests.workers.fake_scim import BASE_URL, FakeScim, Resource
from tests.workers.stories import BASE_URLS, BO, Stage, event
from workers.http import Http
from workers.jobs import place_of

MAIL = "bo.ray@acme.example"
SUBSCRIBER = {"url": "https://siem.example/hooks", "secrets": ["env:SIEM_WHSEC"]}
IN_SUPPORT, LEADS = "person.department == 'Support'", "person.title == 'Lead'"
GRANTS = [
    {"when": IN_SUPPORT, "groups": ["Agents"], "roles": ["employee"]},
    {"when": LEADS, "groups": ["Leads"], "roles": ["supervisor"]},
]
LATER: dict[str, Any] = {"leaver": "suspend_then_delete", "delete_after": "30d"}
AT_ONCE: dict[str, Any] = {"leaver": "delete"}

JOINED = event(Kind.JOINER, "joined", **BO | {"title": "Lead"})
LEFT = event(Kind.LEAVER, "left", minute=2, external_id="E1042")
AGAIN = event(Kind.LEAVER, "again", minute=3, external_id="E1042")
BACK = event(Kind.JOINER, "back", minute=5, external_id="E1042")

Transport = Callable[[httpx.Request], httpx.Response]


def make_scene(
    redis: Redis,
    config: MakeConfig,
    fake: FakeScim,
    *,
    transport: Transport | None = None,
    policy: dict[str, Any] | None = None,
    others: dict[str, FakeScim] | None = None,
    **section: Any,  # noqa: ANN401 - a section of the configuration
) -> Stage:
    """Make a stage; ``section`` is more of the target ``crm``, and ``others`` are targets that only suspend."""
    base_url = BASE_URLS.get(section.get("adapter", "scim"), BASE_URL)
    default = {"adapter": "scim", "base_url": base_url, "token": "env:CRM_SCIM_TOKEN"}
    targets = {"crm": default | section} | dict.fromkeys(others or {}, default)
    found = config(targets=targets, policy={"grants": GRANTS} | (policy or {}), subscribers={"siem": SUBSCRIBER})
    stage = Stage(redis, found, {name: httpx.MockTransport(each) for name, each in (others or {}).items()})
    http = Http(transport=httpx.MockTransport(transport or fake))
    places: Any = stage.world.places
    places["crm"] = place_of(redis, "crm", found.targets["crm"], http)
    for each in (fake, *(others or {}).values()):
        for name in sorted({"Agents", "Leads"} - {group["displayName"] for group in each.held["Groups"].values()}):
            each.add("Groups", displayName=name)
    return stage


def bo(fake: FakeScim) -> Resource:
    """Return Bo's account."""
    return fake.user(MAIL)


def groups(fake: FakeScim) -> list[str]:
    """Return the names of the groups that Bo's account is in."""
    return sorted(each["display"] for each in bo(fake).get("groups", []))


def roles(fake: FakeScim) -> list[str]:
    """Return Bo's roles."""
    return sorted(each["value"] for each in bo(fake).get("roles", []))


def said(fake: FakeScim, start: int = 0) -> list[str]:
    """Return the methods of what was asked after the first ``start`` requests."""
    return [each.method for each in fake.log[start:]]


def told(stage: Stage) -> list[str]:
    """Return the types of the signals made so far."""
    return [each["type"].removeprefix("person.") for each in stage.signals()]


def data(stage: Stage, signal_type: str) -> dict[str, Any]:
    """Return what the one signal of a type says."""
    (found,) = [each["data"] for each in stage.signals() if each["type"] == f"person.{signal_type}"]
    return dict(found)


def deletions(stage: Stage) -> list[Event]:
    """Return the deletions that were made for later, oldest first."""
    refs: Any = stage.redis.zrange(keys.EVENTS, 0, -1)
    ours = [ref.decode() for ref in refs if ref.startswith(f"{OURSELVES}:".encode())]
    found: Any = [stage.redis.hmget(keys.event(ref), "doc", "person") for ref in ours]
    return [event_of(doc, person) for doc, person in found]


def deletion(stage: Stage) -> Event:
    """Return the one deletion that was made for later."""
    (found,) = deletions(stage)
    return found


def fall_due(stage: Stage, later: Event) -> None:
    """Let the moment of a deletion come: what is kept of it says so."""
    due = later.model_copy(update={"effective_at": datetime.now(UTC) - timedelta(seconds=1)})
    due = due.model_copy(update={"received_at": due.effective_at})
    stage.redis.hset(keys.event(later.ref), "doc", due.to_json())


def pass_by(stage: Stage, name: str = "left") -> None:
    """Let the time end in which a suspension may be confirmed."""
    record: Any = stage.redis.hget(keys.event(f"hris:{name}"), "deliveries")
    deliveries = {
        target: each | {"confirm_by": "2026-03-02T09:15:00.000Z"} for target, each in json.loads(record).items()
    }
    stage.redis.hset(keys.event(f"hris:{name}"), "deliveries", json.dumps(deliveries))


def lagging(fake: FakeScim, stale: list[Resource]) -> Transport:
    """Make a server whose reads of an account show what is in ``stale``, until nothing is."""

    def answer(request: httpx.Request) -> httpx.Response:
        found = fake(request)
        is_read = request.method == "GET" and "/Users/" in request.url.path
        return httpx.Response(200, json=stale[0]) if is_read and stale and found.status_code == 200 else found

    return answer
