"""The program that tells: RQ jobs that make targets agree, and the lane that tells subscribers of it.

It promises: one person is worked on by one job at a time; after a lost answer the next attempt starts with a look-up;
what is not certain is held or postponed, never guessed; an outcome, its signals and its record become true in one
step.

Rules of the package: ``fold``, ``policy`` and ``plan`` are pure; httpx is imported in ``http`` only, and aiohttp in
``subscribers.carrier``; an error becomes an outcome in ``converge`` and ``jobs`` only; ``service`` is never imported.
"""
