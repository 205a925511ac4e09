"""``/v1/subscribers``: who is made there, what is refused, and what goes with whoever is deleted."""

import asyncio
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import signature
from lifecycle.config import Config
from lifecycle.roster import roster
from lifecycle.subscribers import MADE_MAX
from service.api.bodies import BODY_BYTES_MAX
from tests.seed import NOW, fail, signal, tell
from tests.service.api.subscribing import OWN, URL, make, reason, show


async def test_subscriber_is_made_and_its_secret_shown_once(
    ask: httpx.AsyncClient, redis: Redis, found: Config
) -> None:
    """The answer has the secret that will sign; what is shown later does not, and the workers know it from then on."""
    before = roster(redis, found).revision

    answer = await ask.post("/v1/subscribers", json={"name": "soar", "url": URL, "events": ["person.*"]})

    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/subscribers/soar")
    assert len(signature.key(made["secret"])) == 32
    assert made["public_key"] is None
    assert await show(ask) == {name: value for name, value in made.items() if name not in {"secret", "public_key"}}
    known = roster(redis, found)
    assert known.revision > before
    assert [each.value for each in known.subscribers["soar"].secrets] == [made["secret"]]
    assert known.subscribers["soar"].events == ["person.*"]
    assert list(known.subscribers) == ["soar", "siem"]


async def test_everything_is_shown_of_a_new_subscriber(ask: httpx.AsyncClient) -> None:
    """Each field has its default, no counter has counted."""
    made = await make(ask, when="signal.data.reason == 'left'", targets=["crm"], requests_per_minute=60)

    shown = await show(ask)

    (secret,) = shown.pop("secrets")
    assert secret == {"id": secret["id"], "kind": "v1", "public_key": None, "created_at": made["created_at"]} | {
        "expires_at": None
    }
    assert shown == {
        "name": "soar",
        "managed_by": "api",
        "format": "standard_webhooks",
        "url": URL,
        "events": None,
        "targets": ["crm"],
        "when": "signal.data.reason == 'left'",
        "headers": {},
        "requests_per_minute": 60,
        "allow_private": False,
        "audience": None,
        "subject": "email",
        "profile": "final",
        "provisioning": "notice",
        "set_events": None,
        "state": "active",
        "reason": None,
        "waiting": 0,
        "failed": 0,
        "failing_since": None,
        "last_success_at": None,
        "last_failure_at": None,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }


async def test_own_secret_and_key_pair(ask: httpx.AsyncClient, redis: Redis, found: Config) -> None:
    """A secret of the receiver's own signs and is not sent back; of a key pair the public half is told, always."""
    own, pair = await make(ask, "own", secret=OWN), await make(ask, "pair", signature="v1a")

    signing = {name: each.secrets[0].value for name, each in roster(redis, found).subscribers.items()}

    assert (own["secret"], own["public_key"], signing["own"]) == (None, None, OWN)
    assert pair["secret"] is None
    assert pair["public_key"] == (await show(ask, "pair"))["secrets"][0]["public_key"]
    headers = {"webhook-id": "sig_1", "webhook-timestamp": str(int(NOW.timestamp()))}
    headers["webhook-signature"] = signature.signer(signing["pair"])("sig_1", NOW, b"{}")
    assert signature.verify([signature.verifier(pair["public_key"])], headers, b"{}", NOW) == 0


async def test_list_has_everybody_a_page_at_a_time(ask: httpx.AsyncClient) -> None:
    """Those of the file and those of the API, by name; the cursor goes on after the last."""
    for name in ("a", "soar", "z"):
        await make(ask, name)

    first = (await ask.get("/v1/subscribers", params={"limit": 3})).json()
    second = (await ask.get("/v1/subscribers", params={"limit": 3, "after": first["next"]})).json()

    assert [(item["name"], item["managed_by"]) for item in first["items"]] == [
        ("a", "api"),
        ("siem", "file"),
        ("soar", "api"),
    ]
    assert ([item["name"] for item in second["items"]], second["next"]) == (["z"], None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": None}, "name: found None; allowed: a valid string"),
        ({"name": "Soar"}, "name: found 'Soar'; allowed: a name that matches"),
        ({"url": None}, "url: found nothing; required"),
        ({"url": "ftp://x"}, "url: found 'ftp://x'; allowed: a URL that starts with https:// or http://"),
        ({"url": "https://a:b@x.example"}, "url: found 'https://...@x.example'; allowed: a URL without credentials"),
        ({"url": "http://x.example"}, "url: allowed: https://; http:// is for private addresses"),
        ({"url": "https://x.example:8443"}, "url: found port 8443; allowed: 443"),
        ({"url": "https://127.0.0.1/"}, "url: allowed: a public address; a private one with allow_private = true"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "url: allowed: a public address"),
        ({"url": "https://0x7f.1/"}, "url: allowed: a name, or an address as 8.8.8.8"),
        ({"url": "https://localhost/"}, "url: allowed: a public address"),
        ({"url": "https://x.example/a\\b"}, "url: allowed: https://NAME/"),
        ({"url": 7}, "url: found 7; allowed: a valid string"),
        ({"format": "ssf_poll"}, "format: found 'ssf_poll'; allowed: 'standard_webhooks' or 'ssf_push'"),
        ({"format": "ssf_push"}, "audience: Field required"),
        ({"format": "ssf_push", "audience": "x"}, "format: ssf_push needs [ssf]"),
        ({"format": "ssf_push", "secret": OWN}, "secret: found a text; allowed: none but these keys: name, format"),
        ({"events": ["person.promoted"]}, "events.0: found 'person.promoted'; allowed: person.provisioned"),
        ({"events": []}, "events: found a list; allowed: list should have at least 1 item"),
        ({"targets": ["desk"]}, "targets: found 'desk'; allowed: crm"),
        ({"when": "nobody == 1"}, "when: found 'nobody == 1'; allowed: "),
        ({"when": "person.email"}, "when: found 'person.email'; allowed: "),
        ({"headers": {"Host": "x"}}, "headers.Host: found a literal; allowed: the name of a header"),
        ({"headers": {"X-A": "é"}}, "headers.X-A: found what was given, which is not shown; allowed: at most 1000"),
        ({"headers": {"X-A": 7}}, "headers.X-A: found a number; allowed: the value itself"),
        ({"headers": {"X-A": "***"}}, "headers.X-A: found the mask; allowed: the value itself"),
        ({"headers": {"X-A": "env:HOME"}}, "headers.X-A: found a reference; allowed: the value itself"),
        ({"headers": ["X-A"]}, "headers: found a list; allowed: an object"),
        ({"requests_per_minute": 0}, "requests_per_minute: found 0; allowed: greater than or equal to 1"),
        ({"requests_per_minute": "60"}, "requests_per_minute: found '60'; allowed: a valid integer"),
        ({"allow_private": "yes"}, "allow_private: found 'yes'; allowed: a valid boolean"),
        ({"signature": "v2"}, "signature: found 'v2'; allowed: 'v1' or 'v1a'"),
        ({"signature": "v1a", "secret": OWN}, "signature: found 'v1a'; allowed: v1 for a whsec_ secret"),
        ({"secret": "hunter2hunter2"}, "secret: found what was given, which is not shown; allowed: a secret starts"),
        ({"secret": "env:SIEM_WHSEC"}, "secret: found what was given, which is not shown; allowed: a secret starts"),
        ({"secrets": ["env:SIEM_WHSEC"]}, "secrets: found a list; allowed: none but these keys: name, format"),
        ({"token": "x"}, "token: found a text; allowed: none but these keys"),
        ({"paused": True}, "paused: found true or false; allowed: none but these keys"),
    ],
)
async def test_what_is_wrong_is_named(ask: httpx.AsyncClient, redis: Redis, fields: dict[str, Any], words: str) -> None:
    """The field, what was found and what is allowed; a secret that was found is not told. Nothing is kept."""
    answer = await ask.post("/v1/subscribers", json={"name": "soar", "url": URL} | fields)

    assert reason(answer) == (400, "subscriber_malformed")
    assert words in answer.json()["detail"]
    assert "hunter2" not in answer.text
    assert not redis.exists("gatepost:subscribers")


async def test_several_faults_are_told_at_once(ask: httpx.AsyncClient) -> None:
    """As the file's are: a line for each."""
    answer = await ask.post("/v1/subscribers", json={"name": "soar", "url": 7, "events": []})

    assert len(answer.json()["detail"].splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"", {}, 415),
        (b"{}", {"content-type": "application/merge-patch+json"}, 415),
        (b" " * (BODY_BYTES_MAX + 1), {"content-type": "application/json"}, 413),
        (b"", {"content-type": "application/json"}, 400),
        (b"[]", {"content-type": "application/json"}, 400),
        (b"null", {"content-type": "application/json; charset=utf-8"}, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (b"\xff", {"content-type": "application/json"}, 400),
        (b'{"name": NaN}', {"content-type": "application/json"}, 400),
        (b'{"name": "\\ud800"}', {"content-type": "application/json"}, 400),
        (b'{"name": 1e999}', {"content-type": "application/json"}, 400),
        (b"[" * 50_000, {"content-type": "application/json"}, 400),
        (b'{"a":' * 15_000, {"content-type": "application/json"}, 400),
        (b'{"name": ' + b"1" * 5_000 + b"}", {"content-type": "application/json"}, 400),
    ],
)
async def test_body_that_cannot_be_read_is_refused(
    ask: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    """Another media type, too much, no JSON, no object, no text: each is the caller's to mend, never our fault."""
    answer = await ask.post("/v1/subscribers", content=content, headers=headers)

    assert reason(answer)[0] == status


async def test_name_is_taken_once(ask: httpx.AsyncClient) -> None:
    """By the file, by the API, and by only one of many that ask at the same moment."""
    answers = await asyncio.gather(
        *(ask.post("/v1/subscribers", json={"name": "soar", "url": f"{URL}/{number}"}) for number in range(8))
    )
    of_the_file = await ask.post("/v1/subscribers", json={"name": "siem", "url": URL})

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    (winner,) = (answer.json()["url"] for answer in answers if answer.status_code == 201)
    assert (await show(ask))["url"] == winner
    assert {reason(answer) for answer in (*answers, of_the_file) if answer.status_code == 409} == {(409, "name_taken")}
    assert "managed by the file" in of_the_file.json()["detail"]


async def test_there_is_a_most(ask: httpx.AsyncClient, redis: Redis) -> None:
    """The API keeps a bounded number."""
    redis.hset("gatepost:subscribers", mapping={f"s{number}": '{"leaving": true}' for number in range(MADE_MAX)})

    answer = await ask.post("/v1/subscribers", json={"name": "soar", "url": URL})

    assert reason(answer) == (409, "subscribers_many")


async def test_what_waits_is_dropped_with_its_subscriber(ask: httpx.AsyncClient, redis: Redis, found: Config) -> None:
    """The others' deliveries go on; its own stay readable, with why they ended; nothing of it waits for a person."""
    await make(ask)
    waiting, failed = signal("1", "E1"), signal("2", "E2")
    for each in (waiting, failed):
        tell(redis, each, "soar", "siem")
    fail(redis, failed.id, "soar")
    before = roster(redis, found).revision

    answer = await ask.delete("/v1/subscribers/soar")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await ask.get("/v1/subscribers/soar")).status_code == 404
    assert roster(redis, found).revision > before
    deliveries = (await ask.get(f"/v1/signals/{waiting.id}")).json()["deliveries"]
    assert [(each["subscriber"], each["state"], each["reason"]) for each in deliveries] == [
        ("soar", "dropped", "subscriber_deleted"),
        ("siem", "waiting", None),
    ]
    assert (await ask.get("/v1/failures")).json()["items"] == []
    left = {key for key in redis.keys("*") if b"soar" in key and b":delivery:" not in key and b":attempts:" not in key}
    assert left == set()


async def test_new_one_of_an_old_name_hears_nothing_old(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Nor where whoever had the name left something behind: a deletion was cut short, or it was in the file."""
    await make(ask)
    tell(redis, signal("1", "E1"), "soar", "gone")
    tell(redis, signal("2", "E2"), "soar", "gone")
    fail(redis, signal("2", "E2").id, "gone")
    fail(redis, signal("2", "E2").id, "soar")
    # As a deletion leaves it that died after its first step.
    redis.hset("gatepost:subscribers", "soar", '{"leaving": true}')
    unknown = await ask.get("/v1/subscribers/soar")

    made = [await make(ask, "soar"), await make(ask, "gone")]

    assert unknown.status_code == 404
    assert [(each["state"], each["waiting"], each["failed"]) for each in made] == [("active", 0, 0)] * 2
    assert redis.keys("gatepost:line*") == []


async def test_deletion_that_was_cut_short_is_ended(ask: httpx.AsyncClient, redis: Redis) -> None:
    """Asking again ends it."""
    await make(ask)
    tell(redis, signal(), "soar")
    redis.hset("gatepost:subscribers", "soar", '{"leaving": true}')

    first, second = [await ask.delete("/v1/subscribers/soar") for _ in range(2)]

    assert (first.status_code, second.status_code) == (204, 404)
    assert redis.keys("gatepost:line*") == []


async def test_deletion_while_changed_leaves_nothing(ask: httpx.AsyncClient, redis: Redis) -> None:
    """A change that comes with a deletion does not bring the subscriber back."""
    for _ in range(5):
        await make(ask)
        await asyncio.gather(
            ask.patch("/v1/subscribers/soar", json={"requests_per_minute": 5}),
            ask.delete("/v1/subscribers/soar"),
            ask.patch("/v1/subscribers/soar", json={"events": None}),
            ask.post("/v1/subscribers/soar/rotate"),
        )

        assert redis.hkeys("gatepost:subscribers") == []
