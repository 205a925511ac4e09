"""Lifecycle Workflows beyond the contract of all sources: where we may report to, and what a workflow means."""

import json
from typing import Any

import pytest

from lifecycle.config import Source as Section
from lifecycle.config import own_options
from lifecycle.errors import Misconfigured, Unauthentic, Unreadable
from lifecycle.event import Kind
from service.sources import entra_workflows
from service.sources.base import Counts, Notice, Setup
from tests.notices import AT, load, setup_of

JOINER = load("entra_workflows/joiner")
BEARER = setup_of("entra_workflows_bearer")
GRAPH = "/identityGovernance/lifecycleWorkflows"


def options(**told: Any) -> entra_workflows.Options:  # noqa: ANN401 - TOML
    """Return options as the configuration would hold them. Raises Misconfigured."""
    section = Section.model_validate({"adapter": "entra_workflows", **told})
    return own_options("sources.lcw", section, entra_workflows.Options)


def callout(**data: Any) -> Notice:  # noqa: ANN401 - JSON
    """Return a joiner's notice in which this is changed."""
    body = json.loads(JOINER.notice.body)
    body["data"] |= data
    return JOINER.notice._replace(body=json.dumps(body).encode())


@pytest.mark.parametrize(
    "path",
    [
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/resume",
        f"{GRAPH}/workflows/w1/runs/x2/userProcessingResults/u3/taskProcessingResults/r1/resume",
        f"{GRAPH}/deletedItems/workflows/w1/runs/x2/userProcessingResults/u3/taskProcessingResults/r1/resume",
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/resume".lower(),
        "/identityGovernance/LifecycleWorkflows/workflows/w1/tasks/t1/taskProcessingResults/r1/resume",
    ],
)
def test_path_of_a_tasks_result_is_reported_to(path: str) -> None:
    """It is kept with the event, for whoever knows what became of it."""
    (event,) = entra_workflows.read(callout(callbackUriPath=path), JOINER.setup, AT).events

    assert event.reply_to == path


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/identityGovernance/lifecycleWorkflows/workflows/w/tasks/t/taskProcessingResults/r/resume",
        "//evil.example/resume",
        "@evil.example/resume",
        ".evil.example/resume",
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1",
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/resume/",
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/resume?x=1",
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/resume#x",
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/resume\n",
        f"{GRAPH}/workflows/../../../users/taskProcessingResults/r1/resume",
        f"{GRAPH}/workflows/%2e%2e/tasks/t1/taskProcessingResults/r1/resume",
        f"{GRAPH}/workflows//tasks/t1/taskProcessingResults/r1/resume",
        f"{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/delete",
        f"{GRAPH}/taskProcessingResults/r1/resume",
        f"{GRAPH}/{'a/1/' * 5}taskProcessingResults/r1/resume",
        f"{GRAPH}/workflows/{'x' * 65}/taskProcessingResults/r1/resume",
        f"/users{GRAPH}/workflows/w1/tasks/t1/taskProcessingResults/r1/resume",
        f"{GRAPH}/deletedItems/../workflows/w1/tasks/t1/taskProcessingResults/r1/resume",
        f"{GRAPH}/wor\u212aflows/w1/tasks/t1/taskProcessingResults/r1/resume",
        f"{GRAPH}/workflows/wé/tasks/t1/taskProcessingResults/r1/resume",
        "resume",
        " ",
    ],
)
def test_report_goes_nowhere_else(path: str) -> None:
    """A token of ours goes with it; so nobody is written to, and a human is told. The person waits for neither."""
    reading = entra_workflows.read(callout(callbackUriPath=path), JOINER.setup, AT)

    assert [(event.reply_to, event.person) for event in reading.events] == [
        (None, JOINER.expected["events"][0]["person"])
    ]
    assert reading.faults == (entra_workflows.NO_CALLBACK,)


@pytest.mark.parametrize(
    ("workflow", "kind", "word"),
    [
        ({"id": "w1", "displayName": "Offboard"}, Kind.LEAVER, "w1"),
        ({"id": "w2", "displayName": "Onboard"}, Kind.JOINER, "Onboard"),
        ({"id": "w1", "displayName": "Onboard"}, Kind.LEAVER, "w1"),
        ({"id": "w2", "displayName": "onboard"}, Kind.CHANGED, "lifecycleEvent"),
        ({"displayName": "Onboard"}, Kind.JOINER, "Onboard"),
        ({}, Kind.CHANGED, "lifecycleEvent"),
        (None, Kind.CHANGED, "lifecycleEvent"),
    ],
)
def test_workflow_means_what_the_configuration_says(workflow: object, kind: Kind, word: str) -> None:
    """By its id before its name, letter by letter; any other is a reason to look."""
    setup = Setup("lcw", ("s",), options(kinds={"w1": "leaver", "Onboard": "joiner"}))

    (event,) = entra_workflows.read(callout(workflow=workflow), setup, AT).events

    assert (event.kind, event.vendor_kind) == (kind, word)


@pytest.mark.parametrize(
    "told",
    [
        {"kinds": {"w1": "left"}},
        {"kinds": {"w1": 1}},
        {"kinds": {"w1": ["leaver"]}},
        {"kinds": {"": "leaver"}},
        {"kinds": ["leaver"]},
        {"tenant": BEARER.options.tenant, "audience": "a"},
        {"tenant": BEARER.options.tenant, "audience": "a", "app_id": BEARER.options.app_id, "header": "x-key"},
        {"header": "X Key"},
    ],
    ids=repr,
)
def test_configuration_that_means_nothing_is_refused(told: dict[str, Any]) -> None:
    """At the start, with the key's name."""
    with pytest.raises(Misconfigured, match=r"sources\.lcw"):
        options(**told)


def test_what_a_workflow_may_mean_is_told() -> None:
    """Whoever mistypes it reads what is allowed."""
    with pytest.raises(Misconfigured, match=r"kinds\.w1: found 'left'; allowed: joiner, mover, leaver, changed"):
        options(kinds={"w1": "left"})


@pytest.mark.parametrize(
    "data",
    [
        {"subject": {}},
        {"subject": None},
        {"subject": {"id": "x" * 257}},
        {"subject": {"id": " ", "email": ""}},
        {"taskProcessingResult": {}},
        {"taskProcessingResult": {"id": ""}},
        {"taskProcessingResult": {"id": "r1", "createdDateTime": "soon"}},
        {"workflow": "Onboard an employee"},
    ],
    ids=repr,
)
def test_callout_that_cannot_be_read_is_set_aside(data: dict[str, Any]) -> None:
    """It is authentic, so it is not thrown away."""
    with pytest.raises(Unreadable):
        entra_workflows.read(callout(**data), JOINER.setup, AT)


def test_secret_comes_in_the_header_that_is_named() -> None:
    """And in no other."""
    setup = Setup("lcw", ("s3cret",), options(header="x-gatepost"))

    assert entra_workflows.verify(Notice("POST", "", {"x-gatepost": "s3cret"}, b""), setup, AT) == "s3cret"
    with pytest.raises(Unauthentic):
        entra_workflows.verify(Notice("POST", "", {"authorization": "s3cret"}, b""), setup, AT)


def test_token_of_another_identity_is_unauthentic() -> None:
    """Event Grid's own, for instance, which is for us as well."""
    notice = load("event_grid_bearer/token_of_version_1").notice

    with pytest.raises(Unauthentic):
        entra_workflows.verify(notice, BEARER, AT)


def test_logic_app_reads_what_became_of_it() -> None:
    """By 200: a 202 would be asked after again and again."""
    answer = entra_workflows.answer(Counts(1, 2, 3))

    assert (answer.status, json.loads(answer.body)) == (200, {"accepted": 1, "duplicates": 2, "ignored": 3})
