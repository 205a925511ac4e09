"""The targets' conversations: ``load("scim/joiner")`` gives who meets what and every request that must follow.

A case is one file. ``person`` is what is known, ``account`` the account as last settled, ``groups`` and ``roles`` the
policy's with their conditions, ``section`` more of the target's configuration, ``held`` what the server holds before,
``deleted`` whom it held, ``queues`` its queues, ``quirks`` how it is. ``conversation`` is what must be
asked, in order: method, path, body. ``change`` is what subscribers are told.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis

from lifecycle import keys
from lifecycle.person import Account, Person
from lifecycle.policy import Policy
from tests.workers.fake_scim import Quirk
from tests.workers.stories import Meeting, facts

FIXTURES = Path(__file__).parent / "fixtures"


class Case(NamedTuple):
    """A meeting that is ready, whom it is about, and what must come out."""

    meeting: Meeting
    person: Person
    conversation: list[dict[str, Any]]
    change: str | None

    @property
    def writes(self) -> int:
        """Count the requests that change something."""
        return sum(each["method"] != "GET" for each in self.conversation)


def names() -> list[str]:
    """Return the names of all cases."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in FIXTURES.glob("*/*.json"))


def load(name: str, redis: Redis) -> Case:
    """Set one case up."""
    found = json.loads((FIXTURES / f"{name}.json").read_text())
    grants = [
        {"when": when, kind: [name]} for kind in ("groups", "roles") for name, when in found.get(kind, {}).items()
    ]
    policy = Policy.model_validate({"grants": grants, "protected": found.get("protected", [])})
    account = Account.model_validate(found["account"]) if found.get("account") else None
    quirks = [Quirk(quirk) for quirk in found.get("quirks", [])]
    meeting = Meeting(redis, name.partition("/")[0], quirks, policy, account, found.get("section", {}))
    for kind, resources in found.get("held", {}).items():
        for resource in resources:
            meeting.fake.add(kind, **resource)
    for resource in found.get("deleted", []):
        meeting.fake.deleted[resource["userName"]] = resource
    meeting.fake.queues |= found.get("queues", {})
    for group in meeting.fake.held["Groups"].values():
        redis.hset(keys.groups("crm"), group["displayName"], group["id"])
    return Case(meeting, facts(found["person"]), found["conversation"], found["change"])
