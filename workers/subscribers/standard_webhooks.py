"""Signals as Standard Webhooks: the body as it was made, signed at each attempt with the time of the attempt.

``whsec_`` secrets sign ``v1``, ``whsk_`` keys ``v1a``. During a rotation every live one signs, so that a receiver may
switch at its own moment.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from datetime import datetime

from lifecycle import signature
from lifecycle.config import Config
from lifecycle.errors import Refused
from lifecycle.signal import Told
from lifecycle.subscriber import Subscriber
from workers.subscribers.base import Letter, Reply, Verdict


def letter(_config: Config, signal: Told, item: str, subscriber: Subscriber, now: datetime) -> Letter:
    """Return the body with the headers of one attempt; they are the subscriber's own ones besides.

    Raises Refused for one Security Event of the signal.
    """
    if item != signal.id:
        # What waited for a subscriber when it was one of another format.
        raise Refused("this is a Security Event, and no webhook", reason="no_webhook")
    signatures = [signature.signer(secret.value)(item, now, signal.body) for secret in subscriber.secrets]
    headers = {
        "content-type": "application/json",
        "webhook-id": item,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return Letter(headers, signal.body)


def verdict(reply: Reply) -> tuple[Verdict, str]:
    """Take 2xx and nothing else for success."""
    taken = 200 <= reply.status < 300  # noqa: PLR2004 - as said
    return (Verdict.TAKEN, "") if taken else (Verdict.AGAIN, str(reply.status))
