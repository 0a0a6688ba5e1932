"""What a test reads of its storage, as coroutines on the loop thread, and the names it uses."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pytest_opendal import errors, transfer
from pytest_opendal.backends.protocol import NO_CONDITIONS, Conditions
from pytest_opendal.connection import UNREACHABLE
from pytest_opendal.digests import new_hash
from pytest_opendal.loop import away
from pytest_opendal.paths import StrPath, as_directory, is_directory, name_of, normalize, parents

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from pytest_opendal.connection import Connection
    from pytest_opendal.models import Capability, Metadata

_POLL_FIRST, _POLL_MOST = 0.02, 1.0
# What a look may take that begins just before the end.
_LOOK_SECONDS = 1.0


class Reading:
    """One storage for one test (or session), as far as it changes nothing."""

    def __init__(self, connection: Connection, prefix: str = "") -> None:
        """Begin with a storage, and the name of the directory that all paths are relative to."""
        self.connection = connection
        self.name = connection.name
        self._prefix = f"{prefix}/" if prefix else ""

    # -- paths

    @property
    def timeout(self) -> float:
        """Seconds that one call, or one chunk of a stream, may take."""
        return self.connection.timeout

    def resolve(self, path: StrPath, operation: str = "use") -> str:
        """Return ``path`` as the backend takes it: normalized, below the isolation area if there is one.

        Raises:
            PathEscape, InvalidPath: see `pytest_opendal.paths.normalize`.
        """
        try:
            return self._prefix + normalize(path)
        except errors.InvalidPath as error:
            raise self.connection.error(type(error), operation, "", str(error)) from None

    def display(self, path: StrPath) -> str:
        """Return ``path`` for a message: ``storage:path``."""
        return f"{self.name}:{normalize(path) or '/'}"

    def relative(self, path: str) -> str:
        """Return a backend's path as a test spells it; the root is ``/``."""
        return path.removeprefix(self._prefix) or "/"

    def _file(self, path: StrPath, operation: str) -> str:
        """Return the resolved path of something that is to be a file."""
        resolved = self.resolve(path, operation)
        if is_directory(resolved):
            reason = "names a directory; a file has no slash at its end"
            raise self.connection.error(errors.IsADirectory, operation, resolved or "/", reason)
        return resolved

    def _name(self, path: StrPath, operation: str) -> str:
        """Return the resolved name, which must not be the root."""
        resolved = name_of(self.resolve(path, operation))
        if resolved == name_of(self._prefix):
            reason = "the root of the storage is never written, moved or removed"
            raise self.connection.error(errors.InvalidPath, operation, "/", reason)
        return resolved

    # -- reading

    async def read_bytes(
        self,
        path: StrPath,
        *,
        offset: int = 0,
        size: int | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> bytes:
        """Return a file's content, or ``size`` bytes of it from ``offset`` on."""
        resolved = self._file(path, "read")
        conditions = Conditions(if_match, if_none_match)
        if offset or size is not None:
            size = await self._available(resolved, offset, size, conditions)
            if not size:
                return b""
        return await self.connection.ask(
            "read", resolved, self.connection.backend.read(resolved, offset, size, conditions)
        )

    async def _available(
        self, resolved: str, offset: int, size: int | None, conditions: Conditions
    ) -> int:
        """Return how many bytes of a range there are; past the end 0.47 raises and 0.45 panics."""
        if offset < 0 or (size or 0) < 0:
            msg = f"offset and size count bytes from the start, not {offset} and {size}"
            raise ValueError(msg)
        found = await self.connection.stat(resolved, conditions)
        if found.mode.is_dir():
            raise self.connection.error(errors.IsADirectory, "read", resolved, "is a directory")
        rest = max(0, found.content_length - offset)
        return rest if size is None else min(size, rest)

    async def require_file(self, path: StrPath) -> tuple[str, int]:
        """Return the resolved path and the size of a file that exists."""
        resolved = self._file(path, "open")
        found = await self._require("open", resolved, path)
        if found.mode.is_dir():
            raise self.connection.error(errors.IsADirectory, "open", resolved, "is a directory")
        return resolved, found.content_length

    def stream(self, path: StrPath, offset: int = 0) -> AsyncGenerator[bytes]:
        """Yield a file's content in pieces, from ``offset`` bytes on."""
        return transfer.stream(self.connection, self._file(path, "read"), offset)

    async def read_into_path(self, src: StrPath, dst: StrPath, operator: Any = None) -> None:
        """Copy the file ``src`` to the local path ``dst``, or to ``dst`` of another operator."""
        resolved = self._file(src, "read")
        if operator is None:
            if not Path(dst).parent.exists():
                await self.require_file(src)
                Path(dst).parent.mkdir(parents=True, exist_ok=True)
            await transfer.download(self.connection, resolved, Path(dst))
            return
        # What breaks off in the middle leaves the other file as it was.
        with transfer.spool() as content:
            with transfer.in_spool():
                await transfer.pass_on(self.connection, resolved, content.write)
            await self.write_elsewhere(resolved, content, operator, str(dst))

    async def write_elsewhere(
        self, resolved: str, content: IO[bytes], operator: Any, path: str
    ) -> None:
        """Write what was read from a file to another operator."""
        content.seek(0)
        async with self._explained(
            "read", resolved, f"cannot write {path!r} of the other operator"
        ):
            await transfer.write_operator(operator, path, content, self.timeout)

    @asynccontextmanager
    async def _explained(self, operation: str, resolved: str, what: str) -> AsyncIterator[None]:
        """Turn what somebody else's operator raises into our errors."""
        try:
            yield
        except errors.StorageError:
            raise
        except Exception as error:
            kind, reason = self.connection.backend.explain(error)
            if isinstance(error, TimeoutError):
                kind, reason = errors.StorageTimeout, "no answer in time"
            text = f"{what}: {reason}"
            cause = self.connection.backend.cause(error)
            raise self.connection.error(kind, operation, resolved, text) from cause

    async def stat(
        self, path: StrPath, *, if_match: str | None = None, if_none_match: str | None = None
    ) -> Metadata:
        """Return the metadata of a file or directory."""
        resolved = self.resolve(path, "stat")
        conditions = Conditions(if_match, if_none_match)
        try:
            return await self.connection.stat(resolved, conditions)
        except errors.NotFound:
            if conditions == NO_CONDITIONS and await self._may_be_implied(resolved):
                return await self.connection.stat(f"{resolved}/")
            raise

    async def _may_be_implied(self, resolved: str) -> bool:
        """Whether a directory may answer to its name without slash only here, not at the service."""
        if is_directory(resolved) or self.connection.backend.hierarchical:
            return False
        return (await self.connection.capability()).list

    async def exists(self, path: StrPath) -> bool:
        """Whether a file or directory is there."""
        if await self._find(path, "exists") is not None:
            return True
        # The area of a test begins with what it creates; for the test it is there before.
        return name_of(self.resolve(path, "exists")) == name_of(self._prefix)

    async def _find(self, path: StrPath, operation: str) -> Metadata | None:
        self.resolve(path, operation)
        try:
            return await self.stat(path)
        except (errors.NotFound, errors.NotADirectory):
            return None

    async def _require(self, operation: str, resolved: str, path: StrPath) -> Metadata:
        try:
            return await self.stat(path)
        except errors.NotFound as error:
            raise self.connection.error(
                errors.NotFound, operation, resolved, "not found"
            ) from error.__cause__

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        """Return the hex digest of a file's content."""
        algo = new_hash(algo).name
        resolved = self._file(path, "hash")
        there = await self.connection.ask(
            "hash", resolved, self.connection.backend.hash(resolved, algo)
        )
        return there or await transfer.digest(self.connection, resolved, algo)

    async def list(self, path: StrPath, *, recursive: bool = False) -> AsyncGenerator[str]:
        """Yield paths directly below a directory (or all), the directory itself first.

        The same on every service: a file yields itself, what is missing nothing, directories end with
        ``/``, and directories that an object store only implies are among them.
        """
        resolved = self.resolve(path, "scan" if recursive else "list")
        if not is_directory(resolved):
            kind = await self._kind(resolved)
            if kind == "file":
                yield self.relative(resolved)
            if kind in {"file", None} and self.connection.backend.hierarchical:
                return
        async for entry in self._list_directory(as_directory(resolved), recursive=recursive):
            yield self.relative(entry)

    async def _kind(self, resolved: str) -> str | None:
        found = await self.connection.find(resolved)
        if found is None:
            return None
        return "dir" if found.mode.is_dir() else "file"

    async def _list_directory(self, directory: str, *, recursive: bool) -> AsyncIterator[str]:
        seen: set[str] = set()
        async for entry in self._below(directory, recursive=recursive):
            if not seen:
                seen.add(directory)
                yield directory
            for implied in reversed(
                [f"{name}/" for name in parents(entry) if len(name) >= len(directory)]
            ):
                if implied not in seen:
                    seen.add(implied)
                    yield implied
            if entry not in seen:
                seen.update([entry] if entry.endswith("/") else [])
                yield entry
        if not seen and (directory == self._prefix or await self._kind(directory) == "dir"):
            yield directory

    async def _below(self, directory: str, *, recursive: bool) -> AsyncIterator[str]:
        async for entry in self.connection.list(directory, recursive=recursive):
            if entry.strip("/") != directory.strip("/"):
                yield entry

    def scan(self, path: StrPath) -> AsyncGenerator[str]:
        """Yield all paths below a directory, itself first."""
        return self.list(path, recursive=True)

    async def capability(self) -> Capability:
        """Return what the service can do."""
        return await self.connection.capability()

    async def wait_until(
        self,
        path: StrPath,
        timeout: float | None = None,
        *,
        condition: Callable[[Metadata], object] | None = None,
    ) -> Metadata:
        """Wait until ``path`` exists and ``condition`` of its metadata is true; return the metadata.

        Args:
            path: what appears later, written by somebody else.
            timeout: seconds to wait, the storage's ``timeout`` by default.
            condition: asked with the metadata each time.

        Raises:
            StorageTimeout: it did not come; the message says what was there last.
            StorageUnavailable: it did not come, and the storage could not be reached at last.
        """
        seconds = self.timeout if timeout is None else timeout
        deadline, pause = time.monotonic() + seconds, _POLL_FIRST
        while True:
            found = await self._look(path, deadline)
            if (
                found
                and not isinstance(found, errors.StorageError)
                and await _holds(condition, found)
            ):
                return found
            if time.monotonic() >= deadline:
                raise self._not_as_awaited(path, seconds, found)
            await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 1.5, _POLL_MOST)

    async def _look(self, path: StrPath, deadline: float) -> Metadata | errors.StorageError | None:
        """Return what is there, or why nobody knows: a server may start anew while one waits."""
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), _LOOK_SECONDS)):
                return await self._find(path, "wait_until")
        except UNREACHABLE as error:
            return error
        except TimeoutError:
            return errors.StorageTimeout("no answer")

    def _not_as_awaited(
        self, path: StrPath, seconds: float, found: Metadata | errors.StorageError | None
    ) -> errors.StorageError:
        kind: type[errors.StorageError] = errors.StorageTimeout
        if isinstance(found, errors.StorageError):
            kind, state = type(found), str(found).removeprefix(f"{self.name}: ")
        else:
            state = f"there with {found.content_length} bytes" if found else "nothing there"
        reason = f"not as awaited within {seconds:g} s ({state})"
        return self.connection.error(kind, "wait_until", str(path), reason)


async def _holds(condition: Callable[[Metadata], object] | None, found: Metadata) -> bool:
    return condition is None or bool(await away(lambda: condition(found)))
