"""Streams: how they are made, changed and deleted, whose they are, and what is refused."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys, outbox
from lifecycle.config import Config
from lifecycle.errors import Misconfigured, Unavailable
from lifecycle.replay import Replay
from lifecycle.roster import revision, roster
from lifecycle.ssf import streams
from lifecycle.ssf.sets import EVENTS_SUPPORTED
from lifecycle.ssf.streams import Stream
from service.app import create_app
from service.ssf.transmitter import ALL_CHANGES_MAX, STREAM_CHANGES_MAX
from tests.conftest import MakeConfig, open_client
from tests.service.ssf.conftest import Section, Tell, receiver
from tests.service.ssf.receiver import ENDPOINTS, LEGACY, POLL, PUSH, Receiver, ids, names
from tests.strict_receiver import CAEP, PROV, RISC
from tests.transmitter import ISSUER, signal
from workers.outbox.lane import dismiss

REVOKED, DISABLED = CAEP + "session-revoked", RISC + "account-disabled"
PUSHED = {"method": PUSH, "endpoint_url": "https://siem.example/events"}
LEGACY_PUSH, LEGACY_POLL = sorted(LEGACY, reverse=True)


async def test_without_a_delivery_a_stream_is_polled_and_gets_all_there_is(siem: Receiver) -> None:
    """SSF section 8.1.1.1; what is not asked for is the transmitter's choice."""
    stream = await siem.create()

    assert stream["delivery"]["method"] == POLL
    assert stream["delivery"]["endpoint_url"] == f"{ISSUER}/ssf/poll/{stream['stream_id']}"
    assert stream["events_delivered"] == stream["events_supported"]
    assert set(stream["events_supported"]) < set(EVENTS_SUPPORTED)
    assert "events_requested" not in stream


@pytest.mark.parametrize(
    ("requested", "delivered"), [([], []), (["urn:x"], []), ([REVOKED, "urn:x", REVOKED], [REVOKED])]
)
async def test_what_is_delivered_is_what_is_both_asked_for_and_there(
    siem: Receiver, tell: Tell, requested: list[str], delivered: list[str]
) -> None:
    """What we do not know is kept as it was asked for, and never comes."""
    stream = await siem.create(events_requested=requested)
    await tell(signal())

    assert (set(stream["events_requested"]), stream["events_delivered"]) == (set(requested), delivered)
    assert [each.uri for each in await siem.poll(stream)] == delivered


async def test_events_of_provisioning_are_there_as_the_operator_says(config: MakeConfig, section: Section) -> None:
    """By name, with values, or not at all."""
    found = {}
    for provisioning in ("notice", "full", "none"):
        async with open_client(create_app(config(ssf=section(siem={"provisioning": provisioning})))) as client:
            siem = await receiver(client, "siem")
            stream = await siem.create()
            found[provisioning] = {uri.removeprefix(PROV) for uri in stream["events_supported"] if PROV in uri}
            await siem.delete(stream["stream_id"])

    assert {"patch:notice", "deactivate"} <= found["notice"]
    assert "patch:full" in found["full"] - found["notice"]
    assert found["none"] == set()


async def test_receiver_hears_of_the_targets_that_the_operator_gives_it(
    config: MakeConfig, section: Section, tell: Tell
) -> None:
    """So that one who acts on ``prov:*`` knows whose service they mean: two targets may give the same id."""
    crm = {"adapter": "scim", "base_url": "http://127.0.0.1:9/scim/v2", "token": "env:CRM_SCIM_TOKEN"}
    made = config(ssf=section(siem={"targets": ["crm"]}), targets={"crm": crm, "erp": crm})
    async with open_client(create_app(made)) as client:
        siem = await receiver(client, "siem")
        stream = await siem.create(events_requested=[PROV + "deactivate"])
        account = {"id": "7", "active": False}
        ours, theirs = signal(account=account), signal(target="erp", person="E2", account=account)
        await tell(ours, theirs, config=made)

        assert [each.claims["jti"].partition("~")[0] for each in await siem.poll(stream)] == [ours.id]


def test_receivers_targets_are_there(config: MakeConfig, section: Section) -> None:
    """A misspelt one would keep all from the receiver."""
    with pytest.raises(Misconfigured) as refused:
        config(ssf=section(siem={"targets": ["crm", "erp"]}), targets={})

    assert "ssf.receivers.siem.targets: found 'crm'; allowed: nothing, for none is configured" in str(refused.value)


async def test_receiver_has_no_more_streams_than_it_may(siem: Receiver, edr: Receiver) -> None:
    """409, as SSF section 8.1.1.1 has it; one that is deleted makes room, and others are not counted."""
    await edr.create()
    first, _ = await siem.create(), await siem.create()

    assert (await siem.ask("POST", "configuration_endpoint", json={})).status_code == 409
    await siem.delete(first["stream_id"])
    assert (await siem.create())["stream_id"] != first["stream_id"]


async def test_however_many_are_made_at_once_there_are_no_more(siem: Receiver) -> None:
    """Each step sees what the others did."""
    answers = await asyncio.gather(*(siem.ask("POST", "configuration_endpoint", json={}) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 6
    assert len(await siem.all()) == 2


# ---- change


async def test_patch_changes_what_is_there_and_put_takes_away_what_is_not(siem: Receiver) -> None:
    """SSF sections 8.1.1.3 and 8.1.1.4: what is missing stays, or goes."""
    made = await siem.create(delivery=PUSHED, events_requested=[REVOKED], description="first")
    told = {"stream_id": made["stream_id"]}

    assert await siem.update(**told) == made
    assert await siem.update(**told, description="second") == made | {"description": "second"}
    patched = await siem.update(**told, events_requested=[DISABLED])
    assert (patched["events_delivered"], patched["description"], patched["delivery"]) == ([DISABLED], "second", PUSHED)
    # What was read may be sent again, ours and all.
    assert await siem.replace(**patched) == patched == await siem.read(made["stream_id"])
    replaced = await siem.replace(**told)
    assert replaced["delivery"]["method"] == POLL
    assert replaced.keys().isdisjoint({"events_requested", "description"})
    assert (await siem.update(**told, description=None)).keys().isdisjoint({"description"})


NOT_TO_BE_CHANGED: list[dict[str, Any]] = [
    {"iss": "https://other.example"},
    {"aud": "https://edr.example/ssf"},
    {"aud": ["https://siem.example/ssf", "https://edr.example/ssf"]},
    {"aud": {"x": 1}},
    {"events_supported": [REVOKED]},
    {"events_delivered": []},
    {"min_verification_interval": 1},
    {"inactivity_timeout": 5},
    {"format": "iss_sub"},
    {"delivery": {"method": "push", "endpoint_url": "https://siem.example"}},
    {"delivery": {"method": LEGACY_PUSH, "endpoint_url": "https://siem.example"}},
    {"delivery": {"endpoint_url": "https://siem.example"}},
    {"delivery": {"method": PUSH}},
    {"delivery": PUSHED | {"authorization_header": "x\r\nhost: y"}},
    {"delivery": PUSHED | {"authorization_header": ""}},
    {"delivery": PUSHED | {"authorization_header": "x" * 1_001}},
    {"delivery": []},
    {"events_requested": "urn:x"},
    {"events_requested": [1]},
    {"events_requested": [""]},
    {"events_requested": ["urn:x"] * 101},
    {"description": 5},
]


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_what_is_ours_or_no_configuration_changes_nothing(siem: Receiver, method: str) -> None:
    """400, with what is wrong; and never what was found."""
    made = await siem.create(events_requested=[DISABLED, REVOKED])

    for body in NOT_TO_BE_CHANGED:
        answer = await siem.ask(method, "configuration_endpoint", json={"stream_id": made["stream_id"]} | body)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), body
        assert answer.json()["detail"].startswith(next(iter(body)))

    assert await siem.read(made["stream_id"]) == made


async def test_ours_may_be_repeated(siem: Receiver) -> None:
    """Also in another order, and one audience as a list of it."""
    made = await siem.create()
    repeated = made | {"aud": [made["aud"]], "events_supported": made["events_supported"][::-1], "format": "email"}

    assert await siem.update(**repeated) == made
    assert (await siem.create(iss=made["iss"], aud=made["aud"]))["stream_id"] != made["stream_id"]
    assert (
        await siem.ask("POST", "configuration_endpoint", json={"aud": "https://edr.example/ssf"})
    ).status_code == 400


FORBIDDEN_URLS = [
    "http://siem.example/events",
    "https://siem.example:8443/events",
    "https://127.0.0.1/events",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://169.254.169.254/latest",
    "https://localhost/",
    "https://user:secret@siem.example/",
    "https://",
    "ftp://siem.example",
    "//siem.example",
    "https://siem.example/\r\nx",
    "https://siem.example:99999/",
    "https://[/",
    "https://s\N{LATIN SMALL LETTER I WITH DIAERESIS}em.example/",
    "https://siem.example/" + "x" * 2_000,
    "",
]


async def test_nobody_is_pushed_to_within_our_house(siem: Receiver) -> None:
    """What the URL itself tells is refused here; where a name leads is seen when it is sent to."""
    for url in FORBIDDEN_URLS:
        delivery = {"method": PUSH, "endpoint_url": url}
        answer = await siem.ask("POST", "configuration_endpoint", json={"delivery": delivery})
        assert (answer.status_code, answer.json()["detail"].partition(".")[0]) == (400, "delivery"), url

    assert await siem.all() == []


async def test_receiver_that_may_be_private_may_be_anywhere(config: MakeConfig, section: Section) -> None:
    """As the operator says for this one."""
    async with open_client(create_app(config(ssf=section(siem={"allow_private": True})))) as client:
        siem = await receiver(client, "siem")
        delivery = {"method": PUSH, "endpoint_url": "http://127.0.0.1:8080/events"}

        assert (await siem.create(delivery=delivery))["delivery"] == delivery


async def test_authorization_stays_with_the_address_that_it_is_for(
    siem: Receiver, redis: Redis, configured: Config
) -> None:
    """Who repeats what was read keeps it; another address does not get it; null takes it away."""
    made = await siem.create(delivery=PUSHED | {"authorization_header": "Bearer first"})
    told = {"stream_id": made["stream_id"]}

    def sent() -> str | None:
        found = roster(redis, configured).subscribers[made["stream_id"]].authorization
        return found.value if found else None

    assert sent() == "Bearer first"
    await siem.replace(**made)
    assert sent() == "Bearer first"
    await siem.update(**told, delivery=PUSHED | {"authorization_header": "Bearer second"})
    assert sent() == "Bearer second"
    await siem.update(**told, delivery=PUSHED | {"endpoint_url": "https://elsewhere.example/"})
    assert sent() is None
    await siem.update(**told, delivery=PUSHED | {"authorization_header": "Bearer third"})
    await siem.update(**told, delivery=PUSHED | {"authorization_header": None})
    assert sent() is None


async def test_authorization_is_not_taken_where_nothing_could_seal_it(config: MakeConfig, section: Section) -> None:
    """That is ours to mend; without one the stream is made."""
    async with open_client(create_app(config(ssf=section(), service={}))) as client:
        siem = await receiver(client, "siem")

        body = {"delivery": PUSHED | {"authorization_header": "Bearer x"}}
        assert (await siem.ask("POST", "configuration_endpoint", json=body)).status_code == 503
        assert await siem.all() == []
        await siem.create(delivery=PUSHED)


async def test_what_waits_for_a_stream_that_cannot_be_opened_or_read_is_kept(
    siem: Receiver, redis: Redis, config: MakeConfig, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its key is back, or a version that knows it; the others are as they were."""
    sealed = (await siem.create(delivery=PUSHED | {"authorization_header": "Bearer first"}))["stream_id"]
    well = (await siem.create(delivery=PUSHED))["stream_id"]
    redis.hset(keys.STREAMS, "ssf-strange", '{"id": "ssf-strange"}')
    redis.hset(keys.STREAMS, "ssf-stranger", "{")
    kept, shut = (json.loads(redis.hget(keys.STREAMS, each) or b"") for each in (well, sealed))
    others = {
        "ssf-elsewhere": kept | {"endpoint_url": "gopher://edr.example"},
        "ssf-sealed": shut | {"endpoint_url": "gopher://edr.example"},
        "ssf-method": kept | {"method": "urn:carrier-pigeon"},
        "ssf-zone": kept | {"made_at": "2026-03-02T09:00:00"},
        # What is allowed may have changed since it was asked for.
        "ssf-private": kept | {"endpoint_url": "https://10.0.0.1/"},
        "ssf-plain": kept | {"endpoint_url": "http://edr.example/"},
        "ssf-port": kept | {"endpoint_url": "https://edr.example:8443/"},
    }
    redis.hset(
        keys.STREAMS,
        mapping={name: json.dumps(each | {"id": name, "receiver": "edr"}) for name, each in others.items()},
    )
    monkeypatch.setenv("OTHER_TOKEN", "another-admin-token")

    found = roster(redis, config(ssf=section(), service={"admin_tokens": ["env:OTHER_TOKEN"]}))

    assert (set(found.subscribers), set(found.unopened)) == ({well}, {sealed})
    assert found.unopened[sealed].authorization is None
    assert set(found.unusable) == {sealed, "ssf-strange", "ssf-stranger", *others}
    assert [each["stream_id"] for each in await siem.all()] == [sealed, well]
    assert (await siem.ask("GET", "status_endpoint", params={"stream_id": "ssf-strange"})).status_code == 404


async def test_what_waits_goes_the_new_way_when_the_delivery_changes(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """From push to poll and back, once each, a person's in order."""
    stream = await siem.create(delivery=PUSHED, events_requested=[REVOKED, DISABLED, RISC + "account-enabled"])
    told = {"stream_id": stream["stream_id"]}
    await tell(signal(), signal("restored", event="hris:evt-2"), signal(event="hris:evt-3", person="E2"))
    expected = ["session-revoked", "account-disabled", "account-enabled", "session-revoked", "account-disabled"]

    polled = await siem.update(**told, delivery={"method": POLL})
    came = await siem.poll(polled)
    assert names(came) == expected
    assert redis.keys("gatepost:line*") == []
    await siem.poll(polled, ack=ids(came)[:1])
    await siem.update(**told, delivery=PUSHED)
    lines = [redis.lrange(keys.line(stream["stream_id"], person), 0, -1) for person in ("E1042", "E2")]
    assert [len(line) for line in lines] == [2, 2]
    assert [b"account-disabled" in each for each in lines[0]] == [True, False]
    assert redis.zcard(keys.lines(stream["stream_id"])) == 2
    assert redis.hget(keys.subscriber(stream["stream_id"]), "waiting") == b"4"


async def test_replay_goes_the_new_way_too(siem: Receiver, tell: Tell, redis: Redis, configured: Config) -> None:
    """What a replay began waits apart; changing the delivery leaves none of it behind."""
    stream = await siem.create(delivery=PUSHED, events_requested=[REVOKED])
    await tell(signal())
    outbox.drop_all(redis, stream["stream_id"], "test")
    Replay(redis, configured, stream["stream_id"]).since(datetime(2020, 1, 1, tzinfo=UTC), actor="test")

    polled = await siem.update(stream_id=stream["stream_id"], delivery={"method": POLL})

    assert names(await siem.poll(polled)) == ["session-revoked"]
    assert redis.keys("gatepost:line*") + redis.keys("gatepost:replays:*") == []


async def test_long_description_is_cut(siem: Receiver) -> None:
    """As SSF section 8.1.1 lets us."""
    assert (await siem.create(description="x" * 5_000))["description"] == "x" * 500


async def test_stream_that_another_always_changes_first_is_ours_to_mend(siem: Receiver, redis: Redis) -> None:
    """After some tries; a step is never half done."""
    stream_id = (await siem.create())["stream_id"]

    def change(stream: Stream) -> Stream:
        redis.hset(keys.STREAMS, "ssf-other", "changed")
        return stream.model_copy(update={"description": "mine"})

    with pytest.raises(Unavailable):
        streams.change(redis, "siem", stream_id, change)
    assert "description" not in await siem.read(stream_id)


async def test_what_failed_of_a_deleted_stream_waits_for_nobody(siem: Receiver, tell: Tell, redis: Redis) -> None:
    """There is nobody left whom it could be told."""
    stream = await siem.create(events_requested=[DISABLED])
    await tell(signal())
    [jti] = ids(await siem.poll(stream))
    await siem.poll(stream, setErrs={jti: {"err": "invalid_key"}})
    assert redis.zcard(keys.FAILURES) == 1

    await siem.delete(stream["stream_id"])

    assert redis.zcard(keys.FAILURES) == 0


# ---- whose it is


async def test_change_that_changes_nothing_is_none(siem: Receiver, redis: Redis) -> None:
    """A receiver that repeats what it said lets nobody read anew who gets what."""
    made = await siem.create(delivery=PUSHED, events_requested=[DISABLED], description="mine")
    before = revision(redis)

    for body in ({"stream_id": made["stream_id"]}, {"stream_id": made["stream_id"], "description": "mine"}, made):
        assert await siem.update(**body) == made
    assert await siem.replace(**made) == made

    assert revision(redis) == before
    await siem.update(stream_id=made["stream_id"], description="another")
    assert revision(redis) == before + 1


@pytest.mark.parametrize("number_of", ["one receiver", "all receivers"])
async def test_changes_of_streams_have_a_bound(siem: Receiver, edr: Receiver, redis: Redis, number_of: str) -> None:
    """Each lets those who send read anew who gets what: 429 says when; what is read is not counted, nor others."""
    told, other = (await siem.create())["stream_id"], (await edr.create())["stream_id"]
    all_of_them = next(key for key in redis.keys("gatepost:ssf-tries:changes:*"))
    if number_of == "all receivers":
        redis.set(all_of_them, ALL_CHANGES_MAX, keepttl=True)
    else:
        for _ in range(STREAM_CHANGES_MAX - 1):
            await siem.update(stream_id=told)

    answers = [
        await siem.ask("POST", "configuration_endpoint", json={}),
        await siem.ask("PATCH", "configuration_endpoint", json={"stream_id": told}),
        await siem.ask("PUT", "configuration_endpoint", json={"stream_id": told}),
        await siem.ask("POST", "status_endpoint", json={"stream_id": told, "status": "paused"}),
        await siem.ask("DELETE", "configuration_endpoint", params={"stream_id": told}),
    ]

    assert [answer.status_code for answer in answers] == [429] * 5
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in answers)
    assert (await siem.status(told))["status"] == "enabled"
    answer = await edr.ask("PATCH", "configuration_endpoint", json={"stream_id": other})
    assert answer.status_code == (429 if number_of == "all receivers" else 200)


async def test_deletion_that_was_cut_short_is_finished_by_whoever_deletes_again(
    siem: Receiver, tell: Tell, redis: Redis, configured: Config
) -> None:
    """Nobody finds it meanwhile, nothing goes to it, and it takes no room."""
    first, second = [(await siem.create(events_requested=[DISABLED]))["stream_id"] for _ in range(2)]
    await siem.subject("remove", first, {"format": "opaque", "id": "x"})
    await tell(signal())
    for each in (first, second):
        cut_short(redis, each)

    await tell(signal(event="hris:evt-2"))
    assert (redis.llen(keys.polled(first)), redis.llen(keys.polled(second))) == (1, 1)
    assert await siem.all() == []
    for endpoint in ("configuration_endpoint", "status_endpoint"):
        assert (await siem.ask("GET", endpoint, params={"stream_id": first})).status_code == 404
    body = {"stream_id": first, "description": "x"}
    assert (await siem.ask("PATCH", "configuration_endpoint", json=body)).status_code == 404
    await siem.create()

    await siem.delete(first)
    dismiss(redis, configured)
    assert len(redis.hkeys(keys.STREAMS)) == 1
    left: Any = redis.keys("*ssf-*")
    # Only what became of the deliveries.
    assert {key.split(b":")[1] for key in left if first.encode() in key or second.encode() in key} == {b"delivery"}
    assert (await siem.ask("DELETE", "configuration_endpoint", params={"stream_id": first})).status_code == 404


def cut_short(redis: Redis, stream_id: str) -> None:
    """Leave a stream as a deletion does that dies after its first step."""
    kept = json.loads(redis.hget(keys.STREAMS, stream_id) or b"")
    redis.hset(keys.STREAMS, stream_id, json.dumps(kept | {"leaving": True}))
    redis.incr(keys.REVISION)


def test_no_two_receivers_have_one_audience(config: MakeConfig, section: Section) -> None:
    """What is meant for one the other would take for its own."""
    with pytest.raises(Misconfigured, match=r"ssf.receivers: .*edr.audience: that of siem"):
        config(ssf=section(edr={"audience": "https://siem.example/ssf"}))


async def test_no_client_sees_another_ones_stream(siem: Receiver, edr: Receiver, tell: Tell, redis: Redis) -> None:
    """404 for everything, as for one that is not there; and nothing of it is changed."""
    stream = await siem.create(description="mine")
    await siem.verify(stream["stream_id"])
    await tell(signal())
    waiting = await siem.poll(stream)
    before = revision(redis)

    for stream_id in (stream["stream_id"], "nothing", "../x", "*", "\x00"):
        told = {"stream_id": stream_id}
        subject = told | {"subject": {"format": "email", "email": "x@y.example"}}
        answers = [
            await edr.ask("GET", "configuration_endpoint", params=told),
            await edr.ask("PATCH", "configuration_endpoint", json=told | {"description": "theirs"}),
            await edr.ask("PUT", "configuration_endpoint", json=told),
            await edr.ask("DELETE", "configuration_endpoint", params=told),
            await edr.ask("GET", "status_endpoint", params=told),
            await edr.ask("POST", "status_endpoint", json=told | {"status": "disabled"}),
            await edr.ask("POST", "add_subject_endpoint", json=subject),
            await edr.ask("POST", "remove_subject_endpoint", json=subject),
            await edr.ask("POST", "verification_endpoint", json=told),
        ]
        if "/" not in stream_id and "\x00" not in stream_id:
            url = stream["delivery"]["endpoint_url"].replace(stream["stream_id"], stream_id)
            answers.append(await edr.ask("POST", url, json={"ack": ids(waiting), "returnImmediately": True}))
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.json()["detail"] for answer in answers}) == 1

    assert await edr.all() == []
    assert (revision(redis), await siem.all(), await siem.poll(stream)) == (before, [stream], waiting)


async def test_each_receivers_tokens_have_its_own_audience(siem: Receiver, edr: Receiver, tell: Tell) -> None:
    """What one gets another would refuse, and their ids differ."""
    streams = [await siem.create(), await edr.create()]
    await tell(signal())

    first, second = await siem.poll(streams[0]), await edr.poll(streams[1])

    assert {each.claims["aud"] for each in first + second} == {siem.strict.audience, edr.strict.audience}
    assert set(ids(first)).isdisjoint(ids(second))


async def test_streams_of_a_receiver_that_is_gone_get_nothing_until_it_is_back(
    siem: Receiver, redis: Redis, config: MakeConfig, section: Section
) -> None:
    """The configuration says who receives; what Redis remembers does not."""
    stream = await siem.create()

    assert roster(redis, config(ssf=section(siem=None))).subscribers == {}
    assert roster(redis, config()).subscribers == {}
    assert [*roster(redis, config(ssf=section())).subscribers] == [stream["stream_id"]]


# ---- what is malformed


MALFORMED = [
    b"",
    b"{ broken",
    b"[]",
    b"null",
    b"5",
    b'"x"',
    b"\xff",
    b"{}x",
    b"[" * 5_000,
    b'{"description": "\\ud800"}',
    b'{"delivery": {"method": 5}, "stream_id": 5}',
]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_malformed_body_is_400(siem: Receiver, endpoint: str) -> None:
    """For each endpoint alike, with a problem document."""
    for body in MALFORMED:
        answer = await siem.ask("POST", endpoint, content=body)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), body

    assert await siem.all() == []


async def test_body_is_not_read_past_its_bound(siem: Receiver) -> None:
    """413 as soon as there is more."""
    assert (await siem.ask("POST", "configuration_endpoint", content=b" " * 131_073)).status_code == 413


async def test_stream_has_to_be_named(siem: Receiver) -> None:
    """Where there is only one as well."""
    await siem.create()

    answers = [
        await siem.ask("DELETE", "configuration_endpoint"),
        await siem.ask("GET", "status_endpoint"),
        await siem.ask("PATCH", "configuration_endpoint", json={"description": "x"}),
        await siem.ask("POST", "verification_endpoint", json={}),
    ]

    assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [
        (400, "stream_id: Field required")
    ] * 4


async def test_what_is_not_known_here_is_ignored(siem: Receiver) -> None:
    """A receiver may say more than we read."""
    made = await siem.create(audience="x", stream_id="mine", x={"y": [1]})

    assert made["stream_id"] != "mine"


async def test_other_methods_are_405_and_head_is_a_get(siem: Receiver) -> None:
    """With what is allowed."""
    answers = [await siem._client.request(method, "/ssf/streams") for method in ("OPTIONS", "TRACE")]
    head = await siem.ask("HEAD", "configuration_endpoint")

    assert [answer.status_code for answer in answers] == [405, 405]
    assert set(answers[0].headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"}
    assert head.status_code == 200


# ---- receivers of before the final specification


async def test_legacy_receiver_is_served_as_it_asks(client: httpx.AsyncClient, tell: Tell) -> None:
    """It repeats what it read of us, names its format, and is verified without having asked for it."""
    apple = await receiver(client, "apple")
    asked = {
        "iss": f"{ISSUER}/.well-known/sse-configuration",
        "aud": [apple.strict.audience],
        "format": "iss_sub",
        "delivery": {"method": LEGACY_POLL, "endpoint_url": None},
        "events_requested": [REVOKED, DISABLED],
    }

    stream = await apple.create(**asked)
    await tell(signal())

    assert (stream["delivery"]["method"], stream["format"]) == (LEGACY_POLL, "iss_sub")
    came = await apple.poll(stream)
    assert names(came) == ["verification", "session-revoked", "account-disabled"]
    assert came[1].subject == {"format": "iss_sub", "iss": ISSUER, "sub": "E1042"}
    pushed = await apple.update(delivery=PUSHED | {"method": LEGACY_PUSH})
    assert pushed["delivery"] == PUSHED | {"method": LEGACY_PUSH}
    assert (await apple.ask("GET", "status_endpoint")).json()["status"] == "enabled"
    assert (await apple.ask("DELETE", "configuration_endpoint")).status_code == 204
    assert await apple.all() == []


async def test_legacy_receiver_gets_no_other_format_than_the_operator_said(client: httpx.AsyncClient) -> None:
    """Or it would learn addresses that it is not meant to."""
    apple = await receiver(client, "apple")

    answer = await apple.ask("POST", "configuration_endpoint", json={"format": "email"})

    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (400, "format")


async def test_kept_stream_has_no_more_than_it_needs(siem: Receiver, redis: Redis) -> None:
    """No token, no secret, no audience: those are the configuration's."""
    stream = await siem.create(events_requested=[REVOKED])

    kept = json.loads(redis.hget(keys.STREAMS, stream["stream_id"]) or b"")

    assert kept.keys() == {"id", "receiver", "method", "endpoint_url", "authorization", "events_requested", "made_at"}
