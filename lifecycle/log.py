"""Logs: one JSON line for one thing done, ``noun.verbed`` and facts; secrets and personal data never."""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

FRAMES_MAX = 8
REDACTED = "[redacted]"
SECRET_NAMES = frozenset(
    {"authorization", "token", "secret", "secrets", "password", "body", "cookie", "profile", "email"}
)


def _redact(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in SECRET_NAMES & line.keys():
        line[name] = REDACTED
    return line


def set_up_logs(program: str, level: int = logging.INFO) -> None:
    """Write this program's lines to standard error; other libraries' warnings take the same way."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(program=program)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def fault(error: BaseException) -> dict[str, object]:
    """Return what a fault is and where it happened, without its text, which may hold what somebody sent."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return {
        "error": type(error).__name__,
        "where": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
