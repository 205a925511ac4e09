"""Subjects: every person is told of, but those whom the receiver removed."""

import hashlib
from typing import Any

from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.replay import Replay
from lifecycle.roster import revision
from lifecycle.signal import Signal
from lifecycle.ssf.streams import SUBJECTS_MAX
from service.ssf.transmitter import SUBJECT_CHANGES_MAX
from tests.service.ssf.conftest import Tell
from tests.service.ssf.receiver import Receiver, ids
from tests.strict_receiver import RISC, Taken
from tests.transmitter import ISSUER, signal

ONE = [RISC + "account-disabled"]
OPAQUE = hashlib.sha256(f"{ISSUER}\nhttps://siem.example/ssf\nE1042".encode()).hexdigest()
BOS_NAMES: list[dict[str, Any]] = [
    {"format": "email", "email": "bo.ray@acme.example"},
    {"format": "email", "email": "Bo.Ray@ACME.example"},
    {"format": "iss_sub", "iss": ISSUER, "sub": "E1042"},
    {"format": "scim", "externalId": "E1042"},
    {"format": "scim", "uri": "/Users/u-7", "externalId": "E1042", "id": "u-7"},
    {"format": "opaque", "id": OPAQUE},
    {"format": "complex", "user": {"format": "email", "email": "bo.ray@acme.example"}},
]
NOBODYS_NAMES: list[dict[str, Any]] = [
    {"format": "email", "email": "bo@acme.example"},
    {"format": "iss_sub", "iss": "https://other.example", "sub": "E1042"},
    {"format": "iss_sub", "iss": ISSUER, "sub": "e1042"},
    {"format": "scim", "externalId": "E2042", "id": "u-7"},
    {"format": "opaque", "id": "E1042"},
]
NONE: list[Any] = [
    None,
    "bo.ray@acme.example",
    [],
    {},
    {"format": "email"},
    {"format": "email", "email": ""},
    {"format": "email", "email": None},
    {"format": "email", "email": "x" * 501},
    {"format": "email", "email": "bo.ray@acme.example", "sub": "E1042"},
    {"email": "bo.ray@acme.example"},
    {"format": ["email"], "email": "bo.ray@acme.example"},
    {"format": "iss_sub", "sub": "E1042"},
    {"format": "scim"},
    {"format": "scim", "externalId": 5},
    {"format": "scim", "externalId": "E1042", "id": 5},
    {"format": "scim", "id": "u-7"},
    {"format": "scim", "uri": "/Users/u-7", "id": "u-7"},
    {"format": "phone_number", "phone_number": "+12065550123"},
    {"format": "aliases", "identifiers": []},
    {"format": "complex"},
    {"format": "complex", "user": "x"},
    {"format": "complex", "user": {"format": "complex", "user": {"format": "opaque", "id": "x"}}},
    {"format": "complex", "user": {"format": "opaque", "id": "x"}, "device": {"format": "opaque", "id": "y"}},
]


def of_al(event: str) -> Signal:
    """Make a signal that is about somebody else."""
    made = signal(event=event, person="E2", facts={"email": "al@acme.example"}, account={"id": "u-8", "active": False})
    return made._replace(body=made.body.replace("E1042", "E2").replace("bo.ray", "al"))


async def come(siem: Receiver, stream: dict[str, Any]) -> list[str]:
    """Return whom the receiver is told of, and acknowledge it."""
    taken: list[Taken] = await siem.poll(stream)
    await siem.poll(stream, ack=ids(taken))
    return [each.subject["email"] for each in taken]


async def test_removed_subject_is_told_of_no_more_until_it_is_added_again(
    siem: Receiver, tell: Tell, redis: Redis
) -> None:
    """By whichever of its names, and addresses in any case; others are told of all the while."""
    stream = await siem.create(events_requested=ONE)
    for number, subject in enumerate(BOS_NAMES):
        await siem.subject("remove", stream["stream_id"], subject)
        await tell(signal(event=f"hris:a-{number}"), of_al(f"hris:b-{number}"))
        assert await come(siem, stream) == ["al@acme.example"], subject
        await siem.subject("add", stream["stream_id"], subject)
        await tell(signal(event=f"hris:c-{number}"))
        assert await come(siem, stream) == ["bo.ray@acme.example"], subject

    assert redis.exists(keys.excluded(stream["stream_id"])) == 0


async def test_other_names_exclude_nobody(siem: Receiver, tell: Tell) -> None:
    """Two simple subjects match if they are identical; and nobody learns whom we know."""
    stream = await siem.create(events_requested=ONE)
    for subject in NOBODYS_NAMES:
        await siem.subject("remove", stream["stream_id"], subject)

    await tell(signal())

    assert await come(siem, stream) == ["bo.ray@acme.example"]


async def test_who_is_called_otherwise_now_is_still_who_was_removed(siem: Receiver, tell: Tell) -> None:
    """The old name excludes what tells that it is another now."""
    stream = await siem.create(events_requested=[RISC + "identifier-changed"])
    facts = {"email": "bo.ray@acme.example", "old": {"email": "bo.roe@acme.example", "user_name": "bo.roe"}}
    await siem.subject("remove", stream["stream_id"], NOBODYS_NAMES[0])
    await tell(signal("updated", facts=facts))
    assert await come(siem, stream) == ["bo.roe@acme.example"]

    await siem.subject("remove", stream["stream_id"], {"format": "email", "email": "bo.roe@acme.example"})
    await tell(signal("updated", event="hris:evt-2", facts=facts))

    assert await come(siem, stream) == []


async def test_subjects_are_each_streams_own_and_the_stream_itself_cannot_be_removed(
    siem: Receiver, tell: Tell
) -> None:
    """SSF section 8.1.4.1: what is about the stream comes whatever was removed."""
    stream, other = await siem.create(events_requested=ONE), await siem.create(events_requested=ONE)
    told = stream["stream_id"]
    await siem.subject("remove", told, BOS_NAMES[0])
    await siem.subject("remove", told, {"format": "opaque", "id": told})
    await siem.verify(told)
    await tell(signal())

    assert [each.subject for each in await siem.poll(stream)] == [{"format": "opaque", "id": told}]
    assert await come(siem, other) == ["bo.ray@acme.example"]


async def test_what_is_no_subject_or_of_an_unknown_format_is_400(siem: Receiver, redis: Redis) -> None:
    """With what is wrong; the stream is as it was."""
    told = {"stream_id": (await siem.create())["stream_id"]}
    before = revision(redis)
    for subject in NONE:
        for change in ("add", "remove"):
            answer = await siem.ask("POST", f"{change}_subject_endpoint", json=told | {"subject": subject})
            assert (answer.status_code, answer.json()["detail"].partition(":")[0].partition(".")[0]) == (400, "subject")
    assert (await siem.ask("POST", "add_subject_endpoint", json=told)).status_code == 400
    assert (revision(redis), redis.exists(keys.excluded(told["stream_id"]))) == (before, 0)


async def test_account_alone_is_no_subject_for_another_target_may_have_the_same(siem: Receiver) -> None:
    """The answer says what is missing, and why."""
    told = {"stream_id": (await siem.create())["stream_id"]}

    answer = await siem.ask("POST", "remove_subject_endpoint", json=told | {"subject": {"format": "scim", "id": "7"}})

    assert answer.status_code == 400
    assert answer.json()["detail"] == (
        "subject: scim has externalId (id and uri alone may be another person's, on another target) and no other member"
    )


async def test_subjects_have_a_bound_and_so_have_changes(siem: Receiver, redis: Redis) -> None:
    """A stream keeps so many, and what changes nothing lets nobody read anew who gets what."""
    told = (await siem.create())["stream_id"]
    redis.sadd(keys.excluded(told), *(f"opaque {number}" for number in range(SUBJECTS_MAX - 1)))
    before = revision(redis)

    await siem.subject("remove", told, BOS_NAMES[0])
    await siem.subject("remove", told, BOS_NAMES[0])
    await siem.subject("add", told, BOS_NAMES[2])
    body = {"stream_id": told, "subject": BOS_NAMES[2]}
    assert (await siem.ask("POST", "remove_subject_endpoint", json=body)).status_code == 409
    assert revision(redis) == before + 1
    # Of the siem's tokens as well, which it asks for no more.
    for bucket in redis.keys("gatepost:ssf-tries:*"):
        redis.set(bucket, SUBJECT_CHANGES_MAX, keepttl=True)
    answer = await siem.ask("POST", "add_subject_endpoint", json=body)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_what_was_removed_is_not_replayed_either(
    siem: Receiver, tell: Tell, redis: Redis, configured: Config
) -> None:
    """Neither by name nor as what failed: an operator replays past filters, not past what its receiver said."""
    stream = await siem.create(events_requested=ONE)
    told = stream["stream_id"]
    made = await tell(signal(), signal(event="hris:evt-2"))
    [failed, taken] = ids(await siem.poll(stream))
    await siem.poll(stream, ack=[taken], setErrs={failed: {"err": "invalid_key"}})
    await siem.subject("remove", told, {"format": "email", "email": "bo.ray@acme.example"})
    replay = Replay(redis, configured, told)

    replayed = [replay.one(each.id, actor="test") for each in made] + [replay.failed(actor="test")]

    assert [each.enlisted for each in replayed] == [0, 0, 0]
    await siem.subject("add", told, {"format": "email", "email": "bo.ray@acme.example"})
    assert Replay(redis, configured, told).one(made[0].id, actor="test").enlisted == 1
