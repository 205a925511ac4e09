"""What vendors' documents are read with, where the contract of the sources does not tell it."""

from time import thread_time

import pytest

from lifecycle.errors import Unreadable
from service.sources.documents import ENTRIES_MAX, event_id, json_entries

SECONDS_MAX = 0.5


@pytest.mark.parametrize("line", [b"x\n", b"{\n", b"[[[[[[[[\r\n", b"{}\n"], ids=repr)
def test_lines_are_counted_before_they_are_read(line: bytes) -> None:
    """Four megabytes of what is no JSON keep nobody else waiting: they take little of the processor."""
    body = line * (4_000_000 // len(line))
    begun = thread_time()

    with pytest.raises(Unreadable) as refused:
        json_entries(body)

    assert refused.value.reason == "too_many_events"
    assert thread_time() - begun < SECONDS_MAX


def test_as_many_lines_as_may_be_are_read_one_by_one() -> None:
    """Blank ones do not count, and one that is no JSON comes back as it is."""
    found = json_entries(b'{"a": 1}\n\n' * (ENTRIES_MAX - 1) + b"x")

    assert (len(found), found[0], found[-1]) == (ENTRIES_MAX, {"a": 1}, b"x")


@pytest.mark.parametrize("found", [None, "", "x" * 257, "evt-\ud83d", "\udfff"], ids=repr)
def test_id_that_could_be_no_name_is_refused(found: str | None) -> None:
    """Such as half an emoji, which JSON can escape and no encoding can say: it could not be kept."""
    with pytest.raises(Unreadable):
        event_id(found)


def test_id_may_have_any_letters() -> None:
    """A vendor's id is the vendor's."""
    assert event_id("ereignis-ü-\U0001f600") == "ereignis-ü-\U0001f600"
