"""E9 to E12: what a create may be answered, what stands in its way, and names that are free again."""

import json

import httpx
import pytest

from lifecycle.errors import Held
from tests.checklist.encounter import Meet, Proceed, bo, on
from tests.workers.fake_scim import Quirk, Said, reply
from tests.workers.stories import BO


@pytest.mark.parametrize(("kept", "dropped"), [("body", "location"), ("location", "id")])
def test_e9_created_account_is_known_by_its_id_or_by_its_location(kept: str, dropped: str, meet: Meet) -> None:
    """RFC 7644 section 3.3: 201 with an id; ``Location`` may be missing, and is enough where the body says less."""

    def terse(said: Said, proceed: Proceed) -> httpx.Response:
        answer = proceed()
        if said.method != "POST":
            return answer
        body = {name: value for name, value in json.loads(answer.content).items() if name not in {"meta", dropped}}
        headers = {"location": answer.headers["location"]} if kept == "location" else {}
        return reply(answer.status_code, body, headers)

    crm = meet(way=terse)

    agreement = crm.agree(bo())

    assert agreement.account is not None
    assert agreement.account.id == crm.fake.user(BO["email"])["id"]
    assert crm.methods() == ["GET", "POST"]


@pytest.mark.parametrize(
    "quirks",
    [(), (Quirk.BARE_CONFLICT,), (Quirk.DUPLICATE_IS_400,), (Quirk.DUPLICATE_IS_500,)],
    ids=["409 uniqueness", "409 alone", "400", "500"],
)
def test_e10_conflict_of_a_create_leads_to_the_account_that_is_there(quirks: tuple[Quirk, ...], meet: Meet) -> None:
    """RFC 7644 section 3.3: a conflict is a branch: look, verify, change; no second account, no second POST."""
    crm = meet(*quirks)
    there = crm.fake.add("Users", userName=BO["email"], active=False)

    agreement = crm.agree(bo(title="Lead"))

    assert crm.methods() == ["GET", "POST", "GET", "PATCH"]
    assert agreement.account is not None
    assert agreement.account.id == there["id"]
    (shown,) = crm.fake.users()
    assert (shown["active"], shown["externalId"], shown["title"]) == (True, "E1042", "Lead")


@pytest.mark.parametrize("status", ["active", "left"])
def test_e11_two_accounts_of_one_external_id_are_held_for_a_human(status: str, meet: Meet) -> None:
    """RFC 7643 section 3.1: externalId is not unique; of two hits none is the first, and nobody is changed."""
    crm = meet()
    for name in ("bo.one", "bo.two"):
        crm.fake.add("Users", userName=name, externalId="E1042", active=True)
    before = crm.fake.users()

    with pytest.raises(Held) as caught:
        crm.agree(bo(status))

    assert caught.value.reason == "several_accounts"
    assert all(user["id"] in caught.value.message for user in before)
    assert crm.fake.users() == before


def test_e12_name_of_a_deleted_account_is_created_again(meet: Meet) -> None:
    """RFC 7644 section 3.6: a deleted resource is no conflict, so the account that we knew is made anew."""
    crm = meet()
    crm.agree(bo())
    first = crm.account
    crm.fake.held["Users"].clear()

    crm.agree(bo())

    assert first is not None
    assert crm.account is not None
    assert crm.account.id == crm.fake.user(BO["email"])["id"] != first.id
    assert crm.lines()[0] == f"GET /Users/{first.id}"
    assert crm.lines()[-1] == "POST /Users"


def test_e12_name_that_a_deleted_account_still_holds_is_revived(meet: Meet) -> None:
    """Where the old record still takes the name, and no filter shows it, the conflict leads to it, under its old id."""
    crm = meet(way=on("GET /Users?filter=", lambda: reply(200, {"totalResults": 0, "Resources": []})))
    there = crm.fake.add("Users", userName=BO["email"], active=False, externalId="E1042")

    agreement = crm.agree(bo(title="Lead"))

    assert agreement.account is not None
    assert agreement.account.id == there["id"]
    (shown,) = crm.fake.users()
    assert (shown["active"], shown["title"]) == (True, "Lead")


def test_e12_restored_account_is_given_again_what_it_lost(meet: Meet) -> None:
    """Genesys Cloud answers a create with the account that was deleted, under its old id and with less than asked."""
    crm = meet(adapter="genesys_cloud")
    crm.settled(displayName="Old", title="Old")
    old = crm.fake.held["Users"].pop(str(crm.account.id if crm.account else ""))

    def restores(said: Said, proceed: Proceed) -> httpx.Response:
        if said.method == "POST":
            crm.fake.held["Users"][str(old["id"])] = old
            return reply(201, old)
        return proceed()

    crm.way, crm.account = restores, None

    crm.agree(bo(display_name="Bo Ray", title="Lead"))

    (shown,) = crm.fake.users()
    assert (shown["id"], shown["displayName"], shown["title"]) == (old["id"], "Bo Ray", "Lead")
