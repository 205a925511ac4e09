"""``gatepost listen`` with room for few and as much patience as its argument says, as a program; it prints its port."""

import sys
from typing import ClassVar

from gatepost.listen.expected import Options, expected
from gatepost.listen.protocol import Protocol
from gatepost.listen.server import Endpoint, listening, server


class Hasty(Protocol):
    """Has few connections at a time."""

    connections_max: ClassVar[int] = 4


if __name__ == "__main__":
    Hasty.request_seconds_max = float(sys.argv[1])
    formats = expected(Options(secrets=("env:SIEM_WHSEC",))).formats
    with listening("127.0.0.1", 0) as at:
        print(at.getsockname()[1], flush=True)  # noqa: T201 - a program answers on its output
        server(Endpoint(formats, answer=None, as_json=True, number_max=None), Hasty).run(sockets=[at])
