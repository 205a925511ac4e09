"""Plan: the fewest operations from an account as it is to the account as wanted, judged by scim2-models."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import Context, EnterpriseUser, PatchOp, User

from lifecycle.paths import Path, parse_path
from tests.workers.fake_scim import PATCH_OP, USER, apply, check, other_case
from tests.workers.stories import patiently
from workers import plan as planning
from workers.plan import ESSENTIAL, Terms, essential, with_primary
from workers.policy import Wanted
from workers.resource import attribute, is_active, value_at
from workers.targets.scim import ATTRIBUTES, ENTERPRISE

Account = User[EnterpriseUser]
PATHS = {text: parse_path(text) for text in ATTRIBUTES}
EMAIL, PHONE = 'emails[type eq "work"].value', 'phoneNumbers[type eq "work"].value'

words = st.sampled_from(["Agent", "Lead", 'O"Neil', "ø 界", "x" * 40])
addresses = st.sampled_from(["bo@acme.example", "ray@acme.example"])
numbers = st.sampled_from(["tel:+353-1-555-0100", "tel:+353-1-555-0101"])
VALUES = dict.fromkeys(ATTRIBUTES, words) | {EMAIL: addresses, PHONE: numbers}


def optional(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw some of the parts."""
    return st.fixed_dictionaries({}, optional=parts)


def entries(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw entries of different types."""
    entry = st.tuples(st.sampled_from(["work", "home", "other"]), values)
    drawn = st.lists(entry, min_size=1, max_size=3, unique_by=lambda pair: pair[0])
    return drawn.map(lambda pairs: [{"type": kind, "value": value} for kind, value in pairs])


@st.composite
def accounts(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an account as a server may hold it, with attributes that we do not manage."""
    account: dict[str, Any] = {"schemas": [USER], "id": "u-7", "userName": draw(words)}
    account |= draw(
        optional(
            active=st.booleans(),
            externalId=st.just("E1042"),
            displayName=words,
            nickName=words,
            title=words,
            name=optional(givenName=words, familyName=words, middleName=words).filter(bool),
            emails=entries(addresses),
            phoneNumbers=entries(numbers),
        )
    )
    extension = draw(optional(department=words, division=words, costCenter=words, manager=st.just({"value": "u-1"})))
    if extension:
        account["schemas"].append(ENTERPRISE)
        account[ENTERPRISE] = extension
    return account


@st.composite
def wishes(draw: st.DrawFn) -> Wanted:
    """Draw what the account should show: some managed paths, some of them cleared; a userName is never cleared."""
    chosen = draw(st.sets(st.sampled_from(sorted(ATTRIBUTES))))
    attributes: dict[Path, Any] = {
        PATHS[text]: draw(VALUES[text] if text == "userName" else st.none() | VALUES[text]) for text in sorted(chosen)
    }
    return Wanted("E1042", "bo", draw(st.sampled_from([True, False, None])), attributes, frozenset())


def changes(account: Mapping[str, Any], wanted: Wanted, *, adopt: bool, **terms: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - terms
    """Return the operations of the plan."""
    found = planning.plan(account, wanted, Terms(adopt=adopt, **terms))
    assert found.refused == (), "casting is tested elsewhere"
    return [edit.operation() for edit in found.edits]


def new_account(wanted: Wanted) -> dict[str, Any]:
    """Return the body that creates an account."""
    body, refused = planning.new_account(wanted, Terms(adopt=True))
    assert refused == ()
    return body


def replacement(account: Mapping[str, Any], wanted: Wanted, *, adopt: bool) -> dict[str, Any]:
    """Return the body of the PUT that does what the plan would."""
    return planning.replacement(account, planning.plan(account, wanted, Terms(adopt=adopt)).edits)


def patched(account: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Let scim2-models apply the operations, read in its strict request context."""
    body = {"schemas": [PATCH_OP], "Operations": operations}
    request = PatchOp[Account].model_validate(body, scim_ctx=Context.RESOURCE_PATCH_REQUEST)
    resource = Account.model_validate(account)
    request.patch(resource)
    return dict(resource.model_dump(scim_ctx=Context.RESOURCE_PATCH_RESPONSE))


def unmanaged(account: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Return what of an account is not managed: with every managed path taken out."""
    rest = copy.deepcopy(account)
    rest.pop("active", None)
    rest.pop("externalId", None)
    rest.pop("schemas")
    for path in wanted.attributes:
        holder = rest.get(path.urn, {}) if path.urn else rest
        if path.key and path.name in holder:
            holder[path.name] = [entry for entry in holder[path.name] if entry[path.key] != path.equals]
        elif path.sub:
            holder.get(path.name, {}).pop(path.sub, None)
        else:
            holder.pop(path.name, None)
    return {name: value for name, value in rest.items() if value not in ({}, [])}


@patiently
@given(accounts(), wishes(), st.booleans())
def test_patch_gives_the_wanted_account_and_a_second_plan_is_empty(
    account: dict[str, Any], wanted: Wanted, adopt: bool
) -> None:
    """From any account, by an independent implementation of PATCH: all is as wanted, the rest is as it was."""
    operations = changes(account, wanted, adopt=adopt)

    after = patched(account, operations) if operations else account

    assert changes(after, wanted, adopt=adopt) == []
    assert all(value == value_at(after, path) for path, value in wanted.attributes.items())
    assert wanted.active in {None, is_active(after) is not False}
    assert unmanaged(account, wanted) == unmanaged(after, wanted)


@patiently
@given(accounts(), wishes())
def test_server_of_the_tests_reads_the_plan_the_same_way(account: dict[str, Any], wanted: Wanted) -> None:
    """The server in memory and scim2-models agree, so that the other tests stand on firm ground."""
    operations = changes(account, wanted, adopt=True)
    ours = copy.deepcopy(account)

    for operation in operations:
        apply(ours, operation)
    check("Users", ours)

    theirs = patched(account, operations) if operations else account
    assert changes(ours, wanted, adopt=True) == []
    assert unmanaged(theirs, wanted) == unmanaged(ours, wanted)


@patiently
@given(accounts(), wishes())
def test_letter_case_of_names_is_no_difference(account: dict[str, Any], wanted: Wanted) -> None:
    """Attribute names compare without case (RFC 7643 section 2.1): the plan is the same."""
    assert changes(account, wanted, adopt=True) == changes(other_case(account), wanted, adopt=True)


@patiently
@given(wishes())
def test_new_account_shows_all_that_is_wanted(wanted: Wanted) -> None:
    """What is created needs no change afterwards, is a valid request, and names only schemas that it uses."""
    body = new_account(wanted)

    Account.model_validate(body, scim_ctx=Context.RESOURCE_CREATION_REQUEST)
    check("Users", body)
    told = Wanted(wanted.external_id, wanted.user_name, active=True, attributes=wanted.attributes, groups=frozenset())
    assert changes(body, told, adopt=True) == []


def plan(
    account: dict[str, Any], *, active: bool | None = True, adopt: bool = False, **paths: object
) -> list[dict[str, Any]]:
    """Plan for a few paths, given by short names."""
    names = {"email": EMAIL, "department": f"{ENTERPRISE}:department", "given": "name.givenName"}
    attributes = {parse_path(names.get(name, name)): value for name, value in paths.items()}
    return changes(account, Wanted("E1042", "bo", active, attributes, frozenset()), adopt=adopt)


def test_value_that_is_there_is_replaced() -> None:
    """One operation for one difference."""
    assert plan({"title": "Agent"}, title="Lead") == [{"op": "replace", "path": "title", "value": "Lead"}]


def test_entry_that_is_missing_is_added_whole() -> None:
    """Replace with a filter that matches nothing is an error (RFC 7644 section 3.5.2.3)."""
    account = {"emails": [{"type": "home", "value": "bo@home.example"}]}

    operations = plan(account, email="bo@acme.example")

    assert operations == [{"op": "add", "path": "emails", "value": [{"type": "work", "value": "bo@acme.example"}]}]


@pytest.mark.parametrize("kind", ["work", "Work", "WORK"])
def test_entry_is_found_whatever_the_case_of_its_type(kind: str) -> None:
    """``type`` is not case-exact; a second entry of the same type would be a duplicate."""
    account = {"emails": [{"type": kind, "value": "old@acme.example"}]}

    assert plan(account, email="bo@acme.example") == [{"op": "replace", "path": EMAIL, "value": "bo@acme.example"}]


def test_entry_whose_value_is_cleared_goes_whole() -> None:
    """An entry without its value says nothing; the others stay."""
    account = {"emails": [{"type": "work", "value": "bo@acme.example"}, {"type": "home", "value": "bo@home.example"}]}

    assert plan(account, email=None) == [{"op": "remove", "path": 'emails[type eq "work"]'}]


@pytest.mark.parametrize("account", [{}, {"title": None}, {"title": ""}, {"emails": []}, {"emails": None}], ids=repr)
def test_what_is_not_there_needs_no_removal(account: dict[str, Any]) -> None:
    """Null, empty and absent are the same."""
    assert plan(account, title=None, email=None, department=None, given=None) == []


@pytest.mark.parametrize(
    ("shown", "wanted", "switches"),
    [
        (True, True, False),
        (False, False, False),
        (True, False, True),
        (False, True, True),
        ("True", True, False),
        ("true", False, True),
        ("False", False, False),
        ("false", True, True),
        (None, True, False),
        (None, False, True),
        ("maybe", False, True),
        (1, False, True),
        (False, None, False),
        (True, None, False),
    ],
    ids=repr,
)
def test_active_is_switched_only_where_it_differs(shown: object, wanted: bool | None, switches: bool) -> None:
    """Booleans written as texts are read; an account that does not say counts as active, to be safe."""
    operations = plan({"active": shown}, active=wanted)

    assert ([{"op": "replace", "path": "active", "value": wanted}] if switches else []) == operations


def test_external_id_is_written_only_on_adoption_and_only_where_there_is_none() -> None:
    """An externalId that is there is somebody's; ours is not forced on it."""
    added = [{"op": "add", "path": "externalId", "value": "E1042"}]

    assert added == plan({}, adopt=True)
    assert plan({}, adopt=False) == []
    assert plan({"externalId": "E9"}, adopt=True) == []


def test_user_name_that_differs_in_case_alone_is_left() -> None:
    """UserName is not case-exact (RFC 7643 section 4.1.1); a title is a text like any other."""
    assert plan({"userName": "Bo.Ray"}, userName="bo.ray") == []
    assert plan({"title": "Lead"}, title="lead") == [{"op": "replace", "path": "title", "value": "lead"}]


@pytest.mark.parametrize(("shown", "wanted"), [(1, True), ("1", 1), (True, "true"), ([], "x"), ({}, "x")], ids=repr)
def test_values_of_different_types_differ(shown: object, wanted: object) -> None:
    """JSON's types are kept apart: 1 is not true."""
    assert [{"op": "replace", "path": "title", "value": wanted}] == plan({"title": shown}, title=wanted)


@pytest.mark.parametrize("odd", ["text", 5, [], {"type": "work"}, [None], ["text"], [{"type": None}], [{}]], ids=repr)
def test_entries_of_odd_shape_are_survived(odd: object) -> None:
    """A server may answer anything; what cannot be read as an entry is none of ours."""
    operations = plan({"emails": odd}, email="bo@acme.example")

    assert [str(operation["path"]) for operation in operations] == ["emails"]


@pytest.mark.parametrize("odd", [None, "text", 5, [], ["a"]], ids=repr)
def test_attribute_of_what_is_no_object_is_nothing(odd: object) -> None:
    """Whatever stands in the place of an object has no attributes."""
    assert attribute(odd, "title") is None
    assert value_at({"name": odd}, parse_path("name.givenName")) is None


# ---- where PATCH, or a whole new account, is refused


def put(account: dict[str, Any], *, active: bool | None = None, adopt: bool = False, **paths: object) -> dict[str, Any]:
    """Make the replacement for a few paths, given by short names."""
    names = {"email": EMAIL, "department": f"{ENTERPRISE}:department", "given": "name.givenName"}
    attributes = {parse_path(names.get(name, name)): value for name, value in paths.items()}
    return replacement(account, Wanted("E1042", "bo", active, attributes, frozenset()), adopt=adopt)


@patiently
@given(accounts(), wishes(), st.booleans())
def test_replacement_is_what_the_patch_would_give(account: dict[str, Any], wanted: Wanted, adopt: bool) -> None:
    """From any account: all is as wanted, the rest is as it was, and the account that was read is not touched."""
    before = copy.deepcopy(account)

    body = replacement(account, wanted, adopt=adopt)

    assert account == before
    assert changes(body, wanted, adopt=adopt) == []
    assert unmanaged(account, wanted) == unmanaged(body, wanted)
    assert account["id"] == body["id"]
    emptied = {name for name in account if name.startswith("urn:") and name not in body}
    assert set(account["schemas"]) - emptied <= set(body["schemas"])
    assert {name for name in body if name.startswith("urn:")} <= set(body["schemas"])


@patiently
@given(accounts(), wishes())
def test_replacement_keeps_to_the_spelling_of_the_target(account: dict[str, Any], wanted: Wanted) -> None:
    """No name is there twice, in two letter cases: one of them would be lost."""
    body = replacement(other_case(account), wanted, adopt=True)

    folded = [name.lower() for name in body]
    assert len(folded) == len(set(folded))
    assert changes(body, wanted, adopt=True) == []


@patiently
@given(accounts())
def test_replacement_without_a_wish_is_the_account(account: dict[str, Any]) -> None:
    """Nothing is wanted, nothing is changed."""
    shown = account | {"meta": {"version": "1"}, "groups": [{"value": "g-1"}]}

    assert account == replacement(shown, Wanted(None, None, None, {}, frozenset()), adopt=True)


@pytest.mark.parametrize("name", ["meta", "Meta", "groups", "GROUPS"])
def test_what_is_the_targets_own_is_not_put(name: str) -> None:
    """Read-only attributes are never said again, however they are spelt; nor is a null."""
    assert put({"schemas": [USER], "userName": "bo", name: [{"value": "x"}], "title": None}) == {
        "schemas": [USER],
        "userName": "bo",
    }


def test_entries_of_a_replacement_stay_in_their_places() -> None:
    """A value changes where it stands, with what else its entry says; other entries stay."""
    emails = [{"type": "home", "value": "h@x"}, {"Type": "Work", "VALUE": "old@x", "primary": True}, {"value": "z@x"}]

    body = put({"emails": emails}, email="new@x")

    assert body["emails"] == [emails[0], {"Type": "Work", "VALUE": "new@x", "primary": True}, emails[2]]
    assert put({"emails": emails}, email=None)["emails"] == [emails[0], emails[2]]


def test_extension_that_is_new_in_a_replacement_is_among_its_schemas() -> None:
    """An object without its schema is refused by strict servers; so is a body without any."""
    assert put({"userName": "bo"}, department="Support") == {
        "userName": "bo",
        "schemas": [USER, ENTERPRISE],
        ENTERPRISE: {"department": "Support"},
    }


@pytest.mark.parametrize(("shown", "said"), [(True, False), ("True", False), (None, False), (False, False)], ids=repr)
def test_replacement_of_a_leaver_says_inactive(shown: object, said: bool) -> None:
    """Whatever the account shows, and however it writes it."""
    body = put({"active": shown} if shown is not None else {}, active=False)

    assert body["active"] is said


def test_replacement_leaves_access_alone_where_nobody_spoke_of_it() -> None:
    """An inactive account is not opened by a change of title."""
    assert put({"active": False}, title="Lead")["active"] is False


def test_replacement_never_takes_an_external_id_from_somebody() -> None:
    """Ours is written on adoption, where there is none."""
    assert "externalId" not in put({}, adopt=False)
    assert put({}, adopt=True)["externalId"] == "E1042"
    assert put({"externalId": "E9"}, adopt=True)["externalId"] == "E9"


@patiently
@given(wishes())
def test_essential_account_is_valid_and_a_part_of_the_whole(wanted: Wanted) -> None:
    """It can be created by itself, names no extension, and what it leaves out is what changes would write next."""
    whole = new_account(wanted)

    part = essential(whole)

    Account.model_validate(part, scim_ctx=Context.RESOURCE_CREATION_REQUEST)
    check("Users", part)
    assert part.keys() <= ESSENTIAL
    assert part["schemas"] == [USER]
    assert all(whole[name] == part[name] for name in part.keys() - {"schemas", "emails"})
    assert (whole.keys() & ESSENTIAL) == part.keys()


def test_first_address_becomes_the_primary_one() -> None:
    """One and only one, and the body that was given is not touched."""
    body = {"emails": [{"type": "work", "value": "a@x"}, {"type": "home", "value": "b@x"}]}
    before = copy.deepcopy(body)

    found = with_primary(body)

    assert found["emails"] == [{"type": "work", "value": "a@x", "primary": True}, {"type": "home", "value": "b@x"}]
    assert body == before


@pytest.mark.parametrize(
    "body",
    [{}, {"userName": "bo"}, {"emails": [{"value": "a@x", "primary": False}, {"value": "b@x", "primary": True}]}],
    ids=repr,
)
def test_primary_address_that_was_chosen_is_left(body: dict[str, Any]) -> None:
    """No address, or one that is the primary already: nothing is added."""
    assert body == with_primary(body)
