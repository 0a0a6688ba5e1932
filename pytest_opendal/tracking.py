"""What a storage object notes before it creates something, and what it must not touch.

See ``docs/design.md``. All methods run on the loop thread.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from pytest_opendal import errors, transfer
from pytest_opendal.connection import UNREACHABLE
from pytest_opendal.loop import aside, on_loop
from pytest_opendal.paths import below, is_directory, leads_inside, name_of, parents
from pytest_opendal.restorable import looked_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from pytest_opendal.connection import Connection
    from pytest_opendal.journal import Event, Kind, Ledger, Opened
    from pytest_opendal.models import Metadata
    from pytest_opendal.settings import StorageSettings

# Errors with which a storage refuses before it has changed anything.
_REFUSALS = (
    errors.NotFound,
    errors.AlreadyExists,
    errors.IsADirectory,
    errors.NotADirectory,
    errors.PermissionDenied,
    errors.Unsupported,
    errors.ConditionNotMatch,
    errors.InvalidPath,
)

_FAILURES = (Exception, asyncio.CancelledError)

_NO_LOCK = nullcontext()

_backup_numbers = itertools.count()
"""All trackers of a process keep old content in one place."""


def has_answered(error: BaseException) -> bool:
    """Whether the storage answered, so that it can be asked what it did."""
    return not isinstance(error, UNREACHABLE) or isinstance(error, transfer.SourceUnavailable)


class Discarded(Exception):
    """A file opened for writing is given up; nothing of it was published."""


@dataclass(slots=True)
class _Writers:
    """Creations of one name that have begun and not all ended: the last one answers for all."""

    there: Metadata | None
    """What was there before the first."""
    running: int = 0
    noted: bool = False
    """One of them made the note."""
    saved: bool = False
    """One of them saved old content."""
    may_have_made: bool = False
    """One has succeeded, or the storage did not say what became of it."""
    errors: list[BaseException] = field(default_factory=list)


class Tracker:
    """Keeps the record of one storage object right while operations come and go."""

    def __init__(
        self,
        connection: Connection,
        settings: StorageSettings,
        ledger: Ledger,
        *,
        area: str = "",
        enter: Callable[[], Awaitable[None]] | None = None,
        on_created: Callable[[str], None] | None = None,
        peers: Iterable[Tracker] = (),
    ) -> None:
        """Begin an empty record.

        Args:
            connection: the storage.
            settings: its settings as this object uses them (marker and options applied).
            ledger: the record and its journal.
            area: name of an area in which everything belongs to this object, or ``""``.
            enter: awaited once before the first creation.
            on_created: called with each name before it is created.
            peers: those that live in this process for the same storage; they come and go.
        """
        self.connection = connection
        self.settings = settings
        self.ledger = ledger
        self.record = ledger.record
        self.area = area
        self.created_count = 0
        self.written = 0
        """Bytes that were written through this object; of a stream that broke off too."""
        self.claims: dict[str, float] = {}
        """When each file was first created, seconds since the epoch; directories are shared."""
        self._enter = enter
        self._on_created = on_created
        self._peers = peers
        self._area_noted = False
        self._writers: dict[str, _Writers] = {}
        """Of the names at which creations have begun and not ended."""

    @property
    def opened(self) -> Opened:
        """Which storage object this is."""
        assert self.record.opened is not None
        return self.record.opened

    def enter(self, prefix: str, *, whole: bool) -> Callable[[], Awaitable[None]]:
        """Return what notes, before an area is used, the directories above it and (``whole``) itself."""

        async def entering() -> None:
            if prefix not in self.record.created:
                fresh = await self.missing_directories("create_dir", prefix)
                self._note_created(fresh, [("+", prefix, "tree", False)] if whole else [])
                self._seen(fresh)
                self.connection.shared.update(fresh)

        return entering

    # -- what must not be touched

    def refuse_protected(self, operation: str, name: str) -> None:
        """Raise `Protected` when a glob of ``protect`` names ``name`` or a directory above it."""
        self.connection.refuse_protected(operation, name, self.settings.protect)

    async def refuse_protected_below(self, operation: str, name: str) -> None:
        """Raise `Protected` when ``name`` or anything below it is protected."""
        await self.connection.refuse_protected_below(operation, name, self.settings.protect)

    def is_ours(self, name: str) -> bool:
        """Whether this object created ``name``."""
        return bool(self.area) or name in self.record.created

    def knows(self, name: str) -> bool:
        """Whether ``name`` is in the record, or in that of a peer."""
        records = [tracker.record for tracker in (self, *self._followers(name))]
        return any(name in record.created or name in record.moved for record in records)

    def has_changed(self, name: str) -> bool:
        """Whether ``name`` is of this object, or lies where it puts something back at its end."""
        put_back = (*self.record.saved, *self.record.moved.values())
        return self.is_ours(name) or any(
            below(name, place) or below(place, name) for place in put_back
        )

    # -- creating

    @asynccontextmanager
    async def creating(self, operation: str, name: str, kind: Kind = "file") -> AsyncIterator[None]:
        """Note ``name`` and the directories made with it, then let the caller create it.

        When that fails or is cancelled, what was made halfway is removed and the notes are taken back,
        unless the storage did not answer: then nobody knows, and the record keeps them.
        """
        if kind == "file":
            self._refuse_own_directory(operation, name)
        # Another who looks before it is noted would save what this one writes.
        async with self._lock_of(name) if self.saves else _NO_LOCK:
            was_saved = self.saves and self._is_saved(name)
            before, fresh = await self._before(operation, name)
            there = before if before or not self.area else await self._put_there(name)
            # From here to the note nothing is awaited: another may write there too.
            entry = self.record.created.get(name)
            known = entry is not None and "tree" not in {kind} - {entry.kind}
            entries: list[Event] = [] if known else [("+", name, kind, self._stays(before))]
            self._note_created(fresh, entries)
        writers = self._writers.setdefault(name, _Writers(there))
        writers.running += 1
        writers.noted |= not known
        writers.saved |= not was_saved
        try:
            yield
        except _FAILURES as error:
            writers.errors.append(error)
            writers.may_have_made |= not has_answered(error)
            if has_answered(error):
                await self._take_back(error, fresh, name, writers)
            raise
        else:
            writers.may_have_made = True
            if name not in self.record.created:  # it was removed or moved away meanwhile
                self._note_created([], [("+", name, kind, self._stays(before))])
        finally:
            writers.running -= 1
            if not writers.running:
                del self._writers[name]
        self._seen(fresh)

    @cached_property
    def _locks(self) -> WeakValueDictionary[str, asyncio.Lock]:
        return WeakValueDictionary()

    def _lock_of(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def noted_again(self, operation: str, name: str) -> None:
        """Note the file ``name``, or the directories above, where they were removed since it was opened."""
        if name in self.record.created:
            fresh = await self.missing_directories(operation, name)
            self._note_created([one for one in fresh if one not in self.record.created], [])
        else:
            before, fresh = await self._before(operation, name)
            self._note_created(fresh, [("+", name, "file", self._stays(before))])

    async def _put_there(self, name: str) -> Metadata | None:
        """Return what a device has put at a place of an area, where it costs nothing to look."""
        place = self.connection.backend.local_path(name)
        is_new = place is None or name in self.record.created or not os.path.lexists(place)
        return None if is_new else await self.connection.find(name)

    @asynccontextmanager
    async def creating_directories(self, fresh: list[str]) -> AsyncIterator[None]:
        """Note directories, outermost first, then let the caller make them."""
        self._refuse_link("create_dir", fresh[-1])
        await self._enter_once()
        self._note_created(fresh, [])
        try:
            yield
        except _FAILURES as error:
            if has_answered(error):
                await self._take_back(error, fresh)
            raise
        self._seen(fresh)

    def _is_saved(self, name: str) -> bool:
        return self.record.origin(name) in self.record.saved

    def _need_not_restore(self, name: str) -> None:
        """Note that what was saved of ``name``, for an operation that failed, is untouched."""
        if self._is_saved(name):
            self.note(("restored", self.record.origin(name)))

    async def _before(self, operation: str, name: str) -> tuple[Metadata | None, list[str]]:
        """Return what is at ``name``, and which directories above it are missing."""
        self.refuse_protected(operation, name)
        self._refuse_link(operation, name)
        await self._enter_once()
        before = None if self.is_ours(name) else await self._existing(operation, name)
        return before, [] if before else await self.missing_directories(operation, name)

    def _refuse_own_directory(self, operation: str, name: str) -> None:
        """Raise `IsADirectory` for a file with the name of a directory of ours, on object stores too."""
        entry = self.record.created.get(name)
        if entry is not None and entry.kind != "file":
            raise self.connection.error(errors.IsADirectory, operation, name, "is a directory")

    def _refuse_link(self, operation: str, name: str) -> None:
        """Raise `PathEscape` where a file would be made that nobody removes, since a link leads there."""
        local_path = self.connection.backend.local_path
        place = local_path(name)
        if place is None:
            return
        reason = ""
        is_link = os.path.islink(place)  # noqa: PTH114
        if is_link and not os.path.exists(place):  # noqa: PTH110
            reason = "is a link that leads nowhere; a file would be made where it leads"
        for within in (name, *parents(name)) if self.area else ():
            if within == self.area:
                break
            if is_link if within == name else os.path.islink(local_path(within) or place):  # noqa: PTH114
                reason = f"the link {within!r} leads out of the isolation area"
        if reason:
            raise self.connection.error(errors.PathEscape, operation, name, reason)

    async def _enter_once(self) -> None:
        if self._enter is not None:
            await self._enter()
            self._enter = None

    def _stays(self, before: Metadata | None) -> bool:
        return before is not None and self.settings.on_existing in {"keep", "restore"}

    def _seen(self, directories: list[str]) -> None:
        for directory in directories:
            self.connection.directories[directory] = True

    async def _existing(self, operation: str, name: str) -> Metadata | None:
        found = await self.connection.find(name)
        if found is None:
            return None
        if found.mode.is_dir():
            raise self.connection.error(errors.IsADirectory, operation, name, "is a directory")
        if not found.mode.is_file():
            self.connection.special.add(name)
        if self.settings.on_existing == "refuse":
            reason = "exists, and the configuration says on_existing: refuse"
            raise self.connection.error(errors.AlreadyExists, operation, name, reason)
        if self.settings.on_existing == "restore":
            await self.save(name)
        return found

    async def missing_directories(self, operation: str, name: str) -> list[str]:
        """Return the directories above ``name`` that do not exist, outermost first."""
        if not self.connection.backend.hierarchical:
            return []
        missing: list[str] = []
        for directory in parents(name):
            if directory == self.area or self._is_known(directory):
                break
            if not self.area and not await self._is_missing(operation, directory):
                break
            missing.append(directory)
        return missing[::-1]

    def _is_known(self, directory: str) -> bool:
        """Whether a directory has been seen; on this machine it costs nothing to look again."""
        if directory in self.connection.shared:
            return True
        place = self.connection.backend.local_path(directory)
        return directory in self.connection.directories and (place is None or place.is_dir())

    async def _is_missing(self, operation: str, directory: str) -> bool:
        found = await self.connection.find(directory)
        if found is None:
            return True
        if not found.mode.is_dir():
            raise self.connection.error(errors.NotADirectory, operation, directory, "is a file")
        self.connection.directories[directory] = True
        return False

    def _note_created(self, fresh: list[str], entries: list[Event]) -> None:
        events = [*(("+", directory, "dir", False) for directory in fresh), *entries]
        self.note(*events)
        for _, name, kind, _ in events:
            self._count(name, kind)

    def _count(self, name: str, kind: Kind) -> None:
        self.created_count += 1
        if kind != "dir":
            self.claims.setdefault(name, time.time())
        if self._on_created is not None:
            self._on_created(name)

    def note(self, *events: Event) -> None:
        """Note events; inside an area of ours one line in the journal stands for all of them."""
        if not events:
            return
        if self.area and not self._area_noted:
            self.ledger.note(("+", self.area, "tree", False))
            self._area_noted = True
        self.ledger.note(*events, quietly=bool(self.area))

    async def _take_back(
        self,
        error: BaseException,
        fresh: list[str],
        name: str = "",
        writers: _Writers | None = None,
    ) -> None:
        with suppress(errors.StorageError):
            is_last = writers is not None and writers.running == 1 and not writers.may_have_made
            if writers is not None and is_last:
                await self._take_file_back(name, writers)
            if isinstance(error, _REFUSALS) and not self.connection.backend.hierarchical:
                self._not_made(*fresh)
                # Other refusals tell that something is there, be it of a device that writes there.
                if isinstance(error, errors.PermissionDenied):
                    self._take_area_back()
                return
            for directory in reversed(fresh):
                if self._others_write_below(directory, name):
                    return
                if await self.connection.remove_empty(directory):
                    self._not_made(directory)

    def _not_made(self, *names: str) -> None:
        self.unrecorded(names)
        self.created_count -= len(names)

    def _others_write_below(self, directory: str, own: str) -> bool:
        """Whether another creation than that of ``own`` has begun below a directory."""
        return any(
            below(name, directory) and writers.running > (tracker is self and name == own)
            for tracker in {self, *self._peers}
            for name, writers in tracker._writers.items()  # noqa: SLF001 - of another of this class
        )

    async def _take_file_back(self, name: str, writers: _Writers) -> None:
        noted = writers.noted and name in self.record.created
        if noted and await self._is_untouched(name, writers):
            self._not_made(name)
        if writers.saved and name not in self.record.created:
            self._need_not_restore(name)

    def _take_area_back(self) -> None:
        """Take the area out of the record when the first thing in it was refused: it was never made."""
        if self.area and self.created_count == 0 and list(self.record.created) == [self.area]:
            self.ledger.note(("-1", self.area))
            self._area_noted = False

    async def _is_untouched(self, name: str, writers: _Writers) -> bool:
        """Whether nothing of ours is at ``name`` any more after creations that failed."""
        harmless = (*_REFUSALS, Discarded, transfer.SourceUnavailable)
        if all(isinstance(error, harmless) for error in writers.errors):
            return True
        now = await self.connection.find(name)
        if now is None or now == writers.there:
            return True
        backend = self.connection.backend
        if self.area and (backend.replaces or not backend.hierarchical):
            return True  # what is there is whole, and perhaps of a device
        if writers.there is None:
            await self.connection.ask("delete", name, backend.delete(name))
            return True
        return False

    # -- old content

    @property
    def saves(self) -> bool:
        """Whether old content is kept to be put back."""
        return self.settings.on_existing == "restore" and not self.area

    async def removing_directory(self, name: str, remove: Awaitable[bool]) -> bool:
        """Note that ``name`` is to be there at the end, then remove it; whether that was done."""
        saves = self.saves and not self._made(f"{name}/") and self._save_directory(name)
        is_gone = await remove
        if saves and not is_gone:
            self.note(("restored", self.record.origin(name)))
        return is_gone

    def _save_directory(self, name: str) -> bool:
        origin = self.record.origin(name)
        is_new = origin not in self.record.saved
        if is_new:
            self.note(("saved", origin, None))
        return is_new

    async def save(self, name: str) -> None:
        """Keep the content of the file ``name`` beside the journal, to be put back at the end."""
        origin = self.record.origin(name)
        # Also when older content is kept: somebody has written there since.
        backup = str(next(_backup_numbers))
        place = self.ledger.backups / backup
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await transfer.download(self.connection, name, place)
        self.note(("saved", origin, backup))

    async def save_below(self, resolved: str) -> None:
        """Keep everything at and below a path that is not ours, when ``on_existing: restore``."""
        if not self.saves:
            return
        await self._refuse_lost(name_of(resolved))
        for path in await self._foreign_below("remove_all", name_of(resolved)):
            if is_directory(resolved) and path == name_of(resolved):
                continue  # a file is not what ``x/`` names, and stays
            if path.endswith("/"):
                self._save_directory(path[:-1])
            else:
                await self.save(path)

    async def _refuse_lost(self, name: str) -> None:
        """Raise `Unsupported` where the listing does not tell all that would be removed with a directory."""
        await on_loop()
        waiting = [name]
        while waiting:
            place = waiting.pop()
            here = self.connection.backend.local_path(place)
            if here is None:
                return
            look = aside(partial(looked_at, str(here)), "pytest-opendal-look")
            directories, lost = await self.connection.ask("remove_all", f"{place}/", look)
            if lost:
                reason = f"{lost}, which on_existing: restore cannot put back"
                raise self.connection.error(errors.Unsupported, "remove_all", f"{place}/", reason)
            waiting += [f"{place}/{directory}" for directory in directories]

    async def _foreign_below(self, operation: str, name: str) -> list[str]:
        found = await self.connection.find(name)
        paths = [] if found is None else [f"{name}/" if found.mode.is_dir() else name]
        # WebDAV lists a file as if it were a directory.
        may_hold = not self.connection.backend.hierarchical or (found and found.mode.is_dir())
        if may_hold and (await self.connection.capability()).list:
            paths += [path async for path in self.connection.list(f"{name}/", recursive=True)]
        for path in paths:
            # No reap would believe a journal with the one, and opendal (0.45 and 0.47) cuts the other.
            if not leads_inside(name_of(path)) or path != path.rstrip():
                reason = f"{path!r} has a name that on_existing: restore cannot put back"
                raise self.connection.error(errors.Unsupported, operation, f"{name}/", reason)
        return [path for path in dict.fromkeys(paths) if not self._made(path)]

    def _made(self, path: str) -> bool:
        """Whether a path is ours; an object store may have a file and a directory of one name."""
        entry = self.record.created.get(path.rstrip("/"))
        kind = "dir" if path.endswith("/") else "file"
        return bool(self.area) or (entry is not None and entry.kind in {"tree", kind})

    # -- removing and moving

    def removed(self, name: str, *, file_stays: bool = False) -> None:
        """Take all below ``name`` out of the record, and ``name`` unless a file of that name stays."""
        self.connection.directories.pop(name)
        for tracker in (self, *self._followers(name)):
            if file_stays:
                tracker.unrecorded(path for path, _ in tracker.record.at(name) if path != name)
            else:
                tracker.note(("-", name))

    def deleted(self, name: str) -> None:
        """Take the file ``name``, which is no more, out of the record."""
        for tracker in (self, *self._followers(name)):
            tracker.note(("-" if name in tracker.record.moved else "-1", name))

    def unrecorded(self, names: Iterable[str]) -> None:
        """Take exactly these names out of the record."""
        self.note(*(("-1", name) for name in names))

    def _followers(self, *names: str) -> list[Tracker]:
        """Return the peers with something at or below the names, which is gone or moved for them too.

        With ``restore`` it comes back, and stays theirs.
        """
        if self.settings.on_existing == "restore":
            return []
        return [
            peer
            for peer in self._peers
            if peer is not self and not peer.area and any(peer.record.at(name) for name in names)
        ]

    @asynccontextmanager
    async def moving(self, operation: str, source: str, target: str) -> AsyncIterator[None]:
        """Note a rename of ``source`` to ``target`` before and after the caller does it.

        What existed before is noted as moved: its data is not ours to destroy.
        """
        was_saved = self._is_saved(target)
        before, fresh = await self._before(operation, target)
        replaced = self.record.created.get(target)
        stays = self._stays(before) or (replaced is not None and replaced.existed)
        followers = self._followers(source, target)
        ours = self.is_ours(source) or any(source in peer.record.created for peer in followers)
        foreign = await self._foreign_of_ours(source) if ours else [source]
        again = [(one, one.record.events_at(target)) for one in (self, *followers)]
        self._note_created(fresh, [])
        self._count(target, "file")
        for tracker, _ in again:
            tracker.note(("renaming", source, target))
        self.note(*(("moving", name, target + name[len(source) :]) for name in foreign))
        problem: BaseException | None = None
        try:
            yield
        except _FAILURES as error:
            problem = error
            is_done = await self._is_done(error, source)
            if is_done is False:
                for tracker, events in again:
                    tracker.note(("-", target), *events)
                if not was_saved:
                    self._need_not_restore(target)
                self.created_count -= 1
                await self._take_back(error, fresh)
            if not is_done:
                raise
        self.connection.directories.pop(source)
        self._seen(fresh)
        put_back = self._new_at_their_place(source, target)
        for tracker, events in again:
            tracker.note((">", source, target))
            if stays and tracker is not self:  # it is still the one who removes it
                tracker.note(*(event for event in events if event[:2] == ("+", target)))
        self.note(*put_back, *([("+", target, "file", True)] if ours and stays else []))
        if problem is not None:
            raise problem

    async def _is_done(self, error: BaseException, source: str) -> bool | None:
        """Return whether a rename that ended with an error was done; None: nobody knows."""
        if not isinstance(error, asyncio.CancelledError):
            return False if has_answered(error) else None
        try:
            return await self.connection.find(source) is None
        except errors.StorageError:
            return None

    def not_put_back(self, taken: Iterable[str]) -> None:
        """Let peers know of what is theirs and could not be moved back, or is at ``taken`` no more."""
        for name in taken:
            for peer in self._peers:
                if peer is not self and not peer.area and name in peer.record.created:
                    peer.unrecorded([name])
        for place, origin in self.record.moved.items():
            for peer in self._peers:
                if peer is not self and not peer.area and peer.record.at(origin):
                    peer.note((">", origin, place))

    async def _foreign_of_ours(self, source: str) -> list[str]:
        """Return what ``restore`` moves back of what others put into a directory of ours."""
        if not self.saves:
            return []
        foreign = [path.rstrip("/") for path in await self._foreign_below("rename", source)]
        return [name for name in foreign if not set(parents(name)) & set(foreign)]

    def _new_at_their_place(self, source: str, target: str) -> list[Event]:
        """Return what existed before at ``source``, is put back there, and so is ours at ``target``."""
        if self.settings.on_existing != "restore":
            return []
        return [
            ("+", target + name[len(source) :], entry.kind, False)
            for name, entry in self.record.at(source)
            if entry.existed
        ]
