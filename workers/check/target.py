"""What is looked at, in the order in which one thing needs the other; the first that ends the talk ends the look."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lifecycle import keys
from lifecycle.check import Line
from lifecycle.errors import GatepostError, Postponed, Refused
from lifecycle.standing import circuit_of, member, stop_of
from workers.check import groups, lookup, schema
from workers.check.case import Case
from workers.pauses import ALLOWED
from workers.scim.capabilities import Capabilities
from workers.scim.client import BAD_REQUEST, NOT_IMPLEMENTED, OK
from workers.scim.token import Bearer

Step = Callable[[Case], Iterator[Line]]

REACH = "see that base_url and token_url are right and can be reached from here: DNS, firewall, certificate"
LATER = "look again in a minute"
# What a person does about each kind of trouble; the others are the target's own words.
DO = {
    "unreachable": REACH,
    "no_answer": REACH,
    "url": REACH,
    "credentials": "renew {credential}",
    "scopes": "grant them to the OAuth client, or take them out of targets.{name}.scopes",
    "forbidden": "give the role of this client the permission",
    "broken": "the target's operator has to act",
}
NOT_NOW = frozenset({"busy", "rate", "paused", "slow", "token"})
# One thing is refused; another may be allowed.
GO_ON = frozenset({"forbidden", "refused", "filter_unsupported", "group_missing", "broken"})


def look_at(case: Case) -> Iterator[Line]:
    """Yield what is found at one target."""
    try:
        for what, step in STEPS.items():
            try:
                yield from step(case)
            except GatepostError as error:
                yield trouble(case, what, error)
                if error.reason not in GO_ON or what in NEEDED:
                    return
    finally:
        case.close()


def trouble(case: Case, what: str, error: GatepostError) -> Line:
    """Return what an error means to whoever set the target up."""
    if isinstance(error, Postponed) and error.reason in NOT_NOW:
        return case.line(what, None, error.message, LATER)
    do = DO.get(error.reason, "see what the target says").format(credential=case.credential(), name=case.name)
    return case.line(what, False, error.message, do)


def token(case: Case) -> Iterator[Line]:
    """Fetch a token of our own, so that it is the credentials that are tried and not what the fleet has left."""
    section = case.place.section
    if section.token is not None:
        yield case.line("token", True, f"a static one, {section.token.reference}")
        return
    try:
        Bearer(section, case.http).token()
    except Refused as error:
        reason = error.reason if error.reason in DO else "credentials"
        raise Refused(f"{case.token_host()}: {error.message}", reason=reason) from error
    scopes = f"; scopes granted: {' '.join(section.scopes)}" if section.scopes else ""
    yield case.line("token", True, f"given by {case.token_host()}{scopes}")


def access(case: Case) -> Iterator[Line]:
    """Ask for one account: a target tells what it can without a token, and nothing else."""
    path = "/Users?startIndex=1&count=1&attributes=userName"
    answer = case.place.client.send(case.talk, "GET", path, allow={OK, BAD_REQUEST, NOT_IMPLEMENTED})
    yield case.line("access", True, f"{case.place.client.base} answers {answer.status}, and takes the token")


def capabilities(case: Case) -> Iterator[Line]:
    """Ask the target what it can, now."""
    case.place.discovery.ask(case.talk)
    case.talk.can = case.place.capabilities()
    yield case.line("can", True, ", ".join(told(case.talk.can)))


def told(can: Capabilities) -> Iterator[str]:
    """Yield what a target can, in words."""
    yield "PATCH" if can.patch else "no PATCH: accounts are read, merged and PUT"
    yield f"filter by {' and '.join(can.find_by)}" if can.filter else "no filter: everybody is read for a look-up"
    yield "If-Match" if can.etag else "no versions"
    yield f"bulk of {can.bulk_operations_max}" if can.bulk_operations_max else "no bulk"
    yield f"pages of {can.page_size} by {'cursor' if can.cursor else 'index'}"
    yield f"members leave by {can.member_remove}"


def standing(case: Case) -> Iterator[Line]:
    """Tell whether the target is stopped, or its circuit open; the schema was compared a moment ago."""
    stop, circuit = stop_of(case.redis, case.name), circuit_of(case.redis, case.name)
    retry = f"gatepost retry {member(case.name)}"
    if stop:
        do = f"mend the target or [targets.{case.name}.attributes], or take it as it is: {retry}"
        yield case.line("stopped", False, f"{stop.reason}: {stop.detail}", do)
    if circuit:
        listed = case.redis.zscore(keys.FAILURES, member(case.name)) is not None
        do = f"mend that; it closes by itself{f', or at once: {retry}' if listed else ''}"
        yield case.line("circuit", False, f"open ({circuit.reason}): {circuit.detail}", do)
    if not stop and not circuit:
        yield case.line("standing", True, "not stopped, circuit closed")


def rate(case: Case) -> Iterator[Line]:
    """Compare the limit that is configured with the one that the vendor tells (inin-ratelimit-allowed, a minute)."""
    limit, key = case.place.gate.rate.limit, f"targets.{case.name}.requests_per_minute"
    text = case.headers.get(ALLOWED, "")
    allowed = int(text[:9]) if text.isascii() and text.isdigit() else None
    waiting: Any = case.redis.zcard(keys.waiting(case.name))
    line = (f"{limit} requests a minute" if limit else "no limit") + (f"; {waiting} wait for it" if waiting else "")
    if allowed and (limit is None or limit > allowed):
        yield case.line("rate", False if limit else None, f"{line}; the target allows {allowed}", f"{key} = {allowed}")
    else:
        yield case.line("rate", True, line)


def roles(case: Case) -> Iterator[Line]:
    """Tell whether accounts have roles, where the policy grants some; SCIM has no list of their names."""
    if case.policy.roles:
        yield schema.roles(case, sorted(case.policy.roles))


STEPS: Mapping[str, Step] = {
    "token": token,
    "access": access,
    "can": capabilities,
    "schema": schema.managed,
    "standing": standing,
    "look-up": lookup.by_filter,
    "groups": groups.named,
    "roles": roles,
    "protected": lookup.protected,
    "rate": rate,
}
NEEDED = frozenset({"token", "access"})
