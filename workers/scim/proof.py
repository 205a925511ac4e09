"""Whether a target's look-ups can be believed when they find nobody.

Some answer a filter that they do not know with 200 and nobody. A joiner meets the conflict then; a leaver would be
taken for somebody who never had an account. So before that is believed, an account that is there is looked up.
"""

from collections.abc import Iterator
from typing import Any

from redis import Redis

from lifecycle import keys
from workers.resource import Resource, attribute, is_active
from workers.scim.client import Client, Conversation

USERS = "Users"
BELIEVED, DOUBTED = b"1", b"0"


class Proof:
    """The word of one target on who is not there, tried now and then by the fleet."""

    def __init__(self, redis: Redis, target: str, client: Client) -> None:
        """Keep where the result is kept."""
        self._redis = redis
        self._target = target
        self._client = client

    def holds(self, talk: Conversation) -> bool:
        """Tell whether an account that is there is found by its userName."""
        told: Any = self._redis.get(keys.proof(self._target))
        if told is not None:
            return bool(told == BELIEVED)
        found = self._try(talk)
        self._redis.set(keys.proof(self._target), BELIEVED if found else DOUBTED, ex=keys.PROOF_TTL_SECONDS)
        return found

    def _try(self, talk: Conversation) -> bool:
        """Look up somebody who is there; a second one before the target is doubted, for the first may be special."""
        tried = 0
        for known in self._somebody(talk):
            tried += 1
            if self._is_found(talk, known):
                return True
        return not tried  # nobody is there

    def _is_found(self, talk: Conversation, known: Resource) -> bool:
        hits = self._client.query(talk, USERS, "userName", str(attribute(known, "userName")))
        return any(attribute(hit, "id") == attribute(known, "id") for hit in hits)

    def _somebody(self, talk: Conversation) -> Iterator[Resource]:
        """Yield accounts that are there: one of ours, unless it is inactive and so may be hidden; the first of all."""
        account_id: Any = self._redis.hrandfield(keys.owners(self._target))
        found = self._client.get(talk, USERS, account_id.decode()) if account_id else None
        if found is not None and is_active(found) is not False:
            yield found
        yield from self._client.some(talk, USERS)[:1]
