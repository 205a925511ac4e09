"""Events that we or an operator make: kept by the same step as those of sources, inside of a step of the caller's."""

from collections.abc import Sequence

from redis.client import Pipeline

from lifecycle import keys
from lifecycle.queue import PUT, JobWriter, put_arguments
from lifecycle.settlement import Made


def keep(pipe: Pipeline, made: Sequence[Made], writer: JobWriter) -> None:
    """Keep events and offer them to the workers, in the caller's atomic step."""
    if made:
        pipe.eval(PUT, 0, *put_arguments([each.event for each in made], writer))
    for each in made:
        pipe.rpush(keys.trace(each.event.ref), each.step.to_json())
