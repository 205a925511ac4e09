"""Groups of a target by display name: ids are looked up once and shared by all workers through Redis for an hour."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from lifecycle import keys
from lifecycle.errors import GatepostError, Refused
from workers.plan import Operation, Resource, attribute
from workers.scim.answers import failure, scim_type
from workers.scim.client import NOT_FOUND, Client, Conversation

CONFLICT, BAD_REQUEST, NOT_IMPLEMENTED = 409, 400, 501


class Groups:
    """The managed groups of one target."""

    def __init__(self, redis: Redis, target: str, client: Client) -> None:
        """Keep where ids are cached."""
        self._redis = redis
        self._key = keys.groups(target)
        self._client = client

    def warm(self, talk: Conversation, names: Iterable[str]) -> None:
        """Look up the groups that the policy names before a person needs them; trouble is left to that person."""
        for name in names:
            try:
                self._id(talk, name)
            except GatepostError:
                return

    def join(self, talk: Conversation, name: str, account_id: str) -> str:
        """Make the account a member and return the group's id. Raises Refused when the target has no such group."""
        operation = {"op": "add", "path": "members", "value": [{"value": account_id}]}
        group_id = self._id(talk, name)
        if not self._change(talk, group_id, [operation]):
            self._redis.hdel(self._key, name)
            group_id = self._id(talk, name)
            if not self._change(talk, group_id, [operation]):
                raise Refused(f"the target lists the group {name!r} but does not know its id", reason="group_missing")
        return group_id

    def leave(self, talk: Conversation, group_id: str, account_id: str) -> None:
        """End the membership; a group or a member that is gone already is as good.

        A target that refuses the filter is not asked in another dialect: by the RFC a remove of ``members`` without one
        removes everybody (section 3.5.2.2).
        """
        operation = {"op": "remove", "path": f'members[value eq "{account_id}"]'}
        answer = self._client.patch(talk, "Groups", group_id, [operation], allow={NOT_FOUND, BAD_REQUEST})
        if answer.status == BAD_REQUEST and scim_type(answer) != "noTarget":
            raise failure(answer, datetime.now(UTC))

    def _change(self, talk: Conversation, group_id: str, operations: list[Operation]) -> bool:
        answer = self._client.patch(talk, "Groups", group_id, operations, allow={NOT_FOUND, CONFLICT})
        return answer.status != NOT_FOUND

    def _id(self, talk: Conversation, name: str) -> str:
        cached: Any = self._redis.hget(self._key, name)
        if cached:
            return str(cached.decode())
        ids = _ids(self._client.query(talk, "Groups", "displayName", name), name)
        if not ids:
            # Some answer a filter that they do not know with nobody; others list no groups without one.
            with suppress(Refused):
                ids = _ids(self._client.everyone(talk, "Groups"), name)
        if len(ids) != 1:
            found = "no group" if not ids else f"{len(ids)} groups"
            raise Refused(f"the target has {found} named {name!r}", reason="group_missing")
        self._redis.hset(self._key, name, str(ids[0]))
        self._redis.expire(self._key, keys.GROUPS_TTL_SECONDS)
        return str(ids[0])


def _ids(hits: Iterable[Resource], name: str) -> list[Any]:
    return [attribute(hit, "id") for hit in hits if attribute(hit, "displayName") == name and attribute(hit, "id")]
