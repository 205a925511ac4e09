"""Whether a target only tells us back what we wrote there ourselves: acting on that would be a loop. Pure."""

from collections.abc import Iterable
from datetime import timedelta

from lifecycle.config import Config
from lifecycle.event import Event, Kind
from lifecycle.person import CUSTOM, CUSTOM_PREFIX, NAMES, Account, Person, Status
from lifecycle.settlement import Kept
from workers.dates import is_dated
from workers.order import EXTERNAL_ID

ECHO = "echo"
# How long after we settled an account a report of it may be one of our own writing, and how long before: the target
# writes down the time of a change before we have its answer, and by a clock of its own.
ECHO_AFTER_MAX, ECHO_BEFORE_MAX = timedelta(minutes=10), timedelta(minutes=1)

USER_NAME = "user_name"
# What each kind says of the account; who moved may be active or not. A "look again" is no echo: looking is harmless.
ACTIVE = {Kind.JOINER: True, Kind.LEAVER: False, Kind.MOVER: None}


def is_echo(config: Config, person: Person, kept: Kept) -> bool:
    """Tell whether an event that was not worked on yet says only what we know, of an account that we just settled."""
    event = kept.event
    account = _reported(config, person, event)
    if account is None or account.settled_at is None or kept.deliveries or is_dated(event):
        return False
    since = event.occurred_at - account.settled_at
    if event.kind not in ACTIVE or not -ECHO_BEFORE_MAX <= since <= ECHO_AFTER_MAX:
        return False
    return _says_known_status(person, account, event) and all(
        _is_known(person, account, *told) for told in _told(event)
    )


def _reported(config: Config, person: Person, event: Event) -> Account | None:
    """Return the account of which the event's source tells; None for a source that tells of no target."""
    source = config.sources.get(event.source)
    return person.accounts.get(source.target) if source and source.target else None


def _says_known_status(person: Person, account: Account, event: Event) -> bool:
    active = ACTIVE[event.kind]
    if active is None:
        return True
    known = Status.ACTIVE if active else Status.LEFT
    return account.active is active and person.status is not None and person.status.value == known.value


def _told(event: Event) -> Iterable[tuple[str, object]]:
    for name, value in event.profile.told().items():
        if name == CUSTOM and value is not None:
            yield from ((f"{CUSTOM_PREFIX}{key}", part) for key, part in value.items())
        else:
            yield name, value


def _is_known(person: Person, account: Account, name: str, value: object) -> bool:
    """Tell whether a field is as we know it: by its own id and name the account is the person's too."""
    if name == EXTERNAL_ID:
        return value in person.external_ids() | {account.id, person.value(name)}
    if name == CUSTOM:
        return all(fact.value is None for known, fact in person.facts.items() if known.startswith(CUSTOM_PREFIX))
    if name in NAMES:
        known_as = {person.value(name), account.user_name if name == USER_NAME else None}
        return str(value).lower() in {str(each).lower() for each in known_as}
    return bool(person.value(name) == value)
