"""``python -m gatepost.sandbox``: a sandbox Genesys Cloud on this machine, until a signal ends it."""

import argparse
from pathlib import Path

from gatepost.sandbox.genesys import Genesys
from gatepost.sandbox.settings import REQUESTS_PER_MINUTE, SCOPES, TOKEN_SECONDS, Settings
from gatepost.sandbox.web import Server


def main() -> None:
    """Read the options and serve."""
    options = _parser().parse_args()
    settings = Settings(
        client_id=options.client_id,
        client_secret=options.client_secret_file.read_text().strip(),
        requests_per_minute=options.requests_per_minute,
        lag_seconds=options.lag,
        hide_inactive=options.hide_inactive,
        without=frozenset(options.without),
        scopes=tuple(options.scopes.split()),
        token_seconds=options.token_seconds,
    )
    with Server(options.port, Genesys(settings).answer) as server:
        print(f"Serving a sandbox Genesys Cloud on {server.url}/api/v2/scim/v2", flush=True)
        server.serve_forever()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gatepost.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--client-secret-file", type=Path, required=True)
    parser.add_argument("--requests-per-minute", type=int, default=REQUESTS_PER_MINUTE, metavar="N")
    parser.add_argument("--lag", type=float, default=0.0, metavar="SECONDS", help="how late lists and filters are")
    parser.add_argument("--hide-inactive", action="store_true", help="filters find active users only")
    parser.add_argument("--without", action="append", default=[], metavar="PERMISSION", help="what the client lacks")
    parser.add_argument("--scopes", default=" ".join(SCOPES), help="what a token is granted")
    parser.add_argument("--token-seconds", type=int, default=TOKEN_SECONDS, metavar="N")
    return parser


if __name__ == "__main__":
    main()
