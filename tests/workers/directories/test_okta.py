"""What only Okta has: statuses, an id that may be a login, two ways to ask for an address, limits told in advance."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from redis import Redis

from lifecycle.errors import Misconfigured, Postponed, Refused
from lifecycle.secrets import Secret
from tests.directories.okta_api import OktaApi
from tests.directories.stand_in import Told
from tests.workers.directories.conftest import Keys, Open, Vendor
from tests.workers.directories.test_every_directory import Elsewhere
from workers.directories.base import Directory, Subject
from workers.directories.okta import STATUSES


@pytest.fixture
def okta(make_vendor: Callable[[str], Vendor]) -> Vendor:
    """Give an organisation of one person."""
    made = make_vendor("okta")
    made.service.add(made.someone(1))
    return made


@pytest.mark.parametrize("status", STATUSES)
def test_statuses(okta: Vendor, open_one: Open, status: str) -> None:
    """States of a password are none of a job; an account that nobody activated yet is nobody's."""
    okta.service.add(okta.someone(1, more={"status": status}))

    (found,) = open_one(okta).find(Subject(okta.ids(1)))

    assert found.works_here is (status not in {"STAGED", "SUSPENDED", "DEPROVISIONED"})


def test_status_of_tomorrow_is_not_guessed(okta: Vendor, open_one: Open) -> None:
    """That person's event fails."""
    okta.service.add(okta.someone(1, more={"status": "ON_SABBATICAL"}))

    with pytest.raises(Refused) as caught:
        open_one(okta).find(Subject(okta.ids(1)))

    assert (caught.value.reason, okta.ids(1) in caught.value.message) == ("status_unknown", True)


def test_profile_is_a_person(okta: Vendor, open_one: Open) -> None:
    """What Okta does not have is cleared; what the configuration adds has a name of its own."""
    profile = {"firstName": "Bo", "lastName": "Ray", "department": "Support", "managerId": "00u7", "badge": 7}
    okta.service.add(okta.someone(1, more=profile | {"locale": "en_US", "mobilePhone": "+1"}))
    more = {"custom.badge": "profile.badge", "title": "profile.department"}

    (found,) = open_one(okta, attributes=more).find(Subject(okta.ids(1)))

    told = found.profile.told()
    assert (told["display_name"], told["manager"], told["phone"], told["locale"]) == ("Bo Ray", "00u7", "+1", "en_US")
    assert (told["title"], told["custom"], told["cost_center"]) == ("Support", {"badge": 7}, None)


def test_expression_that_fails_is_said_to_be_the_fields(okta: Vendor, open_one: Open) -> None:
    """It may be right for others, so nothing is said at the start."""
    with pytest.raises(Refused, match="title cannot be a person's"):
        open_one(okta, attributes={"title": "join(',', profile.email)"}).find(Subject(okta.ids(1)))


@pytest.mark.parametrize("name", ["login-1@acme.example", "login-1", "LOGIN-1", "me"])
def test_id_is_no_login(okta: Vendor, open_one: Open, name: str) -> None:
    """Okta answers either; whoever has the login, or its short form, is not whoever has the id."""
    assert list(open_one(okta).find(Subject(external_id=name))) == []


def test_login_is_no_short_name(okta: Vendor, open_one: Open) -> None:
    """The short form of one is another's in the next domain."""
    assert list(open_one(okta).find(Subject(user_name="login-1"))) == []


def test_login_with_a_slash_is_found_too(okta: Vendor, open_one: Open) -> None:
    """A path cannot hold it, so a filter does."""
    okta.service.add(okta.someone(2, user_name="acme/bo"))

    (found,) = open_one(okta).find(Subject(user_name="acme/bo"))

    assert found.profile.external_id == okta.ids(2)


def test_what_a_search_shows_is_read_again(okta: Vendor, open_one: Open) -> None:
    """A search lags: who left meanwhile, and who has another address by now, are seen."""
    okta.service.add(okta.someone(2, email="Old@acme.example"), okta.someone(3, email="OLD@acme.example"))
    okta.service.freeze()
    okta.service.add(okta.someone(2, email="new@acme.example"))
    okta.service.add(okta.someone(3, email="OLD@acme.example", works_here=False))

    (found,) = open_one(okta).find(Subject(email="old@acme.example"))

    assert (found.profile.external_id, found.works_here) == (okta.ids(3), False)


def test_groups_are_read_over_pages(okta: Vendor, open_one: Open) -> None:
    """By the header that names the next one."""
    names = [f"Group {number}" for number in range(7)]
    okta.service.add(okta.someone(1, groups=names))
    okta.service.page = 3

    (found,) = open_one(okta).find(Subject(okta.ids(1)))

    assert found.profile.groups == names


def test_limit_that_is_used_up_is_kept_before_it_is_broken(okta: Vendor, open_one: Open, redis: Redis) -> None:
    """Okta tells how much is left and until when; to break it would be an alarm there."""
    assert isinstance(okta.service, OktaApi)
    okta.service.remaining = 2
    directory = open_one(okta)
    directory.find(Subject(okta.ids(1)))

    with pytest.raises(Postponed) as caught:
        directory.find(Subject(okta.ids(1)))

    assert len(okta.service.asked) == 2
    assert caught.value.retry_at is not None
    assert 15 < (caught.value.retry_at - datetime.now(UTC)).total_seconds() < 30


def test_limit_that_is_broken_names_its_end(okta: Vendor, open_one: Open) -> None:
    """In seconds since the epoch, by the clock of the answer."""
    headers = {"date": "Mon, 02 Mar 2026 09:00:00 GMT", "x-rate-limit-reset": "1772442030"}
    okta.service.next(okta.service.problem(429, "API call exceeded rate limit")._replace(headers=headers))

    with pytest.raises(Postponed) as caught:
        open_one(okta).find(Subject(okta.ids(1)))

    assert caught.value.retry_at is not None
    assert 20 < (caught.value.retry_at - datetime.now(UTC)).total_seconds() < 40


@pytest.mark.parametrize("link", ["{}/api/v1/users?after=1", "http://[", "http://127.0.0.1:1/x", "https://{0}/x"])
def test_next_page_elsewhere_is_refused(okta: Vendor, open_one: Open, link: str) -> None:
    """The token goes to the organisation alone."""
    with Elsewhere() as elsewhere:
        okta.service.next(Told(200, [], {"link": f'<{link.format(elsewhere.url)}>; rel="next"'}))

        with pytest.raises(Refused, match="another host"):
            list(open_one(okta).list())

        assert elsewhere.asked == []


def test_service_app_proves_itself_by_its_key(okta: Vendor, open_one: Open, rsa_keys: Keys) -> None:
    """A bearer of few scopes, in the place of a token that may all that its maker may."""
    assert isinstance(okta.service, OktaApi)
    okta.service.public_key = rsa_keys.public
    directory = open_with_key(okta, open_one, rsa_keys.private)

    (found,) = directory.find(Subject(okta.ids(1)))

    assert (found.profile.external_id, okta.service.given) == (okta.ids(1), 1)


def test_key_that_is_none_is_refused_and_not_shown(okta: Vendor, open_one: Open) -> None:
    """Whatever stands there may be a secret."""
    with pytest.raises(Refused) as caught:
        open_with_key(okta, open_one, "not-a-key").find(Subject(okta.ids(1)))

    assert (caught.value.reason, caught.value.message) == ("credentials", "the private key is no RSA key in PEM")


def open_with_key(okta: Vendor, open_one: Open, key: str) -> Directory:
    """Open the organisation by a service app."""
    app = {"token": None, "client_id": Secret("env:ID", "0oa1"), "private_key": Secret("file:key.pem", key)}
    return open_one(okta, **app, key_id="key-1")


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"token": None}, "directories.okta: found a table; allowed: either token, or client_id with private_key"),
        ({"token": "00abc-a-literal"}, "directories.okta.token: found a literal; a literal is refused"),
        ({"attributes": {"titel": "a"}}, "directories.okta.attributes.titel: found 'titel'; allowed: user_name"),
        ({"attributes": {"external_id": "a"}}, "directories.okta.attributes.external_id: found 'external_id'"),
        ({"attributes": {"title": "a..b"}}, "directories.okta.attributes.title: found 'a..b'; allowed: a JMESPath"),
        (
            {"attributes": {"title": 7}},
            "directories.okta.attributes.title: found 7; allowed: a JMESPath",
        ),
        ({"group": True}, "directories.okta.group: found a bool; unknown key; allowed: adapter, base_url, token"),
    ],
)
def test_section_that_cannot_be_one(okta: Vendor, open_one: Open, more: dict[str, object], fault: str) -> None:
    """The key, what was found, what is allowed; no secret."""
    with pytest.raises(Misconfigured) as caught:
        open_one(okta, **more)

    assert caught.value.lines[0].startswith(fault)
