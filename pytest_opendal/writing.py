"""What a test writes on its storage: whole or not at all, and tracked."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pytest_opendal import errors, transfer
from pytest_opendal.backends.protocol import NO_OPTIONS, WriteOptions
from pytest_opendal.connection import UNREACHABLE
from pytest_opendal.paths import StrPath, is_directory, name_of
from pytest_opendal.reading import Reading

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from io import BufferedReader

    from pytest_opendal.connection import Connection
    from pytest_opendal.meter import Moving
    from pytest_opendal.sharing import Sharing
    from pytest_opendal.tracking import Tracker


class Writing(Reading):
    """One storage for one test (or session), as far as nothing is moved or removed."""

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
        super().__init__(connection, prefix)
        self.tracker = tracker
        self._sharing = sharing
        self._uploads: list[tuple[Tracker, str]] = []

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
            with self._local("write", resolved, src) as source:
                async with self.tracker.creating("write", resolved):
                    await self.publish(resolved, source, options)
            return
        async with aclosing(self.source(resolved, src, operator)) as pieces:
            # A source that cannot be read is found before the target is touched.
            head = await anext(pieces, b"")
            async with self.tracker.creating("write", resolved):
                await self._upload(resolved, transfer.chain(head, pieces), options)

    def _local(self, operation: str, resolved: str, source: StrPath) -> BufferedReader:
        """Open a local source before anything is done to the storage."""
        try:
            file = transfer.open_source(source)
        except errors.StorageError as error:
            raise self.connection.error(type(error), operation, resolved, str(error)) from None
        target = self.connection.backend.local_path(resolved)
        if target is not None and transfer.would_empty(file, target):
            file.close()
            reason = f"the local file {str(source)!r} is the same file; nothing was written"
            raise self.connection.error(errors.IsSameFile, operation, resolved, reason)
        return file

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

    async def _missing_with(self, name: str) -> list[str]:
        if self.connection.backend.hierarchical:
            return await self.tracker.missing_directories("create_dir", f"{name}/.")
        if not self._made(name) and await self._kind(name) == "file":
            # An object store would have both; here a name is one thing everywhere.
            raise self.connection.error(errors.NotADirectory, "create_dir", name, "is a file")
        return [] if await self._has_marker(name) else [name]

    def _made(self, name: str) -> bool:
        """Whether a name is that of a directory of ours; on an object store its slash tells nothing."""
        entry = self.tracker.record.created.get(name)
        return entry is not None and entry.kind != "file"

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
        with self._local("ensure", resolved, source) as file:
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
        if found is None or not found.mode.is_file():
            return False
        return await transfer.holds(self.connection, resolved, found, file)
