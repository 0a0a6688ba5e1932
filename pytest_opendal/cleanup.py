"""Removing what a record holds: the same code for the end of a fixture, a crashed worker and reap.

Children go before parents, a few at once; each failure is kept and the rest carried on. What others
put into our directories, what existed before, and the root survive.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pytest_opendal import errors, transfer
from pytest_opendal.backends.protocol import NO_OPTIONS
from pytest_opendal.connection import UNREACHABLE
from pytest_opendal.loop import on_loop
from pytest_opendal.paths import below, parents
from pytest_opendal.process import AREAS
from pytest_opendal.report import Leftover, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from pytest_opendal.connection import Connection
    from pytest_opendal.journal import Kind, Opened, Record
    from pytest_opendal.models import Metadata

_SHOWN_FOREIGN = 20


def reason_to_keep(retention: str, *, failed: bool) -> Reason | None:
    """Return why ``retention`` keeps the resources of a test, None when they are to be removed."""
    if retention == "all":
        return Reason.KEPT
    return Reason.KEPT_FAILED if retention == "failed" and failed else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cleanup did."""

    leftovers: tuple[Leftover, ...] = ()
    directories: tuple[str, ...] = ()
    """Directories that stay because something of others is in them, or that others may make again."""
    silent: bool = False
    """The storage did not answer in time; the rest was not tried."""
    taken: tuple[str, ...] = ()
    """Where others have written since what was there before was removed."""
    astray: tuple[str, ...] = ()
    """Where what existed before was moved to by a test, and from where it was not moved back."""

    @property
    def failed(self) -> bool:
        """Whether something could not be removed."""
        return any(leftover.reason is Reason.FAILED for leftover in self.leftovers)


class Cleaner:
    """Cleans up one record."""

    def __init__(
        self, connection: Connection, record: Record, backups: Path, note: Callable[..., None]
    ) -> None:
        """Prepare; nothing is removed yet.

        Args:
            connection: the storage; its identity matches the record's.
            record: what to remove; it changes with each event.
            backups: where the old content is that ``restore`` puts back.
            note: called with the events of what is done.
        """
        assert record.opened is not None
        self._opened: Opened = record.opened
        self._connection = connection
        self._record = record
        self._backups = backups
        self._note = note
        self._silence: errors.StorageError | None = None
        self._failures: dict[str, errors.StorageError] = {}
        self._foreign: dict[str, tuple[str, ...]] = {}
        self._directories: list[str] = []
        self._put_back: set[str] = set()
        self._taken: list[str] = []

    async def clean(self) -> Outcome:
        """Remove what was created, put back what was there before, and tell what is left."""
        await self._settle()
        # Two removals of one place at a time would miss each other's files, and fail.
        await self._each(self._trees(), self._remove_tree, "-")
        if not self._record.holds_any():  # as after most tests: an area is gone
            return Outcome()
        await self._each(self._of_kind("file"), self._remove_file, "-1")
        if not self._record.holds_any():  # or a few files are
            return Outcome()
        # A directory of ours may be where something was before.
        while self._restores and self._record.moved:
            await self._remove_directories()
            if not await self._move_back():
                break
        if self._record.saved:
            await self._remove_directories()
            await self._restore()
        await self._remove_directories()
        directories = (name for name in self._directories if name not in self._put_back)
        left, made = await self._left(), tuple(dict.fromkeys(directories))
        return Outcome(
            tuple(left), made, self._is_silent, tuple(self._taken), tuple(self._record.moved)
        )

    async def _remove_directories(self) -> None:
        self._foreign.clear()
        directories = sorted(self._of_kind("dir"), key=_depth, reverse=True)
        for _, level in groupby(directories, key=_depth):
            await self._each(list(level), self._remove_directory, "-1")

    async def keep(self, reason: Reason) -> Outcome:
        """Remove nothing that was created, put back what was before, and tell what is there."""
        await self._restore()
        names = [
            (name, entry.kind) for name, entry in self._record.created.items() if not entry.existed
        ]
        if self._opened.area:
            names = [(name, kind) for name, kind in names if name == self._opened.area]
        failed = [self._failed(name, error) for name, error in self._failures.items()]
        found = [leftover async for leftover in self._existing(names, reason)]
        left = (*failed, *found, *[moved async for moved in self._moved()])
        return Outcome(left, silent=self._is_silent)

    @property
    def _is_silent(self) -> bool:
        return isinstance(self._silence, errors.StorageTimeout)

    async def give_up(self, keep: Reason | None) -> Outcome:
        """Tell what may be left of a cleanup that was interrupted; some of it may be gone."""
        error = "its cleanup was interrupted"
        created = {
            name: "file" if entry.kind == "file" else "dir"
            for name, entry in self._record.created.items()
            if not entry.existed and name not in self._record.saved
        }
        left = [
            self._leftover(name, kind, keep or Reason.FAILED, error=error)
            for name, kind in created.items()
        ]
        not_put_back = [
            self._leftover(name, "dir" if backup is None else "file", Reason.FAILED, error=error)
            for name, backup in self._record.saved.items()
        ]
        return Outcome((*left, *not_put_back))

    def _trees(self) -> list[str]:
        area = self._opened.area
        noted = self._record.created.get(area) if area else None
        if noted is not None and noted.kind == "tree" and not noted.existed:
            return [area]  # all that is recorded is below it
        return _outermost(self._of_kind("tree"))

    def _of_kind(self, kind: Kind) -> list[str]:
        return [
            name
            for name, entry in self._record.created.items()
            if entry.kind == kind and not entry.existed and name not in self._failures
        ]

    async def _each(
        self, names: list[str], remove: Callable[[str], Awaitable[bool]], code: str
    ) -> None:
        gone = [await self._try(name, remove, name) for name in names[:1]]
        if len(names) > 1:
            gone += await self._try_all(names[1:], remove)
        if noted := [(code, name) for name, is_gone in zip(names, gone, strict=True) if is_gone]:
            self._note(*noted)

    async def _try_all(
        self, names: list[str], remove: Callable[[str], Awaitable[bool]]
    ) -> list[bool]:
        await on_loop()
        at_once = asyncio.Semaphore(self._connection.settings.concurrency)

        async def one(name: str) -> bool:
            async with at_once:
                return await self._try(name, remove, name)

        return await asyncio.gather(*(one(name) for name in names))

    async def _try(
        self, name: str, remove: Callable[..., Awaitable[bool]], *arguments: Any
    ) -> bool:
        """Await ``remove(*arguments)``; once the storage has fallen silent, all fail at once."""
        try:
            if self._silence is not None:
                raise self._silence
            # The configuration may protect since what a run that died made.
            self._connection.refuse_protected("delete", name)
            return await remove(*arguments)
        except errors.StorageError as error:
            if isinstance(error, UNREACHABLE):
                self._silence = error
            self._failures[name] = error
            return False

    async def _remove_file(self, name: str) -> bool:
        # On fs it is an error that another worker removes the file at the same time, or that
        # somebody has put a file where its directory was.
        with suppress(errors.NotFound, errors.NotADirectory):
            await self._connection.ask("delete", name, self._connection.backend.remove_file(name))
        return True

    async def _remove_tree(self, name: str) -> bool:
        try:
            await self._connection.refuse_protected_below("delete", name)
            await self._connection.remove_tree(name)
        except (errors.NotFound, errors.NotADirectory):
            # Behind an exporter, opendal 0.45 stops at a link to a directory.
            found = await self._connection.find(f"{name}/")
            if found is not None and found.mode.is_dir():
                raise
        if name != self._opened.area:  # what a device has written may be a file
            await self._remove_file(name)
        return True

    async def _remove_directory(self, name: str) -> bool:
        if not self._connection.backend.hierarchical:
            place = f"{name}/"
            await self._connection.ask("delete", place, self._connection.backend.delete(place))
            return True
        is_gone = await self._connection.remove_empty(name)
        # Others may make it again, who have seen it and do not look: on this machine only for areas.
        looks = self._connection.backend.local_path(name) is not None and not below(name, AREAS)
        if not (is_gone and looks):
            self._directories.append(name)
        if is_gone:
            return True
        held = await self._connection.children(name, _SHOWN_FOREIGN)
        if not all(entry.rstrip("/") in self._failures for entry in held):
            self._foreign[name] = tuple(held)
        return False

    # -- what was there before

    async def _settle(self) -> None:
        """Find out which of the moves that a process died in were made."""
        for target in sorted(self._record.unsettled):
            origin = self._record.moved.get(target)
            if origin is not None and await self._try(target, self._is_there, origin):
                self._note(("unmoved", target))

    async def _is_there(self, name: str) -> bool:
        return await self._connection.find(name) is not None

    async def _move_back(self) -> bool:
        """Move to its old place what has room there; whether anything was moved."""
        tried: set[tuple[str, str]] = set()
        count = len(self._record.moved)
        while waiting := [move for move in sorted(self._record.moved.items()) if move not in tried]:
            # Outermost first; what is below moves with it, in the record too.
            moved, origin = waiting[0]
            tried.add((moved, origin))
            if await self._try(moved, self._rename_back, moved, origin):
                self._put_back.add(origin)
                self._note((">", moved, origin))
                if origin not in self._record.saved:
                    self._note(("-1", origin))
        return len(self._record.moved) < count

    @property
    def _restores(self) -> bool:
        return self._opened.on_existing == "restore"

    async def _rename_back(self, moved: str, origin: str) -> bool:
        if (
            await self._connection.find(moved) is None
            or await self._connection.find(origin) is not None
        ):
            return False
        await self._connection.ask("rename", moved, self._connection.backend.rename(moved, origin))
        return True

    async def _restore(self) -> None:
        for name, backup in sorted(self._record.saved.items()):
            if await self._try(name, self._write_back, name, backup):
                self._put_back.add(name)
                self._note(("restored", name), ("-1", name))

    async def _write_back(self, name: str, backup: str | None) -> bool:
        backend = self._connection.backend
        if any(below(name, moved) for moved in self._record.moved):
            reason = "something that was moved is there now; the old content is kept"
            raise self._connection.error(errors.AlreadyExists, "restore", name, reason)
        if name not in self._record.created and (found := await self._connection.find(name)):
            # Somebody has written there since the test removed it.
            if found.mode.is_dir() == (backup is None):
                if not (backup and await self._holds(name, found, self._backups / backup)):
                    self._taken.append(name)
                return True
            reason = "something else is there now; the old content is kept"
            raise self._connection.error(errors.AlreadyExists, "restore", name, reason)
        if backup is None:
            await self._connection.ask("restore", f"{name}/", backend.create_dir(f"{name}/"))
            return True
        with transfer.open_source(self._backups / backup) as source:
            async with self._connection.watch("restore", name):
                await backend.upload(name, transfer.read_file(source), NO_OPTIONS)
        return True

    async def _holds(self, name: str, found: Metadata, backup: Path) -> bool:
        """Whether a file still is, or is again, what was saved of it."""
        with transfer.open_source(backup) as saved:
            return await transfer.holds(self._connection, name, found, saved)

    # -- what is left

    async def _left(self) -> list[Leftover]:
        failed = [self._failed(name, error) for name, error in self._failures.items()]
        foreign = [
            self._leftover(name, "dir", Reason.FOREIGN, holds=held)
            for name, held in self._foreign.items()
        ]
        return [*failed, *foreign, *[moved async for moved in self._moved()]]

    def _failed(self, name: str, error: errors.StorageError) -> Leftover:
        entry = self._record.created.get(name)
        kind = "file" if entry is None or entry.kind == "file" else "dir"
        return self._leftover(name, kind, Reason.FAILED, error=str(error))

    def _leftover(self, name: str, kind: str, reason: Reason, **details: Any) -> Leftover:
        about = {"size": None} | details
        opened = self._opened
        return Leftover(
            storage=opened.storage,
            path=name,
            kind=kind,
            test=opened.test,
            worker=opened.worker,
            reason=reason,
            location=self._connection.settings.location,
            **about,
        )

    async def _moved(self) -> AsyncIterator[Leftover]:
        async for leftover in self._existing(
            [(name, "file") for name in self._record.moved], Reason.MOVED
        ):
            yield leftover

    async def _existing(
        self, names: list[tuple[str, Kind]], reason: Reason
    ) -> AsyncIterator[Leftover]:
        if not names:
            return
        await on_loop()
        at_once = asyncio.Semaphore(self._connection.settings.concurrency)

        async def one(name: str, kind: Kind) -> list[Leftover]:
            async with at_once:
                return await self._described(name, kind, reason)

        for found in await asyncio.gather(*(one(name, kind) for name, kind in names)):
            for leftover in found:
                yield leftover

    async def _described(self, name: str, kind: Kind, reason: Reason) -> list[Leftover]:
        try:
            if self._silence is not None:
                raise self._silence
            found = await self._connection.find(name if kind == "file" else f"{name}/")
            if found is None and kind != "file":
                found = await self._connection.find(name)
            if found is not None and kind == "tree":
                return await self._in_tree(name, reason)
        except errors.StorageError as error:
            if isinstance(error, UNREACHABLE):
                self._silence = error
            return [self._leftover(name, kind, reason, error=str(error))]
        if found is None:
            return []
        if found.mode.is_dir():
            return [self._leftover(name, "dir", reason)]
        return [self._leftover(name, "file", reason, size=found.content_length)]

    async def _in_tree(self, name: str, reason: Reason) -> list[Leftover]:
        paths = [path async for path in self._connection.list(f"{name}/", recursive=True)]
        files = [path for path in paths if not path.endswith("/")]
        found = [one async for one in self._existing([(path, "file") for path in files], reason)]
        # opendal lists a name that is no Unicode in another spelling, and finds nothing there.
        respelled = {path for path in files if "\ufffd" in path} - {one.path for one in found}
        directories = [path.rstrip("/") for path in paths if path.endswith("/")]
        left = [
            *[self._leftover(path, "dir", reason) for path in directories],
            *found,
            *[self._leftover(path, "file", reason) for path in sorted(respelled)],
        ]
        if self._opened.area:  # all in it was counted when it was made
            return left
        return [replace(one, created=one.path == name) for one in left]


def _outermost(names: list[str]) -> list[str]:
    """Return those of the names that are below none of the others."""
    known = set(names)
    return [name for name in names if known.isdisjoint(parents(name))]


def _depth(name: str) -> int:
    return name.count("/")
