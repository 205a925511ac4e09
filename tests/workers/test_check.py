"""What ``gatepost check`` finds at a target: each line well or what to do; nothing is written, and nobody is named."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.check import Line
from lifecycle.policy import Policy
from lifecycle.secrets import Secret
from tests.workers.fake_scim import BASE, FakeScim, Quirk, answers, cuts_before
from tests.workers.stories import policy, target
from workers.check.__main__ import look
from workers.check.case import Case
from workers.check.target import look_at
from workers.http import Http
from workers.jobs import place_of
from workers.scim.discovery import ENTERPRISE_SCHEMA

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
BO = "bo.ray@acme.example"
TITLE = {"name": "title", "type": "string", "mutability": "readWrite"}
NAMES = [{"name": "userName", "type": "string"}, {"name": "active", "type": "boolean"}]
MAPPING = {"title": "person.title", "userName": "person.email"}
ROLES = {"name": "roles", "type": "complex", "multiValued": True, "mutability": "readWrite"}
NOBODYS = Policy()


class Server:
    """A fake server that tells of itself what a test says, and never sees a write."""

    def __init__(self, fake: FakeScim, *attributes: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """Keep what it tells."""
        self.fake, self.headers = fake, headers or {}
        schema = {"id": CORE, "attributes": [*NAMES, *attributes]}
        self.documents = {
            "/ServiceProviderConfig": {"patch": {"supported": True}, "etag": {"supported": True}},
            "/Schemas": {"totalResults": 1, "Resources": [schema]},
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        assert request.method == "GET"
        path = request.url.path.removeprefix(BASE)
        if path in self.documents:
            return httpx.Response(200, json=self.documents[path])
        answer = self.fake(request)
        answer.headers.update(self.headers)
        return answer


def case(redis: Redis, server: Callable[[httpx.Request], httpx.Response], rules: Policy, **section: Any) -> Case:  # noqa: ANN401
    """Make a case of a target that manages title and userName."""
    http = Http(transport=httpx.MockTransport(server))
    found = target(**({"attributes": MAPPING} | section))
    return Case(place_of(redis, "crm", found, http), rules, redis, http)


def seen(redis: Redis, server: Any, rules: Policy = NOBODYS, **section: Any) -> dict[str, Line]:  # noqa: ANN401
    """Look, and return the lines by what they are of."""
    return by_name(look_at(case(redis, server, rules, **section)))


def by_name(lines: Iterable[Line]) -> dict[str, Line]:
    """Return lines by what they are of."""
    return {line.what.removeprefix("targets.crm "): line for line in lines}


def settled(redis: Redis, fake: FakeScim, **attributes: Any) -> None:  # noqa: ANN401 - SCIM values
    """Put Bo's account there, as one that we settled."""
    account = fake.add("Users", **({"userName": BO, "externalId": "E1042", "active": True} | attributes))
    redis.hset(keys.owners("crm"), str(account["id"]), "E1042")


def test_target_by_the_book_is_well(redis: Redis, fake: FakeScim) -> None:
    """Every line is ok, says what was found, and leaves nothing to do."""
    settled(redis, fake)
    fake.add("Groups", displayName="Support Agents")

    lines = seen(redis, Server(fake, TITLE), policy(Support_Agents="true"), requests_per_minute=600)

    assert {what: line.ok for what, line in lines.items()} == {
        "token": True,
        "access": True,
        "can": True,
        "schema": True,
        "standing": True,
        "filter by externalId": True,
        "filter by userName": True,
        "groups": True,
        "rate": True,
    }
    assert lines["can"].found.startswith("PATCH, filter by externalId and userName, If-Match, no bulk")
    assert not any(line.do for line in lines.values())


def test_look_keeps_to_the_limit(redis: Redis, fake: FakeScim) -> None:
    """What was asked counts as the fleet's, by when it was asked, and nothing stays reserved."""
    looked = case(redis, Server(fake, TITLE), NOBODYS, requests_per_minute=600)
    list(look_at(looked))

    (used,) = redis.keys("gatepost:used:*")
    assert redis.zcount(used, "-inf", time.time() * 1000) == len(looked.talk.exchanges) == redis.zcard(used)


def test_look_is_let_in_before_who_waits_but_leavers(redis: Redis, fake: FakeScim) -> None:
    """A backlog is when somebody looks; those who wait for their turn lose a request or two by it."""
    now = datetime.now(UTC).timestamp() * 1000
    redis.zadd(keys.waiting("crm"), {"E1": now - 60_000})

    lines = seen(redis, Server(fake, TITLE), requests_per_minute=600)

    assert lines["access"].ok is True
    assert lines["rate"].found == "600 requests a minute; 1 wait for it"


def test_pause_that_the_target_asked_for_is_kept(redis: Redis, fake: FakeScim) -> None:
    """The fleet waits, so does whoever looks; that is nobody's fault, and there is nothing to do but to wait."""
    looked = case(redis, Server(fake, TITLE), NOBODYS)
    looked.place.gate.pause(30)

    lines = by_name(look_at(looked))

    assert fake.log == []
    assert (lines["access"].ok, lines["access"].found) == (None, "the target asked to be left alone for a while")
    assert lines["access"].do == "look again in a minute"


@pytest.mark.parametrize(
    ("status", "body", "found", "do"),
    [
        (401, {"detail": "who are you"}, "401 who are you", "renew env:CRM_SCIM_TOKEN"),
        (403, {"message": "missing directory:user:view"}, "403 missing directory:user:view", "the permission"),
        (500, "oops", "500 oops", "the target's operator"),
    ],
)
def test_refusal_names_what_to_do(redis: Redis, fake: FakeScim, status: int, body: object, found: str, do: str) -> None:
    """Without access nothing else can be seen: one line with the target's words, and no more."""
    fake.next(answers(status, body), times=9)

    lines = seen(redis, Server(fake, TITLE))

    assert list(lines) == ["token", "access"]
    assert (lines["access"].ok, lines["access"].found) == (False, found)
    assert do in lines["access"].do


def test_target_that_is_not_there(redis: Redis, fake: FakeScim) -> None:
    """Where nobody answers, base_url is what to look at."""
    fake.next(cuts_before(), times=9)

    lines = seen(redis, Server(fake, TITLE))

    assert (lines["access"].ok, lines["access"].found) == (False, "no answer: ConnectError")
    assert "base_url" in lines["access"].do


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (401, {"error": "invalid_client"}, "login.test: 401 invalid_client"),
        (200, {"access_token": "t0", "scope": "users"}, "login.test: the token lacks the scopes: scim"),
    ],
    ids=["refused", "too little"],
)
def test_credentials_are_tried_anew(redis: Redis, status: int, body: object, found: str) -> None:
    """A token is fetched whatever the fleet has left, and what was granted is compared with what is configured."""

    def login(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "login.test"
        return httpx.Response(status, json=body)

    client: dict[str, Any] = {"client_id": Secret("env:ID", "id"), "client_secret": Secret("env:SECRET", "s3")}
    url = "https://login.test/oauth/token"
    lines = seen(redis, login, token=None, token_url=url, scopes=["scim", "users"], **client)

    assert [(line.ok, line.found) for line in lines.values()] == [(False, found)]


@pytest.mark.parametrize(
    ("quirk", "ok", "found"),
    [
        (Quirk.IGNORES_FILTER, None, "is ignored: a name that nobody has gives 2 accounts"),
        (Quirk.KNOWS_NO_FILTER, False, "answers nobody for an account that is there"),
        (Quirk.REFUSES_FILTER_400, None, "refused: 400 filters are not for this server"),
        (Quirk.REFUSES_FILTER_501, None, "refused: 501 filters are not for this server"),
    ],
)
def test_filters_that_lie_are_named(redis: Redis, fake: FakeScim, quirk: Quirk, ok: bool | None, found: str) -> None:
    """Who answers everybody, nobody or not at all is told apart by a name that nobody has and one that somebody has."""
    settled(redis, fake)
    fake.add("Users", userName="ada@acme.example", active=True)
    fake.quirks = frozenset({quirk})

    line = seen(redis, Server(fake, TITLE))["filter by userName"]

    assert line.ok is ok
    assert line.found.startswith(found)
    assert line.do == 'profile = { find_by = ["externalId"] } under [targets.crm]'


def test_external_id_that_the_target_forgets_is_named(redis: Redis, fake: FakeScim) -> None:
    """An account without it can only be found by userName."""
    settled(redis, fake, externalId="")

    lines = seen(redis, Server(fake, TITLE))

    assert lines["filter by externalId"].ok is None
    assert lines["filter by externalId"].do == 'profile = { find_by = ["userName"] } under [targets.crm]'
    assert lines["filter by userName"].ok is True


def test_settled_account_that_is_gone_says_nothing(redis: Redis, fake: FakeScim) -> None:
    """Of filters only an account that is there can tell."""
    redis.hset(keys.owners("crm"), "gone", "E1")

    lines = seen(redis, Server(fake, TITLE))

    assert lines["filter by userName"].ok is True
    assert "no account was settled yet" in lines["filter by userName"].found


@pytest.mark.parametrize("status", [400, 403, 500])
def test_words_of_a_target_about_a_person_go_no_further(redis: Redis, fake: FakeScim, status: int) -> None:
    """A refusal may repeat the name that was asked for."""
    settled(redis, fake)
    for name in ("userName", "externalId"):
        fake.next(answers(status, {"detail": f"no {BO} or E1042"}), on=f'GET /Users?filter={name} eq "{BO}', times=9)
        fake.next(answers(status, {"detail": f"no {BO} or E1042"}), on=f'GET /Users?filter={name} eq "E1042', times=9)

    lines = list(look([case(redis, Server(fake, TITLE), policy(protected=[BO]))], policy(protected=[BO])))

    assert any(line.ok is not True for line in lines)
    text = " ".join(line.to_json() for line in lines)
    assert BO not in text
    assert "E1042" not in text


@pytest.mark.parametrize(
    ("attribute", "ok", "found"),
    [
        (None, False, "the target does not have: title"),
        (TITLE | {"mutability": "readOnly"}, False, "the target does not let anybody write: title"),
        (TITLE | {"mutability": "immutable"}, None, "is written once, at the create: title"),
        (TITLE | {"type": "complex"}, False, "has parts, of which one has to be named: title"),
    ],
)
def test_managed_attributes_are_compared_with_the_schema(
    redis: Redis, fake: FakeScim, attribute: dict[str, Any] | None, ok: bool | None, found: str
) -> None:
    """What the target does not have or does not let us write is found before a person needs it."""
    line = seen(redis, Server(fake, *([attribute] if attribute else [])))["schema"]

    assert (line.ok, line.found) == (ok, found)
    assert line.do


def test_target_without_a_schema_is_told_so(redis: Redis, fake: FakeScim) -> None:
    """Nothing is known to be wrong then."""
    line = seen(redis, fake)["schema"]

    assert (line.ok, line.found) == (True, "the target does not tell one: values are sent as they are")


def test_drift_is_seen_now_and_stops_the_target(redis: Redis, fake: FakeScim) -> None:
    """The target is asked whatever was asked within the hour, and what changed is compared with the accepted schema."""
    assert seen(redis, Server(fake, TITLE))["standing"].ok is True

    lines = seen(redis, Server(fake, TITLE | {"type": "integer"}))

    assert lines["stopped"].ok is False
    assert lines["stopped"].found == "schema_drift: title is now integer, was string"
    assert lines["stopped"].do.endswith("gatepost retry target:crm")
    assert redis.zscore(keys.FAILURES, "target:crm")


def test_open_circuit_is_told_and_looked_behind(redis: Redis, fake: FakeScim) -> None:
    """What an operator wants to know of a target that failed is whether it still does."""
    redis.hset(keys.circuit("crm"), mapping={"until": "99999999999999", "wait": "5000", "reason": "forbidden"})

    lines = seen(redis, Server(fake, TITLE))

    assert lines["access"].ok is True
    assert lines["circuit"].ok is False
    assert lines["circuit"].found.startswith("open (forbidden)")
    assert redis.hget(keys.circuit("crm"), "until") == b"99999999999999"


@pytest.mark.parametrize(
    ("configured", "ok", "do"),
    [(600, False, "targets.crm.requests_per_minute = 180"), (None, None, "requests_per_minute = 180"), (180, True, "")],
)
def test_limit_is_compared_with_the_vendors(
    redis: Redis, fake: FakeScim, configured: int | None, ok: bool | None, do: str
) -> None:
    """A limit above what the target allows would be met by its 429."""
    headers = {"inin-ratelimit-allowed": "180", "inin-ratelimit-count": "3", "inin-ratelimit-reset": "20"}

    line = seen(redis, Server(fake, TITLE, headers=headers), requests_per_minute=configured)["rate"]

    assert line.ok is ok
    assert line.do.endswith(do)


def test_groups_that_are_not_there_are_named_and_none_is_made(redis: Redis, fake: FakeScim) -> None:
    """Each group of the policy is looked for past what the fleet remembers; two of one name are none."""
    for name in ("Support Agents", "Twins", "Twins"):
        fake.add("Groups", displayName=name)
    redis.hset(keys.groups("crm"), "Sellers", "gone")
    rules = Policy.model_validate(
        {"grants": [{"when": "true", "groups": ["Support Agents", "Sellers", "Twins", "id:nowhere"]}]}
    )

    lines = [line for line in look_at(case(redis, Server(fake, TITLE), rules)) if line.what.endswith("groups")]

    assert [(line.ok, line.found) for line in lines] == [
        (False, "the target has no group named 'Sellers'"),
        (False, "the target has 2 groups named 'Twins'"),
        (False, "the target has no group of this id: 'id:nowhere'"),
    ]
    assert redis.hget(keys.groups("crm"), "Sellers") is None
    # Whoever reads that makes the group, and a joiner of the same minute finds it.
    assert not redis.exists(keys.groups_missing("crm"))


def test_group_that_will_be_created_is_well(redis: Redis, fake: FakeScim) -> None:
    """Where the policy wants it and the target can, a missing group is well; looking makes none."""
    rules = Policy.model_validate({"grants": [{"when": "true", "groups": ["Sellers"]}], "create_groups": True})

    line = seen(redis, Server(fake, TITLE), rules, profile={"create_groups": True})["groups"]

    assert (line.ok, line.found) == (True, "the target has no group named 'Sellers': it will be created")


@pytest.mark.parametrize(
    ("attributes", "ok"),
    [((), False), ((ROLES,), True), ((ROLES | {"mutability": "readOnly"},), False)],
    ids=["none", "to be written", "read-only"],
)
def test_roles_need_an_attribute(
    redis: Redis, fake: FakeScim, attributes: tuple[dict[str, Any], ...], ok: bool
) -> None:
    """A policy that grants roles to accounts that have none fails for every person."""
    rules = Policy.model_validate({"grants": [{"when": "true", "roles": ["employee"]}]})

    assert seen(redis, Server(fake, TITLE, *attributes), rules)["roles"].ok is ok


def test_protected_names_that_fit_nobody_are_told_by_their_place(redis: Redis, fake: FakeScim) -> None:
    """A misspelt name protects nobody; the names themselves are persons' and stay out."""
    fake.add("Users", userName=BO, active=True)
    rules = policy(protected=[BO, "breakglas@acme.example"])

    (line,) = [
        line for line in look([case(redis, Server(fake, TITLE), rules)], rules) if line.what == "policy.protected"
    ]

    assert (line.ok, line.found) == (None, "entry 2 of 2 is the userName of no account on any target")


def test_fault_of_ours_is_one_line(redis: Redis, fake: FakeScim) -> None:
    """Whatever goes wrong within the look at one target, the others are looked at."""

    def broken(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError(BO)

    lines = list(look([case(redis, broken, NOBODYS), case(redis, Server(fake, TITLE), NOBODYS)], NOBODYS))

    assert Line("targets", False, "a fault of ours: ZeroDivisionError") in lines
    assert by_name(lines)["rate"].ok is True


def test_program_prints_json_lines(config_file: Callable[..., Path], redis: Redis) -> None:
    """The command reads what this program prints: a line of JSON for each thing looked at."""
    section = {"adapter": "scim", "base_url": "http://127.0.0.1:9/scim/v2", "token": "env:CRM_SCIM_TOKEN"}
    path = config_file(targets={"crm": section})

    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "workers.check", "--config", str(path)],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert [json.loads(line)["ok"] for line in done.stdout.splitlines()] == [None, None, True, False]


def test_schema_of_an_extension_is_looked_for_too(redis: Redis, fake: FakeScim) -> None:
    """A managed path of an extension that accounts do not have is missing."""
    mapping = {**MAPPING, f"{ENTERPRISE_SCHEMA}:department": "person.department"}

    line = seen(redis, Server(fake, TITLE), attributes=mapping)["schema"]

    assert line.found == f"the target does not have: {ENTERPRISE_SCHEMA}:department"
