"""Signals as Security Event Tokens by push (RFC 8935): one token a request, signed by the key that signs at the moment.

https://www.rfc-editor.org/rfc/rfc8935
"""

import json
import re
from datetime import datetime
from typing import Final

from lifecycle.config import Config
from lifecycle.errors import Refused
from lifecycle.signal import Told
from lifecycle.ssf import sets
from lifecycle.ssf.signing import Signing
from lifecycle.subscriber import Subscriber
from workers.subscribers.base import Letter, Reply, Verdict

BAD_REQUEST = 400
# What is wrong with the token itself, and stays so however often it is sent. The others may be mended over there: a key
# is fetched, a bearer is renewed. RFC 8935 section 2.4, and SSF section 8.1.4.1 for the state of a verification.
FINAL: Final = frozenset({"invalid_request", "invalid_issuer", "invalid_audience", "invalid_state"})

_ERR: Final = re.compile(r"[a-z_]{1,40}")


def letter(config: Config, signal: Told, item: str, subscriber: Subscriber, now: datetime) -> Letter:  # noqa: ARG001 - a token is of the moment of its signal
    """Return the token of an item. Raises Refused for what is no event, and where ``[ssf]`` is gone."""
    if config.ssf is None:
        raise Refused("there is no [ssf] that signs", reason="ssf_missing")
    token = sets.token(Signing(config.ssf), config.ssf.issuer, signal, item, subscriber)
    headers = {"content-type": "application/secevent+jwt", "accept": "application/json"}
    return Letter(headers | _authorization(subscriber), token.encode())


def verdict(reply: Reply) -> tuple[Verdict, str]:
    """RFC 8935 section 2.2 has 202 for what is taken, and many answer another 2xx; section 2.3 has 400 with ``err``."""
    if 200 <= reply.status < 300:  # noqa: PLR2004 - as said
        return Verdict.TAKEN, ""
    err = _err(reply)
    return (Verdict.NEVER if err in FINAL else Verdict.AGAIN), err or str(reply.status)


def _authorization(subscriber: Subscriber) -> dict[str, str]:
    if subscriber.authorization:
        return {"authorization": subscriber.authorization.value}
    return {"authorization": f"Bearer {subscriber.token.value}"} if subscriber.token else {}


def _err(reply: Reply) -> str:
    """Return the code that an answer has; empty where it has none, or none that is worth telling."""
    if reply.status != BAD_REQUEST:
        return ""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return ""
    err = found.get("err") if isinstance(found, dict) else None
    return err if isinstance(err, str) and _ERR.fullmatch(err) else ""
