"""The targets: one line each, listed by hand so that the type checker holds each module to the protocol."""

from collections.abc import Mapping

from workers.targets import scim
from workers.targets.base import Target

TARGETS: Mapping[str, Target] = {
    "scim": scim,
}
