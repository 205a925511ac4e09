"""CEL over ``person``."""

from typing import Any

import pytest

from lifecycle.errors import Refused
from lifecycle.event import PERSON_FIELDS
from lifecycle.expressions import EXPRESSION_CHARS_MAX, compile_expression

NOBODY: dict[str, Any] = dict.fromkeys(PERSON_FIELDS) | {"groups": [], "custom": {}}


@pytest.mark.parametrize(
    ("source", "person", "value"),
    [
        ("person.title", {"title": "Agent"}, "Agent"),
        ("person.title", {}, None),
        ("person.user_type != 'contractor'", {}, True),
        ("person.user_type != 'contractor'", {"user_type": "contractor"}, False),
        ("'Support Agents' in person.groups", {"groups": ["Support Agents"]}, True),
        ("person.department == 'person.titel'", {"department": "person.titel"}, True),
        ("person.custom.desk", {"custom": {"desk": "4-117"}}, "4-117"),
        ("person.given_name + ' ' + person.family_name", {"given_name": "Bo", "family_name": "Ray"}, "Bo Ray"),
        ("person.email.endsWith('@acme.example')", {"email": "bo@acme.example"}, True),
    ],
)
def test_expression_is_evaluated(source: str, person: dict[str, Any], value: object) -> None:
    """Fields, operators and methods of CEL work; a field that is not known is null."""
    assert compile_expression(source).value(NOBODY | person) == value


def test_fields_read_are_known() -> None:
    """What an expression reads can be told without running it; names inside texts are not read."""
    expression = compile_expression("person . title == 'person.email' || person.custom.desk == \"x\" ")

    assert expression.fields == {"title", "custom"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("person.titel == 'x'", "person has no field 'titel'"),
        ("people.title == 'x'", "people"),
        ("person.title.startWith('x')", "startWith"),
        ("person.title ==", "."),
        ("", "."),
        ("'" + "x" * EXPRESSION_CHARS_MAX + "'", "longer than"),
    ],
)
def test_faulty_expression_is_refused_at_the_start(source: str, says: str) -> None:
    """A misspelt field, name or function is found when it is read, not when the first person joins."""
    with pytest.raises(ValueError, match=says):
        compile_expression(source)


def test_person_that_does_not_fit_is_the_operators_to_mend() -> None:
    """An expression that cannot be evaluated for somebody is Refused, without a personal value in the message."""
    expression = compile_expression("person.given_name + person.family_name")

    with pytest.raises(Refused) as refused:
        expression.value(NOBODY | {"given_name": "Bo"})

    assert refused.value.reason == "expression"
    assert "'Bo'" not in refused.value.message
