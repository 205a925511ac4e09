"""Create an account, or take the one that stands in its way (RFC 7644 section 3.3).

A conflict means that the account is there already: a lost answer, another process, or somebody by hand. It is looked
for by every key before anything else is thought of.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

from lifecycle.errors import Postponed, Refused
from workers.http import Answer
from workers.plan import EXTERNAL_ID, Terms, essential, new_account, plan
from workers.resource import Resource, attribute
from workers.scim.answers import failure, parse, said, scim_type
from workers.scim.client import CREATED, OK
from workers.scim.find import INACTIVE, USERS, find_among_all, find_by_name, hits_of, mine
from workers.task import Task

# 409 is the rule; 400 and 500 were seen for duplicates, so after those a look-up decides too.
CONFLICT, BAD_REQUEST, SERVER_ERROR = 409, 400, 500
UNPROCESSABLE = 422
CONTENT = {BAD_REQUEST, UNPROCESSABLE}
CREATE_REFUSALS = CONTENT | {CONFLICT, SERVER_ERROR}


class Created(NamedTuple):
    """The account, as far as it is known."""

    account: Resource
    fresh: bool
    """Made by this request; else it stood in its way."""
    complete: bool
    """Nothing is left to be changed in it."""
    refused: tuple[Refused, ...] = ()
    joined: Mapping[str, str] = {}
    """Groups that it was made a member of by the same request: id by name."""
    body: Mapping[str, Any] = {}
    """What was asked for, of one that was made."""


def create(task: Task, terms: Terms) -> Created:
    """Create the account, or return the one that stood in its way.

    Raises Refused, Held or Postponed when there is none then.
    """
    if not task.wanted.user_name:
        raise Postponed(
            "neither user_name nor email is known, and an account needs a userName", reason="user_name_missing"
        )
    body, refused = new_account(task.wanted, terms)
    answer, joined = _ask(task, body)
    if answer.status not in CREATE_REFUSALS and not _is_refusal_in_disguise(answer, body):
        return _made(task, terms, body, answer)._replace(refused=refused, joined=joined)
    found = _in_the_way(task, answer) if answer.status != UNPROCESSABLE else None
    if found is not None:
        return Created(found, fresh=False, complete=False)
    return _made_of_less(task, terms, body, answer)


def _made_of_less(task: Task, terms: Terms, body: dict[str, Any], refused: Answer) -> Created:
    """Ask for less: some refuse a whole account for an attribute that they do not know. The rest is written next."""
    less = essential(body)
    if not _is_about_more(refused, body):
        raise _unfound(task, refused)
    answer = task.client.create(task.talk, USERS, less, allow={CONFLICT})
    if answer.status != CONFLICT:
        return _made(task, terms, less, answer, whole=False)
    found = _in_the_way(task, answer)
    if found is None:
        raise _unfound(task, answer)
    return Created(found, fresh=False, complete=False)


def _made(task: Task, terms: Terms, body: dict[str, Any], answer: Answer, *, whole: bool = True) -> Created:
    """Return the account that was made, as it shows itself."""
    resource_id = id_of(answer)
    if resource_id is None:
        # Created, but the target does not say as what: the next attempt looks for it.
        raise Postponed(f"the target names no account in its answer to the create: {said(answer)}", reason="odd_answer")
    told = {**parse(answer), "id": resource_id}
    # Some answer a create with the account that was there, or bring a deleted one back: it may be another person's.
    mine(task, [told], "userName")
    if not attribute(told, "userName"):
        return Created({**body, **told}, fresh=True, complete=whole and not task.can.restores, body=body)
    left = _left(task, terms, told)
    if left and whole and not task.can.restores:
        # Some drop what they do not know; some keep more than they answer with.
        told = task.client.get(task.talk, USERS, resource_id) or told
        left = _left(task, terms, told)
    return Created({**told, "id": resource_id}, fresh=True, complete=not left, body=body)


def _is_refusal_in_disguise(answer: Answer, body: dict[str, Any]) -> bool:
    """Tell whether a 200 shows no account but the name of what it stumbled over: one server was seen to answer so."""
    lacks_account = answer.status == OK and id_of(answer) is None and not parse(answer)
    return lacks_account and _is_about_more(answer, body)


def _is_about_more(refused: Answer, body: dict[str, Any]) -> bool:
    """Tell whether a refusal names something that not every account needs, or lacks what some servers want."""
    return refused.status in CONTENT | {OK} and _names_one(
        refused, {"primary"} | (_names(body) - _names(essential(body)))
    )


def _left(task: Task, terms: Terms, told: Resource) -> bool:
    """Tell whether a new account lacks anything: a restored one keeps what it had, or has less than was asked for."""
    edits = plan(told, task.wanted, terms).edits
    # Not every target keeps an externalId, and the id is as good; where accounts are restored it says whose they are.
    return any(task.can.restores or edit.path is not EXTERNAL_ID for edit in edits)


def _ask(task: Task, body: dict[str, Any]) -> tuple[Answer, Mapping[str, str]]:
    """Ask for the account: with its groups by one request where the target offers that, else alone."""
    groups = _groups(task)
    made = task.groups.bulk.create_with_groups(task.talk, body, groups) if groups else None
    if made is None:
        return task.client.create(task.talk, USERS, body, allow=CREATE_REFUSALS), {}
    if made.account is None:
        raise Postponed("the target tells nothing of the account in its answer to many requests", reason="no_answer")
    if made.account.status not in {OK, CREATED} | CREATE_REFUSALS:
        raise failure(made.account, datetime.now(UTC))
    return made.account, made.joined


def _groups(task: Task) -> dict[str, str]:
    """Return the wanted groups that are there, id by name, where the target takes many requests as one."""
    found = {}
    for name in sorted(task.wanted.groups) if task.can.bulk_operations_max else ():
        with suppress(Refused):  # whoever keeps the groups meets it again, and tells it
            found[name] = task.groups.find(task.talk, name)
    return found


def id_of(answer: Answer) -> str | None:
    """Return the id of what was created; ``Location`` names it where the body does not."""
    found = attribute(parse(answer), "id")
    if found:
        return str(found)
    return unquote(answer.headers.get("location", "").rstrip("/").rpartition("/")[2]) or None


def _names(body: Resource) -> set[str]:
    """Return the names of a body's attributes, of those in an extension too."""
    inner = (value for name, value in body.items() if name.lower().startswith("urn:"))
    return {*body, *(name for each in inner if isinstance(each, Mapping) for name in each)}


def _names_one(answer: Answer, names: Iterable[str]) -> bool:
    text = answer.body.decode("utf-8", "replace").lower()
    return any(name.lower().removesuffix("s") in text for name in names)  # one of the roles is "role" in a sentence


def _in_the_way(task: Task, answer: Answer) -> Resource | None:
    """Return the account that a refused create points at, None when there is none."""
    if answer.status == BAD_REQUEST and scim_type(answer) not in {"", "uniqueness"}:
        return None
    found = find_by_name(task)
    if found is None and task.wanted.external_id and "externalId" in task.can.find_by:
        found = mine(task, hits_of(task, "externalId", task.wanted.external_id), "externalId")
    if found is not None or answer.status != CONFLICT:
        return found
    # Some answer a filter that they do not know with nobody, some hide whoever is inactive: there is somebody.
    try:
        return find_among_all(task, INACTIVE if task.can.hides_inactive else None)
    except Refused as error:
        if error.reason != "filter_unsupported":
            raise
        # Too many to look through: the conflict itself is what to tell.
        raise failure(answer, datetime.now(UTC)) from error


def _unfound(task: Task, answer: Answer) -> Exception:
    """Return the error of a refusal that nobody seems to stand behind; a lagging target may show it later."""
    if answer.status == CONFLICT and task.can.lag_seconds:
        return Postponed("the target has such an account and does not show it yet", reason="lag")
    return failure(answer, datetime.now(UTC))
