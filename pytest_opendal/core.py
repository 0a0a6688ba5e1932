"""The storage that a test holds, as coroutines on the loop thread: operations and their tracking."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

from pytest_opendal import errors, transfer
from pytest_opendal.backends.protocol import Operation
from pytest_opendal.loop import together
from pytest_opendal.paths import StrPath, below, is_directory, name_of, parents
from pytest_opendal.writing import Writing

if TYPE_CHECKING:
    from pytest_opendal.models import PresignedRequest

_SIGNED = frozenset(get_args(Operation))
# opendal 0.47 panics where the end of a lifetime is beyond the time that it can count.
_MOST_SECONDS = 2**31 - 1


def _check_seconds(expire_second: object) -> None:
    if not isinstance(expire_second, int) or isinstance(expire_second, bool):
        raise TypeError(f"expire_second is a whole number of seconds, not {expire_second!r}")
    if not 0 <= expire_second <= _MOST_SECONDS:
        raise ValueError(f"expire_second is 0 to {_MOST_SECONDS} seconds, not {expire_second}")


class Operations(Writing):
    """One storage for one test (or session): every operation goes through here and is tracked."""

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

    async def _copy_file(self, origin: str, place: str) -> None:
        await self._refuse_directory("copy", place)
        self._refuse_same_file(origin, place)
        target = self.connection.backend.local_path(place)
        async with (
            self.tracker.creating("copy", place),
            self._beside(place, target if transfer.has_content(target) else None) as spot,
        ):
            await self.connection.ask("copy", origin, self.connection.backend.copy(origin, spot))

    def _refuse_same_file(self, origin: str, place: str) -> None:
        """Raise `IsSameFile` where a link leads from the one to the other: it would be emptied first."""
        source, target = map(self.connection.backend.local_path, (origin, place))
        if source is None or target is None:
            return
        is_same = False
        with suppress(OSError):
            # Of two hard links the target gets a file of its own.
            is_link = not (transfer.can_replace(source) and transfer.can_replace(target))
            is_same = source.samefile(target) and (is_link or source.resolve() == target.resolve())
        if is_same:
            reason = f"source and target {place!r} are the same file"
            raise self.connection.error(errors.IsSameFile, "copy", origin, reason)

    async def _refuse_directory(self, operation: str, place: str) -> None:
        """Raise `IsADirectory` for a target that the tracker takes for ours without a question.

        WebDAV would put the file in the place of the directory and of all that is in it.
        """
        if self.tracker.is_ours(place) and await self._is_real_directory(place):
            raise self.connection.error(errors.IsADirectory, operation, place, "is a directory")

    async def _copy_directory(self, origin: str, place: str) -> None:
        # The listing ends before the first copy, so that a service never lists what was just made.
        # Nor is anything noted under a name that nobody could use: others chose those in the source.
        targets: dict[str, str] = {}
        async for entry in self.connection.list(f"{origin}/", recursive=True):
            meant = place + entry[len(origin) :]
            targets[entry] = self.resolve(self.relative(meant), "copy")
            if targets[entry] != meant:
                reason = f"{entry!r} in it would get the name {targets[entry]!r}"
                raise self.connection.error(errors.InvalidPath, "copy", origin, reason)
        if self.connection.backend.hierarchical:
            await self.create_dir(self.relative(f"{place}/"))
        for target in filter(is_directory, targets.values()):
            await self.create_dir(self.relative(target))
        files = {entry: target for entry, target in targets.items() if not is_directory(target)}
        copies = (self._copy_file(entry, target) for entry, target in files.items())
        await together(*copies, at_once=self.tracker.settings.concurrency)

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
        await self.tracker.save_below(resolved)
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

        Raises:
            ValueError: no such operation, or no such number of seconds.
            TypeError: ``expire_second`` is no whole number.
        """
        if operation not in _SIGNED:
            msg = f"cannot presign {operation!r}; choose read, stat, write or delete"
            raise ValueError(msg)
        _check_seconds(expire_second)
        resolved = self._file(path, f"presign_{operation}")
        if operation == "delete":
            self.tracker.refuse_protected("presign_delete", resolved)
        if operation != "write":
            request = await self._presign(operation, resolved, expire_second)
            if operation == "delete":
                await self._save_one(resolved)
            return request
        async with self.tracker.creating("presign_write", resolved):
            return await self._presign(operation, resolved, expire_second)

    async def _presign(self, operation: Any, resolved: str, expire_second: int) -> PresignedRequest:
        return await self.connection.ask(
            f"presign_{operation}",
            resolved,
            self.connection.backend.presign(operation, resolved, expire_second),
        )

    # -- tracking

    def forget(self, path: StrPath) -> None:
        """Take a file that a stranger has removed out of the record."""
        self.tracker.deleted(self._file(path, "delete"))

    def created(self) -> set[str]:
        """Return what this storage object has created and not removed, without surrounding slashes."""
        record = self.tracker.record
        names = {name for name in (*record.created, *record.moved) if name != self.tracker.area}
        names |= {name for tracker, name in self._uploads if tracker.is_ours(name)}
        return {name.removeprefix(self._prefix) for name in names}
