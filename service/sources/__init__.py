"""The sources: one line each, listed by hand so that the type checker holds each module to the protocol."""

from collections.abc import Mapping

from service.sources import (
    auth0,
    bamboohr,
    deel,
    entra_graph,
    entra_workflows,
    event_grid,
    finch,
    google_directory,
    gusto,
    hibob,
    jumpcloud,
    mapped,
    merge,
    okta,
    onelogin,
    personio,
    pingone,
    rippling,
    ssf,
    standard_webhooks,
    workos,
)
from service.sources.base import Source

SOURCES: Mapping[str, Source] = {
    "auth0": auth0,
    "bamboohr": bamboohr,
    "deel": deel,
    "entra_graph": entra_graph,
    "entra_workflows": entra_workflows,
    "event_grid": event_grid,
    "finch": finch,
    "google_directory": google_directory,
    "gusto": gusto,
    "hibob": hibob,
    "hmac": mapped,
    "jumpcloud": jumpcloud,
    "merge": merge,
    "okta": okta,
    "onelogin": onelogin,
    "personio": personio,
    "pingone": pingone,
    "rippling": rippling,
    "ssf": ssf,
    "standard_webhooks": standard_webhooks,
    "workos": workos,
}
