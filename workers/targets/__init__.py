"""The targets: one line each, listed by hand so that the type checker holds each module to the protocol."""

from collections.abc import Mapping

from workers.targets import genesys_cloud, scim
from workers.targets.base import Target

TARGETS: Mapping[str, Target] = {
    "genesys_cloud": genesys_cloud,
    "scim": scim,
}
