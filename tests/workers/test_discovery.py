"""What a target says of itself: asked once for the fleet, kept, and survived whatever it says."""

import json
import time
from collections.abc import Callable
from threading import Thread
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed
from lifecycle.paths import parse_path
from lifecycle.target import Profile
from tests.workers.fake_scim import BASE
from tests.workers.stories import target
from workers.http import Answer, Http
from workers.scim.capabilities import Capabilities
from workers.scim.client import Client, Conversation
from workers.scim.discovery import (
    AGE_SECONDS_MAX,
    ASK_AGAIN_SECONDS,
    ENTERPRISE_SCHEMA,
    FAILED,
    OTHERS_SECONDS_MAX,
    Discovery,
)

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ACME = "urn:acme:2.0:User"
MANAGED = [parse_path(text) for text in ("title", f"{ENTERPRISE_SCHEMA}:department", f"{ACME}:grade")]
PROFILE = Profile(discovery=True, patch="discover", etag="discover", bulk="discover")

CONFIG = {"patch": {"supported": False}, "etag": {"supported": True}}
SCHEMAS: dict[str, dict[str, Any]] = {
    CORE: {"id": CORE, "attributes": [{"name": "title", "type": "string"}]},
    ENTERPRISE_SCHEMA: {"id": ENTERPRISE_SCHEMA, "attributes": [{"name": "department"}]},
    ACME: {"id": ACME, "attributes": [{"name": "grade", "type": "integer"}]},
    "urn:other": {"id": "urn:other", "attributes": [{"name": "x"}]},
}
USER = {
    "endpoint": "/Users",
    "schema": CORE,
    "schemaExtensions": [{"schema": ENTERPRISE_SCHEMA}, {"schema": ACME, "required": False}],
}

Document = object


def listed(*documents: Document, total: int | None = None) -> dict[str, Any]:
    """Make a list of documents."""
    return {"totalResults": len(documents) if total is None else total, "Resources": list(documents)}


class Teller:
    """A server that tells of itself: a document, or a status, for each path; 404 for the others."""

    def __init__(self, **documents: Document) -> None:
        """Tell all by the book, but for what is said otherwise."""
        self.documents: dict[str, Document] = {
            "/ServiceProviderConfig": CONFIG,
            "/Schemas": listed(*SCHEMAS.values()),
            "/ResourceTypes": listed({"endpoint": "/Groups"}, USER),
        } | {f"/{name}": document for name, document in documents.items()}
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        path = unquote(request.url.raw_path.decode()).removeprefix(BASE)
        self.asked.append(path)
        found = self.documents.get(path, 404)
        if isinstance(found, int):
            return httpx.Response(found, json={"detail": "no"})
        return httpx.Response(200, text=found) if isinstance(found, str) else httpx.Response(200, json=found)


def talk(may_send: Callable[[], None] = lambda: None) -> Conversation:
    """Begin a conversation."""
    return Conversation(may_send)


def discovery(redis: Redis, teller: Teller, adapter: Profile = PROFILE, **section: Any) -> Discovery:  # noqa: ANN401
    """Make one worker's view of the target."""
    found = target(**section)
    client = Client(found, Http(transport=httpx.MockTransport(teller)))
    return Discovery(redis, "crm", found, adapter, client, MANAGED)


def types(can: Capabilities) -> list[str | None]:
    """Return the types of the managed attributes."""
    found = [can.schema.at(path) for path in MANAGED]
    return [each.type if each else None for each in found]


def ages(redis: Redis, seconds: float = AGE_SECONDS_MAX + 1) -> None:
    """Let what is kept be older than it is."""
    found: Any = redis.get(keys.capabilities("crm"))
    kept = json.loads(found)
    redis.set(keys.capabilities("crm"), json.dumps({**kept, "at": kept["at"] - seconds}))
    redis.delete(keys.discovering("crm"))


def test_target_is_asked_once_for_the_whole_fleet(redis: Redis) -> None:
    """Three questions an hour: another worker, and the same one again, read the answer in Redis."""
    teller = Teller()
    first, second = discovery(redis, teller), discovery(redis, teller)
    before = first.capabilities()

    for each in (first, first, second):
        each.refresh(talk())

    assert before == Capabilities()
    assert teller.asked == ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas"]
    for each in (first, second):
        can = each.capabilities()
        assert (can.patch, can.etag, types(can)) == (False, True, ["string", "string", "integer"])
        assert can.schema.attributes.keys() == {"", ENTERPRISE_SCHEMA.lower(), ACME.lower()}


def test_worker_that_never_asks_learns_what_another_found(redis: Redis) -> None:
    """The copy in the process ages within seconds."""
    teller = Teller()
    reader = discovery(redis, teller)
    stale = reader.capabilities()
    discovery(redis, teller).refresh(talk())

    still = reader.capabilities()
    reader._fresh_until = time.monotonic()
    later = reader.capabilities()

    assert (stale.patch, still.patch, later.patch) == (True, True, False)


def test_target_is_asked_again_after_an_hour(redis: Redis) -> None:
    """What changed meanwhile counts from then on."""
    teller = Teller()
    found = discovery(redis, teller)
    found.refresh(talk())
    teller.documents["/ServiceProviderConfig"] = {"patch": {"supported": True}}

    ages(redis, AGE_SECONDS_MAX / 2)
    found.refresh(talk())
    same = found.capabilities().patch
    ages(redis)
    found.refresh(talk())

    assert (same, found.capabilities().patch) == (False, True)
    assert len(teller.asked) == 6


def test_one_worker_asks_at_a_time(redis: Redis) -> None:
    """Whom another asked of late, and had trouble with, is left alone by all."""
    teller = Teller()
    redis.set(keys.discovering("crm"), FAILED)

    discovery(redis, teller).refresh(talk())

    assert teller.asked == []


def test_worker_that_starts_while_another_asks_waits_for_the_answer(redis: Redis) -> None:
    """With the defaults it would write without a version to a target that heeds them, and undo what others write."""
    teller = Teller()
    first, second = discovery(redis, teller), discovery(redis, teller)
    waiting: list[Thread] = []

    def starts_meanwhile() -> None:
        if not waiting:
            waiting.append(Thread(target=second.refresh, args=(talk(),)))
            waiting[0].start()

    first.refresh(talk(starts_meanwhile))
    waiting[0].join(OTHERS_SECONDS_MAX)

    assert (second.capabilities().etag, second.capabilities().patch) == (True, False)
    assert teller.asked.count("/ServiceProviderConfig") == 1


def test_worker_does_not_wait_for_an_answer_that_did_not_come(redis: Redis) -> None:
    """Where the one that asked had trouble, nobody is waited for until it is time to ask again."""
    teller = Teller(ServiceProviderConfig=503)
    discovery(redis, teller).refresh(talk())
    began = time.monotonic()

    discovery(redis, teller).refresh(talk())

    assert time.monotonic() - began < OTHERS_SECONDS_MAX / 2
    assert 0 < redis.ttl(keys.discovering("crm")) <= ASK_AGAIN_SECONDS


def test_profile_may_forbid_asking(redis: Redis) -> None:
    """And the configuration has the last word on that too."""
    teller = Teller()

    discovery(redis, teller, Profile()).refresh(talk())
    discovery(redis, teller, profile={"discovery": False}).refresh(talk())
    none = list(teller.asked)
    discovery(redis, teller, Profile(), profile={"discovery": True}).refresh(talk())

    assert none == []
    assert len(teller.asked) == 3


@pytest.mark.parametrize("silent", [400, 403, 404, 405, 501, "<html>", "", "[1]", "null", listed()], ids=repr)
def test_target_that_does_not_tell_has_the_defaults(redis: Redis, silent: Document) -> None:
    """No support, no permission, nothing that can be read: none of it is trouble, and it is not asked again at once."""
    teller = Teller(ServiceProviderConfig=silent, Schemas=silent, ResourceTypes=silent)
    found = discovery(redis, teller)

    found.refresh(talk())
    asked = len(teller.asked)
    found.refresh(talk())

    assert found.capabilities() == Capabilities()
    assert len(teller.asked) == asked
    assert not redis.exists(keys.baseline("crm"))


@pytest.mark.parametrize("listing", [403, listed(SCHEMAS["urn:other"]), "<html>"], ids=["403", "others", "html"])
def test_schemas_are_read_one_by_one_where_they_are_not_listed(redis: Redis, listing: Document) -> None:
    """The core's, the enterprise one, and those of managed paths."""
    teller = Teller(Schemas=listing)
    teller.documents |= {f"/Schemas/{urn}": document for urn, document in SCHEMAS.items()}
    found = discovery(redis, teller)

    found.refresh(talk())

    assert types(found.capabilities()) == ["string", "string", "integer"]
    assert teller.asked[3:] == [f"/Schemas/{urn}" for urn in (CORE, ENTERPRISE_SCHEMA, ACME)]


def test_schemas_that_are_not_in_the_first_page_are_asked_for(redis: Redis) -> None:
    """A list that counts more than it shows says that there are others."""
    teller = Teller(Schemas=listed(SCHEMAS[CORE], total=3))
    teller.documents[f"/Schemas/{ACME}"] = SCHEMAS[ACME]
    found = discovery(redis, teller)

    found.refresh(talk())

    assert types(found.capabilities()) == ["string", None, "integer"]


def test_extension_that_users_do_not_have_is_not_there(redis: Redis) -> None:
    """It is described for other resources."""
    teller = Teller(ResourceTypes=listed(USER | {"schemaExtensions": [{"schema": ACME.upper()}]}))
    found = discovery(redis, teller)

    found.refresh(talk())

    assert types(found.capabilities()) == ["string", None, "integer"]


def test_users_may_have_a_schema_of_another_name(redis: Redis) -> None:
    """Then its attributes are the ones without a prefix."""
    own = "urn:acme:core:2.0:Person"
    schemas = listed({"id": own, "attributes": [{"name": "title", "type": "integer"}]})
    teller = Teller(ResourceTypes=listed(USER | {"schema": own}), Schemas=schemas)
    found = discovery(redis, teller)

    found.refresh(talk())

    assert types(found.capabilities())[0] == "integer"


@pytest.mark.parametrize("status", [401, 429, 500, 503])
@pytest.mark.parametrize("path", ["/ServiceProviderConfig", "/Schemas", "/ResourceTypes"])
def test_trouble_changes_nothing_and_is_tried_again_later(redis: Redis, path: str, status: int) -> None:
    """Half of what a target tells is not kept; it is left alone for a minute."""
    teller = Teller()
    found = discovery(redis, teller)
    found.refresh(talk())
    known = found.capabilities()
    ages(redis)
    teller.documents[path] = status

    found.refresh(talk())
    asked = len(teller.asked)
    found.refresh(talk())

    assert found.capabilities() == known
    assert len(teller.asked) == asked
    assert 0 < int(redis.ttl(keys.discovering("crm"))) <= ASK_AGAIN_SECONDS


def test_refusal_of_the_gate_is_trouble_like_any(redis: Redis) -> None:
    """A limit that is reached is no reason to fail whoever warms up."""
    teller = Teller()

    def full() -> None:
        raise Postponed("the limit is reached", reason="rate")

    discovery(redis, teller).refresh(talk(full))

    assert teller.asked == []


def test_gate_hears_of_every_answer(redis: Redis) -> None:
    """These requests count towards the limit as all do."""
    heard: list[Answer] = []

    discovery(redis, Teller()).refresh(Conversation(lambda: None, heard=heard.append))

    assert [each.status for each in heard] == [200, 200, 200]


@pytest.mark.parametrize("silent", [404, 501, "<html>", listed()], ids=repr)
def test_target_that_falls_silent_keeps_what_it_said(redis: Redis, silent: Document) -> None:
    """That nothing is told any more is no drift: an endpoint that is gone breaks no attribute."""
    teller = Teller()
    found = discovery(redis, teller)
    found.refresh(talk())
    known = found.capabilities()
    ages(redis)
    teller.documents |= dict.fromkeys(("/ServiceProviderConfig", "/Schemas", "/ResourceTypes"), silent)

    found.refresh(talk())

    can = found.capabilities()
    assert can.schema == known.schema
    assert silent == listed() or can == known
    assert not redis.exists(keys.stopped("crm"))


def test_drift_is_found_by_the_next_look(redis: Redis) -> None:
    """A managed attribute of another type stops the target until it is as it was."""
    teller = Teller()
    found = discovery(redis, teller)
    found.refresh(talk())
    title = {"id": CORE, "attributes": [{"name": "title", "type": "boolean"}]}
    teller.documents["/Schemas"] = listed(title, SCHEMAS[ENTERPRISE_SCHEMA], SCHEMAS[ACME])

    ages(redis)
    found.refresh(talk())
    stopped: Any = redis.get(keys.stopped("crm"))
    teller.documents["/Schemas"] = listed(*SCHEMAS.values())
    ages(redis)
    found.refresh(talk())

    assert json.loads(stopped)["detail"] == "title is now boolean, was string"
    assert not redis.exists(keys.stopped("crm"))


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"at": 5}', '{"at": "x", "told": {"patch": 7}}'])
def test_what_another_release_kept_counts_as_nothing(redis: Redis, kept: str) -> None:
    """It is asked for again."""
    redis.set(keys.capabilities("crm"), kept)
    found = discovery(redis, Teller())

    before = found.capabilities()
    found.refresh(talk())

    assert before == Capabilities()
    assert found.capabilities().patch is False


def test_description_beyond_all_measure_is_not_kept(redis: Redis) -> None:
    """Every worker would read it every few seconds."""
    huge = {"name": "x" * 150, "canonicalValues": ["y" * 150] * 400}
    attributes = [huge | {"name": f"{number}-{'x' * 150}"} for number in range(60)]
    found = discovery(redis, Teller(Schemas=listed({"id": CORE, "attributes": attributes})))

    found.refresh(talk())

    raw: Any = redis.get(keys.capabilities("crm"))
    assert len(raw) < 10_000
    assert found.capabilities().etag is True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([CORE, ACME, "/Users"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["Resources", "id", "schema", "schemaExtensions", "endpoint", "attributes", "name", "patch"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=json_values, schemas=json_values, kinds=json_values)
def test_any_documents_are_survived(redis: Redis, config: Document, schemas: Document, kinds: Document) -> None:
    """A hostile target is one that does not tell, or tells odd things; nothing fails."""
    redis.flushdb()
    texts = [json.dumps(each) for each in (config, schemas, kinds)]
    teller = Teller(ServiceProviderConfig=texts[0], Schemas=texts[1], ResourceTypes=texts[2])
    found = discovery(redis, teller)

    found.refresh(talk())

    assert isinstance(found.capabilities(), Capabilities)
    assert redis.exists(keys.capabilities("crm"))
