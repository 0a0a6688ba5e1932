"""The storage that a test holds, as coroutines on the loop thread: operations and their tracking."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

from pytest_opendal import errors, transfer
from pytest_opendal.backends.protocol import (
    NO_CONDITIONS,
    NO_OPTIONS,
    Conditions,
    Operation,
    WriteOptions,
)
from pytest_opendal.connection import UNREACHABLE
from pytest_opendal.paths import (
    StrPath,
    as_directory,
    below,
    is_directory,
    name_of,
    normalize,
    parents,
)

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from io import BufferedReader

    from pytest_opendal.connection import Connection
    from pytest_opendal.meter import Moving
    from pytest_opendal.models import Capability, Metadata, PresignedRequest
    from pytest_opendal.sharing import Sharing
    from pytest_opendal.tracking import Tracker

_POLL_FIRST, _POLL_MOST = 0.02, 1.0


class Operations:
    """One storage for one test (or session): every operation goes through here and is tracked."""

    def __init__(
        self,
        connection: Connection,
        tracker: Tracker,
        prefix: str = "",
        sharing: Sharing | None = None,
    ) -> None:
        """Begin with nothing created.

        Args:
            connection: the storage.
            tracker: what notes creations for this object.
            prefix: name of the directory that all paths are relative to.
            sharing: what `ensure` shares with the other workers of the run.
        """
        self.connection = connection
        self.tracker = tracker
        self.name = connection.name
        self._prefix = f"{prefix}/" if prefix else ""
        self._sharing = sharing
        self._uploads: list[tuple[Tracker, str]] = []

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

    async def require_file(self, path: StrPath) -> str:
        """Return the resolved path of a file that exists."""
        resolved = self._file(path, "open")
        if (await self._require("open", resolved, path)).mode.is_dir():
            raise self.connection.error(errors.IsADirectory, "open", resolved, "is a directory")
        return resolved

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
        async with (
            aclosing(transfer.stream(self.connection, resolved)) as pieces,
            self._explained("read", resolved, f"cannot write {str(dst)!r} of the other operator"),
        ):
            await transfer.write_operator(operator, str(dst), pieces)

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
        return await self._find(path, "exists") is not None

    async def _find(self, path: StrPath, operation: str) -> Metadata | None:
        self.resolve(path, operation)
        try:
            return await self.stat(path)
        except (errors.NotFound, errors.NotADirectory):
            return None

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        """Return the hex digest of a file's content."""
        if algo not in hashlib.algorithms_available or algo.startswith("shake"):
            names = ", ".join(sorted(hashlib.algorithms_guaranteed))
            msg = f"unknown hash algorithm {algo!r}; hashlib has {names}"
            raise ValueError(msg)
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
        """
        seconds = self.timeout if timeout is None else timeout
        deadline, pause = time.monotonic() + seconds, _POLL_FIRST
        while True:
            found = await self._find(path, "wait_until")
            if found is not None and (condition is None or condition(found)):
                return found
            if time.monotonic() >= deadline:
                state = (
                    "nothing there" if found is None else f"there with {found.content_length} bytes"
                )
                reason = f"not as awaited within {seconds:g} s ({state})"
                raise self.connection.error(errors.StorageTimeout, "wait_until", str(path), reason)
            await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 1.5, _POLL_MOST)

    # -- writing

    async def write_bytes(
        self, path: StrPath, data: bytes, options: WriteOptions = NO_OPTIONS
    ) -> None:
        """Store ``data`` as the file ``path``."""
        resolved = self._file(path, "write")
        async with self.tracker.creating("write", resolved):
            await self._write(resolved, data, options)

    async def _write(self, resolved: str, data: bytes, options: WriteOptions) -> None:
        target = None if options.if_not_exists else self.connection.backend.local_path(resolved)
        # What is not there yet needs no part: half of it is removed when the write fails.
        async with self._beside(
            resolved, target if transfer.has_content(target) else None
        ) as place:
            await self.connection.ask(
                "write", resolved, self.connection.backend.write(place, data, options)
            )
        self.tracker.written += len(data)

    async def write_from_path(
        self, dst: StrPath, src: StrPath, operator: Any = None, options: WriteOptions = NO_OPTIONS
    ) -> None:
        """Store a local file, a file of another operator, or an http(s) URL as the file ``dst``."""
        resolved = self._file(dst, "write")
        if operator is None and not transfer.is_url(src):
            with transfer.open_source(Path(src)) as source:
                async with self.tracker.creating("write", resolved):
                    await self.publish(resolved, source, options)
            return
        async with aclosing(self.source(resolved, src, operator)) as pieces:
            # A source that cannot be read is found before the target is touched.
            head = await anext(pieces, b"")
            async with self.tracker.creating("write", resolved):
                await self._upload(resolved, transfer.chain(head, pieces), options)

    async def source(self, resolved: str, src: StrPath, operator: Any) -> AsyncGenerator[bytes]:
        """Yield the content of what is written to a file: of a local path, an operator, or a URL."""
        what = f"cannot read {transfer.shown(src)!r}"
        async with aclosing(transfer.source_pieces(src, operator, self.timeout)) as pieces:
            while piece := await self._piece(resolved, what, pieces):
                yield piece

    async def _piece(self, resolved: str, what: str, pieces: AsyncIterator[bytes]) -> bytes:
        """Return the next piece of a source; its silence says nothing of the storage."""
        try:
            async with self._explained("write", resolved, what), asyncio.timeout(self.timeout):
                return await anext(pieces, b"")
        except UNREACHABLE as error:
            raise self.connection.error(
                transfer.SourceUnavailable, "write", resolved, str(error)
            ) from error.__cause__

    async def publish(self, resolved: str, source: IO[bytes], options: WriteOptions) -> None:
        """Store the rest of an open local file; nothing of it is there before all of it is."""
        head = await asyncio.to_thread(source.read, transfer.PART_BYTES)
        if len(head) < transfer.PART_BYTES:
            return await self._write(resolved, head, options)
        target = self.connection.backend.local_path(resolved)
        if target is not None and options == NO_OPTIONS and transfer.can_replace(target):
            return await self._copy_beside(resolved, target, source)
        return await self._upload(
            resolved,
            transfer.chain(head, transfer.read_file(source)),
            options,
            transfer.size_of(source),
        )

    async def _copy_beside(self, resolved: str, target: Path, source: IO[bytes]) -> None:
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        async with (
            self._beside(resolved, target) as part,
            self.connection.watch("write", resolved) as still_going,
        ):
            place = target.with_name(part.rpartition("/")[2])
            with self.connection.moving("write", resolved, transfer.size_of(source)) as moving:
                await transfer.copy_file(source, place, still_going, moving)
            self.tracker.written += place.stat().st_size

    @asynccontextmanager
    async def _beside(self, resolved: str, target: Path | None) -> AsyncIterator[str]:
        """Yield the path to write to, where a write that fails would damage what is there.

        That is on an fs storage, and behind an exporter: a part beside the file, which replaces
        it at the end.
        """
        if self.connection.backend.replaces and resolved not in self.connection.special:
            async with self._part(resolved) as part:
                yield part
            return
        if target is None or not transfer.can_replace(target):
            yield resolved
            return
        part = resolved[: -len(target.name)] + transfer.beside(target).name
        self.tracker.note(("+", part, "file", False))
        try:
            yield part
            transfer.copy_mode(target, target.with_name(part.rpartition("/")[2]))
            await self.connection.ask(
                "write", resolved, self.connection.backend.rename(part, resolved)
            )
        except BaseException:
            with suppress(OSError):
                target.with_name(part.rpartition("/")[2]).unlink(missing_ok=True)
            raise
        finally:
            self.tracker.unrecorded([part])

    @asynccontextmanager
    async def _part(self, resolved: str) -> AsyncIterator[str]:
        """Yield the path of a part beside a file, which the other side puts in its place at the end."""
        backend = self.connection.backend
        part = transfer.beside(Path(resolved)).as_posix()
        self.tracker.note(("+", part, "file", False))
        try:
            yield part
            await self.connection.ask("write", resolved, backend.replace(part, resolved))
        except BaseException as error:
            # A side that is silent or gone is not asked again; the record keeps the part.
            if not (isinstance(error, errors.StorageTimeout) or backend.may_be_gone):
                with suppress(errors.StorageError):
                    with suppress(errors.NotADirectory):
                        await self.connection.ask("delete", part, backend.delete(part))
                    self.tracker.unrecorded([part])
            raise
        self.tracker.unrecorded([part])

    async def _upload(
        self,
        resolved: str,
        pieces: AsyncIterator[bytes],
        options: WriteOptions,
        size: int | None = None,
    ) -> None:
        target = None if options.if_not_exists else self.connection.backend.local_path(resolved)
        async with self._beside(resolved, target) as place:
            with self.connection.moving("write", resolved, size) as moving:
                await self._stream(resolved, place, pieces, options, moving)

    async def _stream(
        self,
        resolved: str,
        place: str,
        pieces: AsyncIterator[bytes],
        options: WriteOptions,
        moving: Moving,
    ) -> None:
        async with self.connection.watch("write", resolved) as still_going:

            async def watched() -> AsyncGenerator[bytes]:
                async for piece in pieces:
                    still_going()
                    yield piece
                    self.tracker.written += len(piece)
                    moving.add(len(piece))

            async with aclosing(watched()) as all_pieces:
                await self.connection.backend.upload(place, all_pieces, options)

    async def append_from(self, resolved: str, source: IO[bytes]) -> None:
        """Add the content of an open local file to the end of a file, all of it or nothing."""
        target = self.connection.backend.local_path(resolved)
        with transfer.cut_back_on_failure(target):
            # At least once, so that appending nothing makes the file.
            piece = await asyncio.to_thread(source.read, transfer.PART_BYTES)
            while True:
                await self.connection.ask(
                    "append", resolved, self.connection.backend.append(resolved, piece)
                )
                self.tracker.written += len(piece)
                if not (piece := await asyncio.to_thread(source.read, transfer.PART_BYTES)):
                    return

    @asynccontextmanager
    async def opening_for_write(self, path: StrPath, *, append: bool) -> AsyncIterator[str]:
        """Track the file ``path`` from the moment it is opened for writing; yields the resolved path.

        Raises:
            Unsupported: ``append`` on a service that would overwrite.
        """
        resolved = self._file(path, "open")
        if append and not self.connection.backend.appends:
            reason = f"{self.connection.backend.scheme} cannot append; write the whole file"
            raise self.connection.error(errors.Unsupported, "append", resolved, reason)
        async with self.tracker.creating("open", resolved):
            yield resolved

    async def length(self, resolved: str) -> int:
        """Return the size of a file, 0 when there is none."""
        found = await self.connection.find(resolved)
        return 0 if found is None else found.content_length

    async def create_dir(self, path: StrPath) -> None:
        """Make a directory and those above it; one that exists is left as it is."""
        name = name_of(self.resolve(path, "create_dir"))
        if name == name_of(self._prefix):
            return
        self.tracker.refuse_protected("create_dir", name)
        fresh = await self._missing_with(name)
        if fresh:
            async with self.tracker.creating_directories(fresh):
                await self.connection.ask(
                    "create_dir", f"{name}/", self.connection.backend.create_dir(f"{name}/")
                )

    async def _missing_with(self, name: str) -> builtins.list[str]:
        if self.connection.backend.hierarchical:
            return await self.tracker.missing_directories("create_dir", f"{name}/.")
        if not self._made(name) and await self._kind(name) == "file":
            # An object store would have both; here a name is one thing everywhere.
            raise self.connection.error(errors.NotADirectory, "create_dir", name, "is a file")
        return [] if await self._has_marker(name) else [name]

    async def _has_marker(self, name: str) -> bool:
        """Whether an object store has an entry for the directory itself; `stat` also tells implied ones."""
        if not (await self.connection.capability()).list:
            return False
        async for entry in self.connection.list(f"{name}/"):
            if entry == f"{name}/":
                return True
        return False

    async def register_path(self, path: StrPath) -> None:
        """Track what the device itself will write: a file, or (trailing slash) a whole directory."""
        resolved = self.resolve(path, "register_path")
        name = self._name(path, "register_path")
        if is_directory(resolved):
            if await self._kind(name) == "file":
                raise self.connection.error(
                    errors.NotADirectory, "register_path", resolved, "is a file"
                )
            if await self.connection.find(resolved) is not None:
                return  # a directory that existed is never removed
        async with self.tracker.creating(
            "register_path", name, "tree" if is_directory(resolved) else "file"
        ):
            pass

    async def ensure(self, path: StrPath, source: StrPath) -> bool:
        """Upload the local file ``source`` unless ``path`` has the same size and content.

        Without isolation the workers of a run share it: it is removed when the run ends.

        Returns:
            Whether it was uploaded.
        """
        resolved = self._file(path, "ensure")
        if transfer.is_url(source):
            raise ValueError("ensure takes a local file, no URL; write_from_path takes both")
        with transfer.open_source(Path(source)) as file:
            async with self._once(resolved) as tracker:
                if await self._is_same(resolved, file):
                    return False
                file.seek(0)
                async with tracker.creating("ensure", resolved):
                    await self.publish(resolved, file, NO_OPTIONS)
                self._uploads.append((tracker, resolved))
        return True

    @asynccontextmanager
    async def _once(self, resolved: str) -> AsyncIterator[Tracker]:
        if self._sharing is None or self.tracker.has_changed(resolved):
            yield self.tracker
            return
        async with self._sharing.exclusive(resolved) as tracker:
            yield tracker

    async def _is_same(self, resolved: str, file: BufferedReader) -> bool:
        found = await self.connection.find(resolved)
        size = file.seek(0, 2)
        file.seek(0)
        if found is None or not found.mode.is_file() or found.content_length != size:
            return False
        mine = (await asyncio.to_thread(hashlib.file_digest, file, "sha256")).hexdigest()
        return mine == await transfer.digest(self.connection, resolved, "sha256")

    # -- copying, moving, removing

    async def copy(self, source: StrPath, target: StrPath) -> None:
        """Copy a file, or a directory with all below it."""
        origin, place = await self._two_places("copy", source, target)
        if (await self._require("copy", origin, source)).mode.is_dir():
            await self._copy_directory(name_of(origin), name_of(place))
        else:
            await self._copy_file(name_of(origin), self._file(target, "copy"))

    async def _two_places(
        self, operation: str, source: StrPath, target: StrPath
    ) -> tuple[str, str]:
        origin, place = self._name(source, operation), self._name(target, operation)
        if origin == place:
            raise self.connection.error(
                errors.IsSameFile, operation, origin, "source and target are the same"
            )
        if below(place, origin):
            reason = f"the target {place!r} lies in the source"
            raise self.connection.error(errors.InvalidPath, operation, origin, reason)
        return self.resolve(source, operation), self.resolve(target, operation)

    async def _require(self, operation: str, resolved: str, path: StrPath) -> Metadata:
        try:
            return await self.stat(path)
        except errors.NotFound as error:
            raise self.connection.error(
                errors.NotFound, operation, resolved, "not found"
            ) from error.__cause__

    async def _copy_file(self, origin: str, place: str) -> None:
        await self._refuse_directory("copy", place)
        target = self.connection.backend.local_path(place)
        async with (
            self.tracker.creating("copy", place),
            self._beside(place, target if transfer.has_content(target) else None) as spot,
        ):
            await self.connection.ask("copy", origin, self.connection.backend.copy(origin, spot))

    async def _refuse_directory(self, operation: str, place: str) -> None:
        """Raise `IsADirectory` for a target that the tracker takes for ours without a question.

        WebDAV would put the file in the place of the directory and of all that is in it.
        """
        if self.tracker.is_ours(place) and await self._is_real_directory(place):
            raise self.connection.error(errors.IsADirectory, operation, place, "is a directory")

    async def _copy_directory(self, origin: str, place: str) -> None:
        # The listing ends before the first copy, so that a service never lists what was just made.
        entries = [entry async for entry in self.connection.list(f"{origin}/", recursive=True)]
        if self.connection.backend.hierarchical:
            await self.create_dir(self.relative(f"{place}/"))
        for entry in entries:
            if entry.endswith("/"):
                await self.create_dir(self.relative(place + entry[len(origin) :]))
        files = [entry for entry in entries if not entry.endswith("/")]
        await self.limited(
            *(self._copy_file(entry, place + entry[len(origin) :]) for entry in files)
        )

    async def limited(self, *jobs: Any) -> None:
        """Run coroutines, a few at once; the first error ends the rest."""
        at_once = asyncio.Semaphore(self.tracker.settings.concurrency)

        async def one(job: Any) -> None:
            async with at_once:
                await job

        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(one(job))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def rename(self, source: StrPath, target: StrPath) -> None:
        """Move a file, or a directory with all below it."""
        origin, place = (name_of(path) for path in await self._two_places("rename", source, target))
        await self._require("rename", origin, source)
        if not (await self.connection.capability()).rename:
            reason = "the service cannot rename; copy it, and delete the old one"
            raise self.connection.error(errors.Unsupported, "rename", origin, reason)
        self._refuse_through_link("rename", origin)
        await self.tracker.refuse_protected_below("rename", origin)
        await self._refuse_directory("rename", place)
        async with self.tracker.moving("rename", origin, place):
            await self.connection.ask(
                "rename", origin, self.connection.backend.rename(origin, place)
            )

    async def delete(self, path: StrPath) -> None:
        """Remove a file or an empty directory; what is missing is no error."""
        name = self._name(path, "delete")
        resolved = self.resolve(path, "delete")
        self.tracker.refuse_protected("delete", name)
        if self._is_link(resolved):
            await self._delete_link("delete", name)
            return
        if is_directory(resolved) or self._made(name) or await self._is_real_directory(name):
            await self._delete_directory(name)
            await self._forget(resolved)
        else:
            await self._save_one(name)
            await self.connection.ask("delete", name, self.connection.backend.delete(name))
            self.tracker.deleted(name)

    def _is_link(self, resolved: str) -> bool:
        """Whether a path is that of a link on this machine; with a slash, of one to a directory."""
        place = self.connection.backend.local_path(name_of(resolved))
        if place is None or not os.path.islink(place):  # noqa: PTH114
            return False
        return place.is_dir() or not is_directory(resolved)

    async def _delete_link(self, operation: str, name: str) -> None:
        """Remove a link; what it leads to stays."""
        if self.tracker.saves:
            reason = "is a link, which on_existing: restore cannot put back"
            raise self.connection.error(errors.Unsupported, operation, name, reason)
        await self.connection.ask(operation, name, self.connection.backend.delete(name))
        self.tracker.deleted(name)

    def _refuse_through_link(self, operation: str, name: str) -> None:
        """Raise `PathEscape` for what is to be moved away from where a link leads."""
        places = {place: self.connection.backend.local_path(place) for place in parents(name)}
        for link, place in places.items():
            if place is not None and os.path.islink(place):  # noqa: PTH114
                reason = f"the link {link!r} leads there, and nothing is moved away through a link"
                raise self.connection.error(errors.PathEscape, operation, name, reason)

    def _made(self, name: str) -> bool:
        """Whether a name is that of a directory of ours; on an object store its slash tells nothing."""
        entry = self.tracker.record.created.get(name)
        return entry is not None and entry.kind != "file"

    async def _is_real_directory(self, name: str) -> bool:
        return self.connection.backend.hierarchical and await self._kind(name) == "dir"

    async def _forget(self, resolved: str) -> None:
        """Take what was removed out of the record; a file ``x`` is not what ``x/`` names."""
        name = name_of(resolved)
        doubtful = is_directory(resolved) and self.tracker.knows(name)
        self.tracker.removed(name, file_stays=doubtful and await self._kind(name) == "file")

    async def _delete_directory(self, name: str) -> None:
        if await self._kind(f"{name}/") is None:
            return
        removal = self.connection.remove_empty(name)
        if not await self.tracker.removing_directory(name, removal):
            reason = "the directory is not empty; remove_all removes it with what is in it"
            raise self.connection.error(errors.StorageError, "delete", f"{name}/", reason)

    async def _save_one(self, name: str) -> None:
        if (
            self.tracker.saves
            and not self.tracker.is_ours(name)
            and await self._kind(name) == "file"
        ):
            await self.tracker.save(name)

    async def remove_all(self, path: StrPath) -> None:
        """Remove a file, or a directory with all below it; never a sibling with a longer name.

        Of the root only the content goes, and only where all of it is ours: in an isolation area, or
        on the embedded storage.

        Raises:
            Protected: the root of a shared storage, or something that ``protect`` names.
        """
        resolved = self.resolve(path, "remove_all")
        name = name_of(resolved)
        if not (await self.connection.capability()).list:
            reason = f"{self.connection.backend.scheme} cannot list, so nobody knows what is below"
            raise self.connection.error(errors.Unsupported, "remove_all", resolved or "/", reason)
        if name == name_of(self._prefix):
            await self._empty_root()
            return
        await self.tracker.refuse_protected_below("remove_all", name)
        if self._is_link(resolved):
            await self._delete_link("remove_all", name)
            return
        await self.tracker.save_below(name)
        await self._remove_all(resolved, name)
        await self._forget(resolved)

    async def _remove_all(self, resolved: str, name: str) -> None:
        backend = self.connection.backend
        kind = await self._kind(resolved)
        if kind == "file":
            await self.connection.ask("remove_all", name, backend.delete(name))
        if kind == "dir" or not (backend.hierarchical or is_directory(resolved)):
            await self.connection.remove_tree(name)

    async def _empty_root(self) -> None:
        if not (self._prefix or self.connection.settings.owned_root):
            reason = (
                "refused on the root of a shared storage; name a directory, or use isolation: test"
            )
            raise self.connection.error(errors.Protected, "remove_all", "/", reason)
        for entry in await self.connection.children(name_of(self._prefix), limit=1 << 30):
            await self._remove_all(entry, name_of(entry))
            await self._forget(entry)

    # -- presigning

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        """Sign a request that a stranger can perform for ``expire_second`` seconds.

        A path signed for writing counts as created.
        """
        if operation not in get_args(Operation):
            msg = f"cannot presign {operation!r}; choose read, stat, write or delete"
            raise ValueError(msg)
        resolved = self._file(path, f"presign_{operation}")
        if operation != "write":
            return await self._presign(operation, resolved, expire_second)
        async with self.tracker.creating("presign_write", resolved):
            return await self._presign(operation, resolved, expire_second)

    async def _presign(self, operation: Any, resolved: str, expire_second: int) -> PresignedRequest:
        return await self.connection.ask(
            f"presign_{operation}",
            resolved,
            self.connection.backend.presign(operation, resolved, expire_second),
        )

    # -- tracking

    def created(self) -> set[str]:
        """Return what this storage object has created and not removed, without surrounding slashes."""
        record = self.tracker.record
        names = {name for name in (*record.created, *record.moved) if name != self.tracker.area}
        names |= {name for tracker, name in self._uploads if tracker.is_ours(name)}
        return {name.removeprefix(self._prefix) for name in names}
