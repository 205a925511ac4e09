"""Whether a person works here: of all words on it, which were taken back, and which one counts. Pure.

A word is what one joiner or leaver says: told at one moment, of this moment or of a later one. Each pair of words is
judged by their times alone, so the order of arrival decides nothing:

* a leaver takes back the joiners of its own moment or later ones that were told before it: who leaves before the first
  day does not come;
* a joiner that holds at once takes back the leavers of its own source that were ahead when it was told: the person
  stays. So does one of a later day before the leave, of somebody who worked here when the leave was told; of anybody
  else the two are the begin and the end of one contract;
* of two leavers of one source, or of two joiners, the newer one moves the older one that was still ahead, unless the
  person comes or goes in between.

Only its own source, or an operator, takes a leave back: another's joiner knows nothing of it. What a directory shows
takes back nothing. Of the words that are left the latest counts, by when they hold.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from lifecycle.event import OPERATOR
from lifecycle.person import Fact, Person, Status
from workers.order import Order

WORDS_MAX = 20

Hired = Mapping[str, datetime]


def words_of(person: Person) -> tuple[Fact, ...]:
    """Return the words on the status that took effect."""
    return person.words or ((person.status,) if person.status else ())


def standing(order: Order, words: Collection[Fact]) -> Fact | None:
    """Return the word that counts."""
    return max(words, key=order.status_rank, default=None)


def remembered(words: Iterable[Fact]) -> tuple[Fact, ...]:
    """Return the words to remember, the latest of them."""
    return tuple(sorted(words, key=lambda word: (word.at, word.told, word.event))[-WORDS_MAX:])


def overruled(words: Collection[Fact], taken_back: Collection[Fact], hired: Hired) -> dict[str, str]:
    """Return, by ref of a word that was taken back or moved, the ref of the newest that did it.

    What was itself taken back had taken back others before, which may be heard of later.
    """
    newest_first = sorted([*words, *taken_back], key=lambda word: (word.told, word.event), reverse=True)
    found = {}
    for old in words:
        by = next((new for new in newest_first if _takes_back(new, old, hired)), None)
        by = by or next((new for new in newest_first if _moves(new, old, newest_first)), None)
        if by is not None:
            found[old.event] = by.event
    return found


def _takes_back(new: Fact, old: Fact, hired: Hired) -> bool:
    if not _was_ahead(new, old):
        return False
    if _leaves(new):
        return not _leaves(old) and new.at <= old.at
    if not _leaves(old) or new.source not in {old.source, OPERATOR}:
        return False
    is_here = old.source in hired and hired[old.source] <= old.told
    return new.at == new.told or (is_here and new.at < old.at)


def _moves(new: Fact, old: Fact, others: Sequence[Fact]) -> bool:
    if not _was_ahead(new, old) or new.value != old.value or new.source != old.source:
        return False
    # Told of two stays, with a leave and a return for each, the later one moves nothing of the earlier.
    return not any(
        other.value != old.value and other.told <= new.told and _place(old) < _place(other) < _place(new)
        for other in others
    )


def _was_ahead(new: Fact, old: Fact) -> bool:
    """Tell whether the older word had still to take effect when the newer one was told.

    A directory knows nothing of what is planned, so what was found there takes back nothing.
    """
    return not new.found and new.told > old.told and old.at > new.told


def _place(word: Fact) -> tuple[datetime, bool]:
    """Return where a word has its place among others: at equal times a leaver wins."""
    return word.at, _leaves(word)


def _leaves(word: Fact) -> bool:
    return bool(word.value == Status.LEFT.value)
