"""Subscribers: formats of signals, and the guard against forged addresses."""
