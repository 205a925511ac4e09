"""Several requests in one: an account with its groups, and out of all of them."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Waiting
from lifecycle.event import Kind
from tests.workers.conftest import MakeStage
from tests.workers.fake_scim import BULK_RESPONSE, USER, FakeScim, Fault, Quirk, answers, cuts_after, cuts_before
from tests.workers.memberships import House, house
from tests.workers.stories import BO, event, place, referee
from workers.scim.bulk import Created
from workers.scim.capabilities import Capabilities
from workers.scim.client import Conversation

OFFERED = Capabilities(bulk_operations_max=100, bulk_bytes_max=1_000_000)
BOTH = {"Agents": "g-1", "Sellers": "g-2"}
BODY = {"schemas": [USER], "userName": "bo@acme.example", "active": True}
STATUSES = [
    None,
    Quirk.BULK_STATUS_IS_A_NUMBER,
    Quirk.BULK_STATUS_IS_AN_OBJECT,
    Quirk.BULK_IN_OTHER_ORDER,
]

every_status = pytest.mark.parametrize("quirk", STATUSES, ids=["by the book", "number", "object", "other order"])


def offered(redis: Redis, *quirks: Quirk | None, **fields: Any) -> House:  # noqa: ANN401 - a house's fields
    """Make a house whose target offers bulk."""
    return house(redis, *(quirk for quirk in quirks if quirk), **{"can": OFFERED} | fields)


def create(found: House, body: dict[str, Any] = BODY, groups: dict[str, str] = BOTH) -> Created | None:
    """Create an account with its groups; what was asked must be by the book."""
    created = found.groups.bulk.create_with_groups(found.talk, body, groups)
    referee(found.fake.log)
    return created


def envelope(*parts: dict[str, Any]) -> dict[str, Any]:
    """Make an answer."""
    return {"schemas": [BULK_RESPONSE], "Operations": list(parts)}


# ---- an account with its groups


@every_status
def test_account_is_created_with_its_groups_in_one_request(quirk: Quirk | None, redis: Redis) -> None:
    """However the status is written and in whatever order the parts come."""
    found = offered(redis, quirk)

    created = create(found)

    bo = found.fake.user("bo@acme.example")
    assert found.fake.lines() == ["POST /Bulk"]
    assert created is not None
    assert created.account is not None
    assert created.account.status == 201
    assert created.account.headers["location"].endswith(f"/Users/{bo['id']}")
    assert created.joined == BOTH
    assert found.fake.members_of("g-2") == [bo["id"]]


@every_status
def test_conflict_of_the_account_is_answered_as_alone(quirk: Quirk | None, redis: Redis) -> None:
    """The envelope's 200 says nothing of it, and no group has anybody to take."""
    found = offered(redis, quirk)
    found.fake.add("Users", userName="bo@acme.example", active=True)

    created = create(found)

    assert created is not None
    assert created.account is not None
    assert created.account.status == 409
    assert json.loads(created.account.body)["scimType"] == "uniqueness"
    assert created.joined == {}
    assert found.fake.members_of("g-2") == []


def test_group_that_refuses_is_not_counted(redis: Redis) -> None:
    """The account is there, one group took it; the other is joined alone and says why."""
    found = offered(redis)
    del found.fake.held["Groups"]["g-2"]

    created = create(found)

    assert created is not None
    assert created.joined == {"Agents": "g-1"}


def test_group_that_answers_and_does_not_show_the_account_is_not_counted(redis: Redis) -> None:
    """Success is what is shown; where nothing is shown the status counts."""
    found = offered(redis)
    place = "https://crm.test/scim/v2"
    parts: list[dict[str, Any]] = [
        {"method": "POST", "bulkId": "account", "location": f"{place}/Users/u-7", "status": "201"},
        {"method": "PATCH", "location": f"{place}/Groups/g-1", "status": "200", "response": {"members": []}},
        {"method": "PATCH", "location": f"{place}/Groups/g-2", "status": "204"},
    ]
    found.fake.next(answers(200, envelope(*parts)), on="POST /Bulk")

    created = create(found)

    assert created is not None
    assert created.joined == {"Sellers": "g-2"}


def test_part_that_is_not_told_of_is_not_counted(redis: Redis) -> None:
    """Without a place nobody can tell which group a part is about."""
    found = offered(redis, Quirk.BULK_TELLS_NO_PLACES)

    created = create(found)

    assert created is not None
    assert created.account is not None
    assert created.joined == {}


@pytest.mark.parametrize(
    "body",
    [
        None,
        "<html>",
        envelope(),
        {"Operations": None},
        {"Operations": ["x", 7, None, {}]},
        envelope({"method": "POST", "bulkId": "other", "status": "201"}),
    ],
    ids=["empty", "html", "no parts", "null", "rubbish", "another's"],
)
def test_answer_that_tells_nothing_of_the_account_gives_none(body: object, redis: Redis) -> None:
    """It may have been made or not: whoever asked has to look."""
    found = offered(redis)
    found.fake.next(answers(200, body), on="POST /Bulk")

    created = create(found)

    assert created == Created(None, {})


def test_status_that_nobody_can_read_is_no_success(redis: Redis) -> None:
    """A part without a status was not seen to be done."""
    found = offered(redis)
    part = {"method": "POST", "bulkId": "account", "location": "https://crm.test/scim/v2/Users/u-1"}
    group = {"method": "PATCH", "location": "https://crm.test/scim/v2/Groups/g-1", "status": "200"}
    found.fake.next(answers(200, envelope(part, group)), on="POST /Bulk")

    created = create(found)

    assert created is not None
    assert created.account is not None
    assert created.account.status == 0
    assert created.joined == {}


def test_lost_answer_is_postponed(redis: Redis) -> None:
    """It may have happened, as with every create: the next attempt begins with a look."""
    found = offered(redis)
    found.fake.next(cuts_after(), on="POST /Bulk")

    with pytest.raises(Postponed):
        create(found)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 415, 422, 501])
def test_envelope_that_is_refused_is_left_to_single_calls(status: int, redis: Redis) -> None:
    """And is not tried again by the fleet for a while."""
    found = offered(redis)
    found.fake.next(answers(status), on="POST /Bulk", times=9)

    assert [create(found), create(House(redis, found.fake, OFFERED))] == [None, None]
    assert found.fake.lines() == ["POST /Bulk"]
    assert 600 < redis.ttl(keys.bulk_rests("crm")) <= 3_600


NOTHING_TOLD = answers(200, envelope())
PART_REFUSED = answers(200, envelope({"method": "POST", "bulkId": "account", "status": "403"}))
PART_BROKEN = answers(200, envelope({"method": "POST", "bulkId": "account", "status": "500"}))


@pytest.mark.parametrize(
    "fault",
    [answers(500), answers(429), answers(503), cuts_after(), cuts_before(), NOTHING_TOLD, PART_REFUSED, PART_BROKEN],
    ids=["500", "429", "503", "answer lost", "never there", "nothing told", "part refused", "part broken"],
)
def test_account_is_made_though_the_envelope_never_works(fault: Fault, redis: Redis, make_stage: MakeStage) -> None:
    """The first trouble is told as ever; whoever looks again after it goes on by single calls."""
    fake = FakeScim()
    for name in ("Agents", "Sellers"):
        fake.add("Groups", displayName=name)
    stage = make_stage(crm=fake, policy={"grants": [{"when": "true", "groups": ["Agents", "Sellers"]}]})
    stage.world.places["crm"] = place(redis, httpx.MockTransport(fake), profile={"bulk": True})  # type: ignore[index]
    fake.next(fault, on="POST /Bulk", times=99)
    stage.tell(event(Kind.JOINER, "joined", **BO))

    if fault is PART_REFUSED:
        stage.records.retry("event:hris:joined", actor="anna")
    stage.let_in()
    stage.work()

    bo = fake.user("bo.ray@acme.example")
    assert stage.state("joined") == "applied"
    assert fake.members("Agents") == fake.members("Sellers") == [bo["id"]]
    assert fake.lines().count("POST /Bulk") == 1


def test_leave_that_is_not_given_is_no_fault_of_the_envelope(redis: Redis) -> None:
    """Nothing was sent, so that it is tried at the next occasion."""
    found = offered(redis)

    def shut() -> None:
        raise Waiting("the target's limit is reached", reason="rate", need=1)

    with pytest.raises(Waiting):
        found.groups.bulk.create_with_groups(Conversation(shut, can=OFFERED), BODY, BOTH)

    assert create(found) is not None


def test_conflict_of_an_account_is_no_fault_of_the_envelope(redis: Redis) -> None:
    """Its part was answered as it would have been alone."""
    found = offered(redis)
    found.fake.add("Users", userName="bo@acme.example", active=True)

    create(found)
    create(found, {**BODY, "userName": "kim@acme.example"})

    assert found.fake.lines() == ["POST /Bulk"] * 2


def test_nobody_is_added_by_an_envelope_where_members_leave_by_put(redis: Redis) -> None:
    """It holds no group, so that a PUT of another job could undo it."""
    by_profile = offered(redis, can=replace(OFFERED, member_remove="put"))
    told = create(by_profile)
    found = offered(redis, Quirk.NO_VALUE_PATHS, members=["u-1", "u-7"])
    found.keep(found.wants(), {"Agents": "g-1"})
    found.fake.log.clear()

    assert told is create(found) is None
    assert by_profile.fake.log == found.fake.log == []


@pytest.mark.parametrize(
    ("can", "groups"),
    [
        (Capabilities(), BOTH),
        (Capabilities(bulk_operations_max=2), BOTH),
        (Capabilities(bulk_operations_max=100, bulk_bytes_max=300), BOTH),
        (Capabilities(bulk_operations_max=100, patch=False), BOTH),
        (OFFERED, {"Agents": "g-1"}),
        (OFFERED, {}),
    ],
    ids=["not offered", "too many parts", "too many bytes", "no PATCH", "one group", "no group"],
)
def test_what_does_not_fit_or_saves_nothing_is_left_to_single_calls(
    can: Capabilities, groups: dict[str, str], redis: Redis
) -> None:
    """Nothing is asked."""
    found = offered(redis, can=can)

    assert create(found, groups=groups) is None
    assert found.fake.log == []


def test_target_that_tells_no_size_is_sent_what_fits_ours(redis: Redis) -> None:
    """A bound is needed all the same."""
    found = offered(redis, can=Capabilities(bulk_operations_max=100))

    assert create(found) is not None
    assert create(found, {**BODY, "userName": "x" * 1_000_000}) is None


# ---- out of all groups


@every_status
def test_leaver_leaves_several_groups_in_one_request(quirk: Quirk | None, redis: Redis) -> None:
    """The others stay in them."""
    found = offered(redis, quirk, members=["u-1", "u-7"])
    found.fake.held["Groups"]["g-2"]["members"] = [{"value": "u-7"}]

    ended = found.keep(found.leaver(), BOTH)

    assert ended.lines == ["POST /Bulk"]
    assert (found.fake.members_of("g-1"), found.fake.members_of("g-2")) == (["u-1"], [])
    assert ended.memberships == {}
    assert ended.agreement.groups_removed == ["Agents", "Sellers"]


def test_member_that_is_gone_already_has_left(redis: Redis) -> None:
    """The error noTarget is success here as it is alone."""
    found = offered(redis, members=["u-1", "u-7"])

    ended = found.keep(found.leaver(), BOTH)

    assert ended.lines == ["POST /Bulk"]
    assert ended.memberships == {}


def test_group_that_does_not_let_go_is_left_alone_then(redis: Redis) -> None:
    """Its own refusal decides how."""
    found = offered(redis, Quirk.NO_VALUE_PATHS, members=["u-1", "u-7"])

    ended = found.keep(found.leaver(), BOTH)

    assert ended.lines[0] == "POST /Bulk"
    assert ended.trouble is None
    assert found.fake.members_of("g-1") == ["u-1"]


def test_leaver_whose_envelope_is_lost_leaves_one_by_one(redis: Redis) -> None:
    """To leave twice does no harm, and the trouble is told so that it is looked again."""
    found = offered(redis, members=["u-1", "u-7"])
    found.fake.next(cuts_after(), on="POST /Bulk")

    ended = found.keep(found.leaver(), BOTH)

    assert ended.trouble == "no_answer"
    assert ended.memberships == {}
    assert found.fake.members_of("g-1") == ["u-1"]


def test_target_that_ignores_a_part_is_not_believed(redis: Redis) -> None:
    """It answers 200 for it and shows the member still."""
    found = offered(redis, members=["u-1", "u-7"])
    shown = {"members": [{"value": "u-7"}]}
    parts = [
        {"method": "PATCH", "location": f"/Groups/{each}", "status": "200", "response": shown} for each in BOTH.values()
    ]
    found.fake.next(answers(200, envelope(*parts)), on="POST /Bulk")

    ended = found.keep(found.leaver(), BOTH)

    assert "PATCH /Groups/g-1" in ended.lines
    assert found.fake.members_of("g-1") == ["u-1"]


def test_dialect_of_the_profile_holds_in_an_envelope_too(redis: Redis) -> None:
    """By value where that was selected, never by a PUT's dialect."""
    can = Capabilities(bulk_operations_max=100, member_remove="value")
    found = offered(redis, Quirk.REMOVES_MEMBERS_BY_VALUE, members=["u-1", "u-7"], can=can)

    left = found.groups.bulk.leave(found.talk, "u-7", BOTH)

    assert left == ["Agents", "Sellers"]
    assert found.fake.members_of("g-1") == ["u-1"]
    (said,) = found.fake.log
    assert said.body["Operations"][0]["data"]["Operations"] == [
        {"op": "remove", "path": "members", "value": [{"value": "u-7"}]}
    ]
