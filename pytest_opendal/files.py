"""Open files of a storage: the methods of Jumpstarter's ``OpendalFile``, and those of a Python file.

What is written goes to a local spool and is published when the file is closed without an error. So an
exception inside ``with``, or a file that is never closed, publishes nothing, on every service.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from pytest_opendal import transfer
from pytest_opendal.backends.protocol import WriteOptions
from pytest_opendal.loop import drop, is_on_loop
from pytest_opendal.redacting import refuse_pickle
from pytest_opendal.tracking import Discarded
from pytest_opendal.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from pytest_opendal.backends.protocol import Reader
    from pytest_opendal.core import Operations
    from pytest_opendal.paths import StrPath

Mode = Literal["rb", "wb", "ab", "r", "w", "a"]
Run = "Callable[[Coroutine[Any, Any, Any]], Any]"

# pytest then shows the line of the test, not these frames.
__tracebackhide__ = True

_BUFFER_BYTES = 256 << 10


def write_options(given: Mapping[str, Any]) -> WriteOptions:
    """Return the keyword arguments of ``open``.

    Raises:
        TypeError: there is no such argument.
    """
    known = [field.name for field in fields(WriteOptions)]
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise TypeError(f"open() takes no {name}=; {hint}; text modes are UTF-8")
    return WriteOptions(**given)


class StorageFile:
    """A file of a storage; text modes (``r w a``) are UTF-8."""

    def __init__(self, path: str, mode: Mode) -> None:
        self.path = path
        self.mode = mode
        self._text = "b" not in mode

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{type(self).__name__} {self.path!r} mode={self.mode!r} {state}>"

    def __reduce__(self) -> Any:
        refuse_pickle("an open file")

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file; one opened for writing is published by this."""
        raise NotImplementedError

    def discard(self) -> None:
        """Close the file; nothing that was written is published."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return self.mode[0] == "r"

    def writable(self) -> bool:
        """Whether the file was opened for writing."""
        return not self.readable()

    def seekable(self) -> bool:
        """Whether `seek` works: when reading."""
        return self.readable()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

    def _refuse(self, action: str) -> io.UnsupportedOperation:
        return io.UnsupportedOperation(
            f"{self.path!r} is open with mode {self.mode!r}: cannot {action}"
        )

    def read(self, size: int = -1) -> Any:
        """Return up to ``size`` bytes (characters in text modes), all that is left by default."""
        raise self._refuse("read")

    def readline(self, size: int = -1) -> Any:
        """Return the next line with its end, empty at the end of the file."""
        raise self._refuse("read")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.readline, "" if self._text else b"")

    def read_bytes(self) -> bytes:
        """Return all bytes from the position to the end."""
        raise self._refuse("read")

    def read_into_path(self, path: StrPath, operator: Any = None) -> None:
        """Copy all from the position to the end to a local path, or to ``path`` of another operator."""
        raise self._refuse("read")

    def write(self, data: Any) -> int:
        """Write bytes (text in text modes); returns how many bytes (characters)."""
        raise self._refuse("write")

    def write_bytes(self, data: bytes) -> None:
        """Write bytes."""
        raise self._refuse("write")

    def write_from_path(self, path: StrPath, operator: Any = None) -> None:
        """Write the content of a local file, a file of another operator, or an http(s) URL."""
        raise self._refuse("write")

    def seek(self, pos: int, whence: int = 0) -> int:
        """Move to a byte offset from the start (0), the position (1) or the end (2); return the position."""
        raise self._refuse("seek")

    def tell(self) -> int:
        """Return the position in bytes."""
        raise NotImplementedError


class _RawReader(io.RawIOBase):
    """Lets Python's own buffering and line reading work over a backend's reader."""

    def __init__(
        self, storage: Operations, path: str, reader: Reader, size: int, run: Callable[..., Any]
    ) -> None:
        self._storage = storage
        self._path = path
        self._reader = reader
        self._size = size
        self._run = run
        self._position = 0
        self._is_behind_end = False
        """Nothing can be read there; opendal 0.45 raises or panics."""

    def _ask(self, answer: Coroutine[Any, Any, Any]) -> Any:
        return self._run(self._storage.connection.ask("read", self._path, answer))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._is_behind_end:
            return 0
        piece = self._ask(_awaited(self._reader.read, len(buffer)))
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seek(self, pos: int, whence: int = 0) -> int:
        if whence == io.SEEK_END:
            self._look_again()
        wanted = pos + {io.SEEK_CUR: self._position, io.SEEK_END: self._size}.get(whence, 0)
        if wanted < 0:
            msg = f"negative position {wanted} in {self._path!r}"
            raise ValueError(msg)
        if wanted > self._size:
            self._look_again()
        self._is_behind_end = wanted > self._size
        if not self._is_behind_end:
            self._ask(_awaited(self._reader.seek, wanted))
        self._position = wanted
        return wanted

    def _look_again(self) -> None:
        """Open a file that has grown once more: opendal 0.45 would not read what is new."""
        before, self._size = self._size, self._run(self._storage.length(self._path))
        if self._size > before:
            self._ask(_awaited(self._reader.close))
            backend = self._storage.connection.backend
            self._reader = self._ask(_awaited(backend.open, self._path))

    def tell(self) -> int:
        return self._position

    def readall(self) -> bytes:
        # Python's own asks for 8 KiB at a time.
        rest = b"" if self._is_behind_end else self._run(self._read_rest())
        self._position += len(rest)
        return bytes(rest)

    async def _read_rest(self) -> bytes:
        pieces: list[bytes] = []
        while piece := await self._storage.connection.ask(
            "read", self._path, self._reader.read(transfer.CHUNK_BYTES)
        ):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        closing = self._storage.connection.ask("read", self._path, _awaited(self._reader.close))
        if is_on_loop():  # of the garbage collector's, who may not wait here
            drop(closing)
        else:
            self._run(closing)


async def _awaited(call: Callable[..., Any], *arguments: Any) -> Any:
    # opendal's methods return futures that must be made on the loop's thread.
    return await call(*arguments)


class ReadingFile(StorageFile):
    """A file opened for reading."""

    def __init__(
        self,
        storage: Operations,
        path: str,
        mode: Mode,
        reader: Reader,
        size: int,
        run: Callable[..., Any],
    ) -> None:
        super().__init__(path, mode)
        self._run = run
        self._storage = storage
        raw = _RawReader(storage, path, reader, size, run)
        self._buffer = io.BufferedReader(raw, _BUFFER_BYTES)
        self._file: Any = self._decoded() if self._text else self._buffer

    def _decoded(self) -> io.TextIOWrapper:
        # With "" it would keep a `\r` in mind, and `tell` would no longer be a count of bytes.
        return io.TextIOWrapper(self._buffer, "utf-8", newline="\n")

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        self._file.close()

    discard = close

    def read(self, size: int = -1) -> Any:
        return self._file.read(size)

    def readline(self, size: int = -1) -> Any:
        return self._file.readline(size)

    def read_bytes(self) -> bytes:
        self._settle()
        return self._buffer.read()

    def read_into_path(self, path: StrPath, operator: Any = None) -> None:
        self._settle()
        if operator is not None:
            with transfer.spool() as content:
                with transfer.in_spool():
                    self._copy_to(content)
                self._run(self._storage.write_elsewhere(self.path, content, operator, str(path)))
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with transfer.replacing(target) as part, part.open("wb") as writing:
            self._copy_to(writing)

    def _copy_to(self, target: IO[bytes]) -> None:
        while piece := self._buffer.read(transfer.CHUNK_BYTES):
            target.write(piece)

    def _settle(self) -> None:
        """Bring the bytes to where the text is: it is decoded in pieces, ahead of what was read."""
        if self._text:
            self.seek(self.tell())

    def seek(self, pos: int, whence: int = 0) -> int:
        if self._text and whence == io.SEEK_CUR:
            pos, whence = self.tell() + pos, io.SEEK_SET
        position = self._buffer.seek(pos, whence)
        if self._text:
            self._file.detach()
            self._file = self._decoded()
        return position

    def tell(self) -> int:
        return int(self._file.tell())


class WritingFile(StorageFile):
    """A file opened for writing or appending."""

    def __init__(
        self,
        storage: Operations,
        path: str,
        mode: Mode,
        tracking: AbstractAsyncContextManager[str],
        options: WriteOptions,
        run: Callable[..., Any],
        position: int = 0,
    ) -> None:
        super().__init__(path, mode)
        self._storage = storage
        self._tracking = tracking
        self._options = options
        self._run = run
        self._spool = transfer.spool()
        self._position = position

    @property
    def closed(self) -> bool:
        return self._spool.closed

    def close(self) -> None:
        if not self.closed:
            with self._spool:
                self._spool.seek(0)
                self._run(self._publish())

    async def _publish(self) -> None:
        try:
            await self._storage.tracker.noted_again("write", self.path)
            if self.mode[0] == "a":
                await self._storage.append_from(self.path, self._spool)
            else:
                await self._storage.publish(self.path, self._spool, self._options)
        except BaseException as error:
            await self._tracking.__aexit__(type(error), error, error.__traceback__)
            raise
        await self._tracking.__aexit__(None, None, None)

    def discard(self) -> None:
        if not self.closed:
            self._spool.close()
            self._run(self._give_up())

    async def _give_up(self) -> None:
        given_up = Discarded()
        with suppress(Discarded):
            await self._tracking.__aexit__(Discarded, given_up, None)

    def write(self, data: Any) -> int:
        if isinstance(data, str) != self._text:
            takes, given = "str" if self._text else "bytes", type(data).__name__
            raise TypeError(f"write() takes {takes} in mode {self.mode!r}, not {given}")
        if self._text:
            self.write_bytes(data.encode("utf-8"))
            return len(data)
        self.write_bytes(data)
        return len(data)

    def write_bytes(self, data: bytes) -> None:
        self._position += self._spool.write(data)

    def write_from_path(self, path: StrPath, operator: Any = None) -> None:
        path = transfer.quiet(path)
        source = self._storage.source(self.path, path, operator)
        while piece := self._run(_awaited(anext, source, b"")):
            self.write_bytes(piece)

    def tell(self) -> int:
        return self._position


async def open_file(
    storage: Operations, path: StrPath, mode: Mode, options: WriteOptions, run: Callable[..., Any]
) -> StorageFile:
    """Open ``path``; for reading it must exist, for writing it counts as created from now on."""
    if mode[0] == "r":
        resolved, size = await storage.require_file(path)
        reader = await storage.connection.ask(
            "open", resolved, storage.connection.backend.open(resolved)
        )
        return ReadingFile(storage, resolved, mode, reader, size, run)
    tracking = storage.opening_for_write(path, append=mode[0] == "a")
    resolved = await tracking.__aenter__()
    try:
        position = await storage.length(resolved) if mode[0] == "a" else 0
    except BaseException as error:
        await tracking.__aexit__(type(error), error, error.__traceback__)
        raise
    return WritingFile(storage, resolved, mode, tracking, options, run, position)
