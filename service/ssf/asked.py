"""What receivers ask for, as it is read: strictly where it counts, and what is not known here is ignored."""

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from lifecycle.errors import Malformed
from service.hooks import read_body

REQUEST_BYTES_MAX = 131_072
EVENTS_MAX, EVENT_CHARS_MAX = 100, 500
URL_CHARS_MAX, HEADER_CHARS_MAX = 2_000, 1_000
STATE_CHARS_MAX, REASON_CHARS_MAX, DESCRIPTION_CHARS_MAX = 2_000, 500, 500
ACKS_MAX, JTI_CHARS_MAX = 1_000, 200
FAULTS_SHOWN_MAX = 3
PLACE_PARTS_MAX, PART_CHARS_MAX = 2, 50

StreamId = Annotated[str, Field(min_length=1, max_length=100)]
EventUri = Annotated[str, Field(min_length=1, max_length=EVENT_CHARS_MAX)]
Jti = Annotated[str, Field(max_length=JTI_CHARS_MAX)]


class Asked(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


class Delivery(Asked):
    """How a stream is to be delivered."""

    method: Annotated[str, Field(max_length=URL_CHARS_MAX)]
    endpoint_url: Annotated[str, Field(max_length=URL_CHARS_MAX)] | None = None
    authorization_header: Annotated[str, Field(max_length=HEADER_CHARS_MAX, pattern=r"^[ -~]+$")] | None = None


class Configuration(Asked):
    """A stream's configuration, or the part of it that is to change: the receiver's own first, then ours."""

    events_requested: Annotated[list[EventUri], Field(max_length=EVENTS_MAX)] | None = None
    delivery: Delivery | None = None
    description: str | None = None
    iss: Any = None
    aud: Any = None
    events_supported: Any = None
    events_delivered: Any = None
    min_verification_interval: Any = None
    inactivity_timeout: Any = None
    format: Any = None


OURS: Final = (
    "iss",
    "aud",
    "events_supported",
    "events_delivered",
    "min_verification_interval",
    "inactivity_timeout",
    "format",
)
"""What is the transmitter's to say, and may only be repeated."""


class Change(Configuration):
    """The part of a stream's configuration that is to change, or all of it."""

    stream_id: StreamId | None = None


class StatusChange(Asked):
    """A new status."""

    stream_id: StreamId | None = None
    status: Literal["enabled", "paused", "disabled"]
    reason: str | None = None


class SubjectChange(Asked):
    """A subject to be added or removed."""

    stream_id: StreamId | None = None
    subject: Any
    verified: bool | None = None


class Verification(Asked):
    """A verification event to be sent."""

    stream_id: StreamId | None = None
    state: Annotated[str, Field(max_length=STATE_CHARS_MAX)] | None = None


class SetError(Asked):
    """Why a token was not taken."""

    err: str = ""
    description: Any = None


class Poll(Asked):
    """What is asked at once of a poll: to acknowledge, and to hand out more (RFC 8936 section 2.2)."""

    max_events: Annotated[Annotated[int, Field(ge=0)] | None, Field(alias="maxEvents")] = None
    return_immediately: Annotated[bool | None, Field(alias="returnImmediately")] = None
    ack: Annotated[list[Jti], Field(max_length=ACKS_MAX)] | None = None
    set_errs: Annotated[dict[Jti, SetError], Field(max_length=ACKS_MAX)] | None = Field(None, alias="setErrs")


Model = TypeVar("Model", bound=Asked)


async def read(request: Request, model: type[Model]) -> Model:
    """Read a body. Raises Malformed with the members that are wrong, and never what was found."""
    body = await read_body(request.headers, request.receive, REQUEST_BYTES_MAX)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = "; ".join(f"{_place(fault['loc'])}{fault['msg']}" for fault in faults[:FAULTS_SHOWN_MAX])
        raise Malformed(told, reason="body_malformed") from error


def _place(location: tuple[int | str, ...]) -> str:
    """Name what is wrong; of what the asker itself calls so, no more than a little."""
    place = ".".join(str(part)[:PART_CHARS_MAX] for part in location[:PLACE_PARTS_MAX])
    return f"{place}: " if place else ""
