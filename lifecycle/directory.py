"""``[directories.NAME]``: where the full record of a person can be read."""

from lifecycle.fields import FilePath, Section


class Directory(Section):
    """A place to look people up in."""

    adapter: str
    path: FilePath
    """Relative to the configuration, unless it is absolute."""
