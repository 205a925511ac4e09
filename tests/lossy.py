"""A client of Redis that loses the answer to a transaction: it was done, and the connection died before it was told."""

from typing import Any

from redis import Redis
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from lifecycle.queue import connect


class Lossy(UnixDomainSocketConnection):
    """Reads the next answer to EXEC and loses it, once ``armed``."""

    armed = False
    executes = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ANN401
        """Note whether a transaction ends with it."""
        packed = b"".join(command) if isinstance(command, list | tuple) else command
        self.executes = b"EXEC" in packed
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the library's signature
        """Read as usual; of all answers to a transaction the one to EXEC is a list."""
        found = super().read_response(*arguments, **options)
        if type(self).armed and self.executes and isinstance(found, list):
            type(self).armed = False
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError("lost")
        return found


def lossy(url: str) -> tuple[Redis, type[Lossy]]:
    """Return a patient client as the workers have it, and what arms it."""
    kind = type("Once", (Lossy,), {})
    redis = connect(url, patient=True)
    redis.connection_pool.connection_class = kind
    return redis, kind
