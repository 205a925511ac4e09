"""Policy: a person to what one target should show."""

from typing import Any

import pytest

from lifecycle.errors import Refused
from lifecycle.expressions import compile_expression
from lifecycle.paths import parse_path
from lifecycle.person import Account, Person
from lifecycle.policy import Policy
from tests.workers.stories import BO, person, policy, target
from workers.policy import Ignored, Mapped, Wanted, decide, mapping_of
from workers.targets import TARGETS
from workers.targets.scim import ATTRIBUTES

ACCOUNT = Account(id="u-7", active=True, groups={"Agents": "g-1"})
CONTRACTORS_OUT = policy(scope="person.user_type != 'contractor'")


def mapped(**paths: str) -> Mapped:
    """Make a mapping; ``__`` in a name stands for a dot."""
    return {parse_path(name.replace("__", ".")): compile_expression(source) for name, source in paths.items()}


DEFAULT = mapping_of(target(), ATTRIBUTES)


def wanted(
    known: Person, rules: Policy | None = None, mapping: Mapped = DEFAULT, account: Account | None = None
) -> Wanted:
    """Return what must not be ignored."""
    found = decide(known, rules or Policy(), mapping, account)
    assert isinstance(found, Wanted)
    return found


def texts(found: Wanted) -> dict[str, Any]:
    """Return attributes by the text of their path."""
    return {path.text: value for path, value in found.attributes.items()}


def test_person_who_works_here_has_an_active_account() -> None:
    """The mapping's expressions give the attributes; what no source ever told is not managed."""
    found = wanted(person(**BO))

    assert (found.active, found.external_id, found.user_name) == (True, "E1042", "bo.ray@acme.example")
    assert texts(found) == {
        "userName": "bo.ray@acme.example",
        "displayName": "Bo Ray",
        "name.givenName": "Bo",
        "name.familyName": "Ray",
        "title": "Agent",
        'emails[type eq "work"].value': "bo.ray@acme.example",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department": "Support",
    }


def test_field_that_was_cleared_is_wanted_away() -> None:
    """Null said by a source is not the same as nothing said: the one clears, the other leaves alone."""
    assert texts(wanted(person(**BO | {"title": None})))["title"] is None
    assert "phoneNumbers" not in str(texts(wanted(person(**BO))))


def test_person_of_unknown_status_keeps_the_accounts_own() -> None:
    """Nobody said that the person joined or left: active is not touched."""
    assert wanted(person(None, **BO)).active is None


def test_leaver_loses_access_and_nothing_else() -> None:
    """No attribute is changed of who left, all granted groups go, and the names only find the account."""
    found = wanted(person("left", **BO), policy(Agents="true"), account=ACCOUNT)

    assert Wanted("E1042", "bo.ray@acme.example", active=False, attributes={}, groups=frozenset()) == found


def test_grants_add_up() -> None:
    """Every rule that is true gives its groups."""
    rules = policy(Agents="person.department == 'Support'", Leads="person.title == 'Lead'", Staff="true")

    assert {"Agents", "Staff"} == wanted(person(**BO), rules).groups


def test_out_of_scope_without_account_is_ignored() -> None:
    """Who was never provisioned is none of ours."""
    contractor = person(**BO, user_type="contractor")

    assert Ignored("out_of_scope") == decide(contractor, CONTRACTORS_OUT, DEFAULT, None)


def test_out_of_scope_with_account_is_a_leaver() -> None:
    """Falling out of scope is leaving for an account that we keep."""
    found = wanted(person(**BO, user_type="contractor"), CONTRACTORS_OUT, account=ACCOUNT)

    assert (False, frozenset()) == (found.active, found.groups)


def test_in_scope_is_provisioned() -> None:
    """The scope keeps out whom it names, and nobody else."""
    assert wanted(person(**BO, user_type="employee"), CONTRACTORS_OUT).active is True


@pytest.mark.parametrize("name", ["E1042", "e1042", "BO.RAY@ACME.EXAMPLE", "bo"])
@pytest.mark.parametrize("status", ["active", "left", None])
def test_protected_person_is_ignored_whatever_happened(name: str, status: str | None) -> None:
    """Any of the person's names on the list, in any letter case, stops everything."""
    known = person(status, **BO, user_name="Bo")

    assert Ignored("protected") == decide(known, policy(protected=[name]), DEFAULT, ACCOUNT)


def test_protected_names_are_whole_names() -> None:
    """A part of a protected name protects nobody."""
    assert wanted(person(**BO), policy(protected=["bo", "ray", "E104"])).active is True


def test_user_name_falls_back_to_the_address() -> None:
    """The default mapping takes the address where no user name is known."""
    assert wanted(person(**BO)).user_name == "bo.ray@acme.example"
    assert wanted(person(**BO, user_name="bray")).user_name == "bray"
    assert wanted(person(**BO), mapping=mapped(title="person.title")).user_name == "bo.ray@acme.example"
    assert wanted(person(external_id="E1")).user_name is None


def test_user_name_is_what_the_mapping_gives() -> None:
    """A mapping of userName also names the account of a leaver, which has to be found by it."""
    mapping = mapped(userName="person.employee_number + '@corp'")

    assert wanted(person(**BO, employee_number="77"), mapping=mapping).user_name == "77@corp"
    assert wanted(person("left", **BO, employee_number="77"), mapping=mapping).user_name == "77@corp"


def test_expression_that_fails_is_refused_for_who_works_here() -> None:
    """The operator must mend the mapping; the sentence shows the expression and no value."""
    with pytest.raises(Refused) as caught:
        wanted(person(**BO), mapping=mapped(title="person.title + 1"))

    assert caught.value.reason == "expression"
    assert "person.title + 1" in caught.value.message
    assert "Agent" not in caught.value.message


@pytest.mark.parametrize(
    "rules",
    [
        policy(scope="person.custom.level > 3"),
        policy(scope="person.title"),
        policy(Agents="person.custom.level > 3"),
        policy(Agents="person.title"),
    ],
    ids=["scope fails", "scope is no truth", "grant fails", "grant is no truth"],
)
def test_rule_that_fails_stops_everything_but_a_leaver(rules: Policy) -> None:
    """A rule that cannot be evaluated is refused for who works here, and does not stand in a leaver's way."""
    with pytest.raises(Refused):
        decide(person(**BO), rules, DEFAULT, ACCOUNT)

    assert wanted(person("left", **BO), rules, account=ACCOUNT).active is False


def test_mapping_that_fails_does_not_stop_a_leaver() -> None:
    """The suspension needs no attribute, and falls back to the names that are known."""
    found = wanted(person("left", **BO), mapping=mapped(userName="person.title + 1", title="person.title + 1"))

    assert (found.active, found.user_name) == (False, "bo.ray@acme.example")


def test_value_that_is_no_single_value_is_refused() -> None:
    """A map, or a list within an entry, is not what an attribute can show."""
    for expression in ("{'a': 'b'}", "[['a']]", "[{'value': ['a']}]"):
        with pytest.raises(Refused, match=r"gives no (single value|list of values)"):
            wanted(person(**BO), mapping=mapped(title=expression))


def test_list_is_entries() -> None:
    """A text of a list is an entry's value (RFC 7643 section 2.4); an object is an entry as it is."""
    found = wanted(person(**BO), mapping=mapped(entitlements="['a', {'value': 'b', 'type': 'c'}]"))

    assert texts(found) == {"entitlements": [{"value": "a"}, {"value": "b", "type": "c"}]}


def test_empty_text_is_no_value() -> None:
    """SCIM knows no difference between empty and absent (RFC 7643 section 2.5)."""
    assert texts(wanted(person(**BO), mapping=mapped(title="''"))) == {"title": None}


def test_constant_is_always_managed() -> None:
    """An expression that reads no field does not wait for a source to tell one."""
    assert texts(wanted(person(), mapping=mapped(userType="'employee'"))) == {"userType": "employee"}


def test_configured_mapping_replaces_the_default() -> None:
    """A path that is not listed is not managed."""
    section = target(attributes={"title": "person.title"})

    assert [path.text for path in mapping_of(section, ATTRIBUTES)] == ["title"]


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_default_mapping_can_be_compiled(name: str) -> None:
    """A target's own mapping reads fields that exist and names paths that may be managed."""
    mapping = mapping_of(target(adapter=name), TARGETS[name].ATTRIBUTES)

    assert "userName" in {path.text for path in mapping}
    assert wanted(person(**BO), mapping=mapping).attributes
