"""Service providers that are not ours, as processes on this machine, and a sandbox Genesys; a plain client reads them.

scim2-server is set by the ServiceProviderConfig that it is given: what that does not offer is refused with 501.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
from scim2_models import ScimProvider, ServiceProviderConfig
from scim2_server.memory import InMemoryStorage
from scim2_server.testserver.application import BearerTokenApplication
from scim2_server.utils import load_default_resource_types, load_default_schemas

from tests.conftest import free_port
from tests.workers.fake_scim import ERROR, GROUP, TOKEN, USER

START_SECONDS_MAX = 20
CLIENT, SECRET = "client-of-the-tests", "secret-of-the-tests"
# Far past what a story asks: the limit is tested elsewhere.
REQUESTS_PER_MINUTE = 60_000
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@dataclass
class Provider:
    """A server that runs: its section of the configuration, and a client that knows nothing of ours."""

    section: dict[str, Any]
    client: httpx.Client
    control: str | None = None
    """Where groups are made by hand, and past the API, on a server without a POST of groups."""

    def add_user(self, name: str, **attributes: Any) -> str:  # noqa: ANN401 - SCIM values
        """Create an account, as somebody else would, and return its id."""
        body = {"schemas": [USER, *(each for each in attributes if each.startswith("urn:"))], "userName": name}
        answer = self.client.post("/Users", json=body | attributes)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        return str(answer.json()["id"])

    def add_group(self, name: str, *members: str) -> None:
        """Create a group with members."""
        if self.control:
            body: dict[str, Any] = {"displayName": name, "members": list(members)}
            self.client.post(f"{self.control}/groups", json=body).raise_for_status()
            return
        body = {"schemas": [GROUP], "displayName": name} | (
            {"members": [{"value": each} for each in members]} if members else {}
        )
        self.client.post("/Groups", json=body).raise_for_status()

    def users(self) -> list[dict[str, Any]]:
        """Return every account in full, the inactive ones too."""
        if self.control:
            return list(self.client.get(f"{self.control}/state").json()["users"])
        return self._listed("Users")

    def user(self, name: str) -> dict[str, Any]:
        """Return the one account of this name."""
        (found,) = [each for each in self.users() if each["userName"].lower() == name.lower()]
        return found

    def members(self) -> dict[str, set[str]]:
        """Return the names of everybody in each group."""
        names = {each["id"]: each["userName"] for each in self.users()}
        if self.control:
            groups = self.client.get(f"{self.control}/state").json()["groups"]
            return {each["displayName"]: {names[member] for member in each["members"]} for each in groups}
        return {
            each["displayName"]: {names[member["value"]] for member in each.get("members", [])}
            for each in self._listed("Groups")
        }

    def _listed(self, kind: str) -> list[dict[str, Any]]:
        """Return all of a kind, by cursor where the server has them (RFC 9865), else by index."""
        found: list[dict[str, Any]] = []
        page = self.client.get(f"/{kind}").json()
        while page.get("Resources"):
            found += page["Resources"]
            more = {"cursor": page["nextCursor"]} if "nextCursor" in page else {"startIndex": len(found) + 1}
            if "nextCursor" not in page and len(found) >= page["totalResults"]:
                break
            page = self.client.get(f"/{kind}", params=more).json()
        return found


# ---- scim2-server

FULL: dict[str, Any] = {
    "patch": {"supported": True},
    "bulk": {"supported": True, "maxOperations": 1000, "maxPayloadSize": 1_048_576},
    "filter": {"supported": True, "maxResults": 1000},
    "changePassword": {"supported": True},
    "sort": {"supported": True},
    "etag": {"supported": True},
    "authenticationSchemes": [],
}
CURSOR = FULL | {
    "pagination": {"cursor": True, "index": False, "defaultPaginationMethod": "cursor", "defaultPageSize": 2}
}
NO_FILTER = {"filter": {"supported": False, "maxResults": 2}}
NO_BULK = {"bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0}}
BARE = FULL | NO_FILTER | NO_BULK | {name: {"supported": False} for name in ("patch", "changePassword", "sort", "etag")}


@contextmanager
def scim2_server(features: Mapping[str, Any], folder: Path, **section: Any) -> Iterator[Provider]:  # noqa: ANN401 - TOML
    """Run scim2-server with these features."""
    announced = folder / "service_provider_config.json"
    announced.write_text(json.dumps(features))
    port = free_port()
    options = ["--port", str(port), "--bearer-token", TOKEN, "--service-provider-config", str(announced)]
    url = f"http://127.0.0.1:{port}/v2"
    with _process("scim2_server.testserver.cli", options, f"{url}/ServiceProviderConfig"), _client(url) as client:
        yield Provider(_section(url) | section, client)


@contextmanager
def refusing(words: Mapping[str, str], features: Mapping[str, Any]) -> Iterator[Provider]:
    """Run scim2-server in a thread behind a gateway that refuses methods, each in words of its own."""
    provider = ScimProvider.from_discovery(
        load_default_schemas().values(),
        load_default_resource_types().values(),
        config=ServiceProviderConfig.model_validate(features),
    )
    inner = BearerTokenApplication(InMemoryStorage(), provider, bearer_tokens=[TOKEN])

    def gateway(environ: WSGIEnvironment, start: StartResponse) -> Any:  # noqa: ANN401 - an iterable of bytes
        if environ["REQUEST_METHOD"] not in words:
            return inner(environ, start)
        start("405 Method Not Allowed", [("content-type", "application/scim+json")])
        detail = words[environ["REQUEST_METHOD"]]
        return [json.dumps({"schemas": [ERROR], "status": "405", "detail": detail}).encode()]

    with make_server("127.0.0.1", 0, gateway, handler_class=_Quiet) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v2"
        with _client(url) as client:
            yield Provider(_section(url), client)
        server.shutdown()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _section(url: str) -> dict[str, Any]:
    return {"adapter": "scim", "base_url": url, "token": "env:CRM_SCIM_TOKEN"}


@contextmanager
def _client(url: str, token: str = TOKEN) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=10) as client:
        yield client


# ---- the sandbox


@contextmanager
def sandbox(folder: Path) -> Iterator[Provider]:
    """Run a sandbox Genesys Cloud as it is by default, but for its limit."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    port = free_port()
    limit = ["--requests-per-minute", str(REQUESTS_PER_MINUTE)]
    options = ["--port", str(port), "--client-id", CLIENT, "--client-secret-file", str(secret), *limit]
    host = f"http://127.0.0.1:{port}"
    section: dict[str, Any] = {
        "adapter": "genesys_cloud",
        "base_url": f"{host}/api/v2/scim/v2",
        "token_url": f"{host}/login/oauth/token",
        "client_id": "env:GENESYS_CLIENT_ID",
        "client_secret": "env:GENESYS_CLIENT_SECRET",
        "requests_per_minute": REQUESTS_PER_MINUTE,
    }
    with _process("gatepost.sandbox", options, f"{host}/sandbox/state"):
        granted = httpx.post(section["token_url"], data={"grant_type": "client_credentials"}, auth=(CLIENT, SECRET))
        with _client(section["base_url"], granted.json()["access_token"]) as client:
            yield Provider(section, client, f"{host}/sandbox")


@contextmanager
def _process(module: str, options: list[str], url: str) -> Iterator[None]:
    """Run a module until it is no longer needed; ready when this URL answers."""
    command = [sys.executable, "-m", module, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        _await(url, process)
        yield
    finally:
        process.kill()
        process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"}).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)
