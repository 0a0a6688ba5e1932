"""What a storage object says it has created, on every storage, and what is there after its end.

What a test sees in memory must be what would be read back from the journal after a kill, so every
check here compares both.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from pytest_opendal import AsyncStorage, errors
from pytest_opendal.backends.local import LocalBackend
from pytest_opendal.report import Reason

from contract import IS_045, Lab, lab_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_opendal.run import Held

    import servers


def _touch(place: bytes) -> None:
    with open(place, "wb"):  # noqa: PTH123 (a name that is no UTF-8)
        pass


def created(lab: Lab, held: Held) -> set[str]:
    """Return what the storage object says, after making sure that the journal says the same."""
    told = held.storage.get_created_resources()
    if lab.isolation == "none":
        assert told == _replayed(lab, held)
    return told


def _replayed(lab: Lab, held: Held) -> set[str]:
    records = [record for record in lab.replayed() if record.opened == held.tracker.opened]
    return {name for record in records for name in (*record.created, *record.moved)}


def directories(lab: Lab, *names: str) -> set[str]:
    """Return the directories that come into being with a file: none on an object store."""
    return set(names) if lab.has_directories else set()


# -- one record


def test_a_written_file_and_its_directories(lab: Lab) -> None:
    held = lab.hold()
    held.storage.write_bytes("a/b/f", b"x")
    assert created(lab, held) == {"a/b/f"} | directories(lab, "a", "a/b")
    held.storage.write_bytes("a/c/g", b"x")
    held.storage.write_bytes("a/c/g", b"again")
    assert created(lab, held) == {"a/b/f", "a/c/g"} | directories(lab, "a", "a/b", "a/c")


def test_a_file_counts_from_when_it_is_opened(lab: Lab) -> None:
    held = lab.hold()
    with held.storage.open("d/f", "wb") as file:
        assert created(lab, held) == {"d/f"} | directories(lab, "d")
        file.write(b"x")
    assert created(lab, held) == {"d/f"} | directories(lab, "d")


def test_a_refused_rename_is_not_counted(fs_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise errors.PermissionDenied("read-only")

    held = fs_lab.hold()
    held.storage.write_bytes("there", b"x")
    monkeypatch.setattr(LocalBackend, "rename", refuse)
    with pytest.raises(errors.PermissionDenied):
        held.storage.rename("there", "d/f")
    note = fs_lab.end(held)
    assert (note.created, note.removed) == (1, 1)


def test_what_was_not_created_is_not_counted(lab: Lab, tmp_path: Path) -> None:
    held = lab.hold()
    with pytest.raises(FileNotFoundError):
        held.storage.write_from_path("g", tmp_path / "missing")
    with pytest.raises(RuntimeError), held.storage.open("e/h", "wb") as file:
        file.write(b"x")
        raise RuntimeError
    held.storage.write_bytes("there", b"x")
    note = lab.end(held)
    assert (note.created, note.removed) == (1, 1)


def test_reading_creates_nothing(lab: Lab, tmp_path: Path) -> None:
    held = lab.hold()
    lab.stranger.write("f")
    storage = held.storage
    storage.read_bytes("f")
    storage.read_into_path("f", tmp_path / "f")
    storage.open("f").close()
    storage.hash("f")
    storage.stat("f")
    storage.exists("missing")
    storage.wait_until("f", 1)
    if not lab.lacks("list"):
        list(storage.scan("/"))
    if not lab.lacks("presign"):
        storage.presign_read("f", 60)
        storage.presign_stat("f", 60)
    assert created(lab, held) == set()
    assert lab.isolation != "none" or not lab.run.journal.path.exists()


def test_create_dir_counts_each_directory_it_made(lab: Lab) -> None:
    lab.need("create_dir")
    held = lab.hold()
    held.storage.create_dir("a/b/c/")
    assert created(lab, held) == {"a/b/c"} | directories(lab, "a", "a/b")
    held.storage.create_dir("a/b")
    held.storage.create_dir("a/d")
    expected = {"a/b/c", "a/d"} | directories(lab, "a", "a/b")
    # On an object store nothing is at a/b/ yet, so that a marker is made.
    assert created(lab, held) == expected | (set() if lab.has_directories else {"a/b"})


def test_directories_that_existed_are_not_ours(plain_lab: Lab) -> None:
    plain_lab.need("create_dir")
    plain_lab.stranger.create_dir("theirs/deep/")
    held = plain_lab.hold()
    held.storage.create_dir("theirs/deep/")
    assert created(plain_lab, held) == set()
    held.storage.write_bytes("theirs/deep/er/f", b"x")
    held.storage.create_dir("theirs/mine/")
    expected = {"theirs/deep/er/f", "theirs/mine"} | directories(plain_lab, "theirs/deep/er")
    assert created(plain_lab, held) == expected


def test_a_directory_that_a_stranger_removed_is_made_again(lab: Lab) -> None:
    lab.need("create_dir")
    held = lab.hold()
    held.storage.create_dir("d/")
    lab.stranger.delete("d/")
    held.storage.write_bytes("d/f", b"x")
    assert held.storage.read_bytes("d/f") == b"x"
    assert created(lab, held) == {"d", "d/f"}


def test_copies_count_with_all_that_is_in_them(lab: Lab) -> None:
    lab.need("copy")
    lab.stranger.write("theirs/a")
    lab.stranger.write("theirs/sub/b")
    held = lab.hold()
    held.storage.copy("theirs/a", "one/copy")
    assert created(lab, held) == {"one/copy"} | directories(lab, "one")
    held.storage.copy("theirs", "two")
    assert created(lab, held) == {"one/copy", "two/a", "two/sub/b"} | directories(
        lab, "one", "two", "two/sub"
    )


def test_a_rename_takes_the_record_along(lab: Lab) -> None:
    lab.need("rename")
    held = lab.hold()
    held.storage.write_bytes("a/f", b"x")
    held.storage.write_bytes("a/sub/g", b"x")
    held.storage.rename("a/f", "b/f")
    assert created(lab, held) == {"a", "a/sub", "a/sub/g", "b", "b/f"}
    held.storage.rename("a", "c/d")
    assert created(lab, held) == {"b", "b/f", "c", "c/d", "c/d/sub", "c/d/sub/g"}
    held.storage.rename("c/d", "a")
    assert created(lab, held) == {"a", "a/sub", "a/sub/g", "b", "b/f", "c"}


def test_a_rename_of_what_existed_counts_the_target_only(plain_lab: Lab) -> None:
    plain_lab.need("rename")
    plain_lab.stranger.write("theirs/f")
    held = plain_lab.hold()
    held.storage.write_bytes("theirs/mine", b"x")
    held.storage.rename("theirs", "moved")
    assert created(plain_lab, held) == {"moved", "moved/mine"}
    held.storage.rename("moved", "again")
    assert created(plain_lab, held) == {"again", "again/mine"}
    held.storage.rename("again", "theirs")
    assert created(plain_lab, held) == {"theirs/mine"}


def test_what_is_removed_leaves_the_record(lab: Lab) -> None:
    held = lab.hold()
    for name in ("x/a", "x/sub/b", "xy/c"):
        held.storage.write_bytes(name, b"x")
    held.storage.delete("x/a")
    assert created(lab, held) == {"x/sub/b", "xy/c"} | directories(lab, "x", "x/sub", "xy")
    lab.need("list")
    held.storage.remove_all("x")
    assert created(lab, held) == {"xy/c"} | directories(lab, "xy")


def test_presigned_writes_and_registered_paths_count(lab: Lab) -> None:
    held = lab.hold()
    held.storage.register_path("log/boot.txt")
    expected = {"log/boot.txt"} | directories(lab, "log")
    assert created(lab, held) == expected
    if not lab.lacks("presign"):
        held.storage.presign_write("upload", 60)
        assert created(lab, held) == expected | {"upload"}


def test_two_storage_objects_have_two_records(plain_lab: Lab) -> None:
    one, two = plain_lab.hold("one"), plain_lab.hold("two")
    one.storage.write_bytes("d/one", b"x")
    two.storage.write_bytes("d/two", b"x")
    assert created(plain_lab, one) == {"d/one"} | directories(plain_lab, "d")
    assert created(plain_lab, two) == {"d/two"}
    plain_lab.end(one)
    assert two.storage.read_bytes("d/two") == b"x"
    plain_lab.end(two)


def test_threads_that_begin_at_once_share_one_record(plain_lab: Lab) -> None:
    held, count = plain_lab.hold("threads"), 8
    together = threading.Barrier(count)

    def write(number: int) -> None:
        together.wait()
        held.storage.write_bytes(f"f{number}", b"x")

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(write, range(count)))
    assert created(plain_lab, held) == {f"f{number}" for number in range(count)}
    plain_lab.end(held)
    assert not plain_lab.stranger.everything()


def test_what_a_test_does_not_use_costs_no_record(plain_lab: Lab) -> None:
    held = plain_lab.hold("idle")
    assert held.storage.name in repr(held.storage)
    note = plain_lab.end(held)
    assert (note.test, note.is_idle, len(note.storages)) == ("idle", True, 1)
    with pytest.raises(errors.StorageError, match="was closed when its fixture ended"):
        held.storage.exists("f")
    assert not held.is_used


# -- what is there after the end


def test_the_storage_is_as_it_was(lab: Lab) -> None:
    lab.stranger.write("theirs/f")
    held = lab.hold()
    storage = held.storage
    before = lab.stranger.everything()
    storage.write_bytes("f", b"x")
    storage.write_bytes("new/deep/f", b"x")
    storage.write_bytes("theirs/mine/f", b"x")
    if not lab.lacks("create_dir"):
        storage.create_dir("empty/dir/")
    if not lab.lacks("copy"):
        storage.copy("theirs", "copied")
    if not lab.lacks("rename"):
        storage.rename("new", "renamed")
    note = lab.end(held)
    assert note.leftovers == ()
    if not lab.area or lab.lacks("list"):
        assert lab.stranger.everything() == before
    else:
        assert not any(lab.area in path for path in lab.stranger.everything())
    assert not lab.replayed()


def test_what_strangers_put_into_our_directories_stays(plain_lab: Lab) -> None:
    held = plain_lab.hold()
    held.storage.write_bytes("a/b/mine", b"x")
    held.storage.write_bytes("a/c/mine", b"x")
    plain_lab.stranger.write("a/b/theirs")
    note = plain_lab.end(held)
    assert plain_lab.stranger.read("a/b/theirs") == b"theirs"
    names = {name for name in plain_lab.stranger.everything() if not name.endswith("/")}
    assert names == {"a/b/theirs"}
    if plain_lab.has_directories:
        assert {(left.path, left.reason) for left in note.leftovers} == {
            ("a", Reason.FOREIGN),
            ("a/b", Reason.FOREIGN),
        }
        assert "a/c/" not in plain_lab.stranger.everything()


def test_directories_that_existed_survive_empty(plain_lab: Lab) -> None:
    plain_lab.need("create_dir")
    plain_lab.stranger.create_dir("theirs/empty/")
    before = plain_lab.stranger.everything()
    held = plain_lab.hold()
    held.storage.write_bytes("theirs/empty/f", b"x")
    plain_lab.end(held)
    assert plain_lab.stranger.everything() == before


def test_what_was_moved_is_not_destroyed(plain_lab: Lab) -> None:
    plain_lab.need("rename")
    plain_lab.stranger.write("theirs/f", b"precious")
    held = plain_lab.hold()
    held.storage.rename("theirs", "moved")
    note = plain_lab.end(held)
    assert plain_lab.stranger.read("moved/f") == b"precious"
    assert [(left.path, left.reason) for left in note.leftovers] == [("moved", Reason.MOVED)]


# -- what existed before


@pytest.mark.parametrize(
    ("on_existing", "left"),
    [("created", None), ("keep", b"new"), ("restore", b"theirs"), ("refuse", b"theirs")],
)
@pytest.mark.parametrize("way", ["write_bytes", "open", "write_from_path", "copy", "rename"])
def test_writing_over_what_existed(
    plain_lab: Lab, tmp_path: Path, way: str, on_existing: str, left: bytes | None
) -> None:
    if way in {"copy", "rename"}:
        plain_lab.need(way)
    plain_lab.stranger.write("f", b"theirs")
    (tmp_path / "src").write_bytes(b"new")
    held = plain_lab.hold(on_existing=on_existing)
    storage = held.storage
    storage.write_bytes("new", b"new")

    def write() -> None:
        if way == "write_bytes":
            storage.write_bytes("f", b"new")
        elif way == "open":
            with storage.open("f", "wb") as file:
                file.write(b"new")
        elif way in {"copy", "rename"}:
            getattr(storage, way)("new", "f")
        else:
            getattr(storage, way)("f", tmp_path / "src")

    if on_existing == "refuse":
        with pytest.raises(errors.AlreadyExists, match="on_existing: refuse"):
            write()
        assert plain_lab.stranger.read("f") == b"theirs"
        assert created(plain_lab, held) == {"new"}
    else:
        write()
        assert plain_lab.stranger.read("f") == b"new"
        assert "f" in created(plain_lab, held)
    plain_lab.end(held)
    found = plain_lab.stranger.everything()
    assert set(found) == (set() if left is None else {"f"})
    assert left is None or plain_lab.stranger.read("f") == left


def test_what_is_ensured_is_shared_until_the_run_ends(plain_lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "src").write_bytes(b"image")
    one, two = plain_lab.hold("one"), plain_lab.hold("two")
    assert one.storage.ensure("d/image", tmp_path / "src")
    assert "d/image" in one.storage.get_created_resources()
    plain_lab.end(one)
    assert plain_lab.stranger.read("d/image") == b"image"
    assert not two.storage.ensure("d/image", tmp_path / "src")
    assert two.storage.get_created_resources() == set()
    plain_lab.end(two)
    plain_lab.finish()
    assert plain_lab.stranger.everything() == {}


def test_append_to_what_existed_is_restored(fs_lab: Lab) -> None:
    fs_lab.stranger.write("log", b"theirs\n")
    held = fs_lab.hold(on_existing="restore")
    with held.storage.open("log", "ab") as file:
        file.write(b"ours\n")
    assert fs_lab.stranger.read("log") == b"theirs\nours\n"
    fs_lab.end(held)
    assert fs_lab.stranger.read("log") == b"theirs\n"


@pytest.mark.parametrize("removal", ["delete", "remove_all", "remove_all above"])
def test_restore_puts_back_what_was_removed(plain_lab: Lab, removal: str) -> None:
    plain_lab.need("list")
    plain_lab.stranger.write("d/f", b"theirs")
    plain_lab.stranger.write("d/sub/g", b"theirs too")
    before = plain_lab.stranger.everything()
    held = plain_lab.hold(on_existing="restore")
    if removal == "delete":
        held.storage.delete("d/f")
    elif removal == "remove_all":
        held.storage.remove_all("d/f")
    else:
        held.storage.remove_all("d")
    assert not held.storage.exists("d/f")
    plain_lab.end(held)
    assert plain_lab.stranger.everything() == before


def test_restore_puts_back_an_empty_directory(plain_lab: Lab) -> None:
    plain_lab.need("create_dir")
    plain_lab.stranger.create_dir("empty/")
    before = plain_lab.stranger.everything()
    held = plain_lab.hold(on_existing="restore")
    held.storage.delete("empty/")
    assert not held.storage.exists("empty/")
    plain_lab.end(held)
    assert plain_lab.stranger.everything() == before


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        (b" ", _touch, "'d/sub/': ' ' in it has a name that opendal cannot use"),
        (b"x ", _touch, "'d/sub/': 'x ' in it has a name that opendal cannot use"),
        (b"d /", os.mkdir, "'d/sub/': 'd ' in it has a name that opendal cannot use"),
        (b"\xff", _touch, "has a name that opendal cannot use"),
        (b"..\\x", _touch, "'d/sub/..*x' has a name that "),
        (b"link", lambda place: os.symlink("nowhere", place), "'d/sub/': 'link' in it is a link"),  # noqa: PTH211
        (b"pipe", os.mkfifo, "'d/sub/': 'pipe' in it is a pipe"),
    ],
    ids=["blank", "blank-at-end", "directory", "no-utf-8", "backslash", "link", "pipe"],
)
def test_restore_removes_no_directory_that_it_could_not_put_back(
    fs_lab: Lab, name: bytes, make: Callable[[bytes], object], reason: str
) -> None:
    directory = Path(fs_lab.kwargs["root"]) / "d" / "sub"
    directory.mkdir(parents=True)
    place = os.fsencode(directory) + b"/" + name
    make(place)
    (directory / "f").write_bytes(b"theirs")
    held = fs_lab.hold(on_existing="restore")
    with pytest.raises(errors.Unsupported, match=f"{reason}.*on_existing: restore cannot put back"):
        held.storage.remove_all("d")
    assert os.path.lexists(place)
    assert (directory / "f").read_bytes() == b"theirs"
    fs_lab.end(held)
    assert os.path.lexists(place)


def test_the_look_before_a_removal_has_the_time_limit_and_the_errors_of_the_storage(
    fs_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs_lab.stranger.write("d/f", b"theirs")
    storage = fs_lab.open(on_existing="restore")
    storage.exists("d/f")

    def refused(_: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "d")

    monkeypatch.setattr("pytest_opendal.tracking.looked_at", refused)
    with pytest.raises(errors.PermissionDenied, match="^lab: remove_all 'd/': "):
        storage.remove_all("d")
    go_on = threading.Event()
    monkeypatch.setattr("pytest_opendal.tracking.looked_at", lambda _: go_on.wait(30))
    fs_lab.run.connection(fs_lab.settings()).timeout = 0.3
    with pytest.raises(errors.StorageTimeout, match="^lab: remove_all 'd/': no answer within"):
        storage.remove_all("d")
    go_on.set()
    assert fs_lab.stranger.read("d/f") == b"theirs"


@pytest.mark.parametrize("key", ["d/x ", "d/.. /x"])
def test_restore_removes_no_key_that_opendal_calls_otherwise(s3_lab: Lab, key: str) -> None:
    about = s3_lab.kwargs
    client = boto3.client(
        "s3",
        endpoint_url=about["endpoint"],
        region_name=about["region"],
        aws_access_key_id=about["access_key_id"],
        aws_secret_access_key=about["secret_access_key"],
    )
    place = {"Bucket": about["bucket"], "Key": f"{about['root'].strip('/')}/{key}"}
    client.put_object(**place, Body=b"theirs")
    s3_lab.stranger.write("d/y")
    held = s3_lab.hold(on_existing="restore")
    # opendal 0.45 cuts it in the listing already, and finds nothing of that name.
    refusal = errors.NotFound if IS_045 and key.endswith(" ") else errors.Unsupported
    with pytest.raises(refusal, match="restore cannot put back|read 'd/x'"):
        held.storage.remove_all("d")
    s3_lab.end(held)
    assert client.get_object(**place)["Body"].read() == b"theirs"
    assert s3_lab.stranger.read("d/y") == b"theirs"
    client.delete_object(**place)


@pytest.mark.parametrize("on_existing", ["created", "keep", "restore"])
def test_what_was_written_over_and_renamed(plain_lab: Lab, on_existing: str) -> None:
    plain_lab.need("rename")
    plain_lab.stranger.write("f", b"theirs")
    held = plain_lab.hold(on_existing=on_existing)
    held.storage.write_bytes("f", b"new")
    held.storage.rename("f", "g")
    plain_lab.end(held)
    left: dict[str, dict[str, bytes | None]] = {"keep": {"g": b"new"}, "restore": {"f": b"theirs"}}
    assert plain_lab.stranger.everything() == left.get(on_existing, {})


def test_restore_moves_back_what_was_moved(plain_lab: Lab) -> None:
    plain_lab.need("rename")
    plain_lab.stranger.write("theirs/f", b"precious")
    before = plain_lab.stranger.everything()
    held = plain_lab.hold(on_existing="restore")
    held.storage.rename("theirs", "moved/away")
    held.storage.write_bytes("moved/away/f", b"changed")
    note = plain_lab.end(held)
    assert note.leftovers == ()
    assert plain_lab.stranger.everything() == before


@pytest.mark.parametrize("pattern", ["keep/*", "keep", "/keep/", "*.key", "keep/**/*.key"])
def test_protected_paths_are_never_touched(plain_lab: Lab, pattern: str) -> None:
    plain_lab.stranger.write("keep/a.key", b"theirs")
    held = plain_lab.hold(protect=[pattern])
    storage = held.storage
    storage.write_bytes("src", b"x")
    ways: dict[str, Callable[[], object]] = {
        "write": lambda: storage.write_bytes("keep/a.key", b"x"),
        "open": lambda: storage.open("keep/a.key", "wb"),
        "delete": lambda: storage.delete("keep/a.key"),
        "register": lambda: storage.register_path("keep/a.key"),
    }
    if not plain_lab.lacks("list"):
        ways["remove_all above"] = lambda: storage.remove_all("keep")
        ways["remove_all"] = lambda: storage.remove_all("keep/a.key")
    if not plain_lab.lacks("copy"):
        ways["copy"] = lambda: storage.copy("src", "keep/a.key")
    if not plain_lab.lacks("rename"):
        ways["rename away"] = lambda: storage.rename("keep", "away")
        ways["rename over"] = lambda: storage.rename("src", "keep/a.key")
    for name, use in ways.items():
        with pytest.raises(errors.Protected, match="protected by"):
            pytest.fail(f"{name}: {use()}")
    assert storage.read_bytes("keep/a.key") == b"theirs"
    assert created(plain_lab, held) == {"src"}
    storage.delete("src")


@pytest.fixture(params=["none", "test"])
def any_fs_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with lab_of("fs", request, tmp_path, request.param) as lab:
        yield lab


@pytest.mark.parametrize("on_existing", ["created", "restore"])
@pytest.mark.parametrize("first", [False, True], ids=["new", "there before"])
def test_a_file_that_is_given_up_takes_nothing_from_another_writer(
    plain_lab: Lab, on_existing: str, first: bool
) -> None:
    if first:
        plain_lab.stranger.write("f", b"old")
    held = plain_lab.hold(on_existing=on_existing)
    with pytest.raises(ZeroDivisionError), held.storage.open("f", "wb"):
        held.storage.write_bytes("f", b"mine")
        raise ZeroDivisionError
    assert created(plain_lab, held) == {"f"}
    assert plain_lab.end(held).leftovers == ()
    comes_back = first and on_existing == "restore"
    assert set(plain_lab.stranger.everything()) == ({"f"} if comes_back else set())
    assert not comes_back or plain_lab.stranger.read("f") == b"old"


@pytest.mark.parametrize("on_existing", ["created", "restore"])
def test_two_writers_of_a_path_that_both_give_up_change_nothing(
    plain_lab: Lab, on_existing: str
) -> None:
    there = {"d/f0": b"old", "d/f1": b"old"}
    for name, content in there.items():
        plain_lab.stranger.write(name, content)
    held = plain_lab.hold(on_existing=on_existing)
    for name in ("d/f{}", "new/f{}"):
        for first in (0, 1):
            files = [held.storage.open(name.format(first), "wb") for _ in range(2)]
            for number in (first, 1 - first):
                files[number].write(b"mine")
                files[number].discard()
    assert created(plain_lab, held) == set()
    assert plain_lab.end(held).leftovers == ()
    assert {name for name in plain_lab.stranger.everything() if not name.endswith("/")} == {*there}
    assert {name: plain_lab.stranger.read(name) for name in there} == there


def test_a_file_that_is_given_up_leaves_the_directory_that_another_waits_for(
    plain_lab: Lab,
) -> None:
    held = plain_lab.hold()
    one, other = held.storage.open("d/x", "wb"), held.storage.open("d/y", "wb")
    one.discard()
    other.write(b"x")
    other.close()
    assert created(plain_lab, held) == {"d/y", *directories(plain_lab, "d")}
    assert plain_lab.end(held).leftovers == ()
    assert plain_lab.stranger.everything() == {}


def test_a_directory_that_another_removed_since_a_file_was_opened_is_ours(plain_lab: Lab) -> None:
    one, other = plain_lab.hold("t.py::one"), plain_lab.hold("t.py::other")
    one.storage.write_bytes("shared/deep/b", b"x")
    with other.storage.open("shared/deep/a", "wb") as file:
        file.write(b"x")
        assert plain_lab.end(one).leftovers == ()
    assert created(plain_lab, other) >= {
        "shared/deep/a",
        *directories(plain_lab, "shared", "shared/deep"),
    }
    assert plain_lab.end(other).leftovers == ()
    assert plain_lab.stranger.everything() == {}


def test_a_failed_write_does_not_keep_the_old_content_of_another_file(
    plain_lab: Lab, tmp_path: Path
) -> None:
    """Which was saved while it ran."""
    for name in ("slow", "quick"):
        plain_lab.stranger.write(name, b"old")
    held = plain_lab.hold(on_existing="restore")

    class Breaking:
        reads = 0

        async def open(self, *_: object) -> Breaking:
            return self

        async def read(self, _: int) -> bytes:
            self.reads += 1
            if self.reads == 1:
                return bytes(9 << 20)
            await asyncio.get_running_loop().run_in_executor(None, overwrite)
            raise OSError("breaks")

        async def close(self) -> None: ...

    def overwrite() -> None:
        held.storage.write_bytes("quick", b"new")

    with pytest.raises(errors.StorageError, match="breaks"):
        held.storage.write_from_path("slow", "x", Breaking())
    assert held.storage.read_bytes("quick") == b"new"
    assert plain_lab.end(held).leftovers == ()
    for name in ("slow", "quick"):
        assert plain_lab.stranger.read(name) == b"old"


def test_two_that_overwrite_a_path_at_once_save_what_was_there_before(plain_lab: Lab) -> None:
    for number in range(10):
        plain_lab.stranger.write(f"f{number}", b"old")
    held = plain_lab.hold(on_existing="restore")

    async def overwrite() -> None:
        storage = AsyncStorage(held.storage)
        await asyncio.gather(
            *(storage.write_bytes(f"f{number % 10}", b"new") for number in range(30))
        )

    asyncio.run(overwrite())
    assert plain_lab.end(held).leftovers == ()
    found = [plain_lab.stranger.read(f"f{number}") for number in range(10)]
    assert found == [b"old"] * 10


@pytest.mark.parametrize("how", ["delete", "remove_all", "rename"])
def test_a_file_that_is_published_where_its_place_was_removed_is_ours(
    any_fs_lab: Lab, how: str
) -> None:
    held = any_fs_lab.hold()
    storage = held.storage
    ways: dict[str, Callable[[], object]] = {
        "delete": lambda: storage.delete("d/f"),
        "remove_all": lambda: storage.remove_all("d"),
        "rename": lambda: storage.rename("d", "e"),
    }
    storage.write_bytes("d/other", b"x")
    with storage.open("d/f", "wb") as file:
        file.write(b"x")
        ways[how]()
    assert {"d", "d/f"} <= created(any_fs_lab, held)
    assert any_fs_lab.end(held).leftovers == ()
    assert {path for path in any_fs_lab.stranger.everything() if not path.endswith("/")} == set()


def test_a_write_that_fails_spares_what_a_device_has_put_there(any_fs_lab: Lab) -> None:
    held = any_fs_lab.hold()
    held.storage.write_bytes("ours", b"1")
    any_fs_lab.stranger.write("theirs", b"from the device")

    class Breaking:
        def capability(self) -> object:
            raise OSError("breaks")

        async def open(self, *_: object) -> object:
            raise OSError("breaks")

    with pytest.raises(errors.StorageError, match="breaks"):
        held.storage.write_from_path("theirs", "x", Breaking())
    assert held.storage.read_bytes("theirs") == b"from the device"
    with pytest.raises(errors.StorageError, match="breaks"):
        held.storage.write_from_path("new", "x", Breaking())
    assert not held.storage.exists("new")


def test_a_signed_removal_is_a_removal(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if IS_045:
        pytest.skip("opendal 0.45 signs no delete")
    with lab_of("moto", request, tmp_path, "none") as lab:
        lab.stranger.write("golden/img", b"precious")
        lab.stranger.write("other", b"old")
        held = lab.hold(protect=["golden/*"], on_existing="restore")
        with pytest.raises(errors.Protected):
            held.storage.presign_delete("golden/img", 60)
        with pytest.raises(errors.Protected):
            held.storage.assert_presign("golden/img", "delete")
        held.storage.assert_presign("other", "delete")
        assert not held.storage.exists("other")
        held.storage.presign_delete("golden2", 60)
        assert lab.end(held).leftovers == ()
        assert lab.stranger.everything() == {"golden/img": b"precious", "other": b"old"}


def test_a_signed_removal_that_nobody_performs_takes_nothing_from_the_session(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if IS_045:
        pytest.skip("opendal 0.45 signs no delete")
    with lab_of("moto", request, tmp_path, "none") as lab:
        session = lab.hold("", on_existing="restore")
        session.storage.write_bytes("image", b"x")
        held = lab.hold(on_existing="restore")
        held.storage.presign_delete("image", 60)
        assert lab.end(held).leftovers == ()
        assert session.storage.get_created_resources() == {"image"}
        assert lab.end(session).leftovers == ()
        assert lab.stranger.everything() == {}


def test_what_cannot_be_signed_saves_nothing(fs_lab: Lab) -> None:
    fs_lab.stranger.write("f", b"old")
    held = fs_lab.hold(on_existing="restore")
    with pytest.raises(errors.Unsupported):
        held.storage.presign_delete("f", 60)
    assert held.tracker.record.saved == {}


# -- what fails


def test_a_refused_write_leaves_no_record(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server = request.getfixturevalue("seaweedfs")
    (tmp_path / "src").write_bytes(b"x" * (9 << 20))
    with lab_of("seaweedfs", request, tmp_path) as writer:
        writer.stranger.write("theirs")
        reader = Lab(
            "seaweedfs", "s3", {**writer.kwargs, **server.readonly_kwargs}, "none", tmp_path
        )
        held = reader.hold()
        storage = held.storage
        ways: list[Callable[[], object]] = [
            lambda: storage.write_bytes("f", b"x"),
            lambda: storage.write_bytes("theirs", b"x"),
            lambda: storage.write_from_path("large", tmp_path / "src"),
            lambda: storage.open("opened", "wb").close(),
            lambda: storage.create_dir("d/"),
            lambda: storage.copy("theirs", "copy"),
            lambda: storage.delete("theirs"),
            lambda: storage.remove_all("theirs"),
        ]
        for use in ways:
            with pytest.raises(errors.PermissionDenied, match="lab: ") as caught:
                use()
            for secret in (server.readonly_access_key_id, server.readonly_secret_access_key):
                assert secret not in str(caught.value)
        assert created(reader, held) == set()
        assert writer.stranger.everything() == {"theirs": b"theirs"}
        assert reader.end(held).leftovers == ()
        reader.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 256 KiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if mount is None or os.geteuid() or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a tiny file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("way", ["write_bytes", "open", "append", "write_from_path", "copy"])
@pytest.mark.parametrize("name", ["theirs", "fresh/file"])
def test_a_full_disk_damages_nothing(tmp_path: Path, tiny_disk: Path, way: str, name: str) -> None:
    lab = Lab("fs", "fs", {"root": str(tiny_disk)}, "none", tmp_path)
    lab.stranger.write("theirs", b"theirs")
    lab.stranger.write("big", b"x" * (140 << 10))
    (tmp_path / "src").write_bytes(b"x" * (9 << 20))
    before = lab.stranger.everything()
    held = lab.hold()
    storage = held.storage

    def fill() -> None:
        if way == "write_bytes":
            storage.write_bytes(name, b"y" * (400 << 10))
        elif way == "write_from_path":
            storage.write_from_path(name, tmp_path / "src")
        elif way == "copy":
            storage.copy("big", name)
        else:
            with storage.open(name, "ab" if way == "append" else "wb") as file:
                file.write(b"y" * (400 << 10))

    with pytest.raises(errors.StorageError, match="space"):
        fill()
    assert lab.stranger.everything() == before
    assert created(lab, held) == set()
    lab.end(held)
    lab.close()


def test_an_area_in_which_the_first_write_was_refused_was_never_made(
    seaweedfs: servers.SeaweedFS, tmp_path: Path
) -> None:
    reader = Lab("seaweedfs", "s3", seaweedfs.readonly_kwargs, "test", tmp_path)
    held = reader.hold()
    for _ in range(2):
        with pytest.raises(errors.PermissionDenied):
            held.storage.write_bytes("f", b"ours")
        assert [record for record in reader.replayed() if record.created] == []
    assert reader.end(held).leftovers == ()
    reader.close()
    assert list((tmp_path / "journals").iterdir()) == []


@pytest.mark.skipif(IS_045, reason="if_not_exists needs opendal 0.46 or newer")
def test_an_area_in_which_a_device_was_first_stays_ours(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with lab_of("seaweedfs", request, tmp_path, "test") as lab:
        held = lab.hold()
        lab.stranger.write("f")
        with pytest.raises(errors.StorageError):
            held.storage.write_bytes("f", b"ours", if_not_exists=True)
        assert lab.end(held).leftovers == ()
        assert lab.stranger.everything() == {}
