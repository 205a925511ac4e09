"""The demo's stage: where its parts are, what they are set to, and how they are asked past Gatepost."""

import json
import secrets
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatepost import calls
from lifecycle.records import Records

GROUPS = ("Support Agents", "Sales Team")
ADA, BO, CY = "E1001", "E1042", "00u1cy"
GROUP_URN = "urn:ietf:params:scim:schemas:core:2.0:Group"

CONFIG = """\
# Made by `gatepost demo`; every part it names runs on this machine.
[redis]
url = "{redis}"

[service]
admin_tokens = ["file:admin.token"]

[sources.hris]
adapter = "standard_webhooks"
secrets = ["file:hris.secret"]

[sources.okta]
adapter = "okta"
secrets = ["file:okta.secret"]

[targets.genesys]
adapter = "genesys_cloud"
base_url = "http://127.0.0.1:{genesys}/api/v2/scim/v2"
token_url = "http://127.0.0.1:{genesys}/login/oauth/token"
client_id = "file:genesys.client"
client_secret = "file:genesys.secret"
requests_per_minute = 300

[targets.crm]
adapter = "scim"
base_url = "http://127.0.0.1:{crm}/v2"
token = "file:crm.token"

[policy]
protected = ["breakglass@acme.example"]

[[policy.grants]]
when = "true"
roles = ["employee"]

[[policy.grants]]
when = "person.department == 'Support'"
groups = ["Support Agents"]
roles = ["employee", "Communicate - User"]

[[policy.grants]]
when = "person.department == 'Sales'"
groups = ["Sales Team"]

[subscribers.siem]
url = "http://127.0.0.1:{tool}/hooks/gatepost"
secrets = ["file:siem.secret"]
allow_private = true
"""


@dataclass(frozen=True)
class Stage:
    """Where the demo's parts are."""

    folder: Path
    receiver: str
    genesys: str
    crm: str
    tool: str
    records: Records

    @property
    def config(self) -> Path:
        """The configuration that the demo runs on."""
        return self.folder / "gatepost.toml"

    def ask_crm(self, method: str, path: str, body: bytes | None = None) -> Any:  # noqa: ANN401 - SCIM
        """Ask the plain SCIM target directly, past Gatepost."""
        token = (self.folder / "crm.token").read_text()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/scim+json"}
        return calls.call(method, f"{self.crm}{path}", headers=headers, body=body).json()

    def ask_genesys(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Ask the sandbox by its control plane, past Gatepost and past its own API."""
        sent = json.dumps(body).encode() if body is not None else None
        return calls.call(method, f"{self.genesys}/sandbox{path}", body=sent).json()

    def make_groups(self) -> None:
        """Make the groups that the policy names, by hand: neither target's groups are Gatepost's to make."""
        for name in GROUPS:
            self.ask_crm("POST", "/Groups", json.dumps({"schemas": [GROUP_URN], "displayName": name}).encode())
            self.ask_genesys("POST", "/groups", {"displayName": name})

    def signals(self) -> list[dict[str, Any]]:
        """Return what the security tool has received."""
        found: list[dict[str, Any]] = calls.call("GET", f"{self.tool}/received").json()["items"]
        return found


def write_secrets(folder: Path) -> None:
    """Make every secret of the demo, each in a file that only its owner reads."""
    found = {
        "admin.token": secrets.token_urlsafe(32),
        "hris.secret": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
        "okta.secret": secrets.token_urlsafe(32),
        "genesys.client": secrets.token_hex(16),
        "genesys.secret": secrets.token_urlsafe(32),
        "crm.token": secrets.token_urlsafe(32),
        "siem.secret": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
    }
    for name, secret in found.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(secret)
