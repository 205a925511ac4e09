"""What is forgotten of a subscriber that is gone: whoever comes by its name hears nothing old, and stands well."""

from redis import Redis

from lifecycle import keys, metrics, outbox

FAILED_BATCH = 500


def forget(redis: Redis, name: str, reason: str) -> int:
    """Drop what waits for a name, and how whoever had it stood; the deliveries that have ended stay.

    Return how many were dropped. The caller sees to it that nothing more is fanned out to that name.
    """
    dropped = drop(redis, name, reason)
    with redis.pipeline() as pipe:
        pipe.delete(keys.subscriber(name))
        metrics.forget_subscriber(pipe, name)
        pipe.execute()
    return dropped


def drop(redis: Redis, name: str, reason: str) -> int:
    """Drop what waits for a name, and what it never took, but remember how it stands; return how many waited."""
    dropped = outbox.drop_all(redis, name, reason)
    while items := outbox.failed(redis, name, FAILED_BATCH):
        outbox.forget_failed(redis, name, items)
    redis.srem(keys.SUBSCRIBER_NAMES, name)
    return dropped
