"""From options and configuration to what the endpoint believes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from gatepost.listen.keys import Keys, KeySet, OwnKeys
from gatepost.listen.server import Formats
from gatepost.listen.tokens import NoTokens, Tokens
from gatepost.listen.webhooks import Webhooks
from lifecycle.config import Config, config_path, load
from lifecycle.errors import Misconfigured
from lifecycle.secrets import Secret
from lifecycle.subscriber import STANDARD_WEBHOOKS, Subscriber

_SECRET: TypeAdapter[Secret] = TypeAdapter(Secret)


class Options(NamedTuple):
    """What the command line names."""

    secrets: Sequence[str] = ()
    subscriber: str | None = None
    jwks: str | None = None
    issuer: str | None = None
    audience: str | None = None
    config: str | None = None


class Expected(NamedTuple):
    """What is believed, and how its sender is told where to send."""

    formats: Formats
    hint: str


def expected(options: Options) -> Expected:
    """Return what is believed. Raises Misconfigured."""
    secrets = [_secret(each) for each in options.secrets]
    if options.subscriber is not None:
        return _of_subscriber(options, secrets)
    wants_tokens = any((options.jwks, options.issuer, options.audience))
    if not secrets and not wants_tokens:
        line = "found nothing to verify with; allowed: --secret, --subscriber, or --jwks with --issuer and --audience"
        raise Misconfigured([line])
    return Expected(Formats(Webhooks(secrets), _tokens(options) if wants_tokens else NoTokens()), "")


def _secret(reference: str) -> Secret:
    """Read a secret that the command line refers to: one that is written there would stay in its history."""
    try:
        return _SECRET.validate_python(reference, context={"base": Path()})
    except ValidationError as error:
        found = reference if reference.startswith(("env:", "file:")) else "a literal"
        why = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        line = f"--secret: found {found}; {why}"
    raise Misconfigured([line])


def _tokens(options: Options) -> Tokens:
    """Return what tokens must be: of the configuration's own issuer, where no keys are named."""
    if options.audience is None:
        raise Misconfigured(["--audience: found nothing; allowed: the aud of the tokens"])
    if options.jwks is not None:
        if options.issuer is None:
            raise Misconfigured(["--issuer: found nothing; allowed: the iss of the tokens whose keys --jwks has"])
        return Tokens(KeySet(options.jwks), options.issuer, options.audience)
    keys, issuer = _ours(load(config_path(options.config)))
    return Tokens(keys, options.issuer or issuer, options.audience)


def _ours(config: Config) -> tuple[Keys, str]:
    """Return the keys and the issuer of the configuration."""
    if config.ssf is None:
        raise Misconfigured(["ssf: found nothing; allowed: [ssf] with issuer and signing_keys, or keys by --jwks"])
    return OwnKeys(config.ssf.signing_keys), config.ssf.issuer


def _of_subscriber(options: Options, secrets: Sequence[Secret]) -> Expected:
    config = load(config_path(options.config))
    name = str(options.subscriber)
    if name not in config.subscribers:
        names = ", ".join(sorted(config.subscribers)) or "none"
        line = f"subscribers: found no {name!r}; allowed: {names}; of one that was made by the API, --secret"
        raise Misconfigured([line])
    found = config.subscribers[name]
    if found.format == STANDARD_WEBHOOKS:
        formats = Formats(Webhooks([*found.secrets, *secrets]), NoTokens())
    else:
        keys, issuer = _ours(config)
        formats = Formats(Webhooks(secrets), Tokens(keys, issuer, str(found.audience), found.token))
    return Expected(formats, _hint(name, found))


def _hint(name: str, subscriber: Subscriber) -> str:
    private = "" if subscriber.allow_private else " and allow_private = true"
    return f'To let them come here: [subscribers.{name}] with url = "{{url}}"{private}. It is {subscriber.url} now.'
