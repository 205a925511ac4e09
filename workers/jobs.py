"""The functions that RQ calls; each only wires. The process's clients are made at the first job and stay warm."""

from functools import cache
from uuid import uuid4

from redis import Redis

from lifecycle.config import Config, check_adapters, config_path, load
from lifecycle.people import People
from lifecycle.queue import LOOKUPS, SIGNALS, connect, lanes
from lifecycle.target import Target
from workers import converge as convergence
from workers.directories import opened
from workers.gate import Gate, Rate
from workers.http import Http
from workers.keeper import Keeper
from workers.look import look
from workers.outcome import Place, World
from workers.policy import mapping_of
from workers.pulse import Pulse
from workers.rounds import Rounds
from workers.scim.client import Client
from workers.scim.discovery import Discovery
from workers.scim.groups import Groups
from workers.scim.proof import Proof
from workers.sweeper import Sweeper
from workers.targets import TARGETS
from workers.watch.replies import Replies
from workers.watch.sources import watching
from workers.watch.watcher import Watcher


def converge(person: str, lane: str) -> None:
    """Work on what is in one person's mailbox; in the lane of look-ups, on the thin events that are not there yet."""
    if lane == LOOKUPS:
        look(world(), person)
    else:
        convergence.converge(world(), person, lane)


# The name of this process, under which it is known to be alive.
WORKER = uuid4().hex

JOBS = frozenset({f"{__name__}.{function.__name__}" for function in (converge,)})


@cache
def config() -> Config:
    """Read the configuration once a process. Raises Misconfigured."""
    found = load(config_path())
    check_adapters("targets", {name: target.adapter for name, target in found.targets.items()}, TARGETS)
    watching(found, opened(found.directories), connect(found.redis.url, patient=True))
    return found


@cache
def world() -> World:
    """Make everything warm that bringing targets to agree takes."""
    found = config()
    redis = connect(found.redis.url, patient=True)
    places = {}
    for name, target in found.targets.items():
        places[name] = place_of(redis, name, target, Http(), create_groups=found.policy.create_groups)
    return World(found, People(redis, lanes(redis), WORKER), places, opened(found.directories, redis))


def place_of(redis: Redis, name: str, target: Target, http: Http, *, create_groups: bool = False) -> Place:
    """Make everything warm that it takes to speak to one target."""
    adapter = TARGETS[target.adapter]
    client = Client(target, http, redis)
    mapping = mapping_of(target, adapter.ATTRIBUTES)
    groups = Groups(redis, name, client, create=create_groups)
    discovery = Discovery(redis, name, target, adapter.PROFILE, client, mapping)
    gate = Gate(redis, name, target, Rate.of(target, adapter.REQUESTS_PER_MINUTE))
    proof = Proof(redis, name, client)
    return Place(name, target, adapter, mapping, client, groups, gate, discovery.capabilities, discovery, proof)


def keeper() -> Keeper:
    """Make what lets in who waits, with a connection of its own: it runs in a thread of its own."""
    found = config()
    redis = connect(found.redis.url, patient=True)
    rates = {
        name: Rate.of(target, TARGETS[target.adapter].REQUESTS_PER_MINUTE) for name, target in found.targets.items()
    }
    gates = [Gate(redis, name, target, rates[name]) for name, target in found.targets.items()]
    return Keeper(redis, gates, lanes(redis))


def pulse(lane: str) -> Pulse:
    """Make what says that this process lives, and renews the leases of its jobs."""
    redis = connect(config().redis.url, patient=True)
    return Pulse(redis, WORKER, (lambda: None) if lane in {LOOKUPS, SIGNALS} else world().people.leases.renew_all)


def sweeper() -> Sweeper:
    """Make what offers again what nobody holds any more, with a connection of its own."""
    redis = connect(config().redis.url, patient=True)
    return Sweeper(redis, WORKER, People(redis, lanes(redis), WORKER), lanes(redis))


def rounds() -> Rounds:
    """Make what looks at the targets now and then."""
    return Rounds(world().places.values)


def watcher() -> Watcher:
    """Make what asks the sources for what no notice told, with connections of its own."""
    found = config()
    redis = connect(found.redis.url, patient=True)
    watched = watching(found, opened(found.directories, redis), redis)
    return Watcher(redis, WORKER, watched.tasks, Replies(redis, WORKER, watched.apis))


def warm(lane: str) -> None:
    """Make a lane's clients before its first job, and look up the groups that the policy names."""
    if lane == LOOKUPS:
        world()
        return
    policy = config().policy
    for place in world().places.values():
        with place.aside() as talk:
            place.discovery.refresh(talk)
        with place.aside() as talk:
            place.groups.warm(talk, sorted(policy.groups), policy.nesting)
