"""Look: a thin event says only that something changed, so its person is looked up where the source keeps the record.

That is done in a lane of its own and without the person's lease: a slow directory keeps neither the person's other
events waiting nor anybody's leaver. What was read is put into the event, which then goes on as what it turned out to
be, in the lane of that. One read is for all events of a source that wait and name the person by the same id;
what an event itself said of the person counts no more. So it is with the events of a source that signs nothing: what
they claim is only a hint.

Who is taken for gone: nobody because a directory does not have them, unless the source had told of them before by the
very id that is asked for, and one of two holds. Either the source says now that they left; or we know that they had
left, and the directory is none that lags, which may not show yet whoever is back. Then all that waits and names this id
is a leave, but for what says that they come: who is deleted is in no directory any more, and whoever comes may not be
there yet. What else is believed of an answer, and what is looked for again first, is in ``workers.believe``.

Who is let in no more, or is sent elsewhere, waits until somebody has mended that, however long: nobody has to retry who
left meanwhile. Every other trouble has an end.
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
from lifecycle.person import Person
from lifecycle.queue import LOOKUPS
from lifecycle.reading import AT_ITS_WORD, Reading
from lifecycle.settlement import Kept, Looked, Settlement, Step
from workers import believe
from workers.agree import FEW_TRIES, FEW_TRIES_MAX, TRIES_MAX, backoff
from workers.dates import when
from workers.directories.base import NAMES, SET_UP, Record, Subject, the_one
from workers.outcome import World
from workers.screen import LeftOut, poisoned, ruled
from workers.signals import given_up

NOBODY = "nobody there has one of the names that the source gave"
NO_DIRECTORY = "the source proves nothing and has no directory, so nothing says that it is so; name one"
CONTRADICTED = "does not show what the source says, or not yet"
OLDER = "shows somebody who works here, as it may have been before they left"
A_GUESS = (
    "the record has not the strongest name that the source gave, and by the name that it has we do not know the "
    "person; let the directory have that name too"
)
# A few tries so far apart are minutes, which is what copies of a directory were seen to need.
LAG = timedelta(seconds=30)

log = structlog.get_logger()


def look(world: World, key: str) -> None:
    """Look up what is unread of one person, and pass it on."""
    lookups = Lookups(world.people)
    unread = sorted(lookups.unread(key), key=_asked_by)
    looks: list[Look] = []
    for (source, _), waiting in groupby(unread, _asked_by):
        section = world.config.sources.get(source)
        search = Search(world, section.directory if section else None, datetime.now(UTC))
        looks += search.look(list(waiting))
    try:
        lookups.settle(key, looks)
    except LeaseLost:
        world.people.look_again(key, LOOKUPS, datetime.now(UTC))


def _asked_by(kept: Kept) -> tuple[str, str]:
    """Return what one read is for: a source, and the id by which it names the person, for a mere name is no id."""
    return kept.event.source, kept.event.profile.external_id or ""


@dataclass(frozen=True)
class Search:
    """A look into one directory for the events of one source and person, which all give the same id, or none."""

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
        asked = _subject([kept.event for kept in live])
        record = self._find(asked)
        if record is None:
            return looks + self._nobody(live, person)
        if isinstance(record, GatepostError):
            return looks + self._in_vain(live, record)
        return looks + [read for kept in live if (read := self._read(kept, asked, record))]

    def _unasked(self, kept: Kept) -> Look:
        """Return an event of a source without a directory: at its word, or given up where its word is worth nothing."""
        if kept.event.hint is None:
            return Look(Settlement(kept, State.KEPT, {}, ()), AT_ITS_WORD)
        found = ruled(kept) or poisoned(kept) or LeftOut(State.FAILED, "no_directory", NO_DIRECTORY)
        return self._given_up(kept, found)

    def _may_look(self, kept: Kept) -> bool:
        return kept.looked.retry_at is None or kept.looked.retry_at <= self.now

    def _find(self, asked: Subject) -> Record | GatepostError | None:
        """Read the record; every error becomes an outcome here."""
        assert self.directory is not None  # noqa: S101 - look returns before
        try:
            return the_one(asked, self.world.directories[self.directory].find(asked))
        except JobTimeoutException:
            return Postponed("the directory took longer than a job may", reason="slow")
        except GatepostError as error:
            return Postponed(error.message, reason=error.reason) if error.reason in SET_UP else error
        except Exception as error:  # noqa: BLE001 - a fault of ours must neither lose the event nor kill the lane
            # Its text may hold what is personal.
            log.error("directory.fault", directory=self.directory, **fault(error))  # noqa: TRY400
            return Postponed(f"a fault of ours: {type(error).__name__}", reason="internal")

    def _nobody(self, live: Sequence[Kept], person: Person) -> list[Look]:
        """Return what it means that nobody was found: what a directory was just told, it may not show yet."""
        has_left = any(believe.is_gone(kept.event, person, lags=self._lags) for kept in live)
        gone = [kept for kept in live if has_left and kept.event.hint is not Kind.JOINER]
        others = [kept for kept in live if not has_left or kept.event.hint is Kind.JOINER]
        error: GatepostError = Refused(NOBODY, reason="not_in_directory")
        if self._lags:
            error = Postponed(NOBODY, reason="not_in_directory", retry_at=self.now + LAG)
        return [self._passed_on(kept, _gone(kept.event, self.now)) for kept in gone] + self._in_vain(others, error)

    @property
    def _sources(self) -> frozenset[str]:
        """Name the sources of whom the directory tells."""
        sections = self.world.config.sources.items()
        return frozenset(name for name, section in sections if section.directory == self.directory)

    @property
    def _lags(self) -> bool:
        return self.directory is not None and self.world.directories[self.directory].lags

    def _read(self, kept: Kept, asked: Subject, record: Record) -> Look | None:
        """Return the event as what it turned out to be; None where its next look is still to come."""
        event, links = kept.event, self.world.links
        whose = self._whose(event, record)
        person = links.known(whose)
        if whose == event.person and believe.is_guess(event, asked, record, person):
            return self._missed(kept, Held(A_GUESS, reason="weaker_name"), self.now)
        is_contradicted = believe.contradicts(event, record, person)
        shown_at = believe.shown_at(event, record, person, self.now, self._sources) if self._lags else None
        if is_contradicted or shown_at:
            if not self._may_look(kept):
                # Others' looks, of which there may be many in a moment, use up none of its own.
                return None
            if again := self._again(kept, shown_at, is_contradicted=is_contradicted):
                return again
        as_of = min(record.as_of, self.now) if record.works_here else None
        reading = Reading(kind=_kind(record, person), profile=record.profile, at=self.now, as_of=as_of)
        return self._passed_on(kept, reading, whose)

    def _again(self, kept: Kept, shown_at: datetime | None, *, is_contradicted: bool) -> Look | None:
        """Return a later look, where the record may be one of before; None where it was looked for often enough."""
        times, waits = kept.looked.contradicted, believe.waits(lags=self._lags)
        if is_contradicted:
            log.warning("event.contradicted", event_id=kept.event.id, source=kept.event.source, times=times)
            if times < len(waits):
                looked = Looked(retry_at=self.now + waits[times], contradicted=times + 1)
                return self._postponed(kept, Postponed(CONTRADICTED, reason="contradicted"), looked)
        if shown_at is None:
            return None
        looked = Looked(retry_at=shown_at, contradicted=times)
        return self._postponed(kept, Postponed(OLDER, reason="older_than_leave"), looked)

    def _passed_on(self, kept: Kept, reading: Reading, person: str | None = None) -> Look:
        log.info("event.read", event_id=kept.event.id, source=kept.event.source, found=reading.kind.value)
        step = self._step(found=reading.kind.value)
        return Look(Settlement(kept, State.KEPT, {}, (step,)), reading, person)

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
        due = [kept for kept in live if self._may_look(kept)]
        others = [kept.looked for kept in live if not self._may_look(kept)]
        planned = [looked.retry_at for looked in others if looked.in_trouble and looked.retry_at]
        tries = min((kept.looked.times + kept.looked.barred for kept in due), default=0)
        named = error.retry_at if isinstance(error, Postponed) else None
        retry_at = min(planned, default=None) or named or self.now + backoff(tries)
        return [self._missed(kept, error, retry_at) for kept in due]

    def _missed(self, kept: Kept, error: GatepostError, retry_at: datetime) -> Look:
        looked = kept.looked._replace(retry_at=retry_at)
        if isinstance(error, Postponed) and error.reason in SET_UP:
            return self._postponed(kept, error, looked._replace(barred=looked.barred + 1))
        tries_max = FEW_TRIES_MAX if error.reason in FEW_TRIES else TRIES_MAX
        if not isinstance(error, Postponed) or kept.looked.times + 1 >= tries_max:
            state = State.HELD if isinstance(error, Held) else State.FAILED
            return self._given_up(kept, LeftOut(state, error.reason, f"directory {self.directory}: {error.message}"))
        return self._postponed(kept, error, looked._replace(times=looked.times + 1, barred=0))

    def _postponed(self, kept: Kept, error: Postponed, looked: Looked) -> Look:
        step = self._step(
            outcome=State.POSTPONED.value, reason=error.reason, detail=error.message, retry_at=str(looked.retry_at)
        )
        detail = f"directory {self.directory}: {error.message}"
        settlement = Settlement(kept, State.POSTPONED, {}, (step,), error.reason, detail)
        return Look(settlement, looked=looked)

    def _given_up(self, kept: Kept, left_out: LeftOut) -> Look:
        """Return an event that waits for a person; that one failed is told."""
        step = self._step(outcome=left_out.state.value, reason=left_out.reason, detail=left_out.detail or "")
        settlement = Settlement(kept, left_out.state, {}, (step,), left_out.reason, left_out.detail)
        settlement = replace(settlement, is_hold=left_out.state is State.HELD)
        signals = []
        if left_out.state is State.FAILED:
            known = self.world.links.known(kept.event.person)
            signals = [given_up(known, kept.event, left_out, self.now)]
        return Look(settlement, signals=signals)

    def _scheduled(self, kept: Kept, moment: datetime) -> Look:
        step = self._step(scheduled_for=str(moment))
        return Look(Settlement(kept, State.SCHEDULED, {}, (step,), due_at=moment))

    def _step(self, **detail: str) -> Step:
        return Step(self.now, "find", {"directory": self.directory or "none", **detail})


def _subject(events: Sequence[Event]) -> Subject:
    """Return whom events speak of: the newest knows the newest names."""
    newest = max(events, key=lambda event: (event.occurred_at, event.ref))
    return Subject(**{name: getattr(newest.profile, name) for name in NAMES})


def _kind(record: Record, person: Person) -> Kind:
    if not record.works_here:
        return Kind.LEAVER
    return Kind.MOVER if believe.works_here(person) else Kind.JOINER


def _gone(event: Event, now: datetime) -> Reading:
    """Return what it means that nobody is found any more of whom the source says they left."""
    return Reading(kind=Kind.LEAVER, profile=Profile(external_id=event.profile.external_id), at=now)
