"""Discovery and cursors against scim2-server, which is not ours, over loopback."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.secrets import Secret
from tests.conftest import free_port
from tests.workers.fake_scim import TOKEN, USER
from tests.workers.stories import target
from workers.http import Http
from workers.jobs import place_of
from workers.outcome import Place
from workers.scim.client import Conversation

START_SECONDS_MAX = 20
HEADERS = {"authorization": f"Bearer {TOKEN}"}
BARE = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
    **{name: {"supported": False} for name in ("patch", "changePassword", "sort", "etag")},
    "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
    "filter": {"supported": False, "maxResults": 2},
    "pagination": {"cursor": True, "index": True, "defaultPaginationMethod": "index", "maxPageSize": 2},
    "authenticationSchemes": [],
}

Meet = Callable[..., Place]


@pytest.fixture
def meet(redis: Redis, tmp_path: Path) -> Iterator[Meet]:
    """Run a server with five accounts that says this of itself, and make everything warm to speak to it."""
    with ExitStack() as stack:

        def run(says: dict[str, Any] | None = None, **profile: Any) -> Place:  # noqa: ANN401 - configuration
            port = free_port()
            command = [sys.executable, "-m", "scim2_server.testserver.cli", "--port", str(port)]
            command += ["--bearer-token", TOKEN]
            if says is not None:
                said = tmp_path / "config.json"
                said.write_text(json.dumps(says))
                command += ["--service-provider-config", str(said)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
            stack.callback(process.wait)
            stack.callback(process.kill)
            url = f"http://127.0.0.1:{port}/v2"
            _await(url, process)
            for number in range(5):
                body = {"schemas": [USER], "userName": f"u{number}"}
                httpx.post(f"{url}/Users", headers=HEADERS, json=body).raise_for_status()
            http = Http()
            stack.callback(http.close)
            section = target(base_url=url, token=Secret("env:CRM_SCIM_TOKEN", TOKEN), profile=profile)
            return place_of(redis, "crm", section, http)

        yield run


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/ServiceProviderConfig", headers=HEADERS).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)


def listed(place: Place) -> tuple[list[str], list[str]]:
    """List everybody; return the names, and what was asked."""
    talk = Conversation(lambda: None, can=place.capabilities())
    found = place.client.everyone(talk, "Users")
    return sorted(each["userName"] for each in found), [exchange.path for exchange in talk.exchanges]


EVERYBODY = [f"u{number}" for number in range(5)]


def test_bare_server_is_known_as_such_and_read_by_cursor(meet: Meet, redis: Redis) -> None:
    """No PATCH, no filter, no versions, pages of two: it says so, and three questions tell."""
    place = meet(BARE)
    talk = Conversation(lambda: None)

    place.discovery.refresh(talk)

    can = place.capabilities()
    assert [exchange.status for exchange in talk.exchanges] == [200, 200, 200]
    assert (can.patch, can.filter, can.etag, can.cursor, can.page_size) == (False, False, False, True, 2)
    assert all(can.schema.at(path) is not None for path in place.mapping)
    assert redis.exists(keys.baseline("crm"))
    assert not redis.exists(keys.stopped("crm"))
    assert listed(place) == (
        EVERYBODY,
        ["/Users?cursor=&count=2", "/Users?cursor=...&count=2", "/Users?cursor=...&count=2"],
    )


def test_server_without_cursors_is_read_by_index(meet: Meet) -> None:
    """Somebody insisted on cursors; 501 is this server's word for what it does not have."""
    place = meet(cursor=True, page_size=3)

    names, asked = listed(place)

    assert names == EVERYBODY
    assert asked == ["/Users?cursor=&count=3", "/Users?startIndex=1&count=3", "/Users?startIndex=4&count=3"]


def test_full_server_is_known_as_such(meet: Meet) -> None:
    """PATCH, versions and bulk, with its own limits."""
    place = meet()

    place.discovery.refresh(Conversation(lambda: None))

    can = place.capabilities()
    assert (can.patch, can.filter, can.etag, can.cursor) == (True, True, True, False)
    assert can.bulk_operations_max > 1
    assert can.bulk_bytes_max > 1
