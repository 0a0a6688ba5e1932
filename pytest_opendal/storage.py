"""The storage that a test holds: the methods of Jumpstarter's ``OpendalClient``, and more."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from weakref import WeakSet

from pytest_opendal import assertions, errors, files
from pytest_opendal.awaiting import Calls
from pytest_opendal.backends.protocol import Operation, WriteOptions
from pytest_opendal.redacting import refuse_pickle
from pytest_opendal.transfer import quiet

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping

    from pytest_opendal.core import Operations
    from pytest_opendal.files import Mode, StorageFile
    from pytest_opendal.loop import LoopThread
    from pytest_opendal.models import Capability, Metadata, PresignedRequest
    from pytest_opendal.paths import Name, StrPath
    from pytest_opendal.settings import StorageSettings

# pytest then shows the line of the test, not these frames and what they hold.
__tracebackhide__ = True

T = TypeVar("T")

_BATCH = 1000


class Storage:
    """A storage; every operation is tracked, and what a test made is removed when its fixture ends.

    Paths are relative to the storage's root (or to the isolation area) and ``/`` separated; a trailing
    ``/`` means a directory. All methods raise the errors of `pytest_opendal.errors`.
    """

    def __init__(
        self, settings: StorageSettings, loop: LoopThread, begin: Callable[[], Operations]
    ) -> None:
        """Prepare; ``begin`` is called with the first operation."""
        self._settings = settings
        self._loop = loop
        self._begin = begin
        self._writing: list[StorageFile] = []
        self._reading: WeakSet[StorageFile] = WeakSet()
        """Whoever drops a file that is read has closed it."""
        self._calls = Calls(loop)
        self._closed = False

    @cached_property
    def _core(self) -> Operations:
        self._refuse_closed()
        return self._begin()

    @property
    def name(self) -> str:
        """Name of the storage in the configuration."""
        return self._settings.name

    def __repr__(self) -> str:
        return f"<Storage {self.name!r}: {self._settings.location}>"

    def __reduce__(self) -> Any:
        refuse_pickle("a storage")

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what an operation does; all methods return what this does, for `AsyncStorage`."""
        return self._returned(self._loop.run, coroutine)

    def _at_once(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do what `_run` does with a coroutine that may begin here: it awaits `on_loop` before it waits."""
        return self._returned(self._loop.run_at_once, coroutine)

    def _returned(
        self, run: Callable[[Coroutine[Any, Any, T]], T], coroutine: Coroutine[Any, Any, T]
    ) -> T:
        self._refuse_closed(coroutine)
        try:
            return run(coroutine)
        except errors.RAISED as error:
            raise errors.bare(error) from error.__cause__

    def _refuse_closed(self, coroutine: Coroutine[Any, Any, Any] | None = None) -> None:
        if self._closed:
            if coroutine is not None:
                coroutine.close()
            msg = f"{self.name}: this storage was closed when its fixture ended"
            raise errors.StorageError(msg)

    def close(self) -> builtins.list[str]:
        """Give up files that were opened for writing and never closed; return their paths."""
        self._calls.end()
        forgotten = [file for file in self._writing if not file.closed]
        for file in (*forgotten, *self._reading):
            with suppress(errors.StorageError):  # what was created is to be removed all the same
                file.discard()
        self._closed = True
        self._writing = []  # each of them knows this storage
        return [file.path for file in forgotten]

    # -- reading

    def read_bytes(
        self,
        path: StrPath,
        *,
        offset: int = 0,
        size: int | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> bytes:
        """Return the content of a file, or a range of it.

        Args:
            path: the file.
            offset: first byte to return.
            size: how many bytes to return; all that follow by default.
            if_match: read only if the file's etag is this one.
            if_none_match: read only if the file's etag is another one.

        Raises:
            NotFound: there is no such file.
            ConditionNotMatch: the etag is not as demanded.
        """
        return self._at_once(
            self._core.read_bytes(
                path, offset=offset, size=size, if_match=if_match, if_none_match=if_none_match
            )
        )

    def read_into_path(self, src: StrPath, dst: StrPath, operator: Any = None) -> None:
        """Copy the file ``src`` to the local path ``dst``.

        Args:
            src: file of this storage.
            dst: local path; it is complete or untouched afterwards.
            operator: an ``opendal.Operator`` that ``dst`` belongs to, instead of this machine's files.
        """
        return self._run(self._core.read_into_path(src, dst, operator))

    def stat(
        self, path: StrPath, *, if_match: str | None = None, if_none_match: str | None = None
    ) -> Metadata:
        """Return the metadata of a file or directory.

        Raises:
            NotFound: nothing is there.
            ConditionNotMatch: the etag is not as demanded.
        """
        return self._at_once(self._core.stat(path, if_match=if_match, if_none_match=if_none_match))

    def hash(self, path: StrPath, algo: str = "sha256") -> str:
        """Return the hex digest of a file's content; ``algo`` is any of hashlib with a fixed length."""
        return self._run(self._core.hash(path, algo))

    def exists(self, path: StrPath) -> bool:
        """Whether a file or directory is there."""
        return self._at_once(self._core.exists(path))

    def list(self, path: StrPath, *, recursive: bool = False) -> Generator[str, None, None]:
        """Yield the paths directly below a directory (or all), the directory itself first.

        ``list("x")`` is the file or the directory ``x``, never its siblings. Directories end with
        ``/``. What is missing yields nothing. The order is the service's.
        """
        return self._iterate(self._entries(path, recursive=recursive))

    def scan(self, path: StrPath) -> Generator[str, None, None]:
        """Yield all paths below a directory, the directory itself first."""
        return self.list(path, recursive=True)

    def _entries(self, path: StrPath, *, recursive: bool) -> AsyncGenerator[str, None]:
        self._core.resolve(path, "scan" if recursive else "list")
        return self._core.list(path, recursive=recursive)

    def _iterate(self, entries: AsyncGenerator[str, None]) -> Generator[str, None, None]:
        try:
            while batch := self._run(take(entries)):
                yield from batch
        finally:
            self._loop.drop(entries)

    def capability(self) -> Capability:
        """Return what the service can do."""
        return self._at_once(self._core.capability())

    def wait_until(
        self,
        path: StrPath,
        timeout: float | None = None,
        *,
        condition: Callable[[Metadata], object] | None = None,
    ) -> Metadata:
        """Wait for what somebody else writes, and return its metadata.

        Args:
            path: file or directory that appears later.
            timeout: seconds to wait; the storage's ``timeout`` by default. A silent storage may
                make it one more.
            condition: asked with the metadata until it is true.

        Raises:
            StorageTimeout: it did not come in time.
            StorageUnavailable: nor could the storage be reached at the end.
        """
        return self._run(self._core.wait_until(path, timeout, condition=condition))

    # -- writing

    def write_bytes(
        self,
        path: StrPath,
        data: bytes,
        *,
        content_type: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        if_not_exists: bool = False,
    ) -> None:
        """Store ``data`` as the file ``path``; the options are stored with it where the service can.

        Raises:
            Unsupported: the service, or opendal 0.45, cannot store an option.
            ConditionNotMatch: the file exists and ``if_not_exists`` was asked for.
        """
        options = WriteOptions(
            content_type, cache_control, content_disposition, user_metadata, if_not_exists
        )
        return self._at_once(self._core.write_bytes(path, _as_bytes(data), options))

    def write_from_path(
        self,
        dst: StrPath,
        src: StrPath,
        operator: Any = None,
        *,
        content_type: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        if_not_exists: bool = False,
    ) -> None:
        """Store a local file as the file ``dst``, in constant memory where the service takes parts.

        Args:
            dst: file of this storage.
            src: local path, or an http(s) URL.
            operator: an ``opendal.Operator`` that ``src`` belongs to, instead of this machine's files.
            content_type: stored with it, as by `write_bytes`.
            cache_control: the same.
            content_disposition: the same.
            user_metadata: the same.
            if_not_exists: store it only when there is no such file.

        Raises:
            NotFound: there is no such local file; ``dst`` is untouched.
        """
        options = WriteOptions(
            content_type, cache_control, content_disposition, user_metadata, if_not_exists
        )
        src = quiet(src)
        return self._run(self._core.write_from_path(dst, src, operator, options))

    def open(self, path: StrPath, mode: Mode = "rb", **options: Any) -> StorageFile:
        r"""Open a file; also a context manager.

        Args:
            path: the file.
            mode: ``rb wb ab``, or ``r w a`` for UTF-8 text, whose lines end at ``\n`` and stay as they are.
            options: as in `write_bytes`.

        What is written is published at close, all of it or nothing: an exception inside ``with``, or
        a file that is never closed, leaves the storage as it was.

        Raises:
            NotFound: mode is for reading and there is no such file.
            Unsupported: mode is for appending and the service would overwrite.
        """
        return self._run(self._opened(path, mode, files.write_options(options), self._run))

    async def _opened(
        self, path: StrPath, mode: Mode, options: WriteOptions, run: Callable[..., Any]
    ) -> StorageFile:
        _check_mode(mode)
        file = await files.open_file(self._core, path, mode, options, run)
        if file.writable():
            self._writing = [*(other for other in self._writing if not other.closed), file]
        else:
            self._reading.add(file)
        return file

    def create_dir(self, path: StrPath) -> None:
        """Make a directory and those above it; one that exists is left as it is."""
        return self._at_once(self._core.create_dir(path))

    def register_path(self, path: StrPath) -> None:
        """Track what the device itself will write, so that it is removed with the rest.

        A path with a trailing slash that does not exist yet is a directory whose whole content is ours.
        """
        return self._at_once(self._core.register_path(path))

    def ensure(self, path: StrPath, source: StrPath) -> bool:
        """Upload the local file ``source`` unless ``path`` has the same size and content already.

        Returns:
            Whether it was uploaded.
        """
        source = quiet(source)
        return self._run(self._core.ensure(path, source))

    # -- copying, moving, removing

    def copy(self, source: StrPath, target: StrPath) -> None:
        """Copy a file, or a directory with all below it."""
        return self._run(self._core.copy(source, target))

    def rename(self, source: StrPath, target: StrPath) -> None:
        """Move a file, or a directory with all below it."""
        return self._at_once(self._core.rename(source, target))

    def delete(self, path: StrPath) -> None:
        """Remove a file or an empty directory; what is missing is no error."""
        return self._at_once(self._core.delete(path))

    def remove_all(self, path: StrPath) -> None:
        """Remove a file, or a directory with all below it, but no sibling ``xy`` of ``x``.

        Raises:
            Protected: the root of a shared storage, or what ``protect`` names.
        """
        return self._at_once(self._core.remove_all(path))

    # -- presigning

    def presign_stat(self, path: StrPath, expire_second: int) -> PresignedRequest:
        """Sign a HEAD request that works without credentials for ``expire_second`` seconds."""
        return self._at_once(self._core.presign("stat", path, expire_second))

    def presign_read(self, path: StrPath, expire_second: int) -> PresignedRequest:
        """Sign a GET request that works without credentials for ``expire_second`` seconds."""
        return self._at_once(self._core.presign("read", path, expire_second))

    def presign_write(self, path: StrPath, expire_second: int) -> PresignedRequest:
        """Sign a PUT request that works without credentials for ``expire_second`` seconds.

        The path counts as created from now on.
        """
        return self._at_once(self._core.presign("write", path, expire_second))

    def presign_delete(self, path: StrPath, expire_second: int) -> PresignedRequest:
        """Sign a DELETE request that works without credentials for ``expire_second`` seconds."""
        return self._at_once(self._core.presign("delete", path, expire_second))

    # -- tracking and assertions

    def get_created_resources(self) -> set[str]:
        """Return the files and directories that this storage object created and did not remove."""
        return self._core.created()

    def assert_exists(self, path: StrPath) -> None:
        """Fail unless a file or directory is there; the message shows the nearest names."""
        return self._run(assertions.assert_exists(self._core, path))

    def assert_absent(self, path: StrPath) -> None:
        """Fail if a file or directory is there; the message shows what it is."""
        return self._run(assertions.assert_absent(self._core, path))

    def assert_hash(
        self, path: StrPath, expected: str | bytes | os.PathLike[str], algo: str = "sha256"
    ) -> None:
        """Fail unless a file's content is the expected one.

        Args:
            path: the file.
            expected: hex digest, ``"md5:..."``, the content itself, or a local path (no str).
            algo: algorithm of a digest without prefix.
        """
        return self._run(assertions.assert_hash(self._core, path, expected, algo))

    def assert_stat(self, /, path: StrPath, **fields: object | Callable[[Any], object]) -> None:
        """Fail unless all ``fields`` of the metadata are as expected.

        Args:
            path: file or directory.
            fields: any field of `Metadata`, and ``mode="file"`` or ``"dir"``; a callable is asked.
        """
        return self._run(assertions.assert_stat(self._core, path, **fields))

    def assert_tree(
        self, path: StrPath, tree: Mapping[Name, str | bytes | os.PathLike[str] | None]
    ) -> None:
        """Fail unless exactly the named files are below a directory, with the expected content.

        Args:
            path: the directory.
            tree: relative path to digest (``"md5:..."``, sha256 hex), content, local path that holds
                it, or None (any content).
        """
        return self._run(assertions.assert_tree(self._core, path, tree))

    def assert_presign(
        self,
        path: StrPath,
        operation: Operation = "read",
        expire_second: int = 60,
        *,
        content: bytes | os.PathLike[str] | None = None,
        fetch: bool = True,
    ) -> PresignedRequest:
        """Sign a request, check it, and perform it as a stranger without credentials would.

        Args:
            path: the file.
            operation: ``read``, ``stat``, ``write`` or ``delete``.
            expire_second: seconds that the request is valid.
            content: what a read must return (by default what the storage holds), or a write sends.
            fetch: whether to perform the request.

        Returns:
            The signed request.

        Raises:
            Unsupported: the service cannot sign this operation.
        """
        return self._run(
            assertions.assert_presign(
                self._core, path, operation, expire_second, content=content, fetch=fetch
            )
        )


def _as_bytes(data: bytes | str) -> bytes:
    if isinstance(data, str):  # OpendalClient takes it too
        return data.encode()
    # What is large is not copied; bytes(5) would be five zero bytes.
    return data if type(data) is bytes else bytes(memoryview(data))


def _check_mode(mode: str) -> None:
    if mode not in get_args(files.Mode):
        msg = f"mode {mode!r} is not one of {', '.join(get_args(files.Mode))}"
        raise ValueError(msg)


async def take(entries: AsyncGenerator[str, None]) -> list[str]:
    """Return the next of what is listed; none at its end."""
    taken: list[str] = []
    while len(taken) < _BATCH and (entry := await anext(entries, None)) is not None:
        taken.append(entry)
    return taken
