"""What holds for every directory that is asked over HTTP, whatever its service is."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest
from redis import Redis

from lifecycle.errors import GatepostError, Postponed, Refused
from lifecycle.event import PERSON_GROUPS_MAX
from tests.directories.stand_in import Asked, StandIn, Told
from tests.workers.directories.conftest import VENDORS, Open, Vendor
from workers import http
from workers.check.directory import ONE, UNREAD, look_at
from workers.directories import answers, api
from workers.directories.base import COPIES_LAG, Directory, Subject, the_one

# Whatever could end a filter, a path or a query, or be taken for somebody.
HOSTILE = (
    "' or 1 eq 1 or userPrincipalName eq '",
    '" or status eq "ACTIVE',
    '"',
    "\\",
    "'",
    "''",
    "\\' email=*",
    "*",
    "..",
    "../groups",
    "a/b",
    "me",
    "0",
    "-1",
    "directory",
    "$metadata",
    "?x=1#y",
    "%",
    "%2e%2e",
    "login-1",
    "\u0130\u0131",
    "x" * 256,
)


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest, make_vendor: Callable[[str], Vendor]) -> Vendor:
    """Give each vendor in turn, with three people."""
    made = make_vendor(request.param)
    made.service.add(*(made.someone(number) for number in (1, 2, 3)))
    return made


@pytest.fixture
def directory(vendor: Vendor, open_one: Open) -> Directory:
    """Give its directory."""
    return open_one(vendor)


def by_id(vendor: Vendor, number: int = 1) -> Subject:
    """Return the n-th person by their id."""
    return Subject(external_id=vendor.ids(number))


def fault_of(directory: Directory, subject: Subject) -> GatepostError:
    """Return the error of a look-up."""
    with pytest.raises(GatepostError) as caught:
        directory.find(subject)
    return caught.value


# ---- who is found


def test_person_is_found_by_each_name(vendor: Vendor, directory: Directory) -> None:
    """And it is them, with what is known of them, as of the moment of the look, or of the oldest copy of them."""
    before, person = datetime.now(UTC), vendor.someone(2)
    lag = COPIES_LAG if directory.lags else timedelta()
    subjects = [Subject(external_id=person.id), Subject(email=person.email.upper())]
    subjects += [Subject(user_name=person.user_name.upper())] if vendor.has_user_names else []

    for subject in subjects:
        (record,) = directory.find(subject)

        assert (record.profile.external_id, record.profile.email) == (person.id, person.email)
        assert (record.profile.title, record.works_here) == ("Agent", True)
        assert before - lag <= record.as_of <= datetime.now(UTC) - lag


def test_groups_are_named(make_vendor: Callable[[str], Vendor], open_one: Open) -> None:
    """Where the directory has them; a list of everybody says nothing of them where each would be a request."""
    for name in ("okta", "entra", "google", "scim"):
        vendor = make_vendor(name)
        vendor.service.add(vendor.someone(1, groups=["Agents", "Night shift"]))
        more = {} if name == "scim" else {"groups": False}

        (record,) = open_one(vendor).find(by_id(vendor))
        (bare,) = open_one(vendor, **more).find(by_id(vendor))
        (listed,) = open_one(vendor).list()

        assert record.profile.groups == ["Agents", "Night shift"]
        assert ("groups" in bare.profile.told(), "groups" in listed.profile.told()) == (name == "scim",) * 2


@pytest.fixture(params=("okta", "entra", "google"))
def grouping(request: pytest.FixtureRequest, make_vendor: Callable[[str], Vendor]) -> Vendor:
    """Give each vendor that is asked for a person's groups by a request of their own."""
    made = make_vendor(request.param)
    made.service.add(made.someone(1), made.someone(2, works_here=False))
    return made


def of_groups(vendor: Vendor, status: int) -> None:
    """Answer whoever asks for groups with an error from now on."""
    answer = vendor.service.answer

    def refuses(asked: Asked) -> Told:
        if asked.parts[-1] in {"groups", "memberOf"}:
            return vendor.service.problem(status, "no groups")
        return answer(asked)

    vendor.service.answer = refuses  # type: ignore[method-assign]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_trouble_with_groups_keeps_no_leaver_waiting(grouping: Vendor, open_one: Open, status: int) -> None:
    """Nobody asks for the groups of somebody who does not work here, so there is none; nothing is said of them."""
    of_groups(grouping, status)

    (found,) = open_one(grouping).find(by_id(grouping, 2))

    assert (found.works_here, "groups" in found.profile.told()) == (False, False)


def test_many_groups_keep_no_leaver_waiting(vendor: Vendor, directory: Directory) -> None:
    """More than a person may have: of somebody who works here that is refused, of somebody who left not read."""
    vendor.service.page = 1_000
    many = [f"group {number}" for number in range(PERSON_GROUPS_MAX + 1)]
    vendor.service.add(vendor.someone(1, groups=many), vendor.someone(2, groups=many, works_here=False))

    (found,) = directory.find(by_id(vendor, 2))

    assert (found.works_here, "groups" in found.profile.told()) == (False, False)
    if vendor.name != "bamboohr":
        assert fault_of(directory, by_id(vendor)).reason in {"record_unusable", "directory_too_large"}


def test_groups_that_are_not_there_are_read_again(grouping: Vendor, open_one: Open) -> None:
    """Whoever was shown a moment ago may be deleted by now, or not be in the copy that is asked."""
    of_groups(grouping, 404)

    error = fault_of(open_one(grouping), by_id(grouping))

    assert (type(error), error.reason) == (Postponed, "broken")


def test_check_reads_the_groups_of_who_works_here(grouping: Vendor, open_one: Open) -> None:
    """A permission that is missing is found out, though the first of the people has left."""
    grouping.service.people = dict(reversed(grouping.service.people.items()))
    of_groups(grouping, 403)

    (line,) = look_at("hr", open_one(grouping))

    assert (line.ok, line.found) == (False, "403 no groups")


@pytest.mark.parametrize(
    "subject",
    [
        Subject("no-such-id", "nobody@acme.example", "nobody@acme.example"),
        Subject(external_id="9a6f1c5e-0001-4c1e-8d33-00000000ffff"),
        Subject(external_id="4711", email="nobody@acme.example"),
        Subject(),
    ],
)
def test_nobody_is_found(directory: Directory, subject: Subject) -> None:
    """Which is no error of the directory's."""
    assert list(directory.find(subject)) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_name_is_only_a_name(directory: Directory, name: str) -> None:
    """Whatever it has in it: it finds whoever bears it, and nobody does; a name that cannot be asked for is refused."""
    reasons = set()
    for subject in (Subject(external_id=name), Subject(user_name=name), Subject(email=name)):
        try:
            assert list(directory.find(subject)) == []
        except Refused as error:
            reasons.add(error.reason)

    assert reasons <= ({"refused"} if not name.strip(".") else set())


def test_two_of_one_address_are_both_found(vendor: Vendor, directory: Directory) -> None:
    """So that it is seen that a guess is none."""
    if vendor.names_one:
        pytest.skip("its addresses are unique")
    vendor.service.add(vendor.someone(4, email="shared@acme.example"), vendor.someone(5, email="Shared@acme.example"))

    found = directory.find(Subject(external_id=vendor.ids(6), email="shared@acme.example"))

    assert sorted(str(each.profile.external_id) for each in found) == [vendor.ids(4), vendor.ids(5)]
    with pytest.raises(GatepostError, match="2 records"):
        the_one(Subject(email="shared@acme.example"), found)


def test_stronger_name_counts(vendor: Vendor, directory: Directory) -> None:
    """Whoever has the id is found, whoever has the address by now."""
    (found,) = directory.find(Subject(vendor.ids(1), email=vendor.someone(2).email))

    assert found.profile.external_id == vendor.ids(1)


def test_who_left_does_not_work_here(vendor: Vendor, directory: Directory) -> None:
    """And is found all the same, by the address too."""
    vendor.service.add(vendor.someone(1, works_here=False))

    for subject in (by_id(vendor), Subject(email=vendor.someone(1).email)):
        (found,) = directory.find(subject)

        assert (found.profile.external_id, found.works_here) == (vendor.ids(1), False)


def test_who_was_deleted(vendor: Vendor, directory: Directory) -> None:
    """Is found where the service keeps the deleted for a while, under the names they had; elsewhere nobody is."""
    if vendor.knows_deleted:
        vendor.service.add(vendor.someone(1, is_deleted=True))
    else:
        del vendor.service.people[vendor.ids(1)]
    person = vendor.someone(1)
    subjects = [by_id(vendor), Subject(email=person.email), Subject(user_name=person.user_name)]

    found = [[(each.profile.external_id, each.works_here) for each in directory.find(subject)] for subject in subjects]

    assert found == [[(person.id, False)]] * 3 if vendor.knows_deleted else [[]] * 3


def test_everybody_is_listed_over_pages(vendor: Vendor, directory: Directory) -> None:
    """Also who left, and who was deleted, where they are still known."""
    vendor.service.add(*(vendor.someone(number) for number in range(4, 8)), vendor.someone(8, works_here=False))
    if vendor.knows_deleted:
        vendor.service.add(vendor.someone(9, is_deleted=True))
    vendor.service.page = 3

    records = list(directory.list())

    found = {str(each.profile.external_id): each.works_here for each in records}
    left = {8, 9} if vendor.knows_deleted else {8}
    assert len(records) == len(found)
    assert found == {vendor.ids(number): number not in left for number in range(1, 9 + vendor.knows_deleted)}


def test_record_that_cannot_be_a_persons_is_refused(vendor: Vendor, directory: Directory) -> None:
    """It is named by its id, and no value is shown; the others are found."""
    vendor.service.add(vendor.someone(1, title="Sec" + "x" * 3_000))

    error = fault_of(directory, by_id(vendor))

    assert (error.reason, "xxx" in error.message) == ("record_unusable", False)
    assert error.message == f"record {vendor.ids(1)}: title cannot be a person's"
    assert len(directory.find(by_id(vendor, 2))) == 1


def test_half_a_character_is_refused(vendor: Vendor, directory: Directory) -> None:
    """It would end the step that writes it."""
    vendor.service.add(vendor.someone(1, title="\ud800"))

    assert fault_of(directory, by_id(vendor)).reason == "record_unusable"


# ---- what may go wrong


def test_limit_is_kept_by_all(vendor: Vendor, open_one: Open, redis: Redis) -> None:
    """Whoever shares the credential asks nothing until it ends, then goes on."""
    one, other = open_one(vendor), open_one(vendor)
    vendor.service.next(Told(429, {}, {"retry-after": "20"}))

    first = fault_of(one, by_id(vendor))
    asked = len(vendor.service.calls)
    second = fault_of(other, by_id(vendor))

    for error in (first, second):
        assert isinstance(error, Postponed)
        assert error.reason == "busy"
        assert error.retry_at is not None
        assert 18 < (error.retry_at - datetime.now(UTC)).total_seconds() < 21 + 5
    assert len(vendor.service.calls) == asked
    found: Any = redis.keys("gatepost:rests:*")
    (rests,) = found
    assert 0 < redis.ttl(rests) <= 20
    redis.delete(rests)
    assert len(other.find(by_id(vendor))) == 1


def test_list_waits_for_a_limit(vendor: Vendor, directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """To begin it anew would cost more of it."""
    monkeypatch.setattr(answers, "SPREAD_SECONDS_MAX", 0.0)
    vendor.service.page = 2
    vendor.service.next(Told(429, {}, {"retry-after": "1"}))

    assert len(list(directory.list())) == 3


def test_credential_that_is_not_taken(vendor: Vendor, directory: Directory) -> None:
    """An operator must act, and is told in the service's words."""
    vendor.service.next(vendor.service.problem(401, "the credential is not known"), times=2)

    error = fault_of(directory, by_id(vendor))

    assert (type(error), error.reason, error.message) == (Refused, "credentials", "401 the credential is not known")
    assert len(vendor.service.calls) == (2 if vendor.fetches else 1)


def test_bearer_that_is_taken_no_more_is_fetched_once(vendor: Vendor, directory: Directory) -> None:
    """It may have been revoked; a static one is what it is."""
    if not vendor.fetches:
        pytest.skip("it is static")
    assert len(directory.find(by_id(vendor))) == 1
    vendor.service.tokens.clear()

    assert len(directory.find(by_id(vendor))) == 1
    assert vendor.service.given == 2


def test_permission_that_is_missing(vendor: Vendor, directory: Directory) -> None:
    """A bearer is fetched once, for one that is older lacks what was granted since; but not at every request."""
    vendor.service.next(vendor.service.problem(403, "insufficient privileges"), times=4)

    errors = [fault_of(directory, by_id(vendor)) for _ in range(2)]

    assert [(each.reason, each.message) for each in errors] == [("credentials", "403 insufficient privileges")] * 2
    assert vendor.service.given == (2 if vendor.fetches else 0)
    assert len(vendor.service.calls) == (3 if vendor.fetches else 2)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_service_that_is_broken_is_waited_for(vendor: Vendor, directory: Directory, status: int) -> None:
    """Nothing is wrong that time would not mend."""
    vendor.service.next(Told(status, b"<html>", {"retry-after": "7"}))

    error = fault_of(directory, by_id(vendor))

    assert isinstance(error, Postponed)
    assert error.retry_at is not None


@pytest.mark.parametrize(
    "body", [b"<html>a proxy</html>", b"", b"[" * 60_000, b'{"id": ', b"\xff\xfe", b"null", b"7", b'[["x"]]']
)
def test_garbage_is_no_answer(vendor: Vendor, directory: Directory, body: bytes) -> None:
    """That nobody is there is said by the directory, or not at all."""
    person = vendor.someone(1)
    for subject in (Subject(person.id), Subject(email=person.email)):
        vendor.service.next(Told(200, body))

        assert isinstance(fault_of(directory, subject), Postponed)
    vendor.service.next(Told(200, body))
    with pytest.raises(Postponed):
        directory.glance()


def test_redirect_is_not_followed(vendor: Vendor, directory: Directory) -> None:
    """The credential goes to the configured host alone."""
    with Elsewhere() as elsewhere:
        vendor.service.next(Told(302, b"", {"location": f"{elsewhere.url}/x"}))

        error = fault_of(directory, by_id(vendor))

    assert (type(error), error.reason, "redirect" in error.message) == (Postponed, "redirected", True)
    assert elsewhere.asked == []


def test_answer_that_is_too_large_is_not_read(vendor: Vendor, directory: Directory) -> None:
    """The bound is named."""
    vendor.service.next(Told(200, b'["' + b"x" * (api.ANSWER_BYTES_MAX + 1_000) + b'"]'))

    error = fault_of(directory, by_id(vendor))

    assert (error.reason, str(api.ANSWER_BYTES_MAX) in error.message) == ("directory_too_large", True)


def test_service_that_is_slow_is_not_waited_for(
    vendor: Vendor, open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up has a time, far below a job's."""
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.2)
    directory, released = open_one(vendor), threading.Event()
    vendor.service.next(lambda _: Told(200, b"x" * released.wait(5)))
    started = time.monotonic()

    error = fault_of(directory, by_id(vendor))

    released.set()
    assert (error.reason, time.monotonic() - started < 3) == ("no_answer", True)


def test_look_up_that_takes_many_requests_has_a_time(
    vendor: Vendor, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After which none is begun."""
    monkeypatch.setattr(api, "FIND_SECONDS_MAX", -1.0)

    error = fault_of(directory, by_id(vendor))

    assert (error.reason, vendor.service.asked) == ("slow", [])


def test_service_that_is_away_is_waited_for(vendor: Vendor, directory: Directory) -> None:
    """It may come back."""
    vendor.service.__exit__(None, None, None)

    error = fault_of(directory, by_id(vendor))

    vendor.service.__enter__()
    assert (isinstance(error, Postponed), error.reason) == (True, "unreachable")


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500])
def test_no_error_tells_a_secret_or_a_name(vendor: Vendor, directory: Directory, status: int) -> None:
    """Though the service repeats whatever it was sent, and those names as they stand in a URL."""
    subject = Subject(vendor.ids(7), "login-7@acme.example", "Person-7@acme.example")

    def repeats(asked: Asked) -> Told:
        sent = f"{asked.headers['authorization']} {asked.query} {asked.body.decode()}"
        return vendor.service.problem(status, f"{sent} {quote_plus(' '.join(map(str, subject)))}")

    vendor.service.next(repeats, times=5)

    message = fault_of(directory, subject).message.lower()

    hidden = [vendor.secret, *vendor.service.tokens, *(each for each in subject if each), "acme.example", "bearer-"]
    assert message.startswith(str(status))
    assert not [each for each in hidden if each.lower() in message]


# ---- set up, and looked at


def test_check_reads_a_page(vendor: Vendor, directory: Directory) -> None:
    """And not everybody: of a service that would take hours."""
    vendor.service.add(*(vendor.someone(number) for number in range(4, 250)), vendor.someone(1, works_here=False))

    (line,) = look_at("hr", directory)

    assert (line.ok, line.found) == (True, "of the first 100 people 99 work here, 1 do not")
    assert len(vendor.service.calls) <= 3


def test_check_counts_all_of_a_few(vendor: Vendor, directory: Directory) -> None:
    """Which is then everybody."""
    (line,) = look_at("hr", directory)

    assert (line.ok, line.found) == (True, "3 people: 3 work here, 0 do not")


def test_check_of_a_service_without_people(vendor: Vendor, directory: Directory) -> None:
    """It can be read, which is what was asked."""
    vendor.service.people.clear()

    (line,) = look_at("hr", directory)

    assert (line.ok, line.found) == (True, "0 people: 0 work here, 0 do not")


def test_check_says_what_the_credential_needs(vendor: Vendor, directory: Directory) -> None:
    """In the words of the module's manual."""
    vendor.service.next(vendor.service.problem(403, "insufficient privileges"), times=2)

    (line,) = look_at("hr", directory)

    assert (line.ok, line.found, line.do) == (False, "403 insufficient privileges", directory.needs)


def test_check_says_that_the_address_is_another(vendor: Vendor, directory: Directory) -> None:
    """What is sent elsewhere is nothing that one waits for."""
    vendor.service.next(Told(302, b"", {"location": "https://elsewhere.example"}))

    (line,) = look_at("hr", directory)

    assert (line.ok, line.do) == (False, directory.needs)


def test_check_says_what_is_waited_for(vendor: Vendor, directory: Directory) -> None:
    """And of whom something is wrong."""
    vendor.service.next(Told(500, b""))
    (broken,) = look_at("hr", directory)
    vendor.service.add(vendor.someone(1, title="x" * 3_000))
    (wrong,) = look_at("hr", directory)

    assert broken.do == UNREAD
    assert vendor.name == "bamboohr" or (wrong.ok, wrong.do) == (False, ONE)


def test_fleet_shares_a_bearer(vendor: Vendor, open_one: Open, redis: Redis) -> None:
    """Fetched once, and sealed."""
    for _ in range(3):
        open_one(vendor).find(by_id(vendor))

    names: Any = redis.keys("gatepost:token:*")
    assert vendor.service.given == len(names) == int(vendor.fetches)
    assert not any(b"bearer-1" in (redis.get(name) or b"") for name in names)


class Elsewhere(StandIn):
    """A host that is none of ours."""

    @property
    def section(self) -> dict[str, object]:
        """Return nothing."""
        return {}

    def opens(self, authorization: str) -> bool:
        """Take everything."""
        return bool(authorization) or True

    def answer(self, asked: Asked) -> Told:
        """Take whatever is sent."""
        return Told(200, [asked.path])

    def problem(self, status: int, words: str) -> Told:
        """Return them."""
        return Told(status, words)
