"""A request as it was captured: start line, headers, blank line, exact body. Samples and fixtures have this form.

Lines of the head end with CR LF, or with LF where somebody wrote them with an editor.
"""

import re

from service.sources.base import Notice

END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


def parse_http(found: bytes) -> Notice:
    """Return the request. Raises ValueError for what has no start line."""
    head, body = [*END_OF_HEAD.split(found, 1), b""][:2]
    start, *lines = (line.removesuffix("\r") for line in head.decode("latin-1").split("\n"))
    words = start.split(" ")
    if len(words) != len(("METHOD", "TARGET", "VERSION")):
        msg = "a captured request starts with METHOD TARGET VERSION"
        raise ValueError(msg)
    headers = {line.partition(":")[0].strip().lower(): line.partition(":")[2].strip() for line in lines if line}
    return Notice(words[0], words[1].partition("?")[2], headers, body)
