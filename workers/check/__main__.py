"""Look at every configured directory and target and say what was found; exit 2 when the configuration is wrong."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from redis import Redis

from lifecycle.check import Line
from lifecycle.config import CONFIG_VARIABLE
from lifecycle.errors import Misconfigured
from lifecycle.log import set_up_logs
from lifecycle.policy import Policy
from lifecycle.queue import connect
from workers.check import directory, watch
from workers.check.case import Case
from workers.check.target import look_at
from workers.directories import opened
from workers.http import Http
from workers.jobs import config, place_of
from workers.watch.sources import watching

EXIT_MISCONFIGURED = 2
AT_ONCE_MAX = 16


def main() -> None:
    """Print the lines as they are found."""
    parser = argparse.ArgumentParser(prog="python -m workers.check", description=__doc__)
    parser.add_argument("--config")
    parser.add_argument("--sections", action="store_true", help="only what is written in the configuration")
    options = parser.parse_args()
    set_up_logs("check")
    if options.config:
        os.environ[CONFIG_VARIABLE] = options.config
    try:
        found = config()
    except Misconfigured as error:
        print(error.message, file=sys.stderr)
        sys.exit(EXIT_MISCONFIGURED)
    if options.sections:
        return
    redis = connect(found.redis.url, patient=False)
    directories = opened(found.directories, redis)
    for line in watch.look_at(redis, found, watching(found, directories, redis)):
        print(line.to_json(), flush=True)
    for name, each in directories.items():
        for line in directory.look_at(name, each):
            print(line.to_json(), flush=True)
    for line in look([_case(redis, name) for name in found.targets], found.policy):
        print(line.to_json(), flush=True)


def look(cases: Sequence[Case], policy: Policy) -> Iterator[Line]:
    """Yield what is found at all targets, each target's lines together, as soon as it is done."""
    if not cases:
        yield Line("targets", None, "none is configured", "name one under [targets.NAME]")
        return
    with ThreadPoolExecutor(min(len(cases), AT_ONCE_MAX)) as pool:
        looks = [pool.submit(list, look_at(case)) for case in cases]
        for look in as_completed(looks):
            fault = look.exception()
            yield from [Line("targets", False, f"a fault of ours: {type(fault).__name__}")] if fault else look.result()
    yield from _protected(cases, policy)


def _case(redis: Redis, name: str) -> Case:
    found = config()
    http = Http()
    return Case(place_of(redis, name, found.targets[name], http), found.policy, redis, http)


def _protected(cases: Sequence[Case], policy: Policy) -> Iterator[Line]:
    """Name the entries that fit nobody: one that is misspelt protects nobody. Nothing is told unless all were asked."""
    asked = [case.protected_found for case in cases if case.protected_found is not None]
    if not policy.protected or len(asked) < len(cases):
        return
    missing = [str(place + 1) for place in range(len(policy.protected)) if not any(place in found for found in asked)]
    if missing:
        text = f"entry {', '.join(missing)} of {len(policy.protected)} is the userName of no account on any target"
        yield Line("policy.protected", None, text, "see that the name is spelt as on the target")
    else:
        yield Line("policy.protected", True, f"each of {len(policy.protected)} is an account")


if __name__ == "__main__":
    main()
