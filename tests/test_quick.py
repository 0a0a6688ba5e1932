"""What is done at once, on the thread of the test: only what is small, plain and near."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal
import pytest

from pytest_opendal import errors, journal
from pytest_opendal.backends import quick
from pytest_opendal.backends.local import LocalBackend
from pytest_opendal.process import Process
from pytest_opendal.run import Hooks, Run
from pytest_opendal.settings import StorageSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = b"x" * 100
LARGE = b"x" * (quick.MOST_BYTES + 1)


def _is_near(place: Path) -> bool:
    return quick.near_device(str(place)) is not None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    if not _is_near(place):
        pytest.skip(f"{place} is on a file system that may keep us waiting")
    return place


@pytest.fixture
def files(root: Path) -> quick.Files:
    device = quick.near_device(str(root))
    assert device is not None
    return quick.Files(opendal.AsyncOperator("fs", root=str(root)), str(root), device)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    ours = Run(Process.new(), tmp_path / "journals")
    yield ours
    ours.close()


def _settings(root: Path, **keys: Any) -> StorageSettings:
    kwargs = {"root": str(root)}
    return StorageSettings(name="lab", scheme="fs", kwargs=kwargs, retention="none", **keys)


def _thread_runs() -> bool:
    return any(thread.name == "pytest-opendal" for thread in threading.enumerate())


def test_a_test_of_small_files_needs_no_thread(root: Path, run: Run) -> None:
    """From opening to cleanup, with all that is tracked and noted on the way."""
    before = _thread_runs()
    held = run.open(_settings(root, isolation="test"), "test")
    storage = held.storage
    storage.write_bytes("d/file", SMALL)
    assert storage.read_bytes("d/file") == SMALL
    assert storage.exists("d")
    storage.create_dir("e")
    storage.rename("d/file", "e/file")
    storage.delete("e/file")
    assert storage.get_created_resources() == {"d", "e"}
    note = run.end(held, None)
    assert (note.created, note.removed, note.leftovers) == (4, 4, ())
    assert not [path for path in root.rglob("*") if path.name == "e"]
    assert _thread_runs() == before


def test_large_files_go_the_long_way(root: Path, run: Run) -> None:
    storage = run.open(_settings(root), "test").storage
    before = _thread_runs()
    storage.write_bytes("large", LARGE)
    assert _thread_runs() or before
    assert storage.read_bytes("large") == LARGE


@pytest.mark.parametrize("isolation", ["none", "test"])
def test_the_journal_knows_a_file_before_it_is_there(
    root: Path, tmp_path: Path, isolation: str
) -> None:
    """What a kill between the two leaves is found by the next run."""
    told: list[tuple[bool, list[str]]] = []

    def created(_storage: str, path: str, _test: str) -> None:
        (file,) = (tmp_path / "journals").glob("*.journal")
        names = [
            name for record in journal.replay(file).records for name in dict(record.created.items())
        ]
        told.append(((root / path).exists(), names))

    run = Run(Process.new(), tmp_path / "journals", Hooks(created=created))
    try:
        held = run.open(_settings(root, isolation=isolation), "test")
        held.storage.write_bytes("file", SMALL)
        is_there, names = told[-1]
        assert not is_there
        assert (held.tracker.area or "file") in names
        run.end(held, None)
    finally:
        run.close()


def test_a_write_that_fails_at_once_leaves_neither_file_nor_record(root: Path, run: Run) -> None:
    (root / "file").write_bytes(b"of others")
    storage = run.open(_settings(root), "test").storage
    with pytest.raises(errors.StorageError):
        storage.write_bytes("file/below", SMALL)
    assert storage.get_created_resources() == set()
    assert (root / "file").read_bytes() == b"of others"


def test_what_others_put_into_our_directory_survives(root: Path, run: Run) -> None:
    held = run.open(_settings(root), "test")
    held.storage.write_bytes("d/file", SMALL)
    (root / "d" / "theirs").write_bytes(b"of others")
    (left,) = run.end(held, None).leftovers
    assert left.holds == ("d/theirs",)
    assert [path.name for path in (root / "d").iterdir()] == ["theirs"]


def test_an_old_file_is_replaced_as_a_whole(root: Path, run: Run) -> None:
    """A reader sees the old content or the new one, never half of it."""
    (root / "file").write_bytes(b"old")
    with (root / "file").open("rb") as reading:
        storage = run.open(_settings(root), "test").storage
        storage.write_bytes("file", SMALL)
        assert reading.read() == b"old"
    assert (root / "file").read_bytes() == SMALL


def test_nothing_but_plain_files_and_directories_is_taken(root: Path, files: quick.Files) -> None:
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to(root / "file")
    (root / "file").write_bytes(SMALL)
    (root / "directory").mkdir()
    taken = {path: files.takes(path) for path in ("pipe", "link", "file", "directory/", "new/er")}
    assert taken == {"pipe": False, "link": False, "file": True, "directory/": True, "new/er": True}
    assert not files.can_read("pipe")
    assert not files.can_read("missing")
    assert not files.takes("file", len(LARGE))


def test_a_pipe_that_nobody_reads_costs_a_timeout(root: Path, run: Run) -> None:
    os.mkfifo(root / "pipe")
    storage = run.open(_settings(root, timeout=0.2), "test").storage
    with pytest.raises(errors.StorageTimeout):
        storage.read_bytes("pipe")
    # Lets opendal's thread go, which waits in open(2).
    os.close(os.open(root / "pipe", os.O_WRONLY | os.O_NONBLOCK))


def test_what_is_on_another_file_system_is_not_taken(root: Path, files: quick.Files) -> None:
    elsewhere = Path("/proc")
    (root / "mounted").symlink_to(elsewhere)
    assert not files.takes("mounted/self")
    assert not files.takes("mounted/new/file")
    assert not files.can_remove("mounted/")


def test_a_directory_with_much_in_it_is_removed_the_long_way(
    root: Path, files: quick.Files
) -> None:
    """It can be interrupted then, and others are served meanwhile."""
    for number in range(quick.MOST_ENTRIES):
        (root / "d" / str(number)).mkdir(parents=True)
    assert files.can_remove("d/")
    (root / "d" / "0" / "one more").write_bytes(SMALL)
    assert not files.can_remove("d/")
    assert not files.can_remove("missing/")


@pytest.mark.parametrize(("kind", "near"), [("ext4", True), ("nfs4", False), ("fuse.sshfs", False)])
def test_only_file_systems_of_this_machine_are_near(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, near: bool
) -> None:
    device = root.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"27 1 {numbers} / / rw,relatime shared:1 - {kind} /dev/x rw\n")
    monkeypatch.setattr(quick, "_MOUNTS", mounts)
    assert _is_near(root) is near


@pytest.mark.parametrize("there", [True, False], ids=["unknown", "no Linux"])
def test_what_is_not_known_to_be_near_is_not(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    if there:
        mounts.write_text("27 1 0:0 / / rw - ext4 /dev/x rw\n")
    monkeypatch.setattr(quick, "_MOUNTS", mounts)
    assert not _is_near(root)


def _layered(operator: opendal.AsyncOperator) -> opendal.AsyncOperator:
    from opendal.layers import RetryLayer

    return operator.layer(RetryLayer())


@pytest.mark.parametrize("layers", [None, _layered], ids=["plain", "layered"])
def test_layers_of_a_hook_apply_to_all_operations(
    root: Path, layers: Callable[[Any], Any] | None
) -> None:
    """So what they may wait for can be interrupted."""
    kwargs = {"root": str(root)}
    backend = LocalBackend("fs", kwargs, layers) if layers else LocalBackend("fs", kwargs)
    assert (backend._quick is None) is (layers is not None)


def test_services_over_a_network_are_never_quick() -> None:
    operator = opendal.AsyncOperator("memory")
    assert quick.quick_way("s3", {"root": "/tmp"}, operator) is None  # noqa: S108
    assert quick.quick_way("fs", {"root": "/proc"}, operator) is None
    assert isinstance(quick.quick_way("memory", {}, operator), quick.Memory)
