"""What is told of a change besides the body: names of attributes, values for whom they are meant, old names."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.event import Event, Kind, State
from lifecycle.person import Person
from lifecycle.secrets import Secret
from lifecycle.signal import Signal, Told
from lifecycle.ssf import sets
from lifecycle.ssf.section import Receiver, Ssf
from lifecycle.ssf.signing import Signing
from tests.checklist.encounter import Encounter, Proceed
from tests.strict_receiver import PROV, RISC, StrictReceiver, Taken
from tests.transmitter import AUDIENCE, ISSUER, kept, ssf, subscriber
from tests.workers.conftest import MakeStage
from tests.workers.fake_scim import FakeScim, Said, reply
from tests.workers.stories import AT, BO, event, person
from workers.accounts import with_accounts
from workers.outcome import Result
from workers.signals import signals_for
from workers.task import Agreement

Meet = Callable[..., Encounter]
JOINER, MOVER, LEAVER = event(Kind.JOINER), event(Kind.MOVER), event(Kind.LEAVER)
ATTRIBUTES = {
    "userName": "person.email",
    "displayName": "person.display_name",
    "title": "person.title",
    'emails[type eq "work"].value': "person.email",
    "name.givenName": "person.given_name",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department": "person.department",
}
RENAMED = {**BO, "email": "bo.roe@acme.example"}


@pytest.fixture
def meet(redis: Redis) -> Meet:
    """Meet a server that keeps these attributes."""
    return lambda **fields: Encounter(redis, **{"attributes": ATTRIBUTES, **fields})


def told(encounter: Encounter, known: Person, cause: Event, *, values: bool = False) -> Signal:
    """Make one attempt, settle it, and return the signal of what it changed."""
    accounts = {"crm": encounter.account} if encounter.account else {}
    before = known.model_copy(update={"accounts": accounts})
    result = Result("crm", State.APPLIED, encounter.agree(known), encounter.talk)
    after = with_accounts(before, [result])
    encounter.account = after.accounts["crm"]
    (signal,) = signals_for(after, cause, [result], AT, before=before, values=values)
    return signal


def facts(signal: Signal) -> dict[str, Any]:
    """Return what is told besides the body."""
    found: dict[str, Any] = json.loads(signal.facts)
    return found


def taken(signal: Signal, **shape: Any) -> list[Taken]:  # noqa: ANN401 - keys of a section
    """Return the tokens of a signal, as a strict receiver takes them."""
    whose, made, signing = subscriber(**shape), kept(signal, AT), Signing(ssf())
    strict = StrictReceiver(ISSUER, AUDIENCE, signing.public())
    return [strict.take(sets.token(signing, ISSUER, made, each, whose), AT) for each in sets.items(made, whose, None)]


def test_joiner_is_told_by_names_alone(meet: Meet) -> None:
    """The attributes that the account was made with, and no value of them."""
    signal = told(meet(), person(**BO), JOINER)

    assert facts(signal) == {
        "email": BO["email"],
        "user_name": BO["email"],
        "attributes": [
            "id",
            "userName",
            "active",
            "externalId",
            "displayName",
            "title",
            "emails",
            "name",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        ],
    }
    (token,) = taken(signal)
    assert (token.uri, token.event["attributes"]) == (PROV + "create:notice", facts(signal)["attributes"])


def test_joiner_is_told_whole_to_whom_it_is_meant_for(meet: Meet) -> None:
    """As the account is there: its id is the target's."""
    encounter = meet()

    (token,) = taken(told(encounter, person(**BO), JOINER, values=True), provisioning="full")

    data = token.event["data"]
    assert token.uri == PROV + "create:full"
    assert data["id"] == encounter.fake.user(BO["email"])["id"]
    assert (data["title"], data["active"], data["emails"][0]["value"]) == (BO["title"], True, BO["email"])


def test_mover_is_told_by_what_was_written(meet: Meet) -> None:
    """What stays as it is is no news."""
    encounter = meet()
    told(encounter, person(**BO), JOINER)

    signal = told(encounter, person(**{**BO, "title": "Lead", "given_name": "Bob"}), MOVER, values=True)

    assert facts(signal)["attributes"] == ["title", "name.givenName"]
    assert "old" not in facts(signal)
    assert [each.event for each in taken(signal)] == [{"attributes": ["title", "name.givenName"]}]
    (full,) = taken(signal, provisioning="full")
    assert full.event["data"]["Operations"] == encounter.operations()


@pytest.mark.parametrize(
    "attributes",
    [
        ATTRIBUTES,
        {**{name: each for name, each in ATTRIBUTES.items() if "emails" not in name}, "emails": "[person.email]"},
    ],
    ids=["value_path", "list"],
)
def test_who_is_renamed_is_told_by_the_old_name(meet: Meet, attributes: dict[str, str]) -> None:
    """The old address is in no name of what changed, though the filter of a PATCH may have it."""
    encounter = meet(attributes=attributes)
    told(encounter, person(**BO), JOINER)

    signal = told(encounter, person(**RENAMED), MOVER)

    assert facts(signal) == {
        "email": RENAMED["email"],
        "user_name": RENAMED["email"],
        "attributes": ["userName", "emails"],
        "old": {"email": BO["email"], "user_name": BO["email"]},
    }
    renamed, _ = taken(signal, subject="iss_sub")
    assert (renamed.uri, renamed.event) == (RISC + "identifier-changed", {"new-value": RENAMED["email"]})
    assert renamed.subject == {"format": "email", "email": BO["email"]}


def test_other_letters_make_no_other_name(meet: Meet) -> None:
    """A user name has no case (RFC 7643 section 4.1.1)."""
    encounter = meet()
    told(encounter, person(**BO), JOINER)

    signal = told(encounter, person(**{**BO, "email": BO["email"].title(), "title": "Lead"}), MOVER)

    assert "old" not in facts(signal)


def test_change_whose_answer_was_lost_is_told_by_all_that_is_managed(meet: Meet) -> None:
    """It is found done, and nobody knows which attributes it was."""
    encounter = meet()
    told(encounter, person(**BO), JOINER)
    assert encounter.account is not None
    encounter.account = encounter.account.model_copy(update={"digest": "of another state"})

    (token,) = taken(told(encounter, person(**BO), MOVER, values=True), provisioning="full")

    assert token.uri == PROV + "patch:notice"
    assert {"title", "emails", "name.givenName", "userName"} <= {*token.event["attributes"]}


def test_values_of_what_was_refused_in_part_are_not_told(meet: Meet) -> None:
    """What the target took is not known one by one; that something changed is."""

    def stubborn(said: Said, proceed: Proceed) -> httpx.Response:
        refused = any(each.get("path") == "title" for each in (said.body or {}).get("Operations", ()))
        return reply(400, {"scimType": "invalidValue", "detail": "title"}) if refused else proceed()

    encounter = meet(way=stubborn)
    told(encounter, person(**BO), JOINER)

    signal = told(encounter, person(**{**BO, "title": "Lead", "display_name": "Bob"}), MOVER, values=True)

    assert "values" not in facts(signal)
    assert [each.uri for each in taken(signal, provisioning="full")] == [PROV + "patch:notice"]


def test_leaver_is_told_by_the_address_and_nothing_else(meet: Meet) -> None:
    """It is what most receivers know a person by."""
    encounter = meet()
    told(encounter, person(**BO), JOINER)

    signal = told(encounter, person("left", **BO), LEAVER, values=True)

    assert facts(signal).keys() <= {"email", "user_name", "attributes", "values"}
    assert [each.subject.get("email") for each in taken(signal)] == [BO["email"], BO["email"], None]


LEFT_AS = {**BO, "email": "bo.ray.left@acme.example"}
WITHOUT_EMAIL = {**BO, "email": None, "user_name": "bo"}
FOREIGN = {"userName": "person.external_id", "displayName": "person.display_name", "title": "person.title"}


@pytest.mark.parametrize("attributes", [ATTRIBUTES, FOREIGN], ids=["managed", "not_managed"])
@pytest.mark.parametrize("leaves_as", [LEFT_AS, WITHOUT_EMAIL], ids=["renamed", "without"])
def test_leaver_is_named_as_receivers_know_the_person(
    meet: Meet, attributes: dict[str, str], leaves_as: dict[str, Any]
) -> None:
    """What the address is changed to with the leave, nobody has heard of; and a repeat changes nothing of that."""
    encounter = meet(attributes=attributes)
    told(encounter, person(**BO), JOINER)

    left = told(encounter, person("left", **leaves_as), LEAVER)
    assert encounter.account is not None
    encounter.account = encounter.account.model_copy(update={"active": True})
    again = told(encounter, person("left", **leaves_as), LEAVER)

    for signal in (left, again):
        named = [each.subject for each in taken(signal) if not each.uri.startswith(PROV)]
        assert named == [{"format": "email", "email": BO["email"]}] * 2
        assert "old" not in facts(signal)


def test_renaming_is_told_with_the_next_change_whatever_a_target_manages(meet: Meet) -> None:
    """First, by the old name; from then on the new one counts."""
    encounter = meet(attributes=FOREIGN)
    told(encounter, person(**BO), JOINER)
    lead = {**RENAMED, "title": "Lead"}

    moved, left = told(encounter, person(**lead), MOVER), told(encounter, person("left", **lead), LEAVER)

    renamed, notice = taken(moved)
    assert (renamed.subject["email"], renamed.event) == (BO["email"], {"new-value": RENAMED["email"]})
    assert notice.event == {"attributes": ["title"]}
    assert [each.subject.get("email") for each in taken(left)] == [RENAMED["email"], RENAMED["email"], None]


def test_who_comes_back_under_another_name_is_told_by_the_old_one_first(meet: Meet) -> None:
    """Though the target itself never showed it, and a leave was told meanwhile."""
    encounter = meet()
    told(encounter, person(**BO), JOINER)
    told(encounter, person("left", **LEFT_AS), LEAVER)

    renamed, enabled, _ = taken(told(encounter, person(**RENAMED), JOINER))

    assert (renamed.subject["email"], renamed.event) == (BO["email"], {"new-value": RENAMED["email"]})
    assert (enabled.uri, enabled.subject["email"]) == (RISC + "account-enabled", RENAMED["email"])


def test_who_has_no_address_any_more_and_stays_is_told_without_a_new_one(meet: Meet) -> None:
    """RISC has new-value optional; from then on the person is named otherwise, for the address may be another's."""
    encounter = meet(attributes=FOREIGN)
    told(encounter, person(**BO), JOINER)
    lead = {**WITHOUT_EMAIL, "title": "Lead"}

    moved, left = told(encounter, person(**lead), MOVER), told(encounter, person("left", **lead), LEAVER)

    renamed, _ = taken(moved)
    assert (renamed.uri, renamed.subject["email"], renamed.event) == (RISC + "identifier-changed", BO["email"], {})
    assert [each.subject["format"] for each in taken(left)] == ["iss_sub", "iss_sub", "scim"]


def test_user_name_that_is_an_address_names_who_has_no_other(meet: Meet) -> None:
    """So a receiver that knows it hears when another takes its place."""
    encounter = meet(attributes=FOREIGN)
    told(encounter, person(**{**BO, "email": None, "user_name": "bo@acme.example"}), JOINER)

    renamed, _ = taken(told(encounter, person(**{**BO, "title": "Lead"}), MOVER))

    assert (renamed.subject["email"], renamed.event) == ("bo@acme.example", {"new-value": BO["email"]})


def test_deletion_names_the_person_as_the_leave_did(meet: Meet) -> None:
    """Both of one attempt, and one that comes later."""
    encounter = meet()
    told(encounter, person(**BO), JOINER)
    before = person("left", **LEFT_AS).model_copy(update={"accounts": {"crm": encounter.account}})
    agreement = encounter.agree(before)
    both = replace(agreement, deleted_at=AT)
    alone = Agreement(encounter.account, deleted_at=AT)

    for found in (both, alone):
        result = Result("crm", State.APPLIED, found, encounter.talk)
        after = with_accounts(before, [result])
        signals = signals_for(after, LEAVER, [result], AT, before=before)
        named = [each.subject for signal in signals for each in taken(signal) if not each.uri.startswith(PROV)]
        assert named
        assert all(each == {"format": "email", "email": BO["email"]} for each in named)


def test_attempt_does_not_show_what_is_personal(meet: Meet) -> None:
    """A trace shows an agreement as text; the values are not in it."""
    encounter = meet()

    agreement = encounter.agree(person(**BO))

    assert agreement.values["title"] == "Agent"
    assert "'title': 'Agent'" not in repr(agreement)


@pytest.mark.parametrize("provisioning", ["notice", "full"])
def test_what_is_kept_of_a_signal_makes_its_tokens(make_stage: MakeStage, fake: FakeScim, provisioning: str) -> None:
    """The whole way of a joiner: from the event to what a receiver reads."""
    stage = make_stage(crm=fake)
    who = subscriber(provisioning=provisioning)
    stage.world = replace(
        stage.world, config=stage.config.model_copy(update={"ssf": ssf(), "subscribers": {"siem": who}})
    )
    stage.hear(event(Kind.JOINER, **BO))

    stage.work()

    names: Any = stage.redis.zrange(keys.SIGNALS, 0, -1)
    record: Any = stage.redis.hgetall(keys.signal(names[0].decode()))
    signal = Told.of(record)
    (item,) = sets.items(signal, who, None)
    strict, signing = StrictReceiver(ISSUER, AUDIENCE, Signing(ssf()).public()), Signing(ssf())
    token = strict.take(sets.token(signing, ISSUER, signal, item, who), datetime.now(UTC))
    assert (token.uri, "Agent" in str(token.event)) == (f"{PROV}create:{provisioning}", provisioning == "full")
    assert ("values" in signal.facts) is (provisioning == "full")


@pytest.mark.parametrize("provisioning", ["none", "notice", "full"])
def test_values_are_kept_only_where_somebody_is_told_them(provisioning: str) -> None:
    """Whoever may be told is in the configuration."""
    who = Receiver(secrets=[Secret("env:S", "a-secret-of-the-receiver")], audience=AUDIENCE, provisioning=provisioning)  # type: ignore[arg-type]
    section = Ssf(issuer=ISSUER, signing_keys=ssf().signing_keys, receivers={"siem": who})

    assert Config(ssf=section).tells_values is (provisioning == "full")
    assert Config(ssf=ssf(), subscribers={"siem": subscriber(provisioning=provisioning)}).tells_values is (
        provisioning == "full"
    )
    assert Config().tells_values is False
