"""E13 to E22: what a PATCH says, what it may be answered, and what the client makes of a refusal."""

import json
from typing import Any

import pytest

from lifecycle.errors import GatepostError, Postponed, Refused
from tests.checklist.encounter import ENTERPRISE, Encounter, Meet, Proceed, bo, error, granted, on
from tests.workers.fake_scim import Quirk, Said
from tests.workers.stories import BO

HOME = {"type": "home", "value": "bo@home.example"}
WORK = {"type": "work", "value": BO["email"]}


def test_e13_refused_patch_changed_nothing_and_nothing_of_it_is_assumed(meet: Meet) -> None:
    """RFC 7644 section 3.5.2: all or nothing; the rest is asked for anew, and what was refused is tried again later."""
    crm = meet(Quirk.PATCH_KNOWS_NO_TITLE, Quirk.NO_PUT)
    crm.settled(emails=[WORK])

    first = crm.agree(bo(title="Lead", display_name="Bo Ray"))
    tried = ["title" in str(body) for body in crm.bodies("PATCH")]
    crm.fake.quirks = frozenset()
    second = crm.agree(bo(title="Lead", display_name="Bo Ray"))

    assert isinstance(first.trouble, Refused)
    assert (tried[0], tried.count(False)) == (True, 1)
    assert second.trouble is None
    shown = crm.fake.user(BO["email"])
    assert (shown["displayName"], shown["title"]) == ("Bo Ray", "Lead")


@pytest.mark.parametrize("quirks", [(), (Quirk.NO_CONTENT,)], ids=["200", "204"])
def test_e14_patch_may_be_answered_with_the_resource_or_with_nothing(quirks: tuple[Quirk, ...], meet: Meet) -> None:
    """RFC 7644 section 3.5.2: 200 and 204 are success, and who leaves is read back after either."""
    crm = meet(*quirks)
    crm.settled(emails=[WORK])

    mover = crm.agree(bo(title="Lead"))
    moved = crm.methods()
    leaver = crm.agree(bo("left"))

    assert (mover.trouble, mover.change, moved) == (None, "updated", ["GET", "PATCH"])
    assert (leaver.trouble, leaver.change, crm.methods()) == (None, "suspended", ["GET", "PATCH", "GET"])
    assert leaver.confirmed_at is not None


def test_e14_nothing_that_a_204_leaves_open_is_taken_for_done(meet: Meet) -> None:
    """A leaver whom the read-back shows active is not told to be locked out."""
    crm = meet(Quirk.NO_CONTENT, Quirk.IGNORES_PATCH)
    crm.settled()

    with pytest.raises(Postponed) as caught:
        crm.agree(bo("left"))

    assert caught.value.reason == "unconfirmed"


def _story(crm: Encounter) -> list[dict[str, Any]]:
    """Let everything happen that makes an operation, and return them all."""
    crm.fake.add("Groups", displayName="Agents")
    found: list[dict[str, Any]] = []
    for known in (
        bo(title="Agent", phone="+353 1 555 0100", department="Support", given_name="Bo"),
        bo(title=None, phone=None, department=None, given_name="Bob"),
        bo(title="Lead", phone="+353 1 555 0100", department="Support"),
        bo("left", title="Lead"),
        bo(title="Lead", department="Support", employee_number="7"),
    ):
        crm.agree(known)
        found += crm.operations()
    return found


def _grants() -> Any:  # noqa: ANN401 - a policy
    return granted(groups=("Agents",), roles=("employee",))


def test_e15_operations_are_in_lower_case(meet: Meet) -> None:
    """RFC 7644 section 3.5.2 knows add, remove and replace, and says nothing of another letter case."""
    operations = _story(meet(policy=_grants()))

    assert {operation["op"] for operation in operations} == {"add", "remove", "replace"}


def test_e16_remove_names_what_it_removes(meet: Meet) -> None:
    """RFC 7644 section 3.5.2.2: without a path it is noTarget; and it has no value."""
    removes = [operation for operation in _story(meet(policy=_grants())) if operation["op"] == "remove"]

    assert {"title", 'phoneNumbers[type eq "work"]', f"{ENTERPRISE}:department", 'roles[value eq "employee"]'} <= {
        operation["path"] for operation in removes
    }
    assert any(operation["path"].startswith('members[value eq "') for operation in removes)
    assert all(operation.keys() == {"op", "path"} for operation in removes)


def test_e17_entry_that_is_there_is_replaced_by_its_value_path(meet: Meet) -> None:
    """RFC 7644 section 3.5.2.3: a filter in the path names the entry; the others are left alone."""
    crm = meet()
    crm.settled(emails=[HOME, {"type": "work", "value": "old@acme.example"}])

    crm.agree(bo())

    assert crm.operations() == [{"op": "replace", "path": 'emails[type eq "work"].value', "value": BO["email"]}]
    assert crm.fake.user(BO["email"])["emails"] == [HOME, WORK]


def test_e17_replace_that_matches_nothing_becomes_an_add(meet: Meet) -> None:
    """A filter that matches nothing is noTarget: an entry that is not there, or no longer, is added whole."""
    crm = meet()
    held = crm.settled(emails=[HOME, {"type": "work", "value": "old@acme.example"}])

    def takes_it_away(said: Said, proceed: Proceed) -> Any:  # noqa: ANN401 - an answer
        if said.method == "PATCH" and "[" in json.dumps(said.body):
            held["emails"] = [HOME]
        return proceed()

    crm.way = takes_it_away

    agreement = crm.agree(bo())

    assert agreement.trouble is None
    assert [(each["op"], each["path"]) for each in crm.operations()] == [
        ("replace", 'emails[type eq "work"].value'),
        ("add", "emails"),
    ]
    assert crm.operations()[-1]["value"] == [WORK]
    assert crm.fake.user(BO["email"])["emails"] == [HOME, WORK]


def test_e17_entry_that_is_missing_is_added_at_once(meet: Meet) -> None:
    """No request is spent on a replace that must fail."""
    crm = meet()
    crm.settled(emails=[HOME])

    crm.agree(bo())

    assert crm.operations() == [{"op": "add", "path": "emails", "value": [WORK]}]


def test_e18_add_keeps_the_others_and_says_nothing_twice(meet: Meet) -> None:
    """RFC 7644 section 3.5.2.1: an equal value should be harmless, but a server stored a second copy; so only news."""
    crm = meet(
        Quirk.DOUBLES_MEMBERS, Quirk.SHOWS_NO_GROUPS, policy=granted(groups=("Agents",), roles=("employee", "agent"))
    )
    held = crm.settled(roles=[{"value": "employee"}, {"value": "poet"}], emails=[WORK])
    group = crm.fake.add("Groups", displayName="Agents", members=[{"value": "u-9"}, {"value": held["id"]}])

    crm.agree(bo(department="Support"), cautious=True)

    added = {each["path"]: each["value"] for each in crm.operations() if each["op"] == "add"}
    assert added["roles"] == [{"value": "agent"}]
    assert [role["value"] for role in crm.fake.user(BO["email"])["roles"]] == ["employee", "poet", "agent"]
    assert [member["value"] for member in crm.fake.held["Groups"][group["id"]]["members"]] == ["u-9", held["id"]]


def test_e19_replace_of_what_is_not_there_adds_it_and_removing_it_is_no_request(meet: Meet) -> None:
    """RFC 7644 sections 3.5.2.2 and 3.5.2.3, of a single value: what is cleared and not there is as it should be."""
    crm = meet()
    crm.settled(emails=[WORK])

    crm.agree(bo(title="Lead", phone=None, department=None))

    assert crm.operations() == [{"op": "replace", "path": "title", "value": "Lead"}]
    assert crm.fake.user(BO["email"])["title"] == "Lead"


@pytest.mark.parametrize(("status", "keyword"), [(400, "noTarget"), (404, "")], ids=["no such member", "no such group"])
def test_e19_membership_that_is_gone_is_left(status: int, keyword: str, meet: Meet) -> None:
    """A leaver's group that refuses the removal because there is nothing to remove is left, and the event is done."""
    crm = meet(policy=granted(groups=("Agents",)))
    crm.fake.add("Groups", displayName="Agents")
    crm.agree(bo(department="Support"))
    gone = on("PATCH /Groups", lambda: error(status, keyword))
    no_group = on("GET /Groups", lambda: error(404))
    crm.way = lambda said, proceed: gone(said, lambda: no_group(said, proceed) if status == 404 else proceed())

    agreement = crm.agree(bo("left"))

    assert (agreement.trouble, agreement.groups_removed) == (None, ["Agents"])
    assert keyword != "noTarget" or crm.methods()[-1] == "PATCH"


@pytest.mark.parametrize("quirk", [None, Quirk.CREATE_NEEDS_PRIMARY])
def test_e20_no_more_than_one_primary_is_sent(quirk: Quirk | None, meet: Meet) -> None:
    """RFC 7644 section 3.5.2: a primary clears the others, so one is said at most, and none where ours need not be."""
    emails = "[{'type': 'work', 'value': person.email}, {'type': 'other', 'value': 'bo@other.example'}]"
    crm = meet(*filter(None, [quirk]), attributes={"userName": "person.email", "emails": emails})
    there = meet()
    there.settled(emails=[{**HOME, "primary": True}])

    crm.agree(bo())
    there.agree(bo())

    for body in crm.bodies("POST"):
        assert sum(entry.get("primary", False) for entry in body["emails"]) <= 1
    assert [entry.get("primary", False) for entry in crm.fake.user(BO["email"])["emails"]] == [quirk is not None, False]
    assert there.fake.user(BO["email"])["emails"] == [{**HOME, "primary": True}, WORK]


@pytest.mark.parametrize("known", [True, False], ids=["mover", "joiner"])
def test_e20_two_primaries_of_a_mapping_are_refused_before_they_are_sent(known: bool, meet: Meet) -> None:
    """RFC 7643 section 2.4: ``primary`` true occurs once; which one is meant is for the operator to say."""
    emails = "[{'value': person.email, 'primary': true}, {'value': 'bo@other.example', 'primary': true}]"
    crm = meet(attributes={"userName": "person.email", "emails": emails, "title": "person.title"})
    if known:
        crm.settled()

    agreement = crm.agree(bo(title="Lead"))

    assert isinstance(agreement.trouble, Refused)
    assert agreement.trouble.reason == "value"
    assert "primary" not in str([said.body for said in crm.said])
    assert crm.fake.user(BO["email"])["title"] == "Lead"


def test_e21_operations_have_paths_and_no_key_has_a_dot(meet: Meet) -> None:
    """RFC 7644 section 3.5.2: an object without a path is legal, dotted keys in it are a dialect; we need neither."""
    operations = _story(meet(policy=_grants()))

    assert all(operation.get("path") for operation in operations)
    assert not [operation for operation in operations if isinstance(operation.get("value"), dict)]


REFUSALS: list[tuple[str, type[GatepostError], str, bool]] = [
    ("invalidSyntax", Refused, "refused", True),
    ("invalidPath", Refused, "refused", True),
    ("invalidFilter", Refused, "refused", True),
    ("noTarget", Refused, "refused", True),
    ("somethingNew", Refused, "refused", True),
    ("", Refused, "refused", True),
    ("invalidValue", Refused, "refused", False),
    ("mutability", Refused, "refused", False),
    ("sensitive", Refused, "refused", False),
    ("tooMany", Refused, "refused", False),
    ("uniqueness", Refused, "refused", False),
    ("invalidVers", Postponed, "conflict", False),
]


@pytest.mark.parametrize(("keyword", "kind", "reason", "another_way"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_e22_every_kind_of_error_is_taken(
    keyword: str,
    kind: type[GatepostError],
    reason: str,
    another_way: bool,
    meet: Meet,
) -> None:
    """RFC 7644 table 9, and words of no table: told in the target's own, and asked otherwise where that helps."""
    crm = meet(Quirk.NO_PUT, way=on("PATCH", lambda: error(400, keyword, "the target says why")))
    crm.settled(emails=[WORK])
    trouble: GatepostError | None = None

    try:
        trouble = crm.agree(bo(title="Lead")).trouble
    except GatepostError as caught:
        trouble = caught

    assert isinstance(trouble, kind)
    assert trouble.reason == reason
    assert ("PUT" in crm.methods()) is another_way
    assert kind is Postponed or "the target says why" in trouble.message
    assert "title" not in crm.fake.user(BO["email"])


def test_e22_refusal_of_a_put_is_no_sign_of_another_writer(meet: Meet) -> None:
    """``noTarget`` speaks of a path, which a PUT has none of: told as it is said, and not read and tried for ever."""
    crm = meet(Quirk.NO_PATCH_501, way=on("PUT", lambda: error(400, "noTarget", "the target says why")))
    crm.settled(emails=[WORK])

    agreement = crm.agree(bo(title="Lead"))

    assert isinstance(agreement.trouble, Refused)
    assert crm.methods() == ["GET", "PATCH", "GET", "PUT"]
