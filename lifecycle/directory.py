"""``[directories.NAME]``: where the full record of a person can be read."""

from lifecycle.fields import Section, Words


class Directory(Section):
    """A place to look people up in."""

    adapter: str
    path: Words
