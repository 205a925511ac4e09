"""Probes and metrics."""

import httpx
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from lifecycle.event import State
from tests.notices import SECRETS, canonical, okta, okta_entry, signed
from tests.seed import event, put, settle


async def samples(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Scrape and return each sample by name and labels."""
    text = (await client.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_probes_answer(client: httpx.AsyncClient, redis: Redis) -> None:
    """A receiver is live at once, and ready when its Redis takes a write."""
    live, ready = await client.get("/health/live"), await client.get("/health/ready")

    assert (live.json(), ready.json()) == ({"status": "live"}, {"status": "ready"})
    assert 0 < redis.ttl("gatepost:ready") <= 60


async def test_ready_is_503_while_redis_takes_no_write(client: httpx.AsyncClient, redis: Redis) -> None:
    """A Redis that answers but cannot write, a replica for one, is not ready."""
    redis.config_set("min-replicas-to-write", "1")
    try:
        answer = await client.get("/health/ready")
    finally:
        redis.config_set("min-replicas-to-write", "0")

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:gatepost:problem:redis")


async def test_notices_are_counted_by_what_became_of_them(client: httpx.AsyncClient) -> None:
    """What became of a notice is told apart, by source; strangers make no label."""
    body, other = canonical(), canonical("person.promoted")
    headers = signed(body)
    for _ in range(2):
        await client.post("/hooks/hris", content=body, headers=headers)
    await client.post("/hooks/hris", content=other, headers=signed(other))
    await client.post("/hooks/hris", content=b"x", headers=signed(b"x"))
    await client.post("/hooks/hris", content=body, headers={})
    await client.put("/hooks/okta")
    await client.request("OPTIONS", "/hooks/okta")
    await client.get("/hooks/okta", headers={"x-okta-verification-challenge": "c"})
    await client.post("/hooks/stranger", content=body)

    found = await samples(client)

    counted = {
        (dict(labels)["source"], dict(labels)["result"]): value
        for (name, labels), value in found.items()
        if name == "gatepost_notices_total"
    }
    assert counted == {
        ("hris", "accepted"): 1,
        ("hris", "duplicate"): 1,
        ("hris", "ignored"): 1,
        ("hris", "set_aside"): 1,
        ("hris", "unauthentic"): 1,
        ("okta", "refused"): 1,
        ("okta", "greeted"): 1,
    }
    assert found["gatepost_failures", frozenset()] == 1


async def test_fleet_is_shown_by_every_receiver(client: httpx.AsyncClient, redis: Redis) -> None:
    """What workers did anywhere is in the scrape: outcomes, requests, latency, what waits and how long."""
    put(redis, event())
    settle(redis, "E1042", State.HELD)
    await client.post("/hooks/okta", content=okta(okta_entry()), headers={"authorization": SECRETS["okta"]})

    found = await samples(client)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("gatepost_events_total", source="hris", kind="leaver", state="held") == 1
    assert value("gatepost_scim_requests_total", target="crm", method="PATCH", status="200") == 1
    assert value("gatepost_time_to_revoke_seconds_bucket", target="crm", le="0.25") == 0
    assert value("gatepost_time_to_revoke_seconds_bucket", target="crm", le="0.5") == 1
    assert value("gatepost_time_to_revoke_seconds_bucket", target="crm", le="+Inf") == 1
    assert value("gatepost_time_to_revoke_seconds_sum", target="crm") == 0.4
    assert value("gatepost_event_latency_seconds_count", kind="leaver") == 1
    assert value("gatepost_lane_depth", lane="leavers") == 2
    assert value("gatepost_lane_depth", lane="people") == 0
    assert 0 <= value("gatepost_oldest_event_seconds", lane="leavers") < 60
    assert value("gatepost_holds") == 1
    assert value("gatepost_failures") == 1


async def test_strange_paths_make_problem_documents(client: httpx.AsyncClient) -> None:
    """Whatever the router refuses has the same form as what we refuse."""
    answers = [await client.get("/nothing"), await client.post("/health/live"), await client.delete("/metrics")]

    assert [answer.status_code for answer in answers] == [404, 405, 405]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert all(answer.json()["status"] == answer.status_code for answer in answers)


async def test_document_is_served(client: httpx.AsyncClient) -> None:
    """``/openapi.yaml`` gives the document as it is in the checkout."""
    answer = await client.get("/openapi.yaml")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/yaml")
    assert answer.text.startswith("openapi: 3.1")
