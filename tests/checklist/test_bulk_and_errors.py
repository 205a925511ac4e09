"""E32 to E34: several requests in one, what is gone, and errors of every shape."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from lifecycle.errors import GatepostError, Postponed, Refused
from tests.checklist.encounter import Encounter, Meet, Proceed, bo, error, granted, on
from tests.workers.fake_scim import BULK_RESPONSE, ERROR, Quirk, Said, reply
from tests.workers.stories import BO
from workers.http import Answer
from workers.scim.answers import Next, status_in, verdict

GROUPS = ("Agents", "Readers", "Writers")
WORK = {"type": "work", "value": BO["email"]}


def member(meet: Meet, *quirks: Quirk, **profile: Any) -> Encounter:  # noqa: ANN401 - profile keys
    """Return an encounter with Bo in three groups, by single calls, and bulk from then on."""
    crm = meet(*quirks, policy=granted(groups=GROUPS), profile={"bulk": True} | profile)
    ids = [crm.fake.add("Groups", displayName=name)["id"] for name in GROUPS]
    crm.way = on("POST /Bulk", lambda: httpx.Response(413), times=0)
    held = crm.settled(emails=[WORK])
    for group_id in ids:
        crm.fake.held["Groups"][group_id]["members"] = [{"value": held["id"]}]
    assert crm.account is not None
    crm.account = crm.account.model_copy(update={"groups": dict(zip(GROUPS, ids, strict=True))})
    return crm


def memberships(crm: Encounter) -> list[list[str]]:
    """Return who is in each of the groups."""
    return [crm.fake.members(name) for name in GROUPS]


def test_e32_account_and_its_groups_are_made_by_one_envelope(meet: Meet) -> None:
    """RFC 7644 section 3.7: a POST has a bulkId, and what needs the new id names it as ``bulkId:...``."""
    crm = meet(policy=granted(groups=GROUPS), profile={"bulk": True})
    for name in GROUPS:
        crm.fake.add("Groups", displayName=name)
    crm.agree(bo("left", department="Support"))  # the ids are warm
    for name in GROUPS:
        crm.place.groups.find(crm.talk, name)

    crm.agree(bo(department="Support"))

    (envelope,) = [body for body in crm.bodies("POST") if "Operations" in body]
    made = [part for part in envelope["Operations"] if part["method"] == "POST"]
    assert [part["bulkId"] for part in made] == [made[0]["bulkId"]]
    refs = [json.dumps(part["data"]) for part in envelope["Operations"] if part["method"] == "PATCH"]
    assert [f'"bulkId:{made[0]["bulkId"]}"' in ref for ref in refs] == [True] * len(GROUPS)
    assert memberships(crm) == [[crm.fake.user(BO["email"])["id"]]] * len(GROUPS)


@pytest.mark.parametrize(
    "told", [{"bulk_operations_max": 2}, {"bulk_bytes_max": 200}], ids=lambda told: next(iter(told))
)
def test_e32_envelope_that_is_too_large_is_not_sent(told: dict[str, int], meet: Meet) -> None:
    """RFC 7643 section 5: within ``maxOperations`` and ``maxPayloadSize``; else by single calls."""
    crm = member(meet)
    limited = crm.place.capabilities()
    object.__setattr__(crm.place, "capabilities", lambda: _with(limited, told))

    agreement = crm.agree(bo("left"))

    assert agreement.trouble is None
    assert "POST" not in crm.methods()
    assert memberships(crm) == [[], [], []]


def _with(can: Any, told: dict[str, int]) -> Any:  # noqa: ANN401 - Capabilities
    return type(can)(**{**vars(can), **told})


@pytest.mark.parametrize("status", [413, 501])
def test_e32_envelope_that_is_refused_is_followed_by_single_calls(status: int, meet: Meet) -> None:
    """RFC 7644 sections 3.7.4 and 3.12: the target offers it and does not take it, so each goes alone."""
    crm = member(meet)
    crm.way = on("POST /Bulk", lambda: error(status))

    agreement = crm.agree(bo("left"))

    assert (agreement.trouble, sorted(agreement.groups_removed)) == (None, sorted(GROUPS))
    assert crm.lines().count("POST /Bulk") == 1
    assert memberships(crm) == [[], [], []]


@pytest.mark.parametrize(
    "quirk", [None, Quirk.BULK_STATUS_IS_A_NUMBER, Quirk.BULK_STATUS_IS_AN_OBJECT, Quirk.BULK_IN_OTHER_ORDER]
)
def test_e32_parts_are_read_in_any_order_and_form(quirk: Quirk | None, meet: Meet) -> None:
    """RFC 7644 section 3.7.3: a part's status is a text, or wrongly a number or an object; their order is open."""
    crm = member(meet, *filter(None, [quirk]))

    agreement = crm.agree(bo("left"))

    assert (agreement.trouble, sorted(agreement.groups_removed)) == (None, sorted(GROUPS))
    assert [line.partition("/u-")[0] for line in crm.lines()] == [
        "GET /Users",
        "PATCH /Users",
        "GET /Users",
        "POST /Bulk",
    ]


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "in another order"])
def test_e32_envelope_with_200_says_nothing_of_its_parts(order: int, meet: Meet) -> None:
    """The part that failed is asked for alone, and it is that one, wherever it stands in the answer."""
    crm = member(meet)
    writers = crm.account.groups["Writers"] if crm.account else ""

    def one_fails(said: Said, proceed: Proceed) -> httpx.Response:
        if said.line() != "POST /Bulk":
            return proceed()
        before = crm.fake.members("Writers")
        body = json.loads(proceed().content)
        crm.fake.held["Groups"][writers]["members"] = [{"value": each} for each in before]
        for part in body["Operations"]:
            if part["location"].endswith(f"/{writers}"):
                part |= {"status": "500", "response": {"schemas": [ERROR], "status": "500"}}
        return reply(200, {"schemas": [BULK_RESPONSE], "Operations": body["Operations"][::order]})

    crm.way = one_fails

    agreement = crm.agree(bo("left"))

    assert (agreement.trouble, sorted(agreement.groups_removed)) == (None, sorted(GROUPS))
    assert crm.lines()[-1] == f"PATCH /Groups/{writers}"
    assert memberships(crm) == [[], [], []]


def test_e33_account_that_is_gone_is_a_leaver_who_is_out(meet: Meet) -> None:
    """RFC 7644 section 3.6: who was deleted is answered with 404; nobody is created, nothing is written."""
    crm = meet()
    crm.settled()
    crm.fake.held["Users"].clear()

    agreement = crm.agree(bo("left"))

    assert (agreement.trouble, agreement.note) == (None, "no account")
    assert set(crm.methods()) == {"GET"}


def test_e33_account_that_is_shown_though_it_was_deleted_is_inactive_and_done(meet: Meet) -> None:
    """A server may keep the record, and some show it: an account that is inactive already is not written again."""
    crm = meet()
    crm.settled()["active"] = False

    agreement = crm.agree(bo("left"))

    assert agreement.trouble is None
    assert agreement.confirmed_at is not None
    assert set(crm.methods()) == {"GET"}


@pytest.mark.parametrize("status", [200, 204, 404])
def test_e33_delete_of_what_is_gone_is_done(status: int, meet: Meet) -> None:
    """What we delete is a leaver's tokens: 204, Genesys Cloud's 200 and a 404 all mean that there are none now."""
    crm = meet(adapter="genesys_cloud", way=on("DELETE", lambda: httpx.Response(status)), profile={"etag": False})
    crm.settled(displayName="Bo Ray")

    agreement = crm.agree(bo("left"))

    assert (agreement.trouble, agreement.sessions_revoked) == (None, True)
    assert crm.methods()[-1] == "DELETE"
    assert verdict(Answer(404, {}, b"", 0.0), "DELETE") is Next.MISSING


SHAPES: dict[str, httpx.Response] = {
    "status as a text": error(403, detail="out of licences"),
    "status as a number": reply(403, {"schemas": [ERROR], "status": 403, "detail": "out of licences"}),
    "a schema as a text": reply(403, {"schemas": ERROR, "status": "403", "detail": "out of licences"}),
    "a vendor's JSON": httpx.Response(403, json={"message": "out of licences", "code": "x", "contextId": "1"}),
    "wrapped": httpx.Response(403, json={"Errors": [{"description": "out of licences"}]}),
    "HTML": httpx.Response(403, html="<html><body>out of licences</body></html>"),
    "plain text": httpx.Response(403, text="out of licences"),
    "nothing": httpx.Response(403),
    "no JSON": httpx.Response(403, text='{"out of licences'),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("line", ["GET", "POST"])
def test_e34_error_of_any_shape_is_read_and_told(shape: str, line: str, meet: Meet) -> None:
    """RFC 7644 section 3.12, and what gateways answer: the status decides, the target's words are told if any."""
    crm = meet(way=on(line, lambda: SHAPES[shape]))

    with pytest.raises(Refused) as caught:
        crm.agree(bo())

    assert caught.value.reason == "forbidden"
    sentence = caught.value.message
    assert sentence.startswith("403")
    assert ("out of licences" in sentence) is (shape != "nothing")
    assert (sentence == "403 out of licences") is (shape not in {"nothing", "HTML", "no JSON"})


@pytest.mark.parametrize("found", ["409", 409, {"code": "409"}], ids=["text", "number", "object"])
def test_e34_status_is_read_as_a_text_and_as_a_number(found: object) -> None:
    """RFC 7644 section 3.12 has a text; Salesforce sends a number."""
    assert status_in(found) == 409


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_e34_wait_is_as_told_in_seconds_or_as_a_date(status: int, form: str, meet: Meet) -> None:
    """RFC 6585 section 4 and RFC 9110 section 10.2.3: 429 is in no table of SCIM; nothing is written meanwhile."""
    begun = datetime.now(UTC)
    moment = begun + timedelta(seconds=90)
    text = {"seconds": "90", "date": format_datetime(moment, usegmt=True), "none": ""}[form]
    headers = {"retry-after": text} if text else {}
    crm = meet(way=on("GET", lambda: httpx.Response(status, headers=headers, text="slow down")))
    trouble: GatepostError | None = None

    try:
        crm.agree(bo())
    except Postponed as caught:
        trouble = caught

    assert isinstance(trouble, Postponed)
    assert trouble.reason == "busy"
    assert crm.methods() == ["GET"]
    if form == "none":
        assert trouble.retry_at is None
    else:
        assert trouble.retry_at is not None
        assert abs(trouble.retry_at - moment) < timedelta(seconds=5)
