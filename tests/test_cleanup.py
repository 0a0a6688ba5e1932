"""After cleanup a storage holds what it held before, plus what others wrote; what stays is told."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal.backends.local import LocalBackend
from pytest_opendal.cleanup import Cleaner
from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process as RunProcess
from pytest_opendal.reap import Reaper
from pytest_opendal.remnants import find
from pytest_opendal.report import Reason
from pytest_opendal.run import Run

import faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_opendal.run import Held
    from pytest_opendal.settings import StorageSettings

    from servers import SeaweedFS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    return place


@dataclass
class Process:
    """One process of a run, and the storage that it opens."""

    run: Run
    settings: StorageSettings

    def open(self) -> Held:
        return self.run.open(self.settings, "test_a.py::test_a")


Begin = Callable[[dict[str, Any]], Process]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Begin]:
    begun: list[Run] = []

    def begin(storage: dict[str, Any]) -> Process:
        lab = from_mapping(storage, source="test", base=tmp_path, environ={})
        process = RunProcess("20260131T120000-abcdef", "2026", f"gw{len(begun)}")
        begun.append(Run(process, tmp_path / "journals"))
        return Process(begun[-1], lab.storage(None))

    yield begin
    for run in begun:
        run.close()


def _tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def test_everything_made_goes_and_everything_else_stays(root: Path, runs: Begin) -> None:
    (root / "old").mkdir()
    (root / "old" / "theirs").write_bytes(b"1")
    before = _tree(root)
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}})
    held = process.open()
    held.storage.write_bytes("old/deep/er/mine", b"2")
    held.storage.create_dir("new/empty/")
    held.storage.copy("old/", "copied/")
    held.storage.rename("new/", "newer/")
    note = process.run.end(held, None)
    assert _tree(root) == before
    assert note.leftovers == ()


def test_what_others_put_into_our_directory_stays_and_is_told(root: Path, runs: Begin) -> None:
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}})
    held = process.open()
    held.storage.write_bytes("ours/deep/mine", b"1")
    (root / "ours" / "theirs").write_bytes(b"2")
    note = process.run.end(held, None)
    assert _tree(root) == {"ours": None, "ours/theirs": b"2"}
    (left,) = note.leftovers
    assert (left.path, left.reason, left.holds) == ("ours", Reason.FOREIGN, ("ours/theirs",))
    assert not left.reason.fails_run


def test_restore_puts_back_overwritten_deleted_and_moved_content(root: Path, runs: Begin) -> None:
    for name in ("written", "deleted", "moved", "copied-over", "tree/a", "tree/sub/b"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() * 3)
    (root / "tree" / "empty").mkdir()
    before = _tree(root)
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}, "on_existing": "restore"})
    held = process.open()
    held.storage.write_bytes("written", b"new")
    held.storage.write_bytes("written", b"newer")
    held.storage.delete("deleted")
    held.storage.rename("moved", "elsewhere/moved")
    held.storage.copy("elsewhere/moved", "copied-over")
    held.storage.remove_all("tree/")
    note = process.run.end(held, None)
    assert _tree(root) == before
    assert note.leftovers == ()


def test_renamed_foreign_data_stays_where_it_was_moved_and_is_told(root: Path, runs: Begin) -> None:
    (root / "theirs").write_bytes(b"1")
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}})
    held = process.open()
    held.storage.rename("theirs", "here")
    assert held.storage.get_created_resources() == {"here"}
    (left,) = process.run.end(held, None).leftovers
    assert (left.path, left.reason, left.size) == ("here", Reason.MOVED, 1)
    assert _tree(root) == {"here": b"1"}


def test_keep_tells_what_is_really_there(root: Path, runs: Begin) -> None:
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}})
    held = process.open()
    held.storage.write_bytes("a/b", b"123")
    held.storage.register_path("never-written")
    held.storage.register_path("device/")
    (root / "device").mkdir()
    (root / "device" / "log").write_bytes(b"12")
    note = process.run.end(held, Reason.KEPT)
    found = {(left.path, left.kind, left.size) for left in note.leftovers}
    assert found == {
        ("a", "dir", None),
        ("a/b", "file", 3),
        ("device", "dir", None),
        ("device/log", "file", 2),
    }


def _overwriting(root: Path, runs: Begin) -> tuple[Process, Held]:
    """Return a test that has written over a file of others, and beside it."""
    (root / "config.txt").write_bytes(b"precious")
    kwargs = {"root": str(root)}
    process = runs({"scheme": "fs", "kwargs": kwargs, "on_existing": "restore"})
    held = process.open()
    held.storage.write_bytes("config.txt", b"of the test")
    held.storage.write_bytes("new.txt", b"kept")
    return process, held


def _overwritten(root: Path, runs: Begin) -> tuple[Process, Held]:
    """Return such a test, where the old content cannot be put back."""
    process, held = _overwriting(root, runs)
    held.storage.delete("config.txt")
    (root / "config.txt").mkdir()
    return process, held


def _close_and_reap(process: Process) -> Path:
    """End a process, and reap what it left; returns where its journal was."""
    journal = process.run.journal.path
    process.run.finish()
    process.run.close()
    later = Run(RunProcess.new(), journal.parent)
    Reaper(later, [process.settings]).reap(find([journal.parent]).remnants)
    later.close()
    return journal.parent


def test_old_content_that_cannot_be_put_back_outlives_a_test_that_keeps_its_files(
    root: Path, runs: Begin
) -> None:
    process, held = _overwritten(root, runs)
    note = process.run.end(held, Reason.KEPT)
    assert [(left.path, left.reason) for left in note.leftovers] == [
        ("config.txt", Reason.FAILED),
        ("new.txt", Reason.KEPT),
    ]
    (root / "config.txt").rmdir()
    journals = _close_and_reap(process)
    assert _tree(root) == {"config.txt": b"precious", "new.txt": b"kept"}
    assert list(journals.iterdir()) == []


def test_what_cannot_be_written_back_is_put_back_later(root: Path, runs: Begin) -> None:
    """A full disk; the file that the test wrote over is no file that others put there since."""
    process, held = _overwriting(root, runs)

    async def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalBackend, "upload", full)
        note = process.run.end(held, Reason.KEPT)
    told = {left.path: left.reason for left in note.leftovers}
    assert told == {"config.txt": Reason.FAILED, "new.txt": Reason.KEPT}
    _close_and_reap(process)
    assert _tree(root) == {"config.txt": b"precious", "new.txt": b"kept"}


def test_a_test_that_runs_again_puts_back_what_its_first_run_could_not(
    root: Path, runs: Begin
) -> None:
    process, held = _overwritten(root, runs)
    process.run.end(held, Reason.KEPT_FAILED)
    (root / "config.txt").rmdir()
    assert process.run.remove_kept(held).leftovers == ()
    assert _tree(root) == {"config.txt": b"precious"}
    process.run.close()
    assert not process.run.journal.path.exists()


def test_a_directory_that_others_make_where_ours_was_stays(root: Path, runs: Begin) -> None:
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}})
    held = process.open()
    held.storage.create_dir("d")
    assert process.run.end(held, None).directories == {}


def test_old_content_outlives_a_cleanup_that_is_given_up(root: Path, runs: Begin) -> None:
    process, held = _overwritten(root, runs)
    process.run.interrupted = True

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cleaner, "keep", interrupt)
        note = process.run.end(held, Reason.KEPT)
    told = {left.path: left.reason for left in note.leftovers}
    assert told == {"config.txt": Reason.FAILED, "new.txt": Reason.KEPT}
    process.run.close()
    backups = process.run.journal.path.with_suffix(".saved")
    assert [path.read_bytes() for path in backups.iterdir()] == [b"precious"]


@pytest.mark.parametrize("isolation", ["none", "test"])
def test_what_is_protected_in_a_tree_keeps_the_tree(
    root: Path, runs: Begin, isolation: str
) -> None:
    """No test may write it; the device may."""
    kwargs = {"root": str(root)}
    entry = {"scheme": "fs", "kwargs": kwargs, "isolation": isolation, "protect": ["*.key"]}
    process = runs(entry)
    held = process.open()
    held.storage.register_path("data/")
    place = root / held.tracker.area / "data"
    place.mkdir(parents=True)
    (place / "a.key").write_bytes(b"theirs")
    (left,) = process.run.end(held, None).leftovers
    assert left.reason is Reason.FAILED
    assert "a.key': protected by '*.key' in the configuration" in str(left.error)
    assert (place / "a.key").read_bytes() == b"theirs"


def test_a_kept_area_that_cannot_be_listed_is_told_and_is_no_remnant(
    root: Path, runs: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}, "isolation": "test"})
    held = process.open()
    held.storage.write_bytes("d/evidence", b"1")

    async def refuse(*_: object, **__: object) -> AsyncIterator[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield ""

    monkeypatch.setattr(LocalBackend, "list", refuse)
    (left,) = process.run.end(held, Reason.KEPT).leftovers
    assert (left.path, left.reason) == (held.tracker.area, Reason.KEPT)
    assert str(left.error).endswith("permission denied")
    assert held.tracker.record.ended


def test_a_registered_directory_goes_with_all_that_the_device_wrote(
    root: Path, runs: Begin
) -> None:
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}})
    held = process.open()
    held.storage.register_path("out/logs/")
    (root / "out" / "logs" / "x").mkdir(parents=True)
    (root / "out" / "logs" / "x" / "log").write_bytes(b"12")
    assert process.run.end(held, None).leftovers == ()
    assert _tree(root) == {}


def test_a_failed_deletion_is_told_and_the_rest_goes_on(seaweedfs: SeaweedFS, runs: Begin) -> None:
    place = {**seaweedfs.kwargs, "root": "/cleanup-failed"}
    writer = runs({"scheme": "s3", "kwargs": place}).open()
    reader = runs({"scheme": "s3", "kwargs": {**place, **_readonly(seaweedfs)}})
    writer.storage.write_bytes("a", b"1")
    writer.storage.write_bytes("b", b"2")
    note = reader.run.end(_taken_over(reader, writer), None)
    assert {(left.path, left.reason) for left in note.leftovers} == {
        ("a", Reason.FAILED),
        ("b", Reason.FAILED),
    }
    assert all(
        "PermissionDenied" in str(left.error) or "Access" in str(left.error)
        for left in note.leftovers
    )


def test_an_area_goes_as_a_whole_only_where_it_was_noted_as_one(
    runs: Begin, tmp_path: Path
) -> None:
    """A journal may be damaged or forged: what it names as a directory is removed when it is empty."""
    root = tmp_path / "root"
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}, "isolation": "test"})
    held = process.open()
    area = held.tracker.area
    (root / area).mkdir(parents=True)
    (root / area / "theirs").write_bytes(b"theirs")
    held.tracker.ledger.note(("+", area, "dir", False))
    process.run.end(held, None)
    assert (root / area / "theirs").read_bytes() == b"theirs"


def _readonly(server: SeaweedFS) -> dict[str, str]:
    names = ("access_key_id", "secret_access_key")
    return {name: server.readonly_kwargs[name] for name in names}


def _taken_over(process: Process, other: Held) -> Held:
    """Return a storage object of ``run`` whose record is that of ``other``."""
    held = process.open()
    for name, entry in other.tracker.record.created.items():
        held.tracker.note(("+", name, entry.kind, entry.existed))
    return held


def test_a_silent_server_costs_one_timeout_however_much_there_is(
    seaweedfs: SeaweedFS, runs: Begin
) -> None:
    target = seaweedfs.endpoint.removeprefix("http://")
    with faults.proxy(target) as between:
        kwargs = {**seaweedfs.kwargs, "endpoint": f"http://{between.address}", "root": "/silent"}
        process = runs({"scheme": "s3", "kwargs": kwargs, "timeout": 1.0})
        held = process.open()
        for number in range(200):
            held.storage.write_bytes(f"f{number}", b"1")
        between.silent.set()
        start = time.monotonic()
        note = process.run.end(held, None)
        seconds = time.monotonic() - start
        between.silent.clear()
    assert seconds < 2.5
    assert len(note.leftovers) == 200
    assert all("no answer within 1 s" in str(left.error) for left in note.leftovers)
    assert note.removed == 0
    journal = process.run.journal
    journal.close()
    assert journal.path.exists(), "what could not be removed has to stay in the journal"


def test_an_area_goes_with_what_others_put_into_it(root: Path, runs: Begin) -> None:
    process = runs({"scheme": "fs", "kwargs": {"root": str(root)}, "isolation": "test"})
    held = process.open()
    held.storage.write_bytes("a/b", b"1")
    (area,) = root.glob("pytest-opendal/*/*/*")
    (area / "by-the-device").write_bytes(b"2")
    assert process.run.end(held, None).leftovers == ()
    process.run.finish()
    assert _tree(root) == {}
