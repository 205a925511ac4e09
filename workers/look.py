"""Look: a thin event says only that something changed, so its person is looked up where the source keeps the record.

That is done in a lane of its own and without the person's lease: a slow directory keeps neither the person's other
events waiting nor anybody's leaver. What was read is put into the event, which then goes on as what it turned out to
be, in the lane of that. One read is for all events of a source that wait; what an event itself said of the person
counts no more. So it is with the events of a source that signs nothing: what they claim is only a hint.

Nobody is taken for a leaver because a directory does not have them, unless the source says that they left and had told
of them before by that very id: who is deleted there is in no directory any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import structlog
from rq.timeouts import JobTimeoutException

from lifecycle.errors import GatepostError, Held, Postponed, Refused
from lifecycle.event import Event, Kind, Profile, State
from lifecycle.leases import LeaseLost
from lifecycle.log import fault
from lifecycle.lookups import Look, Lookups
from lifecycle.person import Person, Status
from lifecycle.queue import LOOKUPS
from lifecycle.reading import AT_ITS_WORD, Reading
from lifecycle.settlement import Kept, Looked, Settlement, Step
from workers.agree import FEW_TRIES, FEW_TRIES_MAX, TRIES_MAX, backoff
from workers.dates import when
from workers.directories.base import NAMES, Record, Subject, the_one
from workers.outcome import World
from workers.screen import LeftOut, poisoned, ruled
from workers.signals import given_up, wanted_by

NOBODY = "nobody there has one of the names that the source gave"
NO_DIRECTORY = "the source proves nothing and has no directory, so nothing says that it is so; name one"
# A directory may show a leave some seconds later than its own webhook tells of it; a forged one it never shows.
CONTRADICTED_SECONDS = (2, 8)
CREDENTIALS = "credentials"
# A few tries so far apart are minutes, which is what copies of a directory were seen to need.
LAG = timedelta(seconds=30)

log = structlog.get_logger()


def look(world: World, key: str) -> None:
    """Look up what is unread of one person, and pass it on."""
    lookups = Lookups(world.people)
    unread = sorted(lookups.unread(key), key=lambda kept: kept.event.source)
    looks: list[Look] = []
    for source, waiting in groupby(unread, lambda kept: kept.event.source):
        section = world.config.sources.get(source)
        search = Search(world, section.directory if section else None, datetime.now(UTC))
        looks += search.look(list(waiting))
    try:
        lookups.settle(key, looks)
    except LeaseLost:
        world.people.look_again(key, LOOKUPS, datetime.now(UTC))


@dataclass(frozen=True)
class Search:
    """A look into one directory for the events of one source and person."""

    world: World
    directory: str | None
    now: datetime

    def look(self, waiting: Sequence[Kept]) -> list[Look]:
        """Return what it comes to for each event; those whose time has not come are left as they are."""
        if self.directory is None:
            return [self._unasked(kept) for kept in waiting]
        person = self.world.links.known(waiting[0].event.person)
        moments = {kept.event.ref: when(self.world.config, person, kept.event).due_at for kept in waiting}
        left_out = [(kept, found) for kept in waiting if (found := ruled(kept) or poisoned(kept))]
        refs = {kept.event.ref for kept, _ in left_out}
        live = [kept for kept in waiting if moments[kept.event.ref] <= self.now and kept.event.ref not in refs]
        ahead = [kept for kept in waiting if moments[kept.event.ref] > self.now and kept.event.ref not in refs]
        looks = [self._scheduled(kept, moments[kept.event.ref]) for kept in ahead if kept.state is not State.SCHEDULED]
        looks += [self._given_up(kept, found) for kept, found in left_out]
        if not any(self._may_look(kept) for kept in live):
            return looks
        record = self._find([kept.event for kept in live])
        if record is None:
            if any(_is_gone(kept.event, person) for kept in live):
                return looks + [self._passed_on(kept, _gone(kept.event, self.now)) for kept in live]
            record = self._nobody()
        if isinstance(record, GatepostError):
            return looks + self._in_vain(live, record)
        return looks + [self._read(kept, record) for kept in live]

    def _unasked(self, kept: Kept) -> Look:
        """Return an event of a source without a directory: at its word, or given up where its word is worth nothing."""
        if kept.event.hint is None:
            return Look(Settlement(kept, State.KEPT, {}, ()), AT_ITS_WORD)
        found = ruled(kept) or poisoned(kept) or LeftOut(State.FAILED, "no_directory", NO_DIRECTORY)
        return self._given_up(kept, found)

    def _may_look(self, kept: Kept) -> bool:
        return kept.looked.retry_at is None or kept.looked.retry_at <= self.now

    def _find(self, events: Sequence[Event]) -> Record | GatepostError | None:
        """Read the record; every error becomes an outcome here. The newest event knows the newest names."""
        assert self.directory is not None  # noqa: S101 - look returns before
        newest = max(events, key=lambda event: (event.occurred_at, event.ref))
        subject = Subject(**{name: getattr(newest.profile, name) for name in NAMES})
        try:
            found = the_one(subject, self.world.directories[self.directory].find(subject))
        except JobTimeoutException:
            return Postponed("the directory took longer than a job may", reason="slow")
        except GatepostError as error:
            # Whoever left while a token was expired is looked up when it was renewed, not when somebody retries.
            is_expired = error.reason == CREDENTIALS
            return Postponed(error.message, reason=error.reason) if is_expired else error
        except Exception as error:  # noqa: BLE001 - a fault of ours must neither lose the event nor kill the lane
            # Its text may hold what is personal.
            log.error("directory.fault", directory=self.directory, **fault(error))  # noqa: TRY400
            return Postponed(f"a fault of ours: {type(error).__name__}", reason="internal")
        return found

    def _nobody(self) -> GatepostError:
        """Return what it means that nobody was found: what a directory was just told, it may not show yet."""
        assert self.directory is not None  # noqa: S101 - look returns before
        if self.world.directories[self.directory].lags:
            return Postponed(NOBODY, reason="not_in_directory", retry_at=self.now + LAG)
        return Refused(NOBODY, reason="not_in_directory")

    def _read(self, kept: Kept, record: Record) -> Look:
        """Return the event as what it turned out to be; a leave that is not shown is looked for again."""
        if kept.event.hint is Kind.LEAVER and record.works_here:
            log.warning("event.contradicted", event_id=kept.event.id, source=kept.event.source)
            if kept.looked.times < len(CONTRADICTED_SECONDS):
                later = timedelta(seconds=CONTRADICTED_SECONDS[kept.looked.times])
                shown = Postponed(
                    "shows somebody who works here, though the source says they left", reason="contradicted"
                )
                return self._missed(kept, shown, self.now + later)
        kind = self._kind(kept.event, record)
        as_of = min(record.as_of, self.now) if record.works_here else None
        reading = Reading(kind=kind, profile=record.profile, at=self.now, as_of=as_of)
        return self._passed_on(kept, reading, self._whose(kept.event, record))

    def _passed_on(self, kept: Kept, reading: Reading, person: str | None = None) -> Look:
        log.info("event.read", event_id=kept.event.id, source=kept.event.source, found=reading.kind.value)
        step = self._step(found=reading.kind.value)
        return Look(Settlement(kept, State.KEPT, {}, (step,)), reading, person)

    def _kind(self, event: Event, record: Record) -> Kind:
        if not record.works_here:
            return Kind.LEAVER
        status = self.world.links.known(event.person).status
        return Kind.MOVER if status and status.value == Status.ACTIVE.value else Kind.JOINER

    def _whose(self, event: Event, record: Record) -> str:
        """Return the key of whom the record is about: where the source gave a mere name, the directory knows the id."""
        found, links = record.profile.external_id, self.world.links
        if found is None or found == event.person or links.is_key(found):
            return found or event.person
        holder = links.known(event.person)
        is_nobody = holder.status is None and not holder.facts
        theirs = holder.ids_of(event.source)
        return found if is_nobody or (theirs and found not in theirs) else event.person

    def _in_vain(self, live: Sequence[Kept], error: GatepostError) -> list[Look]:
        """Return what comes of a look that found nobody: all that wait have their next one at the same moment."""
        planned = [kept.looked.retry_at for kept in live if kept.looked.retry_at and not self._may_look(kept)]
        tries = min(kept.looked.times for kept in live)
        named = error.retry_at if isinstance(error, Postponed) else None
        retry_at = min(planned, default=None) or named or self.now + backoff(tries)
        return [self._missed(kept, error, retry_at) for kept in live if self._may_look(kept)]

    def _missed(self, kept: Kept, error: GatepostError, retry_at: datetime) -> Look:
        tries_max = FEW_TRIES_MAX if error.reason in FEW_TRIES else TRIES_MAX
        if not isinstance(error, Postponed) or kept.looked.times + 1 >= tries_max:
            state = State.HELD if isinstance(error, Held) else State.FAILED
            return self._given_up(kept, LeftOut(state, error.reason, f"directory {self.directory}: {error.message}"))
        step = self._step(
            outcome=State.POSTPONED.value, reason=error.reason, detail=error.message, retry_at=str(retry_at)
        )
        detail = f"directory {self.directory}: {error.message}"
        settlement = Settlement(kept, State.POSTPONED, {}, (step,), error.reason, detail)
        return Look(settlement, looked=Looked(kept.looked.times + 1, retry_at))

    def _given_up(self, kept: Kept, left_out: LeftOut) -> Look:
        """Return an event that waits for a person; that one failed is told."""
        step = self._step(outcome=left_out.state.value, reason=left_out.reason, detail=left_out.detail or "")
        settlement = Settlement(kept, left_out.state, {}, (step,), left_out.reason, left_out.detail)
        settlement = replace(settlement, is_hold=left_out.state is State.HELD)
        signals = []
        if left_out.state is State.FAILED:
            known = self.world.links.known(kept.event.person)
            signals = [given_up(known, kept.event, left_out, self.now)]
        return Look(settlement, signals=wanted_by(self.world.config.subscribers, signals))

    def _scheduled(self, kept: Kept, moment: datetime) -> Look:
        step = self._step(scheduled_for=str(moment))
        return Look(Settlement(kept, State.SCHEDULED, {}, (step,), due_at=moment))

    def _step(self, **detail: str) -> Step:
        return Step(self.now, "find", {"directory": self.directory or "none", **detail})


def _is_gone(event: Event, person: Person) -> bool:
    """Tell whether whom nobody finds has left: so says the source, or we know it; and the source had that very id."""
    has_left = person.status is not None and person.status.value == Status.LEFT.value
    return (event.hint is Kind.LEAVER or has_left) and event.profile.external_id in person.ids_of(event.source)


def _gone(event: Event, now: datetime) -> Reading:
    """Return what it means that nobody is found any more of whom the source says they left."""
    return Reading(kind=Kind.LEAVER, profile=Profile(external_id=event.profile.external_id), at=now)
