"""``python -m service``: the receiver as a process; ``--sign`` makes a sample as a source would send it.

``--check`` only checks the sources of the configuration, and says how far each is believed;
``--manual`` prints the pages of all sources as JSON, by name.
"""

import argparse
import base64
import gc
import json
import logging
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvicorn

from lifecycle.config import Config, config_path, load
from lifecycle.errors import Misconfigured
from lifecycle.lifeline import hold_lifeline
from lifecycle.log import set_up_logs
from service import belief
from service.app import configured_sources, create_app
from service.captured import parse_http
from service.manual import pages
from service.protocol import Protocol
from service.sources.base import Assurance, Notice

EXIT_MISCONFIGURED = 2
KEEP_ALIVE_SECONDS = 65
GRACEFUL_SECONDS = 10
BACKLOG = 2048
HTTP_SUFFIX = ".http"
LEFT_TO_THE_CLIENT = frozenset({"host", "content-length", "connection", "transfer-encoding"})

log = structlog.get_logger()


def main() -> None:
    """Start what the command line asks for; exit 2 with one line a fault when the configuration is wrong."""
    options = _options()
    set_up_logs("service")
    hold_lifeline()
    if options.manual:
        print(json.dumps(pages()))
        return
    try:
        config = load(config_path(options.config))
        if options.check:
            for line in belief.lines(config, configured_sources(config)):
                print(line.to_json())
        elif options.sign:
            print(json.dumps(sign(config, *options.sign)))
        else:
            serve(config, options.host, options.port)
    except Misconfigured as error:
        print(error.message, file=sys.stderr)
        sys.exit(EXIT_MISCONFIGURED)


def serve(config: Config, host: str, port: int) -> None:
    """Run the receiver until a signal ends it. Raises Misconfigured when nobody can listen there."""
    app = create_app(config)
    listening = _listen(host, port)
    # What lives as long as the process need not be walked by each full collection, whose pause is a request's wait.
    gc.collect()
    gc.freeze()
    log.info("service.started", host=host, port=port, sources=sorted(config.sources))
    settings = uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # nobody asks for the sender's address
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        backlog=BACKLOG,
    )
    # A fault of ours is in the log already, without its text; uvicorn would add the text.
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.exc_info is None)
    uvicorn.Server(settings).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        line = f"--host {host} --port {port}: found {error.strerror}; allowed: a free port of this machine"
        raise Misconfigured([line]) from error


def sign(config: Config, source: str, file: str) -> dict[str, object]:
    """Return the request that this source would send with a file's bytes. Raises Misconfigured if it is unknown."""
    sources = configured_sources(config)
    if source not in sources:
        raise Misconfigured([f"sources: found no {source!r}; allowed: {', '.join(sorted(sources)) or 'none'}"])
    adapter, setup = sources[source].adapter, sources[source].setup
    if not setup.secrets and adapter.assurance(setup) is not Assurance.NONE and adapter.keys_at(setup) is None:
        raise Misconfigured([f"sources.{source}.secrets: found nothing to sign with; allowed: one secret at least"])
    try:
        notice = adapter.sign(_sample(Path(file)), setup, datetime.now(UTC))
    except ValueError as error:
        raise Misconfigured([f"{file}: found what {source} cannot send; allowed: {error}"]) from error
    return {
        "method": notice.method,
        "path": f"/hooks/{source}",
        "query": notice.query,
        "headers": {name: value for name, value in notice.headers.items() if name not in LEFT_TO_THE_CLIENT},
        "body": base64.b64encode(notice.body).decode(),
    }


def _sample(path: Path) -> Notice:
    """Return a file as a request: one that ends in ``.http`` is a whole one, any other a body."""
    found = path.read_bytes()
    return parse_http(found) if path.suffix == HTTP_SUFFIX else Notice("POST", "", {}, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--config")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--manual", action="store_true")
    parser.add_argument("--sign", nargs=2, metavar=("SOURCE", "FILE"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
