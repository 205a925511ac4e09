"""Targets that refuse PATCH, a part of it, a filter or a whole account: what is reached, and what is never touched."""

import json
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis

from lifecycle.errors import GatepostError, Held, Postponed, Refused
from lifecycle.person import Account, Person
from tests.workers.fake_scim import BASE_URL, USER, Quirk, answers
from tests.workers.stories import BO, Meeting, person, policy, referee
from workers.targets.scim import ENTERPRISE

ODD = "urn:example:params:scim:schemas:badge:2.0:User"
ACCOUNT = Account(id="u-7", user_name="bo.ray@acme.example", active=True)
MANAGER = {"value": "u-1", "$ref": f"{BASE_URL}/Users/u-1"}
HELD: dict[str, Any] = {
    "schemas": [USER, ENTERPRISE, ODD],
    "id": "u-7",
    "externalId": "E1042",
    "userName": "bo.ray@acme.example",
    "active": True,
    "displayName": "Bo Ray",
    "nickName": "Bobo",
    "title": "Agent",
    "name": {"givenName": "Bo", "familyName": "Ray", "middleName": "Jo"},
    "emails": [{"type": "home", "value": "bo@home.example"}, {"type": "work", "value": "bo.ray@acme.example"}],
    "roles": [{"value": "admin", "primary": True}],
    ENTERPRISE: {"department": "Support", "manager": MANAGER},
    ODD: {"badge": 17},
}
JOINER, LEAVER = person(**BO), person("left", **BO)
MOVER = person(**BO | {"title": "Lead", "department": "Sales"})
AGENTS = policy(Agents="true")

PATCH_IS_MISSING = [{Quirk.NO_PATCH_404}, {Quirk.NO_PATCH_405}, {Quirk.NO_PATCH_501}]
ALL_MUST_BE_READ = [
    {Quirk.REFUSES_FILTER_400},
    {Quirk.REFUSES_FILTER_501},
    {Quirk.REFUSES_FILTER_501, Quirk.SMALL_PAGES},
    {Quirk.IGNORES_FILTER},
    {Quirk.IGNORES_FILTER, Quirk.SMALL_PAGES},
]
NOT_FOUND_AT_ALL = [
    {Quirk.REFUSES_FILTER_400, Quirk.SMALL_PAGES, Quirk.IGNORES_START},
    {Quirk.IGNORES_FILTER, Quirk.SMALL_PAGES, Quirk.IGNORES_START},
    {Quirk.KNOWS_NO_FILTER, Quirk.SMALL_PAGES, Quirk.IGNORES_START},
]
CREATE_IS_NARROW = [
    {Quirk.CREATE_KNOWS_NO_TITLE_400},
    {Quirk.CREATE_KNOWS_NO_TITLE_422},
    {Quirk.CREATE_NEEDS_PRIMARY},
    {Quirk.CREATE_KNOWS_NO_TITLE_400, Quirk.PATCH_KNOWS_NO_TITLE, Quirk.PUT_FORGETS_TITLE},
]
PATCH_IS_NARROW = [
    {Quirk.PATCH_KNOWS_NO_TITLE},
    {Quirk.PATCH_KNOWS_NO_TITLE, Quirk.NO_PUT},
    {Quirk.NO_VALUE_PATHS},
    {Quirk.NO_VALUE_PATHS, Quirk.NO_PUT},
    {Quirk.IGNORES_PATCH},
]
EVERY_KIND = [
    set(),
    *PATCH_IS_MISSING,
    *PATCH_IS_NARROW,
    *ALL_MUST_BE_READ,
    *NOT_FOUND_AT_ALL,
    *CREATE_IS_NARROW,
    {Quirk.KNOWS_NO_FILTER},
    {Quirk.KNOWS_NO_FILTER, Quirk.BARE_CONFLICT, Quirk.NO_PATCH_501},
    {Quirk.NO_PATCH_501, Quirk.NO_PUT},
    {Quirk.NO_PATCH_501, Quirk.NO_CONTENT},
]

every_kind = pytest.mark.parametrize("quirks", EVERY_KIND, ids=lambda quirks: " ".join(sorted(quirks)) or "none")
every_person = pytest.mark.parametrize("known", [JOINER, MOVER, LEAVER], ids=["joiner", "mover", "leaver"])


def meet(redis: Redis, *quirks: Quirk, held: bool = True, **fields: Any) -> Meeting:  # noqa: ANN401 - a meeting's fields
    """Meet a server with Bo among others who are easily mistaken for him: by letter case, by prefix, by address."""
    meeting = Meeting(redis, "scim", quirks, **fields)
    fake = meeting.fake
    fake.add("Users", id="u-1", externalId="E1", userName="anna@acme.example", active=True, title="Agent")
    fake.add("Users", id="u-2", externalId="e1042", userName="bo.ray@acme.example.org", active=True)
    fake.add("Users", id="u-3", userName="bo.ray", active=True, emails=[{"type": "work", "value": BO["email"]}])
    if held:
        fake.add("Users", **json.loads(json.dumps(HELD)))
    fake.add("Users", id="u-9", externalId="E10422", userName="zoe@acme.example", active=False)
    fake.add("Groups", id="g-0", displayName="Owners", members=[{"value": "u-1"}])
    fake.add("Groups", id="g-1", displayName="Agents", members=[{"value": "u-1"}, {"value": "u-9"}])
    return meeting


def others(meeting: Meeting) -> bytes:
    """Return everything that is held of others, byte for byte; of the group that is ours, its other members."""
    users = {key: user for key, user in meeting.fake.held["Users"].items() if key in {"u-1", "u-2", "u-3", "u-9"}}
    members = [each for each in meeting.fake.members("Agents") if each in users]
    return json.dumps([users, meeting.fake.held["Groups"]["g-0"], members]).encode()


def bo(meeting: Meeting) -> dict[str, Any]:
    """Return Bo's account as the server holds it."""
    return meeting.fake.held["Users"]["u-7"]


def without(resource: dict[str, Any], *names: str) -> bytes:
    """Return a resource but for some attributes, byte for byte whatever their order."""
    rest = {name: value for name, value in resource.items() if name not in names}
    return json.dumps(rest, sort_keys=True).encode()


def methods(meeting: Meeting) -> list[str]:
    """Return the methods of the requests in their order."""
    return [said.method for said in meeting.fake.log]


def patched_paths(meeting: Meeting) -> list[list[str]]:
    """Return the paths of every PATCH of an account."""
    patches = [said for said in meeting.fake.writes() if said.line().startswith("PATCH /Users")]
    return [[operation["path"] for operation in said.body["Operations"]] for said in patches]


def raised(meeting: Meeting, known: Person, kind: type[GatepostError], *, cautious: bool = False) -> GatepostError:
    """Return the error that an attempt must end in."""
    with pytest.raises(kind) as caught:
        meeting.agree(known, cautious=cautious)
    return caught.value


# ---- whoever it is not


@every_kind
@every_person
@pytest.mark.parametrize("held", [True, False], ids=["there", "not there"])
@pytest.mark.parametrize("account", [ACCOUNT, None], ids=["known", "unknown"])
def test_nobody_else_is_ever_changed(
    quirks: set[Quirk], known: Person, held: bool, account: Account | None, redis: Redis
) -> None:
    """However odd the server, first and later attempts leave every other account and membership as it was."""
    meeting = meet(redis, *quirks, held=held, account=account, policy=AGENTS)
    before = others(meeting)

    for cautious in (False, True, True):
        with suppress(GatepostError):
            meeting.agree(known, cautious=cautious)

    assert before == others(meeting)
    assert len(meeting.fake.users()) <= 5
    referee(said for said in meeting.fake.log if said.line().startswith(("PUT", "POST")))


@every_kind
@pytest.mark.parametrize("account", [ACCOUNT, None], ids=["known", "unknown"])
def test_leaver_is_out_wherever_the_server_has_a_way(quirks: set[Quirk], account: Account | None, redis: Redis) -> None:
    """The right account ends inactive and is otherwise as it was; where that cannot be, no attempt says that it is."""
    meeting = meet(redis, *quirks, account=account)
    no_way = {Quirk.NO_PATCH_501, Quirk.NO_PUT} <= quirks
    not_seen = account is None and quirks in NOT_FOUND_AT_ALL

    confirmed = None
    for cautious in (False, True):
        with suppress(Postponed, Refused):
            agreement = meeting.agree(LEAVER, cautious=cautious)
            confirmed = agreement.confirmed_at
            assert agreement.trouble is None

    out = not (no_way or not_seen)
    assert out is (bo(meeting)["active"] is False) is (confirmed is not None)
    assert without(HELD, "active") == without(bo(meeting), "active")


@pytest.mark.parametrize("quirks", NOT_FOUND_AT_ALL[:2], ids=["refuses filters", "ignores filters"])
def test_leaver_who_is_on_no_page_is_not_told_to_have_no_account(quirks: set[Quirk], redis: Redis) -> None:
    """A server that shows its first page again and again shows not everybody: a person must look."""
    meeting = meet(redis, *quirks)

    error = raised(meeting, LEAVER, Refused)

    assert error.reason in {"filter_unsupported", "refused"}
    assert len(meeting.fake.log) <= 5


# ---- a conforming target is asked no more than before


def test_conforming_target_is_asked_as_little_as_ever(redis: Redis) -> None:
    """Two requests for a joiner, two for a mover, three for a leaver."""
    meeting = meet(redis, held=False)

    meeting.agree(JOINER)
    joiner, start = methods(meeting), len(meeting.fake.log)
    meeting.agree(MOVER)
    mover, later = methods(meeting)[start:], len(meeting.fake.log)
    meeting.agree(LEAVER)

    assert joiner == ["GET", "POST"]
    assert mover == ["GET", "PATCH"]
    assert methods(meeting)[later:] == ["GET", "PATCH", "GET"]


# ---- no PATCH


@pytest.mark.parametrize("quirks", PATCH_IS_MISSING, ids=["404", "405", "501"])
@pytest.mark.parametrize("quiet", [set(), {Quirk.NO_CONTENT}], ids=["200", "204"])
def test_replacement_changes_what_is_managed_and_keeps_the_rest(
    quirks: set[Quirk], quiet: set[Quirk], redis: Redis
) -> None:
    """A PUT clears what it leaves out, so it says all that a fresh GET showed: entries, sub-attributes, odd schemas."""
    meeting = meet(redis, *quirks, *quiet, account=ACCOUNT)

    agreement = meeting.agree(MOVER)

    assert agreement.trouble is None
    assert agreement.change == "updated"
    assert bo(meeting)["title"] == "Lead"
    assert bo(meeting)[ENTERPRISE] == {"department": "Sales", "manager": MANAGER}
    assert without(HELD, "title", ENTERPRISE) == without(bo(meeting), "title", ENTERPRISE)
    puts = [at for at, method in enumerate(methods(meeting)) if method == "PUT"]
    assert [methods(meeting)[at - 1] for at in puts] == ["GET"]


def test_what_changed_since_the_look_up_is_in_the_replacement(redis: Redis) -> None:
    """Between the first GET and the PUT somebody else wrote: the PUT is made of the fresh account, not of the old."""
    meeting = meet(redis, Quirk.NO_PATCH_501, account=ACCOUNT)
    old = json.loads(json.dumps(bo(meeting)))
    meeting.fake.next(answers(200, old), on="GET /Users/u-7")
    bo(meeting)["nickName"] = "Raybo"

    meeting.agree(MOVER)

    assert bo(meeting)["nickName"] == "Raybo"
    assert bo(meeting)["title"] == "Lead"


@every_person
@pytest.mark.parametrize("name", ["anna@acme.example", "", None])
def test_account_of_another_name_by_now_is_not_replaced(known: Person, name: str | None, redis: Redis) -> None:
    """The fresh GET shows another userName than the one that was verified: nothing is written over it."""
    meeting = meet(redis, Quirk.NO_PATCH_501, account=ACCOUNT)
    bo(meeting)["title"] = "Clerk"
    other = {each: value for each, value in (HELD | {"userName": name}).items() if value is not None}
    meeting.fake.next(lambda proceed: proceed(), on="GET /Users/u-7")
    meeting.fake.next(answers(200, other), on="GET /Users/u-7")

    with suppress(Refused):
        assert isinstance(meeting.agree(known).trouble, Refused)

    assert "PATCH" in methods(meeting)
    assert "PUT" not in methods(meeting)


def test_account_that_is_gone_by_now_is_not_put_back(redis: Redis) -> None:
    """404 for a PATCH may mean that the account was deleted: a PUT never creates."""
    meeting = meet(redis, account=ACCOUNT)
    meeting.fake.next(answers(404, {"detail": "gone"}), on="PATCH")
    meeting.fake.next(lambda proceed: proceed(), on="GET /Users/u-7")
    meeting.fake.next(answers(404), on="GET /Users/u-7")

    agreement = meeting.agree(person(**BO | {"title": "Lead"}))

    assert isinstance(agreement.trouble, Refused)
    assert "gone" in agreement.trouble.message
    assert "PUT" not in methods(meeting)


@pytest.mark.parametrize("scim_type", ["invalidValue", "mutability", "uniqueness"])
@every_person
def test_fault_of_the_content_is_not_put(scim_type: str, known: Person, redis: Redis) -> None:
    """The target understood and said what is wrong with it: another way of asking would only put more at stake."""
    meeting = meet(redis, account=ACCOUNT)
    bo(meeting)["title"] = "Clerk"
    refusal = {"detail": "ask the administrator", "scimType": scim_type}
    meeting.fake.next(answers(400, refusal), on="PATCH /Users", times=99)

    try:
        error = meeting.agree(known, cautious=True).trouble
    except Refused as refused:
        error = refused

    assert isinstance(error, Refused)
    assert "ask the administrator" in error.message
    assert "PUT" not in methods(meeting)
    assert without(HELD, "title") == without(bo(meeting), "title")


@pytest.mark.parametrize("scim_type", ["invalidValue", "mutability"])
def test_fault_of_the_content_that_shows_only_alone_is_not_put_either(scim_type: str, redis: Redis) -> None:
    """The whole is refused for one attribute, another is refused alone for its value: that value is in no PUT."""
    meeting = meet(redis, account=ACCOUNT)
    meeting.fake.next(answers(400, {"detail": "no such path", "scimType": "invalidPath"}), on="PATCH", times=2)
    meeting.fake.next(answers(400, {"detail": "not so", "scimType": scim_type}), on="PATCH")

    agreement = meeting.agree(MOVER)

    assert isinstance(agreement.trouble, Refused)
    assert len(patched_paths(meeting)) == 3
    assert "PUT" not in methods(meeting)


def test_value_that_another_account_has_is_not_put(redis: Redis) -> None:
    """409 to a PATCH is an answer to the content, whatever the body says."""
    meeting = meet(redis, account=ACCOUNT)
    meeting.fake.next(answers(409, {"detail": "taken", "scimType": "uniqueness"}), on="PATCH")

    error = raised(meeting, MOVER, Refused)

    assert "taken" in error.message
    assert "PUT" not in methods(meeting)


def test_server_error_is_a_refusal_only_the_second_time(redis: Redis) -> None:
    """Some answer 500 where they mean 501: time is given the first chance, a PUT the second."""
    meeting = meet(redis, account=ACCOUNT)
    meeting.fake.next(answers(500, "<html>oh no</html>"), on="PATCH", times=99)

    error = raised(meeting, LEAVER, Postponed)
    first = methods(meeting)
    agreement = meeting.agree(LEAVER, cautious=True)

    assert error.reason == "broken"
    assert "PUT" not in first
    assert agreement.confirmed_at is not None
    assert without(HELD | {"active": False}) == without(bo(meeting))


# ---- PATCH without effect


def test_patch_without_effect_is_replaced_only_the_second_time(redis: Redis) -> None:
    """The target says 200 and shows the leaver active: it may only be slow, so the PUT waits for the next attempt."""
    meeting = meet(redis, Quirk.IGNORES_PATCH, account=ACCOUNT)

    error = raised(meeting, LEAVER, Postponed)
    first = methods(meeting)
    agreement = meeting.agree(LEAVER, cautious=True)

    assert error.reason == "unconfirmed"
    assert "PUT" not in first
    assert agreement.change == "suspended"
    assert agreement.confirmed_at is not None
    assert without(HELD | {"active": False}) == without(bo(meeting))


@pytest.mark.parametrize("body", [{"status": "ok"}, "", "<html>", {"id": ""}], ids=repr)
def test_replacement_whose_answer_shows_no_account_is_read_back(body: object, redis: Redis) -> None:
    """200 with anything but the account proves nothing, and is no failure either."""
    meeting = meet(redis, Quirk.NO_PATCH_501, account=ACCOUNT)
    bo(meeting)["active"] = False
    shown = json.loads(json.dumps(HELD))
    meeting.fake.next(answers(200, shown), on="GET /Users/u-7", times=2)
    meeting.fake.next(answers(200, body), on="PUT")

    agreement = meeting.agree(LEAVER)

    assert agreement.confirmed_at is not None
    assert agreement.trouble is None


# ---- PUT that is refused, or without effect


@pytest.mark.parametrize("status", [400, 404, 405, 500, 501])
def test_leaver_whom_neither_way_suspends_is_refused_in_the_targets_words(status: int, redis: Redis) -> None:
    """No PATCH and no PUT: the person who must act reads what the target said to the PATCH."""
    meeting = meet(redis, Quirk.NO_PATCH_501, account=ACCOUNT)
    meeting.fake.next(answers(status, {"detail": "no PUT"}), on="PUT", times=99)

    error = raised(meeting, LEAVER, Refused)

    assert "PATCH is not for this server" in error.message
    assert methods(meeting).count("PUT") == 1
    assert without(HELD) == without(bo(meeting))


def test_replacement_without_effect_is_no_suspension(redis: Redis) -> None:
    """The answer to the PUT shows the leaver active: no access was taken, and none is said to be."""
    meeting = meet(redis, Quirk.NO_PATCH_501, account=ACCOUNT)
    meeting.fake.next(answers(200, HELD), on="PUT")

    error = raised(meeting, LEAVER, Refused)

    assert "501" in error.message


def test_access_that_is_not_given_back_is_refused(redis: Redis) -> None:
    """A rehire whose account stays inactive is no small thing that was not kept."""
    meeting = meet(redis, Quirk.NO_PATCH_501, Quirk.NO_PUT, account=ACCOUNT)
    bo(meeting)["active"] = False

    raised(meeting, MOVER, Refused)


# ---- a part is refused


def test_what_the_target_takes_is_written_and_the_rest_is_told_in_its_words(redis: Redis) -> None:
    """One unknown attribute costs that attribute: the others are written, the groups are kept, a person is told."""
    meeting = meet(redis, Quirk.PATCH_KNOWS_NO_TITLE, Quirk.NO_PUT, account=ACCOUNT, policy=AGENTS)

    agreement = meeting.agree(MOVER)

    assert isinstance(agreement.trouble, Refused)
    assert "title" in agreement.trouble.message
    assert "there is no such attribute here" in agreement.trouble.message
    assert "department" not in agreement.trouble.message
    assert bo(meeting)[ENTERPRISE]["department"] == "Sales"
    assert bo(meeting)["title"] == "Agent"
    assert agreement.groups_added == ["Agents"]
    assert "u-7" in meeting.fake.members("Agents")
    assert agreement.account is not None
    assert agreement.account.digest == ""


def test_what_a_replacement_does_not_keep_is_told(redis: Redis) -> None:
    """A PUT that is taken and shows less than was said: that is told, the groups are kept."""
    meeting = meet(redis, Quirk.NO_PATCH_501, Quirk.PUT_FORGETS_TITLE, account=ACCOUNT)

    agreement = meeting.agree(MOVER)

    assert isinstance(agreement.trouble, Refused)
    assert agreement.trouble.message == "the target does not keep title"
    assert bo(meeting)[ENTERPRISE]["department"] == "Sales"


def test_part_that_was_refused_is_tried_again_and_changes_nothing_else(redis: Redis) -> None:
    """The next attempt finds the rest done: it asks for what is missing alone, and leaves every byte as it was."""
    meeting = meet(redis, Quirk.PATCH_KNOWS_NO_TITLE, Quirk.NO_PUT, account=ACCOUNT, policy=AGENTS)
    meeting.agree(MOVER)
    after, asked = json.dumps(meeting.fake.held), len(patched_paths(meeting))

    agreement = meeting.agree(MOVER, cautious=True)

    assert patched_paths(meeting)[asked:] == [["title"]]
    assert after == json.dumps(meeting.fake.held)
    assert isinstance(agreement.trouble, Refused)
    assert agreement.groups_added == []
    assert agreement.applied_at is None or agreement.change == "updated"


def test_part_that_was_refused_and_is_taken_later_is_written(redis: Redis) -> None:
    """Once the target knows the attribute, the next attempt ends the trouble."""
    meeting = meet(redis, Quirk.PATCH_KNOWS_NO_TITLE, Quirk.NO_PUT, account=ACCOUNT)
    meeting.agree(MOVER)
    meeting.fake.quirks = frozenset()

    agreement = meeting.agree(MOVER)

    assert agreement.trouble is None
    assert bo(meeting)["title"] == "Lead"


def test_target_without_value_paths_gets_the_entry_by_replacement(redis: Redis) -> None:
    """The work address changes, the one at home stays where it is."""
    meeting = meet(redis, Quirk.NO_VALUE_PATHS, account=ACCOUNT)

    agreement = meeting.agree(person(**BO | {"user_name": BO["email"], "email": "bo@acme.example"}))

    assert agreement.trouble is None
    assert bo(meeting)["emails"] == [
        {"type": "home", "value": "bo@home.example"},
        {"type": "work", "value": "bo@acme.example"},
    ]
    assert without(HELD, "emails") == without(bo(meeting), "emails")


# ---- of a leaver only the access counts


def test_nothing_but_the_access_is_asked_for_a_leaver(redis: Redis) -> None:
    """Adopting would write externalId, which a target may refuse; it stands in the way of no suspension."""
    meeting = meet(redis)
    del bo(meeting)["externalId"]

    agreement = meeting.agree(LEAVER)

    assert patched_paths(meeting) == [["active"]]
    assert agreement.trouble is None
    assert agreement.confirmed_at is not None


@pytest.mark.parametrize("status", [400, 409, 501])
def test_leaver_is_out_where_external_ids_are_refused(status: int, redis: Redis) -> None:
    """Whatever the target has against externalId, the leaver's event depends on the access only."""
    meeting = meet(redis)
    del bo(meeting)["externalId"]
    refusal = {"detail": "no externalId", "scimType": "uniqueness"}
    meeting.fake.next(
        lambda proceed: answers(status, refusal)(proceed) if "externalId" in patched_paths(meeting)[-1] else proceed(),
        on="PATCH",
        times=99,
    )

    agreement = meeting.agree(LEAVER)

    assert bo(meeting)["active"] is False
    assert agreement.trouble is None


@pytest.mark.parametrize("quirks", PATCH_IS_MISSING, ids=["404", "405", "501"])
def test_leaver_is_out_though_the_group_cannot_be_left(quirks: set[Quirk], redis: Redis) -> None:
    """Without PATCH nobody leaves a group: that is told, after the access was taken and seen to be."""
    account = ACCOUNT.model_copy(update={"groups": {"Agents": "g-1"}})
    meeting = meet(redis, *quirks, account=account)
    meeting.fake.held["Groups"]["g-1"]["members"].append({"value": "u-7"})

    agreement = meeting.agree(LEAVER)

    assert bo(meeting)["active"] is False
    assert agreement.confirmed_at is not None
    assert agreement.change == "suspended"


# ---- accounts that are refused whole


@pytest.mark.parametrize("quirk", [Quirk.CREATE_KNOWS_NO_TITLE_400, Quirk.CREATE_KNOWS_NO_TITLE_422])
def test_joiner_is_created_of_less_and_the_rest_is_written_next(quirk: Quirk, redis: Redis) -> None:
    """The target names the attribute that it does not take on creation: the account is there, and then complete."""
    meeting = meet(redis, quirk, held=False, policy=AGENTS)

    agreement = meeting.agree(JOINER)

    found = meeting.fake.user("bo.ray@acme.example")
    assert methods(meeting).count("POST") == 2
    assert found["title"] == "Agent"
    assert found[ENTERPRISE] == {"department": "Support"}
    assert agreement.change == "provisioned"
    assert agreement.trouble is None
    assert agreement.groups_added == ["Agents"]


def test_joiner_whose_title_nobody_takes_has_an_account_and_the_groups(redis: Redis) -> None:
    """What the target does not know is told in its words; the person can work."""
    quirks = [Quirk.CREATE_KNOWS_NO_TITLE_400, Quirk.PATCH_KNOWS_NO_TITLE, Quirk.NO_PUT]
    meeting = meet(redis, *quirks, held=False, policy=AGENTS)

    agreement = meeting.agree(JOINER)

    found = meeting.fake.user("bo.ray@acme.example")
    assert "title" not in found
    assert found["active"] is True
    assert found[ENTERPRISE] == {"department": "Support"}
    assert agreement.change == "provisioned"
    assert isinstance(agreement.trouble, Refused)
    assert "there is no such attribute here" in agreement.trouble.message
    assert agreement.groups_added == ["Agents"]


def test_joiner_has_a_primary_address_where_one_is_demanded(redis: Redis) -> None:
    """Only after the target asked for it: by default no address is said to be the primary one."""
    strict, usual = meet(redis, Quirk.CREATE_NEEDS_PRIMARY, held=False), meet(redis, held=False)

    agreement = strict.agree(JOINER)
    usual.agree(JOINER)

    address = {"type": "work", "value": "bo.ray@acme.example"}
    assert strict.fake.user("bo.ray@acme.example")["emails"] == [address | {"primary": True}]
    assert usual.fake.user("bo.ray@acme.example")["emails"] == [address]
    assert strict.fake.user("bo.ray@acme.example")["title"] == "Agent"
    assert agreement.trouble is None


@pytest.mark.parametrize("status", [400, 422])
def test_create_that_is_refused_for_another_reason_is_not_tried_with_less(status: int, redis: Redis) -> None:
    """The target names nothing that could be left out: its words are for a person."""
    meeting = meet(redis, held=False)
    meeting.fake.next(answers(status, {"detail": "no licence is left"}), on="POST", times=99)

    error = raised(meeting, JOINER, Refused)

    assert "no licence is left" in error.message
    assert methods(meeting).count("POST") == 1


# ---- accounts that no filter finds


@every_person
@pytest.mark.parametrize(
    "quirks", ALL_MUST_BE_READ, ids=["400", "501", "501 and pages", "ignored", "ignored and pages"]
)
def test_person_is_found_among_all(quirks: set[Quirk], known: Person, redis: Redis) -> None:
    """Where a filter is refused or ignored all are read, page by page, and the right one is changed."""
    meeting = meet(redis, *quirks)
    bo(meeting)["title"] = "Clerk"

    agreement = meeting.agree(known)

    assert agreement.account is not None
    assert agreement.account.id == "u-7"
    assert agreement.change is not None
    assert len(meeting.fake.users()) == 5


def test_server_error_to_a_filter_is_a_refusal_only_the_second_time(redis: Redis) -> None:
    """Some answer 500 to a filter that they do not know: time first, then all are read and the leaver is out."""
    meeting = meet(redis)
    meeting.fake.next(answers(500), on="GET /Users?filter", times=99)

    raised(meeting, LEAVER, Postponed)
    first = methods(meeting)
    agreement = meeting.agree(LEAVER, cautious=True)

    assert first == ["GET"]
    assert agreement.confirmed_at is not None
    assert bo(meeting)["active"] is False


@pytest.mark.parametrize("pages", [set(), {Quirk.SMALL_PAGES}], ids=["one page", "pages"])
def test_account_of_a_conflict_that_no_filter_finds_is_adopted(pages: set[Quirk], redis: Redis) -> None:
    """A filter found nobody, the create says that there is somebody: all are read, and the account is ours."""
    meeting = meet(redis, Quirk.KNOWS_NO_FILTER, *pages)
    del bo(meeting)["externalId"]

    agreement = meeting.agree(MOVER)

    assert agreement.account is not None
    assert agreement.account.id == "u-7"
    assert bo(meeting)["externalId"] == "E1042"
    assert bo(meeting)["title"] == "Lead"


def test_account_of_a_conflict_that_is_somebody_elses_is_held(redis: Redis) -> None:
    """Found among all, it belongs to another externalId: nothing is written."""
    meeting = meet(redis, Quirk.KNOWS_NO_FILTER)
    bo(meeting)["externalId"] = "E7"
    before = json.dumps(meeting.fake.held)

    error = raised(meeting, MOVER, Held)

    assert error.reason == "other_owner"
    assert before == json.dumps(meeting.fake.held)


def test_account_of_a_conflict_that_is_on_no_page_is_refused(redis: Redis) -> None:
    """The words are those of the conflict, not of the search."""
    meeting = meet(redis, *NOT_FOUND_AT_ALL[2])
    before = json.dumps(meeting.fake.held)

    error = raised(meeting, MOVER, Refused)

    assert "taken" in error.message
    assert before == json.dumps(meeting.fake.held)


# ---- groups that no filter finds


@pytest.mark.parametrize(
    "quirks",
    [{Quirk.KNOWS_NO_FILTER}, *ALL_MUST_BE_READ],
    ids=["nobody", "400", "501", "501 and pages", "ignored", "ignored and pages"],
)
def test_group_is_found_among_all(quirks: set[Quirk], redis: Redis) -> None:
    """A filter on displayName that gives nothing, or everything, does not keep a person out of the group."""
    meeting = meet(redis, *quirks, account=ACCOUNT, policy=AGENTS)
    meeting.fake.add("Groups", id="g-2", displayName="Agents 2")

    agreement = meeting.agree(MOVER)

    assert agreement.trouble is None
    assert agreement.groups_added == ["Agents"]
    assert meeting.fake.members("Agents") == ["u-1", "u-9", "u-7"]
    assert meeting.fake.members_of("g-0") == ["u-1"]
    assert meeting.fake.members_of("g-2") == []


def test_group_without_an_id_is_no_group(redis: Redis) -> None:
    """A name alone leads nowhere: nobody is sent to a group called None, and nothing of it is remembered."""
    meeting = meet(redis, account=ACCOUNT, policy=policy(Ghosts="true"))
    meeting.fake.next(answers(200, {"Resources": [{"displayName": "Ghosts"}]}), on="GET /Groups")

    agreement = meeting.agree(MOVER)

    assert isinstance(agreement.trouble, Refused)
    assert agreement.trouble.reason == "group_missing"
    assert not [said for said in meeting.fake.log if said.line().startswith("PATCH /Groups")]


# ---- what a create really made


def test_new_account_without_what_was_asked_for_is_no_success(redis: Redis) -> None:
    """201, and the title is not kept: the account and its group are there, and the event says what is missing."""
    meeting = meet(redis, Quirk.DROPS_TITLE, held=False, policy=AGENTS)

    agreement = meeting.agree(JOINER)

    assert agreement.change == "provisioned"
    assert isinstance(agreement.trouble, Refused)
    assert "does not keep title" in agreement.trouble.message
    assert meeting.fake.user(BO["email"])["id"] in meeting.fake.members("Agents")


def test_create_that_is_answered_in_part_is_looked_at_and_not_written_again(redis: Redis) -> None:
    """A server may answer with less than it keeps: one look tells, and nothing is wrong."""
    meeting = meet(redis, Quirk.ANSWERS_LITTLE, held=False)

    agreement = meeting.agree(JOINER)

    assert agreement.trouble is None
    assert methods(meeting) == ["GET", "POST", "GET"]


def test_narrow_create_that_meets_somebody_takes_the_account(redis: Redis) -> None:
    """The first create is refused for an attribute, the second because the account is there: it is the person's."""
    meeting = meet(redis, Quirk.CREATE_NEEDS_PRIMARY, held=False)
    meeting.fake.add("Users", **{name: value for name, value in HELD.items() if name != "externalId"})

    agreement = meeting.agree(JOINER)

    assert agreement.account is not None
    assert (agreement.account.id, bo(meeting)["externalId"]) == (HELD["id"], "E1042")


def test_conflict_over_an_account_that_nobody_changed_is_a_refusal(redis: Redis) -> None:
    """A bare 409 again and again, and the account is as it was: waiting would not help whoever shall be locked out."""
    meeting = meet(redis, account=ACCOUNT)
    meeting.fake.next(answers(409, {"detail": "userName already exists"}), on="PATCH", times=99)

    error = raised(meeting, LEAVER, Refused)

    assert "userName already exists" in error.message
    assert len(meeting.fake.log) <= 6
