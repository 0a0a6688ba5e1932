"""The storage that a test holds, as coroutines on the loop thread: operations and their tracking."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
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
    from collections.abc import AsyncIterator, Callable

    from pytest_opendal.connection import Connection
    from pytest_opendal.models import Capability, Metadata, PresignedRequest
    from pytest_opendal.tracking import Tracker

_POLL_FIRST, _POLL_MOST = 0.02, 1.0


class Discarded(Exception):
    """A file opened for writing is given up; nothing of it was published."""


class AsyncStorage:
    """One storage for one test (or session): every operation goes through here and is tracked."""

    def __init__(self, connection: Connection, tracker: Tracker, prefix: str = "") -> None:
        """Begin with nothing created.

        Args:
            connection: the storage.
            tracker: what notes creations for this object.
            prefix: name of the directory that all paths are relative to.
        """
        self.connection = connection
        self.tracker = tracker
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
        if offset or size is not None:
            # Past the end 0.47 raises and 0.45 panics; a range means what a slice means.
            length = (await self.connection.stat(resolved)).content_length
            offset, size = (
                min(offset, length),
                min(length - offset if size is None else size, length - offset),
            )
            if size <= 0:
                return b""
        conditions = Conditions(if_match, if_none_match)
        return await self.connection.ask(
            "read", resolved, self.connection.backend.read(resolved, offset, size, conditions)
        )

    async def require_file(self, path: StrPath) -> str:
        """Return the resolved path of a file that exists."""
        resolved = self._file(path, "open")
        if (await self._require("open", resolved, path)).mode.is_dir():
            raise self.connection.error(errors.IsADirectory, "open", resolved, "is a directory")
        return resolved

    def stream(self, path: StrPath, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield a file's content in pieces, from ``offset`` bytes on."""
        return transfer.stream(self.connection, self._file(path, "read"), offset)

    async def read_into_path(self, src: StrPath, dst: StrPath, operator: Any = None) -> None:
        """Copy the file ``src`` to the local path ``dst``, or to ``dst`` of another operator."""
        resolved = self._file(src, "read")
        if operator is None:
            await transfer.download(self.connection, resolved, Path(dst))
        else:
            await transfer.write_operator(
                operator, str(dst), transfer.stream(self.connection, resolved)
            )

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
        try:
            await self.stat(path)
        except (errors.NotFound, errors.NotADirectory):
            return False
        return True

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        """Return the hex digest of a file's content."""
        if algo not in hashlib.algorithms_available or algo.startswith("shake"):
            msg = f"unknown hash algorithm {algo!r}; hashlib has {', '.join(sorted(hashlib.algorithms_guaranteed))}"
            raise ValueError(msg)
        resolved = self._file(path, "hash")
        there = await self.connection.ask(
            "hash", resolved, self.connection.backend.hash(resolved, algo)
        )
        return there or await transfer.digest(self.connection, resolved, algo)

    async def list(self, path: StrPath, *, recursive: bool = False) -> AsyncIterator[str]:
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

    def scan(self, path: StrPath) -> AsyncIterator[str]:
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
            found = await self.connection.find(self.resolve(path, "wait_until"))
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
        await self.connection.ask(
            "write", resolved, self.connection.backend.write(resolved, data, options)
        )

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
        pieces = transfer.source_pieces(src, operator, self.timeout)
        head = await anext(
            pieces, b""
        )  # a source that cannot be read is found before the target is touched
        async with self.tracker.creating("write", resolved):
            await self._upload(resolved, transfer.chain(head, pieces), options)

    async def publish(self, resolved: str, source: IO[bytes], options: WriteOptions) -> None:
        """Store the rest of an open local file; nothing of it is there before all of it is."""
        head = await asyncio.to_thread(source.read, transfer.PART_BYTES)
        if len(head) < transfer.PART_BYTES:
            return await self._write(resolved, head, options)
        target = self.connection.backend.local_path(resolved)
        if target is not None and options == NO_OPTIONS and transfer.can_replace(target):
            return await self._copy_beside(resolved, target, source)
        return await self._upload(
            resolved, transfer.chain(head, transfer.read_file(source)), options
        )

    async def _copy_beside(self, resolved: str, target: Path, source: IO[bytes]) -> None:
        directory = resolved.rpartition("/")[0]
        names: list[str] = []

        def noted(part: Path) -> None:
            names.append(f"{directory}/{part.name}" if directory else part.name)
            self.tracker.note(("+", names[0], "file", False))

        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        async with self.connection.watch("write", resolved) as still_going:
            async with transfer.part_beside(target, noted) as part:
                await transfer.copy_file(source, part, still_going)
        self.tracker.unrecorded(names)

    async def _upload(
        self, resolved: str, pieces: AsyncIterator[bytes], options: WriteOptions
    ) -> None:
        async with self.connection.watch("write", resolved) as still_going:

            async def watched() -> AsyncIterator[bytes]:
                async for piece in pieces:
                    still_going()
                    yield piece

            await self.connection.backend.upload(resolved, watched(), options)

    async def append_from(self, resolved: str, source: IO[bytes]) -> None:
        """Add the content of an open local file to the end of a file."""
        async for piece in transfer.read_file(source):
            await self.connection.ask(
                "append", resolved, self.connection.backend.append(resolved, piece)
            )

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

    async def create_dir(self, path: StrPath) -> None:
        """Make a directory and those above it; one that exists is left as it is."""
        name = name_of(self.resolve(path, "create_dir"))
        if name == name_of(self._prefix):
            return
        self.tracker.refuse_protected("create_dir", name)
        fresh = await self._missing_with(name)
        if fresh:
            async with self.tracker.creating_directories("create_dir", fresh):
                await self.connection.ask(
                    "create_dir", f"{name}/", self.connection.backend.create_dir(f"{name}/")
                )

    async def _missing_with(self, name: str) -> list[str]:
        if self.connection.backend.hierarchical:
            return await self.tracker.missing_directories("create_dir", f"{name}/.")
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
        if is_directory(resolved) and await self.connection.find(resolved) is not None:
            return  # a directory that existed is never removed
        async with self.tracker.creating(
            "register_path", name, "tree" if is_directory(resolved) else "file"
        ):
            pass

    async def ensure(self, path: StrPath, source: StrPath) -> bool:
        """Upload the local file ``source`` unless ``path`` has the same size and content.

        Returns:
            Whether it was uploaded.
        """
        with transfer.open_source(Path(source)) as file:
            resolved = self._file(path, "ensure")
            if await self._is_same(resolved, file):
                return False
            file.seek(0)
            async with self.tracker.creating("ensure", resolved):
                await self.publish(resolved, file, NO_OPTIONS)
        return True

    async def _is_same(self, resolved: str, file: IO[bytes]) -> bool:
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
            await self._copy_file(name_of(origin), name_of(place))

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
        async with self.tracker.creating("copy", place):
            await self.connection.ask("copy", origin, self.connection.backend.copy(origin, place))

    async def _copy_directory(self, origin: str, place: str) -> None:
        # The listing ends before the first copy, so that a service never lists what was just made.
        entries = [entry async for entry in self.connection.list(f"{origin}/", recursive=True)]
        await self.create_dir(self.relative(f"{place}/"))
        for entry in entries:
            if entry.endswith("/") and entry != f"{origin}/":
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
        await self.tracker.refuse_protected_below("rename", origin)
        async with self.tracker.moving("rename", origin, place):
            await self.connection.ask(
                "rename", origin, self.connection.backend.rename(origin, place)
            )

    async def delete(self, path: StrPath) -> None:
        """Remove a file or an empty directory; what is missing is no error."""
        name = self._name(path, "delete")
        resolved = self.resolve(path, "delete")
        self.tracker.refuse_protected("delete", name)
        await self._save_one(name)
        if is_directory(resolved) or await self._is_real_directory(name):
            await self._delete_directory(name)
            self.tracker.removed(name)
        else:
            await self.connection.ask("delete", name, self.connection.backend.delete(name))
            self.tracker.unrecorded([name])

    async def _is_real_directory(self, name: str) -> bool:
        return self.connection.backend.hierarchical and await self._kind(name) == "dir"

    async def _delete_directory(self, name: str) -> None:
        if await self._kind(f"{name}/") is not None and not await self.connection.remove_empty(
            name
        ):
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
        if name == name_of(self._prefix):
            return await self._empty_root()
        await self.tracker.refuse_protected_below("remove_all", name)
        await self.tracker.save_below(name)
        await self._remove_all(resolved, name)
        self.tracker.removed(name)

    async def _remove_all(self, resolved: str, name: str) -> None:
        backend = self.connection.backend
        if not (await self.connection.capability()).list:
            return await self.connection.ask("remove_all", name, backend.delete(name))
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
            self.tracker.removed(name_of(entry))

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
        return {name.removeprefix(self._prefix) for name in names}
