"""HTTP to our own receiver and to the sandbox, by the standard library: few calls, all on purpose."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from gatepost import manual
from gatepost.processes import EXIT_MISCONFIGURED, python
from lifecycle.errors import Misconfigured

CALL_SECONDS_MAX = 15.0
PROGRAM_SECONDS_MAX = 30.0


class CallFailed(Exception):
    """Nobody answered; the message says where."""


class Answered(NamedTuple):
    """An answer of any status."""

    status: int
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever it is
        """Return the JSON of the body."""
        return json.loads(self.body)


def call(method: str, url: str, *, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answered:
    """Send one request to an HTTP address. Raises CallFailed when nobody answers."""
    if urlsplit(url).scheme not in {"http", "https"}:
        msg = f"{url} is not an http:// or https:// address"
        raise CallFailed(msg)
    request = Request(url, data=body, headers=headers or {}, method=method)  # noqa: S310 - the scheme is checked above
    try:
        with urlopen(request, timeout=CALL_SECONDS_MAX) as answer:  # noqa: S310 - the same
            return Answered(answer.status, answer.read())
    except HTTPError as error:
        return Answered(error.code, error.read())
    except (URLError, OSError, ValueError) as error:
        msg = f"{url} does not answer: {getattr(error, 'reason', error)}"
        raise CallFailed(msg) from error


class Signed(NamedTuple):
    """A sample as its source would send it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


def signed(config: Path, source: str, file: Path) -> Signed:
    """Let the receiver's own source module sign a file. Raises Misconfigured or CallFailed."""
    found = _told_by(python("service", "--config", str(config), "--sign", source, str(file)))
    return Signed(**found | {"body": base64.b64decode(found["body"])})


def pages() -> dict[str, str]:
    """Return our pages of the manual, and let the programs print theirs. Raises CallFailed."""
    return {**manual.pages(), **_told_by(python("service", "--manual")), **_told_by(python("workers.manual"))}


def _told_by(command: list[str]) -> Any:  # noqa: ANN401 - JSON
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROGRAM_SECONDS_MAX, check=False)  # noqa: S603 - ours
    except subprocess.TimeoutExpired as error:
        msg = f"the program took more than {PROGRAM_SECONDS_MAX:.0f} s"
        raise CallFailed(msg) from error
    if done.returncode == EXIT_MISCONFIGURED:
        raise Misconfigured(done.stderr.decode().strip().splitlines())
    if done.returncode != 0:
        raise CallFailed(done.stderr.decode().strip())
    return json.loads(done.stdout)


def send(to: str, notice: Signed) -> Answered:
    """Send a signed sample to a receiver, or to the very address if it has a path."""
    parts = urlsplit(to)
    url = to if parts.path.strip("/") else to.rstrip("/") + notice.path
    if notice.query:
        url += ("&" if parts.query else "?") + notice.query
    return call(notice.method, url, headers=notice.headers, body=notice.body if notice.method == "POST" else None)


def retry_by_receiver(base: str, token: str, failure_id: str) -> Answered:
    """Ask a receiver to read a notice again."""
    url = f"{base.rstrip('/')}/v1/failures/{quote(failure_id, safe='')}/retry"
    return call("POST", url, headers={"authorization": f"Bearer {token}"}, body=b"")
