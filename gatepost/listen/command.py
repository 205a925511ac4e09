"""The command's options, and what it says before it listens."""

import socket
from typing import Annotated

import typer

from gatepost.listen.expected import Options, expected
from gatepost.listen.server import Endpoint, listening, run
from gatepost.listen.shown import say
from gatepost.options import ConfigOption, HostOption, JsonOption, PortOption

PORT_DEFAULT = 8900

SecretsOption = Annotated[
    list[str],
    typer.Option(
        metavar="REFERENCE", help="env:NAME or file:PATH of a whsec_, whsk_ or whpk_ secret; as often as needed."
    ),
]
SubscriberOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Take what a subscriber of the configuration is signed with.")
]
JwksOption = Annotated[
    str | None,
    typer.Option(metavar="FILE_OR_URL", help="Keys of Security Event Tokens; else those of the configuration."),
]
IssuerOption = Annotated[str | None, typer.Option(help="The iss of the tokens; else that of the configuration.")]
AudienceOption = Annotated[str | None, typer.Option(help="The aud of the tokens.")]
OnceOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="End after N deliveries; exit 1 unless all of them came and verified."),
]
AnswerOption = Annotated[
    int | None,
    typer.Option(min=200, max=599, metavar="STATUS", help="What is answered to what verifies; else 204, a token 202."),
]


def listen(  # noqa: PLR0913 - options
    *,
    secret: SecretsOption = [],  # noqa: B006 - typer copies it
    subscriber: SubscriberOption = None,
    jwks: JwksOption = None,
    issuer: IssuerOption = None,
    audience: AudienceOption = None,
    once: OnceOption = None,
    answer: AnswerOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = PORT_DEFAULT,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Verify signals as they come and show each: an endpoint on this machine for whoever builds a subscriber.

    Shown are time, type, person, target and id, by which secret or key it was verified or why not, and how often it
    came. Any path will do. What does not verify is answered 401, a Security Event Token 400, with the reason. Nothing
    is kept, and no Redis is needed.

    With a subscriber of gatepost.toml:

        gatepost listen --subscriber siem

    With a secret alone; --answer 500 shows the retries of one signal, --answer 410 what "gone" does:

        gatepost listen --secret env:SIEM_WHSEC --answer 500

    Security Event Tokens, by the keys that Gatepost publishes:

        gatepost listen --jwks https://gatepost.acme.example/.well-known/jwks.json
            --issuer https://gatepost.acme.example --audience https://siem.acme.example

    In a script: wait for one signal, and fail if it does not verify:

        gatepost listen --subscriber siem --once 1 --json

    How to verify them in your own code: gatepost manual signals
    """
    wanted = expected(Options(secret, subscriber, jwks, issuer, audience, config))
    endpoint = Endpoint(wanted.formats, answer=answer, as_json=json, number_max=once)
    with listening(host, port) as at:
        url = _url(at)
        say(f"Listening on {url}; Ctrl-C ends it")
        if wanted.hint:
            say(wanted.hint.format(url=url))
        raise typer.Exit(run(endpoint, at))


def _url(at: socket.socket) -> str:
    host, port = at.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
