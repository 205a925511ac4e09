"""Somebody else who changes an account by hand: reads, changes what is not ours, writes with ``If-Match``, again."""

import threading
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.flow.patience import eventually

HOME = "home"
THEIRS = {"nickName", HOME, "manager"}
WRITES_BETWEEN = 2
PRECONDITION_FAILED = 412

PATCH_URN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def entry_of(account: dict[str, Any], name: str, kind: str) -> str:
    """Return the value of the entry of a type; empty where there is none."""
    return next((str(each["value"]) for each in account.get(name, []) if each.get("type") == kind), "")


@dataclass
class Writer:
    """Changes a nickname, a home address and a manager, in turn, each time from what it has just read."""

    client: httpx.Client
    patches: bool
    person: str
    last: dict[str, str] = field(default_factory=dict)
    """What it wrote last and was told to be written."""
    lost: list[str] = field(default_factory=list)
    """What it wrote and found changed: there has to be none, at any moment."""
    writes: int = 0
    conflicts: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def write_until_told(self) -> None:
        """Write as soon as there is an account, and go on."""
        account_id = eventually(lambda: self._done.is_set() or self._account_id())
        number = 0
        while not self._done.is_set():
            number += 1
            self._write_once(f"/Users/{account_id}", number)

    def has_gone_on(self, seen: int) -> bool:
        """Tell whether it wrote some more since, and everything that it writes at least once."""
        return self.writes >= seen + WRITES_BETWEEN and self.last.keys() == THEIRS

    def stop(self) -> None:
        """Let the write that is under way be the last."""
        self._done.set()

    def check(self, account: dict[str, Any]) -> None:
        """Note what is not as it was written."""
        found = _theirs(account)
        gone = {name: value for name, value in self.last.items() if found[name] != value}
        self.lost += [f"{name}: {value} became {found[name]}" for name, value in gone.items()]

    def _account_id(self) -> str | None:
        found = (
            self.client.get("/Users", params={"filter": f'externalId eq "{self.person}"'}).json().get("Resources", [])
        )
        return str(found[0]["id"]) if found else None

    def _write_once(self, path: str, number: int) -> None:
        read = self.client.get(path).raise_for_status()
        account = read.json()
        self.check(account)
        turns = (("nickName", f"Bo {number}"), (HOME, f"bo{number}@home.example"), ("manager", f"m{number}"))
        name, value = turns[number % len(turns)]
        headers = {"if-match": read.headers["etag"]}
        if self.patches:
            body = {"schemas": [PATCH_URN], "Operations": [_operation(account, name, value)]}
            answer = self.client.patch(path, json=body, headers=headers)
        else:
            answer = self.client.put(path, json=_changed(account, name, value), headers=headers)
        if answer.status_code == PRECONDITION_FAILED:
            self.conflicts += 1
            return
        answer.raise_for_status()
        self.last[name] = value
        self.writes += 1


def _theirs(account: dict[str, Any]) -> dict[str, Any]:
    return {
        "nickName": account.get("nickName"),
        HOME: entry_of(account, "emails", HOME),
        "manager": account.get(ENTERPRISE, {}).get("manager", {}).get("value"),
    }


def _operation(account: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    if name == HOME and not entry_of(account, "emails", HOME):
        return {"op": "add", "path": "emails", "value": [{"type": HOME, "value": value}]}
    path = {HOME: f'emails[type eq "{HOME}"].value', "manager": f"{ENTERPRISE}:manager.value"}.get(name, name)
    return {"op": "replace", "path": path, "value": value}


def _changed(account: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    body = {key: found for key, found in account.items() if key not in {"meta", "groups"}}
    if name == HOME:
        others = [entry for entry in body.get("emails", []) if entry.get("type") != HOME]
        return body | {"emails": [*others, {"type": HOME, "value": value}]}
    if name == "manager":
        schemas = [*body["schemas"], *({ENTERPRISE} - {*body["schemas"]})]
        return body | {"schemas": schemas, ENTERPRISE: body.get(ENTERPRISE, {}) | {"manager": {"value": value}}}
    return body | {name: value}
