"""From signals to tokens, read by a strict receiver."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from lifecycle.errors import Refused
from lifecycle.signal import TYPES, Told, make_signal
from lifecycle.ssf import sets
from lifecycle.ssf.signing import Signing
from lifecycle.subscriber import Subscriber
from tests.strict_receiver import CAEP, PROV, RISC, SSF, StrictReceiver, Taken
from tests.transmitter import AT, AUDIENCE, FACTS, ISSUER, kept, names, ssf, subscriber, told

SIGNING = Signing(ssf())
FORMATS, PROFILES, PROVISIONING = (
    ("email", "iss_sub", "scim", "opaque"),
    ("final", "legacy"),
    ("notice", "full", "none"),
)
VALUES: Mapping[str, Any] = {
    "provisioned": {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": "u-7",
        "userName": "bo.ray",
        "active": True,
    },
    "updated": [{"op": "replace", "path": "title", "value": "Lead"}],
}
RENAMED = {"old": {"email": "bo.roe@acme.example", "user_name": "bo@acme.example"}, "user_name": "bo.ray@acme.example"}


def receiver(of: Subscriber) -> StrictReceiver:
    """Return the receiver of a subscriber."""
    return StrictReceiver(ISSUER, str(of.audience), SIGNING.public(), legacy=of.profile == "legacy")


def read(signal: Told, of: Subscriber | None = None, wanted: list[str] | None = None) -> list[Taken]:
    """Return the tokens of a signal, as a strict receiver takes them."""
    whose = of or subscriber()
    strict = receiver(whose)
    found = sets.items(signal, whose, wanted)
    return [strict.take(sets.token(SIGNING, ISSUER, signal, item, whose), AT) for item in found]


def uris(found: list[Taken]) -> list[str]:
    """Return the events of tokens."""
    return [each.uri for each in found]


# ---- what is sent of which signal, in which order


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (told("suspended"), [CAEP + "session-revoked", RISC + "account-disabled", PROV + "deactivate"]),
        (told("restored"), [RISC + "account-enabled", PROV + "activate"]),
        (told("deleted"), [RISC + "account-purged", PROV + "delete"]),
        (told("provisioned", facts={**FACTS, "attributes": ["id", "userName"]}), [PROV + "create:notice"]),
        (told("updated", facts={**FACTS, "attributes": ["title"]}), [PROV + "patch:notice"]),
        (told("updated", groups_added=["Agents"]), [PROV + "patch:notice"]),
        (
            told("updated", facts={**FACTS, **RENAMED, "attributes": ["emails"]}),
            [RISC + "identifier-changed", RISC + "identifier-changed", PROV + "patch:notice"],
        ),
    ],
)
def test_each_change_is_told_in_this_order(signal: Told, expected: list[str]) -> None:
    """Sessions end first; each token has one event."""
    assert uris(read(signal)) == expected


@pytest.mark.parametrize("kind", [each for each in TYPES if not each.startswith("person.")])
def test_what_is_no_change_of_an_account_is_no_security_event(kind: str) -> None:
    """Operators hear of failures, holds, drift and reviews; receivers of tokens do not."""
    made = make_signal(kind, person="E1042", event="hris:evt-1", target="crm", data={"reason": "left"}, at=AT)

    assert sets.items(kept(made), subscriber(), None) == []


CHANGES = [
    told("suspended"),
    told("suspended", reason="out_of_scope", sessions_revoked=True),
    told("suspended", facts={}, person="bo.ray", account=None),
    told("restored", facts={**FACTS, **RENAMED}),
    told("deleted", facts={}),
    told("provisioned", facts={**FACTS, "attributes": ["id", "userName", "emails"], "values": VALUES["provisioned"]}),
    told(
        "updated", facts={**FACTS, **RENAMED, "attributes": ["title"], "values": VALUES["updated"]}, roles_added=["r"]
    ),
]


@pytest.mark.parametrize(("subject", "profile", "provisioning"), [*product(FORMATS, PROFILES, PROVISIONING)])
def test_strict_receiver_takes_every_change_in_every_shape(subject: str, profile: str, provisioning: str) -> None:
    """No shape makes a token that a reader of the specifications may refuse, and what is not to be sent is not."""
    whose = subscriber(subject=subject, profile=profile, provisioning=provisioning)

    found = [each for signal in CHANGES for each in read(signal, whose)]

    assert {each.uri for each in found} <= {*sets.events_for(whose)}
    assert {RISC + "account-disabled", RISC + "identifier-changed", CAEP + "session-revoked"} <= {*uris(found)}
    provided = {each.uri for each in found if each.uri.startswith(PROV)}
    assert bool(provided) == (provisioning != "none" and profile != "legacy")
    assert any(uri.endswith(":full") for uri in provided) == (provisioning == "full" and bool(provided))


def test_every_event_that_is_supported_is_sent_of_something() -> None:
    """And nothing is announced that never comes: not even the stream's own events, which come unasked."""
    shapes = [subscriber(provisioning=each) for each in PROVISIONING]

    found = {each.uri for shape in shapes for signal in CHANGES for each in read(signal, shape)}

    assert found == {*sets.EVENTS_SUPPORTED}
    assert not any(uri.startswith(SSF) for uri in sets.EVENTS_SUPPORTED)


def test_only_wanted_events_are_sent() -> None:
    """By their URIs, whatever the order in which they are named."""
    wanted = [PROV + "deactivate", CAEP + "session-revoked", "urn:of:nothing"]

    assert uris(read(told(), wanted=wanted)) == [CAEP + "session-revoked", PROV + "deactivate"]


# ---- what each says


def test_revocation_says_who_why_and_when() -> None:
    """The moment is that of the suspension in seconds, not that of the signal."""
    (revoked, *_) = read(told("suspended", confirmed_at="2026-03-06T22:00:00.900Z"))

    assert revoked.event == {
        "initiating_entity": "policy",
        "reason_admin": {"en": "The person has left the organization."},
        "event_timestamp": int(AT.timestamp()) - 1,
    }


def test_revocation_by_an_operator_is_one_of_an_administrator() -> None:
    """CAEP knows both."""
    (revoked, *_) = read(told("suspended", event="operator:1"))

    assert revoked.event["initiating_entity"] == "admin"


def test_account_that_was_only_out_of_scope_has_its_sessions_where_they_were_left() -> None:
    """Whoever did not leave and whose sessions go on is told of as disabled only."""
    assert RISC + "account-disabled" in uris(read(told("suspended", reason="out_of_scope")))
    assert CAEP + "session-revoked" not in uris(read(told("suspended", reason="out_of_scope")))


def test_account_is_disabled_without_a_reason() -> None:
    """RISC knows hijacking and bulk-account, and a leaver is neither."""
    found = read(told())

    assert [each.event for each in found if each.uri.startswith(RISC)] == [{}]


def test_notice_tells_names_and_no_values() -> None:
    """Groups and roles that moved are among them."""
    facts = {**FACTS, "attributes": ["title", "emails"], "values": VALUES["updated"]}

    (notice,) = read(told("updated", facts=facts, groups_removed=["Agents"]))

    assert notice.event == {"attributes": ["title", "emails", "groups"]}
    assert "Lead" not in str(notice.claims)


def test_full_tells_what_the_account_is_now() -> None:
    """A new one whole, a change as its operations."""
    whose = subscriber(provisioning="full")
    made = told("provisioned", facts={**FACTS, "attributes": ["userName"], "values": VALUES["provisioned"]})
    changed = told("updated", facts={**FACTS, "attributes": ["title"], "values": VALUES["updated"]})

    (created,), (patched,) = read(made, whose), read(changed, whose)

    assert (created.uri, created.event) == (PROV + "create:full", {"data": VALUES["provisioned"]})
    assert patched.uri == PROV + "patch:full"
    assert patched.event["data"]["Operations"] == VALUES["updated"]


def test_full_is_a_notice_where_no_values_were_kept() -> None:
    """Nothing is lost for it: the receiver can ask for the account."""
    found = read(told("updated", groups_added=["Agents"]), subscriber(provisioning="full"))

    assert [(each.uri, each.event) for each in found] == [(PROV + "patch:notice", {"attributes": ["groups"]})]


def test_old_identifier_is_the_subject_whatever_else_a_receiver_calls_a_person() -> None:
    """RISC allows no other; the new value has a hyphen."""
    signal = told("updated", facts={**FACTS, "old": {"email": "bo.roe@acme.example"}})

    (found,) = read(signal, subscriber(subject="iss_sub"))

    assert found.subject == {"format": "email", "email": "bo.roe@acme.example"}
    assert found.event == {"new-value": "bo.ray@acme.example"}


def test_name_and_address_that_are_one_are_told_once() -> None:
    """Most logins are the address."""
    old = {"email": "bo.roe@acme.example", "user_name": "Bo.Roe@acme.example"}

    assert uris(read(told("updated", facts={**FACTS, "old": old}))) == [RISC + "identifier-changed"]


def test_address_that_no_other_takes_the_place_of_is_told_without_a_new_value() -> None:
    """RISC has it optional."""
    (found,) = read(told("updated", facts={"old": {"email": "bo.roe@acme.example"}}))

    assert (found.uri, found.event) == (RISC + "identifier-changed", {})


@pytest.mark.parametrize(
    ("change", "what", "uri"),
    [("restored", "suspended", RISC + "account-enabled"), ("deleted", "accounts", RISC + "account-purged")],
)
def test_person_is_enabled_or_purged_with_the_last_account_that_the_receiver_hears_of(
    change: str, what: str, uri: str
) -> None:
    """What becomes of the account itself is told all the same."""
    elsewhere = told(change, facts={**FACTS, "elsewhere": {what: ["erp"]}})

    assert uri in uris(read(told(change)))
    assert uri not in uris(read(elsewhere))
    assert uri not in uris(read(elsewhere, subscriber(targets=["crm", "erp"])))
    assert uri in uris(read(elsewhere, subscriber(targets=["crm"])))
    assert [each for each in uris(read(elsewhere)) if each.startswith(PROV)] != []


def test_login_that_is_no_address_is_not_told() -> None:
    """RISC has no format for it."""
    assert read(told("updated", facts={**FACTS, "old": {"user_name": "b.roe"}})) == []


# ---- whom they name


@pytest.mark.parametrize(
    ("wanted", "parts", "expected"),
    [
        ("email", {}, {"format": "email", "email": "bo.ray@acme.example"}),
        ("iss_sub", {}, {"format": "iss_sub", "iss": ISSUER, "sub": "E1042"}),
        ("scim", {}, {"format": "scim", "uri": "/Users/u-7", "externalId": "E1042", "id": "u-7"}),
        (
            "email",
            {"facts": {}, "person": {"external_id": "E1042", "user_name": "bo@acme.example"}},
            {"format": "email", "email": "bo@acme.example"},
        ),
        ("email", {"facts": {}}, {"format": "iss_sub", "iss": ISSUER, "sub": "E1042"}),
        (
            "email",
            {"facts": {"email": "no address"}, "person": {"user_name": "bo"}},
            {"format": "scim", "uri": "/Users/u-7", "id": "u-7"},
        ),
        (
            "iss_sub",
            {"person": {"external_id": None, "user_name": "bo"}},
            {"format": "email", "email": "bo.ray@acme.example"},
        ),
        ("scim", {"account": None}, {"format": "iss_sub", "iss": ISSUER, "sub": "E1042"}),
    ],
)
def test_person_is_named_as_the_receiver_wants_it_or_by_the_next_best(
    wanted: str, parts: dict[str, Any], expected: dict[str, str]
) -> None:
    """Never by nothing, and never by a member that the format does not have."""
    named = {name: value for name, value in parts.items() if name == "person"}
    signal = told("suspended", **{name: value for name, value in parts.items() if name != "person"})
    body = json.dumps({"data": signal.data | named}).encode()

    found = read(replace(signal, body=body), subscriber(subject=wanted))

    assert {str(each.subject) for each in found if not each.uri.startswith(PROV)} == {str(expected)}


def test_id_of_an_account_stays_one_part_of_its_path() -> None:
    """Whatever a target makes its ids of."""
    found = read(told("suspended", account={"id": "ou=x/bo ray", "active": False}), subscriber(subject="scim"))

    assert {each.subject["uri"] for each in found} == {"/Users/ou%3Dx%2Fbo%20ray"}
    assert {each.subject["id"] for each in found} == {"ou=x/bo ray"}


@pytest.mark.parametrize("item", ["sig_1", "sig_1~", "sig_1~of-tomorrow"])
def test_item_that_is_no_event_makes_no_token(item: str) -> None:
    """A subscriber may have had another format when it began to wait."""
    with pytest.raises(Refused, match="no Security Event"):
        sets.token(SIGNING, ISSUER, told(), item, subscriber())


def test_opaque_name_is_the_same_in_every_token_and_another_for_every_receiver() -> None:
    """Two receivers that compare what they have learn nothing of each other's people."""
    here, there = (subscriber(subject="opaque", audience=each) for each in (AUDIENCE, "https://other.example"))

    found = [
        {str(each.subject) for each in read(told(), whose) if each.uri.startswith(RISC)}
        for whose in (here, here, there)
    ]

    assert found[0] == found[1] != found[2]
    assert "E1042" not in str(found)


# ---- what all tokens have


def test_tokens_of_one_cause_have_one_txn_everywhere() -> None:
    """Whatever the target, the receiver and the change; another cause has another."""
    here, there = subscriber(), subscriber(audience="https://other.example", subject="iss_sub")
    causes = [
        {each.claims["txn"] for whose in (here, there) for signal in signals for each in read(signal, whose)}
        for signals in (
            [told("suspended"), told("deleted", target="desk")],
            [told("suspended", event="hris:evt-2")],
            [told("suspended", event="okta:evt-1")],
        )
    ]

    assert [len(each) for each in causes] == [1, 1, 1]
    assert len(set.union(*causes)) == 3
    assert "evt-1" not in str(causes)


def test_every_token_has_an_id_of_its_own_that_stays() -> None:
    """Over items, signals and receivers; of the same item for the same receiver always the same token."""
    whose = [subscriber(), subscriber(audience="https://other.example")]
    signals = [told(), told(target="desk"), told("deleted")]
    found = [(signal, item, each) for each in whose for signal in signals for item in sets.items(signal, each, None)]

    tokens = [sets.token(SIGNING, ISSUER, signal, item, each) for signal, item, each in found]
    ids = [sets.jti(item, str(each.audience)) for _, item, each in found]

    assert len(set(ids)) == len(set(tokens)) == len(found)
    assert tokens == [sets.token(Signing(ssf()), ISSUER, signal, item, each) for signal, item, each in found]
    assert [sets.item_of(each) for each in ids] == [item for _, item, _ in found]


def test_token_is_of_the_moment_of_its_signal() -> None:
    """Not of the one at which it is sent."""
    (_, found, _) = read(told(at=AT - timedelta(days=3)))

    assert found.claims["iat"] == int((AT - timedelta(days=3)).timestamp())
    assert (found.claims["iss"], found.claims["aud"]) == (ISSUER, AUDIENCE)


# ---- receivers of before the final specifications


def test_legacy_receiver_finds_a_subject_where_it_looks_for_it() -> None:
    """Inside CAEP's events, and beside RISC's: Apple refuses those with one inside."""
    whose = subscriber(profile="legacy")

    revoked, disabled = read(told(), whose)

    email = {"format": "email", "email": "bo.ray@acme.example"}
    assert revoked.claims["events"][CAEP + "session-revoked"]["subject"] == {"user": email}
    assert not revoked.claims.keys() & {"sub_id", "txn", "sub"}
    assert disabled.claims["sub_id"] == email
    assert disabled.claims["events"] == {RISC + "account-disabled": {}}


# ---- of the stream itself


def test_verification_names_the_stream_and_echoes_the_state() -> None:
    """It comes though nobody asked for the event by its URI, for that stream alone, and in a line of its own."""
    signal = kept(sets.verification("stream-1", "s-1", AT))

    (found,) = read(signal, wanted=["urn:of:nothing"])

    assert (found.uri, found.event) == (SSF + "verification", {"state": "s-1"})
    assert found.subject == {"format": "opaque", "id": "stream-1"}
    assert (signal.only, signal.person) == ("stream-1", "")


def test_verification_that_nobody_asked_for_has_no_state() -> None:
    """An empty one was asked for."""
    assert [each.event for each in read(kept(sets.verification("stream-1", None, AT)))] == [{}]
    assert [each.event for each in read(kept(sets.verification("stream-1", "", AT)))] == [{"state": ""}]


def test_test_of_a_subscriber_is_a_verification() -> None:
    """A receiver that manages no stream has no other way to see that tokens reach it."""
    made = make_signal("subscriber.test", person="", event="", target="", data={}, at=AT)._replace(only="siem")

    (found,) = read(kept(made))

    assert (found.uri, found.subject) == (SSF + "verification", {"format": "opaque", "id": "siem"})


@pytest.mark.parametrize("reason", [None, "five days of failure"])
def test_change_of_the_status_is_told(reason: str | None) -> None:
    """With the reason where there is one."""
    (found,) = read(kept(sets.stream_updated("stream-1", "disabled", reason, AT)))

    assert found.uri == SSF + "stream-updated"
    assert found.event == {"status": "disabled", **({"reason": reason} if reason else {})}
    assert found.subject == {"format": "opaque", "id": "stream-1"}


def test_every_call_makes_a_signal_of_its_own() -> None:
    """Two verifications in one moment are two."""
    assert len({sets.verification("stream-1", None, AT).id for _ in range(5)}) == 5
    assert len({sets.stream_updated("stream-1", "paused", None, AT).id for _ in range(5)}) == 5
    assert names(sets.items(kept(sets.verification("s", None, AT)), subscriber(profile="legacy"), [])) == [
        "verification"
    ]
