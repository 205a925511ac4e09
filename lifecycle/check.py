"""One line of ``gatepost check``, as the programs that look tell it to the command that shows it."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Line:
    """What was looked at, whether it is well, what was found, and what to do about it."""

    what: str
    ok: bool | None
    """None where it may or may not be well, or could not be seen: nobody has to act before the start."""
    found: str
    do: str = ""

    def to_json(self) -> str:
        """Write the line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Line":
        """Read a line. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(text))
