"""Whether two persons are one human of whom two sources speak; and the one that they make together."""

from functools import partial

from lifecycle.config import Config
from lifecycle.links import Links
from lifecycle.person import Person, alias_of, joined
from workers.order import Order
from workers.tenure import overruled, remembered, standing, words_of


def twin(config: Config, links: Links, person: Person) -> Person | None:
    """Return the person who is the same human as this one, by the fields that the policy links by; None for nobody."""
    names = {alias_of(field, value) for field in config.policy.link_by if (value := person.value(field))}
    found = [other for other in links.holders(sorted(names)).values() if other.key != person.key]
    return next((other for other in found if may_be_one(person, other)), None)


def may_be_one(one: Person, other: Person) -> bool:
    """Tell whether nothing speaks against it.

    A source that has two ids means two humans. So do two accounts on one target; and whoever joins after the other left
    may be the next one to whom the address was given.
    """
    theirs = {target: account.id for target, account in other.accounts.items()}
    mine = {target: account.id for target, account in one.accounts.items()}
    return not (
        any(mine[target] != theirs[target] for target in mine.keys() & theirs.keys())
        or any(_ids(one, source).isdisjoint(_ids(other, source)) for source in _sources(one) & _sources(other))
        or _came_after(one, other)
        or _came_after(other, one)
    )


def united(config: Config, person: Person, other: Person) -> Person:
    """Return the one human of two persons, under the other's key: of each field the word that counts more."""
    order = Order.of(config)
    facts = dict(other.facts)
    for name, fact in person.facts.items():
        facts[name] = max(fact, facts.get(name, fact), key=partial(order.rank, name))
    words = {word.event: word for each in (person, other) for word in words_of(each)}
    hired = dict(other.hired)
    for source, first in person.hired.items():
        hired[source] = min(first, hired.get(source, first))
    taken_back = {word.event: word for each in (person, other) for word in each.taken_back}
    out = overruled(words.values(), taken_back.values(), hired)
    counting = [word for word in words.values() if word.event not in out]
    taken_back |= {ref: words[ref] for ref in out}
    return other.model_copy(
        update={
            "facts": facts,
            "status": standing(order, counting),
            "words": remembered(counting),
            "taken_back": remembered(taken_back.values()),
            "hired": hired,
            "ids": tuple(sorted({*person.ids, *other.ids})),
            "accounts": {**person.accounts, **other.accounts},
            "deleted": {**person.deleted, **other.deleted},
            "holds": joined(other.holds, person.holds),
            "dropped": joined(other.dropped, person.dropped),
        }
    )


def _came_after(one: Person, left: Person) -> bool:
    """Tell whether somebody joined after another had left; of whom nobody says so yet, that may still be said."""
    if not left.has_left or left.status is None or one.has_left:
        return False
    return one.status is None or one.status.at > left.status.at


def _sources(person: Person) -> set[str]:
    return {each.partition(":")[0] for each in person.ids}


def _ids(person: Person, source: str) -> set[str]:
    return {each for each in person.ids if each.startswith(f"{source}:")}
