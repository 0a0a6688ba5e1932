"""The storage that tests await: the contract suite runs on it too; here is what awaiting adds."""

from __future__ import annotations

import asyncio
import gc
import http.server
import inspect
import pickle
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from pytest_opendal import AsyncStorage, Storage, errors
from pytest_opendal.async_file import AsyncFile
from pytest_opendal.files import StorageFile
from pytest_opendal.run import UnclosedFileWarning

import faults
import servers
from contract import Lab, lab_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from servers import SeaweedFS

# No whole number of pieces: whoever reads it waits in the middle of one.
HALF = bytes((24 << 20) + 1)
SECONDS = 30
# What a busy machine may add to the second in which things are put right.
PATIENCE = 5.0


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run a coroutine function in an event loop of the test's own."""
    return partial(anyio.run, backend=request.param)


async def cancel(operation: Callable[[], Awaitable[Any]], when: Callable[[], object]) -> None:
    """Begin an operation in a task, and cancel that when ``when`` returns."""
    async with anyio.create_task_group() as tasks:

        async def task() -> None:
            await operation()

        tasks.start_soon(task)
        await anyio.to_thread.run_sync(when)
        tasks.cancel_scope.cancel()


# -- the same object


def test_every_method_of_a_storage_can_be_awaited() -> None:
    for name, method in inspect.getmembers(Storage, inspect.isfunction):
        if name.startswith("_") or name == "close":  # the fixture's business
            continue
        other = getattr(AsyncStorage, name)
        assert inspect.iscoroutinefunction(other) or name in {"list", "open", "scan"}
        parameters, others = (inspect.signature(each).parameters for each in (method, other))
        assert list(parameters.values()) == list(others.values()), name
        assert other.__doc__


def test_every_method_of_an_open_file_can_be_awaited() -> None:
    for name, method in inspect.getmembers(StorageFile, inspect.isfunction):
        if name.startswith("_"):
            continue
        other = getattr(AsyncFile, name)
        waits = name not in {"readable", "writable", "seekable"}
        assert inspect.iscoroutinefunction(other) == waits
        assert (
            inspect.signature(method).parameters.keys()
            == inspect.signature(other).parameters.keys()
        )


def test_it_shares_record_and_end_with_the_storage(fs_lab: Lab, run: Callable[..., Any]) -> None:
    held = fs_lab.hold()
    awaiting = AsyncStorage(held.storage)

    async def use() -> None:
        await awaiting.write_bytes("a", b"1")
        held.storage.write_bytes("b", b"2")
        assert await awaiting.get_created_resources() == {"a", "b"}

    run(use)
    assert held.storage.get_created_resources() == {"a", "b"}
    fs_lab.end(held)
    assert fs_lab.stranger.everything() == {}
    with pytest.raises(errors.StorageError, match="was closed when its fixture ended"):
        run(awaiting.stat, "a")


def test_it_shows_no_credentials_and_is_not_pickled(s3_lab: Lab) -> None:
    awaiting = AsyncStorage(s3_lab.open())
    assert repr(awaiting).startswith("<AsyncStorage 'lab': ")
    assert s3_lab.kwargs["secret_access_key"] not in repr(vars(awaiting))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(awaiting)


def test_it_outlives_the_storage_that_it_was_made_of(fs_lab: Lab, run: Callable[..., Any]) -> None:
    awaiting = AsyncStorage(fs_lab.open())
    gc.collect()
    run(awaiting.write_bytes, "a", b"x")
    assert run(awaiting.exists, "a")


def test_many_tasks_ask_at_once(fs_lab: Lab, run: Callable[..., Any]) -> None:
    awaiting = AsyncStorage(fs_lab.open())

    async def use() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(awaiting.write_bytes, f"d/{number}", bytes([number]))
        found = [path async for path in awaiting.list("d")]
        assert len(found) == 41
        assert sorted(await awaiting.scan("d")) == sorted(found)
        assert await awaiting.read_bytes("d/7") == b"\7"

    run(use)


def test_a_test_in_a_loop_keeps_its_own_tasks_running(
    s3_lab: Lab, run: Callable[..., Any], stalling: Stalling
) -> None:
    """An operation that waits for a server does not block the loop that awaits it."""
    awaiting = AsyncStorage(s3_lab.open())

    async def use() -> None:
        with anyio.move_on_after(SECONDS) as limit:
            await cancel(partial(awaiting.write_from_path, "f", stalling.url), stalling.wait)
        assert not limit.cancelled_caught

    run(use)


def test_errors_are_those_of_the_storage(fs_lab: Lab, run: Callable[..., Any]) -> None:
    awaiting = AsyncStorage(fs_lab.open())
    with pytest.raises(errors.NotFound, match="lab: stat 'missing'"):
        run(awaiting.stat, "missing")
    with pytest.raises(AssertionError, match="lab:missing does not exist"):
        run(awaiting.assert_exists, "missing")
    with pytest.raises(TypeError, match="unexpected keyword"):
        run(partial(awaiting.read_bytes, offsets=3), "missing")  # type: ignore[call-arg]


# -- open files


def test_lines_and_text_of_an_open_file(fs_lab: Lab, run: Callable[..., Any]) -> None:
    awaiting = AsyncStorage(fs_lab.open())

    async def use() -> None:
        async with awaiting.open("log", "w") as file:
            assert await file.write("eins\nzwei\ndröi\n") == 15
            assert (file.writable(), file.readable(), file.seekable()) == (True, False, False)
        assert file.closed
        assert await awaiting.read_bytes("log") == "eins\nzwei\ndröi\n".encode()
        file = await awaiting.open("log", "r")
        assert (file.path, file.mode) == ("log", "r")
        assert await file.readline() == "eins\n"
        assert [line async for line in file] == ["zwei\n", "dröi\n"]
        assert await file.seek(5) == 5
        assert await file.read(4) == "zwei"
        await file.close()
        assert "closed" in repr(file)

    run(use)


def test_an_exception_publishes_nothing(fs_lab: Lab, run: Callable[..., Any]) -> None:
    awaiting = AsyncStorage(fs_lab.open())

    async def use() -> None:
        with pytest.raises(ZeroDivisionError):
            async with awaiting.open("d/f", "wb") as file:
                await file.write(b"half")
                raise ZeroDivisionError
        assert await awaiting.get_created_resources() == set()

    run(use)
    assert fs_lab.stranger.everything() == {}


def test_a_task_that_is_cancelled_in_with_publishes_nothing(
    fs_lab: Lab, run: Callable[..., Any]
) -> None:
    awaiting = AsyncStorage(fs_lab.open())
    written = threading.Event()

    async def write() -> None:
        async with awaiting.open("d/f", "wb") as file:
            await file.write(b"half")
            written.set()
            await anyio.sleep(SECONDS)

    run(cancel, write, written.wait)
    assert fs_lab.stranger.everything() == {}
    assert noted(fs_lab) == set()


def test_a_file_that_is_never_closed_is_given_up_at_the_end(
    fs_lab: Lab, run: Callable[..., Any]
) -> None:
    held = fs_lab.hold()

    async def use() -> None:
        file = await AsyncStorage(held.storage).open("f", "wb")
        await file.write(b"half")

    run(use)
    with pytest.warns(UnclosedFileWarning, match="'f' was opened for writing and never closed"):
        fs_lab.end(held)
    assert fs_lab.stranger.everything() == {}


def test_a_file_that_is_closed_keeps_no_thread(fs_lab: Lab, run: Callable[..., Any]) -> None:
    awaiting = AsyncStorage(fs_lab.open())
    kept: list[AsyncFile] = []

    async def use() -> None:
        for _ in range(20):
            async with awaiting.open("f", "wb") as file:
                await file.write(b"x")
            kept.append(file)
        with pytest.raises(ValueError, match="closed"):
            await file.write(b"x")
        await file.close()

    run(use)
    deadline = time.monotonic() + 5
    while names := [one.name for one in threading.enumerate() if "opendal-file" in one.name]:
        assert time.monotonic() < deadline, names
        time.sleep(0.01)


# -- cancellation


def test_a_task_that_is_cancelled_does_not_cancel_another_of_the_same_file(
    fs_lab: Lab, stalling: Stalling
) -> None:
    awaiting = AsyncStorage(fs_lab.open())

    async def use() -> None:
        async with awaiting.open("f", "wb") as file:
            first = asyncio.create_task(file.write_from_path(stalling.url))
            await asyncio.to_thread(stalling.wait)
            second = asyncio.create_task(file.write(b"more"))
            await asyncio.sleep(0.05)
            second.cancel()
            await asyncio.wait([second])
            assert second.cancelled()
            assert not first.done()
            first.cancel()
            await asyncio.wait([first])
            assert await file.write(b"end") == 3

    asyncio.run(use())


def test_a_file_is_cancelled_that_waits_for_another_operator(
    fs_lab: Lab, run: Callable[..., Any]
) -> None:
    awaiting = AsyncStorage(fs_lab.open())

    async def use() -> None:
        await awaiting.write_bytes("f", b"x")
        async with awaiting.open("f") as file:
            with anyio.move_on_after(0.5):
                await file.read_into_path("k", servers.silent_operator(address))
            assert await file.tell() == 1

    begun = time.monotonic()
    with servers.black_hole() as address:
        run(use)
    assert time.monotonic() - begun < 10


class Stalling:
    """A web server that sends half of a large file, and then waits for the test's end."""

    def __init__(self) -> None:
        self.url = ""
        self.half_sent = threading.Event()
        self.stop = threading.Event()

    def wait(self) -> None:
        """Wait until whoever reads has half of the file."""
        assert self.half_sent.wait(SECONDS)


@contextmanager
def _stalling() -> Iterator[Stalling]:
    state = Stalling()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(HALF)))
            self.end_headers()
            self.wfile.write(HALF)
            state.half_sent.set()
            state.stop.wait(2 * SECONDS)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}/image"
        try:
            yield state
        finally:
            state.stop.set()
            server.shutdown()


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    with _stalling() as state:
        yield state


def test_a_cancelled_write_leaves_no_half_file_and_no_record(
    plain_lab: Lab, run: Callable[..., Any], stalling: Stalling
) -> None:
    lab = plain_lab
    awaiting = AsyncStorage(lab.open())
    lab.stranger.write("theirs/f", b"theirs")
    before = lab.stranger.everything()

    async def use() -> None:
        for name in ("theirs/f", "d/new"):
            stalling.half_sent.clear()
            await cancel(partial(awaiting.write_from_path, name, stalling.url), stalling.wait)
            assert name == "theirs/f" or not await awaiting.exists(name)
            assert lab.stranger.everything() == before
            assert await awaiting.get_created_resources() == set()
        await awaiting.write_bytes("d/new", b"goes on")

    run(use)
    assert noted(lab) == {"d/new", *({"d"} if lab.has_directories else ())}


def noted(lab: Lab) -> set[str]:
    """Return what the journal says was created."""
    return {name for record in lab.replayed() for name in record.created}


def test_a_cancelled_write_puts_old_content_back_only_once(
    fs_lab: Lab, run: Callable[..., Any], stalling: Stalling
) -> None:
    held = fs_lab.hold(on_existing="restore")
    fs_lab.stranger.write("theirs", b"theirs")
    write = partial(AsyncStorage(held.storage).write_from_path, "theirs", stalling.url)
    run(cancel, write, stalling.wait)
    fs_lab.stranger.write("theirs", b"newer")
    fs_lab.end(held)
    assert fs_lab.stranger.everything() == {"theirs": b"newer"}


def test_a_write_cancelled_at_close_leaves_nothing(
    fs_lab: Lab, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    awaiting = AsyncStorage(fs_lab.open())
    begun = _stuck(monkeypatch, fs_lab, "write")

    async def write() -> None:
        async with awaiting.open("d/f", "wb") as file:
            await file.write(b"whole")

    run(cancel, write, begun)
    assert fs_lab.stranger.everything() == {}
    assert noted(fs_lab) == set()


def _stuck(
    monkeypatch: pytest.MonkeyPatch, lab: Lab, name: str, *, done: bool = True
) -> Callable[[], None]:
    """Let a call of the backend never answer, after it did its work or before; no server does that.

    Returns:
        What waits until somebody called.
    """
    backend: Any = lab.run.connection(lab.settings()).backend
    real, called = getattr(backend, name), threading.Event()

    async def stuck(*arguments: Any) -> None:
        if done:
            await real(*arguments)
        called.set()
        await asyncio.sleep(SECONDS)

    def wait() -> None:
        assert called.wait(SECONDS)
        called.clear()

    monkeypatch.setattr(backend, name, stuck)
    return wait


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
def test_a_cancelled_rename_is_looked_at(
    fs_lab: Lab, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """Whether it was done only the storage knows; ours and theirs are told apart as always."""
    held = fs_lab.hold()
    awaiting = AsyncStorage(held.storage)
    held.storage.write_bytes("ours", b"1")
    fs_lab.stranger.write("theirs", b"2")
    begun = _stuck(monkeypatch, fs_lab, "rename", done=done)
    for name in ("ours", "theirs"):
        run(cancel, partial(awaiting.rename, name, f"{name}-2"), begun)
    monkeypatch.undo()
    assert set(fs_lab.stranger.everything()) == (
        {"ours-2", "theirs-2"} if done else {"ours", "theirs"}
    )
    assert held.storage.get_created_resources() == ({"ours-2", "theirs-2"} if done else {"ours"})
    fs_lab.end(held)
    assert set(fs_lab.stranger.everything()) == {"theirs-2" if done else "theirs"}


def test_a_cancelled_open_leaves_no_open_file(
    fs_lab: Lab, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = fs_lab.hold()
    fs_lab.stranger.write("f", b"theirs")
    begun = _stuck(monkeypatch, fs_lab, "stat")
    run(cancel, partial(AsyncStorage(held.storage).open, "f", "wb"), begun)
    monkeypatch.undo()
    assert held.storage.get_created_resources() == set()
    fs_lab.end(held)  # warns of no forgotten file


def test_cancelling_on_a_silent_storage_ends_soon_and_keeps_the_note(
    seaweedfs: SeaweedFS,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody knows what such a storage did with a request, so the end of the test looks again."""
    address = seaweedfs.endpoint.removeprefix("http://")
    with lab_of("seaweedfs", request, tmp_path) as direct, faults.proxy(address) as between:
        through = {**direct.kwargs, "endpoint": f"http://{between.address}"}
        lab = Lab("seaweedfs", "s3", through, "none", tmp_path)
        awaiting = AsyncStorage(lab.open())
        backend: Any = lab.run.connection(lab.settings()).backend
        write = backend.write

        async def silenced(*arguments: Any) -> None:
            between.silent.set()
            await write(*arguments)

        def wait() -> None:
            assert between.silent.wait(SECONDS)

        async def use() -> None:
            await cancel(partial(awaiting.write_bytes, "f", b"x"), wait)
            assert await awaiting.get_created_resources() == {"f"}

        monkeypatch.setattr(backend, "write", silenced)
        begun = time.monotonic()
        run(use)
        assert time.monotonic() - begun < PATIENCE
        lab.close()


def test_what_nobody_awaits_ends_with_the_storage(fs_lab: Lab, stalling: Stalling) -> None:
    """A timeout plugin leaves the loop in the middle, and the operation would go on beside the cleanup."""
    held = fs_lab.hold()

    async def use() -> None:
        write = AsyncStorage(held.storage).write_from_path("d/f", stalling.url)
        task = asyncio.ensure_future(write)
        await asyncio.to_thread(stalling.wait)
        task.get_loop().stop()

    loop = asyncio.new_event_loop()
    left = loop.create_task(use())
    loop.run_forever()
    fs_lab.end(held)
    assert fs_lab.stranger.everything() == {}
    assert noted(fs_lab) == set()
    del left
    loop.close()
