"""A request as it was captured: start line, headers, blank line, exact body. Samples and fixtures have this form."""

from service.sources.base import Notice

LINE, END_OF_HEAD = "\r\n", b"\r\n\r\n"


def parse_http(found: bytes) -> Notice:
    """Return the request. Raises ValueError for what has no start line."""
    head, _, body = found.partition(END_OF_HEAD)
    start, *lines = head.decode("latin-1").split(LINE)
    words = start.split(" ")
    if len(words) != len(("METHOD", "TARGET", "VERSION")):
        msg = "a captured request starts with METHOD TARGET VERSION"
        raise ValueError(msg)
    headers = {line.partition(":")[0].strip().lower(): line.partition(":")[2].strip() for line in lines if line}
    return Notice(words[0], words[1].partition("?")[2], headers, body)
