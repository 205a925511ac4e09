"""Signals as Standard Webhooks: the body as it was made, signed ``v1`` at each attempt with the time of the attempt.

During a rotation every live secret signs, so that a receiver may switch at its own moment.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from collections.abc import Sequence
from datetime import datetime

from lifecycle import signature


def headers(signal_id: str, body: bytes, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the headers of one attempt."""
    signatures = [signature.sign(signature.key(secret), signal_id, now, body) for secret in secrets]
    return {
        "content-type": "application/json",
        "webhook-id": signal_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
