"""The lane of signals: from the outbox to the subscribers, by one process that waits for many answers at once.

It is no RQ worker: one that waits for a slow subscriber would hold up all others, and a job for each delivery would
cost the step that settles an event a fifth of a millisecond a subscriber.
"""
