"""What people ask for: events, persons, failures, signals; and ``retry``, which offers again what waits for a person.

Every list is read in pages of bounded size, newest first.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from redis import Redis

from lifecycle import keys
from lifecycle.aside import SetAside, drop_notice, set_aside
from lifecycle.config import Config
from lifecycle.errors import Malformed, Unknown
from lifecycle.event import OPERATOR, OURSELVES, Event, State
from lifecycle.failures import Failures
from lifecycle.holds import Holds, shown
from lifecycle.pages import PAGE_DEFAULT, Page, moment, page
from lifecycle.person import Person
from lifecycle.restore import restore
from lifecycle.roster import roster
from lifecycle.settlement import DROPPED, event_of
from lifecycle.signal import iso
from lifecycle.signals import Signals

PERSON_EVENTS_SHOWN = 20
NOBODY_SUBSCRIBES = Config()
# Of an account what the workers remember for themselves.
NOT_SHOWN = {"digest", "written", "sessions_revoked", "told"}


class Records:
    """Reads of what Redis keeps, for the API and the command."""

    def __init__(self, redis: Redis, config: Config = NOBODY_SUBSCRIBES) -> None:
        """Keep the connection, and the file, of which those need the subscribers who ask for signals again."""
        self._redis = redis
        self._signals = Signals(redis)
        self._failures = Failures(redis, self._event, self._signals.delivery, lambda: roster(redis, config).everybody)
        self._holds = Holds(redis, self._event, self._person, self._tried_again)

    # ---- events

    def events(
        self,
        *,
        state: str | None = None,
        source: str | None = None,
        person: str | None = None,
        after: str | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> Page:
        """List events, newest first. Raises Malformed for a state or cursor that is none."""
        if state is not None and state not in set(State):
            raise Malformed(f"no state {state!r}; there are: {', '.join(State)}", reason="state_unknown")
        index = keys.events(State(state)) if state else keys.EVENTS
        if person is not None:
            index = keys.person_events(self.person_key(person))

        def fits(ref: str) -> bool:
            if source is not None and not ref.startswith(f"{source}:"):
                return False
            return person is None or state is None or self._state(ref) == state

        refs, cursor = page(self._redis, index, after, limit, fits)
        return Page([item for ref in refs if (item := self._event(ref))], cursor)

    def event(self, event_id: str, sources: list[str]) -> dict[str, Any]:
        """Return one event with its timeline, by ``id`` or by ``source:id`` where two sources use the same id.

        Raises Unknown when there is none, Malformed when the id alone names several.
        """
        ref = self.ref(event_id, sources)
        found = self._event(ref)
        if found is None:
            raise Unknown(f"no event {event_id!r}", reason="event_unknown")
        lines: Any = self._redis.lrange(keys.trace(ref), 0, -1)
        kept = {
            "at": found["received_at"],
            "step": "kept",
            "detail": {"vendor_kind": found.pop("vendor_kind")},
        }
        return found | {"timeline": [kept, *(json.loads(line) for line in lines)]}

    def ref(self, event_id: str, sources: list[str]) -> str:
        """Return the one ``source:id`` that an id names. Raises Unknown or Malformed."""
        names = [event_id, *(f"{source}:{event_id}" for source in (*sources, OPERATOR, OURSELVES))]
        found = [name for name in names if ":" in name and self._redis.exists(keys.event(name))]
        if not found:
            raise Unknown(f"no event {event_id!r}", reason="event_unknown")
        if len(found) > 1:
            raise Malformed(f"several events have this id: {', '.join(found)}", reason="event_ambiguous")
        return found[0]

    def _state(self, ref: str) -> str:
        state: Any = self._redis.hget(keys.event(ref), "state")
        return state.decode() if state else ""

    def _event(self, ref: str) -> dict[str, Any] | None:
        record: Any = self._redis.hgetall(keys.event(ref))
        if not record:
            return None
        fields = {name.decode(): value.decode() for name, value in record.items()}
        event = event_of(fields["doc"], fields.get("person"))
        deliveries = json.loads(fields.get("deliveries") or "{}")
        return {
            "id": event.id,
            "source": event.source,
            "kind": event.kind.value,
            "read_as": json.loads(fields["reading"])["kind"] if "reading" in fields else None,
            "subject": event.person,
            "occurred_at": iso(event.occurred_at),
            "effective_at": _effective_at(event, fields.get("due_at")),
            "received_at": iso(event.received_at),
            "state": fields["state"],
            "person": event.person,
            "reason": fields.get("reason") or None,
            "detail": fields.get("detail") or None,
            "settled_at": moment(fields.get("settled_at")),
            "deliveries": [{"target": name, **delivery} for name, delivery in sorted(deliveries.items())],
            "timeline": [],
            "vendor_kind": event.vendor_kind,
        }

    # ---- people

    def person_key(self, name: str) -> str:
        """Return the key of whom this external id, user name or e-mail address names; the name itself if unknown."""
        linked: Any = self._redis.get(keys.link(name))
        if linked:
            return str(linked.decode())
        if self._redis.exists(keys.person(name)) or self._redis.exists(keys.mailbox(name)):
            return name
        found: Any = self._redis.get(keys.alias(name))
        return found.decode() if found else name

    def person(self, name: str) -> dict[str, Any]:
        """Return one person with the last events. Raises Unknown."""
        key = self.person_key(name)
        refs: Any = self._redis.zrevrange(keys.person_events(key), 0, PERSON_EVENTS_SHOWN - 1)
        if not refs and not self._redis.exists(keys.person(key)):
            raise Unknown(f"nobody is known as {name!r}", reason="person_unknown")
        person = self._person(key)
        events = [self._event(ref.decode()) for ref in refs]
        accounts = {
            target: account.model_dump(mode="json", exclude=NOT_SHOWN) for target, account in person.accounts.items()
        }
        return {
            "key": key,
            "status": person.status.value if person.status else "unknown",
            "status_at": iso(person.status.at) if person.status else None,
            "attributes": {name: _fact(fact) for name, fact in sorted(person.facts.items())},
            "accounts": accounts,
            "deleted": {target: gone.model_dump(mode="json") for target, gone in person.deleted.items()},
            "holds": [shown(hold) for hold in person.holds],
            "events": [event for event in events if event],
        }

    def restore(self, name: str, within: timedelta, *, actor: str) -> Event:
        """Take back whoever left; see ``lifecycle.restore``. Raises Unknown, Malformed or Unavailable."""
        return restore(self._redis, self.person_key(name), within, actor=actor, now=datetime.now(UTC))

    def _person(self, name: str) -> Person:
        key = self.person_key(name)
        stored: Any = self._redis.get(keys.person(key))
        return Person.model_validate_json(stored) if stored else Person(key=key)

    # ---- holds

    def holds(self, *, after: str | None = None, limit: int = PAGE_DEFAULT) -> Page:
        """List what waits for a ruling; see ``lifecycle.holds``."""
        return self._holds.list(after=after, limit=limit)

    def rule(self, event_id: str, sources: list[str], verdict: str, *, actor: str) -> str:
        """Release or drop a held event, by its ``id`` or ``source:id``, or as the failures name it; or drop a notice.

        Return what came of it. Raises Unknown or Malformed.
        """
        what, _, notice_id = event_id.partition(":")
        if (what, verdict) == ("notice", DROPPED) and drop_notice(self._redis, notice_id, actor=actor):
            return verdict
        return self._holds.rule(self.ref(event_id.removeprefix("event:"), sources), verdict, actor=actor)

    def _tried_again(self, ref: str, actor: str) -> None:
        self._failures.retry(f"event:{ref}", actor=actor)

    # ---- failures

    def failures(self, *, after: str | None = None, limit: int = PAGE_DEFAULT) -> Page:
        """List everything that waits for a person; see ``lifecycle.failures``."""
        return self._failures.list(after=after, limit=limit)

    def set_aside(self, notice_id: str) -> SetAside | None:
        """Return a notice that was set aside, as it came."""
        return set_aside(self._redis, notice_id)

    def retry(self, failure_id: str, *, actor: str) -> None:
        """Offer again what failed; see ``lifecycle.failures``. Raises Unknown, Conflict or Malformed."""
        self._failures.retry(failure_id, actor=actor)

    # ---- signals

    def signals(
        self, wanted: Mapping[str, str] = MappingProxyType({}), *, after: str | None = None, limit: int = PAGE_DEFAULT
    ) -> Page:
        """List signals, newest first, each with its deliveries; see ``lifecycle.signals``. Raises Malformed."""
        known = {"person": self.person_key(wanted["person"])} if "person" in wanted else {}
        return self._signals.list({**wanted, **known}, after=after, limit=limit)

    def signal(self, signal_id: str) -> dict[str, Any]:
        """Return one signal with every attempt. Raises Unknown."""
        return self._signals.one(signal_id)


def _effective_at(event: Event, due_at: str | None) -> str | None:
    """Return when an event takes effect, as it was last found; None for a date that was not yet read in its zone."""
    if due_at:
        return iso(datetime.fromisoformat(due_at))
    if event.effective_at is None and event.effective_on is not None:
        return None
    return iso(event.effective_at or event.received_at)


def _fact(fact: Any) -> dict[str, Any]:  # noqa: ANN401 - a Fact
    source = fact.event.partition(":")[0]
    return {"value": fact.value, "at": iso(fact.at), "source": source, "event": fact.event.partition(":")[2]}
