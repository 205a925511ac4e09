"""The manual's pages that belong to no adapter: Markdown in ``pages``, whose examples the tests run as they stand."""

from importlib.resources import files

PAGES = files("gatepost") / "pages"
SUFFIX = ".md"


def pages() -> dict[str, str]:
    """Return each page by its name."""
    return {
        page.name.removesuffix(SUFFIX): page.read_text(encoding="utf-8")
        for page in PAGES.iterdir()
        if page.name.endswith(SUFFIX)
    }
