import sys
from pathlib import Path
from subprocess import DEVNULL, Popen

import httpx
import pytest

from tests.conftest import ROOT, free_port
from tests.flow.patience import eventually
from tests.sandbox.conftest import PATCH, Caller

OUT = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}


def _me(genesys: Caller, token: str) -> int:
    return genesys.platform("GET", "/users/me", headers={"authorization": f"Bearer {token}"}).status_code


def test_suspension_alone_does_not_log_out(genesys: Caller) -> None:
    """Sessions end when the tokens are deleted, not before; somebody who is suspended cannot log in again."""
    user = genesys.user()
    token = genesys.control("POST", f"/users/{user['id']}/sessions")["token"]
    genesys.scim("PATCH", f"/Users/{user['id']}", OUT)
    still, sessions = _me(genesys, token), genesys.shown(user)["sessions"]

    revoked = genesys.platform("DELETE", f"/tokens/{user['id']}")

    assert (still, sessions) == (200, 1)
    assert revoked.status_code == 200
    assert (_me(genesys, token), genesys.shown(user)["sessions"]) == (401, 0)
    assert genesys.http.post(f"/sandbox/users/{user['id']}/sessions").status_code == 409


def test_only_the_one_user_is_logged_out(genesys: Caller) -> None:
    """Nobody else's tokens end, not the client's either; the second time is fine, and nobody is a 404."""
    ada, bo = genesys.user("ada.lee@acme.example"), genesys.user()
    token = genesys.control("POST", f"/users/{ada['id']}/sessions")["token"]

    answers = [genesys.platform("DELETE", f"/tokens/{user}").status_code for user in (bo["id"], bo["id"], "nobody")]

    assert answers == [200, 200, 404]
    assert _me(genesys, token) == 200
    assert genesys.scim("GET", "/Users").status_code == 200


def test_queues_are_listed_page_by_page_and_left(genesys: Caller) -> None:
    """Queues are not groups: they are read, and left, by the platform API."""
    user = genesys.user()
    queues = [genesys.control("POST", "/queues", {"name": f"Q{n}", "members": [user["id"]]}) for n in range(3)]
    path = f"/users/{user['id']}/queues"

    second = genesys.platform("GET", path, params={"pageSize": 2, "pageNumber": 2}).json()
    left = genesys.platform("DELETE", f"/routing/queues/{queues[0]['id']}/members/{user['id']}")
    again = genesys.platform("DELETE", f"/routing/queues/{queues[0]['id']}/members/{user['id']}")
    members = f"/routing/queues/{queues[1]['id']}/members"
    together = genesys.platform("POST", members, [{"id": user["id"]}], params={"delete": "true"})

    assert ([queue["name"] for queue in second["entities"]], second["total"], second["pageCount"]) == (["Q2"], 3, 2)
    assert (left.status_code, again.status_code, together.status_code) == (204, 404, 204)
    assert [queue["name"] for queue in genesys.platform("GET", path).json()["entities"]] == ["Q2"]
    assert genesys.shown(user)["queues"] == ["Q2"]


@pytest.mark.parametrize("query", [{"pageSize": "many"}, {"pageNumber": "0"}])
def test_a_wrong_page_is_refused(genesys: Caller, query: dict[str, str]) -> None:
    """Numbers from 1."""
    user = genesys.user()

    assert genesys.platform("GET", f"/users/{user['id']}/queues", params=query).status_code == 400


def test_roles_are_shown_as_the_platform_has_them(genesys: Caller) -> None:
    """By id and name, with what else the answer has."""
    user = genesys.user(roles=[{"value": "Communicate - User"}])

    found = genesys.platform("GET", f"/users/{user['id']}/roles").json()

    assert [role["name"] for role in found["roles"]] == ["employee", "Communicate - User"]
    assert (found["unusedRoles"], found["permissions"]) == ([], [])


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    """``python -m gatepost.sandbox`` listens on loopback and knows its client."""
    (tmp_path / "secret").write_text("of a file\n")
    port = free_port()
    options = ["--port", str(port), "--client-id", "me", "--client-secret-file", str(tmp_path / "secret")]
    more = ["--requests-per-minute", "60", "--lag", "0.1", "--without", "oauth:token:delete", "--hide-inactive"]
    command = [sys.executable, "-m", "gatepost.sandbox", *options, *more]
    process = Popen(command, cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL)  # noqa: S603 - our own
    try:
        eventually(lambda: _token(port) == 200)
        url = f"http://127.0.0.1:{port}/sandbox/requests"
        httpx.delete(url).raise_for_status()
        shown = httpx.get(url).json()
    finally:
        process.terminate()
        process.wait(10)

    assert shown == {"items": [], "total": 0, "limited": 0}


def _token(port: int) -> int:
    try:
        url = f"http://127.0.0.1:{port}/login/oauth/token"
        return httpx.post(url, data={"grant_type": "client_credentials"}, auth=("me", "of a file")).status_code
    except httpx.TransportError:
        return 0
