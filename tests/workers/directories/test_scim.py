"""What only a SCIM provider has: filters that it may not know, two ids, a bearer of either kind."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from lifecycle.errors import Misconfigured, Refused
from tests.directories.scim_api import ScimApi
from tests.directories.stand_in import Asked, Told
from tests.workers.directories.conftest import Open, Vendor
from workers.directories.base import Subject

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@pytest.fixture
def scim(make_vendor: Callable[[str], Vendor]) -> Vendor:
    """Give a provider of five people."""
    made = make_vendor("scim")
    made.service.add(*(made.someone(number) for number in range(1, 6)))
    return made


def test_resource_is_a_person(scim: Vendor, open_one: Open) -> None:
    """What it does not have at all clears nothing."""
    more: dict[str, Any] = {
        "emails": [{"value": "home@x.example", "type": "home"}, {"value": "bo@acme.example", "type": "work"}],
        "phoneNumbers": [{"value": "+1", "type": "home"}, {"value": "+2", "type": "work"}],
        "name": {"givenName": "Bo", "formatted": "Bo Ray"},
        ENTERPRISE: {"department": "Support", "manager": {"value": "1007"}},
        "active": "True",
    }
    scim.service.add(scim.someone(1, more=more, groups=["Agents"]))

    (found,) = open_one(scim).find(Subject(scim.ids(1)))

    told = found.profile.told()
    assert (told["email"], told["phone"], told["display_name"]) == ("bo@acme.example", "+2", "Bo Ray")
    assert (told["department"], told["manager"], told["groups"]) == ("Support", "1007", ["Agents"])
    assert (found.works_here, "locale" in told) == (True, False)


def test_error_of_a_list_names_nobody(scim: Vendor, open_one: Open) -> None:
    """It is made where nobody knows who was asked for."""

    def refuses(asked: Asked) -> Told:
        return scim.service.problem(400, f"{asked.query} ada.lee%40acme.example {asked.headers['authorization']}")

    scim.service.next(refuses, times=5)

    with pytest.raises(Refused) as caught:
        open_one(scim).find(Subject(user_name="ada.lee@acme.example"))

    assert caught.value.message.startswith("400")
    assert not [each for each in ("ada", "acme", scim.secret) if each in caught.value.message]


@pytest.mark.parametrize("filters", ["ignored", "refused"])
def test_filter_that_is_not_known_costs_only_requests(scim: Vendor, open_one: Open, filters: str) -> None:
    """Everybody is read, and whoever was asked for is found among them; what is wrong with others does not count."""
    service = cast("ScimApi", scim.service)
    service.filters, service.page = filters, 2
    service.add(scim.someone(2, more={"active": None}))

    (found,) = open_one(scim).find(Subject(user_name="login-5@acme.example"))

    assert found.profile.external_id == scim.ids(5)
    assert list(open_one(scim).find(Subject(user_name="login-9@acme.example"))) == []


def test_id_of_somebody_else_may_be_the_one(scim: Vendor, open_one: Open) -> None:
    """Where notices name ``externalId``, that is what a person is looked for by."""
    scim.service.add(scim.someone(1, more={"externalId": "E1042"}), scim.someone(2, more={"externalId": "e1042"}))
    directory = open_one(scim, external_id="externalId")

    (found,) = directory.find(Subject("E1042"))

    assert (found.profile.external_id, found.profile.user_name) == ("E1042", "login-1@acme.example")
    with pytest.raises(Refused, match="a record has no externalId"):
        directory.find(Subject(user_name="login-3@acme.example"))


def test_resource_that_does_not_say_is_not_guessed(scim: Vendor, open_one: Open) -> None:
    """``active`` may be left out, and no RFC says what that means."""
    scim.service.add(scim.someone(1, more={"active": None}))

    with pytest.raises(Refused) as caught:
        open_one(scim).find(Subject(scim.ids(1)))

    assert caught.value.reason == "status_unknown"


def test_bearer_is_fetched_by_client_credentials(scim: Vendor, open_one: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a target's is."""
    monkeypatch.setattr(ScimApi, "opens", lambda service, header: header.removeprefix("Bearer ") in service.tokens)
    monkeypatch.setattr(ScimApi, "refuses", lambda _, form: "" if form["scope"] == "scim:read" else "no scope")
    keys = {"token_url": f"{scim.service.url}/token", "client_id": "env:DIRECTORY_CLIENT", "scopes": ["scim:read"]}
    section = {"client_secret": "env:DIRECTORY_SECRET", "token": None}

    (found,) = open_one(scim, **keys, **section).find(Subject(scim.ids(1)))

    assert (found.profile.external_id, scim.service.given) == (scim.ids(1), 1)


def test_either_a_token_or_a_way_to_get_one(scim: Vendor, open_one: Open) -> None:
    """Both would be one too many."""
    with pytest.raises(Misconfigured, match="either token, or token_url with client_id and client_secret"):
        open_one(scim, client_id="env:DIRECTORY_CLIENT")
