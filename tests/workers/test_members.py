"""One account's memberships, in every dialect: what is asked, and that nobody else is touched."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Refused
from lifecycle.leases import LeaseLost
from tests.workers.fake_scim import GROUP, Quirk, answers, cuts_after
from tests.workers.memberships import House, house
from workers.scim.capabilities import Capabilities
from workers.scim.client import Conversation
from workers.scim.exclusive import BUSY_SECONDS, HOLD_MILLISECONDS, Exclusive
from workers.scim.moves import Moves, operations

IN_AGENTS = {"Agents": "g-1"}
BY_PUT = Capabilities(patch=False)


def values(found: House, group: str = "g-1") -> list[str]:
    """Return the members that the server holds."""
    return found.fake.members_of(group)


def patches(found: House) -> list[list[dict[str, Any]]]:
    """Return the operations of each PATCH."""
    return [said.body["Operations"] for said in found.fake.log if said.method == "PATCH"]


# ---- by the book


def test_account_joins_what_is_wanted_and_leaves_the_rest(redis: Redis) -> None:
    """One PATCH a group, and the other members stay."""
    found = house(redis, members=["u-1", "u-7"])

    ended = found.keep(found.wants("Sellers"), IN_AGENTS)

    assert ended.lines[0] == "PATCH /Groups/g-1"
    assert ended.lines[-1] == "PATCH /Groups/g-2"
    assert (values(found), values(found, "g-2")) == (["u-1"], ["u-7"])
    assert ended.memberships == {"Sellers": "g-2"}
    assert (ended.agreement.groups_added, ended.agreement.groups_removed) == (["Sellers"], ["Agents"])


def test_account_that_is_where_it_should_be_needs_no_request(redis: Redis) -> None:
    """Nothing differs, so nothing is asked."""
    found = house(redis)

    ended = found.keep(found.wants("Agents"), IN_AGENTS)

    assert ended.lines == []
    assert ended.memberships == IN_AGENTS


def test_group_by_id_needs_no_look_up(redis: Redis) -> None:
    """``id:g-2`` is joined by its id, and the membership is kept under that text."""
    found = house(redis)

    ended = found.keep(found.wants("id:g-2"))

    assert ended.lines == ["PATCH /Groups/g-2"]
    assert ended.memberships == {"id:g-2": "g-2"}


def test_one_group_that_fails_does_not_keep_the_account_from_the_others(redis: Redis) -> None:
    """The one is told of, the others are joined."""
    found = house(redis)

    ended = found.keep(found.wants("Agents", "Ghosts", "Sellers"))

    assert ended.trouble == "group_missing"
    assert set(ended.memberships) == {"Agents", "Sellers"}


def test_what_time_can_mend_is_told_before_what_it_cannot(redis: Redis) -> None:
    """A postponed attempt finds the refusal again; a refused one would not come back for the other group."""
    found = house(redis)
    found.fake.next(answers(503), on="PATCH /Groups/g-1")

    ended = found.keep(found.wants("Agents", "Ghosts"))

    assert isinstance(ended.agreement.trouble, Postponed)


def test_lost_lease_is_nobodys_trouble(redis: Redis) -> None:
    """Whoever lost the person stops at once."""
    found = house(redis)

    def may_send() -> None:
        raise LeaseLost("another job works on this person", reason="lease_lost")

    with pytest.raises(LeaseLost):
        found.keep(replace(found.wants("Agents"), talk=Conversation(may_send)))

    assert found.fake.log == []


# ---- who is there already, who is gone already


@pytest.mark.parametrize("body", [None, {"scimType": "uniqueness"}], ids=["bare", "with scimType"])
def test_conflict_of_a_member_that_is_there_is_success(body: object, redis: Redis) -> None:
    """It is looked whether the conflict says so."""
    found = house(redis, members=["u-7"])
    found.fake.next(answers(409, body), on="PATCH")

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble is None
    assert values(found) == ["u-7"]


def test_conflict_of_versions_is_not_taken_for_a_member(redis: Redis) -> None:
    """The look shows that the account is not in the group; what was read then is merged and put."""
    found = house(redis)
    found.fake.next(answers(409, {"detail": "version conflict"}), on="PATCH")

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble is None
    assert values(found) == ["u-1", "u-9", "u-7"]


def test_conflict_where_members_are_hidden_is_believed(redis: Redis) -> None:
    """There is nothing to look at, and a member that is added twice is what a conflict is for."""
    found = house(redis, Quirk.HIDES_MEMBERS, Quirk.MEMBER_TWICE_IS_409, members=["u-7"])

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble is None
    assert [line.split("?")[0] for line in ended.lines[-2:]] == ["PATCH /Groups/g-1", "GET /Groups/g-1"]


def test_member_that_is_gone_already_has_left(redis: Redis) -> None:
    """400 noTarget is what RFC 7644 answers then."""
    found = house(redis)

    ended = found.keep(found.wants(), IN_AGENTS)

    assert ended.lines == ["PATCH /Groups/g-1"]
    assert ended.agreement.groups_removed == ["Agents"]
    assert values(found) == ["u-1", "u-9"]


def test_group_that_is_gone_has_no_members(redis: Redis) -> None:
    """Whoever was in it has left it."""
    found = house(redis)
    del found.fake.held["Groups"]["g-1"]

    ended = found.keep(found.wants(), IN_AGENTS)

    assert ended.trouble is None
    assert ended.agreement.groups_removed == ["Agents"]


def test_second_attempt_does_not_add_a_second_copy(redis: Redis) -> None:
    """The first may have written, and SCIMMY keeps two of an equal value: it is looked before."""
    found = house(redis, Quirk.DOUBLES_MEMBERS, Quirk.SHOWS_NO_GROUPS)
    found.fake.next(cuts_after(), on="PATCH")
    found.keep(found.wants("Agents"))

    ended = found.keep(found.wants("Agents", cautious=True))

    assert ended.trouble is None
    assert values(found) == ["u-1", "u-9", "u-7"]


# ---- servers that remove otherwise


def test_target_that_refuses_the_filter_is_put_the_group_without_the_member(redis: Redis) -> None:
    """Nobody else leaves, and the form that would remove everybody by the book is never tried."""
    found = house(redis, Quirk.NO_VALUE_PATHS, members=["u-1", "u-7", "u-9"])

    ended = found.keep(found.wants(), IN_AGENTS)

    assert ended.lines == ["PATCH /Groups/g-1", "GET /Groups/g-1", "PUT /Groups/g-1"]
    assert values(found) == ["u-1", "u-9"]
    assert not [line for lines in patches(found) for line in lines if line["path"] == "members"]


@pytest.mark.parametrize("status", [400, 405, 501])
def test_refused_filter_never_becomes_a_removal_of_all(status: int, redis: Redis) -> None:
    """Where the PUT is refused too, the target's first words are told and the group is as it was."""
    found = house(redis, Quirk.NO_PUT, members=["u-1", "u-7"])
    found.fake.next(answers(status, {"detail": "no such path here"}), on="PATCH", times=9)

    ended = found.keep(found.wants(), IN_AGENTS)

    assert isinstance(ended.agreement.trouble, Refused)
    assert "no such path here" in ended.agreement.trouble.message
    assert values(found) == ["u-1", "u-7"]
    assert ended.memberships == IN_AGENTS


def test_profile_selects_removal_by_value(redis: Redis) -> None:
    """Entra, Salesforce and django-scim2 know that form alone."""
    found = house(redis, Quirk.REMOVES_MEMBERS_BY_VALUE, members=["u-1", "u-7"])
    found.can = Capabilities(member_remove="value")

    ended = found.keep(found.wants(), IN_AGENTS)

    assert ended.lines == ["PATCH /Groups/g-1"]
    assert patches(found) == [[{"op": "remove", "path": "members", "value": [{"value": "u-7"}]}]]
    assert values(found) == ["u-1"]


def test_profile_selects_removal_by_put(redis: Redis) -> None:
    """The group is read, and put with all that came back but the member; joining is a PATCH still."""
    found = house(redis, members=["u-1", "u-7"], can=Capabilities(member_remove="put"))
    found.fake.held["Groups"]["g-1"]["externalId"] = "kept"

    ended = found.keep(found.wants("Sellers"), IN_AGENTS)

    assert [line.split("?")[0] for line in ended.lines] == [
        "GET /Groups/g-1",
        "PUT /Groups/g-1",
        "GET /Groups",
        "PATCH /Groups/g-2",
    ]
    assert found.fake.held["Groups"]["g-1"]["externalId"] == "kept"
    assert (values(found), values(found, "g-2")) == (["u-1"], ["u-7"])


@pytest.mark.parametrize("quirk", [Quirk.NO_PATCH_404, Quirk.NO_PATCH_405, Quirk.NO_PATCH_501])
def test_target_without_patch_is_joined_and_left_by_put(quirk: Quirk, redis: Redis) -> None:
    """However the missing method is said."""
    found = house(redis, quirk, members=["u-1", "u-7"])

    ended = found.keep(found.wants("Sellers"), IN_AGENTS)

    assert ended.trouble is None
    assert (values(found), values(found, "g-2")) == (["u-1"], ["u-7"])


def test_profile_without_patch_asks_for_none(redis: Redis) -> None:
    """What is known is not tried."""
    found = house(redis, members=["u-1", "u-7"], can=BY_PUT)

    found.keep(found.wants("Sellers"), IN_AGENTS)

    assert "PATCH" not in {said.method for said in found.fake.log}
    assert (values(found), values(found, "g-2")) == (["u-1"], ["u-7"])


def test_group_that_hides_its_members_keeps_them(redis: Redis) -> None:
    """A group that shows nobody is asked for its members by name before a PUT could empty it."""
    found = house(redis, Quirk.HIDES_MEMBERS, can=BY_PUT)

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble is None
    assert values(found) == ["u-1", "u-9", "u-7"]


@pytest.mark.parametrize("status", [None, 400, 403, 404, 501])
@pytest.mark.parametrize("patch", [True, False], ids=["ignored PATCH", "no PATCH"])
def test_group_whose_members_nobody_is_shown_is_not_put(patch: bool, status: int | None, redis: Redis) -> None:
    """Where nobody can tell who is in it, nothing is replaced: it would put out all who are."""
    quirks = (Quirk.NEVER_SHOWS_MEMBERS, Quirk.IGNORES_ATTRIBUTES, Quirk.NO_VALUE_PATHS)
    found = house(redis, *quirks, members=["u-1", "u-7", "u-9"], can=Capabilities(patch=patch))
    if status:
        found.fake.next(answers(status), on="GET /Groups/g-1?attributes", times=9)
        found.fake.next(answers(status), on="GET /Groups?", times=9)

    left = found.keep(found.wants(), IN_AGENTS)
    joined = found.keep(found.wants("id:g-1"), account_id="u-8") if not patch else left

    assert left.trouble == joined.trouble == "group_members_hidden"
    assert left.memberships == IN_AGENTS
    assert values(found) == ["u-1", "u-7", "u-9"]


def test_group_is_empty_where_the_answer_is_to_just_this_question(redis: Redis) -> None:
    """Asked for the members alone, the server leaves out what else it shows: that it names none says there are none."""
    found = house(redis, members=[], can=BY_PUT)

    ended = found.keep(found.wants("id:g-2"))

    assert ended.trouble is None
    assert ended.lines == ["GET /Groups/g-2", "GET /Groups/g-2?attributes=members", "PUT /Groups/g-2"]
    assert values(found, "g-2") == ["u-7"]


def test_group_is_empty_where_others_show_their_members(redis: Redis) -> None:
    """Whatever it is asked for, the server shows a group whole: this one has nobody to show."""
    found = house(redis, Quirk.IGNORES_ATTRIBUTES, can=BY_PUT)

    ended = found.keep(found.wants("id:g-2"))

    assert ended.trouble is None
    assert (values(found), values(found, "g-2")) == (["u-1", "u-9"], ["u-7"])


def test_first_member_of_all_is_for_a_person_to_put_in(redis: Redis) -> None:
    """No group shows anybody, and the server shows a group whole: all may be empty, or all may be hidden."""
    found = house(redis, Quirk.IGNORES_ATTRIBUTES, members=[], can=BY_PUT)
    refused = found.keep(found.wants("id:g-2"))
    found.fake.held["Groups"]["g-1"]["members"] = [{"value": "u-1"}]

    ended = found.keep(found.wants("id:g-2"))

    assert isinstance(refused.agreement.trouble, Refused)
    assert "put somebody into it there by hand, or into any group" in refused.agreement.trouble.message
    assert values(found, "g-2") == ["u-7"]
    assert ended.trouble is None


def test_members_that_a_list_alone_shows_are_kept(redis: Redis) -> None:
    """The group read alone shows none."""
    found = house(redis, Quirk.IGNORES_ATTRIBUTES, can=BY_PUT)
    bare = {"schemas": [GROUP], "id": "g-1", "displayName": "Agents"}
    found.fake.next(answers(200, bare), on="GET /Groups/g-1", times=2)

    ended = found.keep(found.wants("id:g-1"))

    assert ended.trouble is None
    assert values(found) == ["u-1", "u-9", "u-7"]


def test_group_without_a_name_tells_nothing_by_leaving_it_out(redis: Redis) -> None:
    """Its answer looks the same, whatever it was asked."""
    found = house(redis, Quirk.NEVER_SHOWS_MEMBERS, can=BY_PUT)
    found.fake.next(answers(200, {"schemas": [GROUP], "id": "g-1"}), on="GET /Groups/g-1", times=2)

    ended = found.keep(found.wants("id:g-1"))

    assert ended.trouble == "group_members_hidden"
    assert values(found) == ["u-1", "u-9"]


def test_group_that_no_list_has_is_not_put(redis: Redis) -> None:
    """What the others show says nothing of a group that is kept apart."""
    found = house(redis, Quirk.IGNORES_ATTRIBUTES, can=BY_PUT)
    others = {"Resources": [found.fake.held["Groups"]["g-1"]], "totalResults": 1}
    found.fake.next(answers(200, others), on="GET /Groups?")

    ended = found.keep(found.wants("id:g-2"))

    assert ended.trouble == "group_members_hidden"
    assert found.fake.writes() == []


def test_put_has_nothing_that_the_server_gives(redis: Redis) -> None:
    """A readOnly value is ignored by the book (RFC 7644 section 3.5.1), and some refuse the whole for it."""
    found = house(redis, Quirk.TAKES_NO_ID, can=BY_PUT)

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble is None
    assert {"id", "meta"}.isdisjoint(found.fake.writes()[0].body)
    assert values(found) == ["u-1", "u-9", "u-7"]


def test_put_names_the_version_that_was_read_and_reads_again(redis: Redis) -> None:
    """Somebody was faster: the group is read again, and what they did stays."""
    found = house(redis, Quirk.GROUP_VERSIONS, can=replace(BY_PUT, etag=True))

    def slower(proceed: Any) -> httpx.Response:  # noqa: ANN401 - a fault
        found.fake.held["Groups"]["g-1"]["members"].append({"value": "u-8"})
        return proceed()  # type: ignore[no-any-return]

    found.fake.next(slower, on="PUT")

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble is None
    assert [line.split()[0] for line in ended.lines[-4:]] == ["GET", "PUT", "GET", "PUT"]
    assert values(found) == ["u-1", "u-9", "u-8", "u-7"]


def test_group_that_always_changes_is_left_for_later(redis: Redis) -> None:
    """After a few tries time is asked to help."""
    found = house(redis, can=replace(BY_PUT, etag=True))
    found.fake.next(answers(412), on="PUT", times=99)

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble == "group_busy"
    assert len([line for line in ended.lines if line.startswith("PUT")]) == 3


def test_group_is_not_let_go_by_who_held_it_before(redis: Redis) -> None:
    """A lease that ran out is another job's by now."""
    leases, key = Exclusive(redis, "crm"), keys.group_lease("crm", "g-1")

    with leases.hold("g-1", Conversation(lambda: None)):
        within = redis.pttl(key)
        redis.set(key, "another")

    assert 0 < within <= HOLD_MILLISECONDS
    assert redis.get(key) == b"another"


def test_two_jobs_do_not_put_one_group_at_once(redis: Redis) -> None:
    """The second would undo what the first did, so it comes back in a moment."""
    found = house(redis, can=BY_PUT)

    with Exclusive(redis, "crm").hold("g-1", found.talk):
        ended = found.keep(found.wants("Agents"))
    again = found.keep(found.wants("Agents"))

    assert ended.trouble == "group_busy"
    assert isinstance(ended.agreement.trouble, Postponed)
    assert ended.agreement.trouble.retry_at is not None
    assert ended.agreement.trouble.retry_at <= datetime.now(UTC) + timedelta(seconds=BUSY_SECONDS)
    assert again.memberships == IN_AGENTS


def adds_between(found: House, on: str) -> list[str]:
    """Let another job add somebody by PATCH before this is answered; return what that comes to, when it has."""
    came_to: list[str] = []

    def fault(proceed: Any) -> httpx.Response:  # noqa: ANN401 - a fault
        answer = proceed()
        try:
            found.groups.roster(found.talk, "g-1").change(Moves(adds=("u-5",)))
        except Postponed as error:
            came_to.append(error.reason)
        return answer  # type: ignore[no-any-return]

    found.fake.next(fault, on=on)
    return came_to


@pytest.mark.parametrize(
    ("quirks", "can"),
    [([], Capabilities(member_remove="put")), ([Quirk.NO_VALUE_PATHS], Capabilities())],
    ids=["by profile", "as a last resort"],
)
def test_put_does_not_undo_what_is_added_beside_it(quirks: list[Quirk], can: Capabilities, redis: Redis) -> None:
    """A member who came between the reading and the PUT would be gone: the one who adds comes back in a moment."""
    found = house(redis, *quirks, can=can)
    came_to = adds_between(found, on="GET /Groups/g-1")

    change(found, Moves(removes=("u-1",)))
    change(found, Moves(adds=("u-5",)))

    assert came_to == ["group_busy"]
    assert values(found) == ["u-9", "u-5"]


def test_fleet_knows_for_an_hour_that_members_leave_by_put(redis: Redis) -> None:
    """Another process adds in its turn from the first refusal on, and no request of many adds beside it."""
    found = house(redis, Quirk.NO_VALUE_PATHS)
    change(found, Moves(removes=("u-1",)))

    with Exclusive(redis, "crm").hold("g-1", found.talk):
        ended = House(redis, found.fake).keep(found.wants("Agents"))

    assert ended.trouble == "group_busy"
    assert 0 < redis.ttl(keys.groups_replaced("crm")) <= 3_600


def test_patch_waits_for_nobody_where_members_leave_by_patch(redis: Redis) -> None:
    """Two PATCHes undo nothing of each other."""
    found = house(redis)

    with Exclusive(redis, "crm").hold("g-1", found.talk):
        ended = found.keep(found.wants("Agents"))

    assert ended.trouble is None


def test_lease_begins_anew_with_every_request(redis: Redis) -> None:
    """Many slow requests take longer than one lease."""
    found, key = house(redis, can=BY_PUT), keys.group_lease("crm", "g-1")
    left = []

    def slow(proceed: Any) -> httpx.Response:  # noqa: ANN401 - a fault
        left.append(redis.pttl(key))
        redis.pexpire(key, 1_000)
        return proceed()  # type: ignore[no-any-return]

    found.fake.next(slow, times=9)

    found.keep(found.wants("id:g-1"))

    assert len(left) == 2
    assert min(left) > HOLD_MILLISECONDS / 2


def test_job_that_lost_the_group_sends_nothing_more(redis: Redis) -> None:
    """Its reading is old by now: the PUT would undo what the other job does."""
    found, key = house(redis, can=BY_PUT), keys.group_lease("crm", "g-1")

    def outlives(proceed: Any) -> httpx.Response:  # noqa: ANN401 - a fault
        redis.set(key, "another")
        return proceed()  # type: ignore[no-any-return]

    found.fake.next(outlives, on="GET /Groups/g-1")

    ended = found.keep(found.wants("id:g-1"))

    assert ended.trouble == "group_busy"
    assert found.fake.writes() == []
    assert redis.get(key) == b"another"


# ---- success is what is shown


def test_patch_that_is_answered_and_not_done_is_put(redis: Redis) -> None:
    """The answer shows the group as it was; a PUT does what the PATCH did not."""
    found = house(redis, Quirk.IGNORES_MEMBER_PATCH)

    joined = found.keep(found.wants("Agents"))
    there = values(found)
    left = found.keep(found.wants(), joined.memberships)

    assert joined.trouble is left.trouble is None
    assert there == ["u-1", "u-9", "u-7"]
    assert values(found) == ["u-1", "u-9"]


def test_change_that_no_way_of_asking_makes_is_refused(redis: Redis) -> None:
    """Nobody is told of a membership that the target does not show."""
    found = house(redis, Quirk.IGNORES_MEMBERS)

    ended = found.keep(found.wants("Agents"))

    assert ended.trouble == "refused"
    assert ended.memberships == {}
    assert ended.agreement.groups_added == []


def test_put_that_drops_others_is_told(redis: Redis) -> None:
    """The answer shows fewer than were put: a person has to look."""
    found = house(redis, can=BY_PUT)
    shown = {"schemas": [], "id": "g-1", "displayName": "Agents", "members": [{"value": "u-7"}]}
    found.fake.next(answers(200, shown), on="PUT")

    ended = found.keep(found.wants("Agents"))

    assert isinstance(ended.agreement.trouble, Refused)
    assert "dropped 2 other members" in ended.agreement.trouble.message


# ---- sizes


def change(found: House, moves: Moves) -> None:
    """Change Agents directly."""
    found.groups.roster(found.talk, "g-1").change(moves)


@pytest.mark.parametrize(
    ("can", "sizes"),
    [
        (Capabilities(), [(1, 2)]),
        (Capabilities(one_operation=True), [(1, 0), (0, 1), (0, 1)]),
        (Capabilities(one_operation=True, member_batch=1), [(1, 0), (1, 0), (1, 0), (0, 1), (0, 1)]),
        (Capabilities(one_operation=True, member_remove="value"), [(1, 0), (0, 1)]),
    ],
)
def test_patch_has_the_size_that_the_target_takes(
    can: Capabilities, sizes: list[tuple[int, int]], redis: Redis
) -> None:
    """Members a PATCH and operations a PATCH are both bounded; AWS takes a hundred members."""
    quirks = [Quirk.REMOVES_MEMBERS_BY_VALUE] if can.member_remove == "value" else []
    found = house(redis, *quirks, members=["u-1", "u-2", "u-3"], can=can)

    change(found, Moves(adds=("u-4", "u-5", "u-6"), removes=("u-1", "u-2")))

    counted = [tuple(sum(line["op"] == op for line in lines) for op in ("add", "remove")) for lines in patches(found)]
    assert counted == sizes
    assert values(found) == ["u-3", "u-4", "u-5", "u-6"]


def test_several_who_leave_do_so_though_one_is_gone_already(redis: Redis) -> None:
    """One filter that fits nobody refuses the whole PATCH, so it is looked who is left."""
    found = house(redis, members=["u-1", "u-2", "u-3"])

    change(found, Moves(removes=("u-1", "u-2", "u-99")))

    assert values(found) == ["u-3"]
    assert [said.method for said in found.fake.log] == ["PATCH", "GET", "PATCH"]


def test_several_who_join_do_so_though_one_is_there_already(redis: Redis) -> None:
    """The same for a conflict of one member."""
    found = house(redis, Quirk.MEMBER_TWICE_IS_409, members=["u-1"])

    change(found, Moves(adds=("u-1", "u-2")))

    assert values(found) == ["u-1", "u-2"]
    assert [said.method for said in found.fake.log] == ["PATCH", "GET", "PATCH"]


def test_filter_cannot_be_ended_by_an_id() -> None:
    """An id is a JSON text in the filter, whatever its characters."""
    lines = operations(Moves(removes=('a" or "b',)), by_value=False)

    assert lines == [{"op": "remove", "path": r'members[value eq "a\" or \"b"]'}]
