"""How the demo's story must end, asked of the targets and the security tool themselves, and what is shown of it."""

import time
from typing import Any
from urllib.parse import quote

from gatepost import show
from gatepost.stage import ADA, BO, CY, Stage

SETTLE_SECONDS_MAX = 20.0
POLL_SECONDS = 0.02
NAMES = {ADA: "Ada Lee", BO: "Bo Ray", CY: "Cy Orr"}
TARGETS = ("crm", "genesys")
TOLD = ["person.provisioned"] * 3 + ["person.updated", "person.suspended", "person.restored"]
GROUPS_OF_BO, ROLES_OF_BO = ["Support Agents"], {"employee", "Communicate - User"}

Account = dict[str, Any]


def log_in(stage: Stage) -> str:
    """Log Bo in at the sandbox; return the id of the account there."""
    account = str(_at_genesys(stage, BO).get("id"))
    stage.ask_genesys("POST", f"/users/{account}/sessions")
    return account


def locked_out(stage: Stage) -> list[str]:
    """Return what is wrong after Bo left: every account inactive, and no session, role or group left."""
    faults = [
        f"after Bo left, {name} still shows the account as active"
        for name, account in _accounts(stage, BO).items()
        if account.get("active") is not False
    ]
    left = _at_genesys(stage, BO)
    kept = {name: left.get(name) for name in ("sessions", "roles", "groups") if left.get(name)}
    return [*faults, f"after Bo left, genesys still has {kept}"] if kept else faults


def faults(stage: Stage, before: str, *, within: float = SETTLE_SECONDS_MAX) -> list[str]:
    """Compare the targets and the security tool with how the story must end; ``before`` is the leaver's account."""
    found = []
    for key, name in NAMES.items():
        found += [
            f"{name} should have one active account at {target}, and has: {account}"
            for target, account in _accounts(stage, key).items()
            if account.get("active") is not True or account.get("displayName") != name
        ]
    found += [
        f"the late older title won at {target}: {account.get('title')}"
        for target, account in _accounts(stage, BO).items()
        if account.get("title") != "Account Manager"
    ]
    return found + _faults_of_return(stage, before) + _faults_of_signals(stage, within)


def _faults_of_return(stage: Stage, before: str) -> list[str]:
    back = _at_genesys(stage, BO)
    roles = {role["value"] for role in back.get("roles", [])}
    if (back.get("id"), back.get("groups"), roles) == (before, GROUPS_OF_BO, ROLES_OF_BO):
        return []
    return [f"Bo should be back at genesys as {before} with {GROUPS_OF_BO} and {sorted(ROLES_OF_BO)}, and is: {back}"]


def _faults_of_signals(stage: Stage, within: float) -> list[str]:
    expected = sorted((target, kind) for target in TARGETS for kind in TOLD)
    deadline = time.monotonic() + within
    while len(received := stage.signals()) < len(expected) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    found = [f"a signal did not verify: {item['error']}" for item in received if not item["verified"]]
    signals = [item["signal"] for item in received if item["verified"]]
    told = sorted((signal["data"]["target"], signal["type"]) for signal in signals)
    if told != expected:
        found.append(f"the security tool was told {told}, not {expected}")
    revoked = [signal for signal in signals if signal["data"].get("sessions_revoked")]
    if [(signal["data"]["target"], signal["type"]) for signal in revoked] != [("genesys", "person.suspended")]:
        found.append("the security tool was not told that the leaver's sessions at genesys were revoked")
    return found


def _accounts(stage: Stage, external_id: str) -> dict[str, Account]:
    return {"crm": _at_crm(stage, external_id), "genesys": _at_genesys(stage, external_id)}


def _at_crm(stage: Stage, external_id: str) -> Account:
    query = quote(f'externalId eq "{external_id}"')
    return _one(stage.ask_crm("GET", f"/Users?filter={query}").get("Resources", []))


def _at_genesys(stage: Stage, external_id: str) -> Account:
    users = stage.ask_genesys("GET", "/state")["users"]
    return _one([user for user in users if user.get("externalId") == external_id])


def _one(found: list[Account]) -> Account:
    return found[0] if len(found) == 1 else {"missing": len(found)}


def tell(stage: Stage, faults: list[str]) -> None:
    """Show what the security tool was told, and whether all ended as told."""
    signals = [item["signal"] for item in stage.signals() if item["verified"]]
    rows = [
        (
            signal["type"],
            signal["data"]["person"]["external_id"],
            signal["data"]["target"],
            signal["data"]["event"],
            "revoked" if signal["data"].get("sessions_revoked") else "",
            f"{signal['data'].get('latency_ms', '?')} ms",
        )
        for signal in signals
    ]
    columns = ("told the security tool", "person", "target", "because of", "sessions", "after")
    show.table(columns, rows, empty="The security tool was told nothing.", title="\nSignals, each verified")
    if faults:
        for fault in faults:
            show.console.print(f"NOT AS TOLD: {fault}", style="red", markup=False)
        show.console.print(f"The logs are in {stage.folder} while the demo runs.", markup=False)
    else:
        log = stage.ask_genesys("GET", "/requests")
        show.console.print(f"\ngenesys answered {log['total']} requests, {log['limited']} past its rate limit.")
        show.console.print(
            "\nThe story ended as told: one account each on both targets, the leaver was locked out and logged out,"
            "\nthe forgery left nothing."
        )
