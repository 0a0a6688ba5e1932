"""Streams between a storage and this machine, in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import itertools
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import urllib.error
import urllib.request
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from pytest_opendal import errors
from pytest_opendal.loop import aside, on_loop
from pytest_opendal.redacting import Redactor, Url, public_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager
    from http.client import HTTPResponse
    from io import BufferedReader

    from pytest_opendal.backends.protocol import ThreadReader
    from pytest_opendal.connection import Connection
    from pytest_opendal.meter import Moving
    from pytest_opendal.models import Metadata
    from pytest_opendal.paths import StrPath

T = TypeVar("T")

CHUNK_BYTES = 4 << 20
PART_BYTES = 8 << 20
URL_THREAD = "pytest-opendal-url"
READ_THREAD = "pytest-opendal-read"
_KERNEL_COPY_BYTES = 64 << 20
_INLINE_BYTES = 64 << 10
_PIECES_AHEAD = 3
# opendal 0.47 fills a buffer of this size with zeros for each piece, of some 400 KiB.
_THREAD_BYTES = 1 << 20
_LOOK_SECONDS = 0.05

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

_numbers = itertools.count()


class SourceUnavailable(errors.StorageUnavailable):
    """What is to be written cannot be read to its end; says nothing of the storage."""


async def stream(
    connection: Connection, path: str, offset: int = 0, chunk: int = CHUNK_BYTES
) -> AsyncGenerator[bytes]:
    """Yield the content of a file in pieces of up to ``chunk`` bytes, from ``offset`` on."""
    reader = await connection.ask("read", path, connection.backend.open(path))
    try:
        if offset:
            await connection.ask("read", path, reader.seek(offset))
        with connection.moving("read", path) as moving:
            while piece := await connection.ask("read", path, reader.read(chunk)):
                if moving.wants_total:
                    moving.total = (await connection.stat(path)).content_length - offset
                moving.add(len(piece))
                yield piece
    finally:
        await reader.close()


async def digest(connection: Connection, path: str, algo: str) -> str:
    """Return the hex digest of a file."""
    found = hashlib.new(algo, usedforsecurity=False)
    await pass_on(connection, path, found.update)
    return found.hexdigest()


async def holds(connection: Connection, path: str, found: Metadata, file: IO[bytes]) -> bool:
    """Whether a file of the storage, of which ``found`` is told, has the content of a local file."""
    if found.content_length != file.seek(0, os.SEEK_END):
        return False
    file.seek(0)
    await on_loop()
    # The end of the process waits for no thread that hashes a large file.
    mine = await aside(partial(hashlib.file_digest, file, "sha256"), "pytest-opendal-hash")  # type: ignore[arg-type]
    return mine.hexdigest() == await digest(connection, path, "sha256")


async def pass_on(connection: Connection, path: str, take: Callable[[bytes], object]) -> None:
    """Pass the content of a file to ``take``, on another thread than the loop's unless it is small."""
    opener = None
    if not connection.doubtful:  # where a thread may be waiting already, not one more
        opener = await connection.ask("read", path, connection.backend.opener(path))
    if opener is not None:
        await _read_on_thread(connection, path, opener, take)
        return
    async with aclosing(stream(connection, path)) as pieces:
        head = await anext(pieces, b"")
        if len(head) <= _INLINE_BYTES:
            take(head)
            head = await anext(pieces, b"")
        if head:  # the first piece of a large file may be small too
            await hand_over(chain(head, pieces), take)


async def _read_on_thread(
    connection: Connection,
    path: str,
    opener: Callable[[], ThreadReader],
    take: Callable[[bytes], object],
) -> None:
    passing, asks = _Passing(opener, take), True
    async with connection.watch("read", path) as still_going:
        reading = asyncio.ensure_future(aside(passing.run, READ_THREAD))
        # Who is cancelled at its end does not ask how it went, and asyncio would log that.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            with connection.moving("read", path) as moving:
                while not (await asyncio.wait({reading}, timeout=_LOOK_SECONDS))[0]:
                    if passing.sizes or passing.is_taking:
                        still_going()
                    while passing.sizes:
                        moving.add(passing.sizes.popleft())
                    if asks and moving.wants_total:
                        asks = False
                        still_going()  # the question has its own time limit, and is only for show
                        with suppress(errors.StorageError):
                            moving.total = (await connection.stat(path)).content_length
                        still_going()
                moving.add(sum(passing.sizes))
            reading.result()
        finally:
            passing.given_up.set()
            reading.cancel()
    if passing.failure is not None:
        raise passing.failure


@dataclass(slots=True)
class _Passing:
    """A file that is read on a thread, which passes its pieces on."""

    opener: Callable[[], ThreadReader]
    take: Callable[[bytes], object]
    given_up: threading.Event = field(default_factory=threading.Event)
    sizes: deque[int] = field(default_factory=deque)
    """Bytes of the pieces that came since somebody looked."""
    is_taking: bool = False
    failure: Exception | None = None
    """Of what takes the pieces; the storage has nothing to do with it."""

    def run(self) -> None:
        file = self.opener()
        try:
            while not (self.given_up.is_set() or self.failure):
                if not (piece := file.read(_THREAD_BYTES)):
                    break
                self.sizes.append(len(piece))
                self._pass_on(piece)
        finally:
            file.close()

    def _pass_on(self, piece: bytes) -> None:
        self.is_taking = True
        try:
            self.take(piece)
        except Exception as error:
            self.failure = error
        finally:
            self.is_taking = False


async def hand_over(pieces: AsyncGenerator[bytes], take: Callable[[bytes], object]) -> None:
    """Pass pieces to a thread of its own, which finds its next one waiting."""
    loop = asyncio.get_running_loop()
    waiting: deque[Awaitable[object]] = deque()
    taker = ThreadPoolExecutor(1, "pytest-opendal-pieces")
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                waiting.append(loop.run_in_executor(taker, take, piece))
                if len(waiting) > _PIECES_AHEAD:
                    await waiting.popleft()
        while waiting:
            await waiting.popleft()
    finally:
        taker.shutdown(wait=False, cancel_futures=True)
        # What failed first has been raised; of the others nobody else asks how they went.
        await asyncio.gather(*waiting, return_exceptions=True)


async def download(connection: Connection, path: str, target: Path) -> None:
    """Copy a file of the storage to ``target``, which is complete or untouched afterwards."""
    if target.is_dir():
        msg = f"cannot write the local path {str(target)!r}: is a directory"
        raise connection.error(errors.IsADirectory, "read", path, msg)
    with replacing(target) as part:
        await _download_into(connection, path, part)


async def _download_into(connection: Connection, path: str, target: Path) -> None:
    source = connection.backend.local_path(path)
    if source is not None and os.path.isfile(source):  # noqa: PTH113 (no error of a long name)
        async with connection.watch("read", path) as still_going:
            with (
                source.open("rb") as reading,
                connection.moving("read", path, source.stat().st_size) as moving,
            ):
                await copy_file(reading, target, still_going, moving)
        return
    await on_loop()
    with target.open("wb") as file:
        await pass_on(connection, path, file.write)


async def copy_file(
    source: IO[bytes], target: Path, still_going: Callable[[], None], moving: Moving
) -> None:
    """Let the kernel copy a file of this machine, piece by piece so that it can be interrupted."""
    reading, offset = source.fileno(), 0
    with target.open("wb") as writing:
        while copied := await asyncio.to_thread(
            os.sendfile, writing.fileno(), reading, offset, _KERNEL_COPY_BYTES
        ):
            offset += copied
            still_going()
            moving.add(copied)


async def read_file(file: IO[bytes], chunk: int = PART_BYTES) -> AsyncIterator[bytes]:
    """Yield the rest of an open local file."""
    while piece := await asyncio.to_thread(file.read, chunk):
        yield piece


def size_of(file: IO[bytes]) -> int:
    """Return how many bytes an open local file has; its position stays."""
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size


async def read_operator(operator: Any, path: str) -> AsyncGenerator[bytes]:
    """Yield a file of another opendal operator (blocking or async)."""
    file = await _asynchronous(operator).open(path, "rb")
    try:
        while piece := await file.read(CHUNK_BYTES):
            yield piece
    finally:
        await file.close()


async def write_operator(operator: Any, path: str, content: IO[bytes], seconds: float) -> None:
    """Write an open local file to a file of another opendal operator.

    Raises:
        TimeoutError: one of its calls took longer than ``seconds``.
    """
    target = _asynchronous(operator)

    async def within(answer: Awaitable[T]) -> T:
        async with asyncio.timeout(seconds):
            return await answer

    if not target.capability().write_can_multi:
        # A stream fails past 256 KiB there, and one that is dropped ends the process (0.45).
        await within(target.write(path, content.read()))
        return
    file = await within(target.open(path, "wb"))
    async for piece in read_file(content):
        await within(file.write(piece))
    await within(file.close())


def spool() -> IO[bytes]:
    """Return a file for what is complete before it goes elsewhere; a small one stays in memory."""
    return tempfile.SpooledTemporaryFile(PART_BYTES)


def in_spool() -> AbstractContextManager[None]:
    """Name the place of a large one where it is full."""
    return named(tempfile.gettempdir())


def _asynchronous(operator: Any) -> Any:
    return operator.to_async_operator() if hasattr(operator, "to_async_operator") else operator


async def read_url(url: str, timeout: float) -> AsyncGenerator[bytes]:
    """Yield the body of an http(s) URL, taken literally so that its signature stays valid.

    Raises:
        NotFound, PermissionDenied, StorageUnavailable: the server says so, or breaks off.
    """
    response = await aside(partial(_answer, url, timeout), URL_THREAD)
    with response:
        missing = int(response.headers.get("Content-Length") or 0)
        while piece := await _next_piece(response):
            missing -= len(piece)
            yield piece
        if missing > 0:
            msg = f"{shown(url)!r} broke off {missing} bytes before its end"
            raise SourceUnavailable(msg)


def _answer(url: str, timeout: float) -> Any:
    if "@" in url.partition("://")[2].partition("/")[0]:
        msg = f"{shown(url)!r} cannot be read: no user or password may be in it"
        raise SourceUnavailable(msg)
    try:
        return urllib.request.urlopen(url, timeout=timeout)  # noqa: S310  # is_url() was asked
    except urllib.error.HTTPError as error:
        error.close()
        kind = _BY_STATUS.get(error.code, SourceUnavailable)
        problem = f"answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        kind, problem = SourceUnavailable, f"cannot be reached: {error.reason}"
    except (http.client.InvalidURL, ValueError):
        kind, problem = SourceUnavailable, "cannot be read: it is no URL, or not quoted"
    # Out here, urllib's own errors, which hold the URL, are no context of ours.
    raise kind(f"{shown(url)!r} {Redactor().text(problem)}")


async def _next_piece(response: HTTPResponse) -> bytes:
    try:
        return await aside(partial(response.read, CHUNK_BYTES), URL_THREAD)
    except asyncio.CancelledError:
        # Otherwise closing it would wait, on the loop thread, until the server says something.
        _hang_up(response)
        raise


def _hang_up(response: HTTPResponse) -> None:
    with (
        suppress(OSError, AttributeError),  # it has come to its end at this moment
        socket.socket(fileno=os.dup(response.fileno())) as connection,
    ):
        connection.shutdown(socket.SHUT_RDWR)


_BY_STATUS: dict[int, type[errors.StorageError]] = {
    401: errors.PermissionDenied,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    410: errors.NotFound,
}


def shown(source: StrPath) -> str:
    """Return a source for a message: a URL without its query and userinfo, which may be secrets."""
    return public_url(str(source)) if _has_scheme(source) else str(source)


def quiet(source: StrPath) -> StrPath:
    """Return a source as tracebacks with locals may show it."""
    return Url(source) if _has_scheme(source) else source


def is_url(source: StrPath) -> bool:
    """Whether ``source`` is an http(s) URL and not a path."""
    return _has_scheme(source) and str(source).lower().startswith(("http://", "https://"))


def _has_scheme(source: StrPath) -> bool:
    return isinstance(source, str) and _SCHEME.match(source) is not None


def source_pieces(source: StrPath, operator: Any, timeout: float) -> AsyncGenerator[bytes]:
    """Yield the content of a local file, a file of another operator, or an http(s) URL."""
    if is_url(source):
        return read_url(str(source), timeout)
    if operator is not None:
        return read_operator(operator, str(source))
    return _read_path(source)


async def _read_path(source: StrPath) -> AsyncGenerator[bytes]:
    with open_source(source) as file:
        async for piece in read_file(file):
            yield piece


async def chain(head: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield ``head`` and then the rest."""
    if head:
        yield head
    async for piece in rest:
        yield piece


@contextmanager
def named(place: StrPath) -> Iterator[None]:
    """Say where on this machine nothing can be written; the system's word of a full disk does not."""
    try:
        yield
    except OSError as error:
        is_systems = error.errno is not None and not isinstance(error, errors.StorageError)
        if is_systems and error.filename is None:
            error.filename = os.fspath(place)
        raise


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a name beside a local file to write to, which replaces it unless that fails.

    A device or a pipe is written to directly. A link stays, and permissions do.
    """
    if _is_special(target):
        yield target
        return
    there = Path(os.path.realpath(target))
    part = beside(there)
    try:
        with named(part):
            yield part
        copy_mode(there, part)
        part.replace(there)
    except OSError as error:
        if error.filename in {part, str(part)}:
            error.filename, error.filename2 = str(target), None
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def cut_back_on_failure(target: Path | None) -> Iterator[None]:
    """Cut a file of this machine back to its length when something fails inside."""
    before = target.stat() if target is not None and target.is_file() else None
    try:
        yield
    except BaseException:
        if target is not None and before is not None:
            with suppress(OSError):
                os.truncate(target, before.st_size)
                os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
        raise


def has_content(target: Path | None) -> bool:
    """Whether something of this machine would be lost when ``target`` is written."""
    try:
        return target is not None and target.lstat().st_size > 0
    except OSError:
        return False


def copy_mode(target: Path, part: Path) -> None:
    """Give what will replace a file the permissions of that file, if there is one."""
    with suppress(OSError):
        shutil.copymode(target, part)


def can_replace(target: Path) -> bool:
    """Whether ``target`` can be replaced: a regular file or nothing, no device, link or pipe."""
    try:
        return stat.S_ISREG(target.lstat().st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def would_empty(source: IO[bytes], target: Path) -> bool:
    """Whether to write to ``target`` is to write to an open file: a link leads there."""
    try:
        same = os.path.samestat(os.fstat(source.fileno()), target.stat())
    except OSError:
        return False
    return same and not can_replace(target)


def open_source(source: StrPath) -> BufferedReader:
    """Open a local source before anything is done to the storage.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        Unsupported: it is a URL of another scheme than http(s).
    """
    if _has_scheme(source):
        msg = f"{shown(source)!r} is neither a local path nor an http(s) URL; nothing was written"
        raise errors.Unsupported(msg)
    path = Path(source)
    try:
        return path.open("rb")
    except FileNotFoundError:
        msg = f"no local file {str(path)!r} to read from; nothing was written"
        raise errors.NotFound(msg) from None
    except IsADirectoryError:
        msg = f"{str(path)!r} is a directory, not a file; nothing was written"
        raise errors.IsADirectory(msg) from None


def beside(target: Path) -> Path:
    """Return a new name beside ``target`` for what will replace it."""
    short = os.fsencode(target.name)[:100].decode(errors="ignore")
    return target.with_name(f".{short}.{os.getpid()}-{next(_numbers)}.part")


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()
