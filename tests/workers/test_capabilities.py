"""What a target can: read from its own documents, whatever they hold, and merged with adapter and configuration."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.paths import parse_path
from lifecycle.target import Profile
from tests.workers.stories import patiently
from workers.resource import plain
from workers.scim.capabilities import (
    BULK_BYTES,
    BULK_OPERATIONS,
    PAGE_SIZE,
    Capabilities,
    Told,
    merged,
    read_config,
)
from workers.scim.schema import Attribute, read_schema

BOOK = {
    "patch": {"supported": True},
    "bulk": {"supported": True, "maxOperations": 50, "maxPayloadSize": 9_000},
    "filter": {"supported": True, "maxResults": 20},
    "etag": {"supported": True},
    "pagination": {"cursor": True, "maxPageSize": 10},
}
DISCOVERS = Profile(patch="discover", etag="discover", bulk="discover", filter="discover", cursor="discover")


def test_config_is_read_by_the_book() -> None:
    """RFC 7643 section 5, and the pagination of RFC 9865."""
    assert read_config(BOOK) == Told(
        patch=True,
        etag=True,
        bulk=True,
        bulk_operations_max=50,
        bulk_bytes_max=9_000,
        filter=True,
        cursor=True,
        page_size_max=10,
    )


def test_config_is_read_in_any_letter_case() -> None:
    """Names compare without case, and booleans come as texts too."""
    told = read_config({"PATCH": {"Supported": "False"}, "eTag": {"SUPPORTED": "true"}})

    assert (told.patch, told.etag, told.filter) == (False, True, None)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"patch": True, "bulk": [], "filter": None, "etag": "yes", "pagination": 5},
        {"patch": {"supported": "maybe"}, "bulk": {"maxOperations": "9", "maxPayloadSize": -1}},
        {"filter": {"maxResults": 0}, "pagination": {"maxPageSize": True, "cursor": 1}, "etag": {"supported": None}},
        {"bulk": {"maxOperations": 10**30}},
    ],
    ids=repr,
)
def test_config_that_is_odd_tells_nothing(document: dict[str, Any]) -> None:
    """What cannot be read is not told; nothing fails for it."""
    assert read_config(document) == Told()


def test_target_is_believed_where_the_adapter_says_so() -> None:
    """The adapter's word stands, the target's where it is to be discovered."""
    told = read_config(BOOK)

    nothing, all_of_it = merged(Profile(), told, Profile()), merged(DISCOVERS, told, Profile())

    assert nothing == Capabilities(page_size=10)
    assert all_of_it == Capabilities(etag=True, cursor=True, bulk_operations_max=50, bulk_bytes_max=9_000, page_size=10)


def test_configuration_has_the_last_word() -> None:
    """It overrides adapter and target, and may also say to believe the target."""
    told = read_config(BOOK)
    section = Profile(patch=False, etag=False, bulk=False, cursor="discover", page_size=500, find_by=["userName"])
    adapter = Profile(patch=True, etag="discover", bulk=True, cursor=False, page_size=25, lag_seconds=9)

    can = merged(adapter, told, section)

    assert (can.patch, can.etag, can.cursor, can.bulk_operations_max) == (False, False, True, 0)
    assert (can.page_size, can.find_by, can.lag_seconds) == (500, ("userName",), 9)


def test_target_that_says_nothing_has_the_defaults() -> None:
    """Discovered or not; an adapter's own page size is not made smaller by what is not known."""
    assert merged(DISCOVERS, Told(), Profile()) == Capabilities()
    assert merged(Profile(page_size=25), Told(page_size_max=10), Profile()).page_size == 25
    assert merged(Profile(), Told(page_size_max=9_999), Profile()).page_size == PAGE_SIZE


def test_bulk_that_is_insisted_on_has_limits_of_its_own() -> None:
    """Where the target does not tell them."""
    can = merged(Profile(), Told(), Profile(bulk=True))

    assert (can.bulk_operations_max, can.bulk_bytes_max) == (BULK_OPERATIONS, BULK_BYTES)


@pytest.mark.parametrize("name", sorted(Profile.model_fields.keys() - {"discovery", "bulk"}))
def test_every_field_of_a_profile_reaches_the_capabilities(name: str) -> None:
    """A field that is added to the one and forgotten in the other would be a setting without effect."""
    values: dict[str, Any] = {"find_by": ["userName"], "page_size": 7, "member_remove": "put"}
    values |= {"member_batch": 7, "lag_seconds": 7, "operations_max": 7}
    default = getattr(Capabilities(), name)
    value = values.get(name, default is False)

    found = getattr(merged(Profile(), Told(), Profile(**{name: value})), name)

    assert found == (tuple(value) if isinstance(value, list) else value)
    assert found != default


# ---- schemas


CORE = "urn:ietf:params:scim:schemas:core:2.0:User"


def test_schema_is_read_by_the_book() -> None:
    """RFC 7643 section 7: defaults where nothing is said, sub-attributes one level deep, names in any case."""
    emails = {
        "Name": "emails",
        "type": "Complex",
        "multiValued": "true",
        "subAttributes": [{"name": "Type", "canonicalValues": ["work"], "subAttributes": [{"name": "x"}]}],
    }
    found = read_schema([{"ID": CORE.upper(), "attributes": [emails, {"name": "title", "maxLength": 9}]}])

    assert found.at(plain("TITLE")) == Attribute("title", chars_max=9)
    assert found.at(parse_path('emails[type eq "work"].type')) == Attribute("Type", canonical=("work",))
    holder = found.holder(parse_path('emails[type eq "work"].value'))
    assert holder is not None
    assert (holder.type, holder.multi_valued) == ("complex", True)
    assert found.at(parse_path('emails[type eq "work"].value')) is None


def test_types_and_mutability_are_spelled_as_in_the_rfc() -> None:
    """In any letter case; a word that it does not have is kept, and nothing is made of it."""
    said = [{"name": "a", "type": "DATETIME", "mutability": "readonly"}, {"name": "b", "type": "uuid", "mutability": 5}]

    found = read_schema([{"id": CORE, "attributes": said}])

    assert found.at(plain("a")) == Attribute("a", type="dateTime", mutability="readOnly")
    assert found.at(plain("b")) == Attribute("b", type="uuid")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "name", "attributes", "subAttributes", "canonicalValues", "supported", "bulk", "patch"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@patiently
@given(st.dictionaries(st.sampled_from(["id", "attributes", "patch", "bulk", "filter", "pagination"]), json_values))
def test_any_document_is_survived(document: dict[str, Any]) -> None:
    """A stranger's document is read as far as it can be."""
    told = Told(**{**vars(read_config(document)), "schema": read_schema([document])})

    assert isinstance(merged(DISCOVERS, told, Profile()), Capabilities)
