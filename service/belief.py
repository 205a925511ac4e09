"""How far each configured source is believed, and why: the receiver's part of ``gatepost check``."""

from collections.abc import Iterator, Mapping

from lifecycle.check import Line
from lifecycle.config import Config
from service.hooks import Configured
from service.sources.base import UNSIGNED, Assurance

SIGNED = {
    Assurance.SIGNED_BODY: "a signed body; a repeat is seen by its id or content",
    Assurance.SIGNED_BODY_WITH_TIME: "a signed body and time",
    Assurance.SIGNED_TOKEN: "a signed token",
}
UNPROVEN = {
    Assurance.NONE: "nothing",
    Assurance.SHARED_SECRET: "a secret, and signs neither body nor time",
}
NAME_ONE = "name its directory"


def lines(config: Config, sources: Mapping[str, Configured]) -> Iterator[Line]:
    """Yield a line for each source."""
    for name, source in sources.items():
        yield _line(f"sources.{name}", source.adapter.assurance(source.setup), config.sources[name].directory)


def _line(what: str, assurance: Assurance, directory: str | None) -> Line:
    if assurance not in UNSIGNED:
        return Line(what, True, f"proves itself by {SIGNED[assurance]}")
    proves = f"proves itself by {UNPROVEN[assurance]}"
    if directory is not None:
        return Line(what, True, f"{proves}: what it says is read in the directory {directory} before it acts")
    if assurance is Assurance.NONE:
        return Line(what, False, f"{proves}, and has no directory: none of its events act", NAME_ONE)
    return Line(what, None, f"{proves}, and has no directory: whoever learns the secret is believed", NAME_ONE)
