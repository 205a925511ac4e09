"""The demo's story: who joins, moves, leaves and comes back, what must come of each, and the table that shows it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from gatepost import calls, ending, show
from gatepost.stage import ADA, BO, CY, Stage

LEAVER = "evt-left"
SETTLE_SECONDS_MAX = 20.0
SIGNERS = 2  # processes, each a second of a core
POLL_SECONDS = 0.02
OPEN = {"kept", "scheduled", "postponed"}


@dataclass(frozen=True)
class Scene:
    """One notice, and what must come of it: the receiver's answer, and the state of the event."""

    title: str
    source: str
    event: str
    body: dict[str, Any]
    answer: int
    state: str | None
    forged: bool = False


def scenes(start: datetime) -> list[Scene]:
    """Return the story; every event has its time, so it can be told in any order."""
    support = {
        "external_id": BO,
        "email": "bo.ray@acme.example",
        "display_name": "Bo Ray",
        "department": "Support",
    }
    ada = {
        "external_id": ADA,
        "email": "ada.lee@acme.example",
        "display_name": "Ada Lee",
        "department": "Sales",
    }
    moved = _hris("person.moved", "evt-moved", start + _seconds(30), _bo(department="Sales", title="Account Manager"))
    return [
        Scene("Ada joins", "hris", "evt-ada", _hris("person.joined", "evt-ada", start, ada), 202, "applied"),
        Scene("Bo joins", "hris", "evt-bo", _hris("person.joined", "evt-bo", start, support), 202, "applied"),
        Scene("Cy joins, says Okta", "okta", "okta-cy", _okta("okta-cy", start), 204, "applied"),
        Scene("Bo moves to Sales", "hris", "evt-moved", moved, 202, "applied"),
        Scene("... told twice", "hris", "evt-moved", moved, 202, "applied"),
        Scene(
            "Bo's older title arrives late",
            "hris",
            "evt-late",
            _hris("person.moved", "evt-late", start + _seconds(20), _bo(title="Agent")),
            202,
            "superseded",
        ),
        Scene(
            "a forged leaver",
            "hris",
            "evt-forged",
            _hris("person.left", "evt-forged", start + _seconds(40), _bo()),
            401,
            None,
            forged=True,
        ),
        Scene(
            "Bo leaves",
            "hris",
            LEAVER,
            _hris("person.left", LEAVER, start + _seconds(60), _bo()),
            202,
            "applied",
        ),
        Scene(
            "Bo is hired again",
            "hris",
            "evt-again",
            _hris("person.joined", "evt-again", start + _seconds(90), support),
            202,
            "applied",
        ),
    ]


def _seconds(number: int) -> timedelta:
    return timedelta(seconds=number)


def _bo(**changed: str) -> dict[str, str]:
    return {"external_id": BO, **changed}


def _hris(kind: str, event: str, at: datetime, person: dict[str, str]) -> dict[str, Any]:
    return {"type": kind, "timestamp": at.isoformat(), "data": {"id": event, "person": person}}


def _okta(event: str, at: datetime) -> dict[str, Any]:
    user = {"id": CY, "type": "User", "alternateId": "cy.orr@acme.example", "displayName": "Cy Orr"}
    entry = {
        "uuid": event,
        "published": at.isoformat(),
        "eventType": "user.lifecycle.create",
        "outcome": {"result": "SUCCESS"},
        "target": [user],
    }
    return {"eventType": "com.okta.event_hook", "data": {"events": [entry]}}


def play(stage: Stage) -> bool:
    """Tell the story scene by scene, show the table, and say whether it ended as told."""
    faults: list[str] = []
    rows = []
    before = ""
    told = scenes(datetime.now(UTC) - timedelta(minutes=5))
    for scene in told:
        _file(stage, scene).write_text(json.dumps(scene.body))
    with ThreadPoolExecutor(SIGNERS) as pool:
        notices = list(pool.map(partial(_notice, stage), told))
    for scene, notice in zip(told, notices, strict=True):
        if scene.event == LEAVER:
            # Somebody at work when it happens: suspension alone would leave the session alive.
            before = ending.log_in(stage)
        answer = calls.send(stage.receiver, notice)
        event = _settled(stage, scene) if scene.state else None
        rows.append(_row(scene, answer, event))
        faults += _faults(scene, answer, event)
        if scene.event == LEAVER:
            faults += ending.locked_out(stage)
    faults += ending.faults(stage, before)
    columns = ("what happened", "source", "event", "answer", "state", "requests", "settled in")
    show.table(columns, rows, empty="", title="The story")
    ending.tell(stage, faults)
    return not faults


def _notice(stage: Stage, scene: Scene) -> calls.Signed:
    notice = calls.signed(stage.config, scene.source, _file(stage, scene))
    if scene.forged:
        # The signature of another body: what an attacker has who saw one go by.
        notice = notice._replace(body=notice.body.replace(BO.encode(), ADA.encode()))
    return notice


def _file(stage: Stage, scene: Scene) -> Path:
    return stage.folder / f"{scene.event}.json"


def _settled(stage: Stage, scene: Scene) -> dict[str, Any]:
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        found = stage.records.event(scene.event, [scene.source])
        if found["state"] not in OPEN or time.monotonic() > deadline:
            return found
        time.sleep(POLL_SECONDS)


def _row(scene: Scene, answer: calls.Answered, event: dict[str, Any] | None) -> tuple[object, ...]:
    if event is None:
        return scene.title, scene.source, scene.event, f"{answer.status} refused", "", 0, ""
    repeated = answer.status == 202 and answer.json()["duplicates"] == 1  # noqa: PLR2004 - accepted
    if repeated:
        return scene.title, scene.source, scene.event, f"{answer.status} duplicate", event["state"], 0, ""
    requests = sum(delivery["requests"] for delivery in event["deliveries"])
    # An event that never settled shows as such, and is a fault of the story's.
    took = _moment(event["settled_at"]) - _moment(event["received_at"]) if event["settled_at"] else None
    milliseconds = f"{took.total_seconds() * 1000:.0f} ms" if took else ""
    return (
        scene.title,
        scene.source,
        scene.event,
        f"{answer.status} kept",
        event["state"],
        requests,
        milliseconds,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _faults(scene: Scene, answer: calls.Answered, event: dict[str, Any] | None) -> list[str]:
    faults = []
    if answer.status != scene.answer:
        faults.append(f"{scene.title}: answered {answer.status}, not {scene.answer}")
    if event is not None and event["state"] != scene.state:
        faults.append(f"{scene.title}: {event['state']}, not {scene.state} ({event['reason']} {event['detail']})")
    return faults
