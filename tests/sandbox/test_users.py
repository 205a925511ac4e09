import httpx
import pytest

from tests.sandbox.conftest import ENTERPRISE, PATCH, PURECLOUD, USER, Caller, Start

AUTHORITY = "x-pc:scimv2:v1"


def _replace(path: str, value: object) -> dict[str, object]:
    return {"op": "replace", "path": path, "value": value}


def _scim_type(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("scimType")


def test_a_user_is_created_with_what_the_server_adds(genesys: Caller) -> None:
    """Active, division Home, the role of all, the mirror of userName and the entry of externalId come by themselves."""
    user = genesys.user(externalId="E1042", emails=[{"value": "bo@home.example", "type": "work"}])

    assert user["active"] is True
    assert user[ENTERPRISE] == {"division": "Home"}
    assert user["roles"] == [{"value": "employee"}]
    assert {"value": "bo.ray@acme.example", "type": "other"} in user["emails"]
    assert {"value": "bo@home.example", "type": "work"} in user["emails"]
    (entry,) = user[PURECLOUD]["externalIds"]
    assert entry == {"authority": f"{AUTHORITY}:client-of-the-tests", "value": "E1042"}


@pytest.mark.parametrize(
    ("attributes", "scim_type"),
    [
        ({"name": {"givenName": "Bo"}}, "invalidSyntax"),
        ({"nickName": "Bo"}, "invalidSyntax"),
        ({"photos": [{"value": "https://acme.example/bo.png"}]}, "invalidSyntax"),
        ({"displayName": ""}, "invalidValue"),
        ({"userName": "bo.ray"}, "invalidValue"),
        ({"roles": [{"value": "Employee"}]}, "invalidValue"),
        ({"emails": [{"value": "bo@home.example", "type": "home"}]}, "invalidValue"),
        ({"emails": [{"value": "bo", "type": "work"}]}, "invalidValue"),
        ({"phoneNumbers": [{"value": "555 0100", "type": "work"}]}, "invalidValue"),
        ({"phoneNumbers": [{"value": "+3225550100", "type": "fax"}]}, "invalidValue"),
        ({ENTERPRISE: {"division": "Nowhere"}}, "invalidValue"),
        ({ENTERPRISE: {"costCenter": "7"}}, "invalidSyntax"),
        ({ENTERPRISE: {"dateHire": "2 March 2026"}}, "invalidValue"),
        ({ENTERPRISE: {"manager": {"value": "nobody"}}}, "invalidValue"),
        ({PURECLOUD: {"routingSkills": [{"name": "billing", "proficiency": 3}]}}, "invalidValue"),
        ({PURECLOUD: {"routingSkills": [{"name": "Billing", "proficiency": 5.5}]}}, "invalidValue"),
        ({PURECLOUD: {"routingLanguages": [{"name": "English", "proficiency": 1}] * 51}}, "invalidValue"),
        ({PURECLOUD: {"routingSkills": [{"name": "Billing", "proficiency": "NaN"}]}}, "invalidValue"),
        ({PURECLOUD: {"externalIds": [{"authority": f"{AUTHORITY}:x", "value": "1"}]}}, "mutability"),
    ],
)
def test_what_genesys_does_not_have_is_refused(genesys: Caller, attributes: dict[str, object], scim_type: str) -> None:
    """An unknown attribute, a value that is not configured or a wrong form is a 400, and nobody is created."""
    urns = [name for name in attributes if name.startswith("urn:")]
    body = {"schemas": [USER, *urns], "userName": "bo.ray@acme.example", "displayName": "Bo Ray", **attributes}

    answer = genesys.scim("POST", "/Users", body)

    assert _scim_type(answer) == (400, scim_type)
    assert genesys.control("GET", "/state")["users"] == []


def test_every_attribute_there_is_can_be_written(genesys: Caller) -> None:
    """Title, phones, enterprise and the vendor's own extension are kept as given; a password is never shown."""
    boss = genesys.user("ada.lee@acme.example")
    enterprise = {"department": "Support", "division": "Support", "employeeNumber": "7", "dateHire": "2026-03-02"}
    extension = {
        "routingSkills": [{"name": "Billing", "proficiency": 3.0}],
        "routingLanguages": [{"name": "English", "proficiency": 5.0}],
        "externalIds": [{"authority": "hris", "value": "7"}],
    }
    body = {
        "schemas": [USER, ENTERPRISE, PURECLOUD],
        "title": "Agent",
        "password": "correct horse",
        "phoneNumbers": [{"value": "tel:+3225550100;ext=7", "type": "work2"}],
        ENTERPRISE: {**enterprise, "manager": {"value": boss["id"]}},
        PURECLOUD: extension,
    }

    user = genesys.user(**body)

    assert user["title"] == "Agent"
    assert user["phoneNumbers"] == body["phoneNumbers"]
    assert user[ENTERPRISE] == body[ENTERPRISE]
    assert user[PURECLOUD] == extension
    assert "password" not in user
    assert "correct horse" not in str(genesys.control("GET", "/state"))


def test_paths_are_taken_in_any_letter_case_and_under_both_bases(genesys: Caller) -> None:
    """IdPs append /Users to a base whose published paths are in lower case; /api/v2/scim is the same API."""
    user = genesys.user()

    for path in ("/scim/v2/Users", "/scim/v2/users", "/scim/Users", "/scim/users"):
        assert genesys.platform("GET", f"{path}/{user['id']}").json()["userName"] == "bo.ray@acme.example"


def test_a_user_name_is_unique_over_inactive_users_in_any_letter_case(genesys: Caller) -> None:
    """Creating somebody who is there, suspended, is a 409 with scimType uniqueness."""
    user = genesys.user()
    genesys.patch(user, _replace("active", value=False))

    body = {"schemas": [USER], "userName": "BO.RAY@acme.example", "displayName": "Bo"}
    answer = genesys.scim("POST", "/Users", body)

    assert _scim_type(answer) == (409, "uniqueness")


def test_a_deleted_user_comes_back_under_the_same_id_without_roles_division_and_skills(genesys: Caller) -> None:
    """DELETE is soft and answers 200; the record is hidden, and a create brings it back bare."""
    skills = {"routingSkills": [{"name": "Billing", "proficiency": 3.0}]}
    granted = {"roles": [{"value": "supervisor"}], ENTERPRISE: {"division": "Support"}, PURECLOUD: skills}
    user = genesys.user(title="Agent", schemas=[USER, ENTERPRISE, PURECLOUD], **granted)
    group = genesys.control("POST", "/groups", {"displayName": "Support Agents", "members": [user["id"]]})

    deleted = genesys.scim("DELETE", f"/Users/{user['id']}")
    gone = genesys.scim("GET", f"/Users/{user['id']}")
    state = genesys.shown(user)["state"]
    back = genesys.user(schemas=[USER, ENTERPRISE, PURECLOUD], **granted)

    assert (deleted.status_code, gone.status_code, state) == (200, 404, "deleted")
    assert back["id"] == user["id"]
    assert back["active"] is True
    assert back["title"] == "Agent"
    assert back.get("roles") is None
    assert back[ENTERPRISE]["division"] == "Home"
    assert "routingSkills" not in back.get(PURECLOUD, {})
    assert genesys.scim("GET", f"/Groups/{group['id']}").json().get("members") is None
    assert genesys.shown(back)["state"] == "active"


def test_a_list_without_a_filter_shows_active_users_only(genesys: Caller) -> None:
    """The others come with ``active eq false``; a filter by name finds them too."""
    ada, bo = genesys.user("ada.lee@acme.example"), genesys.user()
    genesys.patch(bo, _replace("active", value=False))

    listed = genesys.scim("GET", "/Users").json()
    inactive = genesys.found("active eq false")
    by_name = genesys.found('userName eq "bo.ray@acme.example"')

    assert [user["id"] for user in listed["Resources"]] == [ada["id"]]
    assert listed["totalResults"] == 1
    assert [user["id"] for user in inactive] == [user["id"] for user in by_name] == [bo["id"]]


def test_filters_can_be_set_to_hide_inactive_users(start: Start) -> None:
    """What no document says is a setting: then only ``active eq false`` finds somebody who is suspended."""
    genesys = start(hide_inactive=True)
    bo = genesys.user(externalId="E1042")
    genesys.patch(bo, _replace("active", value=False))

    assert genesys.found('userName eq "bo.ray@acme.example"') == []
    assert genesys.found('externalId eq "E1042"') == []
    assert [user["id"] for user in genesys.found("active eq false")] == [bo["id"]]


@pytest.mark.parametrize(
    "query",
    [
        'userName eq "bo.ray@acme.example"',
        "userName eq bo.ray@acme.example",
        'externalId eq "E 1042"',
        "email eq bo@work.example",
        'division eq "Support"',
        "employeeNumber eq 7",
        "manager eq {boss}",
        "active eq true",
        f'{PURECLOUD}:externalIds[authority eq "hris" and value eq "7"]',
    ],
)
def test_documented_filters_find(genesys: Caller, query: str) -> None:
    """Every documented name works, with and without quotes."""
    boss = genesys.user("ada.lee@acme.example")
    genesys.user(
        schemas=[USER, ENTERPRISE, PURECLOUD],
        externalId="E 1042",
        emails=[{"value": "bo@work.example", "type": "work"}],
        **{ENTERPRISE: {"division": "Support", "employeeNumber": "7", "manager": {"value": boss["id"]}}},
        **{PURECLOUD: {"externalIds": [{"authority": "hris", "value": "7"}]}},
    )
    genesys.patch(boss, _replace("active", value=False))

    found = genesys.found(query.replace("{boss}", boss["id"]))

    assert [user["userName"] for user in found] == ["bo.ray@acme.example"]


@pytest.mark.parametrize(
    "query",
    ["displayName eq Bo", "userName sw bo", 'userName eq "a" and active eq true', 'userName eq "a" or id pr', "x"],
)
def test_other_filters_are_refused(genesys: Caller, query: str) -> None:
    """A filter that is not documented is 400 invalidFilter, never an empty list."""
    answer = genesys.scim("GET", "/Users", params={"filter": query})

    assert _scim_type(answer) == (400, "invalidFilter")


def test_a_version_is_a_strong_tag_and_a_mismatch_is_400(genesys: Caller) -> None:
    """A number in quotes, in header and meta; If-Match of an old one is 400 invalidVers and changes nothing."""
    user = genesys.user()
    read = genesys.scim("GET", f"/Users/{user['id']}")
    old = read.headers["etag"]

    changed = genesys.patch(user, _replace("title", "Agent"), **{"if-match": old})
    refused = genesys.patch(user, _replace("title", "Chief"), **{"if-match": old})
    same = genesys.scim("GET", f"/Users/{user['id']}", headers={"if-none-match": changed.headers["etag"]})

    assert old == read.json()["meta"]["version"]
    assert old.strip('"').isdecimal()
    assert changed.status_code == 200
    assert _scim_type(refused) == (400, "invalidVers")
    assert same.status_code == 304
    assert genesys.shown(user)["title"] == "Agent"


def test_a_change_of_the_state_takes_nothing_else_along(genesys: Caller) -> None:
    """In a PATCH with ``active`` everything else is left out, with a path and without, and the answer is 200."""
    user = genesys.user(title="Agent")

    first = genesys.patch(user, _replace("title", "Chief"), _replace("active", value=False))
    second = genesys.patch(user, {"op": "replace", "value": {"active": True, "title": "Chief"}})

    assert (first.status_code, first.json()["active"], first.json()["title"]) == (200, False, "Agent")
    assert (second.status_code, second.json()["active"], second.json()["title"]) == (200, True, "Agent")


def test_an_unknown_path_is_refused(genesys: Caller) -> None:
    """A PATCH of an attribute that Genesys does not have is a 400 and changes nothing."""
    user = genesys.user(title="Agent")

    answer = genesys.patch(user, _replace("title", "Chief"), _replace("name.givenName", "Bo"))

    assert answer.status_code == 400
    assert genesys.shown(user)["title"] == "Agent"


@pytest.mark.parametrize("value", [{"value": "7"}, [{"authority": "hris"}]])
def test_an_external_id_needs_both_its_parts(genesys: Caller, value: object) -> None:
    """Half of one is a 400 in a PATCH too."""
    user = genesys.user()

    answer = genesys.patch(user, _replace(f"{PURECLOUD}:externalIds", value))

    assert answer.status_code == 400


def test_groups_of_a_user_are_read_only(genesys: Caller) -> None:
    """They show what Groups hold, and cannot be patched."""
    user = genesys.user()
    group = genesys.control("POST", "/groups", {"displayName": "Sales Team", "members": [user["id"]]})

    refused = genesys.patch(user, {"op": "add", "path": "groups", "value": [{"value": "g"}]})

    assert _scim_type(refused) == (400, "mutability")
    (shown,) = genesys.scim("GET", f"/Users/{user['id']}").json()["groups"]
    assert (shown["value"], shown["display"]) == (group["id"], "Sales Team")


def test_members_of_a_group_come_and_go_by_patch(genesys: Caller) -> None:
    """Adding twice keeps one; somebody who does not exist is refused; a value filter takes one out."""
    ada, bo = genesys.user("ada.lee@acme.example"), genesys.user()
    group = genesys.control("POST", "/groups", {"displayName": "Sales Team"})

    def patch(operation: dict[str, object]) -> httpx.Response:
        return genesys.scim("PATCH", f"/Groups/{group['id']}", {"schemas": [PATCH], "Operations": [operation]})

    def add(*users: str) -> httpx.Response:
        return patch({"op": "add", "path": "members", "value": [{"value": user} for user in users]})

    added = [add(ada["id"], bo["id"]).status_code, add(bo["id"]).status_code]
    refused = add("nobody")
    removed = patch({"op": "remove", "path": f'members[value eq "{ada["id"]}"]'})

    assert added == [200, 200]
    assert _scim_type(refused) == (400, "invalidValue")
    assert [member["value"] for member in removed.json()["members"]] == [bo["id"]]
    assert genesys.shown(ada)["groups"] == []
    (found,) = genesys.found("displayName eq Sales Team", "/Groups")
    assert found["id"] == group["id"]


def test_a_list_of_groups_needs_a_filter(genesys: Caller) -> None:
    """The parameter is required."""
    assert _scim_type(genesys.scim("GET", "/Groups")) == (400, "invalidFilter")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/Groups", 405),
        ("DELETE", "/Groups/1", 405),
        ("POST", "/Bulk", 404),
        ("POST", "/.search", 404),
        ("POST", "/Users/.search", 404),
        ("GET", "/Me", 404),
        ("GET", "/", 404),
        ("PATCH", "/Users", 405),
        ("GET", "/Schemas?filter=id+pr", 403),
    ],
)
def test_operations_that_do_not_exist_are_refused(genesys: Caller, method: str, path: str, status: int) -> None:
    """No creation or deletion of groups, no bulk, no search by POST, no /Me; Schemas refuses any filter."""
    assert genesys.scim(method, path, {} if method != "GET" else None).status_code == status


def test_the_service_describes_itself(genesys: Caller) -> None:
    """ServiceProviderConfig, Schemas and ResourceTypes are read, in the letter case of the publication too."""
    config = genesys.scim("GET", "/serviceproviderconfig").json()
    schemas = {schema["id"]: schema for schema in genesys.scim("GET", "/schemas").json()["Resources"]}
    types = [kind["name"] for kind in genesys.scim("GET", "/resourcetypes").json()["Resources"]]

    assert (config["patch"], config["etag"]) == ({"supported": True}, {"supported": True})
    assert config["bulk"]["supported"] is False
    assert {"dateHire", "division"} <= {attribute["name"] for attribute in schemas[ENTERPRISE]["attributes"]}
    assert PURECLOUD in schemas
    assert types == ["User", "Group"]


def test_wide_pages_are_refused_whatever_the_rate(genesys: Caller) -> None:
    """25 by default; more are 429 "internal limits" without Retry-After unless costly attributes are left out."""
    for number in range(27):
        genesys.user(f"user{number}@acme.example")

    first = genesys.scim("GET", "/Users")
    wide = genesys.scim("GET", "/Users", params={"count": 26})
    narrow = genesys.scim("GET", "/Users", params={"count": 30, "attributes": "displayName"})
    costly = f"externalId,roles,{PURECLOUD}"
    excluded = genesys.scim("GET", "/Users", params={"count": 30, "excludedAttributes": costly})

    assert (len(first.json()["Resources"]), first.json()["totalResults"]) == (25, 27)
    assert (wide.status_code, "retry-after" in wide.headers) == (429, False)
    assert "internal limits" in wide.json()["message"]
    assert len(narrow.json()["Resources"]) == len(excluded.json()["Resources"]) == 27
    assert {"id", "userName", "active", "meta", "displayName"} <= narrow.json()["Resources"][0].keys()
    assert "emails" not in narrow.json()["Resources"][0]


def test_nothing_is_counted_out_when_only_the_number_is_asked_for(genesys: Caller) -> None:
    """``count=0`` gives totalResults."""
    genesys.user()

    found = genesys.scim("GET", "/Users", params={"count": 0}).json()

    assert found["totalResults"] == 1
    assert not found.get("Resources")
