"""What only Google Workspace has: aliases, a quota told by 403, a key file, two ways not to work there."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from lifecycle.errors import Misconfigured, Postponed
from tests.directories.google_api import GoogleApi
from tests.workers.directories.conftest import Open, Vendor
from workers.directories.base import Subject
from workers.directories.google import DELETED_PAGES_MAX

USERS = "/admin/directory/v1/users"


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


def test_deleted_are_read_up_to_the_one(google: Vendor, open_one: Open) -> None:
    """However many there are: an id is one person's."""
    google.service.add(*(google.someone(number, is_deleted=True) for number in range(2, 40)))
    google.service.page = 3

    (found,) = open_one(google).find(Subject(google.ids(3)))

    assert (found.profile.email, found.works_here) == ("person-3@acme.example", False)
    assert google.service.calls == [f"GET {USERS}/{google.ids(3)}", f"GET {USERS}"]


def test_deleted_of_an_address_are_all_found(google: Vendor, open_one: Open) -> None:
    """One may have been given to several, one after the other."""
    people = [google.someone(number, is_deleted=True) for number in range(2, 9)]
    for place in (0, 6):
        people[place].email = "shared@acme.example"
    google.service.add(*people)
    google.service.page = 3

    assert len(open_one(google).find(Subject(email="shared@acme.example"))) == 2


def test_deleted_past_the_last_page_are_nobody(google: Vendor, open_one: Open) -> None:
    """Which is noted: a person who is in no list is no fault of the directory's."""
    google.service.add(*(google.someone(number, is_deleted=True) for number in range(2, 40)))
    google.service.page = 3
    last = 1 + 3 * DELETED_PAGES_MAX

    with capture_logs() as lines:
        found = [open_one(google).find(Subject(google.ids(number))) for number in (last, last + 1)]
        (shared,) = open_one(google).find(Subject(email=google.someone(2).email))

    assert [len(each) for each in found] == [1, 0]
    assert shared.profile.external_id == google.ids(2)
    assert [(line["event"], line["found"]) for line in lines] == [
        ("google.deleted_not_read", 0),
        ("google.deleted_not_read", 1),
    ]


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
