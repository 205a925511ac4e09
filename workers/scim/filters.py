"""Filters of one comparison (RFC 7644 section 3.4.2.2). Pure.

A value is a JSON text and the whole filter one percent-encoded query value, so that no character of it can end the
filter or begin another.
"""

import json
from urllib.parse import quote


def equals(attribute: str, value: str | bool) -> str:
    """Return the filter ``attribute eq value``."""
    return f"{attribute} eq {json.dumps(value, ensure_ascii=False)}"


def encoded(text: str) -> str:
    """Return a filter as one query value: a ``+``, ``&`` or ``#`` of a name stays in it."""
    return quote(text, safe="")


def shown(text: str) -> str:
    """Return a filter without its value, for the timeline."""
    attribute, _, _ = text.partition(" ")
    return f"{attribute} eq ..."
