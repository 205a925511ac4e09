"""Groups that contain groups: a group that contains itself, at whatever distance, is a mistake. Pure."""

from collections.abc import Iterable, Mapping


def circle(inner: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the groups of one circle, the first one again at the end; none when there is no circle.

    A group that is reached by two ways is none.
    """
    done: set[str] = set()
    for start in inner:
        way: list[str] = []
        left = [iter([start])]
        while left:
            group = next(left[-1], None)
            if group is None:
                left.pop()
                if way:
                    done.add(way.pop())
            elif group in way:
                return [*way[way.index(group) :], group]
            elif group not in done:
                way.append(group)
                left.append(iter(inner.get(group, ())))
    return []
