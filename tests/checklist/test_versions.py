"""E23 to E26: what a PUT replaces, and versions."""

import json
from dataclasses import dataclass, field

import httpx
import pytest

from lifecycle.errors import Postponed
from lifecycle.target import Profile
from tests.checklist.encounter import Encounter, Meet, Proceed, bo, error, on
from tests.workers.fake_scim import Quirk, Said
from tests.workers.stories import BO
from workers.agree import RETRY_CAP_SECONDS, backoff
from workers.scim.capabilities import Told, merged
from workers.scim.change import CHANGED_MAX
from workers.targets import scim

WORK = {"type": "work", "value": BO["email"]}


@dataclass
class Versions:
    """A server whose accounts have versions: how it tells them, and what it says to a version that has passed."""

    crm: Encounter
    header: str | None = 'W/"{}"'
    meta: str | None = None
    number: int = 1
    mismatch: int = 412
    asked: list[str | None] = field(default_factory=list)
    """What ``If-Match`` named in each write."""

    def __call__(self, said: Said, proceed: Proceed) -> httpx.Response:
        """Answer, heeding ``If-Match``."""
        if not said.path.startswith("/Users/"):
            return proceed()
        asked = said.headers.pop("if-match", None)
        self.asked += [asked] if said.method != "GET" else []
        if asked is not None and asked != self.tag():
            return error(self.mismatch, "invalidVers" if self.mismatch == 400 else "")
        answer = proceed()
        if said.method != "GET" and answer.is_success:
            self.number += 1
        return self._told(answer)

    def tag(self) -> str:
        """Return the version as it is told first."""
        return (self.header or self.meta or "").format(self.number)

    def _told(self, answer: httpx.Response) -> httpx.Response:
        if not answer.content:
            return answer
        body = json.loads(answer.content)
        if self.meta is not None and "meta" in body:
            body["meta"]["version"] = self.meta.format(self.number)
        headers = {"etag": self.header.format(self.number)} if self.header else {}
        return httpx.Response(answer.status_code, json=body, headers=headers)


def test_e23_put_replaces_a_fresh_whole_reading_and_never_creates(meet: Meet) -> None:
    """RFC 7644 section 3.5.1: what is left out may be cleared, so all that stands there now is said again."""
    crm = meet(Quirk.NO_PATCH_501)
    own = {"nickName": "Bobo", "userType": "immutable here", "urn:acme:User": {"badge": "7"}}
    held = crm.settled(emails=[WORK], schemas=["urn:ietf:params:scim:schemas:core:2.0:User", "urn:acme:User"], **own)
    reads = []

    def changes_meanwhile(said: Said, proceed: Proceed) -> httpx.Response:
        reads.append(said.method)
        if reads.count("GET") == 2:
            held["nickName"] = "Bob"
        return proceed()

    crm.way = changes_meanwhile

    crm.agree(bo(title="Lead"))

    assert crm.methods() == ["GET", "PATCH", "GET", "PUT"]
    assert [said.path for said in crm.said if said.method == "PUT"] == [f"/Users/{held['id']}"]
    shown = crm.fake.user(BO["email"])
    assert {name: shown[name] for name in own} == own | {"nickName": "Bob"}
    assert (shown["title"], shown["emails"]) == ("Lead", [WORK])


def test_e23_account_that_is_gone_is_not_put(meet: Meet) -> None:
    """RFC 7644 section 3.5.1: PUT shall not create; what a fresh reading does not find is not replaced."""
    crm = meet(Quirk.NO_PATCH_501)
    crm.settled()

    def goes(said: Said, proceed: Proceed) -> httpx.Response:
        answer = proceed()
        if said.method == "PATCH":
            crm.fake.held["Users"].clear()
        return answer

    crm.way = goes

    crm.agree(bo(title="Lead"))

    assert "PUT" not in crm.methods()
    assert crm.fake.users() == []


TAGS = [
    ('W/"{}"', None, 'W/"1"'),
    ('"{}"', None, '"1"'),
    (None, 'W/"{}-meta"', 'W/"1-meta"'),
    ('W/"{}"', 'W/"{}-meta"', 'W/"1"'),
    ('W/"{}a%22\\"', None, 'W/"1a%22\\"'),
]


@pytest.mark.parametrize(("header", "meta", "sent"), TAGS, ids=["weak", "strong", "meta", "both", "odd signs"])
@pytest.mark.parametrize("quirks", [(), (Quirk.NO_PATCH_501,)], ids=["patch", "put"])
def test_e24_version_goes_back_byte_for_byte(
    header: str | None, meta: str | None, sent: str, quirks: tuple[Quirk, ...], meet: Meet
) -> None:
    """RFC 7644 section 3.14: weak or strong, in the header, in ``meta.version`` or in both, which may differ."""
    crm = meet(*quirks, profile={"etag": True})
    crm.settled(emails=[WORK])
    server = crm.way = Versions(crm, header, meta)

    agreement = crm.agree(bo(title="Lead"))

    assert agreement.trouble is None
    assert crm.fake.user(BO["email"])["title"] == "Lead"
    assert set(server.asked) == {sent}


@pytest.mark.parametrize("etag", [False, True])
def test_e25_etag_header_alone_is_no_promise(etag: bool, meet: Meet) -> None:
    """RFC 7643 section 5: only ``etag.supported`` counts, for frameworks add a header and ignore ``If-Match``."""
    told = merged(scim.PROFILE, Told(etag=True), Profile())
    silent = merged(scim.PROFILE, Told(), Profile())
    crm = meet(profile={"etag": etag})
    crm.settled(emails=[WORK])
    server = crm.way = Versions(crm)

    crm.agree(bo(title="Lead"))

    assert (told.etag, silent.etag) == (True, False)
    assert server.asked == ['W/"1"' if etag else None]


@pytest.mark.parametrize("mismatch", [412, 400], ids=["412", "400 invalidVers"])
def test_e26_account_that_changed_meanwhile_is_read_and_planned_again(mismatch: int, meet: Meet) -> None:
    """RFC 7644 section 3.14: the old operations would undo what was written since; what is left by then is asked."""
    crm = meet(profile={"etag": True})
    held = crm.settled(emails=[WORK])
    server = Versions(crm, mismatch=mismatch)

    def changes_meanwhile(said: Said, proceed: Proceed) -> httpx.Response:
        if said.method == "PATCH" and server.number == 1:
            held.update(displayName="Bo Ray", nickName="Bobo")
            server.number = 2
        return server(said, proceed)

    crm.way = changes_meanwhile

    agreement = crm.agree(bo(title="Lead", display_name="Bo Ray"))

    assert agreement.trouble is None
    first, second = crm.bodies("PATCH")
    assert [each["path"] for each in first["Operations"]] == ["displayName", "title"]
    assert [each["path"] for each in second["Operations"]] == ["title"]
    assert server.asked == ['W/"1"', 'W/"2"']
    assert crm.methods() == ["GET", "PATCH", "GET", "PATCH"]
    assert crm.fake.user(BO["email"])["nickName"] == "Bobo"


def test_e26_race_that_is_always_lost_is_left_for_later(meet: Meet) -> None:
    """Who writes as often as we do is not fought with: a few tries, then later, after a wait that is drawn by lot."""
    crm = meet(profile={"etag": True})
    held = crm.settled(emails=[WORK])
    server = Versions(crm)

    def always_changes(said: Said, proceed: Proceed) -> httpx.Response:
        if said.method == "PATCH":
            server.number += 1
            held["nickName"] = f"Bo {server.number}"
        return server(said, proceed)

    crm.way = always_changes

    with pytest.raises(Postponed) as caught:
        crm.agree(bo(title="Lead"))

    waits = {backoff(9).total_seconds() for _ in range(50)}
    assert caught.value.reason == "conflict"
    assert len(crm.bodies("PATCH")) == CHANGED_MAX <= 5
    assert len(waits) > 40
    assert max(waits) <= RETRY_CAP_SECONDS


def test_e26_not_modified_is_no_answer_to_what_we_ask(meet: Meet) -> None:
    """RFC 9110 section 15.4.5: we name no version in a GET, so a 304 is a cache's word: later, and nobody is gone."""
    crm = meet(way=on("GET /Users/", lambda: httpx.Response(304)))
    crm.settled()

    with pytest.raises(Postponed) as caught:
        crm.agree(bo("left"))

    assert caught.value.reason == "broken"
    assert crm.methods() == ["GET"]
    assert not [said for said in crm.said if "if-none-match" in said.headers]
