"""``python -m bench.scim --port N``: a SCIM target that costs next to nothing, so that the worker is what is measured.

HTTP/1.1 on kept connections, accounts in memory. It knows what Gatepost asks: find by an attribute, read, create,
replace a top-level attribute. ``GET /count`` tells how many requests it has answered.
"""

import argparse
import asyncio
import json
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote

import uvloop

ROOT = "/v2/Users"
COUNT = "/count"
HEAD_END = b"\r\n\r\n"
REASONS = {200: "OK", 201: "Created", 404: "Not Found", 429: "Too Many Requests"}

Answer = tuple[int, Any]


class Accounts:
    """What the target keeps."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._by_id: dict[str, dict[str, Any]] = {}
        self._by_value: dict[tuple[str, str], str] = {}
        self._requests = 0

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """Answer one request."""
        if target == COUNT:
            return 200, {"requests": self._requests}
        self._requests += 1
        path, _, query = target.partition("?")
        if method == "POST":
            return self._create(json.loads(body))
        if query:
            return self._find(unquote(query))
        found = self._by_id.get(path.rpartition("/")[2])
        if found is None:
            return 404, {"status": "404"}
        if method == "PATCH":
            found.update({change["path"]: change["value"] for change in json.loads(body)["Operations"]})
        return 200, found

    def _create(self, account: dict[str, Any]) -> Answer:
        account["id"] = str(len(self._by_id))
        self._by_id[account["id"]] = account
        for name in ("externalId", "userName"):
            self._by_value[name, account[name]] = account["id"]
        return 201, account

    def _find(self, query: str) -> Answer:
        name, _, value = query.removeprefix("filter=").partition(" eq ")
        found = self._by_value.get((name, json.loads(value)))
        accounts = [self._by_id[found]] if found is not None else []
        return 200, {"totalResults": len(accounts), "Resources": accounts}


class Connection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self, answer: Callable[[str, str, bytes], Answer]) -> None:
        """Keep who answers."""
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect a request; answer it when it is whole."""
        self._received += data
        head, end, body = self._received.partition(HEAD_END)
        _, _, length = head.lower().partition(b"content-length:")
        if not end or len(body) < int(length.partition(b"\r")[0] or 0):
            return
        self._received = b""
        method, target, _ = head.decode().split(" ", 2)
        status, found = self._answer(method, target, body)
        content = json.dumps(found).encode()
        lines = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/scim+json\r\n"
        self._transport.write(f"{lines}content-length: {len(content)}\r\n\r\n".encode() + content)


async def serve(port: int, accounts: Accounts) -> None:
    """Serve until a signal ends it."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(accounts.answer), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve on the port that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.scim", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port, Accounts()))


if __name__ == "__main__":
    main()
