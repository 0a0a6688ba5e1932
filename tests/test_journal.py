"""What a process is about to create can be read back whenever it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_opendal import journal
from pytest_opendal.journal import Journal, Ledger, Opened, UnreadableJournal, replay
from pytest_opendal.remnants import seized

if TYPE_CHECKING:
    from pathlib import Path

OPENED = Opened(
    storage="sdcard",
    identity={"scheme": "fs", "root": "/srv"},
    test="test_a.py::test_a",
    worker="main",
    area="",
    retention="none",
    on_existing="created",
)


def _journal(directory: Path) -> Journal:
    return Journal(directory, "20260131T120000-abcdef", "main", "2026-01-31T12:00:00+00:00")


def test_events_read_back_give_the_record_of_the_process(tmp_path: Path) -> None:
    written = _journal(tmp_path)
    ledger = written.new_ledger(OPENED)
    ledger.note(("+", "a", "dir", False), ("+", "a/b", "file", False), ("+", "c", "file", True))
    ledger.note(("renaming", "a", "d"), ("moving", "x", "y"), ("saved", "c", "1"))
    ledger.note((">", "a", "d"), ("-1", "c"))
    (record,) = replay(written.path).records
    assert record == ledger.record
    assert dict(record.created.items()).keys() == {"d", "d/b"}
    assert record.moved == {"y": "x"}
    assert record.saved == {"c": "1"}
    written.close()


def test_a_record_that_has_ended_is_not_kept_in_memory(tmp_path: Path) -> None:
    """A run has one for each test; what failed to be removed waits for the end of the run."""
    written = _journal(tmp_path)
    first, second, third = (written.new_ledger(OPENED) for _ in range(3))
    for ledger in (first, second, third):
        ledger.note(("+", "a", "file", False))
    first.note(("-", "a"))
    first.end()
    third.end()
    assert [ledger.record for ledger in written.ledgers()] == [second.record]
    written.new_ledger(OPENED).note(("+", "b", "file", False))
    assert len(replay(written.path).records) == 2
    written.close()
    assert written.path.exists()


paths = st.lists(st.sampled_from(["a", "b", "ü c", "d"]), min_size=1, max_size=3).map("/".join)
events = st.one_of(
    st.tuples(st.just("+"), paths, st.sampled_from(["file", "dir", "tree"]), st.booleans()),
    st.tuples(st.sampled_from(["-", "-1"]), paths),
    st.tuples(st.sampled_from(["renaming", "moving", ">"]), paths, paths),
    st.tuples(st.just("saved"), paths, st.sampled_from([None, "1"])),
    st.tuples(st.just("restored"), paths),
)


@given(st.lists(events, max_size=25), st.data())
def test_a_record_in_memory_is_a_view_of_the_journal_at_every_point(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[tuple[str, ...]], data: st.DataObject
) -> None:
    written = _journal(tmp_path_factory.mktemp("journal"))
    ledgers = [written.new_ledger(OPENED), written.new_ledger(OPENED)]
    for event in sequence:
        data.draw(st.sampled_from(ledgers)).note(event)
        expected = [ledger.record for ledger in ledgers if not ledger.record.is_empty()]
        assert list(replay(written.path).records) == expected
    written.close()


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    written = _journal(tmp_path)
    written.new_ledger(OPENED).note(("+", "a", "file", False))
    with written.path.open("ab") as file:
        file.write(b'["+",0,"b","fi')
    replayed = replay(written.path)
    assert [*replayed.records[0].created] == ["a"]
    assert replayed.damaged == 0
    written.close()


def test_a_damaged_line_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    written = _journal(tmp_path)
    ledger = written.new_ledger(OPENED)
    ledger.note(("+", "a", "file", False))
    with written.path.open("ab") as file:
        file.write(b'\x00\xff garbage\n["unknown",0,"x"]\n')
    ledger.note(("+", "b", "file", False))
    replayed = replay(written.path)
    assert [*replayed.records[0].created] == ["a", "b"]
    assert replayed.damaged == 2
    written.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a journal"),
        (b"no journal\n", "not a journal"),
        (b'[99,"run","2026","host","main"]\n', "version 99"),
    ],
)
def test_a_file_of_another_kind_or_version_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "other.journal"
    path.write_bytes(content)
    with pytest.raises(UnreadableJournal, match=words):
        replay(path)
    assert path.read_bytes() == content


def test_a_journal_with_nothing_outstanding_removes_itself(tmp_path: Path) -> None:
    written = _journal(tmp_path)
    ledger = written.new_ledger(OPENED)
    ledger.note(("+", "a", "file", False))
    ledger.note(("-", "a"))
    written.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_on_purpose_is_no_remnant(tmp_path: Path) -> None:
    written = _journal(tmp_path)
    ledger = written.new_ledger(OPENED)
    ledger.note(("+", "a", "file", False))
    ledger.end()
    written.close()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_with_something_outstanding_stays_and_is_free(tmp_path: Path) -> None:
    written = _journal(tmp_path)
    written.new_ledger(OPENED).note(("+", "a", "file", False))
    written.close()
    with seized(written.path) as is_dead:
        assert is_dead
    assert [*replay(written.path).records[0].created] == ["a"]


def test_a_storage_object_that_creates_nothing_writes_no_file(tmp_path: Path) -> None:
    written = _journal(tmp_path / "journals")
    written.new_ledger(OPENED).end()
    written.close()
    assert not (tmp_path / "journals").exists()


def test_only_the_user_can_read_a_journal(tmp_path: Path) -> None:
    written = _journal(tmp_path / "journals")
    written.new_ledger(OPENED).note(("+", "a", "file", False))
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "journals").iterdir()} == {0o600}
    assert (tmp_path / "journals").stat().st_mode & 0o777 == 0o700
    written.close()


_WRITER = """
import sys
from pathlib import Path
from pytest_opendal.journal import Journal, Opened
journal = Journal(Path(sys.argv[1]), "run", "gw0", "2026-01-31T12:00:00+00:00")
ledger = journal.new_ledger(Opened("s", {"scheme": "fs"}, "t", "gw0", "", "none", "created"))
for number in range(10**9):
    ledger.note(("+", f"file-{number}", "file", False))
    print(number, flush=True)
"""


def test_every_noted_resource_is_there_after_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        noted = [next(process.stdout) for _ in range(500)][-1]
        path = tmp_path / "run-gw0.journal"
        with seized(path) as is_dead:
            assert not is_dead, "the lock of a living process was free"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with seized(path, 5) as is_dead:
        assert is_dead
        (record,) = replay(path).records
    assert len([*record.created]) > int(noted)
    assert os.listdir(tmp_path)


def test_names_of_all_kinds_survive_the_journal(tmp_path: Path) -> None:
    written = _journal(tmp_path)
    ledger: Ledger = written.new_ledger(OPENED)
    names = ["a b", "ü/\u4e2d", "quote\"'", "back\\slash", "%2e%2e", "e\u0301"]
    ledger.note(*(("+", name, "file", False) for name in names))
    assert [*replay(written.path).records[0].created] == names
    assert journal.SUFFIX in written.path.name
    written.close()
