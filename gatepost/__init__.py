"""The command people type.

It starts the programs as processes and talks to them over HTTP and Redis; of ours it imports ``lifecycle`` only.
"""
