"""The managed groups of a target: ids are looked up once and shared by all workers through Redis for an hour.

A group is named by its display name, or as ``id:VALUE``, which needs no look-up.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Refused
from workers.resource import Resource, attribute
from workers.scim.answers import Next, failure, parse, verdict
from workers.scim.batches import Batch, Batches
from workers.scim.bulk import Bulk
from workers.scim.client import Client, Conversation
from workers.scim.exclusive import Exclusive
from workers.scim.headcount import GROUPS
from workers.scim.moves import GROUP_SCHEMA
from workers.scim.nesting import Nest
from workers.scim.roster import Roster

BY_ID = "id:"
CONFLICT = 409


class Groups:
    """The managed groups of one target."""

    def __init__(self, redis: Redis, target: str, client: Client, *, create: bool = False) -> None:
        """Keep where ids are cached; ``create`` is whether the policy wants a missing group made."""
        self._redis = redis
        self._key, self._missing = keys.groups(target), keys.groups_missing(target)
        self._client = client
        self._create = create
        self._exclusive = Exclusive(redis, target)
        self.batches = Batches(redis, target)
        self.bulk = Bulk(redis, target, client)
        self._nest = Nest(redis, target)

    def warm(
        self, talk: Conversation, names: Iterable[str], nesting: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        """Look up the groups that the policy names before a person needs them, and nest those that it nests.

        Trouble with a look-up is left to the person who needs the group.
        """
        self._nest.wanted = dict(nesting or {})
        with suppress(Postponed):  # what time will mend is nothing to spend more requests on
            for name in names:
                with suppress(Refused):
                    self.find(talk, name)
            self.nest(talk)

    def nest(self, talk: Conversation) -> None:
        """Nest the groups that the policy nests, unless the fleet did of late: somebody may have undone it by hand."""
        self._nest.ensure(talk, self)

    def find(self, talk: Conversation, name: str) -> str:
        """Return a group's id. Raises Refused where the target has none of this name, or several.

        That it has none is remembered for a minute: each who needs it would cost a listing of all groups.
        """
        if name.startswith(BY_ID):
            return name.removeprefix(BY_ID)
        found = self._cached(name)
        if found is None and not self._creates(talk) and self._redis.sismember(self._missing, name):
            raise _missing(name, 0)
        return found or self._keep(name, self._looked_up(talk, name))

    def forget(self, name: str) -> None:
        """Drop what is remembered of a group, for the target knows better."""
        self._redis.hdel(self._key, name)
        self._redis.srem(self._missing, name)

    def roster(self, talk: Conversation, group_id: str) -> Roster:
        """Return a group's members, to be changed."""
        return Roster(self._client, talk, group_id, self._exclusive)

    def held_roster(self, talk: Conversation, batch: Batch) -> Roster:
        """Return the same where this job has the group's lease already."""
        held = self._exclusive.held(batch.group_id, batch.token, talk)
        return Roster(self._client, held, batch.group_id, self._exclusive, held=True)

    def _cached(self, name: str) -> str | None:
        cached: Any = self._redis.hget(self._key, name)
        return cached.decode() if cached else None

    def _keep(self, name: str, group_id: str) -> str:
        self._redis.hset(self._key, name, group_id)
        self._redis.expire(self._key, keys.GROUPS_TTL_SECONDS)
        self._redis.srem(self._missing, name)
        return group_id

    def _keep_missing(self, name: str) -> None:
        """Remember that there is no such group; all of these are forgotten a minute after the first."""
        self._redis.sadd(self._missing, name)
        self._redis.expire(self._missing, keys.GROUPS_MISSING_TTL_SECONDS, nx=True)

    def _creates(self, talk: Conversation) -> bool:
        return self._create and talk.can.create_groups

    def _looked_up(self, talk: Conversation, name: str) -> str:
        ids = self._ids(talk, name)
        if not ids and self._creates(talk):
            return self._created(talk, name)
        if not ids:
            self._keep_missing(name)
        if len(ids) != 1:
            raise _missing(name, len(ids))
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
        with self._exclusive.hold(f"name:{name}", talk) as held:
            made_meanwhile = self._cached(name)
            if made_meanwhile:
                return made_meanwhile
            body = {"schemas": [GROUP_SCHEMA], "displayName": name}
            answer = self._client.create(held, GROUPS, body, allow={CONFLICT})
            if verdict(answer, "POST") is Next.TAKEN:
                ids = self._ids(held, name)
                if len(ids) != 1:
                    raise failure(answer, datetime.now(UTC))
                return self._keep(name, ids[0])
            found = attribute(parse(answer), "id") or answer.headers.get("location", "").rstrip("/").rpartition("/")[2]
            if not found:
                # Created, but the target does not say as what: the next attempt looks for it.
                raise Postponed("the target created a group and gave no id", reason="no_answer")
            return self._keep(name, str(found))


def _missing(name: str, found: int) -> Refused:
    groups = f"{found} groups" if found else "no group"
    return Refused(f"the target has {groups} named {name!r}", reason="group_missing")


def _named(hits: Iterable[Resource], name: str) -> list[str]:
    found = [attribute(hit, "id") for hit in hits if attribute(hit, "displayName") == name]
    return [str(group_id) for group_id in found if group_id]
