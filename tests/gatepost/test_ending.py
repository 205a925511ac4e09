from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakeredis import FakeRedis

from gatepost import ending
from gatepost.sandbox.genesys import running
from gatepost.sandbox.settings import Settings
from gatepost.stage import BO, Stage
from lifecycle.records import Records
from tests.sandbox.conftest import CLIENT, PATCH, USER, Caller


class Told:
    """A stage on which the sandbox plays both targets, and somebody who acts on it as Gatepost should."""

    def __init__(self, stage: Stage, acting: Caller) -> None:
        """Create Bo and log him in."""
        self.stage = stage
        self._acting = acting
        self.bo = acting.user(externalId=BO, schemas=[USER])
        ending.log_in(stage)

    def patch(self, path: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Change Bo."""
        operation = {"op": "replace", "path": path, "value": value}
        body = {"schemas": [PATCH], "Operations": [operation]}
        self._acting.scim("PATCH", f"/Users/{self.bo['id']}", body).raise_for_status()

    def revoke(self) -> None:
        """End Bo's sessions."""
        self._acting.platform("DELETE", f"/tokens/{self.bo['id']}").raise_for_status()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """Give a stage where Bo is at work."""
    with running(Settings(*CLIENT)) as url, httpx.Client(base_url=url) as http:
        acting = Caller(http)
        (tmp_path / "crm.token").write_text(acting.token)
        records = Records(FakeRedis())
        yield Told(Stage(tmp_path, url, url, f"{url}/api/v2/scim/v2", url, records), acting)


def test_a_leaver_who_is_still_at_work_is_seen(told: Told) -> None:
    """Each target that shows the account as active is named, and so is what is left of access."""
    faults = ending.locked_out(told.stage)

    assert len(faults) == 3
    assert "crm still shows the account as active" in faults[0]
    assert "genesys still shows the account as active" in faults[1]
    assert "'sessions': 1" in faults[2]
    assert "employee" in faults[2]


def test_a_session_that_outlives_the_suspension_is_seen(told: Told) -> None:
    """Suspended and without roles is not enough."""
    told.patch("roles", [])
    told.patch("active", value=False)

    (fault,) = ending.locked_out(told.stage)

    assert "'sessions': 1" in fault


def test_a_leaver_who_is_out_is_no_fault(told: Told) -> None:
    """Inactive, no session, no role, no group."""
    told.patch("roles", [])
    told.patch("active", value=False)
    told.revoke()

    assert ending.locked_out(told.stage) == []


def test_a_story_that_ended_otherwise_says_each_fault(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    """People who are missing, another title, another account, signals that were not told: each is named, and shown."""
    stage = Misheard(**vars(told.stage))

    found = ending.faults(stage, before="another", within=0)
    ending.tell(stage, found)

    faults = "\n".join(found)
    shown = capsys.readouterr().out
    assert "delivery.failed" in shown
    assert shown.count("NOT AS TOLD") == len(found)

    for name in ("Ada Lee", "Cy Orr"):
        assert f"{name} should have one active account at crm" in faults
        assert f"{name} should have one active account at genesys" in faults
    assert "Bo Ray should have" not in faults
    assert "the late older title won at genesys: None" in faults
    assert "Bo should be back at genesys as another" in faults
    assert "a signal did not verify: WebhookVerificationError" in faults
    assert "the security tool was told [('genesys', 'delivery.failed')]" in faults
    assert "sessions at genesys were revoked" in faults
    assert told.bo["id"] in faults


class Misheard(Stage):
    """A stage whose security tool was told of a failure, and something forged."""

    def signals(self) -> list[dict[str, Any]]:
        """Return both."""
        failed = {"target": "genesys", "event": "evt-left", "person": {"external_id": BO}}
        return [
            {"verified": True, "id": "1", "signal": {"type": "delivery.failed", "data": failed}},
            {"verified": False, "error": "WebhookVerificationError"},
        ]
