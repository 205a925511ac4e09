"""The pages of the sources, from their modules."""

from collections.abc import Mapping

from lifecycle import manual
from service.sources import SOURCES
from service.sources.base import Source


def pages() -> Mapping[str, str]:
    """Return each source's page in Markdown, by the name of its adapter."""
    return {name: _page(name, source) for name, source in SOURCES.items()}


def _page(name: str, source: Source) -> str:
    kinds = {word: str(kind) for word, kind in source.KINDS.items()}
    return manual.page(name, source.__doc__, source.Options, kinds)
