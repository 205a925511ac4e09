"""``create_app``: routes, error table and lifespan in one call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lifecycle.config import Config, check_adapters, own_options
from lifecycle.config import Source as Section
from lifecycle.errors import GatepostError, Misconfigured
from lifecycle.metrics import FleetCollector
from lifecycle.queue import connect
from lifecycle.records import Records
from lifecycle.roster import roster
from service import problems
from service.api.endpoints import Api
from service.api.subscribers import SubscribersApi
from service.background import end
from service.ears import Ears
from service.health import Health
from service.hooks import METHODS, Configured, Hooks
from service.intake import Intake
from service.keys import Fetcher, IssuerKeys
from service.sources import SOURCES
from service.sources.base import UNSIGNED, Assurance, Setup
from service.ssf.transmitter import Transmitter


def create_app(config: Config) -> Starlette:
    """Return the receiver. Raises Misconfigured when a source is not one that we know or its secrets cannot be its."""
    sources = configured_sources(config)
    redis = connect(config.redis.url, patient=False)
    registry = CollectorRegistry()
    registry.register(FleetCollector(redis, lambda: roster(redis, config).unusable))
    intake = Intake(config.redis.url)
    ears = Ears(intake)
    hooks = Hooks(sources, intake, ears, registry)
    api = Api(Records(redis, config), hooks, list(sources), config.policy.restore_within)
    tokens = [token.value for token in config.service.admin_tokens]
    health = Health(redis, registry)
    transmitter = Transmitter(redis, config, config.ssf) if config.ssf else None
    fetcher = Fetcher([each.setup.keys for each in sources.values() if isinstance(each.setup.keys, IssuerKeys)], intake)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await fetcher.load()
        beside = [asyncio.create_task(work) for work in (ears.write_on(), fetcher.fetch_on())]
        await fetcher.ask_first()
        yield
        await end(beside)
        if transmitter:
            await transmitter.close()
        await intake.close()
        redis.close()

    app = Starlette(
        routes=[
            Route("/hooks/{source}", hooks, methods=METHODS),
            Route("/health/live", health.live),
            Route("/health/ready", health.ready),
            Route("/metrics", health.metrics),
            Route("/openapi.yaml", openapi),
            *api.routes(tokens),
            *SubscribersApi(redis, config).routes(tokens),
            *(transmitter.routes() if transmitter else ()),
        ],
        exception_handlers={
            GatepostError: problems.on_error,
            HTTPException: problems.on_http_error,
            Exception: problems.on_fault,
        },
        lifespan=lifespan,
    )
    # A redirect would name the host that the sender made up.
    app.router.redirect_slashes = False
    return app


def configured_sources(config: Config) -> dict[str, Configured]:
    """Join each configured source with its module. Raises Misconfigured."""
    check_adapters("sources", {name: source.adapter for name, source in config.sources.items()}, SOURCES)
    found, lines = {}, []
    for name, section in config.sources.items():
        try:
            found[name] = _configured(name, section, config.service.max_body_bytes)
        except Misconfigured as error:
            lines += error.lines
    if lines:
        raise Misconfigured(lines)
    return found


def _configured(name: str, section: Section, body_bytes_max: int) -> Configured:
    adapter = SOURCES[section.adapter]
    options = own_options(f"sources.{name}", section, adapter.Options)
    secrets = tuple(secret.value for secret in section.secrets)
    setup = Setup(name, secrets, options, timezone=section.timezone)
    try:
        adapter.check(setup)
    except ValueError as error:
        what = "one that is not a secret of this source" if secrets else "nothing"
        line = f"sources.{name}.secrets: found {what}; allowed: {error}"
        raise Misconfigured([line]) from error
    if (keys_at := adapter.keys_at(setup)) is not None:
        setup = replace(setup, keys=IssuerKeys(name, keys_at))
    assurance = adapter.assurance(setup)
    # What is only a secret's word is taken where there is no directory; what is nobody's word never is.
    rereads = assurance in UNSIGNED and (section.directory is not None or assurance is Assurance.NONE)
    limit = section.max_body_bytes or max(body_bytes_max, adapter.BODY_BYTES_MIN)
    return Configured(name, adapter, setup, rereads, assurance is Assurance.NONE, limit)


async def openapi(_request: Request) -> Response:
    """``GET /openapi.yaml``: the document as written by hand, from the package or from the checkout."""
    packaged = files("service").joinpath("openapi.yaml")
    path = packaged if packaged.is_file() else Path(__file__).parent.parent / "openapi" / "openapi.yaml"
    return Response(path.read_bytes(), media_type="application/yaml")
