"""What a vendor's document is read with: its faults become Unreadable, and every event gets an id and a time."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, ValidationError

from lifecycle.errors import Unreadable
from lifecycle.event import EVENT_ID_CHARS_MAX, PERSON_TEXT_CHARS_MAX, Event, Kind, Profile
from service.sources.base import Reading, Setup

NOTES_MAX = 5
AHEAD_MAX = timedelta(minutes=5)
ENTRIES_MAX = 5_000
"""Events of one notice. The largest batch that a vendor is known to send is Event Grid's."""
CUSTOM_LIST_MAX = 100
NUMBER_MAX = 2**53
"""Beyond it, JSON's numbers are no longer the same to all who read them (RFC 8259 section 6)."""
MILLISECONDS_FROM = 10**11
"""Seconds since 1970 stay below it until the year 5138; what is above is milliseconds."""

Found = TypeVar("Found")


class Told(NamedTuple):
    """What a vendor told of one person, with its own word for it."""

    id: str
    word: str
    person: Profile
    at: datetime


class Part(BaseModel):
    """A part of a vendor's document: what we do not know of it is ignored, and an id may be a number."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, hide_input_in_errors=True)


Model = TypeVar("Model", bound=BaseModel)


def parsed(model: type[Model], body: bytes) -> Model:
    """Return a body as this model. Raises Unreadable."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise unreadable(error) from error


def entry(model: type[Model], found: object) -> Model:
    """Return one entry of a batch as this model. Raises Unreadable."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise unreadable(error) from error


def json_body(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of a body. Raises Unreadable."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("the body is not JSON", reason="unreadable") from error


def json_entries(body: bytes) -> list[Any]:
    """Return the events of a body that is a JSON array, one document, or one document a line.

    A line that is not JSON is returned as it came, so that it fails alone. Raises Unreadable for an empty body, and for
    too many lines.
    """
    if not body.strip():
        raise Unreadable("the body is empty", reason="unreadable")
    try:
        found = json_body(body)
    except Unreadable:
        return list(map(_line, _lines(body)))
    return found if isinstance(found, list) else [found]


def _lines(body: bytes) -> list[bytes]:
    """Return the lines that say something. Raises Unreadable for too many, before the first is looked at."""
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) > ENTRIES_MAX:
        raise _too_many()
    return lines


def _line(line: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json_body(line)
    except Unreadable:
        return line


def read_each(entries: Sequence[Found], read_one: Callable[[Found], Event | str | Reading]) -> Reading:
    """Read a batch entry by entry: one that cannot be read keeps none of the others waiting.

    ``read_one`` returns the event, or the vendor's word of a kind that we do not carry, or a reading where an entry may
    say more than one thing, or raises Unreadable. Raises Unreadable for a batch that is larger than any, and for one of
    which nothing could be read.
    """
    if len(entries) > ENTRIES_MAX:
        raise _too_many()
    read: list[Reading] = []
    faults: list[str] = []
    for place, found in enumerate(entries):
        try:
            read.append(_reading(read_one(found)))
        except Unreadable as error:
            faults.append(f"entry {place}: {error.message}")
    if faults and not read:
        raise Unreadable("; ".join(faults[:NOTES_MAX]), reason="unreadable")
    return Reading(
        events=tuple(event for each in read for event in each.events),
        ignored=tuple(word for each in read for word in each.ignored),
        faults=(*faults, *(fault for each in read for fault in each.faults)),
        upkeep=tuple(word for each in read for word in each.upkeep),
    )


def _too_many() -> Unreadable:
    return Unreadable(f"a notice has at most {ENTRIES_MAX} events", reason="too_many_events")


def _reading(told: Event | str | Reading) -> Reading:
    if isinstance(told, Reading):
        return told
    return Reading((told,)) if isinstance(told, Event) else Reading((), (told,))


def unreadable(error: ValidationError) -> Unreadable:
    """Turn pydantic's faults into ours: where and what, never the value, which may be personal."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    lines = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in faults[:NOTES_MAX]
    ]
    return Unreadable("; ".join(lines), reason="unreadable")


def profile(**told: Any) -> Profile:  # noqa: ANN401 - fields of a person
    """Return what a source says of a person; what is None or empty was not mentioned. Raises Unreadable."""
    try:
        return Profile.model_validate({name: value for name, value in told.items() if value not in (None, "")})
    except ValidationError as error:
        raise unreadable(error) from error


def made(told: Told, kinds: Mapping[str, Kind], setup: Setup, now: datetime) -> Event:
    """Return the event; a time without a zone is of the source's. Raises Unreadable for one that names nobody."""
    return Event(
        id=event_id(told.id),
        source=setup.name,
        kind=kinds[told.word],
        person=person_key(told.person),
        profile=told.person,
        occurred_at=source_time(in_zone(told.at, setup.timezone), now),
        received_at=now,
        vendor_kind=told.word,
    )


def custom(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the custom fields that are mentioned; None where none is. Raises Unreadable for what is no plain value."""
    told = {name: value for name, value in found.items() if value not in (None, "")}
    for name, value in told.items():
        is_list = isinstance(value, list) and len(value) <= CUSTOM_LIST_MAX
        if not (all(map(_is_text, value)) if is_list else _is_text(value) or _is_number(value)):
            words = f"custom.{name}: neither a text, a number nor a list of texts is there"
            raise Unreadable(words, reason="unreadable")
    return told or None


def _is_text(found: object) -> bool:
    return isinstance(found, str) and len(found) <= PERSON_TEXT_CHARS_MAX and _is_said(found)


def _is_number(found: object) -> bool:
    return isinstance(found, bool | int | float) and abs(found) <= NUMBER_MAX


def word_of(where: str, found: object) -> str:
    """Return what is one word to a vendor: a text, a number, true or false. Raises Unreadable."""
    if isinstance(found, str):
        return found
    if isinstance(found, bool | int | float):
        return json.dumps(found)
    raise Unreadable(f"{where}: neither a text nor a number is there", reason="unreadable")


def event_id(found: str | None) -> str:
    """Check an event's id. Raises Unreadable: a key of Redis must not grow without bound, and is text.

    JSON can escape half a pair of surrogates, which no encoding can say.
    """
    if not found or len(found) > EVENT_ID_CHARS_MAX or not _is_said(found):
        raise Unreadable(f"an event id has 1 to {EVENT_ID_CHARS_MAX} characters", reason="event_id")
    return found


def _is_said(found: str) -> bool:
    """Tell whether a text can be written."""
    if found.isascii():
        return True
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True


def content_id(*parts: str | bytes) -> str:
    """Return the id of an event to which the vendor gives none: its content, so that a repeat is seen as one."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return f"sha256-{digest.hexdigest()}"


def arrival_id(now: datetime, *parts: str | bytes) -> str:
    """Return the id of an event of which a later one may be the same, byte for byte, and yet another.

    Only for what is re-read anyway: a repeat then costs a read and changes nothing.
    """
    return content_id(*parts, str(int(now.timestamp())))


def person_key(profile: Profile) -> str:
    """Return whom a profile is about. Raises Unreadable when it names nobody."""
    key = profile.key()
    if key is None:
        raise Unreadable("person needs external_id, user_name or email", reason="person_unnamed")
    return key


def source_time(moment: datetime, now: datetime) -> datetime:
    """Return the source's time in UTC; one that is more than a little ahead of ours is wrong, and ours is taken.

    A wrong clock must not outrank all else.
    """
    found = in_utc(moment)
    return found if found <= now + AHEAD_MAX else now


def epoch(number: float) -> datetime:
    """Return the moment of a number of seconds, or of milliseconds where it is that large. Raises Unreadable."""
    try:
        return datetime.fromtimestamp(number / 1000 if abs(number) >= MILLISECONDS_FROM else number, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Unreadable("a moment is outside the calendar", reason="time") from error


def moment_of(where: str, found: object) -> datetime | None:
    """Return a moment as JSON has it, with a zone or without; None where none is told. Raises Unreadable."""
    if found in (None, ""):
        return None
    if isinstance(found, int | float) and not isinstance(found, bool):
        return epoch(found)
    try:
        return datetime.fromisoformat(str(found))
    except ValueError as error:
        raise Unreadable(f"{where}: neither ISO 8601 nor seconds are there", reason="time") from error


def in_zone(moment: datetime, zone: str) -> datetime:
    """Return a moment that names no zone in this one; another as it is."""
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))


def effect(told: date | None) -> dict[str, Any]:
    """Return the fields of an event that say when it takes effect: without a zone it stays a local date or time."""
    if told is None:
        return {"effective_at": None}
    if isinstance(told, datetime) and told.tzinfo is not None:
        return {"effective_at": in_utc(told)}
    return {"effective_on": told.isoformat()}


def in_utc(moment: datetime) -> datetime:
    """Bring a moment to UTC. Raises Unreadable at the edges of the calendar, where that is not possible."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise Unreadable("a moment is outside the calendar", reason="time") from error
