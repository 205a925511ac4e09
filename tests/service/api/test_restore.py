"""``POST /v1/people/{key}/restore``: an operator takes back who left."""

from datetime import timedelta

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.event import State
from lifecycle.person import Person
from service.app import create_app
from tests import seed
from tests.conftest import ADMIN_TOKEN, MakeConfig, open_client

URL = "/v1/people/E1042/restore"


@pytest.fixture
async def ask(client: httpx.AsyncClient, admin: dict[str, str]) -> httpx.AsyncClient:
    """Give a client that has the token."""
    client.headers.update(admin)
    return client


def leave(redis: Redis) -> None:
    """Keep somebody who left."""
    seed.put(redis, seed.event())
    seed.settle(redis, "E1042", State.APPLIED)


async def test_leaver_is_taken_back(ask: httpx.AsyncClient, redis: Redis) -> None:
    """The answer names an event that can be asked for, with who asked for it."""
    leave(redis)

    answer = await ask.post(URL)

    event = answer.json()["event"]
    assert (answer.status_code, answer.json()) == (202, {"restored": "E1042", "event": event})
    found = (await ask.get(f"/v1/events/{event}")).json()
    assert (found["state"], found["source"], found["kind"], found["person"]) == ("kept", "operator", "joiner", "E1042")
    assert found["timeline"][1]["detail"] == {"by": "api"}
    assert (await ask.get(f"/v1/events/{found['id']}")).json() == found


async def test_who_works_here_and_who_is_unknown_are_told_apart(ask: httpx.AsyncClient, redis: Redis) -> None:
    """400 and 404, with the reason as the problem's type; nothing is kept."""
    redis.set(keys.person("E1042"), Person(key="E1042").model_dump_json())

    answers = [await ask.post(URL), await ask.post("/v1/people/nobody/restore")]

    assert [(answer.status_code, answer.json()["type"].rpartition(":")[2]) for answer in answers] == [
        (400, "nothing_to_restore"),
        (404, "person_unknown"),
    ]
    assert redis.zcard(keys.EVENTS) == 0


async def test_time_is_the_policys(config: MakeConfig, redis: Redis) -> None:
    """``restore_within`` is over: 400 says when it ended."""
    leave(redis)
    over = config(policy={"restore_within": timedelta()})

    async with open_client(create_app(over)) as client:
        answer = await client.post(URL, headers={"authorization": f"Bearer {ADMIN_TOKEN}"})

    assert (answer.status_code, answer.json()["type"]) == (400, "urn:gatepost:problem:restore_too_late")
    assert "policy.restore_within ended at" in answer.json()["detail"]


async def test_person_shows_what_a_restore_would_give_back(ask: httpx.AsyncClient, redis: Redis) -> None:
    """With the accounts, and with those that were deleted."""
    leave(redis)

    found = (await ask.get("/v1/people/E1042")).json()

    assert found["accounts"]["crm"]["before"]["groups"] == {"Support": "g1"}
    assert found["accounts"]["crm"]["before"]["roles"] == ["employee"]
    assert found["accounts"]["crm"]["deletion"] is None
    assert found["deleted"]["desk"]["id"] == "d-1"
