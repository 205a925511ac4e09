"""The functions that RQ calls; each only wires. The process's clients are made at the first job and stay warm."""

from functools import cache

from redis import Redis

from lifecycle.config import Config, check_adapters, config_path, load
from lifecycle.people import People
from lifecycle.queue import connect, lanes
from lifecycle.target import Target
from workers import converge as convergence
from workers.deliver import Deliverer
from workers.http import Http
from workers.outcome import Place, World
from workers.policy import mapping_of
from workers.scim.capabilities import Capabilities
from workers.scim.client import Client, Conversation
from workers.scim.groups import Groups
from workers.targets import TARGETS

SIGNAL_ANSWER_BYTES_MAX = 65_536


def converge(person: str, lane: str) -> None:
    """Work on what is in one person's mailbox."""
    convergence.converge(world(), person, lane)


def deliver(signal_id: str, subscriber: str) -> None:
    """Make one attempt to deliver a signal."""
    deliverer().deliver(signal_id, subscriber)


JOBS = frozenset({f"{__name__}.{function.__name__}" for function in (converge, deliver)})


@cache
def config() -> Config:
    """Read the configuration once a process. Raises Misconfigured."""
    found = load(config_path())
    check_adapters("targets", {name: target.adapter for name, target in found.targets.items()}, TARGETS)
    return found


@cache
def world() -> World:
    """Make everything warm that bringing targets to agree takes."""
    found = config()
    redis = connect(found.redis.url, patient=True)
    places = {}
    for name, target in found.targets.items():
        places[name] = place_of(redis, name, target, Http())
    return World(found, People(redis, lanes(redis)), places)


def place_of(redis: Redis, name: str, target: Target, http: Http) -> Place:
    """Make everything warm that it takes to speak to one target."""
    adapter = TARGETS[target.adapter]
    client = Client(target, http)
    mapping = mapping_of(target, adapter.ATTRIBUTES)
    return Place(name, target, adapter, mapping, client, Groups(redis, name, client), Capabilities)


@cache
def deliverer() -> Deliverer:
    """Make everything warm that delivering signals takes."""
    found = config()
    redis = connect(found.redis.url, patient=True)
    http = Http(bytes_max=SIGNAL_ANSWER_BYTES_MAX)
    return Deliverer(redis, lanes(redis), dict(found.subscribers), http)


def warm(lane: str) -> None:
    """Make a lane's clients before its first job, and look up the groups that the policy names."""
    if lane == "signals":
        deliverer()
        return
    names = sorted(config().policy.groups)
    for place in world().places.values():
        place.groups.warm(Conversation(lambda: None), names)
