"""The endpoints of the Shared Signals transmitter: discovery, tokens, streams, and where streams are polled."""
