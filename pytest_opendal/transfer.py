"""Streams between a storage and this machine, in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import stat
import urllib.request
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pytest_opendal import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pytest_opendal.connection import Connection
    from pytest_opendal.paths import StrPath

CHUNK_BYTES = 4 << 20
PART_BYTES = 8 << 20
_KERNEL_COPY_BYTES = 64 << 20
_INLINE_BYTES = 64 << 10

_numbers = itertools.count()


async def stream(
    connection: Connection, path: str, offset: int = 0, chunk: int = CHUNK_BYTES
) -> AsyncIterator[bytes]:
    """Yield the content of a file in pieces of up to ``chunk`` bytes, from ``offset`` on."""
    reader = await connection.ask("read", path, connection.backend.open(path))
    try:
        if offset:
            await connection.ask("read", path, reader.seek(offset))
        while piece := await connection.ask("read", path, reader.read(chunk)):
            yield piece
    finally:
        await reader.close()


async def digest(connection: Connection, path: str, algo: str) -> str:
    """Return the hex digest of a file; the next piece is read while one is hashed."""
    found = hashlib.new(algo, usedforsecurity=False)
    loop = asyncio.get_running_loop()
    hashing: Awaitable[None] | None = None
    async with aclosing(stream(connection, path)) as pieces:
        async for piece in pieces:
            if hashing is not None:
                await hashing
                hashing = None
            if len(piece) <= _INLINE_BYTES:
                found.update(piece)
            else:
                hashing = loop.run_in_executor(None, found.update, piece)
    if hashing is not None:
        await hashing
    return found.hexdigest()


async def download(connection: Connection, path: str, target: Path) -> None:
    """Copy a file of the storage to ``target``, which is complete or untouched afterwards."""
    if _is_special(target):
        return await _download_into(connection, path, target)
    part = _beside(target)
    try:
        await _download_into(connection, path, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


async def _download_into(connection: Connection, path: str, target: Path) -> None:
    source = connection.backend.local_path(path)
    if source is not None and source.is_file():
        async with connection.watch("read", path) as still_going:
            with source.open("rb") as reading:
                await copy_file(reading, target, still_going)
        return
    with target.open("wb") as file:
        async with aclosing(stream(connection, path)) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)


async def copy_file(source: IO[bytes], target: Path, still_going: Callable[[], None]) -> None:
    """Let the kernel copy a file of this machine, piece by piece so that it can be interrupted."""
    reading, offset = source.fileno(), 0
    with target.open("wb") as writing:
        while copied := await asyncio.to_thread(
            os.sendfile, writing.fileno(), reading, offset, _KERNEL_COPY_BYTES
        ):
            offset += copied
            still_going()


async def read_file(file: IO[bytes], chunk: int = PART_BYTES) -> AsyncIterator[bytes]:
    """Yield the rest of an open local file."""
    while piece := await asyncio.to_thread(file.read, chunk):
        yield piece


async def read_operator(operator: Any, path: str) -> AsyncIterator[bytes]:
    """Yield a file of another opendal operator (blocking or async)."""
    asynchronous = (
        operator.to_async_operator() if hasattr(operator, "to_async_operator") else operator
    )
    file = await asynchronous.open(path, "rb")
    try:
        while piece := await file.read(CHUNK_BYTES):
            yield piece
    finally:
        await file.close()


async def write_operator(operator: Any, path: str, pieces: AsyncIterator[bytes]) -> None:
    """Write pieces to a file of another opendal operator."""
    asynchronous = (
        operator.to_async_operator() if hasattr(operator, "to_async_operator") else operator
    )
    file = await asynchronous.open(path, "wb")
    async for piece in pieces:
        await file.write(piece)
    await file.close()


async def read_url(url: str, timeout: float) -> AsyncIterator[bytes]:
    """Yield the body of an http(s) URL, taken literally so that its signature stays valid."""
    response = await asyncio.to_thread(urllib.request.urlopen, url, timeout=timeout)  # noqa: S310
    with response:
        while piece := await asyncio.to_thread(response.read, CHUNK_BYTES):
            yield piece


def is_url(source: StrPath) -> bool:
    """Whether ``source`` is an http(s) URL and not a path."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def source_pieces(source: StrPath, operator: Any, timeout: float) -> AsyncIterator[bytes]:
    """Yield the content of a local file, a file of another operator, or an http(s) URL."""
    if is_url(source):
        return read_url(str(source), timeout)
    if operator is not None:
        return read_operator(operator, str(source))
    return _read_path(Path(source))


async def _read_path(path: Path) -> AsyncIterator[bytes]:
    with open_source(path) as file:
        async for piece in read_file(file):
            yield piece


async def chain(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield ``head`` and then the rest."""
    if head:
        yield head
    async for piece in rest:
        yield piece


@asynccontextmanager
async def part_beside(target: Path, noted: Callable[[Path], None]) -> AsyncIterator[Path]:
    """Yield a name beside ``target`` to write to; it replaces ``target`` unless that fails."""
    part = _beside(target)
    noted(part)
    try:
        yield part
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def can_replace(target: Path) -> bool:
    """Whether ``target`` can be replaced: a regular file or nothing, no device, link or pipe."""
    try:
        return stat.S_ISREG(target.lstat().st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def open_source(path: Path) -> IO[bytes]:
    """Open a local source before anything is done to the storage.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        msg = f"no local file {str(path)!r} to read from; nothing was written"
        raise errors.NotFound(msg) from None
    except IsADirectoryError:
        msg = f"{str(path)!r} is a directory, not a file; nothing was written"
        raise errors.IsADirectory(msg) from None


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{os.getpid()}-{next(_numbers)}.part")


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()
