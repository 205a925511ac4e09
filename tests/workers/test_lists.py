"""Multi-valued attributes entry by entry, roles, and what holds where source and target differ."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import Context, PatchOp, User

from lifecycle.errors import Refused
from lifecycle.paths import parse_path
from tests.workers.fake_scim import PATCH_OP, USER
from tests.workers.stories import patiently
from workers.plan import Plan, Terms, plan, prints
from workers.policy import Wanted
from workers.resource import apply, attribute
from workers.scim.schema import Attribute, Schema

SKILLS = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User:routingSkills"
ENTITLED = "entitlements"

names = st.sampled_from(["a", "b", 'c"d', "e\\f", "ø"])
lists = st.lists(names, max_size=4, unique=True).map(lambda found: [{"value": each} for each in found])


def wanted(roles: frozenset[str] = frozenset(), **attributes: Any) -> Wanted:  # noqa: ANN401 - SCIM values
    """Want just these attributes."""
    paths = {parse_path({"skills": SKILLS}.get(name, name)): value for name, value in attributes.items()}
    return Wanted("E1042", "bo", active=None, attributes=paths, groups=frozenset(), roles=roles)


def operations(account: dict[str, Any], wish: Wanted, **terms: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - terms
    """Return the operations of the plan, none of it refused."""
    found = plan(account, wish, Terms(**terms))
    assert found.refused == ()
    return [edit.operation() for edit in found.edits]


def patched(account: dict[str, Any], found: list[dict[str, Any]]) -> list[str]:
    """Let scim2-models apply the operations; return the values of the entries."""
    request: Any = PatchOp[User[Any]].model_validate(
        {"schemas": [PATCH_OP], "Operations": found}, scim_ctx=Context.RESOURCE_PATCH_REQUEST
    )
    resource: Any = User.model_validate(account)
    request.patch(resource)
    return sorted(entry.value for entry in resource.entitlements or ())


def account(**attributes: Any) -> dict[str, Any]:  # noqa: ANN401 - SCIM values
    """Make an account that shows these attributes."""
    return {"schemas": [USER], "id": "u-7", "userName": "bo", **attributes}


# ---- entry by entry


@patiently
@given(lists, lists)
def test_entries_become_the_wanted_ones_by_an_independent_patch(shown: Any, wish: Any) -> None:  # noqa: ANN401
    """Whatever is there: one value for each that is wanted, none twice, and a second plan is empty."""
    before = account(entitlements=shown) if shown else account()

    found = operations(before, wanted(entitlements=wish))

    values = sorted(entry["value"] for entry in wish)
    assert patched(before, found) == values if found else values == sorted(entry["value"] for entry in shown)
    assert all(operation["path"] != ENTITLED or operation["op"] == "add" for operation in found)
    assert operations(account(entitlements=wish), wanted(entitlements=wish)) == []


def test_entry_that_is_there_is_never_added_again() -> None:
    """An add of an equal value should be harmless (RFC 7644 section 3.5.2.1), but a server was seen to keep both."""
    found = operations(account(entitlements=[{"value": "a", "display": "A"}]), wanted(entitlements=[{"value": "a"}]))

    assert found == []


def test_part_of_an_entry_is_corrected_in_place() -> None:
    """Of an entry that is there only what differs is written, and found by its name."""
    urn = SKILLS.rpartition(":")[0]
    before = account(**{urn: {"routingSkills": [{"name": "Dutch", "proficiency": 2.0}, {"name": "Old"}]}})

    found = operations(before, wanted(skills=[{"name": "Dutch", "proficiency": 4.0}, {"name": "New"}]))

    assert found == [
        {"op": "remove", "path": f'{SKILLS}[name eq "Old"]'},
        {"op": "replace", "path": f'{SKILLS}[name eq "Dutch"].proficiency', "value": 4.0},
        {"op": "add", "path": SKILLS, "value": [{"name": "New"}]},
    ]


@pytest.mark.parametrize(("shown", "wish"), [(2, 2.0), (2.0, 2)])
def test_number_is_a_number(shown: float, wish: float) -> None:
    """JSON has one kind of number (RFC 8259 section 6)."""
    urn = SKILLS.rpartition(":")[0]
    before = account(**{urn: {"routingSkills": [{"name": "Dutch", "proficiency": shown}]}})

    assert operations(before, wanted(skills=[{"name": "Dutch", "proficiency": wish}])) == []


def test_text_in_a_filter_cannot_end_it() -> None:
    """The value is a JSON text (RFC 7644 section 3.4.2.2)."""
    found = operations(account(entitlements=[{"value": 'a" or value pr'}]), wanted(entitlements=[]))

    assert found == [{"op": "remove", "path": 'entitlements[value eq "a\\" or value pr"]'}]


# ---- roles


def test_only_roles_of_the_policy_are_given_and_taken() -> None:
    """What somebody gave by hand stays; what is there already is not given again."""
    before = account(roles=[{"value": "employee"}, {"value": "admin"}, {"value": "Supervisor"}])

    found = operations(
        before, wanted(roles=frozenset({"employee", "Agent"})), roles=frozenset({"employee", "Agent", "Supervisor"})
    )

    assert found == [
        {"op": "remove", "path": 'roles[value eq "Supervisor"]'},
        {"op": "add", "path": "roles", "value": [{"value": "Agent"}]},
    ]


def test_roles_that_are_plain_texts_are_read() -> None:
    """Some servers list them so."""
    assert operations(account(roles=["employee"]), wanted(roles=frozenset({"employee"}))) == []


# ---- source and target differ


@pytest.mark.parametrize(
    ("rule", "last", "shown", "now", "written"),
    [
        ("source_wins", "Agent", "Boss", "Lead", True),
        ("source_wins", "Agent", "Boss", None, True),
        ("target_wins", "Agent", "Boss", "Lead", False),
        ("target_wins", "Agent", "Boss", None, False),
        ("target_wins", "Agent", None, "Lead", True),
        ("merge", "Agent", "Boss", "Agent", False),  # only the target changed it
        ("merge", "Agent", "Agent", "Lead", True),  # only the source did
        ("merge", "Agent", "Boss", "Lead", True),  # both did: the source's is the news
        ("merge", None, "Boss", "Lead", False),  # a first meeting: nobody knows who was first
        ("merge", None, None, "Lead", True),
    ],
)
def test_rule_decides_who_has_the_word(
    rule: str, last: str | None, shown: str | None, now: str | None, *, written: bool
) -> None:
    """``last`` is what the source said when the account was last settled."""
    conflicts: Any = {"title": rule}
    settled = prints(wanted(title=last), Terms(conflicts=conflicts)) if last else {}
    before = account(title=shown) if shown else account()

    found = operations(before, wanted(title=now), conflicts=conflicts, written=settled)

    assert bool(found) is written


def test_merged_list_keeps_what_others_added_and_takes_only_what_was_ours() -> None:
    """Ours before were a and b, now only b and c; d is somebody's."""
    conflicts: Any = {ENTITLED: "merge"}
    settled = prints(wanted(entitlements=[{"value": "a"}, {"value": "b"}]), Terms(conflicts=conflicts))
    before = account(entitlements=[{"value": "a"}, {"value": "b"}, {"value": "d"}])

    found = operations(
        before, wanted(entitlements=[{"value": "b"}, {"value": "c"}]), conflicts=conflicts, written=settled
    )

    assert found == [
        {"op": "remove", "path": 'entitlements[value eq "a"]'},
        {"op": "add", "path": ENTITLED, "value": [{"value": "c"}]},
    ]


def test_list_of_the_target_is_left_where_it_wins() -> None:
    """It is only filled where it is empty."""
    conflicts: Any = {ENTITLED: "target_wins"}
    wish = wanted(entitlements=[{"value": "a"}])

    assert operations(account(entitlements=[{"value": "d"}]), wish, conflicts=conflicts) == []
    assert operations(account(), wish, conflicts=conflicts) != []


# ---- values that do not fit


def test_value_that_cannot_fit_is_refused_and_the_rest_is_planned() -> None:
    """One bad value does not keep the others; the reason names the path and not the value."""
    schema = Schema({"": {"title": Attribute("title", chars_max=3), "nickname": Attribute("nickName")}})

    found: Plan = plan(account(), wanted(title="Account Manager", nickName="B"), Terms(schema=schema))

    assert [edit.path.text for edit in found.edits] == ["nickName"]
    (refused,) = found.refused
    assert isinstance(refused, Refused)
    assert "title" in refused.message
    assert "Account Manager" not in refused.message


def test_read_only_attribute_is_refused_only_where_it_differs() -> None:
    """To repeat what is there anyway is no change."""
    schema = Schema({"": {"title": Attribute("title", mutability="readOnly")}})

    assert plan(account(title="Lead"), wanted(title="Lead"), Terms(schema=schema)) == Plan(())
    assert len(plan(account(title="Agent"), wanted(title="Lead"), Terms(schema=schema)).refused) == 1


# ---- what a PUT says


@patiently
@given(lists, lists)
def test_replacement_shows_the_same_entries_as_the_patch(shown: Any, wish: Any) -> None:  # noqa: ANN401
    """The edits of a PATCH, made by ourselves for a PUT."""
    body: dict[str, Any] = account(entitlements=list(shown))

    apply(body, list(plan(account(entitlements=shown), wanted(entitlements=wish), Terms()).edits))

    values = sorted(entry["value"] for entry in wish)
    assert values == sorted(str(attribute(entry, "value")) for entry in body["entitlements"])
