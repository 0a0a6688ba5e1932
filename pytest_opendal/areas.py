"""Isolation areas of runs whose journals are gone: found on the storages by name and age.

An area is a directory ``pytest-opendal/<id of a run>``, and the id tells when the run started. Whatever
else is in ``pytest-opendal`` is somebody else's.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_opendal import errors, places
from pytest_opendal.journal import LOCK_SUFFIX
from pytest_opendal.process import AREAS, started_of
from pytest_opendal.reap import Reaped
from pytest_opendal.report import Leftover, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import datetime

    from pytest_opendal.connection import Connection
    from pytest_opendal.run import Run
    from pytest_opendal.settings import StorageSettings

_LOCK = re.compile(rf".*/(\d{{8}}T\d{{6}}-[0-9a-f]{{6}})-[^/]*{re.escape(LOCK_SUFFIX)}")


class Sweeper:
    """Removes old areas on the storages of a configuration."""

    def __init__(
        self, run: Run, before: datetime, spared: Collection[str], tell: Callable[[str], None]
    ) -> None:
        """Prepare; nothing is asked of a storage yet.

        Args:
            run: opens storages.
            before: a run that started later is not touched.
            spared: ids of runs that are not touched, beside those that live on this host.
            tell: shows a line about a storage on which areas cannot be found.
        """
        self._run = run
        self._before = before
        self._spared = {*spared, *living_here()}
        self._tell = tell

    def plan(self, storages: Iterable[StorageSettings]) -> list[Reaped]:
        """Return what `sweep` would remove; the storages are listed."""
        return [part for settings in storages for part in self._found(settings)]

    def sweep(self, storages: Iterable[StorageSettings]) -> list[Reaped]:
        """Remove old areas, and return what became of each."""
        return [
            self._removed(settings, part) for settings in storages for part in self._found(settings)
        ]

    def _found(self, settings: StorageSettings) -> list[Reaped]:
        root = settings.kwargs.get("root", "")
        if settings.scheme == "fs" and not Path(root).is_dir():
            return []  # opendal would make it
        try:
            connection = self._run.reach(settings)
            if not self._run.loop.run(connection.capability()).list:
                self._tell(f"{settings.name}: cannot list, so old areas cannot be found on it")
                return []
            names = self._run.loop.run(_areas(connection))
            old = [name for name in names if self._is_old(name)]
            there = [name for name in old if self._run.loop.run(_is_there(connection, name))]
        except errors.StorageError as error:
            return [_part(settings, "", left=(_failure(settings, AREAS, error),))]
        return [_part(settings, name) for name in there]

    def _is_old(self, run_id: str) -> bool:
        started = started_of(run_id)
        return started is not None and started < self._before and run_id not in self._spared

    def _removed(self, settings: StorageSettings, part: Reaped) -> Reaped:
        if part.left:
            return part
        (name,) = part.removed
        connection = self._run.connection(settings)
        try:
            self._run.loop.run(connection.refuse_protected_below("remove_all", name))
            self._run.loop.run(connection.remove_tree(name))
            if connection.backend.hierarchical:
                self._run.remove_directories(settings, [AREAS])
        except errors.StorageError as error:
            return replace(part, removed=(), left=(_failure(settings, name, error),))
        return part


async def _areas(connection: Connection) -> list[str]:
    """Return the ids of the runs that have an area."""
    names = []
    with suppress(errors.NotFound, errors.NotADirectory):
        async for path in connection.list(f"{AREAS}/"):
            name = path.removeprefix(f"{AREAS}/").removesuffix("/")
            if path == f"{AREAS}/{name}/" and started_of(name) and not _is_link(connection, path):
                names.append(name)
    return sorted(names)


async def _is_there(connection: Connection, run_id: str) -> bool:
    """Whether an area is more than a name: SeaweedFS lists directories without objects for ever."""
    if connection.backend.hierarchical:
        return True
    async for _ in connection.list(f"{AREAS}/{run_id}/", recursive=True):
        return True
    return False


def _is_link(connection: Connection, path: str) -> bool:
    # What a link leads to is not in the area.
    here = connection.backend.local_path(path.rstrip("/"))
    return here is not None and here.is_symlink()


def _part(settings: StorageSettings, run_id: str, left: tuple[Leftover, ...] = ()) -> Reaped:
    started = started_of(run_id)
    return Reaped(
        run_id=run_id,
        started=started.isoformat() if started else "",
        host="",
        storage=settings.name,
        where=places.described(settings.identity),
        removed=(f"{AREAS}/{run_id}",) if run_id else (),
        left=left,
    )


def _failure(settings: StorageSettings, path: str, error: errors.StorageError) -> Leftover:
    return Leftover(settings.name, path, "dir", None, "", "", Reason.FAILED, str(error))


def living_here() -> set[str]:
    """Return the ids of runs that hold a journal on this host, wherever their journals are.

    Those of other users' processes are not seen, so this only ever spares more.
    """
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            match = _LOCK.fullmatch(str(link.readlink()))
            if match:
                found.add(match[1])
    return found
