"""What a request asks of a subscriber: a new one, a change by JSON merge patch (RFC 7396), a new secret. Pure.

The keys are those of ``[subscribers.NAME]``, but a secret stands here itself, where the file has a reference. What is
wrong is told as for the file: the key, what was found, what is allowed.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel

from lifecycle import signature
from lifecycle.config import Config
from lifecycle.errors import Conflict, Malformed, Misconfigured
from lifecycle.faults import told
from lifecycle.fields import Duration, Name, Section
from lifecycle.sealed import GIVEN, V1, V1A, Made, Signing, kind_of, new_secret
from lifecycle.ssf.events import FULL
from lifecycle.subscriber import SECRETS_MAX, SSF_PUSH, STANDARD_WEBHOOKS, Subscriber

OVERLAP_DEFAULT, OVERLAP_MAX = timedelta(hours=24), timedelta(days=7)
MASK = "***"
"""What is shown for a value that is not."""

_ALL = ("url", "events", "targets", "when", "headers", "requests_per_minute", "allow_private")
KEYS = {
    STANDARD_WEBHOOKS: _ALL,
    SSF_PUSH: (*_ALL, "token", "authorization", "audience", "subject", "profile", "provisioning", "set_events"),
}
"""What may be changed, by format."""
STANDS = ("paused", "disabled")
SIGNING = ("signature", "secret")
BEARERS = ("token", "authorization")
SEALED = ("headers", *BEARERS)
KEY_CHARS_MAX = 80
REASON = "subscriber_malformed"
_WHOLE = "the file: found a table; "

Found = TypeVar("Found", bound=BaseModel)


class _Naming(Section):
    name: Name
    format: Literal["standard_webhooks", "ssf_push"] = "standard_webhooks"


class _Signing(Section):
    signature: Literal["v1", "v1a"] | None = None
    """Which kind of secret is made; None for ``v1``, or as before."""
    secret: str | None = None
    """A secret of the receiver's own making."""


class _Rotation(_Signing):
    overlap: Duration = OVERLAP_DEFAULT


class _Stand(Section):
    paused: bool | None = None
    disabled: Literal[False] | None = None


class Change(NamedTuple):
    """What a PATCH asks for."""

    fields: Mapping[str, Any]
    paused: bool | None
    """None for as it is."""
    enable: bool


def created(body: Mapping[str, Any], config: Config, now: datetime) -> tuple[str, Made]:
    """Return a new subscriber and its name. Raises Malformed."""
    naming = _told(_Naming, _among(body, ("name", "format")))
    own = SIGNING if naming.format == STANDARD_WEBHOOKS else ()
    _check_keys(body, ("name", "format", *own, *KEYS[naming.format]))
    empty = Made({"format": naming.format}, _first(body, now) if own else [], {}, {}, now, now)
    return naming.name, _merged(empty, _among(body, KEYS[naming.format]), config, now)


def change(body: Mapping[str, Any]) -> Change:
    """Return what a PATCH asks for. Raises Malformed for what no subscriber could be asked."""
    stand = _told(_Stand, _among(body, STANDS))
    fields = {name: value for name, value in body.items() if name not in STANDS}
    return Change(fields, stand.paused, stand.disabled is False)


def changed(made: Made, fields: Mapping[str, Any], config: Config, now: datetime) -> Made:
    """Return a subscriber with some fields changed; null for a field's default. Raises Malformed."""
    _check_keys(fields, (*KEYS[made.section["format"]], *STANDS))
    made = replace(made, secrets=made.live(now), updated_at=now)
    # Without a change nothing is checked: one whose target is gone can still be paused.
    return _merged(made, fields, config, now) if fields else made


def rotated(made: Made, body: Mapping[str, Any], now: datetime) -> Made:
    """Return a subscriber with a new secret, beside which the old ones sign for a while. Raises Malformed, Conflict."""
    if not made.secrets:
        raise Malformed("it has no secret of ours: change its token by PATCH", reason=REASON)
    _check_keys(body, ("overlap", *SIGNING))
    asked = _told(_Rotation, body)
    if asked.overlap > OVERLAP_MAX:
        raise _malformed("overlap", "more than 7d", "0s to 7d")
    end = now + asked.overlap
    old = [replace(each, expires_at=min(end, each.expires_at or end)) for each in made.live(now)]
    new = _new(asked, kind_of(made.secrets[0].value), now)
    if new.value in {each.value for each in old}:
        raise _malformed("secret", "one that is in use", "a new one")
    secrets = [new, *(each for each in old if each.lives(now))]
    if len(secrets) > SECRETS_MAX:
        words = f"{SECRETS_MAX} secrets sign already; wait until one ends, or rotate with an overlap of 0s"
        raise Conflict(words, reason="secrets_many")
    return replace(made, secrets=secrets, updated_at=now)


def _first(body: Mapping[str, Any], now: datetime) -> list[Signing]:
    return [_new(_told(_Signing, _among(body, SIGNING)), V1, now)]


def _new(asked: _Signing, kind: str, now: datetime) -> Signing:
    if asked.secret is None:
        return Signing(new_secret(asked.signature or kind), now)
    try:
        signature.signer(asked.secret)
    except ValueError as error:
        raise _malformed("secret", GIVEN, str(error)) from error
    if asked.signature not in {None, kind_of(asked.secret)}:
        raise _malformed("signature", repr(asked.signature), f"{V1} for a whsec_ secret, {V1A} for a whsk_ key")
    return Signing(asked.secret, now)


def _merged(made: Made, fields: Mapping[str, Any], config: Config, now: datetime) -> Made:
    section = {name: value for name, value in made.section.items() if name not in fields}
    section |= {name: value for name, value in fields.items() if value is not None and name not in SEALED}
    headers = _headers(made.headers, fields["headers"]) if "headers" in fields else made.headers
    bearers = {**made.bearers, **_bearers(fields)}
    bearers = {kind: value for kind, value in bearers.items() if value is not None}
    found = replace(made, section=section, headers=headers, bearers=bearers)
    _check(found, config, now)
    return found


def _headers(before: Mapping[str, Any], given: Any) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _malformed("headers", _kind(given), "an object")
    for name, value in given.items():
        if not _is_value(value):
            found = _kind(value) if not isinstance(value, str) else "the mask" if value == MASK else "a reference"
            raise _malformed(f"headers.{name[:KEY_CHARS_MAX]}", found, "the value itself, or null to take it away")
    return {name: value for name, value in {**before, **given}.items() if value is not None}


def _is_value(value: object) -> bool:
    """Tell whether this can be a header's value: not what is shown for one, nor what only the file can have."""
    return value is None or (isinstance(value, str) and value != MASK and not value.startswith(("env:", "file:")))


def _bearers(fields: Mapping[str, Any]) -> dict[str, Any]:
    found = _among(fields, BEARERS)
    for kind, value in found.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise _malformed(kind, GIVEN, "a text, or null to take it away")
    return found


def _check(made: Made, config: Config, now: datetime) -> None:
    """Check it as one of the file is checked. Raises Malformed."""
    try:
        found = told(lambda: made.subscriber(now), Subscriber)
        config.check_subscriber("", found)
        _check_values(found, config)
    except Misconfigured as error:
        lines = [line.removeprefix(_WHOLE).removeprefix("allowed: ") for line in error.lines]
        raise Malformed("\n".join(lines), reason=REASON) from error
    except ValueError as error:
        raise Malformed(str(error), reason=REASON) from error


def _check_values(found: Subscriber, config: Config) -> None:
    """Refuse what would be empty: the values of attributes are kept only where the file says that they are told."""
    if found.provisioning == FULL and not config.tells_values:
        allowed = "notice, none; full where a subscriber or receiver of the configuration has it"
        raise _malformed("provisioning", repr(FULL), allowed)


def _check_keys(body: Mapping[str, Any], allowed: Collection[str]) -> None:
    for name, value in body.items():
        if name not in allowed:
            raise _malformed(name[:KEY_CHARS_MAX], _kind(value), f"none but these keys: {', '.join(allowed)}")


def _malformed(key: str, found: str, allowed: str) -> Malformed:
    return Malformed(f"{key}: found {found}; allowed: {allowed}", reason=REASON)


def _among(body: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in names}


def _told(model: type[Found], raw: Mapping[str, Any]) -> Found:
    try:
        return told(lambda: model.model_validate(raw), model)
    except Misconfigured as error:
        raise Malformed("\n".join(error.lines), reason=REASON) from error


def _kind(value: Any) -> str:  # noqa: ANN401 - JSON
    words = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return words.get(type(value), "a number")
