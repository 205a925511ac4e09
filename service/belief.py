"""How far each configured source is believed, and why: the receiver's part of ``gatepost check``."""

from collections.abc import Iterator, Mapping

from lifecycle.check import Line
from lifecycle.config import Config
from lifecycle.event import Kind
from service.hooks import Configured
from service.sources.base import UNSIGNED, Assurance

SIGNED = {
    Assurance.SIGNED_BODY: "a signed body; a repeat is seen by its id or content",
    Assurance.SIGNED_BODY_WITH_TIME: "a signed body and time",
    Assurance.SIGNED_TOKEN: "a signed token",
}
UNPROVEN = {
    Assurance.NONE: "nothing",
    Assurance.SHARED_SECRET: "what says who sends, but signs neither body nor time",
}
NAME_ONE = "name its directory"
THIN = "most of them say only that something changed, and no directory says what"


def lines(config: Config, sources: Mapping[str, Configured]) -> Iterator[Line]:
    """Yield a line for each source."""
    for name, source in sources.items():
        assurance, directory = source.adapter.assurance(source.setup), config.sources[name].directory
        yield _line(f"sources.{name}", assurance, directory)
        if directory is None and assurance not in UNSIGNED and _is_thin(source):
            yield Line(f"sources.{name} words", None, THIN, NAME_ONE)


def _is_thin(source: Configured) -> bool:
    """Tell whether most of its words mean nothing without a look."""
    kinds = list(source.adapter.KINDS.values())
    return 2 * kinds.count(Kind.CHANGED) > len(kinds)


def _line(what: str, assurance: Assurance, directory: str | None) -> Line:
    if assurance not in UNSIGNED:
        return Line(what, True, f"proves itself by {SIGNED[assurance]}")
    proves = f"proves itself by {UNPROVEN[assurance]}"
    if directory is not None:
        return Line(what, True, f"{proves}: what it says is read in the directory {directory} before it acts")
    if assurance is Assurance.NONE:
        return Line(what, False, f"{proves}, and has no directory: none of its events act", NAME_ONE)
    return Line(what, None, f"{proves}, and has no directory: whoever learns its secret is believed", NAME_ONE)
