"""Open files, beyond what the contract suite asks of every storage: how they meet the storage object."""

from __future__ import annotations

import gc
import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import errors
from pytest_opendal.run import UnclosedFileWarning

import servers
from contract import IS_045

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_opendal.files import StorageFile

    from contract import Lab


def test_a_file_shows_its_path_and_state(fs_lab: Lab) -> None:
    storage = fs_lab.open()
    with storage.open("d/f", "wb") as file:
        assert repr(file) == "<WritingFile 'd/f' mode='wb' open>"
    assert repr(file) == "<WritingFile 'd/f' mode='wb' closed>"
    with storage.open("d/f") as file:
        assert repr(file) == "<ReadingFile 'd/f' mode='rb' open>"


def test_nothing_is_published_before_the_close(fs_lab: Lab) -> None:
    storage = fs_lab.open()
    file = storage.open("f", "wb")
    file.write(b"x" * (20 << 20))
    assert fs_lab.stranger.everything() == {}
    file.close()
    assert len(fs_lab.stranger.read("f")) == 20 << 20


def test_the_methods_of_opendal_file(fs_lab: Lab, tmp_path: Path) -> None:
    storage = fs_lab.open()
    (tmp_path / "src").write_bytes(b"from a path, ")
    with storage.open("f", "wb") as file:
        file.write_bytes(b"bytes, ")
        file.write_from_path(tmp_path / "src")
        file.write_from_path("f2", _other(tmp_path, "f2", b"from an operator"))
    with storage.open("f", "rb") as file:
        assert file.seek(7) == 7
        assert file.read_bytes() == b"from a path, from an operator"
        file.seek(-8, 2)
        file.read_into_path(tmp_path / "deep" / "dst")
        file.seek(0)
        file.read_into_path("dst", _other(tmp_path, "other", b""))
    assert (tmp_path / "deep" / "dst").read_bytes() == b"operator"
    assert (tmp_path / "op" / "dst").read_bytes() == b"bytes, from a path, from an operator"


def _other(tmp_path: Path, name: str, content: bytes) -> Any:
    import opendal

    operator = opendal.Operator("fs", root=str(tmp_path / "op"))
    operator.write(name, content)
    return operator


def test_behind_the_end_of_a_file_there_is_nothing(lab: Lab) -> None:
    storage = lab.open()
    storage.write_bytes("f", b"0123456789")
    with storage.open("f") as file:
        assert file.seek(100) == 100
        assert file.read() == b""
        assert file.read(3) == b""
        assert file.readline() == b""
        assert file.tell() == 100
        assert file.seek(-3, 2) == 7
        assert file.read() == b"789"
        assert file.seek(4) == 4
        assert file.seek(-2, 1) == 2
        assert file.read(2) == b"23"


def test_a_negative_position_is_refused_and_the_old_one_stays(lab: Lab) -> None:
    storage = lab.open()
    storage.write_bytes("f", b"0123456789")
    with storage.open("f") as file:
        assert file.read(2) == b"01"
        for arguments in ((-3,), (-20, 1), (-20, 2)):
            with pytest.raises(ValueError, match="negative position -"):
                file.seek(*arguments)
        assert file.tell() == 2
        assert file.read(2) == b"23"


def test_what_has_grown_since_it_was_opened_can_be_read(fs_lab: Lab) -> None:
    """A device goes on with its log."""
    storage = fs_lab.open()
    storage.write_bytes("log", b"one")
    with storage.open("log") as file:
        assert file.seek(5) == 5
        assert file.read() == b""
        fs_lab.stranger.write("log", b"one, two")
        assert file.seek(5) == 5
        assert file.read() == b"two"


@pytest.mark.parametrize("of", ["storage", "file"])
def test_another_operator_that_falls_silent_costs_one_timeout(fs_lab: Lab, of: str) -> None:
    storage = fs_lab.open(timeout=1)
    storage.write_bytes("f", b"x")
    begun = time.monotonic()
    with servers.black_hole() as address, storage.open("f") as file:
        operator = servers.silent_operator(address)
        with pytest.raises(errors.StorageTimeout, match="read 'f': cannot write 'k' of the other"):
            if of == "storage":
                storage.read_into_path("f", "k", operator)
            else:
                file.read_into_path("k", operator)
    assert time.monotonic() - begun < 10


def test_a_download_that_breaks_off_leaves_the_file_of_the_other_operator(
    fs_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fs_lab.open()
    storage.write_bytes("f", b"x")
    other = _other(tmp_path, "f", b"old")

    async def breaks_off(*_: object) -> AsyncIterator[bytes]:
        yield bytes(9 << 20)
        raise errors.StorageUnavailable("broke off")

    monkeypatch.setattr("pytest_opendal.transfer.stream", breaks_off)
    with pytest.raises(errors.StorageUnavailable):
        storage.read_into_path("f", "f", other)
    assert other.read("f") == b"old"


def test_a_file_that_cannot_be_closed_does_not_keep_the_cleanup_from_its_work(
    fs_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = fs_lab.hold()
    held.storage.write_bytes("f", b"x")
    file = held.storage.open("f")
    discard = type(file).discard

    def fails(one: StorageFile) -> None:
        discard(one)
        raise errors.StorageTimeout("no answer")

    monkeypatch.setattr(type(file), "discard", fails)
    fs_lab.end(held)
    assert fs_lab.stranger.everything() == {}


def test_an_append_that_cannot_begin_leaves_no_note(
    fs_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fs_lab.open()

    async def fails(*_: object) -> int:
        raise errors.PermissionDenied("refused")

    monkeypatch.setattr("pytest_opendal.core.Operations.length", fails)
    with pytest.raises(errors.PermissionDenied):
        storage.open("f", "ab")
    assert storage.get_created_resources() == set()


def test_an_argument_that_python_s_open_has(fs_lab: Lab) -> None:
    with pytest.raises(TypeError, match=r"^open\(\) takes no encoding=; known are .*; text modes "):
        fs_lab.open().open("f", "w", encoding="utf-8")
    with pytest.raises(TypeError, match="did you mean 'content_type'"):
        fs_lab.open().open("f", "wb", contenttype="text/plain")


@pytest.mark.parametrize("method", ["write_from_path", "ensure"])
@pytest.mark.parametrize(("name", "what"), [("missing", "no local file"), (".", "is a directory")])
def test_a_source_that_cannot_be_read_is_told_with_its_target(
    fs_lab: Lab, tmp_path: Path, method: str, name: str, what: str
) -> None:
    operation = "ensure" if method == "ensure" else "write"
    with pytest.raises(errors.StorageError, match=f"^lab: {operation} 'd/f': .*{what}") as caught:
        getattr(fs_lab.open(), method)("d/f", tmp_path / name)
    assert str(caught.value).endswith("nothing was written")
    assert caught.value.__cause__ is None


def test_a_file_that_is_read_and_dropped_is_closed(fs_lab: Lab) -> None:
    storage = fs_lab.open()
    storage.write_bytes("f", b"x")
    kept = storage.open("f")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        storage.open("f").read()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    storage.close()
    assert kept.closed


def test_a_name_that_a_copy_could_not_have_is_refused_before_the_first(fs_lab: Lab) -> None:
    """An escape of systemd; here a backslash stands between directories."""
    storage = fs_lab.open()
    storage.write_bytes("d/a", b"x")
    root = Path(fs_lab.kwargs["root"])
    (root / "d" / "dev-disk-by\\x2duuid.mount").write_bytes(b"x")
    if IS_045:  # it lists that file under another name, which nobody finds
        with pytest.raises(errors.NotFound, match="'d/dev-disk-by/x2duuid.mount'"):
            storage.copy("d", "t")
        return
    with pytest.raises(errors.InvalidPath, match="would get the name 't/dev-disk-by/x2duuid"):
        storage.copy("d", "t")
    assert not (root / "t").exists()


@pytest.mark.filterwarnings("error")
def test_a_copy_that_is_refused_in_the_middle_leaves_nothing_to_await(fs_lab: Lab) -> None:
    for number in range(40):
        fs_lab.stranger.write(f"d/{number}", b"x")
    fs_lab.stranger.write("t/3", b"x")
    with pytest.raises(errors.AlreadyExists):
        fs_lab.open(on_existing="refuse").copy("d", "t")
    gc.collect()


def test_a_missing_source_ends_nothing(fs_lab: Lab, tmp_path: Path) -> None:
    storage = fs_lab.open()
    with storage.open("f", "wb") as file:
        file.write(b"before ")
        with pytest.raises(errors.NotFound, match="no local file"):
            file.write_from_path(tmp_path / "missing")
        file.write(b"after")
    assert storage.read_bytes("f") == b"before after"


def test_reading_all_of_a_large_file_asks_a_few_times(
    fs_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fs_lab.open()
    storage.write_bytes("f", b"x" * (20 << 20))
    asked: list[object] = []
    run = storage._loop.run

    def counted(_: object, call: Any) -> Any:
        asked.append(call)
        return run(call)

    monkeypatch.setattr(type(storage._loop), "run", counted)
    with storage.open("f") as file:
        assert len(file.read()) == 20 << 20
    assert len(asked) < 10


def test_text_is_decoded_across_pieces(fs_lab: Lab) -> None:
    storage = fs_lab.open()
    text = "ä€🙂\n" * 100_000
    with storage.open("f", "w") as file:
        file.write(text)
    with storage.open("f", "r") as file:
        assert file.read(4) == "ä€🙂\n"
        assert file.tell() == len("ä€🙂\n".encode())
        assert file.read_bytes() == text.encode()[10:]
        assert file.seek(10) == 10
        assert file.readline() == "ä€🙂\n"
        assert file.read() == text[8:]


def test_text_needs_text(fs_lab: Lab) -> None:
    storage = fs_lab.open()
    with pytest.raises((TypeError, AttributeError)), storage.open("f", "w") as file:
        file.write(b"bytes")
    with pytest.raises(TypeError), storage.open("f", "wb") as file:
        file.write("text")
    assert not storage.exists("f")


def test_what_a_file_cannot_do_is_an_io_error(fs_lab: Lab) -> None:
    storage = fs_lab.open()
    with storage.open("f", "wb") as file:
        for use in (file.read, file.readline, file.read_bytes, lambda: list(file)):
            with pytest.raises(io.UnsupportedOperation, match="cannot read"):
                use()


def test_the_storage_closes_what_a_test_forgot(fs_lab: Lab) -> None:
    held = fs_lab.hold()
    held.storage.write_bytes("f", b"x")
    reading = held.storage.open("f")
    reading.read(1)
    writing = held.storage.open("g", "wb")
    writing.write(b"x")
    with pytest.warns(UnclosedFileWarning, match="'g' was opened for writing and never closed"):
        fs_lab.end(held)
    assert reading.closed
    assert writing.closed
    assert fs_lab.stranger.everything() == {}


def test_a_failed_close_is_told_once_and_leaves_nothing(fs_lab: Lab) -> None:
    held = fs_lab.hold()
    file = held.storage.open("d/f", "wb")
    file.write(b"x")
    fs_lab.stranger.write("d")
    with pytest.raises((NotADirectoryError, errors.AlreadyExists)):
        file.close()
    assert file.closed
    file.close()
    assert "d/f" not in held.storage.get_created_resources()
    fs_lab.end(held)
    assert fs_lab.stranger.read("d") == b"theirs"
