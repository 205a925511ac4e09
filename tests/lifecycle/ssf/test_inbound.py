"""What we transmit, we can receive: our own source reads the tokens, after it verified them."""

from datetime import timedelta
from typing import Any

import pytest

from lifecycle.config import Source as Section
from lifecycle.config import own_options
from lifecycle.event import Kind
from lifecycle.ssf import sets
from lifecycle.ssf.signing import Signing
from service.sources import ssf as source
from service.sources.base import Notice, Reading, Setup
from tests.notices import Jwks
from tests.transmitter import AT, AUDIENCE, FACTS, ISSUER, ssf, subscriber, told

SIGNING = Signing(ssf())
NOW = AT + timedelta(seconds=3)


def heard(item: str, change: str, of: dict[str, Any], **parts: Any) -> Reading:  # noqa: ANN401 - a signal's
    """Return what our own source makes of a token of ours."""
    section = Section.model_validate({"adapter": "ssf", "issuer": ISSUER, "audience": AUDIENCE})
    options = own_options("sources.gatepost", section, source.Options)
    setup = Setup("gatepost", (), options, Jwks({"keys": SIGNING.public()}), "UTC")
    signal = told(change, **parts)
    token = sets.token(SIGNING, ISSUER, signal, f"{signal.id}~{item}", subscriber(**of))
    notice = Notice("POST", "", {"content-type": "application/secevent+jwt"}, token.encode())
    source.verify(notice, setup, NOW)
    return source.read(notice, setup, NOW)


@pytest.mark.parametrize("subject", ["email", "iss_sub", "scim", "opaque"])
@pytest.mark.parametrize("profile", ["final", "legacy"])
@pytest.mark.parametrize(
    ("item", "change", "kind"),
    [
        ("account-disabled", "suspended", Kind.LEAVER),
        ("account-purged", "deleted", Kind.LEAVER),
        ("account-enabled", "restored", Kind.CHANGED),
    ],
)
def test_change_of_an_account_is_heard(subject: str, profile: str, item: str, change: str, kind: Kind) -> None:
    """Under the token's id, at the moment of the signal, and of the person whom we meant."""
    (event,) = heard(item, change, {"subject": subject, "profile": profile}).events

    assert (event.kind, event.occurred_at) == (kind, AT.replace(microsecond=0))
    assert sets.item_of(event.id).endswith(f"~{item}")
    known = {"email": "bo.ray@acme.example", "iss_sub": "E1042", "scim": "E1042"}
    assert event.person == known.get(subject, event.person)


def test_new_address_is_heard_of_who_had_the_old_one() -> None:
    """The old one finds the person, the new one is taken."""
    facts = {**FACTS, "old": {"email": "bo.roe@acme.example"}}

    (event,) = heard("identifier-changed", "updated", {}, facts=facts).events

    assert (event.person, event.profile.email) == ("bo.roe@acme.example", "bo.ray@acme.example")


@pytest.mark.parametrize("profile", ["final", "legacy"])
def test_what_is_no_event_of_persons_there_is_counted(profile: str) -> None:
    """Sessions, and accounts by their path."""
    found = [heard(item, "suspended", {"profile": profile}) for item in ("session-revoked", "prov-deactivate")]

    assert [(each.events, len(each.ignored)) for each in found] == [((), 1), ((), 1)]
