"""The Security Events that are sent of each type of signal, in this order. Pure.

RISC and CAEP name the person as the receiver wants it, ``prov:*`` the account by its path, and ``identifier-changed``
by the value that it was: its subject must be an address or a telephone number.

https://openid.net/specs/openid-caep-1_0-final.html, https://openid.net/specs/openid-risc-1_0-final.html and
https://www.rfc-editor.org/rfc/rfc9967
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lifecycle.event import OPERATOR
from lifecycle.signal import Told
from lifecycle.ssf.section import Shape
from lifecycle.ssf.subjects import Naming, Subject, account, by_address, opaque

CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"
PROV: Final = "urn:ietf:params:scim:event:prov:"
PATCH_OP: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

STREAM_VERIFICATION, STREAM_UPDATED = "ssf.verification", "ssf.stream-updated"
NOTICE, FULL, LEGACY = "notice", "full", "legacy"
# CAEP's interoperability profile has the reason never empty.
REASONS: Final = {
    "left": "The person has left the organization.",
    "out_of_scope": "The person is no longer meant to have this access.",
}
REASON_DEFAULT: Final = "The access of the person was withdrawn."

Said = dict[str, Any]


@dataclass(frozen=True)
class SecurityEvent:
    """One event: what it is called, of which signals it is sent, whom it names and what it says."""

    name: str
    """The item's part that is its own; never changed, for the ids of tokens are made of it."""
    uri: str
    says: Callable[[Told], Said] = lambda _signal: {}
    subject: Callable[[Naming, Told], Subject | None] = lambda naming, signal: naming.person(signal)
    applies: Callable[[Told, Shape], bool] = lambda _signal, _shape: True
    of_stream: bool = False
    """Whether it is about the stream itself, and comes whatever the receiver wants."""

    @property
    def is_caep(self) -> bool:
        """Whether receivers of before the final specifications look for its subject inside it."""
        return self.uri.startswith(CAEP)


# ---- what they say


def _revocation(signal: Told) -> Said:
    data = signal.data
    at = data.get("confirmed_at") or data.get("applied_at")
    moment = datetime.fromisoformat(at) if at else signal.made_at
    return {
        "initiating_entity": "admin" if data.get("source") == OPERATOR else "policy",
        "reason_admin": {"en": REASONS.get(str(data.get("reason")), REASON_DEFAULT)},
        "event_timestamp": int(moment.timestamp()),
    }


def _new_value(field: str) -> Callable[[Told], Said]:
    def says(signal: Told) -> Said:
        found = signal.facts.get(field)
        return {"new-value": found} if by_address(found) else {}

    return says


def _names(signal: Told) -> list[str]:
    """Return the names of what changed, the memberships among them."""
    data = signal.data
    moved = [name for name in ("groups", "roles") if data.get(f"{name}_added") or data.get(f"{name}_removed")]
    return list(dict.fromkeys([*signal.facts.get("attributes", ()), *moved]))


def _notice(signal: Told) -> Said:
    return {"attributes": _names(signal)}


def _resource(signal: Told) -> Said:
    return {"data": signal.facts["values"]}


def _operations(signal: Told) -> Said:
    return {"data": {"schemas": [PATCH_OP], "Operations": signal.facts["values"]}}


def _state(signal: Told) -> Said:
    state = signal.data.get("state")
    return {} if state is None else {"state": state}


def _status(signal: Told) -> Said:
    data = signal.data
    return {"status": data["status"], **({"reason": data["reason"]} if data.get("reason") else {})}


# ---- whom they name


def _stream(_naming: Naming, signal: Told) -> Subject:
    return opaque(signal.only)


def _account(_naming: Naming, signal: Told) -> Subject | None:
    return account(signal)


def _old(field: str) -> Callable[[Naming, Told], Subject | None]:
    return lambda _naming, signal: by_address(_former(signal, field))


def _former(signal: Told, field: str) -> Any:  # noqa: ANN401 - facts are JSON
    return (signal.facts.get("old") or {}).get(field)


# ---- of which signals they are sent


def _is_revocation(signal: Told, _shape: Shape) -> bool:
    data = signal.data
    return bool(data.get("sessions_revoked")) or data.get("reason") == "left"


def _is_known(signal: Told, shape: Shape) -> bool:
    """Tell whether the account is known by its path, and the receiver one that may know of RFC 9967."""
    return shape.provisioning != "none" and shape.profile != LEGACY and account(signal) is not None


def _is_notice(signal: Told, shape: Shape) -> bool:
    """Tell whether the names are to be told: also to whom wants values where they were not kept."""
    return _is_known(signal, shape) and not _is_full(signal, shape) and bool(_names(signal))


def _is_full(signal: Told, shape: Shape) -> bool:
    return _is_known(signal, shape) and shape.provisioning == FULL and bool(signal.facts.get("values"))


def _elsewhere(signal: Told, shape: Shape, what: str) -> bool:
    """Tell whether the person has such an account on another target of which the receiver hears."""
    found = (signal.facts.get("elsewhere") or {}).get(what, ())
    return any(shape.targets is None or name in shape.targets for name in found)


def _is_purged(signal: Told, shape: Shape) -> bool:
    return not _elsewhere(signal, shape, "accounts")


def _is_enabled(signal: Told, shape: Shape) -> bool:
    """Tell whether nothing keeps the person out any more; one who was purged is not enabled by a new account."""
    is_back = bool(signal.facts.get("returned")) and _elsewhere(signal, shape, "accounts")
    return (signal.type != "person.provisioned" or is_back) and not _elsewhere(signal, shape, "suspended")


def _is_new_address(signal: Told, _shape: Shape) -> bool:
    return by_address(_former(signal, "email")) is not None


def _is_new_login(signal: Told, _shape: Shape) -> bool:
    """Tell whether the user name was an address, and another than the e-mail address that is told of already."""
    found, told = _former(signal, "user_name"), _former(signal, "email")
    return by_address(found) is not None and str(found).lower() != str(told).lower()


def _prov(name: str, applies: Callable[[Told, Shape], bool] = _is_known, **more: Any) -> SecurityEvent:  # noqa: ANN401 - fields
    return SecurityEvent(f"prov-{name.replace(':', '-')}", PROV + name, subject=_account, applies=applies, **more)


_CHANGED: Final = RISC + "identifier-changed"
_RENAMED: Final = (
    SecurityEvent("identifier-changed", _CHANGED, _new_value("email"), _old("email"), _is_new_address),
    SecurityEvent("login-changed", _CHANGED, _new_value("user_name"), _old("user_name"), _is_new_login),
)
_ENABLED: Final = SecurityEvent("account-enabled", RISC + "account-enabled", applies=_is_enabled)
_VERIFICATION: Final = SecurityEvent("verification", SSF + "verification", _state, _stream, of_stream=True)

OF_SIGNALS: Final[Mapping[str, tuple[SecurityEvent, ...]]] = {
    "person.suspended": (
        # First, so that whoever ends sessions need not wait for whoever closes accounts. Both of each target, the
        # first that is known included: a leaver is locked out everywhere as soon as anything is known.
        SecurityEvent("session-revoked", CAEP + "session-revoked", _revocation, applies=_is_revocation),
        # Without a reason: those that RISC knows are hijacking and bulk-account.
        SecurityEvent("account-disabled", RISC + "account-disabled"),
        _prov("deactivate"),
    ),
    # Whoever comes back under another name is known by the old one.
    "person.restored": (
        *_RENAMED,
        _ENABLED,
        _prov("activate"),
    ),
    "person.provisioned": (
        _ENABLED,
        _prov("create:notice", _is_notice, says=_notice),
        _prov("create:full", _is_full, says=_resource),
    ),
    "person.updated": (
        *_RENAMED,
        _prov("patch:notice", _is_notice, says=_notice),
        _prov("patch:full", _is_full, says=_operations),
    ),
    "person.deleted": (
        SecurityEvent("account-purged", RISC + "account-purged", applies=_is_purged),
        _prov("delete"),
    ),
    "subscriber.test": (_VERIFICATION,),
    STREAM_VERIFICATION: (_VERIFICATION,),
    STREAM_UPDATED: (SecurityEvent("stream-updated", SSF + "stream-updated", _status, _stream, of_stream=True),),
}
