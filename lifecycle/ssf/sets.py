"""From a signal to Security Events: which are sent of it, and what each says. Pure.

One Security Event Token has one event; all of one cause have the same ``txn``.
"""

from collections.abc import Sequence

from lifecycle.signal import Told
from lifecycle.ssf.section import Shape


def items(signal: Told, shape: Shape, wanted: Sequence[str] | None) -> list[str]:
    """Return the items of a signal: one for each event of it that is wanted, in the order in which they are sent."""
    raise NotImplementedError
