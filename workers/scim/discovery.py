"""What a target says of itself: asked once for the whole fleet, kept in Redis, read from there now and then.

RFC 7644 section 4: ``/ServiceProviderConfig``, ``/Schemas``, ``/ResourceTypes``. Each of them may be missing, refused
or unreadable; then the target does not tell, and what was known before stays.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError
from redis import Redis

from lifecycle import keys
from lifecycle.errors import GatepostError
from lifecycle.paths import CORE_SCHEMA, Path
from lifecycle.target import Profile, Target
from workers.resource import attribute
from workers.scim import drift
from workers.scim.answers import parse
from workers.scim.capabilities import Capabilities, Told, merged, read_config
from workers.scim.client import OK, Client, Conversation
from workers.scim.schema import Schema, read_schema

AGE_SECONDS_MAX = 3_600
COPY_SECONDS = 5.0
ASK_AGAIN_SECONDS = 60
# How long a worker that starts waits for what another is just asking, and how often it looks.
OTHERS_SECONDS_MAX, LOOK_SECONDS = 5.0, 0.05
ASKING, FAILED = b"1", b"0"
ENTERPRISE_SCHEMA = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
# How a target says that it does not tell.
SILENT = frozenset({400, 403, 404, 405, 406, 410, 501})
DOCUMENTS_MAX, URNS_MAX, URN_CHARS_MAX = 100, 20, 200
# Every worker reads it; a schema beyond this is nobody's description of accounts.
KEPT_BYTES_MAX = 1_000_000

Document = Mapping[str, Any]

log = structlog.get_logger()


class Kept(BaseModel, frozen=True, extra="ignore"):
    """What is kept of it in Redis."""

    at: float
    """When the target was asked, in seconds."""
    told: Told


KEPT = TypeAdapter(Kept)


class Discovery:
    """What one target can, as far as it is known."""

    def __init__(
        self, redis: Redis, name: str, section: Target, adapter: Profile, client: Client, managed: Iterable[Path]
    ) -> None:
        """Keep whom to ask, and what is of interest."""
        self._redis = redis
        self._name = name
        self._profiles = (adapter, section.profile)
        self._client = client
        self._managed = tuple(managed)
        self._asks = bool(section.profile.discovery if section.profile.discovery is not None else adapter.discovery)
        self._copy = merged(adapter, Told(), section.profile)
        self._raw: bytes | None = None
        self._fresh_until = 0.0

    def capabilities(self) -> Capabilities:
        """Return what the target can, as far as it is known now; asks Redis every few seconds, and never the target."""
        if self._asks and time.monotonic() >= self._fresh_until:
            self._take(self._kept_bytes())
        return self._copy

    def refresh(self, talk: Conversation) -> None:
        """Ask the target if nobody of the fleet did for an hour; compare its schema with the accepted one.

        Call it when a worker starts and now and then: most calls cost one question to Redis. Trouble of the target is
        logged and never raised, and it is asked again after a minute; what is known stays. The conversation's leave to
        send is asked as for every request, so a gate counts these too, and its refusal is such trouble.
        """
        if not self._asks:
            return
        raw = self._kept_bytes()
        self._take(raw)
        kept = _kept(raw)
        if kept is not None and 0 <= time.time() - kept.at < AGE_SECONDS_MAX:
            return
        if not self._redis.set(keys.discovering(self._name), ASKING, nx=True, ex=ASK_AGAIN_SECONDS):
            self._await_another()
            return
        try:
            self.ask(talk)
        except GatepostError as error:
            self._redis.set(keys.discovering(self._name), FAILED, xx=True, keepttl=True)
            log.warning("target.undiscovered", target=self._name, reason=error.reason)

    def _await_another(self) -> None:
        """Wait for what another worker is asking, where nothing is known: by default no version would be named."""
        deadline = time.monotonic() + OTHERS_SECONDS_MAX
        while self._raw is None and time.monotonic() < deadline:
            asking = self._redis.get(keys.discovering(self._name)) == ASKING
            self._take(self._kept_bytes())
            if not asking:
                return
            time.sleep(LOOK_SECONDS)

    def ask(self, talk: Conversation) -> None:
        """Ask the target now, whoever did before, and let the fleet know. Raises Postponed or Refused in trouble."""
        if self._asks:
            kept = _kept(self._kept_bytes())
            self._keep(self._ask(talk, kept.told if kept else Told()))

    def _keep(self, told: Told) -> None:
        raw = _bytes(told)
        if len(raw) > KEPT_BYTES_MAX:
            told = replace(told, schema=Schema())
            raw = _bytes(told)
        self._redis.set(keys.capabilities(self._name), raw, ex=keys.CAPABILITIES_TTL_SECONDS)
        self._take(raw)
        if "" in told.schema.attributes:
            drift.check(self._redis, self._name, drift.describe(told.schema, self._managed))
        self._redis.delete(keys.discovering(self._name))

    def _kept_bytes(self) -> bytes | None:
        found: Any = self._redis.get(keys.capabilities(self._name))
        return bytes(found) if found else None

    def _take(self, raw: bytes | None) -> None:
        self._fresh_until = time.monotonic() + COPY_SECONDS
        if raw == self._raw:
            return
        kept = _kept(raw)
        adapter, section = self._profiles
        self._copy = merged(adapter, kept.told if kept else Told(), section)
        self._raw = raw

    # ---- asking

    def _ask(self, talk: Conversation, known: Told) -> Told:
        """Return what the target tells now; what it is silent about stays as it was."""
        config = self._document(talk, "/ServiceProviderConfig")
        told = read_config(config) if config else known
        schema = self._schema(talk)
        return replace(told, schema=schema if "" in schema.attributes else known.schema)

    def _schema(self, talk: Conversation) -> Schema:
        core, extensions = self._user_type(talk)
        wanted = _once([core, ENTERPRISE_SCHEMA, *(path.urn for path in self._managed if path.urn)])
        listed = self._document(talk, "/Schemas")
        found = {_id(each): each for each in _resources(listed)}
        missing = [urn for urn in wanted if urn.lower() not in found]
        total = attribute(listed, "totalResults")
        if core in missing or (isinstance(total, int) and total > len(found)):
            # Some have no list of them, or not all in one page.
            one_by_one = (self._document(talk, f"/Schemas/{quote(urn, safe=':')}") for urn in missing)
            found |= {_id(each): each for each in one_by_one}
        # An extension that users do not have is not there for them, whatever is described.
        of_users = [urn for urn in wanted if extensions is None or urn.lower() in extensions or urn == core]
        return read_schema((found[urn.lower()] for urn in of_users if urn.lower() in found), core)

    def _user_type(self, talk: Conversation) -> tuple[str, set[str] | None]:
        """Return the schema of users, and those that extend it; None where the target does not tell."""
        for each in _resources(self._document(talk, "/ResourceTypes")):
            core = attribute(each, "schema")
            if str(attribute(each, "endpoint")).strip("/").lower() == "users" and _is_urn(core):
                entries = attribute(each, "schemaExtensions")
                found = {str(attribute(entry, "schema")).lower() for entry in entries} if _is_list(entries) else None
                return core, found
        return CORE_SCHEMA, None

    def _document(self, talk: Conversation, path: str) -> Document:
        """Return a document, empty where the target does not tell. Raises Postponed or Refused in other trouble."""
        answer = self._client.send(talk, "GET", path, allow={OK} | SILENT)
        return parse(answer) if answer.status == OK else {}


def _bytes(told: Told) -> bytes:
    return KEPT.dump_json(Kept(at=time.time(), told=told), exclude_defaults=True)


def _kept(raw: bytes | None) -> Kept | None:
    """Read what is kept; what an earlier release kept in another form counts as nothing."""
    try:
        return KEPT.validate_json(raw) if raw else None
    except ValidationError:
        return None


def _resources(document: Document) -> list[Document]:
    found = attribute(document, "Resources")
    return [each for each in found[:DOCUMENTS_MAX] if isinstance(each, dict)] if _is_list(found) else []


def _id(document: Document) -> str:
    return str(attribute(document, "id")).lower()


def _once(urns: Iterable[str]) -> list[str]:
    return list({urn.lower(): urn for urn in urns}.values())[:URNS_MAX]


def _is_urn(found: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(found, str) and 0 < len(found) <= URN_CHARS_MAX


def _is_list(found: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(found, list)
