"""The contract of a target, over every target and every conversation.

A new target runs through it by its line in ``TARGETS`` and its folder of fixtures.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle.errors import GatepostError, Held, Postponed, Refused
from lifecycle.leases import LeaseLost
from lifecycle.person import Account, Person
from tests.workers.fake_scim import Fault, Quirk, Said, accepts, answers, cuts_after, cuts_before
from tests.workers.stories import BO, Meeting, person, policy, referee
from tests.workers.targets.cases import Case, load, names
from workers.scim.client import Conversation
from workers.targets import TARGETS

WAIT = timedelta(seconds=7)
SLACK = timedelta(seconds=2)
ACCOUNT = Account(id="u-7", user_name="bo.ray@acme.example", active=True)
HELD: dict[str, Any] = {"id": "u-7", "externalId": "E1042", "userName": "bo.ray@acme.example", "active": True}
ANNA: dict[str, Any] = {"id": "u-1", "externalId": "E1", "userName": "anna@acme.example", "active": True}
JOINER, LEAVER = person(**BO), person("left", **BO)
MOVER = person(**BO | {"title": "Lead"})
AGENTS = policy(Agents="person.department == 'Support'")

every_target = pytest.mark.parametrize("adapter", list(TARGETS))
every_case = pytest.mark.parametrize("name", names())
every_person = pytest.mark.parametrize("known", [JOINER, MOVER, LEAVER], ids=["joiner", "mover", "leaver"])

# What is peculiar to an adapter: what it makes of a conflict over an account that is not shown, and what it costs. Of a
# Genesys Cloud the tokens of a leaver are deleted, and the state goes alone and is read before the rest is written.
UNSHOWN: dict[str, type[GatepostError]] = {"scim": Refused, "genesys_cloud": Postponed}
BUDGETS = {
    "joiner": {"scim": 2, "genesys_cloud": 2},
    "joiner_of_few_facts": {"scim": 2, "genesys_cloud": 2},
    "joiner_with_groups": {"scim": 4, "genesys_cloud": 4},
    "mover": {"scim": 2, "genesys_cloud": 2},
    "mover_is_so_already": {"scim": 1, "genesys_cloud": 1},
    "leaver": {"scim": 3, "genesys_cloud": 4},
    "leaver_is_out_already": {"scim": 2, "genesys_cloud": 2},
    "rehire": {"scim": 2, "genesys_cloud": 4},
}

Broken = list[tuple[str, Fault]]
TIME_WILL_MEND: Broken = [
    ("429", answers(429)),
    ("500", answers(500, "<html>oh no</html>")),
    ("503", answers(503)),
    ("accepted", accepts),
    ("refused", cuts_before(httpx.ConnectError)),
    ("timeout", cuts_before(httpx.ReadTimeout)),
    ("reset", cuts_before(httpx.ReadError)),
    ("reset after", cuts_after(httpx.ReadError)),
    ("timeout after", cuts_after(httpx.ReadTimeout)),
]
faults = pytest.mark.parametrize(
    "fault", [fault for _, fault in TIME_WILL_MEND], ids=[name for name, _ in TIME_WILL_MEND]
)


def trouble(case: Case) -> GatepostError | None:
    """Make one attempt and return what stopped it, if anything did."""
    try:
        return case.meeting.agree(case.person).trouble
    except GatepostError as error:
        return error


def meet(redis: Redis, adapter: str, *quirks: Quirk, **fields: Any) -> Meeting:  # noqa: ANN401 - a meeting's fields
    """Meet a server that holds somebody else, too."""
    meeting = Meeting(redis, adapter, quirks, **fields)
    meeting.fake.add("Users", **ANNA)
    return meeting


def raised(kind: type[GatepostError], attempt: Callable[[], object]) -> GatepostError:
    """Return the error that an attempt must end in."""
    with pytest.raises(kind) as caught:
        attempt()
    return caught.value


# ---- the conversations


@pytest.mark.parametrize("adapter", list(TARGETS))
def test_every_target_has_conversations(adapter: str) -> None:
    """A target without a captured conversation is not tested, so it may not be."""
    assert {"joiner", "mover", "leaver", "rehire"} <= {
        name.partition("/")[2] for name in names() if name.startswith(f"{adapter}/")
    }


@every_case
def test_conversation_is_exactly_as_expected(name: str, redis: Redis) -> None:
    """Each request, its body and their order are part of the contract."""
    case = load(name, redis)

    agreement = case.meeting.agree(case.person)

    assert case.conversation == [_as_written(said) for said in case.meeting.fake.log]
    assert case.change == agreement.change
    assert agreement.trouble is None


def _as_written(said: Said) -> dict[str, Any]:
    line = {"method": said.method, "path": said.path}
    return line if said.body is None else {**line, "body": said.body}


@every_case
def test_every_body_is_valid_for_an_independent_referee(name: str, redis: Redis) -> None:
    """What we send is SCIM by scim2-models' strict reading: exact schemas, no nulls, operations in lower case."""
    case = load(name, redis)

    case.meeting.agree(case.person)

    quirks = case.meeting.fake.quirks
    by_the_book = [said for said in case.meeting.fake.log if not (quirks and _is_dialect(said))]
    referee(by_the_book)


def _is_dialect(said: Said) -> bool:
    """Tell whether this is the one form that RFC 7644 does not have, for servers that know no other."""
    operations = said.body.get("Operations", []) if said.body else []
    return any(operation["op"] == "remove" and "value" in operation for operation in operations)


@every_case
def test_second_time_writes_nothing(name: str, redis: Redis) -> None:
    """A repeat finds the target as it should be: no write, no second account, nothing to tell."""
    case = load(name, redis)
    fake = case.meeting.fake
    case.meeting.agree(case.person)
    after, writes = fake.users(), len(fake.writes())

    again = case.meeting.agree(case.person)

    assert writes == len(fake.writes()) == case.writes
    assert after == fake.users()
    assert again.change is None


@every_case
def test_attempt_that_was_never_settled_is_made_again_without_harm(name: str, redis: Redis) -> None:
    """A worker that dies between writing and settling knows nothing of it; the next one writes nothing twice."""
    case = load(name, redis)
    fake, account = case.meeting.fake, case.meeting.account
    case.meeting.agree(case.person)
    after, writes = fake.users(), len(fake.writes())
    groups = {group["displayName"]: fake.members(group["displayName"]) for group in fake.held["Groups"].values()}

    case.meeting.account = account
    case.meeting.agree(case.person, cautious=True)

    assert after == fake.users()
    assert groups == {name: fake.members(name) for name in groups}
    to_accounts = [said for said in fake.writes()[writes:] if said.path.startswith("/Users")]
    forgets = Quirk.KNOWS_NO_EXTERNAL_ID in fake.quirks
    assert to_accounts == [] or forgets


@every_case
def test_leave_is_asked_before_every_request(name: str, redis: Redis) -> None:
    """Whoever loses the person says nothing more to the target: the leave to send is asked each time."""
    requests = len(load(name, redis).conversation)
    for allowed in range(requests):
        redis.flushall()
        case = load(name, redis)
        left = [allowed]

        def may_send(left: list[int] = left) -> None:
            if not left[0]:
                raise LeaseLost("another job works on this person", reason="lease_lost")
            left[0] -= 1

        task = case.meeting.task(case.person)
        task.talk.may_send = may_send

        raised(LeaseLost, lambda task=task, case=case: case.meeting.place.adapter.agree(task))  # type: ignore[misc]

        assert allowed == len(case.meeting.fake.log)


# ---- what time will mend


@faults
@every_case
def test_attempt_that_time_will_mend_ends_in_the_same_state(name: str, fault: Fault, redis: Redis) -> None:
    """Whichever request fails, the attempt is postponed, and the next one ends as if nothing had been."""
    smooth = load(name, redis)
    smooth.meeting.agree(smooth.person)
    for place, line in enumerate(smooth.meeting.fake.lines()):
        redis.flushall()
        case = load(name, redis)
        earlier = smooth.meeting.fake.lines()[:place].count(line)
        case.meeting.fake.next(lambda proceed: proceed(), on=line, times=earlier)
        case.meeting.fake.next(fault, on=line)
        may_adopt = line == "POST /Users" and bool(case.meeting.fake.users())

        first = trouble(case)
        last = case.meeting.agree(case.person, cautious=True)

        # A create that broke is looked for at once, and an account that was there before is as good as created.
        assert isinstance(first, Postponed) or (first is None and may_adopt), line
        assert last.trouble is None
        assert smooth.meeting.fake.users() == case.meeting.fake.users(), line
        assert smooth.meeting.fake.held == case.meeting.fake.held, line


@every_case
def test_target_that_names_a_time_is_obeyed(name: str, redis: Redis) -> None:
    """After 429 or 503 with Retry-After, in seconds or as a date, the attempt is postponed to that moment."""
    for status in (429, 503):
        for place in range(len(load(name, redis).conversation)):
            for as_date in (False, True):
                redis.flushall()
                case = load(name, redis)
                now = datetime.now(UTC)
                text = format_datetime(now + WAIT, usegmt=True) if as_date else str(WAIT.seconds)
                case.meeting.fake.next(lambda proceed: proceed(), times=place)
                case.meeting.fake.next(answers(status, retry_after=text))

                error = trouble(case)

                assert isinstance(error, Postponed)
                assert error.retry_at is not None
                assert abs(error.retry_at - now - WAIT) < SLACK


# ---- what the operator must mend


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "credentials"), (403, "forbidden"), (422, "refused"), (501, "refused")]
)
@every_case
def test_refusal_is_kept_with_the_targets_own_words(name: str, status: int, reason: str, redis: Redis) -> None:
    """Another attempt would end the same way, so a person is told, in the words of the target."""
    for place, asked in enumerate(load(name, redis).conversation):
        if status == 501 and asked["path"].startswith("/Groups"):
            continue  # There another dialect is tried.
        redis.flushall()
        case = load(name, redis)
        case.meeting.fake.next(lambda proceed: proceed(), times=place)
        # After a 501 another way of asking is tried, so every way is refused.
        case.meeting.fake.next(answers(status, {"detail": "ask the administrator"}), times=99 if status == 501 else 1)

        error = trouble(case)

        assert isinstance(error, Refused)
        assert reason == error.reason
        assert "ask the administrator" in error.message
        assert str(status) in error.message


@every_target
@pytest.mark.parametrize(
    "body",
    [
        '{"detail": "no seats left", "status": "400"}',
        '{"message": "no seats left", "status": 400}',
        '{"schemas": "urn:of:a:vendor", "error": "no seats left"}',
        "no seats left",
        "<html>no seats left</html>",
    ],
)
def test_refused_create_keeps_the_words(body: str, adapter: str, redis: Redis) -> None:
    """A create that is refused for its content, and not for a duplicate, is a failure in the target's words."""
    meeting = meet(redis, adapter)
    meeting.fake.next(answers(400, body), on="POST")

    error = raised(Refused, lambda: meeting.agree(JOINER))

    assert "no seats left" in error.message
    assert error.reason == "refused"
    assert [ANNA["id"]] == [user["id"] for user in meeting.fake.users()]


# ---- never the wrong person


@every_target
@every_person
@pytest.mark.parametrize("quirk", [Quirk.IGNORES_FILTER, Quirk.KNOWS_NO_FILTER])
@pytest.mark.parametrize("is_there", [False, True])
def test_server_that_cannot_filter_never_leads_to_another_person(
    adapter: str, known: Person, quirk: Quirk, is_there: bool, redis: Redis
) -> None:
    """A filter that is ignored gives everybody, and one that is unknown nobody: no other account is touched."""
    meeting = meet(redis, adapter, quirk)
    if is_there:
        meeting.fake.add("Users", **HELD)
    before = meeting.fake.user("anna@acme.example")

    try:
        meeting.agree(known)
    except GatepostError:
        assert quirk is Quirk.KNOWS_NO_FILTER

    assert before == meeting.fake.user("anna@acme.example")
    assert len(meeting.fake.users()) <= 2
    assert not any(said.path.startswith(f"/Users/{ANNA['id']}") for said in meeting.fake.log)


@every_target
@every_person
def test_two_accounts_of_one_external_id_are_held(adapter: str, known: Person, redis: Redis) -> None:
    """ExternalId is not unique by the RFC; which of the two is meant is for a person to say."""
    meeting = meet(redis, adapter)
    meeting.fake.add("Users", **HELD)
    meeting.fake.add("Users", **HELD | {"id": "u-8", "userName": "bo.ray2@acme.example"})

    error = raised(Held, lambda: meeting.agree(known))

    assert error.reason == "several_accounts"
    assert meeting.fake.writes() == []


@every_target
@every_person
def test_account_of_another_external_id_is_held(adapter: str, known: Person, redis: Redis) -> None:
    """Somebody of another externalId has the user name: adopting would hand one person's account to another."""
    meeting = meet(redis, adapter)
    meeting.fake.add("Users", **HELD | {"externalId": "E9"})
    before = meeting.fake.users()

    error = raised(Held, lambda: meeting.agree(known))

    assert error.reason == "other_owner"
    assert before == meeting.fake.users()


@every_target
@every_person
@pytest.mark.parametrize(
    "changed", [{"externalId": "E9"}, {"externalId": "e1042"}, {"externalId": "", "userName": "eve"}]
)
def test_known_id_that_now_names_another_person_is_held(
    adapter: str, known: Person, changed: dict[str, str], redis: Redis
) -> None:
    """A target that was restored or rebuilt may give an id to somebody else; externalId is case-exact."""
    meeting = meet(redis, adapter, account=ACCOUNT)
    meeting.fake.add("Users", **HELD | changed)
    before = meeting.fake.users()

    error = raised(Held, lambda: meeting.agree(known))

    assert error.reason == "other_owner"
    assert before == meeting.fake.users()


@every_target
def test_external_id_that_differs_in_case_is_another_person(adapter: str, redis: Redis) -> None:
    """ExternalId is case-exact: a server that compares without case gives a hit that is not ours."""
    meeting = meet(redis, adapter, Quirk.IGNORES_FILTER)
    meeting.fake.add("Users", **HELD | {"externalId": "e1042", "userName": "other@acme.example"})

    meeting.agree(JOINER)

    assert len(meeting.fake.users()) == 3
    assert meeting.fake.user("bo.ray@acme.example")["externalId"] == "E1042"


@every_target
@every_person
@pytest.mark.parametrize("name", ["bo.ray@acme.example", "BREAKGLASS", "E-77", "root@acme.example"])
def test_protected_account_on_the_target_is_left_alone(adapter: str, known: Person, name: str, redis: Redis) -> None:
    """The person's own names are not on the list, but the account's are: nothing is changed by anything."""
    shown = HELD | {
        "userName": "breakglass",
        "emails": [{"type": "work", "value": "bo.ray@acme.example"}, {"type": "other", "value": "Root@acme.example"}],
        "externalId": "E-77" if name == "E-77" else "E1042",
    }
    account = Account(id="u-7", user_name="breakglass", active=True)
    told = BO | {"email": "x@acme.example"} | ({"external_id": None} if name == "E-77" else {})
    stranger = person(known.status.value if known.status else None, **told)
    meeting = meet(redis, adapter, account=account, policy=policy(protected=[name]))
    meeting.fake.add("Users", **shown)
    before = meeting.fake.users()

    agreement = meeting.agree(stranger)

    assert agreement.ignored == "protected"
    assert before == meeting.fake.users()
    assert meeting.fake.writes() == []


# ---- create and adopt


@every_target
@pytest.mark.parametrize(
    "quirk", [None, Quirk.BARE_CONFLICT, Quirk.DUPLICATE_IS_400, Quirk.DUPLICATE_IS_500, Quirk.HTML_ERRORS]
)
def test_conflict_on_create_adopts_and_goes_on(adapter: str, quirk: Quirk | None, redis: Redis) -> None:
    """409, and what servers answer in its place, means that the account is there: it becomes the person's."""
    meeting = meet(redis, adapter, *([quirk] if quirk else []), policy=AGENTS)
    meeting.fake.add("Users", id="u-7", userName="Bo.Ray@acme.example", active=False, nickName="Bobo")
    meeting.fake.add("Groups", id="g-1", displayName="Agents")

    agreement = meeting.agree(JOINER)

    bo = meeting.fake.user("bo.ray@acme.example")
    assert tuple(bo[name] for name in ("id", "externalId", "active", "title", "nickName")) == (
        "u-7",
        "E1042",
        True,
        "Agent",
        "Bobo",
    )
    assert meeting.fake.members("Agents") == ["u-7"]
    assert agreement.account is not None
    assert agreement.account.id == "u-7"
    assert len(meeting.fake.users()) == 2


@every_target
def test_conflict_over_an_account_that_is_not_shown_is_refused(adapter: str, redis: Redis) -> None:
    """The target says that the name is taken and finds nobody of it: a person must look, or it may show it later."""
    meeting = meet(redis, adapter)
    meeting.fake.next(answers(409, {"detail": "taken", "scimType": "uniqueness"}), on="POST")

    error = raised(UNSHOWN[adapter], lambda: meeting.agree(JOINER))

    assert "taken" in error.message or error.reason == "lag"


@every_target
@pytest.mark.parametrize("quirk", [None, Quirk.KNOWS_NO_EXTERNAL_ID])
@pytest.mark.parametrize(
    "fault", [cuts_after(), cuts_after(httpx.ReadTimeout), accepts], ids=["reset", "timeout", "accepted"]
)
def test_lost_answer_of_a_create_is_found_by_the_next_attempt(
    adapter: str, quirk: Quirk | None, fault: Fault, redis: Redis
) -> None:
    """A create whose answer was lost has made the account; the next attempt looks, and does not create a second one."""
    meeting = meet(redis, adapter, *([quirk] if quirk else []))
    meeting.fake.next(fault, on="POST")

    raised(Postponed, lambda: meeting.agree(JOINER))
    agreement = meeting.agree(JOINER, cautious=True)

    assert len(meeting.fake.users()) == 2
    assert sum(said.method == "POST" for said in meeting.fake.log) == 1
    assert agreement.change == "provisioned"
    assert agreement.account is not None
    assert meeting.fake.user("bo.ray@acme.example")["id"] == agreement.account.id


@every_target
def test_create_that_does_not_say_what_it_made_is_found_by_the_next_attempt(adapter: str, redis: Redis) -> None:
    """201 without an id and without Location: the account is there, and its id is learnt by looking."""
    meeting = meet(redis, adapter, Quirk.CREATES_WITHOUT_NAME)

    error = raised(Postponed, lambda: meeting.agree(JOINER))
    agreement = meeting.agree(JOINER, cautious=True)

    assert error.reason == "odd_answer"
    assert len(meeting.fake.users()) == 2
    assert agreement.account is not None


@every_target
def test_person_without_a_name_is_not_created(adapter: str, redis: Redis) -> None:
    """An account needs a userName; without one nothing is sent but the look-up; a moment later it may be known."""
    meeting = meet(redis, adapter)

    error = raised(Postponed, lambda: meeting.agree(person(external_id="E1042", title="Agent")))

    assert error.reason == "user_name_missing"
    assert meeting.fake.writes() == []


@every_target
@every_person
def test_known_id_that_is_gone_is_looked_up_again(adapter: str, known: Person, redis: Redis) -> None:
    """A target that was rebuilt gives new ids; the same person is found again by externalId."""
    meeting = meet(redis, adapter, account=Account(id="u-old", user_name="bo.ray@acme.example", active=True))
    meeting.fake.add("Users", **HELD)

    agreement = meeting.agree(known)

    assert answered(meeting, "/Users/u-old") == 404
    assert agreement.account is not None
    assert agreement.account.id == "u-7"
    assert len(meeting.fake.users()) == 2


def answered(meeting: Meeting, path: str) -> int:
    """Ask the server itself and return the status."""
    request = httpx.Request(
        "GET", f"https://crm.test/scim/v2{path}", headers={"authorization": f"Bearer {meeting.fake.token}"}
    )
    return meeting.fake(request).status_code


# ---- leavers


@every_target
def test_suspension_that_the_target_does_not_show_is_postponed(adapter: str, redis: Redis) -> None:
    """Some servers answer 200 and do nothing; a leaver is locked out only when the target shows it."""
    meeting = meet(redis, adapter, Quirk.IGNORES_PATCH, account=ACCOUNT)
    meeting.fake.add("Users", **HELD)

    error = raised(Postponed, lambda: meeting.agree(LEAVER))

    assert error.reason == "unconfirmed"


@every_target
@pytest.mark.parametrize("body", ["<html>session expired</html>", "", "[]", "{}", '{"active": "maybe"}'])
def test_read_back_that_shows_nothing_confirms_nothing(adapter: str, body: str, redis: Redis) -> None:
    """An answer in which no inactive account can be seen is no proof that the leaver is out."""
    meeting = meet(redis, adapter, account=ACCOUNT)
    meeting.fake.add("Users", **HELD)
    meeting.fake.next(lambda proceed: proceed(), on="GET /Users/u-7")
    meeting.fake.next(answers(200, body), on="GET /Users/u-7")

    raised(Postponed, lambda: meeting.agree(LEAVER))


@every_target
@pytest.mark.parametrize(
    "quirk", [None, Quirk.TEXT_BOOLEANS, Quirk.OTHER_LETTER_CASE, Quirk.NO_CONTENT, Quirk.INTEGER_IDS]
)
def test_leaver_is_out_and_of_all_groups(adapter: str, quirk: Quirk | None, redis: Redis) -> None:
    """However the server writes, the leaver ends inactive, confirmed, without our groups; the rest stays."""
    meeting = meet(redis, adapter, *([quirk] if quirk else []), policy=AGENTS)
    meeting.fake.add("Groups", id="g-1", displayName="Agents", members=[{"value": "u-1"}])
    meeting.agree(JOINER)
    bo = meeting.fake.user("bo.ray@acme.example")

    agreement = meeting.agree(LEAVER)

    assert meeting.fake.user("bo.ray@acme.example")["active"] is False
    assert agreement.confirmed_at is not None
    assert agreement.change == "suspended"
    assert ["Agents"] == agreement.groups_removed == agreement.groups_before
    assert meeting.fake.members("Agents") == ["u-1"]
    kept = {name: value for name, value in bo.items() if name not in {"active", "groups"}}
    assert kept.items() <= meeting.fake.user("bo.ray@acme.example").items()


@every_target
@pytest.mark.parametrize("status", [404, 410])
def test_leaver_whose_account_is_gone_needs_nothing(adapter: str, status: int, redis: Redis) -> None:
    """An account that is not there is locked out; nothing is created for a leaver."""
    meeting = meet(redis, adapter, account=ACCOUNT)
    if status == 410:
        meeting.fake.add("Users", **HELD)
        meeting.fake.next(lambda proceed: proceed(), on="GET /Users/u-7")
        meeting.fake.next(answers(404), on="GET /Users/u-7")

    agreement = meeting.agree(LEAVER)

    assert agreement.trouble is None
    assert "POST" not in {said.method for said in meeting.fake.log}


# ---- groups


@every_target
@pytest.mark.parametrize("quirk", [None, Quirk.SHOWS_NO_GROUPS, Quirk.INTEGER_IDS])
def test_groups_are_joined_and_left(adapter: str, quirk: Quirk | None, redis: Redis) -> None:
    """A mover leaves the groups that the policy no longer grants and joins the others; other members stay."""
    grants = policy(Agents="person.department == 'Support'", Sellers="person.department == 'Sales'")
    meeting = meet(redis, adapter, *([quirk] if quirk else []), policy=grants)
    for number, group in enumerate(("Agents", "Sellers", "Choir")):
        meeting.fake.add("Groups", id=100 + number, displayName=group, members=[{"value": "u-1"}])
    meeting.agree(JOINER)
    own_id = str(meeting.fake.user("bo.ray@acme.example")["id"])
    before = meeting.fake.members("Agents")

    agreement = meeting.agree(person(**BO | {"department": "Sales"}))

    assert ["u-1", own_id] == before
    assert meeting.fake.members("Agents") == ["u-1"]
    assert ["u-1", own_id] == meeting.fake.members("Sellers")
    assert meeting.fake.members("Choir") == ["u-1"]
    assert (agreement.groups_added, agreement.groups_removed) == (["Sellers"], ["Agents"])


@every_target
def test_target_that_knows_no_filter_of_members_loses_nobody_else(adapter: str, redis: Redis) -> None:
    """Taking out by another dialect could empty the group: it is read, and put without the one who leaves."""
    grants = policy(Agents="person.department == 'Support'")
    meeting = meet(redis, adapter, Quirk.REMOVES_MEMBERS_BY_VALUE, policy=grants)
    meeting.fake.add("Groups", id="g-1", displayName="Agents", members=[{"value": "u-1"}, {"value": "u-9"}])
    meeting.agree(JOINER)
    before = meeting.fake.members("Agents")

    agreement = meeting.agree(person(**BO | {"department": "Sales"}))

    assert len(before) == 3
    assert meeting.fake.members("Agents") == ["u-1", "u-9"]
    assert agreement.trouble is None


@every_target
def test_leaver_that_we_never_met_leaves_the_groups_of_the_policy(adapter: str, redis: Redis) -> None:
    """What the account itself shows counts, though it was somebody else who put it there."""
    meeting = meet(redis, adapter, policy=AGENTS)
    meeting.fake.add("Users", **HELD)
    meeting.fake.add("Groups", id="g-1", displayName="Agents", members=[{"value": HELD["id"]}, {"value": "u-2"}])

    agreement = meeting.agree(LEAVER)

    assert meeting.fake.members("Agents") == ["u-2"]
    assert (agreement.groups_before, agreement.groups_removed) == (["Agents"], ["Agents"])


@every_target
def test_groups_that_the_policy_does_not_name_are_not_ours(adapter: str, redis: Redis) -> None:
    """A membership that somebody gave by hand is left alone, even of a leaver."""
    meeting = meet(redis, adapter, account=ACCOUNT, policy=AGENTS)
    meeting.fake.add("Users", **HELD)
    meeting.fake.add("Groups", id="g-9", displayName="Choir", members=[{"value": "u-7"}])

    meeting.agree(LEAVER)

    assert meeting.fake.members("Choir") == ["u-7"]


@every_target
def test_group_that_is_missing_does_not_keep_the_account_from_the_others(adapter: str, redis: Redis) -> None:
    """The account and every other group agree; the missing one is told in words that name it."""
    meeting = meet(redis, adapter, policy=policy(Agents="true", Ghosts="true", Zoo="true"))
    meeting.fake.add("Groups", id="g-1", displayName="Agents")
    meeting.fake.add("Groups", id="g-3", displayName="Zoo")

    agreement = meeting.agree(JOINER)

    assert isinstance(agreement.trouble, Refused)
    assert agreement.trouble.reason == "group_missing"
    assert "Ghosts" in agreement.trouble.message
    assert agreement.groups_added == ["Agents", "Zoo"]


@every_target
def test_group_that_was_made_anew_is_found_again(adapter: str, redis: Redis) -> None:
    """The id of a group is remembered for an hour; when the target no longer knows it, it is looked up once more."""
    meeting = meet(redis, adapter, policy=AGENTS)
    meeting.fake.add("Groups", id="g-old", displayName="Agents")
    meeting.agree(JOINER)
    del meeting.fake.held["Groups"]["g-old"]
    meeting.fake.add("Groups", id="g-new", displayName="Agents")
    meeting.account = None

    meeting.agree(person(**BO | {"external_id": "E2", "email": "cy@acme.example"}, key="E2"))

    assert [str(meeting.fake.user("cy@acme.example")["id"])] == meeting.fake.members("Agents")


@every_target
def test_group_name_that_two_groups_bear_is_not_guessed(adapter: str, redis: Redis) -> None:
    """Two groups of one name: which is meant is for the operator to say."""
    meeting = meet(redis, adapter, policy=AGENTS)
    meeting.fake.add("Groups", id="g-1", displayName="Agents")
    meeting.fake.add("Groups", id="g-2", displayName="Agents")

    agreement = meeting.agree(JOINER)

    assert isinstance(agreement.trouble, Refused)
    assert [] == meeting.fake.members_of("g-1") == meeting.fake.members_of("g-2")


# ---- what it costs


@every_target
@pytest.mark.parametrize("name", list(BUDGETS))
def test_requests_are_within_the_budget(adapter: str, name: str, redis: Redis) -> None:
    """A target that keeps to the RFC is asked as little as can be: two requests for a joiner, three for a leaver."""
    case = load(f"{adapter}/{name}", redis)

    case.meeting.agree(case.person)

    assert len(case.meeting.fake.log) <= BUDGETS[name][adapter]


@every_case
def test_timeline_shows_no_value_of_a_filter_and_every_request(name: str, redis: Redis) -> None:
    """What is kept of a conversation is method, path and status; a filter's value names a person and is left out."""
    case = load(name, redis)
    task = case.meeting.task(case.person)

    case.meeting.place.adapter.agree(task)

    talk: Conversation = task.talk
    assert [said.method for said in case.meeting.fake.log] == [exchange.method for exchange in talk.exchanges]
    assert all(exchange.status for exchange in talk.exchanges)
    shown = " ".join(exchange.path for exchange in talk.exchanges)
    assert "acme.example" not in shown
    assert "E1042" not in shown
