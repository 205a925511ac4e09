"""What the tests of groups share: a target's groups on a server in memory, and accounts that are to be kept in them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from redis import Redis

from lifecycle.person import Account
from tests.workers.fake_scim import FakeScim, Quirk, Said
from tests.workers.stories import referee, target
from workers.http import Http
from workers.policy import Wanted
from workers.scim.capabilities import Capabilities
from workers.scim.client import Client, Conversation
from workers.scim.groups import Groups
from workers.scim.members import keep_groups
from workers.task import Agreement, Task


@dataclass(frozen=True)
class Ended:
    """What came of one attempt."""

    agreement: Agreement
    memberships: dict[str, str]
    lines: list[str]

    @property
    def trouble(self) -> str | None:
        """Return the reason of what went wrong."""
        return self.agreement.trouble.reason if self.agreement.trouble else None


@dataclass
class House:
    """One target with its groups, as one worker process sees it; several share a server and a Redis."""

    redis: Redis
    fake: FakeScim
    can: Capabilities = field(default_factory=Capabilities)
    create: bool = False

    def __post_init__(self) -> None:
        """Make what lives as long as a worker process."""
        self.client = Client(target(), Http(transport=httpx.MockTransport(self.fake)))
        self.groups = Groups(self.redis, "crm", self.client, create=self.create)

    @property
    def talk(self) -> Conversation:
        """Begin a conversation."""
        return Conversation(lambda: None, can=self.can)

    def wants(self, *groups: str, account: Account | None = None, **changed: Any) -> Task:  # noqa: ANN401 - a task's fields
        """Return what one attempt needs for an account that is to be in these groups."""
        names = frozenset(groups)
        wanted = Wanted(None, "bo@acme.example", active=True, attributes={}, groups=names)
        task = Task(
            person="E1042",
            wanted=wanted,
            account=account,
            cautious=False,
            protected=frozenset(),
            managed=names,
            managed_roles=frozenset(),
            conflicts={},
            can=self.can,
            client=self.client,
            groups=self.groups,
            talk=self.talk,
            believes_nobody=lambda *_: False,
            ids=frozenset(),
            allow=lambda _limit, _names=(): None,
            owner_of=lambda _: None,
        )
        return replace(task, **changed)

    def leaver(self, **changed: Any) -> Task:  # noqa: ANN401 - a task's fields
        """Return what one attempt needs for somebody who is to be in no group."""
        task = self.wants(**changed)
        return replace(task, wanted=replace(task.wanted, active=False))

    def keep(self, task: Task, before: dict[str, str] | None = None, account_id: str = "u-7") -> Ended:
        """Keep an account in its groups; what was asked must be by the book."""
        start = len(self.fake.log)
        agreement = Agreement()
        if before and task.account is None:
            task = replace(task, account=Account(id=account_id, active=True, groups=before))
        memberships = keep_groups(task, account_id, before or {}, agreement)
        referee(said for said in self.fake.log[start:] if not _removes_by_value(said))
        return Ended(agreement, memberships, [f"{each.method} {each.path}" for each in self.fake.log[start:]])


def _removes_by_value(said: Said) -> bool:
    """Tell whether this is the one form that RFC 7644 does not have, for servers that know no other."""
    operations = said.body.get("Operations", []) if said.body else []
    return any(operation.get("op") == "remove" and "value" in operation for operation in operations)


def house(redis: Redis, *quirks: Quirk, members: Iterable[str] = ("u-1", "u-9"), **fields: Any) -> House:  # noqa: ANN401 - a house's fields
    """Make a house with two groups: others are in Agents, nobody is in Sellers."""
    fake = FakeScim(frozenset(quirks))
    fake.add("Groups", id="g-1", displayName="Agents", members=[{"value": each} for each in members])
    fake.add("Groups", id="g-2", displayName="Sellers")
    return House(redis, fake, **fields)
