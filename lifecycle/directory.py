"""``[directories.NAME]``: where the full record of a person can be read."""

from lifecycle.fields import OpenSection


class Directory(OpenSection):
    """A place to look people up in; all other keys are its adapter's own."""

    adapter: str
