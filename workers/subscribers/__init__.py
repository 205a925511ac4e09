"""Subscribers: formats of signals, and the guard against forged addresses."""

from collections.abc import Mapping

from lifecycle.subscriber import STANDARD_WEBHOOKS
from workers.subscribers import standard_webhooks
from workers.subscribers.base import Format

FORMATS: Mapping[str, Format] = {STANDARD_WEBHOOKS: standard_webhooks}
