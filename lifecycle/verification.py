"""The state of a verification event (SSF 1.0, section 8.1.4): whoever asks for one knows it again when it comes back.

The workers ask a transmitter for it and the receiver hears it, without a word between them: a state tells when it was
made, and is sealed with a secret that both have in the configuration. ``gatepost.SECONDS.HMAC-SHA256``.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

AGE_MAX = timedelta(days=7)
"""As long as a transmitter may try: it could not reach us meanwhile."""
AHEAD_MAX = timedelta(minutes=5)
PREFIX = "gatepost."
_FORM = re.compile(r"gatepost\.(\d{1,11})\.([0-9a-f]{64})", re.ASCII)


def seals(secrets: Sequence[str], issuer: str) -> Sequence[str]:
    """Return what the states of a source may be sealed with, the first of which seals.

    Of a source without a secret it is the issuer, which everybody knows. That is enough: the event itself is signed,
    and the state tells only whether it answers a question of ours.
    """
    return secrets or (issuer,)


def make_state(secret: str, now: datetime) -> str:
    """Return a state that is made now."""
    seconds = str(int(now.timestamp()))
    return f"{PREFIX}{seconds}.{_seal(secret, seconds)}"


def check_state(secrets: Iterable[str], state: str, now: datetime) -> bool:
    """Tell whether a state may come: one of ours must be sealed and recent, another's is not ours to judge."""
    if not state.startswith(PREFIX):
        return True
    found = _FORM.fullmatch(state)
    if found is None:
        return False
    age = now - datetime.fromtimestamp(int(found[1]), UTC)
    # Each is compared, without an early exit.
    fitting = [hmac.compare_digest(_seal(secret, found[1]), found[2]) for secret in secrets]
    return any(fitting) and -AHEAD_MAX <= age <= AGE_MAX


def _seal(secret: str, seconds: str) -> str:
    return hmac.new(secret.encode(), f"verification\n{seconds}".encode(), hashlib.sha256).hexdigest()
