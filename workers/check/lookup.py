"""Whether look-ups find whom they should: first somebody who cannot be there, then somebody who is.

Targets were seen to answer a filter that they do not know with everybody, or with nobody. No value is ever told.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from lifecycle import keys
from lifecycle.check import Line
from lifecycle.errors import Postponed, Refused, Waiting
from workers.check.case import Case
from workers.http import Answer
from workers.resource import Resource, attribute
from workers.scim import filters, paging
from workers.scim.answers import said
from workers.scim.client import BAD_REQUEST, NOT_IMPLEMENTED, OK
from workers.scim.find import USERS, fitting

KNOWN_TRIED_MAX, PROTECTED_MAX = 5, 20
FORBIDDEN = 403
NO_FILTER = "profile = {{ filter = false }} under [targets.{name}]"


def by_filter(case: Case) -> Iterator[Line]:
    """Try each attribute that accounts are looked for by."""
    can = case.talk.can
    if not can.filter:
        yield case.line("look-up", True, "by reading everybody: the target does not filter")
        return
    known = _known(case)
    for name in can.find_by:
        yield _tried(case, name, known)


def protected(case: Case) -> Iterator[Line]:
    """Note which protected names are accounts here; they are told for all targets together, by their place."""
    names = case.policy.protected[:PROTECTED_MAX]
    if names and case.talk.can.filter and "userName" in case.talk.can.find_by:
        found = {place for place, name in enumerate(names) if _has(case, name)}
        case.protected_found = found | set(range(len(names), len(case.policy.protected)))
    yield from ()


def _has(case: Case, name: str) -> bool:
    with _unsaid("a protected name could not be looked for"):
        return bool(fitting(case.place.client.query(case.talk, USERS, "userName", name), "userName", name))


def _tried(case: Case, name: str, known: Resource | None) -> Line:
    what, nobody = f"filter by {name}", f"gatepost-check-{uuid4().hex}"
    answer = _answer(case, name, nobody)
    if answer.status != OK:
        return case.line(what, None, f"refused: {said(answer).replace(nobody, '...')}", _do(case, name))
    if hits := paging.resources(answer):
        text = f"is ignored: a name that nobody has gives {len(hits)} accounts"
        return case.line(what, None, f"{text}; each look-up reads everybody", _do(case, name))
    if known is None:
        return case.line(what, True, "taken; no account was settled yet, so that it could not be tried on one")
    value = attribute(known, name)
    if not isinstance(value, str) or not value:
        return case.line(what, None, f"the target shows no {name} of an account that we settled", _do(case, name))
    with _unsaid("an account that we settled could not be looked for"):
        found = {str(attribute(hit, "id")) for hit in paging.resources(_answer(case, name, value))}
    if found != {str(attribute(known, "id"))}:
        text = "answers with others" if found else "answers nobody for an account that is there"
        return case.line(what, False, text, _do(case, name))
    return case.line(what, True, "finds an account that is there, and nobody where nobody is")


@contextmanager
def _unsaid(what: str) -> Iterator[None]:
    """Keep the target's words from a line: they may repeat the name that was asked for."""
    try:
        yield
    except Refused as error:
        raise Refused(what, reason=error.reason) from error
    except Waiting:
        raise
    except Postponed as error:
        raise Postponed(what, reason=error.reason) from error


def _answer(case: Case, name: str, value: str) -> Answer:
    text = filters.equals(name, value)
    path, shown = f"/{USERS}?filter={filters.encoded(text)}", f"/{USERS}?filter={filters.shown(text)}"
    allow = {OK, BAD_REQUEST, FORBIDDEN, NOT_IMPLEMENTED}
    return case.place.client.send(case.talk, "GET", path, allow=allow, shown=shown)


def _do(case: Case, name: str) -> str:
    others = [other for other in case.talk.can.find_by if other != name]
    if others:
        return f'profile = {{ find_by = ["{others[0]}"] }} under [targets.{case.name}]'
    return NO_FILTER.format(name=case.name)


def _known(case: Case) -> Resource | None:
    """Return an account that we settled and the target shows; None where there is none."""
    ids: Any = case.redis.hrandfield(keys.owners(case.name), KNOWN_TRIED_MAX)
    for account_id in ids or ():
        with _unsaid("an account that we settled could not be read"):
            found = case.place.client.get(case.talk, USERS, account_id.decode())
        if found is not None and (attribute(found, "active") is not False or not case.talk.can.hides_inactive):
            return {**found, "id": account_id.decode()}
    return None
