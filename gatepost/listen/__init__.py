"""``gatepost listen``: an endpoint on this machine that verifies signals as they come and shows each.

It is for whoever builds a subscriber: what comes, whether it verifies and why not, and whether it came before. It keeps
nothing and needs no Redis.

::

    command.py ─▶ expected.py      from options and configuration to what is believed
        │
        ▼
    server.py ──▶ webhooks.py, tokens.py   a format each: bytes and a clock in, what is said out, or why not
        │
        ▼
    shown.py                       one line each
"""
