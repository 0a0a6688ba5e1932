"""What one process of a run does with storages: open them, end them, and finish. It knows no pytest."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pytest_opendal import errors
from pytest_opendal.cleanup import Cleaner, Outcome
from pytest_opendal.connection import Connection
from pytest_opendal.core import AsyncStorage
from pytest_opendal.journal import Journal, Opened
from pytest_opendal.loop import LoopThread
from pytest_opendal.process import MAIN
from pytest_opendal.report import Claim, Leftover, Reason, StorageInfo, TestNote
from pytest_opendal.storage import Storage
from pytest_opendal.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pytest_opendal.backends.protocol import Backend
    from pytest_opendal.journal import Event, Record
    from pytest_opendal.process import Process
    from pytest_opendal.settings import Lab, StorageSettings

AREAS = "pytest-opendal"
"""Directory of all isolation areas below a storage's root."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SLUG_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Hooks:
    """What other plugins add."""

    add_layers: Callable[[str, Any], Any] = lambda _name, operator: operator
    """Given a storage's name and its opendal operator, return the operator to use."""
    created: Callable[[str, str, str], None] = lambda _storage, _path, _test: None
    """Told storage, path and test before each creation."""


class BrokenStorage(Exception):
    """A storage that did not answer its first call in this process; the text says why."""


@dataclass(slots=True)
class Held:
    """A storage object that a fixture holds."""

    storage: Storage
    tracker: Tracker
    settings: StorageSettings


@dataclass(slots=True)
class Run:
    """The storages of this process, opened when they are first asked for."""

    lab: Lab
    process: Process
    journal_dir: Path
    hooks: Hooks = field(default_factory=Hooks)
    loop: LoopThread = field(default_factory=LoopThread)
    interrupted: bool = False
    _journal: Journal | None = None
    _connections: dict[str, Connection] = field(default_factory=dict)
    _keepers: dict[str, Tracker] = field(default_factory=dict)
    _broken: dict[str, str] = field(default_factory=dict)

    @property
    def journal(self) -> Journal:
        """The journal of this process."""
        if self._journal is None:
            process = self.process
            self._journal = Journal(
                self.journal_dir, process.run_id, process.worker, process.started
            )
        return self._journal

    # -- opening

    def open(self, settings: StorageSettings, test: str) -> Held:
        """Return a storage object for a test (``""``: for the session).

        Raises:
            StorageError: the storage does not answer; only for the first who asks.
            BrokenStorage: it did not answer before.
        """
        connection = self._answering(settings)
        prefix = self._prefix(settings, test)
        owned = prefix if settings.isolation == "test" else ""
        tracker = self._tracker(connection, settings, test, owned, prefix)
        core = AsyncStorage(connection, tracker, prefix)
        return Held(Storage(core, self.loop), tracker, settings)

    def _answering(self, settings: StorageSettings) -> Connection:
        name = settings.name
        if name in self._broken:
            raise BrokenStorage(self._broken[name])
        try:
            connection = self.connection(settings)
            self.loop.run(connection.check())
        except errors.StorageError as error:
            self._broken[name] = str(error)
            raise
        return connection

    def connection(self, settings: StorageSettings) -> Connection:
        """Return this process' way to a storage; nothing is asked of it yet."""
        if settings.name not in self._connections:
            self._connections[settings.name] = Connection(settings, self._backend(settings))
        return self._connections[settings.name]

    def _backend(self, settings: StorageSettings) -> Backend:
        if settings.jumpstarter is not None:
            msg = f"{settings.name}: storages behind a Jumpstarter exporter are not supported yet"
            raise errors.Unsupported(msg)
        from pytest_opendal.backends.local import LocalBackend

        assert settings.scheme is not None
        try:
            return LocalBackend(
                settings.scheme,
                settings.kwargs,
                lambda operator: self.hooks.add_layers(settings.name, operator),
            )
        except errors.StorageError as error:
            msg = f"{self.lab.source}: storage {settings.name!r} ({settings.scheme}): {error}"
            raise type(error)(msg) from None

    def _prefix(self, settings: StorageSettings, test: str) -> str:
        if settings.isolation == "none":
            return ""
        worker = f"{AREAS}/{self.process.run_id}/{self.process.worker}"
        return worker if settings.isolation == "worker" else f"{worker}/{slug(test)}"

    def _tracker(
        self, connection: Connection, settings: StorageSettings, test: str, area: str, prefix: str
    ) -> Tracker:
        ledger = self.journal.new_ledger(
            Opened(
                storage=settings.name,
                identity=settings.identity,
                test=test,
                worker=self.process.worker,
                area=area,
                retention=settings.retention,
                on_existing=settings.on_existing,
            )
        )
        return Tracker(
            connection,
            settings,
            ledger,
            area=area,
            enter=self._keeper(connection).enter(prefix, whole=not area) if prefix else None,
            on_created=lambda name: self.hooks.created(settings.name, name, test),
        )

    def _keeper(self, connection: Connection) -> Tracker:
        """Return the tracker of what is shared by a process' storage objects: directories above areas."""
        if connection.name not in self._keepers:
            settings = connection.settings.model_copy(
                update={"retention": "none", "on_existing": "created"}
            )
            self._keepers[connection.name] = self._tracker(connection, settings, "", "", "")
        return self._keepers[connection.name]

    # -- ending

    def end(self, held: Held, keep: Reason | None) -> TestNote:
        """End a storage object: remove what it made, or keep it for a reason, and tell what is left."""
        forgotten = held.storage.close()
        if forgotten:
            _warn_forgotten(held.storage.name, forgotten)
        tracker = held.tracker
        claims = self._claims(held)
        outcome = self._clean(tracker.connection, tracker.record, tracker.note, keep)
        if keep is not None or not outcome.failed:
            tracker.ledger.end()
        remaining = len(outcome.leftovers)
        return TestNote(
            test=tracker.opened.test,
            worker=self.process.worker,
            created=tracker.created_count,
            removed=max(0, tracker.created_count - remaining),
            leftovers=outcome.leftovers,
            claims=claims,
            directories={held.settings.name: outcome.directories} if outcome.directories else {},
            storages=(info_of(held.settings),),
        )

    def _clean(
        self, connection: Connection, record: Record, note: Callable[..., None], keep: Reason | None
    ) -> Outcome:
        if not (record.created or record.moved or record.saved):
            return Outcome()
        if self.interrupted:
            connection.hurry()
        return self._cleaned(Cleaner(connection, record, self.journal.backups, note), keep)

    def _cleaned(self, cleaner: Cleaner, keep: Reason | None) -> Outcome:
        return self.loop.run(cleaner.clean() if keep is None else cleaner.keep(keep))

    def clean(
        self, settings: StorageSettings, record: Record, backups: Path, keep: Reason | None
    ) -> Outcome:
        """Clean up what another process recorded; see `pytest_opendal.recovery`."""

        def note(*events: Event) -> None:
            for code, *values in events:
                record.apply((code, 0, *values))

        return self._cleaned(Cleaner(self.connection(settings), record, backups, note), keep)

    def remove_directories(self, settings: StorageSettings, names: list[str]) -> list[str]:
        """Remove those of the directories that are empty now, in this order; return the names."""
        return self.loop.run(_remove_directories(self.connection(settings), names))

    def _claims(self, held: Held) -> tuple[Claim, ...]:
        if held.settings.isolation != "none" or self.process.worker == MAIN:
            return ()
        now = time.time()
        return tuple(
            Claim(held.settings.name, name, start, now)
            for name, start in held.tracker.claims.items()
        )

    # -- finishing

    def finish(self) -> TestNote | None:
        """Remove what is shared by the storage objects of this process; None when there is nothing to tell."""
        if not self._keepers:
            return None
        outcomes = {name: self._end_keeper(keeper) for name, keeper in self._keepers.items()}
        directories = {
            name: outcome.directories for name, outcome in outcomes.items() if outcome.directories
        }
        leftovers = tuple(
            left
            for outcome in outcomes.values()
            for left in outcome.leftovers
            if left.reason is Reason.FAILED
        )
        return TestNote("", self.process.worker, leftovers=leftovers, directories=directories)

    def _end_keeper(self, keeper: Tracker) -> Outcome:
        outcome = self._clean(keeper.connection, keeper.record, keeper.note, None)
        if not outcome.failed:
            keeper.ledger.end()
        return outcome

    def close(self) -> None:
        """Let go of all storages and of the journal."""
        for connection in self._connections.values():
            self.loop.run(connection.backend.close())
        self.loop.stop()
        if self._journal is not None:
            self._journal.close()


async def _remove_directories(connection: Connection, names: list[str]) -> list[str]:
    try:
        return [name for name in names if await connection.remove_empty(name)]
    except errors.StorageError:
        return []


def slug(test: str) -> str:
    """Return a directory name for a test: readable, short, and different for different tests."""
    if not test:
        return "session"
    readable = _UNSAFE.sub("-", test.rpartition("/")[2]).strip("-.")[-_SLUG_CHARACTERS:]
    return f"{readable}-{hashlib.sha256(test.encode()).hexdigest()[:8]}"


def info_of(settings: StorageSettings) -> StorageInfo:
    """Return how header and reports name a storage."""
    return StorageInfo(
        settings.name, settings.scheme or "jumpstarter", settings.location, opendal_version()
    )


def opendal_version() -> str:
    """Return the version of the installed opendal, without importing it."""
    return metadata.version("opendal")


def _warn_forgotten(storage: str, paths: Iterable[str]) -> None:
    import warnings

    for path in paths:
        message = f"{storage}: {path!r} was opened for writing and never closed; nothing of it was published"
        warnings.warn(ResourceWarning(message), stacklevel=2)
