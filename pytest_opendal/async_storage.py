"""The same storage for tests that await: on asyncio and, as anyio's tests may be, on trio."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pytest_opendal import files
from pytest_opendal.async_file import AsyncFile, Blocking
from pytest_opendal.storage import Storage, take

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
    from types import TracebackType

    from pytest_opendal.backends.protocol import WriteOptions
    from pytest_opendal.files import Mode
    from pytest_opendal.paths import StrPath

# pytest then shows the line of the test, not these frames and what they hold.
__tracebackhide__ = True

P = ParamSpec("P")
T = TypeVar("T")


class _Deferred(Storage):
    """A storage whose methods return the coroutine that would answer, instead of its result."""

    def __init__(self, storage: Storage) -> None:
        self.__dict__ = storage.__dict__  # one state: what is open, and whether it was closed

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        self._refuse_closed(coroutine)
        return coroutine

    _at_once = _run

    async def ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Answer."""
        return await self._calls.ask(coroutine)

    def get_created_resources(self) -> Any:
        return self._run(self._created())

    async def _created(self) -> set[str]:
        return self._core.created()

    def listing(self, path: StrPath, *, recursive: bool) -> AsyncGenerator[str, None]:
        """Begin to list; a path that is refused is refused here."""
        return self._batches(self._entries(path, recursive=recursive))

    async def _batches(self, entries: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        try:
            while batch := await self.ask(self._run(take(entries))):
                for entry in batch:
                    yield entry
        finally:
            self._loop.drop(entries)

    async def opened(self, path: StrPath, mode: Mode, options: WriteOptions) -> AsyncFile:
        """Open a file."""
        blocking = Blocking(self._loop)
        call = self._calls.begin(self._run(self._opened(path, mode, options, blocking)))
        try:
            return AsyncFile(await self._calls.answer(call), blocking, self._calls)
        except BaseException:
            if call.is_answered():  # it was opened all the same, for a task that is cancelled
                await AsyncFile(call.result(), blocking, self._calls).discard()
            raise


def _awaitable(
    method: Callable[Concatenate[Storage, P], T],
) -> Callable[Concatenate[AsyncStorage, P], Coroutine[Any, Any, T]]:
    """Return a method of `Storage` as a coroutine function."""

    @wraps(method)
    async def ask(self: AsyncStorage, /, *arguments: P.args, **named: P.kwargs) -> T:
        deferred = self._deferred
        answer: Coroutine[Any, Any, T] = getattr(deferred, method.__name__)(*arguments, **named)
        del arguments, named  # tracebacks with locals would show a URL that is read from
        return await deferred.ask(answer)

    return ask


class AsyncStorage:
    """A `Storage` with methods to await, on asyncio and on trio.

    The two have one record and one end: what a test makes through either is removed with the rest.
    A task that is cancelled cancels its operation, which leaves no half file. Give it any storage that a
    fixture gave: ``AsyncStorage(opendal_factory("results"))``.
    """

    def __init__(self, storage: Storage) -> None:
        self._deferred = _Deferred(storage)
        # CPython 3.13 clears attributes that are reached only through another object's __dict__
        # (https://github.com/python/cpython/issues/130327).
        self._storage = storage

    @property
    def name(self) -> str:
        """Name of the storage in the configuration."""
        return self._deferred.name

    def __repr__(self) -> str:
        return f"<Async{repr(self._deferred).lstrip('<_')}"

    def __reduce__(self) -> Any:
        return self._deferred.__reduce__()

    read_bytes = _awaitable(Storage.read_bytes)
    read_into_path = _awaitable(Storage.read_into_path)
    stat = _awaitable(Storage.stat)
    hash = _awaitable(Storage.hash)
    exists = _awaitable(Storage.exists)
    capability = _awaitable(Storage.capability)
    wait_until = _awaitable(Storage.wait_until)

    write_bytes = _awaitable(Storage.write_bytes)
    write_from_path = _awaitable(Storage.write_from_path)
    create_dir = _awaitable(Storage.create_dir)
    register_path = _awaitable(Storage.register_path)
    ensure = _awaitable(Storage.ensure)

    copy = _awaitable(Storage.copy)
    rename = _awaitable(Storage.rename)
    delete = _awaitable(Storage.delete)
    remove_all = _awaitable(Storage.remove_all)

    presign_stat = _awaitable(Storage.presign_stat)
    presign_read = _awaitable(Storage.presign_read)
    presign_write = _awaitable(Storage.presign_write)
    presign_delete = _awaitable(Storage.presign_delete)

    get_created_resources = _awaitable(Storage.get_created_resources)
    assert_exists = _awaitable(Storage.assert_exists)
    assert_absent = _awaitable(Storage.assert_absent)
    assert_hash = _awaitable(Storage.assert_hash)
    assert_stat = _awaitable(Storage.assert_stat)
    assert_tree = _awaitable(Storage.assert_tree)
    assert_presign = _awaitable(Storage.assert_presign)

    def list(self, path: StrPath, *, recursive: bool = False) -> Listing:
        """List as `Storage.list`: ``async for`` gives the paths one by one, ``await`` all of them."""
        return Listing(self._deferred.listing(path, recursive=recursive))

    def scan(self, path: StrPath) -> Listing:
        """List all paths below a directory, the directory itself first."""
        return self.list(path, recursive=True)

    def open(self, path: StrPath, mode: Mode = "rb", **options: Any) -> Opening:
        """Open a file as `Storage.open`: ``async with`` closes it too, ``await`` only opens it."""
        return Opening(self._deferred.opened(path, mode, files.write_options(options)))


class Listing:
    """What `AsyncStorage.list` finds."""

    def __init__(self, entries: AsyncGenerator[str, None]) -> None:
        self._entries = entries

    def __aiter__(self) -> AsyncIterator[str]:
        return self._entries

    def __await__(self) -> Generator[Any, Any, builtins.list[str]]:
        return self._all().__await__()

    async def _all(self) -> builtins.list[str]:
        return [entry async for entry in self._entries]


class Opening:
    """A file that is about to be opened."""

    def __init__(self, opening: Coroutine[Any, Any, AsyncFile]) -> None:
        self._opening = opening
        self._file: AsyncFile | None = None

    def __await__(self) -> Generator[Any, Any, AsyncFile]:
        return self._opening.__await__()

    async def __aenter__(self) -> AsyncFile:
        self._file = await self
        return self._file

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        await self._file.__aexit__(kind, error, traceback)
