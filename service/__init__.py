"""The program that hears: verify, read, keep, answer.

It promises: a 2xx only after Redis has the events; an authentic notice is never thrown away; a bad signature leaves
nothing behind; its own trouble is 503.

Rules of the package: sources are pure functions over bytes and a clock, with no I/O; an error becomes an answer in
``problems`` only; ``workers`` is never imported.
"""
