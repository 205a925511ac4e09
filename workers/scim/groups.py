"""The managed groups of a target: ids are looked up once and shared by all workers through Redis for an hour.

A group is named by its display name, or as ``id:VALUE``, which needs no look-up.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from redis import Redis

from lifecycle import keys
from lifecycle.errors import GatepostError, Postponed, Refused
from workers.resource import Resource, attribute
from workers.scim.answers import Next, failure, parse, verdict
from workers.scim.batches import Batches
from workers.scim.bulk import Bulk
from workers.scim.client import Client, Conversation
from workers.scim.exclusive import Exclusive
from workers.scim.nesting import ensure_nesting
from workers.scim.roster import GROUP_SCHEMA, GROUPS, Roster

BY_ID = "id:"
CONFLICT = 409

log = structlog.get_logger()


class Groups:
    """The managed groups of one target."""

    def __init__(self, redis: Redis, target: str, client: Client, *, create: bool = False) -> None:
        """Keep where ids are cached; ``create`` is whether the policy wants a missing group made."""
        self._redis = redis
        self._target = target
        self._key = keys.groups(target)
        self._client = client
        self._create = create
        self._exclusive = Exclusive(redis, target)
        self.batches = Batches(redis, target)
        self.bulk = Bulk(client)

    def warm(
        self, talk: Conversation, names: Iterable[str], nesting: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        """Look up the groups that the policy names before a person needs them, and nest those that it nests.

        Trouble with a look-up is left to the person who needs the group; nobody needs a nesting, so that it is told.
        """
        for name in names:
            try:
                self.find(talk, name)
            except GatepostError:
                return
        try:
            ensure_nesting(talk, self, nesting or {})
        except GatepostError as error:
            log.warning("groups.not_nested", target=self._target, reason=error.reason, detail=error.message)

    def find(self, talk: Conversation, name: str) -> str:
        """Return a group's id. Raises Refused where the target has none of this name, or several."""
        if name.startswith(BY_ID):
            return name.removeprefix(BY_ID)
        return self._cached(name) or self._keep(name, self._looked_up(talk, name))

    def forget(self, name: str) -> None:
        """Drop an id that the target does not know any more."""
        self._redis.hdel(self._key, name)

    def roster(self, talk: Conversation, group_id: str) -> Roster:
        """Return a group's members, to be changed."""
        return Roster(self._client, talk, group_id, partial(self._exclusive.hold, group_id))

    def held_roster(self, talk: Conversation, group_id: str) -> Roster:
        """Return the same where this job has the group's lease already."""
        return Roster(self._client, talk, group_id)

    def _cached(self, name: str) -> str | None:
        cached: Any = self._redis.hget(self._key, name)
        return cached.decode() if cached else None

    def _keep(self, name: str, group_id: str) -> str:
        self._redis.hset(self._key, name, group_id)
        self._redis.expire(self._key, keys.GROUPS_TTL_SECONDS)
        return group_id

    def _looked_up(self, talk: Conversation, name: str) -> str:
        ids = self._ids(talk, name)
        if not ids and self._create and talk.can.create_groups:
            return self._created(talk, name)
        if len(ids) != 1:
            found = "no group" if not ids else f"{len(ids)} groups"
            raise Refused(f"the target has {found} named {name!r}", reason="group_missing")
        return ids[0]

    def _ids(self, talk: Conversation, name: str) -> list[str]:
        ids = _named(self._client.query(talk, GROUPS, "displayName", name), name)
        if not ids:
            # Some answer a filter that they do not know with nobody; others list no groups without one.
            with suppress(Refused):
                ids = _named(self._client.everyone(talk, GROUPS), name)
        return ids

    # ---- create

    def _created(self, talk: Conversation, name: str) -> str:
        """Create a group, alone of the whole fleet: displayName is not unique (RFC 7643 section 4.2)."""
        with self._exclusive.hold(f"name:{name}"):
            made_meanwhile = self._cached(name)
            if made_meanwhile:
                return made_meanwhile
            body = {"schemas": [GROUP_SCHEMA], "displayName": name}
            answer = self._client.create(talk, GROUPS, body, allow={CONFLICT})
            if verdict(answer, "POST") is Next.TAKEN:
                ids = self._ids(talk, name)
                if len(ids) != 1:
                    raise failure(answer, datetime.now(UTC))
                return self._keep(name, ids[0])
            found = attribute(parse(answer), "id") or answer.headers.get("location", "").rstrip("/").rpartition("/")[2]
            if not found:
                # Created, but the target does not say as what: the next attempt looks for it.
                raise Postponed("the target created a group and gave no id", reason="no_answer")
            return self._keep(name, str(found))


def _named(hits: Iterable[Resource], name: str) -> list[str]:
    found = [attribute(hit, "id") for hit in hits if attribute(hit, "displayName") == name]
    return [str(group_id) for group_id in found if group_id]
