"""Subscribers: formats of signals, and the guard against forged addresses."""

from collections.abc import Mapping
from typing import Final

from lifecycle.subscriber import SSF_PUSH, STANDARD_WEBHOOKS
from workers.subscribers import security_events, standard_webhooks
from workers.subscribers.base import Format

FORMATS: Final[Mapping[str, Format]] = {STANDARD_WEBHOOKS: standard_webhooks, SSF_PUSH: security_events}
"""Every format that is sent, by its name; ``ssf_poll`` waits to be come for."""
