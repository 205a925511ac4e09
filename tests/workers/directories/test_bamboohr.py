"""What only BambooHR has: a key that may not see all, an employee 0, addresses that are asked for all at once."""

from collections.abc import Callable
from typing import cast

import pytest

from lifecycle.errors import Postponed, Refused
from tests.directories.bamboohr_api import OWNER, BambooApi
from tests.directories.stand_in import Told
from tests.workers.directories.conftest import Open, Vendor
from workers.directories import bamboohr
from workers.directories.base import Subject


@pytest.fixture
def bamboo(make_vendor: Callable[[str], Vendor]) -> Vendor:
    """Give a company of two people."""
    made = make_vendor("bamboohr")
    made.service.add(made.someone(1), made.someone(2))
    return made


def test_employee_is_a_person(bamboo: Vendor, open_one: Open) -> None:
    """A date of zeros is none."""
    more = {"firstName": "Bo", "department": "Support", "supervisorEmail": "kim@acme.example", "customDesk": "3"}
    bamboo.service.add(bamboo.someone(1, more=more))

    (found,) = open_one(bamboo, attributes={"custom.desk": "customDesk"}).find(Subject(bamboo.ids(1)))

    told = found.profile.told()
    assert (told["given_name"], told["department"], told["manager"]) == ("Bo", "Support", "kim@acme.example")
    assert (told["start_at"], told["end_at"], told["custom"]) == ("2024-01-08", None, {"desk": "3"})


def test_field_that_may_not_be_seen_clears_nothing(bamboo: Vendor, open_one: Open) -> None:
    """It is left out of the answer, where one that is empty is null."""
    cast("BambooApi", bamboo.service).unseen = {"jobTitle", "department"}

    (found,) = open_one(bamboo).find(Subject(bamboo.ids(1)))

    told = found.profile.told()
    assert not {"title", "department"} & told.keys()
    assert told["division"] is None


def test_status_that_may_not_be_seen_is_said_to_be_so(bamboo: Vendor, open_one: Open) -> None:
    """Whoever set the key up has to act."""
    cast("BambooApi", bamboo.service).unseen = {"status"}

    with pytest.raises(Refused, match="record 1001: a status that the key may not see"):
        open_one(bamboo).find(Subject(bamboo.ids(1)))


def test_status_in_other_words_is_not_guessed(bamboo: Vendor, open_one: Open) -> None:
    """There are two."""
    bamboo.service.add(bamboo.someone(1, more={"status": "On leave"}))

    with pytest.raises(Refused) as caught:
        open_one(bamboo).find(Subject(bamboo.ids(1)))

    assert caught.value.reason == "status_unknown"


def test_employee_0_is_nobody(bamboo: Vendor, open_one: Open) -> None:
    """It would be whoever the key belongs to."""
    bamboo.service.add(bamboo.someone(0, id=OWNER))
    directory = open_one(bamboo)

    assert [list(directory.find(Subject(external_id=name))) for name in ("0", "00")] == [[], []]


def test_addresses_are_asked_for_once(bamboo: Vendor, open_one: Open) -> None:
    """A storm of look-ups by address is one report, and each is read anew by its id."""
    directory = open_one(bamboo)

    found = [directory.find(Subject(email=f"person-{number}@acme.example"))[0] for number in (1, 2, 1)]

    assert [each.profile.external_id for each in found] == [bamboo.ids(1), bamboo.ids(2), bamboo.ids(1)]
    assert [call.partition(" ")[0] for call in bamboo.service.calls] == ["POST", "GET", "GET", "GET"]


def test_address_that_was_given_meanwhile_is_found(
    bamboo: Vendor, open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom nobody had is asked for again soon; whoever has another address by now is not found by the old one."""
    monkeypatch.setattr(bamboohr, "NEW_SECONDS", -1.0)
    directory = open_one(bamboo)
    directory.find(Subject(email="person-1@acme.example"))
    bamboo.service.add(bamboo.someone(1, email="bo@acme.example"))

    old, new = directory.find(Subject(email="person-1@acme.example")), directory.find(Subject(email="bo@acme.example"))

    assert (list(old), len(new)) == ([], 1)


def test_report_of_nobody_is_not_believed(bamboo: Vendor, open_one: Open) -> None:
    """An empty company is a key that sees nobody, or a fault."""
    bamboo.service.next(Told(200, {"employees": []}))

    with pytest.raises(Postponed):
        list(open_one(bamboo).list())
