"""Open files for tests that await: Python's own buffered files, each on a thread of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from pytest_opendal.files import StorageFile
from pytest_opendal.transfer import quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from types import TracebackType

    from pytest_opendal.awaiting import Calls
    from pytest_opendal.files import Mode
    from pytest_opendal.loop import Call, LoopThread

# pytest then shows the line of the test, not these frames and what they hold.
__tracebackhide__ = True

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Runs the coroutines of an open file for the thread that waits for them."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._method: object = None
        self._call: Call[Any] | None = None
        self._cancelled: object = None

    def begin(self, method: object) -> None:
        """Begin a method of the file; what it runs is of this method."""
        self._method, self._call = method, None

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run one; after a cancellation it begins, so that it puts things right, and is cancelled."""
        call = self._loop.begin(coroutine)
        self._call = call
        if self._cancelled is self._method is not None:
            call.cancel()
        return call.result()

    def cancel(self, method: object) -> None:
        """Cancel what this method runs, and will run."""
        self._cancelled = method
        if self._method is method and self._call is not None:
            self._call.cancel()


def _awaitable(
    method: Callable[Concatenate[StorageFile, P], T],
) -> Callable[Concatenate[AsyncFile, P], Coroutine[Any, Any, T]]:
    """Return a method of an open file as a coroutine function."""

    @wraps(method)
    async def ask(self: AsyncFile, /, *arguments: P.args, **named: P.kwargs) -> T:
        # Not the function itself: readers and writers have their own.
        own: Callable[P, T] = getattr(self._file, method.__name__)
        call = partial(own, *map(_quiet, arguments), **named)
        del arguments, named  # a URL in them may be signed, and tracebacks show locals
        return await self._ask(call)

    return ask


def _quiet(argument: Any) -> Any:
    return quiet(argument) if isinstance(argument, str) else argument


class AsyncFile:
    """A file of a storage as `files.StorageFile`, with methods to await; lines by ``async for``."""

    def __init__(self, file: StorageFile, blocking: Blocking, calls: Calls) -> None:
        """Take over an open file.

        Args:
            file: that was opened with ``blocking``.
            blocking: what runs its coroutines.
            calls: what is asked of its storage.
        """
        self._file = file
        self._blocking = blocking
        self._calls = calls
        self._thread = ThreadPoolExecutor(1, "pytest-opendal-file")

    def __repr__(self) -> str:
        return f"<AsyncFile {self._file!r}>"

    def __reduce__(self) -> Any:
        return self._file.__reduce__()

    @property
    def path(self) -> str:
        """Of the file, below the root of the storage."""
        return self._file.path

    @property
    def mode(self) -> Mode:
        """With which it was opened."""
        return self._file.mode

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return self._file.readable()

    def writable(self) -> bool:
        """Whether the file was opened for writing."""
        return self._file.writable()

    def seekable(self) -> bool:
        """Whether `seek` works: when reading."""
        return self._file.seekable()

    read = _awaitable(StorageFile.read)
    readline = _awaitable(StorageFile.readline)
    read_bytes = _awaitable(StorageFile.read_bytes)
    read_into_path = _awaitable(StorageFile.read_into_path)
    write = _awaitable(StorageFile.write)
    write_bytes = _awaitable(StorageFile.write_bytes)
    write_from_path = _awaitable(StorageFile.write_from_path)
    seek = _awaitable(StorageFile.seek)
    tell = _awaitable(StorageFile.tell)
    close = _awaitable(StorageFile.close)

    async def discard(self) -> None:
        """Close the file; nothing that was written is published. A cancelled task may do this too."""
        await self._calls.settle(self._on_thread(self._file.discard))

    async def __aiter__(self) -> AsyncIterator[Any]:
        while line := await self.readline():
            yield line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self.discard()

    async def _ask(self, method: Callable[[], T]) -> T:
        return await self._calls.ask(self._on_thread(method))

    async def _on_thread(self, method: Callable[[], T]) -> T:
        """Run a method that waits for the loop, which this runs on; another one waits for its end."""
        if self._file.closed:  # and so is the thread
            return await asyncio.to_thread(method)

        def run() -> T:
            self._blocking.begin(method)
            return method()

        submitted = self._thread.submit(run)
        running = asyncio.wrap_future(submitted)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not submitted.cancel():
                self._blocking.cancel(method)
                await asyncio.wait([running])
            raise
        finally:
            if self._file.closed:
                self._thread.shutdown(wait=False)
