"""Graph's webhook beyond the contract of all sources: the secret is in the body, and the handshake reflects."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from redis import Redis

from lifecycle.config import Source as Section
from lifecycle.config import own_options
from lifecycle.errors import Malformed, Misconfigured, Unauthentic, Unreadable
from service.app import create_app
from service.sources import entra_graph
from service.sources.base import Notice, Reading
from service.sources.documents import ENTRIES_MAX
from tests.conftest import MakeConfig, open_client
from tests.notices import AT, OLD_SECRETS, SECRETS, setup_of

SECRET, OLD = SECRETS["entra_graph"], OLD_SECRETS["entra_graph"]
SETUP = setup_of("entra_graph", SECRET, OLD)
SUBSCRIPTION, ADA, BO = "5b5c0000-aaaa-4bbb-8ccc-ddddeeeeffff", "9a6f1c5e-0001", "2c0e4d6b-0002"


def item(user: str = ADA, **told: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return one item; what a test does not say is said here, and what it says is None is left out."""
    said: dict[str, Any] = {
        "changeType": "updated",
        "clientState": SECRET,
        "resource": f"Users/{user}",
        "subscriptionId": SUBSCRIPTION,
        "resourceData": {"id": user, "sequenceNumber": 1},
    }
    return {name: value for name, value in (said | told).items() if value is not None}


def notice(*items: object, query: str = "") -> Notice:
    """Return a notice of these items."""
    return Notice("POST", query, {}, json.dumps({"value": items}).encode())


def read(*items: object) -> Reading:
    """Return what a notice of these items says."""
    return entra_graph.read(notice(*items), SETUP, AT)


def forged(secret: str) -> Iterator[object]:
    """Make what looks like the secret."""
    yield from (
        secret[:-1],
        secret[1:],
        f"{secret} ",
        f" {secret}",
        secret.swapcase(),
        f"{secret}\0",
        secret + "\ud800",
    )
    yield from ("", None, 0, True, [secret], {"clientState": secret}, secret.encode().hex())


# ---- proof


@pytest.mark.parametrize("state", list(forged(SECRET)), ids=repr)
def test_item_without_the_secret_proves_nothing(state: object) -> None:
    """Neither is a notice believed for it, nor is the item read beside one that is believed."""
    stranger = item(BO) | {"clientState": state}

    with pytest.raises(Unauthentic):
        entra_graph.verify(notice(stranger), SETUP, AT)

    reading = read(stranger, item(ADA))
    assert [event.person for event in reading.events] == [ADA]
    assert reading.ignored == ("clientState",)


@pytest.mark.parametrize("items", [(), (None,), ([SECRET],), (SECRET,), ({"ClientState": SECRET},)], ids=repr)
def test_notice_of_no_item_that_is_ours_is_unauthentic(items: tuple[object, ...]) -> None:
    """Anything that is no item with the secret is a stranger's."""
    with pytest.raises(Unauthentic):
        entra_graph.verify(notice(*items), SETUP, AT)


def test_secret_anywhere_else_proves_nothing() -> None:
    """In a header, in the query or beside the items it is worth nothing."""
    body = json.dumps({"clientState": SECRET, "value": [item(clientState=None)]}).encode()

    with pytest.raises(Unauthentic):
        entra_graph.verify(Notice("POST", f"clientState={SECRET}", {"clientstate": SECRET}, body), SETUP, AT)


def test_stranger_makes_us_compare_no_more_than_a_batch() -> None:
    """An item behind the largest batch that there could be is not looked at."""
    strangers: list[object] = [{}] * ENTRIES_MAX

    with pytest.raises(Unauthentic):
        entra_graph.verify(notice(*strangers, item()), SETUP, AT)
    assert entra_graph.verify(notice(*strangers[1:], item()), SETUP, AT) == SECRET


def test_of_two_live_secrets_in_one_notice_the_oldest_is_told() -> None:
    """While a subscription still sends the old one, it must not look unused."""
    assert entra_graph.verify(notice(item(clientState=OLD), item()), SETUP, AT) == OLD
    assert entra_graph.verify(notice(item(), item(clientState=OLD)), SETUP, AT) == OLD
    assert entra_graph.verify(notice(item(), item()), SETUP, AT) == SECRET


def test_secret_may_have_any_letters() -> None:
    """A JSON text has no letters that it cannot carry."""
    setup = replace(SETUP, secrets=("geheimniß-🔑-der-Tests",))

    assert entra_graph.verify(entra_graph.sign(notice(item()), setup, AT), setup, AT) == setup.secrets[0]


def test_notice_that_was_set_aside_does_not_pass_for_read_when_its_secret_is_gone() -> None:
    """It stays a failure that an operator sees, instead of a notice of strangers."""
    with pytest.raises(Unreadable, match="live"):
        entra_graph.read(notice(item(), item(BO)), replace(SETUP, secrets=("another",)), AT)


@pytest.mark.parametrize("secret", ["x" * 256, "two\nlines", ""])
def test_secret_that_graph_cannot_send_is_refused(secret: str) -> None:
    """A clientState comes back with 255 characters at most."""
    entra_graph.check(replace(SETUP, secrets=("x" * 255,)))
    with pytest.raises(ValueError, match=r"\w"):
        entra_graph.check(replace(SETUP, secrets=(secret,) if secret else ()))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"value": 1}', b'{"value": [1]}'])
def test_sample_that_is_no_collection_cannot_be_signed(body: bytes) -> None:
    """``gatepost send`` says what it wants."""
    with pytest.raises(ValueError, match=r"\w"):
        entra_graph.sign(Notice("POST", "", {}, body), SETUP, AT)


def test_tenant_is_an_id() -> None:
    """A domain would never fit the tenantId of an item."""
    section = Section.model_validate({"adapter": "entra_graph", "tenants": ["acme.example"]})

    with pytest.raises(Misconfigured, match="tenants"):
        own_options("sources.entra", section, entra_graph.Options)


# ---- handshake


@pytest.mark.parametrize(
    "query",
    [
        "validationToken=",
        "validationToken",
        f"validationToken={'x' * 2_049}",
        "validationToken=a&validationToken=b",
        "validationToken=%ff%fe",
        f"validationToken=a&{'&'.join('a=1' for _ in range(30))}",
    ],
)
def test_handshake_that_graph_would_not_send_is_refused(query: str) -> None:
    """Nothing is reflected that is empty, endless, ambiguous or no text."""
    with pytest.raises(Malformed):
        entra_graph.greet(Notice("POST", query, {}, b""), SETUP, AT)


@pytest.mark.parametrize("query", ["", "for=validationToken", "validationtoken=x", "xvalidationToken=x"])
def test_what_is_no_handshake_must_prove_itself(query: str) -> None:
    """Whatever the address of the hook has besides, notices go on to be verified."""
    assert entra_graph.greet(notice(item(), query=query), SETUP, AT) is None


@pytest.mark.parametrize("token", ["x", "x" * 2_048, "a b+c%2B&d=é<script>\r\nSet-Cookie: a=b"])
async def test_token_is_reflected_as_nothing_but_text(config: MakeConfig, token: str) -> None:
    """What comes back is the token, decoded once, and no browser takes it for a page."""
    app = create_app(config(sources={"entra": {"adapter": "entra_graph", "secrets": ["env:OKTA_HOOK_SECRET"]}}))

    async with open_client(app) as client:
        answer = await client.post(f"/hooks/entra?validationToken={quote(token)}")

    assert (answer.status_code, answer.text) == (200, token)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers


# ---- notices


async def test_notice_is_answered_202_and_its_upkeep_handed_on(config: MakeConfig, redis: Redis) -> None:
    """A mixed notice keeps what is ours, tells whoever keeps the subscription alive, and says nothing to the sender."""
    app = create_app(config(sources={"entra": {"adapter": "entra_graph", "secrets": ["env:GRAPH"]}}))
    lifecycle = item(lifecycleEvent="reauthorizationRequired", resource=None, resourceData=None)

    async with open_client(app) as client:
        answer = await post(client, item(ADA), item(BO, clientState="another"), lifecycle)
        refused = await post(client, item(BO, clientState="another"))

    assert (answer.status_code, answer.content) == (202, b"")
    assert refused.status_code == 401
    assert redis.lrange("gatepost:upkeep:entra", 0, -1) == [f"reauthorizationRequired:{SUBSCRIPTION}".encode()]
    assert redis.llen(f"gatepost:unread:{ADA}") == 1
    assert redis.zcard("gatepost:events") == 1


def test_changes_that_are_alike_are_one_within_a_second_only() -> None:
    """Without a number or a time two real changes may be the same bytes; each is no more than a look."""
    alike = notice(item(resourceData={"id": ADA}))

    refs = [entra_graph.read(alike, SETUP, AT + timedelta(seconds=after)).events[0].id for after in (0, 0.9, 1, 86_400)]

    assert refs[0] == refs[1]
    assert len(set(refs)) == 3


def test_two_subscriptions_and_two_kinds_of_change_are_apart() -> None:
    """The same number of the same user may be told by another subscription or of another kind."""
    told = (item(), item(subscriptionId="6c6d0000"), item(changeType="deleted"), item(BO))

    assert len({event.id for event in read(*told).events}) == 4


@pytest.mark.parametrize(
    "bad",
    [
        {"resourceData": {"id": "x" * 257}},
        {"resourceData": {"id": " "}},
        {"resourceData": {"id": ADA, "eventTime": "9999-12-31T23:59:59-14:00"}},
        {"resourceData": {"id": ADA, "sequenceNumber": "9" * 300}},
        {"resourceData": [ADA]},
        {"resource": ["Users", ADA]},
        {"tenantId": {}},
        {"resource": "Groups/g", "resourceData": {"members@delta": [{"id": str(n)} for n in range(1_001)]}},
        {"resource": "Groups/g", "resourceData": {"members@delta": [{"id": ADA}, {"name": BO}]}},
        {"lifecycleEvent": "missed", "subscriptionId": "../users?$filter="},
        {"lifecycleEvent": "missed", "subscriptionId": ""},
    ],
    ids=repr,
)
def test_item_of_ours_that_cannot_be_read_is_a_fault_and_stops_no_other(bad: dict[str, Any]) -> None:
    """The notice is set aside for it, and the others count."""
    reading = read(item(ADA, **bad), item(BO))

    assert [event.person for event in reading.events] == [BO]
    assert len(reading.faults) == 1


@pytest.mark.parametrize(
    "resource", ["", "Users", "Users/", "/users/a/b", "Users/a/messages/b", "me", "Users/a?x", "/"]
)
def test_change_of_something_else_is_left_out(resource: str) -> None:
    """Whatever else a subscription may be for, it says nothing of a user."""
    assert read(item(resource=resource)).events == ()


def test_group_with_the_most_members_is_read() -> None:
    """Each member is an event of its own; the bound is one that Graph does not come near."""
    members = [{"id": f"user-{number}"} for number in range(1_000)]

    reading = read(item(resource="Groups/g", resourceData={"id": "g", "members@delta": members}))

    assert len({event.ref for event in reading.events}) == 1_000


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPH", SECRET)


async def post(client: httpx.AsyncClient, *items: object) -> httpx.Response:
    """Send a notice as Graph does."""
    return await client.post("/hooks/entra", content=notice(*items).body, headers={"content-type": "application/json"})
