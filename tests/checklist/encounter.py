"""What a line of the checklist is shown with: one target module that meets one server, and all that was asked of it.

The lines are RFC 7643 and 7644 as a client has to keep them, with RFC 9865 for pages by cursor, in the words E1 to E34.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
from redis import Redis

from lifecycle.config import Config
from lifecycle.people import People
from lifecycle.person import Account, Person
from lifecycle.policy import Policy
from lifecycle.queue import lanes
from tests.workers.fake_scim import BASE, ERROR, FakeScim, Quirk, Said, reply
from tests.workers.stories import BO, person, target
from workers.agree import task_of
from workers.http import Http
from workers.jobs import place_of
from workers.outcome import World
from workers.policy import Wanted, decide
from workers.scim.client import Client, Conversation
from workers.task import Agreement

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

Proceed = Callable[[], httpx.Response]
Way = Callable[[Said, Proceed], httpx.Response]
"""What a server makes of a request: its own answer, or that of the server behind it, changed or not."""


def as_it_is(_: Said, proceed: Proceed) -> httpx.Response:
    """Answer by the book."""
    return proceed()


@dataclass
class Encounter:
    """A target module, a server, and what is remembered between attempts as a settled attempt does."""

    redis: Redis
    quirks: frozenset[Quirk] = frozenset()
    way: Way = as_it_is
    adapter: str = "scim"
    profile: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, str] | None = None
    conflicts: dict[str, str] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    account: Account | None = None
    said: list[Said] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the server and make the client."""
        self.fake = FakeScim(self.quirks)
        section = target(
            adapter=self.adapter,
            profile={"discovery": False} | self.profile,
            attributes=self.attributes,
            conflicts=self.conflicts,
        )
        http = Http(transport=httpx.MockTransport(self._answer))
        self.place = place_of(self.redis, "crm", section, http, create_groups=self.policy.create_groups)
        self.talk = Conversation(lambda: None, can=self.place.capabilities())

    def _answer(self, request: httpx.Request) -> httpx.Response:
        raw_path = request.url.raw_path.decode().removeprefix(BASE)
        body = json.loads(request.content) if request.content else None
        said = Said(request.method, unquote(raw_path), body, request.headers, raw_path)
        self.said.append(said)
        return self.way(said, lambda: self.fake(request))

    @property
    def client(self) -> Client:
        """The client alone."""
        return self.place.client

    def agree(self, known: Person, *, cautious: bool = False) -> Agreement:
        """Make one attempt; ``said`` holds what was asked from its beginning on."""
        wanted = decide(known, self.policy, self.place.mapping, self.account)
        assert isinstance(wanted, Wanted)
        config = Config(policy=self.policy)
        world = World(config, People(self.redis, lanes(self.redis)), {"crm": self.place})
        accounts = {"crm": self.account} if self.account else {}
        known = known.model_copy(update={"accounts": accounts})
        self.said.clear()
        self.talk = Conversation(lambda: None, can=self.place.capabilities())
        task = task_of(world, self.place, known, wanted, self.talk, cautious=cautious)
        agreement = self.place.adapter.agree(task)
        self.account = agreement.account or self.account
        return agreement

    def settled(self, **attributes: Any) -> dict[str, Any]:  # noqa: ANN401 - SCIM values
        """Put Bo's account in place as one that was settled earlier, and return what the server holds."""
        held = self.fake.add("Users", userName=BO["email"], externalId="E1042", active=True, **attributes)
        self.account = Account(id=str(held["id"]), user_name=BO["email"], active=True, digest="earlier")
        return held

    def lines(self) -> list[str]:
        """Return what was asked in the last attempt, one line a request."""
        return [said.line() for said in self.said]

    def methods(self) -> list[str]:
        """Return the methods alone."""
        return [said.method for said in self.said]

    def bodies(self, method: str) -> list[Any]:
        """Return what was sent by a method, oldest first."""
        return [said.body for said in self.said if said.method == method]

    def operations(self) -> list[dict[str, Any]]:
        """Return every operation of every PATCH of the last attempt."""
        return [operation for body in self.bodies("PATCH") for operation in body["Operations"]]


Meet = Callable[..., Encounter]


def bo(status: str | None = "active", **facts: Any) -> Person:  # noqa: ANN401 - facts are JSON
    """Return Bo, of whom just the names are known and what is given."""
    return person(status, **{"external_id": "E1042", "email": BO["email"]} | facts)


def granted(*, groups: tuple[str, ...] = (), roles: tuple[str, ...] = ()) -> Policy:
    """Return a policy that gives these to whoever is in Support."""
    grant = {"when": "person.department == 'Support'", "groups": list(groups), "roles": list(roles)}
    return Policy.model_validate({"grants": [grant]})


def on(start: str, answer: Callable[[], httpx.Response], *, times: int = 1_000) -> Way:
    """Answer so to the first requests whose line begins so, and by the book to all others."""
    left = [times]

    def way(said: Said, proceed: Proceed) -> httpx.Response:
        if said.line().startswith(start) and left[0]:
            left[0] -= 1
            return answer()
        return proceed()

    return way


def error(status: int, keyword: str = "", detail: str = "no such luck") -> httpx.Response:
    """Return an error as RFC 7644 section 3.12 has it."""
    body = {"schemas": [ERROR], "status": str(status), "detail": detail}
    return reply(status, body | ({"scimType": keyword} if keyword else {}))
