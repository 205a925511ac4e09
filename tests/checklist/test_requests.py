"""E1 to E8: media types, schemas, names, what is never sent, filters, letter case, and what stands in a URL."""

import json
from urllib.parse import parse_qsl, unquote

import httpx
import pytest
import structlog

from lifecycle.errors import Refused
from lifecycle.event import Kind
from tests.checklist.encounter import ENTERPRISE, Meet, Proceed, bo, granted
from tests.workers.conftest import fake, make_stage, stage
from tests.workers.fake_scim import BULK_REQUEST, GROUP, MEDIA_TYPE, PATCH_OP, USER, FakeScim, Quirk, Said, answers
from tests.workers.stories import BO, Stage, event
from workers.plan import Terms, new_account, plan
from workers.policy import Wanted
from workers.resource import plain
from workers.scim.schema import read_schema

__all__ = ["fake", "make_stage", "stage"]

ODD = ['o"neil', 'both\\"', "a+b", "a&b=c", "a#b", "100%", "%22", "a b", "ø界", 'x" or active eq true or userName eq "']


def test_e1_media_type_is_scims_and_plain_json_is_taken(meet: Meet) -> None:
    """RFC 7644 sections 3.1 and 8.1: we send and ask for application/scim+json, and read application/json as well."""

    def plain_json(_: Said, proceed: Proceed) -> httpx.Response:
        answer = proceed()
        return httpx.Response(answer.status_code, json=json.loads(answer.content))

    crm = meet(way=plain_json)
    for known in (bo(), bo(title="Lead"), bo("left")):
        crm.agree(known)
        assert {said.headers["content-type"] for said in crm.said if said.body} == {MEDIA_TYPE}
        assert {said.headers["accept"].partition(",")[0] for said in crm.said} == {MEDIA_TYPE}
        assert all("application/json" in said.headers["accept"] for said in crm.said)

    assert crm.fake.user(BO["email"])["active"] is False


def test_e2_body_names_the_schemas_that_it_uses_and_no_other(meet: Meet) -> None:
    """RFC 7643 section 3, RFC 7644 sections 3.5.2 and 3.7: of a create, a PATCH, a PUT and a bulk request."""
    policy = granted(groups=("Agents", "Readers"))
    crm = meet(policy=policy, profile={"bulk": True})
    for name in ("Agents", "Readers"):
        crm.fake.add("Groups", displayName=name)
    bare, no_patch = meet(), meet(Quirk.NO_PATCH_501)
    no_patch.settled()

    crm.agree(bo(department="Support"))
    assert [body["schemas"] for body in crm.bodies("POST") if "userName" in body] in ([], [[USER, ENTERPRISE]])
    assert crm.fake.user(BO["email"])["schemas"] == [USER, ENTERPRISE]
    crm.agree(bo("left", department="Support"))
    assert [body["schemas"] for body in crm.bodies("PATCH")] == [[PATCH_OP]]
    assert [body["schemas"] for body in crm.bodies("POST")] == [[BULK_REQUEST]]
    bare.agree(bo())
    assert [body["schemas"] for body in bare.bodies("POST")] == [[USER]]
    no_patch.agree(bo(department="Support"))
    assert [body["schemas"] for body in no_patch.bodies("PUT")] == [[USER, ENTERPRISE]]
    no_patch.agree(bo(department=None))
    assert [body["schemas"] for body in no_patch.bodies("PUT")] == [[USER]]
    assert not any(ENTERPRISE in body for body in no_patch.bodies("PUT"))


def test_e2_group_that_is_created_names_its_schema(meet: Meet) -> None:
    """RFC 7643 section 4.2, for a group too."""
    policy = granted(groups=("Agents",)).model_copy(update={"create_groups": True})
    crm = meet(policy=policy, profile={"create_groups": True})

    crm.agree(bo(department="Support"))

    assert [GROUP] in [body["schemas"] for body in crm.bodies("POST")]


@pytest.mark.parametrize("quirks", [(), (Quirk.OTHER_LETTER_CASE,)], ids=["by the book", "other letter case"])
def test_e3_names_are_spelled_as_the_rfc_spells_them(quirks: tuple[Quirk, ...], meet: Meet) -> None:
    """RFC 7644 section 3.10: a colon before an extension's attribute, a dot before a sub-attribute, however shown."""
    crm = meet(*quirks)
    crm.settled(name={"givenName": "Bob", "familyName": "Ray"})

    crm.agree(bo(given_name="Bo", employee_number="7", display_name="Bo Ray"))

    paths = [operation["path"] for operation in crm.operations()]
    assert sorted(paths) == ["displayName", "emails", "name.givenName", f"{ENTERPRISE}:employeeNumber"]
    fresh = meet()
    fresh.agree(bo(given_name="Bo", employee_number="7"))
    (body,) = fresh.bodies("POST")
    assert (body["name"], body[ENTERPRISE]) == ({"givenName": "Bo"}, {"employeeNumber": "7"})


@pytest.mark.parametrize("quirks", [(), (Quirk.NO_PATCH_405,)], ids=["patch", "put"])
def test_e4_what_is_the_targets_own_is_never_sent_as_a_change(quirks: tuple[Quirk, ...], meet: Meet) -> None:
    """RFC 7643 sections 2.2 and 3.1: id, meta and groups are readOnly; the id of a PUT is the one that is there."""
    crm = meet(*quirks)
    held = crm.settled(meta={"version": "1"})
    crm.fake.add("Groups", displayName="Agents", members=[{"value": held["id"]}])

    crm.agree(bo(title="Lead"))

    assert crm.fake.user(BO["email"])["title"] == "Lead"
    sent = [*crm.bodies("PUT"), *(body["Operations"] for body in crm.bodies("PATCH"))]
    names = {name for body in sent for each in (body if isinstance(body, list) else [body]) for name in each}
    paths = {operation["path"] for operation in crm.operations()}
    assert not (names | paths) & {"meta", "groups"}
    assert {body["id"] for body in crm.bodies("PUT") if "id" in body} <= {held["id"]}
    assert "id" not in paths


def test_e4_attribute_that_the_target_calls_read_only_is_refused_before_it_is_sent() -> None:
    """RFC 7643 section 7: ``mutability`` readOnly; the value that stands there already is no change."""
    title = {"name": "title", "type": "string", "mutability": "readOnly"}
    schema = read_schema([{"id": USER, "attributes": [title]}])
    wanted = Wanted("E1042", "bo", active=True, attributes={plain("title"): "Lead"}, groups=frozenset())

    other = plan({"title": "Agent", "active": True}, wanted, Terms(schema=schema))
    same = plan({"title": "Lead", "active": True}, wanted, Terms(schema=schema))

    assert (other.edits, [type(each) for each in other.refused]) == ((), [Refused])
    assert (same.edits, same.refused) == ((), ())
    assert "title" not in new_account(wanted, Terms(schema=schema))[0]


@pytest.mark.parametrize("value", ODD, ids=ascii)
def test_e5_value_of_a_filter_is_one_json_text_in_one_query_value(value: str, meet: Meet) -> None:
    """RFC 7644 section 3.4.2.2: no sign of a name ends the filter, the query or the URL, or adds a condition."""
    crm = meet(policy=granted(roles=(value,)))
    crm.fake.add("Users", userName="ada", externalId="E1", active=True)
    there = crm.fake.add("Users", userName=value, externalId=value, active=True)

    crm.agree(bo(external_id=value, user_name=value, email=None, title="Lead", department="Support"))

    (look,) = [said.raw_path for said in crm.said if said.method == "GET"]
    ((name, query),) = parse_qsl(look.partition("?")[2], keep_blank_values=True)
    path, comparison, text = query.split(" ", 2)
    assert (name, path, comparison, json.loads(text)) == ("filter", "externalId", "eq", value)
    assert [said.path for said in crm.said if said.method == "PATCH"] == [f"/Users/{there['id']}"]
    crm.agree(bo(external_id=value, user_name=value, email=None, title="Lead"))
    assert [operation["path"] for operation in crm.operations()] == [
        f"roles[value eq {json.dumps(value, ensure_ascii=False)}]"
    ]


def test_e6_external_id_is_case_exact_and_user_name_is_not(meet: Meet) -> None:
    """RFC 7643 sections 3.1 and 4.1.1, for what a server answers, which may compare otherwise."""
    everybody = meet(Quirk.IGNORES_FILTER)
    everybody.fake.add("Users", userName="someone", externalId="e1042", active=True)
    adopted = meet()
    adopted.fake.add("Users", userName=BO["email"].upper(), active=True)

    everybody.agree(bo())
    adopted.agree(bo())

    assert everybody.fake.user("someone")["externalId"] == "e1042"
    assert everybody.methods() == ["GET", "POST"]
    assert [user["externalId"] for user in adopted.fake.users()] == ["E1042"]


def test_e7_external_id_never_stands_in_a_url(meet: Meet) -> None:
    """RFC 7644 section 3.2: a resource is where its ``id`` says; an externalId is the value of a filter at most."""
    crm = meet()
    for known in (bo(), bo(title="Lead"), bo("left"), bo()):
        crm.agree(known)
        paths = [said.raw_path.partition("?")[0] for said in crm.said]
        account = crm.fake.user(BO["email"])
        assert set(paths) <= {"/Users", f"/Users/{account['id']}"}
        assert len(crm.fake.users()) == 1


def test_e8_personal_value_is_in_a_filter_alone_and_in_no_log_or_timeline(stage: Stage, fake: FakeScim) -> None:
    """RFC 7644 section 7.5.2: ``/.search`` is not needed where the query, which may be read, is kept by none of us."""
    fake.next(answers(500, "no"), on="GET /Users?filter=externalId")

    with structlog.testing.capture_logs() as logged:
        stage.tell(event(Kind.JOINER, "joined", **BO))
        stage.work()
        stage.tell(event(Kind.LEAVER, "left", minute=1, external_id="E1042"))

    personal = ["E1042", *(value for value in BO.values() if value != "Agent")]
    assert stage.state("left") == "applied"
    steps = [step for each in ("joined", "left") for step in stage.found(each)["timeline"]]
    kept = [step["detail"] for step in steps if step["step"] == "request"]
    assert not [value for value in personal if value in str(logged) or value in str(kept)]
    assert "externalId eq ..." in str(kept)
    paths = [said.raw_path for said in fake.log]
    assert all(unquote(path).startswith("/Users?filter=") for path in paths if any(each in path for each in personal))


def test_e8_target_that_offers_search_gets_no_personal_value_in_a_url(meet: Meet) -> None:
    """RFC 7644 sections 3.4.3 and 7.5.2: the filter goes in a body, and all else is as before."""
    encounter = meet(profile={"search": True})
    encounter.fake.add("Users", id="u-7", userName=BO["email"], active=True)

    agreement = encounter.agree(bo())

    assert agreement.account is not None
    assert agreement.account.id == "u-7"
    assert next(said.path for said in encounter.said if said.method == "POST") == "/Users/.search"
    assert not [said for said in encounter.said if "?" in said.path]
