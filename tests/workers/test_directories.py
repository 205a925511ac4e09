"""What is found in a file of people; and that a record is only taken for whom was asked for."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.directory import Directory as Section
from lifecycle.errors import GatepostError, Held, Misconfigured, Postponed, Refused
from lifecycle.event import Profile
from tests.workers.stories import AT
from workers.check.directory import look_at
from workers.directories import opened, rows
from workers.directories.base import Record, Subject, the_one
from workers.directories.file import FileDirectory, Table

CSV = """\
external_id,user_name,email,display_name,department,groups,custom.badge,status
E1042,bo,Bo.Ray@acme.example,"Ray, Bo",Support,Agents; Night,7,Active
E7,ada,ada@acme.example,Ada,,,,terminated
"""
JSONL = """\
{"external_id": 1042, "user_name": "bo", "display_name": "Ray, Bo", "groups": ["Agents"], "active": true}

{"external_id": "E7", "email": "ada@acme.example", "custom": {"desk": 3}, "custom.badge": 1, "active": "false"}
"""
BO = Subject(external_id="E1042")

Write = Callable[..., FileDirectory]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of people and open it; it was written an hour ago unless a test says otherwise."""

    def make(text: str | bytes, name: str = "people.csv", at: float | None = None) -> FileDirectory:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        moment = at if at is not None else datetime.now(UTC).timestamp() - 3_600
        os.utime(path, (moment, moment))
        return FileDirectory(path)

    return make


def found(directory: FileDirectory, subject: Subject = BO) -> Record:
    """Return the one record of somebody."""
    (record,) = directory.find(subject)
    return record


# ---- what a row says


def test_row_of_a_csv_is_a_person(write: Write) -> None:
    """Columns are a person's fields; an empty cell is a null, and what was so was so when the file was written."""
    directory = write(CSV, at=AT.timestamp())

    bo, ada = found(directory), found(directory, Subject(email="ADA@acme.example"))

    assert bo == (
        Profile(
            external_id="E1042",
            user_name="bo",
            email="Bo.Ray@acme.example",
            display_name="Ray, Bo",
            department="Support",
            groups=["Agents", "Night"],
            custom={"badge": "7"},
        ),
        True,
        AT,
    )
    assert (ada.works_here, ada.profile.told()["department"], ada.profile.custom) == (False, None, {"badge": None})
    assert "title" not in ada.profile.told()


@pytest.mark.parametrize("name", ["people.jsonl", "people.ndjson", "PEOPLE.JSONL"])
def test_line_of_json_is_a_person(write: Write, name: str) -> None:
    """Numbers are texts, as in a notice; custom fields may be a map, or stand beside the others, or both."""
    directory = write(JSONL, name)

    bo, ada = found(directory, Subject(external_id="1042")), found(directory, Subject(external_id="E7"))

    assert (bo.profile.display_name, bo.profile.groups, bo.works_here) == ("Ray, Bo", ["Agents"], True)
    assert (ada.profile.custom, ada.works_here) == ({"desk": 3, "badge": 1}, False)


@pytest.mark.parametrize("word", [*rows.STATUSES["status"], " LEFT ", "Active"])
def test_words_of_a_status(write: Write, word: str) -> None:
    """Letter case does not count."""
    works_here = rows.STATUSES["status"][word.strip().lower()]

    assert found(write(f"external_id,status\nE1042,{word}\n")).works_here is works_here


@pytest.mark.parametrize("word", ["", "on leave", "lef", "true"])
def test_status_in_other_words_is_not_guessed(write: Write, word: str) -> None:
    """That person's event fails, with the line and no value; the others are found."""
    directory = write(f"external_id,status\nE1042,{word}\nE7,left\n")

    with pytest.raises(Refused) as caught:
        directory.find(BO)

    assert (caught.value.reason, "line 2" in caught.value.message) == ("status_unknown", True)
    assert found(directory, Subject(external_id="E7")).works_here is False


def test_value_that_cannot_be_a_persons_is_refused(write: Write) -> None:
    """It names line and field, and not the value."""
    directory = write(f"external_id,title,status\nE1042,{'x' * 3_000},active\n")

    with pytest.raises(Refused) as caught:
        directory.find(BO)

    assert (caught.value.reason, caught.value.message) == ("record_unusable", "line 2: title cannot be a person's")


def test_json_that_no_text_can_hold_is_refused(write: Write) -> None:
    """Half of a surrogate pair is no character: it would end the step that writes it."""
    with pytest.raises(Refused):
        write('{"external_id": "E1042", "custom": {"a": "\\ud800"}, "active": true}\n', "p.jsonl").find(BO)


@pytest.mark.parametrize("told", ["", '"custom": null,', '"custom": "x",'])
def test_custom_field_beside_a_map_that_is_none(write: Write, told: str) -> None:
    """What stands beside it counts."""
    line = f'{{"external_id": "E1042", {told} "custom.badge": 7, "active": true}}\n'

    assert found(write(line, "people.jsonl")).profile.custom == {"badge": 7}


def test_id_that_is_left_out_says_nothing_of_it(write: Write) -> None:
    """Else a blank cell would take the id from a person."""
    directory = write("external_id,user_name,email,status\n,bo,,active\n")

    told = found(directory, Subject(user_name="BO")).profile.told()

    assert told == {"user_name": "bo", "email": None}


def test_byte_order_mark_and_other_line_ends_are_taken(write: Write) -> None:
    """As a spreadsheet writes it."""
    assert found(write(b"\xef\xbb\xbfexternal_id,status\r\nE1042,active\r\n\r\n")).works_here is True


# ---- a file that is not believed

BROKEN = {
    "a cell too few": (b"external_id,title,status\nE1042,Agent,active\nE7,Bo", "line 3: 2 cells; the header has 3"),
    "a cell too many": (b"external_id,status\nE7,active,Bo\n", "line 2: 3 cells; the header has 2"),
    "a quote": (b'external_id,status\nE7,"act', "line 2: no CSV"),
    "bytes": (b"external_id,status\nE1042,active\nE\xff7,left\n", "line 3: not UTF-8"),
    "nothing": (b"", "line 1: the header has neither"),
    "a header alone": (b"external_id,status\n", "the file has nobody in it"),
    "no status": (b"external_id,title\nE1042,Bo\n", "line 1: the header has neither of status and active"),
    "two of them": (b"external_id,status,active\nE1042,left,true\n", "line 1: the header has both"),
    "no name": (b"title,status\nBo,left\n", "line 1: the header has none of external_id, user_name, email"),
    "twice": (b"external_id,title,title,status\nE1042,a,b,left\n", "line 1: the header has a column twice"),
    "a long line": (
        b"external_id,title,status\nE1042," + b"x" * 70_000 + b",left\n",
        "line 2: longer than 65536 bytes",
    ),
}
BROKEN_JSON = {
    "half a line": (b'{"external_id": "E1042", "active": true}\n{"external_id": "E7", "act', "line 2: not JSON"),
    "no object": (b'["E1042"]\n', "line 1: no JSON object"),
    "depth": (b"[" * 60_000 + b"\n", "line 1: not JSON"),
    "nothing": (b"\n", "the file has nobody in it"),
}


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        *(("people.csv", *broken) for broken in BROKEN.values()),
        *(("people.jsonl", *broken) for broken in BROKEN_JSON.values()),
    ],
    ids=[*BROKEN, *(f"json {what}" for what in BROKEN_JSON)],
)
def test_file_that_is_malformed_is_not_believed_in_any_part(write: Write, name: str, text: bytes, fault: str) -> None:
    """It may have been cut: whoever is in it waits, and the fault names its line and nobody."""
    directory = write(text, name)

    for _ in range(2):
        with pytest.raises(Postponed) as caught:
            directory.find(BO)

        assert caught.value.reason == "directory_unreadable"
        assert caught.value.message.startswith(fault)
        assert not [word for word in ("Bo", "E7", "E1042") if word in caught.value.message]


@pytest.mark.parametrize(("name", "most"), [("ROWS_MAX", 1), ("FILE_BYTES_MAX", 40)])
def test_file_that_is_more_than_we_hold(write: Write, name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is named."""
    monkeypatch.setattr(rows, name, most)

    with pytest.raises(Postponed) as caught:
        write("external_id,status\nE1042,active\nE7,left\nE8,left\nE9,left\n").find(BO)

    assert (caught.value.reason, str(most) in caught.value.message) == ("directory_too_large", True)


def test_file_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """It may be on its way; a folder or a pipe is none, and nobody waits for one to be written to."""
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")

    faults = []
    for name in ("people.csv", "folder.csv", "pipe.csv"):
        with pytest.raises(Postponed) as caught:
            FileDirectory(tmp_path / name).find(BO)
        faults.append(caught.value.message)

    assert faults == ["the file cannot be read (No such file or directory)", "this is no file", "this is no file"]


def test_file_that_changes_while_it_is_read_is_waited_for(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes in place shows half of it."""
    directory = write(CSV)

    def meanwhile(*arguments: object) -> list[str]:
        write(CSV + "E8,x,x@acme.example,,,,,active\n")
        return []

    monkeypatch.setattr("workers.directories.file.unread_columns", meanwhile)
    with pytest.raises(Postponed) as caught:
        directory.find(BO)

    assert "is being written" in caught.value.message


# ---- again and again


def test_file_is_read_once_for_each_time_it_was_written(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many look-ups cost one reading; one that is replaced is read again, in whatever way it was replaced."""
    reads: list[FileDirectory] = []
    read = FileDirectory._read

    def counted(directory: FileDirectory) -> Table | Postponed:
        reads.append(directory)
        return read(directory)

    monkeypatch.setattr(FileDirectory, "_read", counted)
    directory = write("external_id,status\nE1042,active\n", at=AT.timestamp())

    before = [found(directory).works_here for _ in range(5)]
    write("external_id,status\nE1042,left\n", at=AT.timestamp() + 1)
    after = found(directory)

    assert (before, after.works_here, after.as_of.timestamp() - AT.timestamp()) == ([True] * 5, False, 1)
    assert len(reads) == 2


def test_file_that_was_just_written_is_read_again(write: Write) -> None:
    """Within the clock's step it may be written once more, and be as long."""
    now = datetime.now(UTC).timestamp()
    directory = write("external_id,status\nE1042,active\n", at=now)
    before = found(directory).works_here

    write("external_id,status\nE1042,left  \n", at=now)

    assert (before, found(directory).works_here) == (True, False)


def test_file_of_the_future_tells_of_now(write: Write) -> None:
    """A clock that is ahead makes nobody's word newer than it is."""
    directory = write(CSV, at=datetime.now(UTC).timestamp() + 9_999)

    assert found(directory).as_of <= datetime.now(UTC)


def test_list_is_everybody_or_an_error(write: Write) -> None:
    """A part of a list would be taken for the whole of it."""
    whole, torn = write(CSV), write("external_id,status\nE1,active\nE2,asleep\n", "torn.csv")

    assert [record.works_here for record in whole.list()] == [True, False]
    with pytest.raises(Refused):
        list(torn.list())


# ---- whose record it is


def record(**profile: str) -> Record:
    """Make a record of somebody who works here."""
    return Record(Profile.model_validate(profile), works_here=True, as_of=AT)


ASKED = Subject("E1042", "bo", "bo@acme.example")


@pytest.mark.parametrize(
    ("hits", "place"),
    [
        ([record(external_id="E1042")], 0),
        ([record(external_id="E7", user_name="bo"), record(external_id="E1042")], 1),
        ([record(user_name="BO")], 0),
        ([record(email="BO@acme.example")], 0),
        ([record(email="bo@acme.example", user_name="robert"), record(user_name="bo")], 1),
    ],
    ids=["id", "id before name", "name", "address", "name before address"],
)
def test_record_of_the_strongest_name_is_the_one(hits: list[Record], place: int) -> None:
    """Names are given to others, ids are not."""
    assert the_one(ASKED, hits) is hits[place]


@pytest.mark.parametrize("hits", [[], [record(external_id="e1042")], [record(external_id="E9", user_name="b")]])
def test_record_of_another_is_nobodys(hits: list[Record]) -> None:
    """A directory that answers with somebody else has not found anybody; an id is compared letter by letter."""
    assert the_one(ASKED, hits) is None


@pytest.mark.parametrize(
    ("hits", "reason"),
    [
        ([record(external_id="E1042"), record(external_id="E1042")], "several_records"),
        ([record(user_name="bo"), record(user_name="Bo")], "several_records"),
        ([record(external_id="E7", user_name="bo")], "another_id"),
        ([record(external_id="E7", email="bo@acme.example")], "another_id"),
    ],
)
def test_record_that_may_be_anothers_is_held(hits: list[Record], reason: str) -> None:
    """A guess could lock out the wrong person."""
    with pytest.raises(Held) as caught:
        the_one(ASKED, hits)

    assert caught.value.reason == reason


def test_several_rows_of_one_name_are_all_found(write: Write) -> None:
    """So that it is seen that there are several."""
    directory = write("external_id,email,status\nE1,x@acme.example,active\nE2,X@acme.example,left\n")

    assert len(directory.find(Subject(external_id="E3", email="x@acme.example"))) == 2
    assert directory.find(Subject(external_id="E3")) == []


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["p.csv", "p.jsonl"]), st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(write: Write, name: str, text: bytes) -> None:
    """Whatever the file holds, it ends in one of our errors."""
    head = b"external_id,status\n" if name == "p.csv" else b'{"external_id": "E1042", "active": true}\n'
    reason = None
    try:
        write(head + text, name).find(BO)
    except GatepostError as error:
        reason = error.reason

    assert reason in {None, "directory_unreadable", "status_unknown", "record_unusable"}


# ---- set up, and looked at


@pytest.mark.parametrize(
    ("adapter", "path", "fault"),
    [
        ("files", "people.csv", "directories.hr.adapter: found 'files'; allowed: bamboohr, entra, file, google"),
        ("file", "people.xlsx", "directories.hr.path: found 'people.xlsx'; allowed: a file whose name ends in .csv, "),
    ],
)
def test_directory_that_cannot_be_one_is_refused_at_the_start(adapter: str, path: str, fault: str) -> None:
    """The key, what was found, what is allowed."""
    with pytest.raises(Misconfigured) as caught:
        opened({"hr": Section.model_validate({"adapter": adapter, "path": path})})

    assert caught.value.lines[0].startswith(fault)


def test_check_counts_who_works_here(write: Write) -> None:
    """And says what is not read, in case it is misspelt."""
    directory = write("external_id,departmnt,custom,custom.x,status\nE1,a,b,c,active\nE2,a,b,c,left\n,a,b,c,left\n")

    lines = [(line.what, line.ok, line.found) for line in look_at("hr", directory)]

    assert lines == [
        ("directories.hr", True, "3 people: 1 work here, 2 do not"),
        ("directories.hr", None, "columns that are not read: departmnt, custom"),
        ("directories.hr", None, "1 rows name nobody, the first in line 4"),
    ]


@pytest.mark.parametrize(
    ("text", "fault", "do"),
    [
        ("external_id,status\nE1,active\nE2,asleep\n", "line 3: tells in none of our words", "correct that record"),
        ("external_id,status\nE1\n", "line 2: 1 cells; the header has 2", "thin events wait"),
    ],
)
def test_check_says_what_to_do(write: Write, text: str, fault: str, do: str) -> None:
    """A record that is wrong is one person's; a file that is wrong keeps all waiting."""
    (line,) = look_at("hr", write(text))

    assert (line.ok, line.found.startswith(fault), line.do.startswith(do)) == (False, True, True)
