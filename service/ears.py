"""What the receiver notes of its sources besides events: when each was heard, by what, and what it said of itself.

Notes are kept in memory and written together now and then, outside the way of a notice.
"""

import asyncio
from collections import defaultdict
from datetime import datetime

import structlog

from lifecycle.errors import Unavailable
from lifecycle.hearing import KID, fingerprint, handshake_commands, handshake_of, heard_commands, upkeep_commands
from service.intake import Intake

WRITE_SECONDS = 1.0
KID_CHARS_MAX = 128

log = structlog.get_logger()


class Ears:
    """Notes of all sources."""

    def __init__(self, intake: Intake) -> None:
        """Start with nothing heard."""
        self._intake = intake
        self._names: dict[tuple[str, str], str] = {}
        self._heard: dict[str, dict[str, datetime]] = defaultdict(dict)

    def hear(self, source: str, proof: str, at: datetime) -> None:
        """Note that a source was heard, and what proved it: a secret, or ``kid:ID``; empty where nothing did."""
        name = self._names.get((source, proof))
        if name is None:
            name = proof[:KID_CHARS_MAX] if proof.startswith(KID) else fingerprint(source, proof) if proof else ""
            if not proof.startswith(KID):
                # There are as many secrets as the configuration has; the ids of keys are the issuer's to choose.
                self._names[source, proof] = name
        self._heard[source][name] = at

    async def pass_on(self, source: str, words: tuple[str, ...]) -> None:
        """Hand on what a source said of itself. Raises Unavailable."""
        await self._intake.note(upkeep_commands(source, words))

    async def keep(self, source: str, token: str) -> bool:
        """Keep the token of a handshake; returns whether it is the one that is kept now. Raises Unavailable."""
        _, found = await self._intake.run(handshake_commands(source, token))
        return handshake_of(found).token == token

    async def write(self) -> None:
        """Write what was heard since the last time. Raises Unavailable; then it is written next time."""
        noted, self._heard = self._heard, defaultdict(dict)
        if not noted:
            return
        try:
            await self._intake.run(
                [command for source, uses in noted.items() for command in heard_commands(source, uses)]
            )
        except Unavailable:
            for source, uses in noted.items():
                self._heard[source] = {**uses, **self._heard[source]}
            raise

    async def write_on(self) -> None:
        """Write again and again, until cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await self._write()
        finally:
            await self._write()

    async def _write(self) -> None:
        try:
            await self.write()
        except Unavailable:
            log.warning("hearing.unwritten")
