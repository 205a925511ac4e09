"""What only Google Workspace has: aliases, a quota told by 403, a key file, two ways not to work there."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from lifecycle.errors import Misconfigured, Postponed
from tests.directories.google_api import GoogleApi
from tests.workers.directories.conftest import Open, Vendor
from workers.directories.base import Subject


@pytest.fixture
def google(make_vendor: Callable[[str], Vendor]) -> Vendor:
    """Give a customer of one person."""
    made = make_vendor("google")
    made.service.add(made.someone(1))
    return made


def test_user_is_a_person(google: Vendor, open_one: Open) -> None:
    """The primary organization counts, wherever it stands."""
    more: dict[str, Any] = {
        "name": {"givenName": "Bo", "familyName": "Ray", "fullName": "Bo Ray"},
        "organizations": [
            {"title": "Volunteer"},
            {
                "title": "Agent",
                "department": "Support",
                "costCenter": "4711",
                "description": "Temp",
                "primary": True,
            },
        ],
        "externalIds": [{"type": "custom", "value": "x"}, {"type": "organization", "value": "1042"}],
        "relations": [{"type": "manager", "value": "kim@acme.example"}],
        "phones": [{"type": "home", "value": "+1"}, {"type": "work", "value": "+2"}],
        "languages": [{"languageCode": "de"}, {"languageCode": "en", "preference": "preferred"}],
    }
    google.service.add(google.someone(1, more=more))

    (found,) = open_one(google).find(Subject(google.ids(1)))

    told = found.profile.told()
    assert (told["title"], told["department"], told["cost_center"], told["user_type"]) == (
        "Agent",
        "Support",
        "4711",
        "Temp",
    )
    assert (told["employee_number"], told["manager"], told["phone"]) == ("1042", "kim@acme.example", "+2")
    assert (told["display_name"], told["locale"], told["user_name"]) == ("Bo Ray", "en", "person-1@acme.example")


@pytest.mark.parametrize("state", ["suspended", "archived"])
def test_either_state_means_that_somebody_left(google: Vendor, open_one: Open, state: str) -> None:
    """Archived people keep their mail and may not sign in."""
    google.service.add(google.someone(1, more={state: True}))

    (found,) = open_one(google).find(Subject(google.ids(1)))

    assert found.works_here is False


def test_alias_is_nobodys_name(google: Vendor, open_one: Open) -> None:
    """Google answers whom it belongs to, who is not whoever was asked for."""
    google.service.add(google.someone(1, more={"aliases": ["support@acme.example"]}))

    assert list(open_one(google).find(Subject(email="support@acme.example"))) == []


def test_quota_is_told_by_a_403(google: Vendor, open_one: Open) -> None:
    """Which is no missing permission: nothing is renewed, and time will mend it."""
    service = cast("GoogleApi", google.service)
    service.next(service.quota())

    with pytest.raises(Postponed) as caught:
        open_one(google).find(Subject(google.ids(1)))

    assert (caught.value.reason, service.given) == ("busy", 1)


def test_deleted_are_read_over_pages(google: Vendor, open_one: Open) -> None:
    """Google has no way to ask for one of them."""
    google.service.add(*(google.someone(number, is_deleted=True) for number in range(2, 9)))
    google.service.page = 3

    (found,) = open_one(google).find(Subject(google.ids(8)))

    assert (found.profile.email, found.works_here) == ("person-8@acme.example", False)


@pytest.mark.parametrize("key", ["no JSON", "[]", '{"private_key": "very-secret"}', '{"private_key": 7}'])
def test_key_file_that_is_none(google: Vendor, open_one: Open, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is found at the start, and shows nothing of it."""
    monkeypatch.setenv("DIRECTORY_SECRET", key)

    with pytest.raises(Misconfigured) as caught:
        open_one(google)

    assert "is no service account's key" in caught.value.message
    assert "very-secret" not in caught.value.message


def test_either_a_customer_or_a_domain(google: Vendor, open_one: Open) -> None:
    """Both would be one too many."""
    with pytest.raises(Misconfigured, match="either customer or domain"):
        open_one(google, customer="C01", domain="acme.example")
