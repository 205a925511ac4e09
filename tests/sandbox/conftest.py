"""A sandbox Genesys over real loopback, and a client of it with a token."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from gatepost.sandbox.genesys import running
from gatepost.sandbox.settings import Settings

BASE = "/api/v2/scim/v2"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PURECLOUD = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User"
CLIENT = ("client-of-the-tests", "secret-of-the-tests")

Start = Callable[..., "Caller"]


class Caller:
    """A client that knows the base paths, with a token of its own."""

    def __init__(self, http: httpx.Client) -> None:
        """Fetch the token."""
        self.http = http
        granted = http.post("/login/oauth/token", data={"grant_type": "client_credentials"}, auth=CLIENT).json()
        self.token = granted["access_token"]
        http.headers["authorization"] = f"Bearer {self.token}"

    def scim(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """Send a SCIM request."""
        return self.http.request(method, f"{BASE}{path}", json=body, **options)

    def platform(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """Send a request to the platform API."""
        return self.http.request(method, f"/api/v2{path}", json=body, **options)

    def control(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Use the control plane; it has to work."""
        answer = self.http.request(method, f"/sandbox{path}", json=body).raise_for_status()
        return answer.json() if answer.content else None

    def user(self, name: str = "bo.ray@acme.example", /, **attributes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Create a user, which has to work."""
        body = {"schemas": [USER], "userName": name, "displayName": "Bo Ray", **attributes}
        answer = self.scim("POST", "/Users", body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def patch(self, user: dict[str, Any], *operations: dict[str, Any], **headers: str) -> httpx.Response:
        """Patch a user."""
        body = {"schemas": [PATCH], "Operations": operations}
        return self.scim("PATCH", f"/Users/{user['id']}", body, headers=headers)

    def found(self, query: str, path: str = "/Users") -> list[dict[str, Any]]:
        """Return what a filter finds."""
        answer = self.scim("GET", path, params={"filter": query})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json().get("Resources", [])
        return found

    def shown(self, user: dict[str, Any]) -> dict[str, Any]:
        """Return a user as the control plane shows it."""
        (found,) = [each for each in self.control("GET", "/state")["users"] if each["id"] == user["id"]]
        shown: dict[str, Any] = found
        return shown


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a sandbox with settings: ``start(requests_per_minute=3)``."""
    with ExitStack() as stack:

        def run(**settings: Any) -> Caller:  # noqa: ANN401 - settings
            url = stack.enter_context(running(Settings(*CLIENT, **settings)))
            return Caller(stack.enter_context(httpx.Client(base_url=url, timeout=10)))

        yield run


@pytest.fixture
def genesys(start: Start) -> Caller:
    """Give a client of a sandbox as it is by default."""
    return start()
