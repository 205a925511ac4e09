"""The language that the receiver and the workers share.

What lives here is what both programs must agree on: the words (event, person, signal), the errors, the
configuration, the Redis keys, and the few atomic steps that keep an event, take a person and settle an outcome.

Rules of the package:

1. Nothing here speaks HTTP: no starlette, no httpx. Redis is spoken to in ``queue``, ``people`` and ``records`` only.
2. Nothing here knows a vendor: sources live in ``service``, targets and subscribers in ``workers``.
3. Values are frozen and closed; a moment is aware and its name ends in ``_at``.
"""

__version__ = "0.1.0"
