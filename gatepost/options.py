"""Options that several commands have."""

from typing import Annotated

import typer

ConfigOption = Annotated[str | None, typer.Option("--config", help="Else $GATEPOST_CONFIG, else ./gatepost.toml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")]
