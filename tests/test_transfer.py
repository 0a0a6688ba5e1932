"""Streams between a storage and this machine."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import tempfile
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal
import pytest

from pytest_opendal import errors, transfer
from pytest_opendal.loop import is_on_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator

    from contract import Lab

SILENCE = 30.0


def test_a_replaced_file_is_complete_or_untouched(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), transfer.replacing(target) as part:
        part.write_bytes(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    with transfer.replacing(target) as part:
        part.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with transfer.replacing(pipe) as part:
        assert part == pipe
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["f", "ä" * 120, "🙂" * 60, "x" * 255, "f\udcff"])
def test_the_name_beside_a_file_fits_into_a_directory(tmp_path: Path, name: str) -> None:
    beside = transfer.beside(tmp_path / name)
    assert beside.parent == tmp_path
    beside.write_bytes(b"")
    assert beside != transfer.beside(tmp_path / name)


def test_what_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert transfer.can_replace(tmp_path / "file")
    assert transfer.can_replace(tmp_path / "missing")
    assert not transfer.can_replace(tmp_path / "link")
    assert not transfer.can_replace(tmp_path)
    assert not transfer.can_replace(Path("/dev/null"))
    assert not transfer.can_replace(tmp_path / "file" / "below")


def test_what_would_be_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").write_bytes(b"")
    assert transfer.has_content(tmp_path / "file")
    assert not transfer.has_content(tmp_path / "empty")
    assert not transfer.has_content(tmp_path / "missing")
    assert not transfer.has_content(None)


def test_a_failed_append_is_cut_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old")
    before = log.stat().st_mtime_ns
    with pytest.raises(ZeroDivisionError), transfer.cut_back_on_failure(log):
        log.write_bytes(b"old and half")
        raise ZeroDivisionError
    assert log.read_bytes() == b"old"
    assert log.stat().st_mtime_ns == before
    with transfer.cut_back_on_failure(log):
        log.write_bytes(b"old and new")
    assert log.read_bytes() == b"old and new"
    with pytest.raises(ZeroDivisionError), transfer.cut_back_on_failure(None):
        raise ZeroDivisionError


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "old").touch(mode=0o640)
    (tmp_path / "part").touch(mode=0o600)
    transfer.copy_mode(tmp_path / "old", tmp_path / "part")
    assert (tmp_path / "part").stat().st_mode & 0o777 == 0o640
    transfer.copy_mode(tmp_path / "missing", tmp_path / "part")


def test_a_link_stays_and_leads_to_the_new_content(tmp_path: Path) -> None:
    target, link = tmp_path / "there", tmp_path / "link"
    target.touch(mode=0o600)
    link.symlink_to("there")
    with transfer.replacing(link) as part:
        part.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_target_that_cannot_be_written_is_named_itself(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "f"
    with pytest.raises(FileNotFoundError) as caught, transfer.replacing(target) as part:
        part.write_bytes(b"x")
    assert caught.value.filename == str(target)
    assert "part" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("HTTP://h/f?sig=SIGNED", "http://h/f"),
        ("ftp://h/f?sig=SIGNED", "ftp://h/f"),
        ("http://h/f?sig=SIGNED", "http://h/f"),
        ("https://user:SIGNED@h:1/f#SIGNED", "https://h:1/f"),
        ("dir/f?x", "dir/f?x"),
        (Path("dir/f"), "dir/f"),
    ],
)
def test_a_source_is_shown_without_secrets(source: str | Path, expected: str) -> None:
    assert transfer.shown(source) == expected


@pytest.mark.parametrize(
    ("name", "kind"), [("missing", errors.NotFound), (".", errors.IsADirectory)]
)
def test_a_source_that_cannot_be_read(
    tmp_path: Path, name: str, kind: type[errors.StorageError]
) -> None:
    with pytest.raises(kind, match="nothing was written"):
        transfer.open_source(tmp_path / name)


@pytest.mark.parametrize("source", ["ftp://h/f?sig=SIGNED", "s3://key:SIGNED@bucket/f"])
def test_a_url_of_another_scheme_is_no_path(source: str) -> None:
    with pytest.raises(errors.Unsupported, match="neither a local path nor an http") as caught:
        transfer.open_source(source)
    assert "SIGNED" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("http://127.0.0.1:9/ä?sig=SIGNED", "it is no URL, or not quoted"),
        ("http://127.0.0.1:9/a b?sig=SIGNED", "it is no URL, or not quoted"),
        ("http://127.0.0.1:x/?sig=SIGNED", "it is no URL, or not quoted"),
        ("http://user:SIGNED@127.0.0.1:9/", "no user or password may be in it"),
    ],
)
def test_a_url_that_cannot_be_asked_for_says_why(url: str, flaw: str) -> None:
    async def read() -> None:
        async with aclosing(transfer.read_url(url, 5)) as pieces:
            await anext(pieces)

    with pytest.raises(transfer.SourceUnavailable, match=flaw) as caught:
        asyncio.run(read())
    assert "SIGNED" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_chain_begins_with_the_head() -> None:
    async def rest() -> AsyncIterator[bytes]:
        yield b"b"
        yield b"c"

    async def all_of(head: bytes) -> list[bytes]:
        return [piece async for piece in transfer.chain(head, rest())]

    assert asyncio.run(all_of(b"a")) == [b"a", b"b", b"c"]
    assert asyncio.run(all_of(b"")) == [b"b", b"c"]


async def _pieces(count: int) -> AsyncGenerator[bytes]:
    for number in range(count):
        yield bytes([number])


def test_a_thread_takes_all_pieces_in_order() -> None:
    taken: list[bytes] = []
    asyncio.run(transfer.hand_over(_pieces(100), taken.append))
    assert taken == [bytes([number]) for number in range(100)]


def test_a_full_disk_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """All pieces that wait fail like the first one; asyncio logs errors that nobody asks for."""
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as caught:
        asyncio.run(transfer.hand_over(_pieces(100), full.write))
    assert caught.value.errno == errno.ENOSPC
    del caught
    gc.collect()
    assert caplog.messages == []


LARGE = bytes(range(256)) * (40 << 10)


def _pass_on(lab: Lab, take: Callable[[bytes], object]) -> Coroutine[Any, Any, None]:
    return transfer.pass_on(lab.run.connection(lab.settings()), "large", take)


def test_all_of_an_object_is_passed_on(s3_lab: Lab) -> None:
    s3_lab.stranger.write("large", LARGE)
    pieces: list[bytes] = []
    s3_lab.run.loop.run(_pass_on(s3_lab, pieces.append))
    assert len(pieces) > 1
    assert b"".join(pieces) == LARGE


def test_a_full_disk_is_no_fault_of_the_storage(s3_lab: Lab, tmp_path: Path) -> None:
    s3_lab.stranger.write("large", LARGE)
    storage = s3_lab.open()
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as caught:
        s3_lab.run.loop.run(_pass_on(s3_lab, full.write))
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, errors.StorageError)
    storage.read_into_path("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == LARGE


@pytest.fixture
def nearly_full() -> Iterator[None]:
    """Let no file of this machine grow beyond a mebibyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("by", ["storage", "open file"])
@pytest.mark.parametrize("to", ["path", "operator"])
def test_a_full_disk_is_named(
    s3_lab: Lab, tmp_path: Path, request: pytest.FixtureRequest, by: str, to: str
) -> None:
    s3_lab.stranger.write("large", LARGE)
    storage = s3_lab.open()
    request.getfixturevalue("nearly_full")
    place = tmp_path / "copy" if to == "path" else "copy"
    operator = None if to == "path" else opendal.Operator("memory")
    with pytest.raises(OSError) as caught:
        if by == "storage":
            storage.read_into_path("large", place, operator)
        else:
            with storage.open("large", "rb") as file:
                file.read_into_path(place, operator)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == (str(place) if to == "path" else tempfile.gettempdir())
    assert list(tmp_path.glob("*copy*")) == []


def test_a_slow_disk_is_no_silence_of_the_storage(s3_lab: Lab) -> None:
    s3_lab.stranger.write("large", LARGE)
    s3_lab.run.connection(s3_lab.settings()).timeout = 0.5
    pieces: list[bytes] = []

    def take(piece: bytes) -> None:
        if not pieces:
            time.sleep(1.0)
        pieces.append(piece)

    s3_lab.run.loop.run(_pass_on(s3_lab, take))
    assert b"".join(pieces) == LARGE


def test_what_is_cancelled_takes_no_more(s3_lab: Lab) -> None:
    s3_lab.stranger.write("large", LARGE)
    taken: list[bytes] = []
    began, go_on = threading.Event(), threading.Event()

    def take(piece: bytes) -> None:
        taken.append(piece)
        if len(taken) == 2:  # a small first one is taken on the loop
            began.set()
            go_on.wait(SILENCE)

    async def cancel() -> None:
        passing = asyncio.ensure_future(_pass_on(s3_lab, take))
        await asyncio.to_thread(began.wait, SILENCE)
        passing.cancel()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await passing

    s3_lab.run.loop.run(cancel())
    deadline = time.monotonic() + SILENCE
    while any(thread.name == transfer.READ_THREAD for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(taken) <= 3


@pytest.mark.parametrize("sizes", [[1], [1 << 20], [1, 1, 1], [1, 1 << 20], [0]], ids=str)
def test_only_what_is_small_is_taken_on_the_loop(
    fs_lab: Lab, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader:
        def __init__(self) -> None:
            self.left = [bytes(size) for size in sizes]

        async def read(self, _: int) -> bytes:
            return self.left.pop(0) if self.left else b""

        async def close(self) -> None: ...

    async def opened(_: str) -> Reader:
        return Reader()

    connection = fs_lab.run.connection(fs_lab.settings())
    monkeypatch.setattr(connection.backend, "open", opened)
    taken: list[tuple[int, bool]] = []

    async def pass_on() -> None:
        await transfer.pass_on(
            connection, "f", lambda piece: taken.append((len(piece), is_on_loop()))
        )

    fs_lab.run.loop.run(pass_on())
    assert [size for size, _ in taken] == sizes
    assert [on_loop for _, on_loop in taken] == [
        number == 0 and size < 1 << 20 for number, size in enumerate(sizes)
    ]


def test_what_waits_for_the_thread_is_dropped_when_a_transfer_is_cancelled() -> None:
    taken: list[bytes] = []
    began, go_on = threading.Event(), threading.Event()

    def take(piece: bytes) -> None:
        began.set()
        go_on.wait(SILENCE)
        taken.append(piece)

    async def cancel() -> None:
        transfers = asyncio.create_task(transfer.hand_over(_pieces(100), take))
        await asyncio.to_thread(began.wait, SILENCE)
        transfers.cancel()
        asyncio.get_running_loop().call_later(0.01, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await transfers

    asyncio.run(cancel())
    assert len(taken) <= 2


def test_a_url_that_falls_silent_is_left_at_once() -> None:
    """The thread that reads holds the lock that closing wants, until the server says something."""
    piece = bytes(transfer.CHUNK_BYTES)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(piece) + 2}\r\n\r\n"

    def wait_for_reader() -> None:
        while not any(thread.name == transfer.URL_THREAD for thread in threading.enumerate()):
            time.sleep(0.01)

    async def leave(url: str) -> float:
        pieces = transfer.read_url(url, SILENCE)
        async with asyncio.timeout(SILENCE), aclosing(pieces):
            assert await anext(pieces) == piece
            reading = asyncio.ensure_future(anext(pieces))
            await asyncio.to_thread(wait_for_reader)
            begun = time.monotonic()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        return time.monotonic() - begun

    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.sendall(head.encode() + piece + b"x")
                done.wait(SILENCE)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            seconds = asyncio.run(leave(f"http://127.0.0.1:{server.getsockname()[1]}/image"))
        finally:
            done.set()
            thread.join()
    assert seconds < SILENCE / 3
