"""Which journals are those of dead runs, and which nobody here may judge."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from pytest_opendal import remnants
from pytest_opendal.errors import ConfigInvalid, StorageError
from pytest_opendal.journal import Journal, Opened

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_opendal.journal import Event

RUN = "20260131T120000-abcdef"
STARTED = "2026-01-31T12:00:00+00:00"
CREATED: Event = ("+", "a.txt", "file", False)


def opened(directory: Path) -> Opened:
    """Return a storage object on a directory that is there."""
    identity = {"scheme": "fs", "root": str(directory)}
    return Opened("lab", identity, "t", "main", "", "none", "created")


def died(directory: Path, *events: Event, run_id: str = RUN, worker: str = "main") -> Path:
    """Leave the journal of a process that did not come to its end."""
    journal = Journal(directory, run_id, worker, STARTED)
    journal.new_ledger(opened(directory)).note(*(events or (CREATED,)))
    journal.close()
    return journal.path


def test_a_dead_journal_is_found_and_counted(tmp_path: Path) -> None:
    events: list[Event] = [("+", "d", "dir", False), ("+", "d/a", "file", False)]
    died(tmp_path, *events, ("+", "theirs", "file", True), ("saved", "theirs", "1-0"))
    died(tmp_path, worker="gw0")
    found = remnants.find([tmp_path])
    (counted,) = remnants.counted(found.remnants)
    assert (counted.run_id, counted.started, counted.storage) == (RUN, STARTED, "lab")
    assert (counted.host, counted.count) == (socket.gethostname(), 4)
    assert (found.alone, found.elsewhere, found.spared) == ((), (), frozenset())


def test_looking_changes_nothing(tmp_path: Path) -> None:
    path = died(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    remnants.find([tmp_path, tmp_path, tmp_path / "missing"])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert path.name in before


def test_the_own_run_is_left_out(tmp_path: Path) -> None:
    died(tmp_path)
    assert remnants.find([tmp_path], without=RUN) == remnants.Found()


def test_a_dead_process_of_a_living_run_is_no_remnant(tmp_path: Path) -> None:
    died(tmp_path, worker="gw0")
    living = Journal(tmp_path, RUN, "main", STARTED)
    living.begin()
    assert remnants.find([tmp_path]) == remnants.Found(spared=frozenset({RUN}))
    living.close()
    assert len(remnants.find([tmp_path]).remnants) == 1


def test_the_directories_above_areas_count_only_when_they_are_all_that_is_left(
    tmp_path: Path,
) -> None:
    above: list[Event] = [
        ("+", "pytest-opendal", "dir", False),
        ("+", "pytest-opendal/r", "dir", False),
    ]
    area: Event = ("+", "pytest-opendal/r/gw0", "tree", False)
    path = died(tmp_path, *above, area)
    (counted,) = remnants.counted(remnants.find([tmp_path]).remnants)
    assert counted.count == 1
    path.unlink()
    died(tmp_path, *above)
    (counted,) = remnants.counted(remnants.find([tmp_path]).remnants)
    assert counted.count == 2


def rewritten(path: Path, old: str, new: str) -> None:
    """Change the text of a journal."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[1,", "[99,", "journal of version 99"),
        ('["+",0,"a.txt"', '["+",0,a.txt', "is damaged in 1 of its lines"),
        ('["+"', '["no such event"', "is damaged in 1 of its lines"),
        ('"a.txt"', '"../a.txt"', "names '../a.txt', which no run would write"),
        ('"a.txt"', '""', "names '', which no run would write"),
        ('"a.txt"', '"/etc/passwd"', "which no run would write"),
        ("[1,", "no journal [1,", "not a journal"),
    ],
)
def test_a_damaged_or_unknown_journal_is_told_and_left_alone(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = died(tmp_path)
    rewritten(path, old, new)
    content = path.read_bytes()
    found = remnants.find([tmp_path])
    assert found.remnants == ()
    (line,) = found.alone
    assert line.startswith(f"{path}: ")
    assert words in line
    assert line.endswith("left alone")
    assert found.spared == {RUN}
    assert path.read_bytes() == content


def test_old_content_is_never_taken_from_elsewhere(tmp_path: Path) -> None:
    died(tmp_path, ("+", "a", "file", True), ("saved", "a", "../../etc/passwd"))
    (line,) = remnants.find([tmp_path]).alone
    assert "which no run would write" in line


def test_a_torn_last_line_is_no_damage(tmp_path: Path) -> None:
    path = died(tmp_path)
    with path.open("ab") as file:
        file.write(b'["+",0,"b.t')
    assert remnants.counted(remnants.find([tmp_path]).remnants)[0].count == 1


def test_a_journal_of_another_host_is_told_and_left_alone(tmp_path: Path) -> None:
    path = died(tmp_path)
    rewritten(path, socket.gethostname(), "lab-host-9")
    found = remnants.find([tmp_path])
    assert (found.remnants, found.alone, found.spared) == ((), (), frozenset({RUN}))
    assert found.elsewhere == (
        f"{path}: journal of host lab-host-9, to be reaped there, left alone",
    )


def test_a_journal_without_its_lock_is_left_alone(tmp_path: Path) -> None:
    """Its process may live: whoever cleaned up the lock did not ask it."""
    path = died(tmp_path)
    path.with_suffix(".lock").unlink()
    (line,) = remnants.find([tmp_path]).alone
    assert "its lock is gone" in line


def test_a_journal_that_others_could_write_is_left_alone(tmp_path: Path) -> None:
    """It says what to delete, and may have come with a checkout."""
    path = died(tmp_path)
    path.chmod(0o644)
    (line,) = remnants.find([tmp_path]).alone
    assert "is not a private file of this user (0600)" in line


def test_a_link_to_a_journal_is_left_alone(tmp_path: Path) -> None:
    path = died(tmp_path)
    place = tmp_path / "links"
    place.mkdir()
    for suffix in (".journal", ".lock"):
        (place / path.name).with_suffix(suffix).symlink_to(path.with_suffix(suffix))
    (line,) = remnants.find([place]).alone
    assert "is not a private file" in line


def test_what_goes_on_after_a_death_is_written_to_the_same_journal(tmp_path: Path) -> None:
    """Behind what was torn off, so that it can be read again."""
    path = died(tmp_path, CREATED, ("+", "b.txt", "file", False))
    with path.open("ab") as file:
        file.write(b'["+",0,"torn')
    inherited = Journal.inherit(path)
    (ledger,) = inherited.ledgers()
    ledger.note(("-1", "a.txt"))
    inherited.close()
    (record,) = remnants.find([tmp_path]).remnants[0].records
    assert [*record.created] == ["b.txt"]
    assert all(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def test_a_journal_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file", RUN, "main", STARTED)
    with pytest.raises(ConfigInvalid, match=r"cannot make the journal .*opendal_journal_dir"):
        journal.new_ledger(opened(tmp_path)).note(CREATED)


def test_a_full_disk_is_told_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file system here fills up at a chosen byte."""
    journal = Journal(tmp_path, RUN, "main", STARTED)
    ledger = journal.new_ledger(opened(tmp_path))
    ledger.note(CREATED)
    whole, write = journal.path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    with pytest.raises(StorageError, match="No space left on device; nothing is created"):
        ledger.note(("+", "b.txt", "file", False))
    monkeypatch.undo()
    assert journal.path.read_bytes() == whole
    assert [*ledger.record.created] == ["a.txt"]
    journal.close()


def test_the_private_directory_of_somebody_else_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert remnants.private_places() == []
    place = remnants.private_directory()
    assert remnants.private_places() == [place]
    place.chmod(0o755)
    assert remnants.private_places() == []


@pytest.mark.parametrize("kind", ["file", "directory of all", "link"])
def test_what_is_no_private_directory_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = tmp_path / f"pytest-opendal-{os.getuid()}"
    if kind == "file":
        place.touch(mode=0o600)
    elif kind == "link":
        place.symlink_to(tmp_path)
    else:
        place.mkdir()
        place.chmod(0o755)
    with pytest.raises(ConfigInvalid) as caught:
        remnants.private_directory()
    assert str(caught.value) == (
        f"{place}: is not a private directory of this user; remove it, or set TMPDIR, "
        "or for pytest the ini key opendal_journal_dir"
    )


def test_a_private_directory_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(ConfigInvalid, match="cannot be made: Not a directory; set TMPDIR, or for"):
        remnants.private_directory()
