"""What subscribers are told of an attempt: one signal for each target that changed or failed. Pure."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from lifecycle.event import Event, State
from lifecycle.person import Account, Person
from lifecycle.signal import Signal, iso, make_signal
from workers.outcome import Result
from workers.screen import LeftOut
from workers.task import Agreement
from workers.told import told_as, told_before

DELIVERY_FAILED = "delivery.failed"
REASONS = {
    "provisioned": "joined",
    "updated": "moved",
    "suspended": "left",
    "restored": "returned",
    "deleted": "left",
}
DELETED, RETURNED = "deleted", "returned"
OF_THE_DELETED = ("email", "user_name", "elsewhere")


def signals_for(  # noqa: PLR0913 - what an attempt came to
    person: Person,
    cause: Event,
    results: Sequence[Result],
    now: datetime,
    deletions: Mapping[str, Event] = MappingProxyType({}),
    before: Person | None = None,
    *,
    values: bool = False,
    targets: Collection[str] | None = None,
) -> list[Signal]:
    """Return the signals of an attempt; ``deletions`` are the events of ours that deleted, by target.

    ``before`` is what was known when it began: a change that is made again later is news. ``values`` is whether anybody
    is told what the changed attributes are now. ``targets`` are those that count, None for all that the person is on.
    """
    signals = []
    for told, result in enumerate(results):
        since = before.accounts.get(result.place) if before else None
        found = replace(result, known_at=since.settled_at if since else None)
        later = {each.place: _news(each, before) for each in results[told + 1 :]}
        elsewhere = _elsewhere(person, result.place, later, targets)
        facts = _facts(person, result.agreement, since, elsewhere, values=values)
        facts |= {"returned": True} if RETURNED in _news(result, before) else {}
        if result.agreement.change:
            signals.append(_change(str(result.agreement.change), person, cause, found, now, facts))
        if result.agreement.deleted_at:
            gone = replace(found, agreement=_deletion(result.agreement))
            named = {name: value for name, value in facts.items() if name in OF_THE_DELETED}
            signals.append(_change("deleted", person, deletions.get(result.place, cause), gone, now, named))
        if result.state is State.FAILED:
            signals.append(_failed(person, cause, result, now))
    return signals


def given_up(person: Person, event: Event, left_out: LeftOut, now: datetime) -> Signal:
    """Return what is told of an event that failed before any target was asked."""
    data = head(person, event, None, left_out.reason) | {
        "kind": event.kind.value,
        "detail": left_out.detail,
        "received_at": iso(event.received_at),
        "failed_at": iso(now),
    }
    return make_signal(
        DELIVERY_FAILED, person=person.key, event=event.ref, target="", data=data, at=now, nonce=iso(now)
    )


def _change(
    change: str, person: Person, cause: Event, result: Result, now: datetime, facts: Mapping[str, Any]
) -> Signal:
    agreement = result.agreement
    reason = REASONS[change]
    if change == "suspended" and not person.has_left:
        reason = "out_of_scope"
    account = agreement.account
    moments = {"applied_at": agreement.applied_at, "confirmed_at": agreement.confirmed_at}
    data = head(person, cause, result.place, reason) | {
        "account": {"id": account.id, "active": account.active} if account else None,
        # Plain SCIM has no sessions to revoke; a target that has says so.
        "sessions_revoked": agreement.sessions_revoked,
        "groups_added": agreement.groups_added,
        "groups_removed": agreement.groups_removed,
        "roles_added": agreement.roles_added,
        "roles_removed": agreement.roles_removed,
        "entitlements_before": {"groups": agreement.groups_before, "roles": agreement.roles_before},
        "received_at": iso(cause.received_at),
        **{name: iso(moment) if moment else None for name, moment in moments.items()},
        "latency_ms": round((now - cause.begins_at).total_seconds() * 1000),
    }
    # One event may change an account twice, when its groups or its tokens had trouble; each change is news of its own.
    moved: list[Any] = [account.active if account else None, agreement.groups_added, agreement.groups_removed]
    moved += [iso(result.known_at)] if result.known_at else []
    what = json.dumps([*moved, "sessions"] if agreement.sessions_revoked else moved)
    return make_signal(
        f"person.{change}",
        person=person.key,
        event=cause.ref,
        target=result.place,
        data=data,
        at=now,
        nonce=what,
        facts=facts,
    )


def _facts(
    person: Person, agreement: Agreement, since: Account | None, elsewhere: Mapping[str, list[str]], *, values: bool
) -> dict[str, Any]:
    """Return what Security Events tell besides; the names of what was changed, and values only for who wants them."""
    before, now = told_before(since).model_dump(), told_as(person, agreement, since).model_dump()
    facts = {
        **now,
        "attributes": agreement.attributes,
        "old": {name: old for name, old in before.items() if old and _differ(old, now[name])},
        "elsewhere": elsewhere,
        "values": agreement.values if values else None,
    }
    return {name: value for name, value in facts.items() if value}


def _differ(old: str, new: str | None) -> bool:
    """Tell whether this name is no more: letter case makes no other (RFC 7643 section 4.1.1)."""
    return old.lower() != (new or "").lower()


def _news(result: Result, before: Person | None) -> set[str]:
    """Return what of the person an attempt came to on one target, beside its change."""
    agreement = result.agreement
    # Where no account was left, the person was purged, and a new one is just that.
    is_anew = agreement.change == "provisioned" and bool(before and before.accounts and result.place in before.deleted)
    found = {DELETED: agreement.deleted_at is not None, RETURNED: is_anew or agreement.change == "restored"}
    return {what for what, is_so in found.items() if is_so}


def _elsewhere(
    person: Person, place: str, later: Mapping[str, Collection[str]], targets: Collection[str] | None
) -> dict[str, list[str]]:
    """Return on which other targets the person still has an account, and a suspended one, where this signal is read.

    What is ``later`` news, by target, is told after it.
    """
    others = {
        name: account
        for name, account in person.accounts.items()
        if name != place and (targets is None or name in targets)
    }
    accounts = others.keys() | {name for name, news in later.items() if DELETED in news}
    suspended = {name for name, account in others.items() if account.active is False}
    suspended |= {name for name, news in later.items() if RETURNED in news}
    found = {"accounts": sorted(accounts), "suspended": sorted(suspended)}
    return {what: names for what, names in found.items() if names}


def _deletion(agreement: Agreement) -> Agreement:
    """Return what the deletion alone came to: whatever groups the account was in still it is in no more."""
    left = sorted(agreement.account.groups) if agreement.account else []
    return replace(
        agreement,
        applied_at=agreement.deleted_at,
        confirmed_at=agreement.deleted_at,
        groups_added=[],
        groups_removed=left,
        roles_added=[],
        roles_removed=[],
    )


def _failed(person: Person, cause: Event, result: Result, now: datetime) -> Signal:
    attempt = {"detail": result.detail, "received_at": iso(cause.received_at), "failed_at": iso(now)}
    data = head(person, cause, result.place, result.reason or "failed") | {"kind": cause.kind.value} | attempt
    # After a retry the same event may fail again, and that is news.
    return make_signal(
        DELIVERY_FAILED,
        person=person.key,
        event=cause.ref,
        target=result.place,
        data=data,
        at=now,
        nonce=iso(now),
    )


def head(person: Person, cause: Event, target: str | None, reason: str) -> dict[str, Any]:
    """Return what the data of every signal begins with."""
    return {
        "event": cause.id,
        "source": cause.source,
        "target": target,
        "reason": reason,
        "person": {"external_id": person.value("external_id"), "user_name": _name(person)},
    }


def _name(person: Person) -> Any:  # noqa: ANN401 - facts are JSON
    return person.value("user_name") or person.value("email")
