"""Values as the target's schema wants them, refused before they are sent when they cannot be."""

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import Refused
from lifecycle.paths import parse_path
from tests.workers.stories import patiently
from workers.resource import entry_path, plain
from workers.scim.casting import CASTS, cast, check_writable
from workers.scim.schema import Schema, read_schema

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ACME = "urn:acme:2.0:User"


def schema(**attributes: Any) -> Schema:  # noqa: ANN401 - JSON
    """Read a schema; ``schema(title={"type": "string"})``."""
    return read_schema([{"id": CORE, "attributes": [{"name": name, **said} for name, said in attributes.items()]}])


PHONES = {
    "type": "complex",
    "multiValued": True,
    "subAttributes": [
        {"name": "type", "canonicalValues": ["work", "work2", "mobile"]},
        {"name": "value", "maxLength": 5},
        {"name": "primary", "type": "boolean"},
    ],
}

FITTING = [
    ("boolean", True, True),
    ("boolean", "true", True),
    ("boolean", " False ", False),
    ("integer", 5, 5),
    ("integer", 5.0, 5),
    ("integer", "-12", -12),
    ("decimal", 5, 5),
    ("decimal", 4.5, 4.5),
    ("decimal", "4.5", 4.5),
    ("decimal", "1e3", 1000.0),
    ("dateTime", "2026-03-02T09:00:00Z", "2026-03-02T09:00:00Z"),
    ("dateTime", "2026-03-02T09:00:00.1234567+01:00", "2026-03-02T09:00:00.1234567+01:00"),
    ("dateTime", "2026-03-02T09:00:00", "2026-03-02T09:00:00"),
    ("string", "x", "x"),
    ("string", 7, "7"),
    ("string", 7.0, "7"),
    ("string", 7.5, "7.5"),
    ("reference", "https://acme.example/a", "https://acme.example/a"),
    ("STRING", 7, "7"),
    ("binary", "eA==", "eA=="),
    ("complex", {"a": 1}, {"a": 1}),
    ("of another server", True, True),
]


@pytest.mark.parametrize(("kind", "value", "expected"), FITTING, ids=repr)
def test_value_that_fits_is_cast(kind: str, value: object, expected: object) -> None:
    """Texts become what they say, numbers become texts; what the RFC does not know is left alone."""
    found = cast(schema(title={"type": kind}), parse_path("title"), value)

    assert (found, type(found)) == (expected, type(expected))


UNFIT = [
    ("boolean", "yes"),
    ("boolean", 1),
    ("boolean", ""),
    ("boolean", {}),
    ("integer", True),
    ("integer", 5.5),
    ("integer", "5.5"),
    ("integer", "٣"),
    ("integer", "1_000"),
    ("integer", "9" * 30),
    ("decimal", True),
    ("decimal", float("nan")),
    ("decimal", float("inf")),
    ("decimal", "inf"),
    ("dateTime", "2026-03-02"),
    ("dateTime", "2026-13-02T09:00:00Z"),
    ("dateTime", "yesterday"),
    ("dateTime", 5),
    ("string", True),
    ("string", False),
    ("string", {"a": "b"}),
    ("reference", True),
    ("complex", "x"),
    *((kind, ["x"]) for kind in ("boolean", "integer", "decimal", "dateTime", "string", "reference", "complex")),
]


@pytest.mark.parametrize(("kind", "value"), UNFIT, ids=repr)
def test_value_that_cannot_fit_is_refused(kind: str, value: object) -> None:
    """A boolean is never a text and a list never one value; the refusal names the path and no value."""
    with pytest.raises(Refused) as caught:
        cast(schema(title={"type": kind}), parse_path("title"), value)

    assert caught.value.reason == "value"
    assert caught.value.message.startswith("title: found ")
    assert "yesterday" not in caught.value.message


def test_nothing_is_left_as_it_is() -> None:
    """None clears, whatever the type; and where the target does not tell, any value goes."""
    told = schema(title={"type": "boolean", "mutability": "readOnly"})

    assert cast(told, parse_path("title"), None) is None
    assert cast(told, parse_path("nickName"), ["x", True]) == ["x", True]
    assert cast(told, parse_path(f"{ACME}:title"), "x") == "x"
    assert cast(Schema(), parse_path('phoneNumbers[type eq "work9"].value'), "x") == "x"


@pytest.mark.parametrize(
    ("exact", "value", "expected"),
    [(False, "full-time", "Full-Time"), (False, "Full-Time", "Full-Time"), (True, "Full-Time", "Full-Time")],
)
def test_canonical_value_takes_the_spelling_of_the_target(exact: bool, value: str, expected: str) -> None:
    """Else it would differ from what the target shows, and be written each time."""
    told = schema(userType={"canonicalValues": ["Full-Time", "Temp"], "caseExact": exact})

    assert cast(told, parse_path("userType"), value) == expected


@pytest.mark.parametrize(("exact", "value"), [(False, "guest"), (True, "full-time")])
def test_value_that_is_none_of_the_canonical_is_refused(exact: bool, value: str) -> None:
    """The refusal says what is allowed, and not what was found."""
    told = schema(userType={"canonicalValues": ["Full-Time", "Temp"], "caseExact": exact})

    with pytest.raises(Refused) as caught:
        cast(told, parse_path("userType"), value)

    assert "Full-Time, Temp" in caught.value.message
    assert value not in caught.value.message


def test_entry_of_a_type_that_is_not_there_is_refused() -> None:
    """The type of a value path is one of the target's, whatever its letter case; clearing refuses nothing."""
    told = schema(phoneNumbers=PHONES)

    assert cast(told, parse_path('phoneNumbers[type eq "Work2"].value'), "+1") == "+1"
    assert cast(told, parse_path('phoneNumbers[type eq "work9"].value'), None) is None
    with pytest.raises(Refused) as caught:
        cast(told, parse_path('phoneNumbers[type eq "work9"].value'), "+1")

    assert "work, work2, mobile" in caught.value.message


@pytest.mark.parametrize("name", ["maxLength", "max_length"])
def test_text_that_is_too_long_is_refused(name: str) -> None:
    """Where a length is declared; it says how long, and not what."""
    told = schema(title={name: 5})

    assert cast(told, parse_path("title"), "abcde") == "abcde"
    with pytest.raises(Refused) as caught:
        cast(told, parse_path("title"), "abcdef")

    assert caught.value.message == "title: found 6 characters, allowed are 5"


def test_list_is_cast_entry_by_entry() -> None:
    """Each sub-attribute by its own type; those that are not described are left; a lone value becomes a list of one."""
    told = schema(phoneNumbers=PHONES, tags={"multiValued": True})
    entries = [{"VALUE": 5, "primary": "true", "other": [1]}, {"value": None, "type": "MOBILE"}]

    assert cast(told, parse_path("phoneNumbers"), entries) == [
        {"VALUE": "5", "primary": True, "other": [1]},
        {"value": None, "type": "mobile"},
    ]
    assert cast(told, parse_path("tags"), [1, "b"]) == ["1", "b"]
    assert cast(told, parse_path("tags"), "a") == ["a"]
    for unfit in (["x"], [{"primary": "maybe"}], [{"value": "too long"}], [{"type": "fax"}]):
        with pytest.raises(Refused) as caught:
            cast(told, parse_path("phoneNumbers"), unfit)
        assert caught.value.message.startswith("phoneNumbers: ")


def test_extension_and_sub_attributes_are_cast_too() -> None:
    """Names compare without case, URNs too."""
    manager = {"name": "Manager", "type": "complex", "subAttributes": [{"name": "Grade", "type": "integer"}]}
    told = read_schema([{"id": ACME.upper(), "attributes": [manager]}])

    assert cast(told, parse_path(f"{ACME}:manager.grade"), "3") == 3
    assert cast(told, parse_path(f"{ACME}:manager"), {"grade": "3"}) == {"grade": 3}


@pytest.mark.parametrize(
    ("mutability", "create", "change"),
    [("readWrite", True, True), ("writeOnly", True, True), ("immutable", True, False), ("readOnly", False, False)],
)
def test_attribute_that_cannot_be_written_is_refused(mutability: str, create: bool, change: bool) -> None:
    """Nobody writes a readOnly one; an immutable one comes with the create; a part is locked with its holder."""
    whole, part = schema(title={"mutability": mutability}), {"name": "givenName", "mutability": mutability}
    inner = schema(name={"type": "complex", "subAttributes": [part]})
    outer = schema(name={"type": "complex", "mutability": mutability, "subAttributes": [{"name": "givenName"}]})

    cases = ((whole, "title"), (inner, "name.givenName"), (outer, "name.givenName"))
    for told, path in cases:
        for creating, taken in ((True, create), (False, change)):
            refusal: AbstractContextManager[object] = (
                nullcontext() if taken else pytest.raises(Refused, match=f"{path}: the target says")
            )
            with refusal:
                check_writable(told, parse_path(path), creating=creating)
    check_writable(Schema(), parse_path("title"), creating=False)


def test_what_is_always_ours_is_cast_like_the_rest() -> None:
    """No mapping may name them, but they have a schema too; a whole entry is no single value of it."""
    told = schema(active={"type": "boolean"}, phoneNumbers=PHONES)

    assert cast(told, plain("active"), "True") is True
    assert cast(told, entry_path(parse_path("phoneNumbers"), "type", "work"), {"value": 1}) == {"value": "1"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
JSON_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "decimal": (int, float),
    "dateTime": (str,),
    "string": (str,),
    "reference": (str,),
    "binary": (str,),
    "complex": (dict,),
}


@patiently
@given(st.sampled_from(sorted(CASTS)), st.booleans(), values)
def test_whatever_comes_has_the_declared_type_or_is_refused(kind: str, many: bool, value: object) -> None:
    """And what was cast once is left as it is the second time."""
    told, path = schema(title={"type": kind, "multiValued": many}), parse_path("title")

    try:
        found = cast(told, path, value)
    except Refused:
        return

    entries = found if many and found is not None else [found]
    assert isinstance(entries, list)
    assert all(each is None or type(each) in JSON_TYPES[kind] for each in entries)
    assert cast(told, path, found) == found
    json.dumps(found, allow_nan=kind == "complex")
