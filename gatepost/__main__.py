"""``python -m gatepost``: the same as the command ``gatepost``."""

from gatepost.cli import app

app()
