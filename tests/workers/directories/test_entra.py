"""What only Entra ID has: the deleted under another name, memberships that are no groups, copies that lag."""

from collections.abc import Callable
from typing import cast

import pytest

from lifecycle.errors import Refused
from tests.directories.graph_api import GraphApi
from tests.directories.stand_in import Told
from tests.workers.directories.conftest import Open, Vendor
from tests.workers.directories.test_every_directory import Elsewhere
from workers.directories.base import Subject


@pytest.fixture
def entra(make_vendor: Callable[[str], Vendor]) -> Vendor:
    """Give a tenant of one person."""
    made = make_vendor("entra")
    made.service.add(made.someone(1))
    return made


def test_user_is_a_person(entra: Vendor, open_one: Open) -> None:
    """Only what is read is asked for: Graph gives a few properties where nothing is named."""
    more = {
        "employeeOrgData": {"division": "EMEA", "costCenter": "4711"},
        "businessPhones": ["+1"],
        "employeeType": "Contractor",
        "userType": "Member",
        "employeeHireDate": "2026-03-02T08:00:00Z",
        "employeeLeaveDateTime": "2026-06-30T17:00:00Z",
        "manager": entra.ids(7),
        "onPremisesExtensionAttributes": {"extensionAttribute1": "Dublin"},
    }
    entra.service.add(entra.someone(1, more=more))
    own = {"custom.site": "onPremisesExtensionAttributes.extensionAttribute1"}

    (found,) = open_one(entra, attributes=own, leave_date=True).find(Subject(entra.ids(1)))
    (plain,) = open_one(entra).find(Subject(user_name="login-1@acme.example"))

    told = found.profile.told()
    assert (told["division"], told["cost_center"], told["phone"], told["user_type"]) == (
        "EMEA",
        "4711",
        "+1",
        "Contractor",
    )
    assert (told["manager"], told["custom"], told["end_at"]) == (
        entra.ids(7),
        {"site": "Dublin"},
        "2026-06-30T17:00:00Z",
    )
    assert (plain.profile.manager, plain.profile.start_at) == (entra.ids(7), "2026-03-02T08:00:00Z")
    assert "end_at" not in plain.profile.told()


def test_memberships_that_are_no_groups_are_left_out(entra: Vendor, open_one: Open) -> None:
    """A role of the directory is none, nor is an administrative unit."""
    service = cast("GraphApi", entra.service)
    service.kinds = {"Global Reader": "directoryRole", "Ireland": "administrativeUnit"}
    service.add(entra.someone(1, groups=["Agents", "Global Reader", "Ireland"]))

    (found,) = open_one(entra).find(Subject(entra.ids(1)))

    assert found.profile.groups == ["Agents"]


def test_groups_without_names_are_a_permission_that_is_missing(entra: Vendor, open_one: Open) -> None:
    """Else somebody would seem to be in none."""
    service = cast("GraphApi", entra.service)
    service.shows_names = False
    service.add(entra.someone(1, groups=["Agents"]))

    with pytest.raises(Refused) as caught:
        open_one(entra).find(Subject(entra.ids(1)))

    assert caught.value.reason == "credentials"


def test_deleted_person_has_the_names_they_had(entra: Vendor, open_one: Open) -> None:
    """Entra puts the id before the user principal name; what is not told of the deleted clears nothing."""
    entra.service.add(entra.someone(1, is_deleted=True, more={"manager": entra.ids(7)}))
    directory = open_one(entra)

    for subject in (Subject(entra.ids(1)), Subject(user_name="login-1@acme.example")):
        (found,) = directory.find(subject)

        assert (found.profile.user_name, found.works_here) == ("login-1@acme.example", False)
        assert "manager" not in found.profile.told()


def test_name_that_ends_like_a_deleted_ones_is_not_theirs(entra: Vendor, open_one: Open) -> None:
    """The look among the deleted is by the ending alone."""
    entra.service.add(entra.someone(1, is_deleted=True))

    assert list(open_one(entra).find(Subject(user_name="1@acme.example"))) == []


def test_who_has_the_name_now_comes_before_who_was_deleted(entra: Vendor, open_one: Open) -> None:
    """Names are given to others."""
    entra.service.add(entra.someone(1, is_deleted=True), entra.someone(2, email="person-1@acme.example"))

    (found,) = open_one(entra).find(Subject(email="person-1@acme.example"))

    assert (found.profile.external_id, found.works_here) == (entra.ids(2), True)


def test_copy_that_lags_shows_what_was(entra: Vendor, open_one: Open) -> None:
    """Which is what is known: a later look mends it, and nobody is taken for a leaver for not being shown yet."""
    entra.service.freeze()
    entra.service.add(entra.someone(1, works_here=False), entra.someone(2))
    directory = open_one(entra)

    (before,), missing = directory.find(Subject(entra.ids(1))), list(directory.find(Subject(entra.ids(2))))
    entra.service.thaw()
    (after,) = directory.find(Subject(entra.ids(1)))

    assert (before.works_here, missing, after.works_here, directory.lags) == (True, [], False, True)


def test_account_that_does_not_say_is_not_guessed(entra: Vendor, open_one: Open) -> None:
    """A null is neither."""
    entra.service.add(entra.someone(1, more={"accountEnabled": None}))

    with pytest.raises(Refused) as caught:
        open_one(entra).find(Subject(entra.ids(1)))

    assert caught.value.reason == "status_unknown"


def test_next_page_elsewhere_is_refused(entra: Vendor, open_one: Open) -> None:
    """The bearer goes to Graph alone."""
    with Elsewhere() as elsewhere:
        body = {"value": [], "@odata.nextLink": f"{elsewhere.url}/v1.0/users?$skiptoken=1"}
        entra.service.next(Told(200, body))

        with pytest.raises(Refused, match="another host"):
            list(open_one(entra).list())

        assert elsewhere.asked == []


def test_secret_that_is_not_taken_is_said_in_the_words_of_entra(entra: Vendor, open_one: Open) -> None:
    """And the secret is not among them."""
    service = cast("GraphApi", entra.service)
    service.refuses = lambda form: f"AADSTS7000215: {form['client_secret']} is wrong"  # type: ignore[method-assign]

    with pytest.raises(Refused) as caught:
        open_one(entra).find(Subject(entra.ids(1)))

    assert (caught.value.reason, caught.value.message) == ("credentials", "401 AADSTS7000215: ... is wrong")
