"""What odd answers must not lead to: another's account, a leaver who stays, a change that is lost or told wrongly."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Held, Postponed, Refused
from lifecycle.person import Account, Entitlements
from tests.checklist.encounter import Encounter, Proceed, bo, granted
from tests.workers.fake_scim import Quirk, Said, answers, reply
from tests.workers.stories import BO, Meeting, person

Meet = Callable[..., Encounter]
AGENTS = {"displayName": "Agents"}
ADDRESS = 'addresses[type eq "work"]'


@pytest.fixture
def meet(redis: Redis) -> Meet:
    """Meet a server: ``meet(Quirk..., way=...)``."""
    return lambda *quirks, **fields: Encounter(redis, frozenset(quirks), **fields)


# ---- what is read a moment after it was written


@pytest.mark.parametrize("status", ["left", "active"])
def test_read_that_shows_the_opposite_of_what_was_written_is_not_believed(redis: Redis, status: str) -> None:
    """The target shows what was before: who was let in a moment ago is locked out, whatever a read says."""
    now = datetime.now(UTC)
    before = Entitlements(at=now) if status == "active" else None
    account = Account(id="u-7", user_name=BO["email"], active=status == "left", settled_at=now, before=before)
    meeting = Meeting(redis, account=account)
    meeting.fake.add("Users", id="u-7", userName=BO["email"], externalId="E1042", active=status == "left")
    stale = {**meeting.fake.user(BO["email"]), "active": status == "active"}
    meeting.fake.next(answers(200, stale), on="GET /Users/u-7")

    meeting.agree(person(status, **BO))

    assert meeting.fake.user(BO["email"])["active"] is (status == "active")


def test_read_that_shows_what_an_earlier_attempt_wrote_is_believed(redis: Redis) -> None:
    """Its answer was lost, and the account is out: nothing is written again."""
    account = Account(id="u-7", user_name=BO["email"], active=True, settled_at=datetime.now(UTC))
    meeting = Meeting(redis, account=account)
    meeting.fake.add("Users", id="u-7", userName=BO["email"], externalId="E1042", active=False)

    meeting.agree(person("left", **BO), cautious=True)

    assert meeting.fake.writes() == []


# ---- whose the created account is


@pytest.mark.parametrize("status", [200, 201])
def test_create_that_is_answered_with_anothers_account_is_held(meet: Meet, status: int) -> None:
    """Some servers upsert on POST: a recycled address then gives the account of who had it before."""
    theirs = {"id": "u-1", "userName": BO["email"], "externalId": "E900", "active": True}

    def upserts(said: Said, proceed: Proceed) -> httpx.Response:
        return reply(status, theirs) if said.method == "POST" else proceed()

    encounter = meet(way=upserts)

    with pytest.raises(Held, match="E900") as caught:
        encounter.agree(bo())

    assert caught.value.reason == "other_owner"
    assert not {"PATCH", "PUT"} & set(encounter.methods())


def test_create_that_brings_back_an_account_settled_as_anothers_is_held(meet: Meet, redis: Redis) -> None:
    """A deleted account comes back under its old id, and shows no externalId to tell whose it was."""
    encounter = meet(adapter="genesys_cloud")
    redis.hset(keys.owners("crm"), "u-1", "E900")

    with pytest.raises(Held, match=r"u-1.*E900"):
        encounter.agree(bo(display_name="Bo Ray"))


def test_id_of_a_location_is_taken_out_of_its_encoding(meet: Meet) -> None:
    """It is a path segment there (RFC 3986 section 2.1), and would be encoded a second time."""

    def names_it_by_location(said: Said, proceed: Proceed) -> httpx.Response:
        answer = proceed()
        if said.method != "POST":
            return answer
        return httpx.Response(201, headers={"location": "https://crm.test/scim/v2/Users/bo%40x"})

    agreement = meet(way=names_it_by_location).agree(bo())

    assert agreement.account is not None
    assert agreement.account.id == "bo@x"


def test_200_that_shows_no_account_and_names_what_is_missing_is_a_refusal(meet: Meet) -> None:
    """One server was seen to answer so; what it made is looked for before it is asked for less."""

    def stumbles(said: Said, proceed: Proceed) -> httpx.Response:
        emails = said.body.get("emails", []) if said.method == "POST" else []
        return httpx.Response(200, text="'primary'") if emails and "primary" not in emails[0] else proceed()

    encounter = meet(way=stumbles)

    agreement = encounter.agree(bo())

    assert agreement.trouble is None
    assert [user["userName"] for user in encounter.fake.users()] == [BO["email"]]
    assert encounter.methods() == ["GET", "POST", "GET", "GET", "POST"]


# ---- versions


def test_revival_that_meets_a_conflict_is_read_and_made_again(meet: Meet) -> None:
    """Where active goes alone, that request too may find the account changed meanwhile."""
    refusals = iter([reply(400, {"scimType": "invalidVers", "detail": "the version does not match"})])

    def conflicts(said: Said, proceed: Proceed) -> httpx.Response:
        return next(refusals, None) or proceed() if said.method == "PATCH" else proceed()

    encounter = meet(adapter="genesys_cloud", way=conflicts)
    held = encounter.settled(displayName="Bo Ray")
    held["active"] = False

    agreement = encounter.agree(bo(display_name="Bo Ray"))

    assert agreement.trouble is None
    assert encounter.fake.user(BO["email"])["active"] is True


def test_version_that_is_never_right_is_not_named_again(meet: Meet) -> None:
    """Some answer 412 to whatever version; an account that nobody changed is written without one then."""

    def lies(said: Said, proceed: Proceed) -> httpx.Response:
        return reply(412, {"detail": "no"}) if "if-match" in said.headers else proceed()

    encounter = meet(Quirk.USER_VERSIONS, way=lies, profile={"etag": True})
    encounter.settled(title="Agent")

    agreement = encounter.agree(bo(title="Lead"))

    assert agreement.trouble is None
    assert encounter.fake.user(BO["email"])["title"] == "Lead"


def test_value_path_that_is_always_no_target_is_put(meet: Meet) -> None:
    """``noTarget`` is "changed meanwhile" only where the plan has changed too; else another way is asked in."""

    def knows_no_entries(said: Said, proceed: Proceed) -> httpx.Response:
        if said.method == "PATCH" and any("[" in line["path"] for line in said.body["Operations"]):
            return reply(400, {"scimType": "noTarget", "detail": "no such entry"})
        return proceed()

    encounter = meet(way=knows_no_entries)
    encounter.settled(title="Agent", emails=[{"type": "work", "value": "old@acme.example"}])

    agreement = encounter.agree(bo(title="Lead"))

    assert agreement.trouble is None
    shown = encounter.fake.user(BO["email"])
    assert (shown["title"], shown["emails"][0]["value"]) == ("Lead", BO["email"])


# ---- leavers


def test_leaver_is_logged_out_though_reads_lag(meet: Meet) -> None:
    """The target took the suspension; whoever is logged in does not stay so until a read shows it."""
    stale: list[dict[str, Any]] = []

    def lags(said: Said, proceed: Proceed) -> httpx.Response:
        answer = proceed()
        return reply(200, stale[0]) if said.method == "GET" and said.path == "/Users/u-1" else answer

    encounter = meet(adapter="genesys_cloud", way=lags)
    stale.append(json.loads(json.dumps(encounter.settled(displayName="Bo Ray", nickName="by hand"))))

    for cautious in (False, True):
        with pytest.raises(Postponed) as caught:
            encounter.agree(bo("left"), cautious=cautious)
        assert caught.value.reason == "unconfirmed"
        assert "PUT" not in encounter.methods()
        assert "DELETE" in encounter.methods()


def test_leaver_is_found_under_the_name_that_the_target_kept(meet: Meet) -> None:
    """A rename that was refused is no name of the account: else it would be taken for somebody else's."""

    def keeps_its_name(said: Said, proceed: Proceed) -> httpx.Response:
        lines = said.body["Operations"] if said.method == "PATCH" else []
        if any(line["path"] == "userName" for line in lines):
            return reply(400, {"scimType": "mutability", "detail": "a name is for ever"})
        return proceed()

    encounter = meet(Quirk.KNOWS_NO_EXTERNAL_ID, way=keeps_its_name)
    held = encounter.settled()
    del held["externalId"]
    encounter.agree(bo(user_name="bo2@acme.example", title="Lead"))

    agreement = encounter.agree(bo("left", user_name="bo2@acme.example"))

    assert agreement.change == "suspended"
    assert encounter.fake.user(BO["email"])["active"] is False


@pytest.mark.parametrize("groups", [[{"display": {"de": "x"}, "value": "g"}], ["x", None, 7], {"value": "g"}, "x"])
def test_odd_groups_keep_nobody_from_being_locked_out(meet: Meet, groups: object) -> None:
    """What the account shows of its groups is the target's, and need not be what the RFC says."""

    def shows(said: Said, proceed: Proceed) -> httpx.Response:
        answer = proceed()
        if said.method == "GET" and said.path.startswith("/Users/"):
            return reply(200, json.loads(answer.content) | {"groups": groups})
        return answer

    encounter = meet(way=shows, policy=granted(groups=("Agents",)))
    encounter.settled()

    assert encounter.agree(bo("left")).change == "suspended"


@pytest.mark.parametrize("status", [400, 500])
def test_access_is_asked_for_without_a_path_where_no_path_is_known(meet: Meet, status: int) -> None:
    """The one other form of the RFC (7644 section 3.5.2.3), which Okta sends, is all that some servers read."""

    def knows_no_path(said: Said, proceed: Proceed) -> httpx.Response:
        if said.method == "PUT" or (said.method == "PATCH" and "path" in said.body["Operations"][0]):
            return reply(status, {"detail": "this cannot be read"})
        return proceed()

    encounter = meet(way=knows_no_path)
    encounter.settled()

    agreement = encounter.agree(bo("left"), cautious=True)

    assert agreement.trouble is None
    assert encounter.fake.user(BO["email"])["active"] is False


# ---- what is kept, and what is told of it


@pytest.mark.parametrize(
    ("attribute", "given", "kept"),
    [
        ("email", "Bo.Ray@Acme.example", "bo.ray@acme.example"),
        ("phone", "+353 1 555-0100", "tel:+35315550100"),
        ("title", "lead  agent", "Lead Agent"),
    ],
)
def test_value_that_the_target_writes_in_its_own_way_is_kept(meet: Meet, attribute: str, given: str, kept: str) -> None:
    """It is there, whatever its letter case and separators: neither a failure nor, of names of use, a difference."""

    def normalises(said: Said, proceed: Proceed) -> httpx.Response:
        text = proceed().text
        return httpx.Response(200 if said.method != "POST" else 201, text=text.replace(json.dumps(given)[1:-1], kept))

    encounter = meet(way=normalises)
    person = bo(**{"user_name": "bo", attribute: given})
    encounter.fake.add("Users", id="u-9", userName="anna", active=True)

    joined = encounter.agree(person)
    again = encounter.agree(person)

    assert joined.trouble is None
    assert again.trouble is None
    assert attribute == "title" or again.change is None


def test_groups_of_an_account_that_is_gone_are_joined_anew(meet: Meet) -> None:
    """The account was deleted by hand: the new one is in no group, whatever the old one was in."""
    encounter = meet(policy=granted(groups=("Agents",)))
    encounter.fake.add("Groups", id="g-1", **AGENTS)
    person = bo(department="Support")
    encounter.agree(person)
    encounter.fake.held["Users"].clear()
    encounter.fake.held["Groups"]["g-1"]["members"] = []

    agreement = encounter.agree(person)

    assert agreement.groups_added == ["Agents"]
    assert encounter.fake.members("Agents") == list(encounter.fake.held["Users"])


def test_membership_that_somebody_ended_by_hand_is_made_again(meet: Meet) -> None:
    """The account shows other groups, and this one no more."""
    encounter = meet(policy=granted(groups=("Agents",)))
    encounter.fake.add("Groups", id="g-1", **AGENTS)
    person = bo(department="Support")
    encounter.agree(person)
    encounter.fake.held["Groups"]["g-1"]["members"] = []
    encounter.fake.add("Groups", id="g-2", displayName="Others", members=[{"value": "u-1"}])

    assert encounter.agree(person).groups_added == ["Agents"]


def test_news_of_the_source_is_not_forgotten_with_the_attempt_that_failed(meet: Meet) -> None:
    """Merged: the source changed the title, and that was never written. It is still news the next time."""
    broken = [True]

    def fails_of_title(said: Said, proceed: Proceed) -> httpx.Response:
        lines = said.body["Operations"] if said.method == "PATCH" else []
        return reply(503, {}) if broken and any(line["path"] == "title" for line in lines) else proceed()

    encounter = meet(
        way=fails_of_title,
        profile={"one_operation": True},
        attributes={"displayName": "person.display_name", "title": "person.title"},
        conflicts={"title": "merge"},
    )
    encounter.agree(bo(display_name="Bo", title="Agent"))
    first = encounter.agree(bo(display_name="Bo Ray", title="Lead"))
    broken.clear()

    encounter.agree(bo(display_name="Bo Ray", title="Lead"), cautious=True)

    assert isinstance(first.trouble, Postponed)
    assert encounter.fake.user(BO["email"])["title"] == "Lead"


def test_return_that_the_target_took_and_did_not_make_is_not_told(meet: Meet) -> None:
    """204 and nothing done: whoever came back cannot work, and nobody is told otherwise."""

    def does_nothing(said: Said, proceed: Proceed) -> httpx.Response:
        return httpx.Response(204) if said.method in {"PATCH", "PUT"} else proceed()

    encounter = meet(way=does_nothing)
    held = encounter.settled()
    held["active"] = False

    with pytest.raises(Refused):
        encounter.agree(bo())


# ---- entries


def test_parts_of_one_new_entry_make_one_entry(meet: Meet) -> None:
    """Three paths into the same address are one address."""
    encounter = meet(
        attributes={
            "userName": "person.email",
            f"{ADDRESS}.locality": "person.title",
            f"{ADDRESS}.region": "person.division",
            f"{ADDRESS}.country": "person.locale",
        }
    )
    person = bo(title="Cork", division="Munster", locale="IE")

    encounter.agree(person)
    encounter.account = None
    encounter.fake.user(BO["email"])
    created = encounter.bodies("POST")[0]["addresses"]
    encounter.settled()
    encounter.fake.held["Users"].pop("u-1")
    encounter.agree(person)

    entry = {"type": "work", "locality": "Cork", "region": "Munster", "country": "IE"}
    assert created == [entry]
    assert [line["value"] for line in encounter.operations() if line["path"] == "addresses"] == [[entry]]


def test_part_of_an_entry_that_is_cleared_leaves_the_others(meet: Meet) -> None:
    """An entry goes whole with its value alone; a region that is not known any more is a region less."""
    encounter = meet(attributes={f"{ADDRESS}.region": "person.division", f"{ADDRESS}.country": "person.locale"})
    encounter.settled(addresses=[{"type": "work", "region": "Munster", "country": "IE", "streetAddress": "by hand"}])

    encounter.agree(bo(division=None, locale="IE"))

    shown = encounter.fake.user(BO["email"])["addresses"]
    assert shown == [{"type": "work", "country": "IE", "streetAddress": "by hand"}]


def test_second_entry_of_the_same_type_is_not_ours(meet: Meet) -> None:
    """Two addresses are of type work: the one that is changed is named by what it holds."""
    encounter = meet(attributes={'emails[type eq "work"].value': "person.email"})
    encounter.settled(emails=[{"type": "work", "value": "old@acme.example"}, {"type": "work", "value": "info@acme.ie"}])

    encounter.agree(bo())

    shown = [entry["value"] for entry in encounter.fake.user(BO["email"])["emails"]]
    assert shown == [BO["email"], "info@acme.ie"]


# ---- Genesys Cloud's documented limits


@pytest.mark.parametrize(
    "skills",
    [[{"name": f"skill {number}"} for number in range(51)], [{"name": "Dutch", "proficiency": 9.0}]],
    ids=["too many", "too good"],
)
def test_skills_past_the_documented_limits_are_refused_and_the_rest_is_written(
    meet: Meet, skills: list[dict[str, Any]]
) -> None:
    """Fifty of them, and a proficiency of 0 to 5: found before they are sent, and said."""
    urn = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User:routingSkills"
    mapping = {"displayName": "person.display_name", urn: "person.custom.skills"}
    encounter = meet(adapter="genesys_cloud", attributes=mapping)

    facts: dict[str, Any] = {"display_name": "Bo Ray", "custom.skills": skills}
    agreement = encounter.agree(bo(**facts))

    assert isinstance(agreement.trouble, Refused)
    assert agreement.trouble.reason == "value"
    assert "routingSkills" in agreement.trouble.message
    assert encounter.fake.user(BO["email"])["displayName"] == "Bo Ray"
    assert urn.rpartition(":")[0] not in encounter.bodies("POST")[0]
