"""Graph subscriptions: created for the address of our hook, renewed long before they end, and made again when gone.

A subscription lives 41,760 minutes at the most. Renewing it is all that Graph's ``reauthorizationRequired`` asks for.
Its ``clientState``, the source's first secret, cannot be changed: when another secret is first, or the address is
another one, a new subscription is created and then the old one deleted; the receiver takes both secrets meanwhile.
While two processes have the secrets in different orders, as in a rolling update, each makes its own with every look, at
most one in ten minutes; that ends with the update.

Graph shows no ``clientState``. What we are about to create is noted first, so whoever takes over from a process that
died meanwhile knows what it finds, and everything else that Graph has for our address is deleted as one too many.

https://learn.microsoft.com/graph/api/resources/subscription
https://learn.microsoft.com/graph/change-notifications-lifecycle-events
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from redis import Redis

from lifecycle.errors import Refused
from lifecycle.hearing import fingerprint, forget_upkeep, upkeep
from lifecycle.watching import SUBSCRIPTIONS, Watch
from workers.directories.answers import NOT_FOUND, objects, read
from workers.directories.api import Api, Page
from workers.directories.entra_delta import next_page
from workers.http import Answer
from workers.watch.base import Turn, next_at

RESOURCES = ("users", "groups")
NEEDED = "users"
CHANGES = "updated,deleted"
# Graph counts 41,760 minutes from its own clock. Renewed after days: a fortnight of trouble ends none.
LIFE, RENEW_BEFORE = timedelta(minutes=41_000), timedelta(days=25)
EVERY = timedelta(minutes=10)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
CLIENT_STATE_CHARS_MAX = 128
# An app has at most a hundred of them in a tenant.
PAGES_MAX = 20
PATH = "/subscriptions"

log = structlog.get_logger()


class Ours(NamedTuple):
    """A subscription as we created it; one without an id is about to be created."""

    id: str
    state: str
    """The fingerprint of its ``clientState``."""
    url: str


@dataclass(frozen=True)
class Wanted:
    """What each subscription of a source shall be."""

    source: str
    url: str
    secret: str

    @property
    def state(self) -> str:
        """Return the fingerprint of the secret."""
        return fingerprint(self.source, self.secret)

    def body(self, resource: str, now: datetime) -> dict[str, str]:
        """Return what Graph is sent to create one."""
        return {
            "changeType": CHANGES,
            "resource": resource,
            "notificationUrl": self.url,
            # It cannot be added later.
            "lifecycleNotificationUrl": self.url,
            "clientState": self.secret,
            "expirationDateTime": _ends(now),
        }


class Subscriptions:
    """Keeps what one source needs of them."""

    name = SUBSCRIPTIONS
    every = EVERY

    def __init__(self, redis: Redis, wanted: Wanted, api: Api) -> None:
        """Keep what is wanted, and how Graph is asked."""
        self._redis = redis
        self._wanted = wanted
        self._api = api

    def is_called(self) -> bool:
        """Tell whether Graph said something of its subscriptions."""
        return bool(upkeep(self._redis, self._wanted.source))

    def is_blind(self, watch: Watch, now: float) -> bool:
        """Tell whether one may have ended."""
        return _until(watch) < now

    def run(self, watch: Watch, turn: Turn) -> Watch:
        """Look at what there is, and make it what is wanted. Raises Refused where Graph does not allow it."""
        if len(self._wanted.secret) > CLIENT_STATE_CHARS_MAX:
            raise Refused(f"the first secret has more than {CLIENT_STATE_CHARS_MAX} characters", reason="client_state")
        now, words = turn.clock(), upkeep(self._redis, self._wanted.source)
        visit = Visit(self._wanted, self._api, turn, watch, tuple(words))
        notes = []
        for resource in RESOURCES:
            try:
                visit.tend(resource)
            except Refused as error:
                if resource == NEEDED:
                    raise
                notes.append(f"{resource} are not subscribed to: {error.message}")
        forget_upkeep(self._redis, self._wanted.source, words)
        return visit.watch.model_copy(update={"note": "; ".join(notes) or None}).done(now, next_at(now, self.every))


@dataclass
class Visit:
    """One look at the subscriptions, which ends with each as it is wanted."""

    wanted: Wanted
    api: Api
    turn: Turn
    watch: Watch
    words: Sequence[str]
    there: Mapping[str, Mapping[str, Any]] = field(init=False)
    """What Graph has of this app, by id."""

    def __post_init__(self) -> None:
        """Ask what there is."""
        self.turn.lease.renew()
        pages = self.api.talk().pages(Page(PATH), next_page, PAGES_MAX)
        self.there = {str(each.get("id")): each for page in pages for each in objects(read(page).get("value"))}

    def tend(self, resource: str) -> None:
        """Make one live as it is wanted, then delete all others for the same. Raises as a request."""
        ours = self._adopted(resource)
        fitting = [each for each in ours if each.id in self.there and self._fits(each)]
        ends_at = self._renewed(fitting[-1]) if fitting else None
        if ends_at is None:
            live, ends_at = self._created(resource, ours)
        else:
            live = fitting[-1]
        for other in {*self._here(resource, self.wanted.url), *(each.id for each in ours)} - {live.id}:
            self._send("DELETE", f"{PATH}/{other}")
            log.info("subscription.deleted", source=self.wanted.source, resource=resource)
        self._keep(resource, [live], ends_at)

    def _fits(self, ours: Ours) -> bool:
        return (ours.state, ours.url) == (self.wanted.state, self.wanted.url)

    def _adopted(self, resource: str) -> list[Ours]:
        """Return ours as noted; one that was about to be created is whatever is there and was not known."""
        noted = [Ours(*each) for each in _noted(self.watch).get(resource, [])]
        known = [each for each in noted if each.id]
        begun = next((each for each in noted if not each.id), None)
        strangers = set(self._here(resource, begun.url)) - {each.id for each in known} if begun else set()
        return known + [Ours(each, begun.state, begun.url) for each in sorted(strangers) if begun]

    def _here(self, resource: str, url: str) -> Iterator[str]:
        for name, each in self.there.items():
            if each.get("notificationUrl") == url and str(each.get("resource")).strip("/").lower() == resource:
                yield name

    def _renewed(self, ours: Ours) -> datetime | None:
        """Renew one if it is time, or Graph wants to know whether we still may; None where it is gone."""
        now, ends_at = self._now(), _moment(self.there[ours.id].get("expirationDateTime"))
        if ends_at <= now:
            return None
        if ends_at - now > RENEW_BEFORE and not any(ours.id in word for word in self.words):
            return ends_at
        answer = self._send("PATCH", f"{PATH}/{ours.id}", {"expirationDateTime": _ends(now)})
        log.info("subscription.renewed", source=self.wanted.source, found=answer.status != NOT_FOUND)
        return None if answer.status == NOT_FOUND else _moment(read(answer).get("expirationDateTime"), now + LIFE)

    def _created(self, resource: str, ours: Sequence[Ours]) -> tuple[Ours, datetime]:
        now = self._now()
        self._keep(resource, [*ours, Ours("", self.wanted.state, self.wanted.url)], None)
        made = read(self._send("POST", PATH, self.wanted.body(resource, now), allow=()))
        live = Ours(str(made["id"]), self.wanted.state, self.wanted.url)
        ends_at = _moment(made.get("expirationDateTime"), now + LIFE)
        self._keep(resource, [*ours, live], ends_at)
        log.info("subscription.created", source=self.wanted.source, resource=resource)
        return live, ends_at

    def _send(self, method: str, path: str, body: object = None, allow: Iterable[int] = (NOT_FOUND,)) -> Answer:
        self.turn.lease.renew()
        return self.api.talk([self.wanted.secret]).send(method, path, body=body, allow=allow)

    def _keep(self, resource: str, ours: Sequence[Ours], ends_at: datetime | None) -> None:
        """Note what is ours of a resource, and when the first that is needed ends."""
        noted = _noted(self.watch) | {resource: list(ours)}
        until = ends_at.timestamp() if ends_at and resource == NEEDED else _until(self.watch)
        position = json.dumps({"ours": noted, "until": until})
        shown = f"{sum(len(each) for each in noted.values())} until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M}"
        self.watch = self.watch.model_copy(update={"position": position, "shown": shown})
        self.turn.keep(self.watch)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.turn.clock(), UTC)


def _noted(watch: Watch) -> dict[str, list[Sequence[str]]]:
    found: dict[str, list[Sequence[str]]] = json.loads(watch.position)["ours"] if watch.position else {}
    return found


def _until(watch: Watch) -> float:
    """Return when the subscription that is needed ends; long ago where there is none."""
    return float(json.loads(watch.position)["until"]) if watch.position else 0.0


def _ends(now: datetime) -> str:
    return (now + LIFE).isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(found: object, otherwise: datetime = LONG_AGO) -> datetime:
    """Return a moment of Graph's, whose seconds have seven digits."""
    try:
        moment = datetime.fromisoformat(str(found))
    except ValueError:
        return otherwise
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
