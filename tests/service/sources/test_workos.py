"""WorkOS, where its webhooks are odd: states, signatures and words that no fixture has."""

import json
from typing import Any

import pytest

from lifecycle.errors import Unauthentic, Unreadable
from service.sources import workos
from service.sources.base import Notice, Reading
from tests.notices import load, setup_of

GOOD = load("workos/user_updated_inactive")


def read(**changes: Any) -> Reading:  # noqa: ANN401 - JSON
    """Read the deactivation with other words in it; those of the person are given by name."""
    document = json.loads(GOOD.notice.body)
    document |= {name: changes.pop(name) for name in ("event", "created_at") if name in changes}
    document["data"] |= changes
    return workos.read(Notice("POST", "", {}, json.dumps(document).encode()), GOOD.setup, GOOD.at)


@pytest.mark.parametrize("state", ["staged", "", None, 1, ["active"]])
@pytest.mark.parametrize("event", ["dsync.user.created", "dsync.user.updated"])
def test_state_that_nobody_knows_is_set_aside_not_guessed(event: str, state: object) -> None:
    """Whether somebody works here is not to be guessed, in either direction."""
    with pytest.raises(Unreadable):
        read(event=event, state=state)


@pytest.mark.parametrize("event", ["dsync.user.updated:inactive", "dsync.user.created:suspended", "dsync.user.gone"])
def test_our_own_words_are_none_of_the_vendors(event: str) -> None:
    """A word that we made out of an event and a state names no event."""
    assert read(event=event, state="suspended") == Reading((), (event,))


def test_deletion_needs_no_state() -> None:
    """Whoever is deleted left, whatever the record said last."""
    (event,) = read(event="dsync.user.deleted", state="active").events

    assert event.kind == "leaver"


@pytest.mark.parametrize("before", [{"state": ["inactive"]}, {"state": "active"}, "inactive", [], None])
def test_person_comes_back_only_from_a_state_of_leave(before: object) -> None:
    """A profile change of somebody active is no return: it must not undo what another source said."""
    (event,) = read(state="active", previous_attributes=before).events

    assert (event.kind, event.vendor_kind) == ("mover", "dsync.user.updated")


def test_person_without_an_id_of_the_directory_is_known_by_a_name() -> None:
    """The login, in lower case, or else the address; nobody at all is unreadable."""
    (event,) = read(idp_id=None, email="Bo.Ray@acme.example").events

    assert event.person == "bo.ray@acme.example"
    assert "external_id" not in event.profile.told()
    with pytest.raises(Unreadable):
        read(idp_id=None, email=None)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "t=, v1=",
        "v1={digest}, t={stamp}",
        "t={stamp},  v1={digest}",
        "t={stamp}, v1={digest}, v1={digest}",
        "t={stamp}, t={stamp}, v1={digest}",
        "t=+{stamp}, v1={digest}",
        "t={stamp}, v0={digest}",
        "t=\u00b9\u00b2, v1={digest}",
    ],
)
def test_header_of_another_form_is_unauthentic(value: str) -> None:
    """Only what WorkOS writes is read: a time in milliseconds and one digest."""
    stamp, digest = GOOD.notice.headers["workos-signature"].removeprefix("t=").split(", v1=")
    headers = {"workos-signature": value.format(stamp=stamp, digest=digest)}

    with pytest.raises(Unauthentic):
        workos.verify(GOOD.notice._replace(headers=headers), GOOD.setup, GOOD.at)


@pytest.mark.parametrize("depth", [1, 100, 190, 195, 196, 197, 198, 199, 200, 300])
def test_whatever_depth_of_an_attribute_is_read_can_be_kept(depth: int) -> None:
    """A nested custom attribute is either unreadable or survives its way through Redis."""
    body = GOOD.notice.body.replace(b'"custom_attributes":{', b'"custom_attributes":{"deep":%s,' % _nested(depth))

    try:
        (event,) = workos.read(GOOD.notice._replace(body=body), GOOD.setup, GOOD.at).events
    except Unreadable:
        return
    assert type(event).model_validate_json(event.to_json()) == event


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_source_of_one_directory_hears_no_other() -> None:
    """Two directories may have the same id for two people."""
    captured = load("workos_one_directory/user_of_another_directory")

    everything = workos.read(captured.notice, setup_of("workos"), captured.at)
    own = workos.read(captured.notice, captured.setup, captured.at)

    assert (len(everything.events), len(own.events)) == (1, 0)
