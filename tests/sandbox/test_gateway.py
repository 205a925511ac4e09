import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.flow.patience import eventually
from tests.sandbox.conftest import CLIENT, PATCH, PURECLOUD, USER, Caller, Start

DEMOTION = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "roles", "value": []}]}
BO = {"schemas": [USER], "userName": "bo.ray@acme.example", "displayName": "Bo Ray"}


def test_a_token_is_granted_by_client_credentials(genesys: Caller) -> None:
    """HTTP Basic and the grant type; the answer says how long and for what."""
    granted = genesys.http.post("/login/oauth/token", data={"grant_type": "client_credentials"}, auth=CLIENT)

    found = granted.json()
    assert (granted.status_code, found["token_type"], found["expires_in"]) == (200, "bearer", 86_400)
    assert {"scim", "users"} <= set(found["scope"].split())


@pytest.mark.parametrize(
    ("auth", "grant", "status", "error"),
    [
        (("client-of-the-tests", "guess"), "client_credentials", 401, "invalid_client"),
        (("somebody", "secret-of-the-tests"), "client_credentials", 401, "invalid_client"),
        (None, "client_credentials", 401, "invalid_client"),
        (CLIENT, "authorization_code", 400, "unsupported_grant_type"),
    ],
)
def test_no_token_for_others(
    genesys: Caller, auth: tuple[str, str] | None, grant: str, status: int, error: str
) -> None:
    """A wrong secret, a wrong client, no credentials or another grant gets an error of RFC 6749."""
    with httpx.Client(base_url=genesys.http.base_url, auth=auth) as http:
        answer = http.post("/login/oauth/token", data={"grant_type": grant})

    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_every_request_needs_a_live_token(start: Start) -> None:
    """None, a wrong one and one that has run out are 401 in the platform's shape, discovery included."""
    genesys = start(token_seconds=0)
    bearers = [{"authorization": ""}, {"authorization": "Bearer guess"}, {"authorization": f"Bearer {genesys.token}"}]

    answers = [genesys.scim("GET", "/ServiceProviderConfig", headers=bearer) for bearer in bearers]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert [answer.json()["code"] for answer in answers] == [
        "authentication.required",
        "bad.credentials",
        "bad.credentials",
    ]
    for answer in answers:
        assert {"message", "code", "status", "contextId"} <= answer.json().keys()
        assert answer.json()["contextId"] == answer.headers["inin-correlation-id"]


def test_a_token_can_die_early(genesys: Caller) -> None:
    """As by an idle timeout: the next request is a 401, and a new token works."""
    genesys.control("DELETE", "/tokens")
    died = genesys.scim("GET", "/Users").status_code

    again = Caller(genesys.http)

    assert died == 401
    assert again.scim("GET", "/Users").status_code == 200


@pytest.mark.parametrize(
    ("permission", "method", "path", "body"),
    [
        ("directory:user:add", "POST", "/Users", BO | {"userName": "cy@acme.example"}),
        ("directory:user:edit", "PATCH", "/Users/{user}", DEMOTION),
        ("directory:user:delete", "DELETE", "/Users/{user}", None),
        ("directory:group:edit", "GET", "/Groups?filter=id+eq+1", None),
        (
            "authorization:grant:add",
            "POST",
            "/Users",
            BO | {"userName": "cy@a.example", "roles": [{"value": "supervisor"}]},
        ),
        ("authorization:grant:delete", "PATCH", "/Users/{user}", DEMOTION),
        (
            "routing:skill:assign",
            "PATCH",
            "/Users/{user}",
            {
                "schemas": [PATCH],
                "Operations": [{"op": "add", "path": f"{PURECLOUD}:routingSkills", "value": [{"name": "Billing"}]}],
            },
        ),
        ("oauth:token:delete", "DELETE", "/tokens/{user}", None),
        ("routing:queue:view", "GET", "/users/{user}/queues", None),
    ],
)
def test_a_missing_permission_is_named(start: Start, permission: str, method: str, path: str, body: object) -> None:
    """A client whose roles lack a permission gets 403, which names it; nothing changed. Others may."""
    outcomes = []
    for without in (frozenset({permission}), frozenset[str]()):
        genesys = start(without=without)
        user = {"id": "nobody"} if "directory:user:add" in without else genesys.user()
        target = path.format(user=user["id"])
        before = genesys.control("GET", "/state")
        send = genesys.platform if path.startswith(("/tokens", "/users")) else genesys.scim
        answer = send(method, target, body)
        outcomes.append((answer, before == genesys.control("GET", "/state")))

    (refused, unchanged), (allowed, _) = outcomes
    assert (refused.status_code, refused.json()["code"], unchanged) == (403, "missing.permissions", True)
    assert f"missing the following permission(s): [{permission}]" in refused.json()["message"]
    assert allowed.status_code < 300, allowed.text


def test_the_rate_limit_is_told_and_kept(start: Start) -> None:
    """Every answer counts; past the limit 429 with Retry-After; the control plane and tokens are not counted."""
    genesys = start(requests_per_minute=3)

    answers = [genesys.scim("GET", "/Users") for _ in range(4)]
    log = genesys.control("GET", "/requests")

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["inin-ratelimit-count"] for answer in answers] == ["1", "2", "3", "3"]
    assert {answer.headers["inin-ratelimit-allowed"] for answer in answers} == {"3"}
    assert 0 < int(answers[3].headers["retry-after"]) <= 60
    assert answers[3].headers["retry-after"] == answers[3].headers["inin-ratelimit-reset"]
    assert answers[3].json()["code"] == "too.many.requests"
    assert (log["total"], log["limited"]) == (5, 1)


def test_every_answer_has_its_own_correlation_id(genesys: Caller) -> None:
    """Also a 404, in whose body it stands."""
    first, second = genesys.scim("GET", "/Users"), genesys.platform("GET", "/nothing")

    assert first.headers["inin-correlation-id"] != second.headers["inin-correlation-id"]
    assert (second.status_code, second.json()["contextId"]) == (404, second.headers["inin-correlation-id"])


def test_lists_lag_and_reads_by_id_do_not(start: Start) -> None:
    """With a lag a filter shows a create, a change and a deletion only later."""
    genesys = start(lag_seconds=0.4)
    user = genesys.user()
    found_at_once = genesys.found("userName eq bo.ray@acme.example")
    read_at_once = genesys.scim("GET", f"/Users/{user['id']}").status_code
    eventually(lambda: genesys.found("userName eq bo.ray@acme.example"))

    genesys.scim("DELETE", f"/Users/{user['id']}")
    found_after = genesys.found("userName eq bo.ray@acme.example")

    assert (found_at_once, read_at_once) == ([], 200)
    assert [each["id"] for each in found_after] == [user["id"]]
    eventually(lambda: not genesys.found("userName eq bo.ray@acme.example"))


def test_a_fault_can_make_a_read_by_id_stale(start: Start) -> None:
    """Then it shows what a list would show, once."""
    genesys = start(lag_seconds=30)
    user = genesys.user()
    genesys.control("POST", "/faults", [{"on": "GET /users/*", "do": "stale"}])

    reads = [genesys.scim("GET", f"/Users/{user['id']}").status_code for _ in range(2)]

    assert reads == [404, 200]


def test_a_lost_answer_is_of_something_done(genesys: Caller) -> None:
    """The connection is cut after the create; the user is there, and the next request is answered."""
    genesys.control("POST", "/faults", [{"on": "POST /users", "do": "lose_answer"}])

    with pytest.raises(httpx.TransportError):
        genesys.scim("POST", "/Users", BO)

    assert len(genesys.found("userName eq bo.ray@acme.example")) == 1
    assert genesys.scim("POST", "/Users", BO).status_code == 409
    assert [line["status"] for line in genesys.control("GET", "/requests")["items"]][1:] == [0, 200, 409]


def test_a_cut_request_is_not_done(genesys: Caller) -> None:
    """The connection is cut before anything happens."""
    genesys.control("POST", "/faults", [{"on": "POST /users", "do": "cut"}])

    with pytest.raises(httpx.TransportError):
        genesys.scim("POST", "/Users", BO)

    assert genesys.found("userName eq bo.ray@acme.example") == []


def test_answers_can_be_wrong_for_a_number_of_times(genesys: Caller) -> None:
    """The status, the body and the headers are as asked, nothing is done, and then all is well."""
    page = {"on": "* /USERS", "do": "answer", "times": 2, "status": 503, "body": "<h1>busy</h1>"}
    genesys.control("POST", "/faults", [page | {"headers": {"retry-after": "1"}}])

    answers = [genesys.scim("POST", "/users", BO) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 201]
    assert (answers[0].text, answers[0].headers["content-type"]) == ("<h1>busy</h1>", "text/html")
    assert answers[0].headers["retry-after"] == "1"
    assert "inin-correlation-id" in answers[0].headers


def test_answers_can_be_late(genesys: Caller) -> None:
    """One request waits; others do not wait for it."""
    genesys.control("POST", "/faults", [{"on": "GET /users", "do": "delay", "seconds": 0.5}])

    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        late = pool.submit(genesys.scim, "GET", "/Users")
        eventually(lambda: not late.running() or time.monotonic() > started + 0.1)
        genesys.control("GET", "/state")
        prompt = time.monotonic() - started
        late.result()

    assert prompt < 0.5 <= time.monotonic() - started


def test_faults_can_be_taken_back_and_a_wrong_one_is_refused(genesys: Caller) -> None:
    """The control plane checks what it is told."""
    wrong = genesys.http.post("/sandbox/faults", json=[{"on": "GET /users", "do": "explode"}])
    genesys.control("POST", "/faults", [{"on": "GET /users", "do": "cut"}])
    genesys.control("DELETE", "/faults")

    assert wrong.status_code == 400
    assert "explode" in wrong.json()["message"]
    assert genesys.scim("GET", "/Users").status_code == 200


def test_a_connection_is_kept(genesys: Caller) -> None:
    """Many requests, errors among them, go over one connection (HTTP/1.1)."""
    opened = []

    def trace(event: str, _: object) -> None:
        if event == "connection.connect_tcp.started":
            opened.append(event)

    with httpx.Client(base_url=genesys.http.base_url, headers=genesys.http.headers) as http:
        for path in ("Users", "Users/nobody", "Nothing", "Schemas"):
            http.get(f"/api/v2/scim/v2/{path}", extensions={"trace": trace})
        http.post("/api/v2/scim/v2/Groups", json=BO, extensions={"trace": trace})

    assert len(opened) == 1


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"x" * 1_000_001, 413), (iter([b"in", b"chunks"]), 411), (b"{", 400), (b"[]", 400), (b"null", 400)],
)
def test_a_body_that_cannot_be_read_is_refused(genesys: Caller, content: bytes | Iterator[bytes], status: int) -> None:
    """Too large, of unknown length, no JSON or no object; nobody is created and the next request is answered."""
    headers = {"content-type": "application/scim+json"}

    answer = genesys.http.post("/api/v2/scim/v2/Users", content=content, headers=headers)

    assert answer.status_code == status
    assert genesys.found("active eq true") == []


def test_many_clients_at_once_lose_nothing(start: Start) -> None:
    """Twenty clients write twenty members into one group; all of them are there, and each user once."""
    genesys = start(requests_per_minute=10_000)
    group = genesys.control("POST", "/groups", {"displayName": "Sales Team"})

    def join(number: int) -> int:
        with httpx.Client(base_url=genesys.http.base_url, headers=genesys.http.headers) as http:
            body = BO | {"userName": f"user{number % 10}@acme.example"}
            status = http.post("/api/v2/scim/v2/Users", json=body).status_code
            query = {"filter": f"userName eq {body['userName']}"}
            (user,) = http.get("/api/v2/scim/v2/Users", params=query).json()["Resources"]
            add = {"op": "add", "path": "members", "value": [{"value": user["id"]}]}
            patch = {"schemas": [PATCH], "Operations": [add]}
            http.patch(f"/api/v2/scim/v2/Groups/{group['id']}", json=patch).raise_for_status()
            return status

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(join, range(20)))

    state = genesys.control("GET", "/state")
    assert statuses == [201] * 10 + [409] * 10
    assert len(state["users"]) == len(state["groups"][0]["members"]) == 10
