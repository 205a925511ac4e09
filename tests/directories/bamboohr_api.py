"""A stand-in for BambooHR: an employee by id, the list of names, the report; a key that may not see all."""

import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from tests.directories.stand_in import Asked, Someone, StandIn, Told

KEY = "bamboo-key-of-the-tests"
OWNER = "999"


@dataclass
class BambooApi(StandIn):
    """One company. ``someone.more`` has fields of BambooHR's."""

    unseen: set[str] = field(default_factory=set)
    """Fields that the key may not see."""

    @property
    def section(self) -> dict[str, Any]:
        """Return the keys."""
        return {"adapter": "bamboohr", "base_url": self.url, "api_key": "env:DIRECTORY_SECRET"}

    def opens(self, authorization: str) -> bool:
        """Take the key as a user."""
        return authorization == f"Basic {b64encode(f'{KEY}:x'.encode()).decode()}"

    def problem(self, status: int, words: str) -> Told:
        """Return an error as BambooHR tells it: in a header, without a body."""
        return Told(status, b"", {"x-bamboohr-error-message": words.replace("\n", " ")})

    def answer(self, asked: Asked) -> Told:
        """Answer for employees."""
        match (asked.method, asked.parts):
            case ("GET", ["api", "v1", "employees"]):
                people = [self._brief(each) for each in self.people.values()]
                size = min(int(asked.query["page[limit]"]), 100)
                return Told(200, {"data": people[:size], "meta": {"total": len(people)}, "links": {}})
            case ("GET", ["api", "v1", "employees", id_]):
                found = self.people.get(OWNER if id_ == "0" else id_)
                fields = asked.query["fields"].split(",")
                return Told(200, self.employee(found, fields)) if found else self.problem(404, "")
            case ("POST", ["api", "v1", "reports", "custom"]):
                fields = json.loads(asked.body)["fields"]
                return Told(200, {"employees": [self.employee(each, fields) for each in self.people.values()]})
            case _:
                return self.problem(404, "")

    def employee(self, someone: Someone, fields: list[str]) -> dict[str, Any]:
        """Return one of the people as BambooHR shows them: what may not be seen is left out."""
        shown = {
            **dict.fromkeys(fields),
            "id": someone.id,
            "status": "Active" if someone.works_here else "Inactive",
            "workEmail": someone.email or None,
            "jobTitle": someone.title,
            "hireDate": "2024-01-08",
            "terminationDate": "0000-00-00",
            **someone.more,
        }
        return {name: value for name, value in shown.items() if name in {"id", *fields} and name not in self.unseen}

    def _brief(self, someone: Someone) -> dict[str, Any]:
        return {"employeeId": someone.id, "status": self.employee(someone, ["status"])["status"]}
