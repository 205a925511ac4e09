"""What Genesys Cloud refuses in a user's attributes, and what it sets by itself. Pure.

The field mappings: https://help.mypurecloud.com/articles/scim-and-genesys-cloud-field-mappings/; limits and
permissions: the definition of the SCIM operations in the vendor's SDK and CLI.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from scim2_models import InvalidValueException, MutabilityException

from gatepost.sandbox.schema import ENTERPRISE, PURECLOUD, Email, PhoneNumber
from gatepost.sandbox.settings import Settings

Attributes = dict[str, Any]

ROUTING_MAX = 50
PROFICIENCY_MAX = 5.0
HOME = "Home"
ROLE_OF_ALL = "employee"
AUTHORITY = "x-pc:scimv2:v1"
"""Begins the authority under which a SCIM externalId is kept; nobody may change that entry."""
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"\+[1-9]\d{1,14}|tel:\+[1-9][\d.()-]*(;ext=\d+)?")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
ROUTING = {"routingSkills": "routing:skill:assign", "routingLanguages": "routing:language:assign"}


def check(user: Attributes, settings: Settings, is_user: Callable[[str], bool]) -> None:
    """Raise InvalidValueException for the first attribute that has a value it cannot have."""
    if not ADDRESS.fullmatch(user["userName"]):
        raise InvalidValueException(detail="userName must be an e-mail address")
    if not user.get("displayName"):
        raise InvalidValueException(detail="displayName is required")
    _check_contacts(user)
    for role in user.get("roles", []):
        _known(role.get("value"), settings.roles, "role")
    _check_enterprise(user.get(ENTERPRISE, {}), settings, is_user)
    routing = user.get(PURECLOUD, {})
    _check_routing(routing.get("routingSkills", []), settings.skills, "routing skill")
    _check_routing(routing.get("routingLanguages", []), settings.languages, "routing language")
    if not all(entry.get("authority") and entry.get("value") for entry in routing.get("externalIds", [])):
        raise InvalidValueException(detail="externalIds needs authority and value")


def _known(value: str | None, known: tuple[str, ...], what: str) -> None:
    if value not in known:
        raise InvalidValueException(detail=f"{what} {value!r} does not exist")


def _check_contacts(user: Attributes) -> None:
    for email in user.get("emails", []):
        _known(email.get("type"), tuple(Email.Type), "emails.type")
        if not ADDRESS.fullmatch(email.get("value", "")):
            raise InvalidValueException(detail="emails.value must be an e-mail address")
    for phone in user.get("phoneNumbers", []):
        _known(phone.get("type"), tuple(PhoneNumber.Type), "phoneNumbers.type")
        if not PHONE.fullmatch(phone.get("value", "")):
            raise InvalidValueException(detail="phoneNumbers.value must be E.164 or a tel: URI")


def _check_enterprise(enterprise: Attributes, settings: Settings, is_user: Callable[[str], bool]) -> None:
    if "division" in enterprise:
        _known(enterprise["division"], settings.divisions, "division")
    if "dateHire" in enterprise and not DATE.fullmatch(enterprise["dateHire"]):
        raise InvalidValueException(detail="dateHire must be YYYY-MM-DD")
    manager = enterprise.get("manager", {}).get("value")
    if manager is not None and not is_user(manager):
        raise InvalidValueException(detail=f"manager {manager!r} does not exist")


def _check_routing(entries: list[Attributes], known: tuple[str, ...], what: str) -> None:
    if len(entries) > ROUTING_MAX:
        raise InvalidValueException(detail=f"more than {ROUTING_MAX} entries of {what}")
    for entry in entries:
        _known(entry.get("name"), known, what)
        proficiency = entry.get("proficiency", 0.0)
        if proficiency is None or not 0 <= proficiency <= PROFICIENCY_MAX:  # None is what a NaN became
            raise InvalidValueException(detail=f"proficiency of {what} must be from 0.0 to 5.0")


def complete(user: Attributes, before: Attributes | None, client_id: str) -> Attributes:
    """Return a user with what nobody but the server sets: division, the mirror of userName, the externalIds entry."""
    emails = [email for email in user.get("emails", []) if email.get("type") != Email.Type.other]
    emails.append({"value": user["userName"], "type": Email.Type.other.value})
    enterprise = {"division": HOME, **user.get(ENTERPRISE, {})}
    extension = {**user.get(PURECLOUD, {}), "externalIds": _external_ids(user, before, f"{AUTHORITY}:{client_id}")}
    completed = {"active": True, **user, "emails": emails, ENTERPRISE: enterprise, PURECLOUD: extension}
    return {**completed, "schemas": [user["schemas"][0], ENTERPRISE, PURECLOUD]}


def _external_ids(user: Attributes, before: Attributes | None, authority: str) -> list[Attributes]:
    """Keep ``externalId`` under our authority; another entry there is an attempt to change it."""
    entries = user.get(PURECLOUD, {}).get("externalIds", [])
    kept = _reserved((before or {}).get(PURECLOUD, {}).get("externalIds", []))
    given = _reserved(entries)
    own = [{"authority": authority, "value": user["externalId"]}] if user.get("externalId") else []
    if any(entry not in [*kept, *own] for entry in given):
        raise MutabilityException(detail=f"externalIds of authority {AUTHORITY} cannot be changed")
    return own + [entry for entry in entries if entry not in given]


def _reserved(entries: list[Attributes]) -> list[Attributes]:
    return [entry for entry in entries if entry["authority"].startswith(AUTHORITY)]


def restored(deleted: Attributes, posted: Attributes) -> Attributes:
    """Return a deleted user who is created again: the record comes back, roles, division and skills do not.

    "What happens when I restore a user's account", and the SCIM questions and answers, on help.mypurecloud.com.
    """
    user = {**deleted, **posted, "active": posted.get("active", True)}
    user.pop("roles", None)
    enterprise = {**deleted.get(ENTERPRISE, {}), **posted.get(ENTERPRISE, {}), "division": HOME}
    return {**user, "id": deleted["id"], ENTERPRISE: enterprise, PURECLOUD: {}}


def permissions(before: Attributes, after: Attributes) -> set[str]:
    """Return the permissions that a change of a user needs beside the one to change users at all."""
    needed = {permission for name, permission in ROUTING.items() if _routing(before, name) != _routing(after, name)}
    if after.get("password") != before.get("password"):
        needed.add("directory:user:setPassword")
    held, wanted = _roles(before), _roles(after)
    if wanted - held:
        needed.add("authorization:grant:add")
    if held - wanted:
        needed.add("authorization:grant:delete")
    return needed


def _routing(user: Mapping[str, Any], name: str) -> list[Attributes]:
    found: list[Attributes] = user.get(PURECLOUD, {}).get(name, [])
    return found


def _roles(user: Mapping[str, Any]) -> set[str]:
    return {role["value"] for role in user.get("roles", [])}
