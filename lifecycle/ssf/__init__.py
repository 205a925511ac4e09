"""Shared Signals, as the receiver and the workers speak of them: the transmitter's keys, its streams, its events."""
