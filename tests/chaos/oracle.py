"""The oracle: what must be true of every effect, whatever died. Each check returns the violations that it found."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

from lifecycle import keys
from lifecycle.event import State
from tests.chaos.house import House
from tests.chaos.story import Person
from tests.chaos.subscriber import Delivered, Tool
from tests.chaos.target import Effect
from tests.flow.stage import GROUPS

POISON = "poison"
DEATHS_TO_BE_POISON = 3
OPEN = (State.KEPT, State.SCHEDULED, State.POSTPONED)
SETTLED = frozenset({State.APPLIED.value, State.UNCHANGED.value, State.SUPERSEDED.value})


def judge(house: House, persons: Mapping[str, Person]) -> list[str]:
    """Return every violation."""
    people = list(persons.values())
    return [
        *nothing_lost(house, people),
        *accounts_are_right(house, people),
        *one_account_each(house.target.effects),
        *writes_in_order(house.target.effects, persons),
        *everybody_is_told(house, people),
        *signals_are_one(house.siem),
        *signals_are_one(house.pager),
        *counters_are_consistent(house),
    ]


def nothing_lost(house: House, people: Iterable[Person]) -> Iterator[str]:
    """Every event that was told is kept, and settled with an effect or for a reason."""
    for person in people:
        for chapter in person.chapters:
            ref = f"hris:{person.key}-{chapter.version}"
            found: Any = house.redis.hmget(keys.event(ref), "state", "reason")
            state, reason = (each.decode() if each else None for each in found)
            if state not in SETTLED:
                yield f"lost: {ref} is {state} ({reason})"
    for state in OPEN:
        if left := house.redis.zcard(keys.events(state)):
            yield f"lost: {left} events are still {state.value}"
    for name in ("mailbox", "lease"):
        if keys_left := [key.decode() for key in house.redis.scan_iter(f"gatepost:{name}:*")]:
            yield f"lost: {name} is left: {keys_left[:5]}"


def accounts_are_right(house: House, people: Iterable[Person]) -> Iterator[str]:
    """Each account shows what the story comes to; leavers are inactive and in no group of the policy."""
    scim = house.target.scim
    members = {name: set(scim.members(name)) for name in GROUPS.values()}
    accounts = {user["externalId"]: user for user in scim.held["Users"].values()}
    for person in people:
        account = accounts.get(person.key)
        if account is None:
            if person.works_here:
                yield f"wrong: {person.key} works here and has no account"
            continue
        groups = {name for name, inside in members.items() if str(account["id"]) in inside}
        wanted = {person.group} if person.group else set()
        if account["active"] is not person.works_here:
            yield f"wrong: {person.key} is {'in' if account['active'] is False else ''}active"
        if groups != wanted:
            yield f"wrong: {person.key} is in {groups}, not in {wanted}"
        if person.works_here and account.get("title") != person.title:
            yield f"wrong: {person.key} has title {account.get('title')}, not {person.title}"


def one_account_each(effects: Iterable[Effect]) -> Iterator[str]:
    """Nobody was created twice."""
    created = Counter(effect.external_id for effect in effects if effect.method == "POST")
    yield from (f"duplicate: {key} was created {number} times" for key, number in created.items() if number > 1)


def writes_in_order(effects: Iterable[Effect], persons: Mapping[str, Person]) -> Iterator[str]:
    """No older title follows a newer one, and no older status a newer one."""
    by_person: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        by_person[effect.external_id].append(effect)
    for key, mine in by_person.items():
        versions = [int(effect.title.removeprefix("v")) for effect in mine if effect.title]
        if any(later < earlier for earlier, later in pairwise(versions)):
            yield f"order: titles of {key} came as {versions}"
        shown = [active for active, _ in groupby(effect.active for effect in mine)]
        if not _is_part_of(shown, persons[key].statuses):
            yield f"order: {key} was active as {shown}, of {persons[key].statuses}"


def everybody_is_told(house: House, people: Iterable[Person]) -> Iterator[str]:
    """Whoever only hears the signals knows in the end what the target shows; and all hear of the same suspensions.

    A suspension that a newer event undid before it was settled is told to nobody: it is no effect any more.
    """
    told = {tool: _by_person(tool.deliveries) for tool in (house.siem, house.pager)}
    accounts = {user["externalId"]: user for user in house.target.scim.held["Users"].values()}
    for person in people:
        heard, paged = told[house.siem].get(person.key, []), told[house.pager].get(person.key, [])
        if person.key in accounts and (not heard or heard[-1]["data"]["account"]["active"] is not person.works_here):
            yield f"told: {person.key} is {accounts[person.key]['active']}, and {len(heard)} signals say otherwise"
        if [each for each in heard if each["type"] == "person.suspended"] != paged:
            yield f"told: of the suspensions of {person.key} not all were told to all"


def signals_are_one(tool: Tool) -> Iterator[str]:
    """One change of one event on one target has one id, and one id has one body.

    An event whose group had trouble changes the account twice: each is news of its own.
    """
    bodies: dict[str, set[bytes]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for delivered in tool.deliveries:
        bodies[delivered.id].add(delivered.body)
        signal = json.loads(delivered.body)
        if signal["type"] != "delivery.failed":
            what = {name: signal["data"][name] for name in ("event", "target", "groups_added", "groups_removed")}
            ids[json.dumps([signal["type"], what])].add(delivered.id)
    yield from (f"signals: {name} came with {len(found)} bodies" for name, found in bodies.items() if len(found) > 1)
    yield from (f"signals: {what} came under {len(found)} ids" for what, found in ids.items() if len(found) > 1)
    if tool.forged:
        yield f"signals: {tool.forged} did not verify"


def counters_are_consistent(house: House) -> Iterator[str]:
    """Indexes and counters say the same of how many there are; a retry settles once more."""
    stored: Any = house.redis.hgetall(keys.METRICS)
    counted = Counter[str]()
    for name, value in stored.items():
        labels = json.loads(name)
        counted[labels[0]] += int(float(value)) if labels[-1] != "sum" else 0
    events: Any = house.redis.zcard(keys.EVENTS)
    by_state = sum(int(house.redis.zcard(keys.events(state))) for state in State)
    retried = sum(_retries(house, ref.decode()) for ref in _all(house, keys.EVENTS))
    if events != by_state:
        yield f"counters: {events} events, {by_state} by state"
    if counted["gatepost_events"] != events + retried:
        yield f"counters: {counted['gatepost_events']} settled, of {events} events and {retried} retries"
    if counted["gatepost_event_latency_seconds"] != counted["gatepost_events"]:
        yield "counters: the latencies are not as many as the events"
    delivered = sum(1 for key in house.redis.scan_iter("gatepost:delivery:*") if _is_delivered(house, key))
    if counted["gatepost_signals"] - _retried_signals(stored) != delivered:
        yield f"counters: {counted['gatepost_signals']} attempts counted, {delivered} signals delivered"


def poisoned(house: House) -> list[str]:
    """Return the refs of the events that failed because they killed three workers in a row."""
    refs = [ref.decode() for ref in _all(house, keys.events(State.FAILED))]
    return [ref for ref in refs if house.redis.hget(keys.event(ref), "reason") == POISON.encode()]


def wrongly_poisoned(refs: Iterable[str], deaths: Mapping[str, int]) -> Iterator[str]:
    """Three workers have to have died while they worked on a person; ``deaths`` is how often they did, by key."""
    for ref in refs:
        key = ref.partition(":")[2].rpartition("-")[0]
        if deaths.get(key, 0) < DEATHS_TO_BE_POISON:
            yield f"poison: {ref} failed, and {deaths.get(key, 0)} workers died while they worked on it"


def _is_part_of(shown: Sequence[bool], statuses: Sequence[bool]) -> bool:
    """Tell whether what was shown came in the order of the statuses, some of which were never shown."""
    left = iter(statuses)
    return all(any(status is active for status in left) for active in shown)


def _by_person(deliveries: Iterable[Delivered]) -> dict[str, list[dict[str, Any]]]:
    """Return what was told of each person, each signal once, by the time it was made."""
    signals = {delivered.id: json.loads(delivered.body) for delivered in deliveries}
    by_person: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for signal in sorted(signals.values(), key=lambda signal: signal["timestamp"]):
        if signal["type"].startswith("person."):
            by_person[signal["data"]["person"]["external_id"]].append(signal)
    return by_person


def _all(house: House, index: str) -> list[bytes]:
    found: Any = house.redis.zrange(index, 0, -1)
    return list(found)


def _retries(house: House, ref: str) -> int:
    steps: Any = house.redis.lrange(keys.trace(ref), 0, -1)
    return sum(json.loads(step)["step"] == "retry" for step in steps)


def _is_delivered(house: House, key: bytes) -> bool:
    return bool(house.redis.hget(key.decode(), "state") == b"delivered")


def _retried_signals(stored: Mapping[bytes, bytes]) -> int:
    return sum(int(value) for name, value in stored.items() if json.loads(name)[-1] == "retried")
