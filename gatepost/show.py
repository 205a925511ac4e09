"""How things look on a terminal; with ``--json`` nothing but JSON."""

import json
from collections.abc import Sequence
from typing import Any
from unicodedata import category

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lifecycle.check import Line

COLORS = {
    "applied": "green",
    "unchanged": "green",
    "delivered": "green",
    "superseded": "cyan",
    "ignored": "cyan",
    "scheduled": "cyan",
    "kept": "yellow",
    "waiting": "yellow",
    "postponed": "yellow",
    "active": "green",
    "paused": "cyan",
    "dropped": "cyan",
    "failing": "yellow",
    "circuit_open": "yellow",
    "held": "red",
    "disabled": "red",
    "unusable": "red",
    "failed": "red",
    "ok": "green",
    "unsure": "yellow",
    "wrong": "red",
}

# Controls, marks of direction, what is no character, other ends of lines.
STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
HARMLESS = frozenset("\n\t\u200c\u200d")
"""Words of some languages have joiners in them."""

# Nothing is cut where nobody sees the edge.
WIDTH_OF_A_PIPE = 500

console = Console(highlight=False, soft_wrap=True, emoji=False)
if not console.is_terminal:
    console.width = WIDTH_OF_A_PIPE


def as_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str, title: str | None = None) -> None:
    """Print rows under columns, or a sentence when there is none. What came from outside is never read as markup."""
    if not rows:
        console.print(empty)
        return
    # An id that is cut is no id.
    heads = [Column(column, overflow="fold") for column in columns]
    drawn = Table(*heads, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(_cell(cell) for cell in row))
    console.print(drawn)


def plain(text: str) -> str:
    """Return text that a terminal only shows: what came from outside may try to steer it, or to turn it round."""
    return "".join("?" if category(each) in STEERING and each not in HARMLESS else each for each in text)


def _cell(value: object) -> Text:
    text = "" if value is None else plain(str(value))
    return Text(text, style=COLORS.get(text, ""))


def moment(text: str | None) -> str:
    """Show a moment to the second."""
    return (text or "")[:19].replace("T", " ")


def events(items: Sequence[dict[str, Any]]) -> None:
    """Print a list of events."""
    columns = ("received", "source", "event", "kind", "person", "state", "requests", "reason")
    table(columns, [_event_row(item) for item in items], empty="No events.")


def _event_row(item: dict[str, Any]) -> tuple[object, ...]:
    requests = sum(delivery["requests"] for delivery in item["deliveries"])
    received = moment(item["received_at"])
    return (
        received,
        item["source"],
        item["id"],
        _kind(item),
        item["person"],
        item["state"],
        requests,
        item["reason"],
    )


def _kind(item: dict[str, Any]) -> str:
    """Show what a thin event turned out to be beside what it was."""
    return f"{item['kind']}: {item['read_as']}" if item.get("read_as") else str(item["kind"])


def why(event: dict[str, Any]) -> None:
    """Print one event step by step."""
    console.print(plain(f"{event['source']}:{event['id']}  {_kind(event)} of {event['person']}"), markup=False)
    for name in ("occurred_at", "effective_at", "received_at", "settled_at", "state", "reason", "detail"):
        if event[name]:
            console.print(plain(f"  {name:13} {event[name]}"), markup=False)
    rows = [(step["at"][11:23], step["step"], _detail(step)) for step in event["timeline"]]
    table(("at", "step", "what"), rows, empty="", title="\nTimeline (UTC)")


def _detail(step: dict[str, Any]) -> str:
    detail = dict(step["detail"])
    if step["step"] == "request":
        status, known_as = detail["status"] or "no answer", detail.get("correlation")
        said = f"{detail['target']}: {detail['method']} {detail['path']} -> {status} ({detail['milliseconds']} ms)"
        return f"{said} [{known_as}]" if known_as else said
    return ", ".join(f"{name}={value}" for name, value in detail.items())


def person(found: dict[str, Any]) -> None:
    """Print one person: what is known, the accounts, the last events."""
    heading = f"{found['key']}  {found['status']} since {moment(found['status_at']) or 'never'}"
    console.print(plain(heading), markup=False)
    facts = [(name, fact["value"], moment(fact["at"]), fact["source"]) for name, fact in found["attributes"].items()]
    table(("attribute", "value", "since", "source"), facts, empty="Nothing is known.", title="\nKnown")
    accounts = [
        (
            target,
            account["id"],
            {True: "active", False: "inactive"}.get(account["active"], "unknown"),
            *_groups(account),
        )
        for target, account in found["accounts"].items()
    ]
    accounts += [(target, gone["id"], "deleted", "") for target, gone in found["deleted"].items()]
    table(("target", "account", "shows", "groups"), accounts, empty="\nNo accounts.", title="\nAccounts")
    if found["holds"]:
        rows = [(moment(hold["since"]), hold["event"], *_held(hold)) for hold in found["holds"]]
        table(("since", "event", "target", "would", "detail"), rows, empty="", title="\nHeld")
    console.print()
    events(found["events"])


def _groups(account: dict[str, Any]) -> tuple[str]:
    return (", ".join(sorted(account["groups"])),)


def holds(items: Sequence[dict[str, Any]]) -> None:
    """Print what is held, with the id that ``gatepost release`` and ``gatepost drop`` take; a line for each target."""
    rows = [
        (moment(item["since"]), item["id"], item["kind"], item["person"], item["reason"], *held)
        for item in items
        for held in map(_held, item["holds"] or [{"target": None, "change": "", "names": (), "detail": item["detail"]}])
    ]
    columns = ("since", "id", "kind", "person", "reason", "target", "would", "detail")
    table(columns, rows, empty="Nothing is held.")


def _held(hold: dict[str, Any]) -> tuple[object, ...]:
    return hold["target"], " ".join([hold["change"], ", ".join(hold["names"])]).strip(), hold["detail"]


def check(lines: Sequence[Line]) -> None:
    """Print what ``gatepost check`` found: each line well, or what to do."""
    marks = {True: "ok", False: "wrong", None: "unsure"}
    rows = [(marks[line.ok], line.what, line.found, line.do) for line in lines]
    table(("", "what", "found", "do"), rows, empty="Nothing to look at.")


def signals(items: Sequence[dict[str, Any]]) -> None:
    """Print signals, a line for each way to a subscriber."""
    nobody = {"subscriber": None, "state": None, "attempts": 0, "reason": None}
    rows = [
        (
            moment(item["made_at"]),
            way.get("item", item["id"]),
            item["type"],
            item["person"],
            way["subscriber"],
            way["state"],
            way["attempts"],
            way["reason"],
        )
        for item in items
        for way in item["deliveries"] or [nobody]
    ]
    columns = ("made", "signal", "type", "person", "subscriber", "state", "attempts", "reason")
    table(columns, rows, empty="No signals.")


def signal(found: dict[str, Any]) -> None:
    """Print one signal: where it went, and what was answered to each attempt."""
    signals([found])
    rows = [
        (moment(line["at"]), way["subscriber"], way["item"], line["number"], line["status"], *_answer(line))
        for way in found["deliveries"]
        for line in way["tried"]
    ]
    columns = ("at", "subscriber", "signal", "attempt", "status", "ms", "answer")
    table(columns, rows, empty="\nNo attempt was made.", title="\nAttempts (UTC)")


def _answer(line: dict[str, Any]) -> tuple[object, str]:
    said = [line.get(name) for name in ("error", "detail", "answer")]
    return line["duration_ms"], ": ".join(" ".join(part.split()) for part in said if part)


def subscribers(items: Sequence[dict[str, Any]]) -> None:
    """Print who subscribes, and how each stands."""
    rows = [
        (
            item["name"],
            item["managed_by"],
            item["format"],
            item["url"],
            item["state"],
            item["waiting"],
            item["failed"],
            moment(item["last_success_at"]),
            item["reason"],
        )
        for item in items
    ]
    columns = ("name", "managed by", "format", "url", "state", "waiting", "failed", "last success", "reason")
    table(columns, rows, empty="Nobody subscribes.")


def failures(items: Sequence[dict[str, Any]]) -> None:
    """Print what waits for a person, with the id that ``gatepost retry`` takes."""
    rows = [
        (
            moment(item["failed_at"]),
            item["id"],
            _kind(item) if "kind" in item else item["type"],
            item["state"],
            item["reason"],
            item["detail"],
        )
        for item in items
    ]
    table(("since", "id", "kind", "state", "reason", "detail"), rows, empty="Nothing waits for a person.")
