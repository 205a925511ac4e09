"""Subscribers: what a section may hold, and which signals are for whom."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from lifecycle.errors import Refused
from lifecycle.secrets import Secret
from lifecycle.signal import Told
from lifecycle.subscriber import Subscriber, is_for
from tests.conftest import SUBSCRIBER_SECRET

ED25519 = "whsk_" + "A" * 43 + "="


def subscriber(**section: Any) -> Subscriber:  # noqa: ANN401 - configuration
    """Make a subscriber."""
    default = {"url": "https://siem.example/hooks", "secrets": [Secret("env:SIEM_WHSEC", SUBSCRIBER_SECRET)]}
    return Subscriber.model_validate(default | section)


def told(signal_type: str = "person.suspended", *, target: str = "crm", only: str = "", **data: Any) -> Told:  # noqa: ANN401 - JSON
    """Return a signal as it is kept."""
    body = json.dumps({"type": signal_type, "timestamp": "2026-03-02T09:00:00.000Z", "data": data}).encode()
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    return Told("sig_1", signal_type, body, "E1042", "hris:e1", target, {}, at, only, "")


@pytest.mark.parametrize(
    ("events", "wanted", "unwanted"),
    [
        (None, ["person.updated", "delivery.failed"], []),
        (["person.*"], ["person.updated", "person.suspended"], ["delivery.failed", "personal.x"]),
        (["person.suspended", "person.deleted"], ["person.suspended"], ["person.updated"]),
        (["subscriber.*"], ["subscriber.disabled"], ["person.updated"]),
    ],
)
def test_subscriber_wants_what_it_names(events: list[str] | None, wanted: list[str], unwanted: list[str]) -> None:
    """No list means all, ``person.*`` means the family, a name means itself."""
    siem = subscriber(events=events)

    assert [name for name in wanted + unwanted if siem.wants(told(name))] == wanted


@pytest.mark.parametrize(("target", "wants"), [("crm", True), ("desk", False), ("", True)])
def test_subscriber_hears_of_its_targets_and_of_what_has_none(target: str, wants: bool) -> None:
    """An alarm of no target in particular concerns everybody."""
    assert subscriber(targets=["crm"]).wants(told(target=target)) is wants


@pytest.mark.parametrize(
    ("when", "wants"),
    [
        ("signal.data.reason == 'left'", True),
        ("signal.data.reason != 'left'", False),
        ("signal.type.startsWith('person.')", True),
        ("'Support Agents' in signal.data.groups_removed", True),
        ("signal.data.account.active == false", False),
        ("signal.data.latency_ms == null", True),
    ],
)
def test_expression_filters_by_what_the_body_says(when: str, wants: bool) -> None:
    """Every field exists for an expression; one that a signal does not have is null."""
    signal = told(reason="left", groups_removed=["Support Agents"], account=None)

    assert subscriber(when=when).wants(signal) is wants


def test_expression_that_cannot_be_evaluated_says_so() -> None:
    """Whoever fans out decides then; nothing is left out in silence."""
    with pytest.raises(Refused):
        subscriber(when="signal.data.latency_ms > 5").wants(told())
    with pytest.raises(Refused):
        subscriber(when="signal.data.reason").wants(told(reason="left"))


def test_signal_for_one_subscriber_is_for_nobody_else_and_passes_its_filters() -> None:
    """A test goes to whoever asked for it."""
    signal = told("subscriber.test", only="siem")

    assert is_for("siem", signal)
    assert not is_for("pager", signal)
    assert subscriber(events=["person.*"], when="false").wants(signal)


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"secrets": []}, "secrets"),
        ({"secrets": [Secret("env:X", "whsec_short")]}, "env:X"),
        ({"headers": {"Host": "x"}}, "allowed: the name of a header"),
        ({"headers": {"webhook-id": "x"}}, "allowed: the name of a header"),
        ({"headers": {"X-A": "a\r\nb: c"}}, "printable"),
        ({"headers": {"X A": "a"}}, "allowed: the name of a header"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "each name once"),
        ({"headers": {"X-A": "env:NOT_THERE_AT_ALL"}}, "NOT_THERE_AT_ALL"),
        ({"when": "signal.typ("}, "when"),
        ({"when": "nosuch(signal)"}, "nosuch"),
        ({"when": "1 + 1"}, "true or false"),
        ({"when": "'left'"}, "true or false"),
        ({"requests_per_minute": 0}, "greater than or equal to 1"),
        ({"events": ["person.left"]}, "person.suspended"),
        ({"format": "ssf_push"}, "audience"),
        ({"format": "smoke"}, "standard_webhooks"),
    ],
)
def test_section_that_is_wrong_says_what_is_allowed(section: dict[str, Any], fault: str) -> None:
    """Each fault is found before anything is sent."""
    with pytest.raises(ValidationError) as refused:
        subscriber(**section)

    assert fault in str(refused.value)


def test_header_may_be_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber's own token need not stand in the file."""
    monkeypatch.setenv("SIEM_TOKEN", "of-the-siem")

    siem = subscriber(headers={"X-Token": "env:SIEM_TOKEN", "X-Tenant": "acme"})

    assert siem.header_values() == {"X-Token": "of-the-siem", "X-Tenant": "acme"}
    assert "of-the-siem" not in repr(siem)


@pytest.mark.parametrize("secrets", [[SUBSCRIBER_SECRET], [ED25519], [ED25519, SUBSCRIBER_SECRET]])
def test_secret_may_be_symmetric_or_a_private_key(secrets: list[str], make_secret: Callable[[str], Secret]) -> None:
    """``whsec_`` signs v1, ``whsk_`` signs v1a, and both may be live."""
    assert subscriber(secrets=[make_secret(each) for each in secrets]).secrets


@pytest.fixture
def make_secret() -> Callable[[str], Secret]:
    """Make a secret as if by reference."""
    return lambda value: Secret("env:X", value)
