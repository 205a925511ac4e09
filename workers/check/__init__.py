"""``python -m workers.check``: what each directory and target is like now, a JSON line for each thing looked at.

Nothing is written to a target, and what is said names no person: the values of filters stay here.
"""
