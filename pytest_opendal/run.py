"""What one process of a run does with storages: open, end, finish. It knows no pytest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_opendal import errors, sharing
from pytest_opendal.backends.known import opendal_version
from pytest_opendal.backends.protocol import LEASE, PLACE
from pytest_opendal.cleanup import Cleaner, Outcome, reason_to_keep
from pytest_opendal.connection import Connection
from pytest_opendal.core import Operations
from pytest_opendal.journal import SHARED, Journal, Opened
from pytest_opendal.loop import LoopThread, aside
from pytest_opendal.meter import Meter
from pytest_opendal.process import AREAS, MAIN
from pytest_opendal.remnants import VOLATILE
from pytest_opendal.report import Claim, Reason, StorageInfo, TestNote, counted
from pytest_opendal.sharing import Sharing
from pytest_opendal.storage import Storage
from pytest_opendal.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from pytest_opendal.backends.exporters import Exporter
    from pytest_opendal.backends.leases import Exporters
    from pytest_opendal.backends.protocol import Backend
    from pytest_opendal.flashing import Flasher
    from pytest_opendal.journal import Ledger, Record
    from pytest_opendal.process import Process
    from pytest_opendal.settings import JumpstarterSettings, StorageSettings


TELL_SECONDS = 5.0
_AFTER_SILENCE_SECONDS = 0.01
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SLUG_CHARACTERS = 60


_Way = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What other plugins add."""

    add_layers: Callable[[str, Any], Any] = lambda _name, operator: operator
    """Given a storage's name and its opendal operator, return the operator to use."""
    created: Callable[[str, str, str], None] = lambda _storage, _path, _test: None
    """Told storage, path and test before each creation."""
    tell: Callable[[str], None] = lambda _text: None
    """Shows the user a line while something takes its time."""
    meter: Meter = field(default_factory=Meter)
    """Shows the user how far a transfer is."""


class UnclosedFileWarning(UserWarning):
    """A test forgot to close a file; pytest does not show a ``ResourceWarning`` unless it is told to."""


class BrokenStorage(Exception):
    """A storage that did not answer its first call in this process; the text says why."""


class _Beginning:
    """What a storage object begins with its first operation.

    Apart from `Held`: were it known to the storage that it holds, each test would leave garbage that
    only Python's collector finds.
    """

    def __init__(self, begin: Callable[[], Operations]) -> None:
        self._begin = begin
        self._at_a_time = threading.Lock()
        self.begun: Operations | None = None

    def operations(self) -> Operations:
        """Return what has begun; threads of a test share one record."""
        with self._at_a_time:
            if self.begun is None:
                self.begun = self._begin()
        return self.begun


class Held:
    """A storage object that a fixture holds; it begins with the first operation."""

    def __init__(
        self,
        settings: StorageSettings,
        test: str,
        loop: LoopThread,
        begin: Callable[[], Operations],
    ) -> None:
        """Prepare for a test (``""``: for the session)."""
        self.settings = settings
        self.test = test
        self._beginning = _Beginning(begin)
        self.storage = Storage(settings, loop, self._beginning.operations)
        self.forgotten: list[str] = []
        """Files that were opened for writing and never closed, known at the end."""

    @property
    def is_used(self) -> bool:
        """Whether there was an operation."""
        return self._beginning.begun is not None

    @property
    def tracker(self) -> Tracker:
        """What keeps the record of this object."""
        return self._beginning.operations().tracker

    def warn(self) -> None:
        """Warn of forgotten files; last of all, since a warning may be an error."""
        for path in self.forgotten:
            text = f"{self.storage.name}: {path!r} was opened for writing and never closed"
            warnings.warn(UnclosedFileWarning(f"{text}; nothing of it was published"), stacklevel=2)


@dataclass(slots=True, repr=False)
class Run:
    """The storages of this process, opened when they are first asked for."""

    process: Process
    journal_dir: Path
    hooks: Hooks = field(default_factory=Hooks)
    loop: LoopThread = field(default_factory=LoopThread)
    interrupted: bool = False
    postponed: BaseException | None = None
    """An interrupt to raise when what was left has been told."""
    leases: str = ""
    """Socket at which the controller of the run hands out leases; ``""``: this process leases."""
    _journal: Journal | None = None
    _exporters: Exporters | None = None
    _connections: dict[_Way, Connection] = field(default_factory=dict)
    _keepers: dict[Connection, Tracker] = field(default_factory=dict)
    _shared_journal: Journal | None = None
    _sharings: dict[Connection, Sharing] = field(default_factory=dict)
    _trackers: dict[Connection, list[Tracker]] = field(default_factory=dict)
    """Of the storage objects that are open, and of what they share."""
    _broken: dict[_Way, str] = field(default_factory=dict)

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
            ConfigInvalid: opendal refuses the settings.
            StorageError: the storage does not answer; only for the first who asks.
            BrokenStorage: it did not answer before.
        """
        connection = self._answering(settings)
        return Held(settings, test, self.loop, lambda: self._begun(connection, settings, test))

    def _begun(self, connection: Connection, settings: StorageSettings, test: str) -> Operations:
        prefix = self._prefix(settings, test)
        # What cannot be listed cannot be removed as a whole.
        lists = connection.lists
        owned = prefix if settings.isolation == "test" and lists else ""
        tracker = self._tracker(connection, settings, test, owned, prefix if lists else "")
        shared = None if prefix else self._sharing(connection, settings)
        return Operations(connection, tracker, prefix, shared)

    def _answering(self, settings: StorageSettings) -> Connection:
        way = settings.way
        if way in self._broken:
            raise BrokenStorage(self._broken[way])
        connection = self.connection(settings)
        if connection.is_ready:
            return connection
        try:
            if settings.jumpstarter is not None:
                self._await_lease(settings.name, settings.jumpstarter)
            self.loop.run_at_once(connection.check())
            if _leases_its_own(connection) and self.process.worker != MAIN:
                # The controller releases it, should this process die before it creates anything.
                self._keeper(connection).ledger.begin()
        except errors.StorageError as error:
            self._broken[way] = str(error)
            if connection.checked:  # the test in which it broke off has failed with that
                raise BrokenStorage(str(error)) from None
            raise
        return connection

    def _await_lease(self, name: str, settings: JumpstarterSettings) -> Exporter:
        """Wait, outside of the time limit of calls, until it is known which exporter to use."""
        exporters = self.exporters()
        exporter = exporters.of(settings)
        while not self.loop.run(exporter.found(TELL_SECONDS)):
            if text := self.loop.run(exporters.waiting_for(exporter)):
                self.hooks.tell(f"{name}: {text}")
        return exporter

    def share_leases(self) -> str:
        """Let the workers of this run ask for leases; returns the socket at which they do."""
        return self.loop.run(self.exporters().share(self.hooks.tell))

    def flasher(
        self, settings: JumpstarterSettings, scratch: Path, seconds: float | None = None
    ) -> Flasher:
        """Return a flasher of an exporter.

        Args:
            settings: the way to the exporter.
            scratch: directory for what is dumped.
            seconds: that connecting may take, once the exporter is leased.

        Raises:
            ConfigInvalid: the exporter has none, or several.
            StorageUnavailable, StorageTimeout: it cannot be reached.
        """
        exporter = self._await_lease("opendal_flasher", settings)
        from pytest_opendal.backends.jumpstarter import flasher, flasher_link
        from pytest_opendal.flashing import Flasher

        link = flasher_link(exporter, settings.flasher)

        async def connected() -> Any:
            async with asyncio.timeout(seconds):
                return await flasher(link)

        def connect() -> Any:
            try:
                return self.loop.run(connected())
            except errors.StorageError:
                raise
            except TimeoutError:
                msg = f"connect: no answer within {seconds:g} s (timeout)"
                raise errors.StorageTimeout(msg) from None

        return Flasher(connect, self.loop.run, link.explain, scratch)

    def connection(self, settings: StorageSettings) -> Connection:
        """Return this process' way to a storage; nothing is asked of it yet."""
        way = settings.way
        if way not in self._connections:
            self._connections[way] = Connection(settings, self._backend(settings))
            self._connections[way].meter = self.hooks.meter
        return self._connections[way]

    def _backend(self, settings: StorageSettings) -> Backend:
        if settings.jumpstarter is not None:
            exporter = self.exporters().of(settings.jumpstarter)
            from pytest_opendal.backends.jumpstarter import JumpstarterBackend

            return JumpstarterBackend(exporter, settings.jumpstarter.driver, settings.retries)
        from pytest_opendal.backends.local import LocalBackend

        assert settings.scheme is not None
        try:
            return LocalBackend(
                settings.scheme,
                settings.kwargs,
                lambda operator: self.hooks.add_layers(settings.name, operator),
                settings.retries,
            )
        except errors.StorageError as error:
            msg = f"storage {settings.name!r} ({settings.scheme}): {error}"
            raise type(error)(msg) from None

    def exporters(self) -> Exporters:
        """Return the exporters that this process knows.

        Raises:
            ConfigInvalid: Jumpstarter is not installed.
        """
        if self._exporters is None:
            try:
                from pytest_opendal.backends.leases import Exporters
            except ModuleNotFoundError as error:
                text = f'{error.name} is missing: pip install "pytest-opendal[jumpstarter]"'
                raise errors.ConfigInvalid(
                    f"a storage behind an exporter is asked for, and {text}"
                ) from None
            is_worker = self.process.worker != MAIN
            self._exporters = Exporters(os.environ, self.leases, is_worker=is_worker)
        return self._exporters

    def _prefix(self, settings: StorageSettings, test: str) -> str:
        if settings.isolation == "none":
            return ""
        worker = f"{AREAS}/{self.process.run_id}/{self.process.worker}"
        return worker if settings.isolation == "worker" else f"{worker}/{slug(test)}"

    def _tracker(
        self, connection: Connection, settings: StorageSettings, test: str, area: str, prefix: str
    ) -> Tracker:
        return self._known(
            connection,
            settings,
            self.journal.new_ledger(self._opened(connection, settings, test, area)),
            area=area,
            enter=self._entering(connection, settings, area, prefix) if prefix else None,
            on_created=lambda name: self.hooks.created(settings.name, name, test),
        )

    def _known(
        self, connection: Connection, settings: StorageSettings, ledger: Ledger, **options: Any
    ) -> Tracker:
        """Return a tracker that learns what its peers do to its files."""
        peers = self._trackers.setdefault(connection, [])
        peers.append(Tracker(connection, settings, ledger, peers=peers, **options))
        return peers[-1]

    def _opened(
        self, connection: Connection, settings: StorageSettings, test: str, area: str
    ) -> Opened:
        return Opened(
            storage=settings.name,
            identity=settings.identity | dict(connection.backend.place),
            test=test,
            worker=self.process.worker,
            area=area,
            retention=settings.retention,
            on_existing=settings.on_existing,
        )

    def _entering(
        self, connection: Connection, settings: StorageSettings, area: str, prefix: str
    ) -> Callable[[], Awaitable[None]]:
        """Return what notes the directories above an area, and the area of a worker as ours."""
        keeper = self._keeper(connection)
        enter = keeper.enter(prefix, whole=not area)

        async def entering() -> None:
            await enter()
            if not area and settings.retention != "none":
                # What a test may keep is in it, so it goes only when it is empty.
                keeper.note(("+", prefix, "dir", False))

        return entering

    def _keeper(self, connection: Connection) -> Tracker:
        """Return the tracker of what storage objects share: the directories above areas."""
        if connection not in self._keepers:
            settings = connection.settings.model_copy(
                update={"retention": "none", "on_existing": "created"}
            )
            self._keepers[connection] = self._tracker(connection, settings, "", "", "")
        return self._keepers[connection]

    def _sharing(self, connection: Connection, settings: StorageSettings) -> Sharing:
        """Return what `ensure` shares; its journal outlives a worker, for the controller to end."""
        if connection not in self._sharings:
            process = self.process
            self._shared_journal = self._shared_journal or Journal(
                self.journal_dir, process.run_id, process.worker + SHARED, process.started
            )
            opened = self._opened(connection, settings, "", "")
            ledger = self._shared_journal.new_ledger(opened)
            tracker = self._known(connection, settings, ledger)
            self._sharings[connection] = Sharing(tracker, self.journal_dir, process.run_id)
        return self._sharings[connection]

    # -- ending

    def end(self, held: Held, keep: Reason | None) -> TestNote:
        """End a storage object: remove what it made, or keep it, and tell what is left."""
        forgotten = self._closed(held)
        if not held.is_used:
            infos = (info_of(held.settings),)
            return TestNote(test=held.test, worker=self.process.worker, storages=infos)
        tracker = held.tracker
        claims = self._claims(held)
        with suppress(ValueError):  # it has ended before
            self._trackers[tracker.connection].remove(tracker)
        outcome = self._clean(tracker, keep)
        tracker.not_put_back(outcome.taken)
        self._keep_directories(tracker.connection, outcome)
        _end_record(tracker.ledger, outcome, keep)
        held.forgotten = forgotten
        return self._note(tracker, outcome, claims)

    def _closed(self, held: Held) -> list[str]:
        """Close a storage object, which may take seconds; a first interrupt comes after the cleanup."""
        try:
            return held.storage.close()
        except KeyboardInterrupt as interrupt:
            if self.interrupted:
                raise
            self.interrupted, self.postponed = True, interrupt
            return held.storage.close()

    def remove_kept(self, held: Held) -> TestNote:
        """Remove after all what a test made that failed, because it runs again."""
        outcome = self._clean(held.tracker, None)
        return replace(self._note(held.tracker, outcome), created=0, removed=0, written=0)

    def _keep_directories(self, connection: Connection, outcome: Outcome) -> None:
        """Note directories in which there is something of others; the run's end tries them again."""
        held = [left.path for left in outcome.leftovers if left.reason is Reason.FOREIGN]
        if held:
            self._keeper(connection).note(*(("+", name, "dir", False) for name in held))

    def _clean(self, tracker: Tracker, keep: Reason | None) -> Outcome:
        record = tracker.record
        if not record.holds_any():
            return Outcome()
        backups = tracker.ledger.backups
        return self._cleaned(
            tracker.connection,
            lambda: Cleaner(tracker.connection, record, backups, tracker.note),
            keep,
        )

    def _cleaned(
        self, connection: Connection, begin: Callable[[], Cleaner], keep: Reason | None
    ) -> Outcome:
        if self.interrupted:
            connection.hurry()
        cleaner = begin()
        try:
            outcome = self.loop.run_at_once(cleaner.clean() if keep is None else cleaner.keep(keep))
        except KeyboardInterrupt as interrupt:
            if self.interrupted:
                return self.loop.run(cleaner.give_up(keep))
            self.interrupted, self.postponed = True, interrupt
            return self._cleaned(connection, begin, keep)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            # Such as that of a plugin for timeouts; the finalizers of other storages come first.
            self.postponed = self.postponed or error
            return self.loop.run(cleaner.give_up(keep))
        if self.interrupted and outcome.silent:
            # Its second is over; the records that are still to come fail at once.
            connection.timeout = _AFTER_SILENCE_SECONDS
        return outcome

    def raise_postponed(self) -> None:
        """Raise the interrupt that came while something was cleaned up, which first came to its end."""
        interrupt, self.postponed = self.postponed, None
        if interrupt is not None:
            raise interrupt

    def clean(self, settings: StorageSettings, ledger: Ledger, keep: Reason | None) -> Outcome:
        """Clean up what another process recorded, unless it is kept; what was done is noted there.

        Args:
            settings: what `same_place` returned for the record.
            ledger: of the other process.
            keep: why all stays, None: it goes.
        """
        connection = self.connection(settings)
        outcome = self._cleaned(
            connection,
            lambda: Cleaner(connection, ledger.record, ledger.backups, ledger.note),
            keep,
        )
        _end_record(ledger, outcome, keep)
        return outcome

    def same_place(self, settings: StorageSettings, record: Record) -> StorageSettings:
        """Return the settings that lead to the very place of another process' record.

        Raises:
            StorageError: it cannot be reached, or is another place.
        """
        identity = record.opened.identity if record.opened else {}
        there = identity.get(PLACE, "")
        connection = self.connection(settings)
        if (held := self.hold(settings, identity)) is not None:
            return held
        problem = "the lease of its exporter is over (lease: worker)"
        if not _is_elsewhere(connection):
            here = _place(self.reach(settings))
            if here == there:
                return settings
            problem = f"it is on the exporter {there or '?'}, and this run reaches {here or '?'}"
        raise connection.error(errors.StorageUnavailable, "connect", "", problem)

    def hold(
        self, settings: StorageSettings, identity: Mapping[str, str]
    ) -> StorageSettings | None:
        """Take over the lease of a dead process, which cannot release it any more: this one will.

        Args:
            settings: of the storage.
            identity: that the dead process noted for it.

        Returns:
            The settings that lead there through this lease; None where it is over or none of that process.
        """
        lease = identity.get(LEASE)
        if lease and self.connection(settings).backend.place.get(LEASE) != lease:
            held = settings.holding(lease)
            with suppress(errors.StorageError):
                if _place(self.reach(held)) == identity.get(PLACE, ""):
                    return held
        return None

    def reach(self, settings: StorageSettings) -> Connection:
        """Return the way to a storage that answers; asking one that is silent again costs nothing.

        Raises:
            StorageError: it does not answer.
        """
        if self.interrupted:
            self.connection(settings).hurry()
        try:
            return self._answering(settings)
        except BrokenStorage as error:
            raise errors.StorageUnavailable(str(error)) from None

    def remove_directories(self, settings: StorageSettings, names: list[str]) -> list[str]:
        """Remove those of the directories that are empty now, in this order; return the names."""
        connection = self.connection(settings)
        if self.interrupted:
            connection.hurry()
        if _is_elsewhere(connection):
            return []
        return self.loop.run(_remove_directories(connection, names))

    def missing(self, settings: StorageSettings, kept: list[tuple[str, str]]) -> list[str]:
        """Return which of what was kept is there no more, as far as the storage tells in its time limit.

        Args:
            settings: of the storage.
            kept: paths, and whether each is a ``file`` or a ``dir``.
        """
        known = self._connections.get(settings.way)
        is_silent = known is not None and known.doubtful
        is_theirs = is_own(info_of(settings)) and not (known is not None and known.checked)
        if self.interrupted or is_silent or is_theirs:
            return []
        if settings.scheme == "fs":
            return self.loop.run(_missing_here(settings, kept))
        with suppress(errors.StorageError):
            return self.loop.run(_missing(self.reach(settings), kept))
        return []

    def _claims(self, held: Held) -> tuple[Claim, ...]:
        shares = held.settings.isolation == "none" and self.process.worker != MAIN
        if not shares or _leases_its_own(held.tracker.connection):
            return ()
        now = time.time()
        return tuple(
            Claim(held.settings.name, name, start, now)
            for name, start in held.tracker.claims.items()
        )

    # -- finishing

    def finish(self, *, failed: bool = False, hand_over: bool = False) -> list[TestNote]:
        """Remove what the storage objects of this process share, and tell what is left.

        Args:
            failed: whether a test failed, for ``retention: failed``.
            hand_over: leave what other workers may still use to the controller.
        """
        notes = [
            self._end_tracker(shared.tracker, failed=failed)
            for connection, shared in self._sharings.items()
            if not hand_over or _leases_its_own(connection)
        ]
        return notes + [self._end_keeper(keeper) for keeper in self._keepers.values()]

    def _end_keeper(self, keeper: Tracker) -> TestNote:
        noted = list(keeper.record.created)
        note = self._end_tracker(keeper, failed=False)
        left = tuple(left for left in note.leftovers if left.reason is Reason.FAILED)
        # A test that left one of them, since something was in it then, has told so.
        gone = tuple(name for name in noted if name not in keeper.record.created)
        return replace(note, created=0, removed=0, written=0, leftovers=left, withdrawn=gone)

    def _end_tracker(self, tracker: Tracker, *, failed: bool) -> TestNote:
        keep = reason_to_keep(tracker.opened.retention, failed=failed)
        outcome = self._clean(tracker, keep)
        _end_record(tracker.ledger, outcome, keep)
        return self._note(tracker, outcome)

    def _note(self, tracker: Tracker, outcome: Outcome, claims: tuple[Claim, ...] = ()) -> TestNote:
        storage = tracker.settings.name
        return TestNote(
            test=tracker.opened.test,
            worker=self.process.worker,
            created=tracker.created_count,
            removed=max(0, tracker.created_count - counted(outcome.leftovers)),
            written=tracker.written,
            leftovers=outcome.leftovers,
            claims=claims,
            directories={storage: outcome.directories} if outcome.directories else {},
            storages=(info_of(tracker.settings),),
        )

    def close(self) -> None:
        """Let go of all storages and of the journal."""
        for connection in self._connections.values():
            self.loop.run_at_once(connection.backend.close())
        if self._exporters is not None:
            self._let_go(self._exporters)
        self.loop.stop()
        for journal in (self._journal, self._shared_journal):
            if journal is not None:
                journal.close()
        if self.process.worker == MAIN:
            sharing.forget(self.journal_dir, self.process.run_id)

    def _let_go(self, exporters: Exporters) -> None:
        """Release leases; a first interrupt meanwhile does not end that."""
        try:
            untold = self.loop.run(exporters.close())
        except KeyboardInterrupt:
            untold = self.loop.run(exporters.close())
        for line in untold:
            self.hooks.tell(line)


def _end_record(ledger: Ledger, outcome: Outcome, keep: Reason | None) -> None:
    """End a record, or leave to a reap what failed; what is kept on purpose is no business of that."""
    if not outcome.failed:
        ledger.end()
    elif keep is not None:
        ledger.end_created()


def _place(connection: Connection) -> str:
    return connection.backend.place.get(PLACE, "")


def _is_elsewhere(connection: Connection) -> bool:
    """Whether it leads to an exporter that other processes lease, each its own."""
    return _leases_its_own(connection) and not connection.checked


def _leases_its_own(connection: Connection) -> bool:
    exporter = connection.settings.jumpstarter
    return exporter is not None and exporter.needs_lease and exporter.lease == "worker"


async def _remove_directories(connection: Connection, names: list[str]) -> list[str]:
    try:
        return [name for name in names if await connection.remove_empty(name)]
    except errors.StorageError:
        return []


async def _missing_here(settings: StorageSettings, kept: list[tuple[str, str]]) -> list[str]:
    """Return what is missing on this machine; a disk that is stuck or not mounted tells nothing."""
    root = settings.kwargs.get("root", "")

    def look() -> list[str]:
        if not os.path.isdir(root):  # noqa: PTH112
            return []
        return [name for name, _ in kept if not os.path.lexists(os.path.join(root, name))]  # noqa: PTH118

    with suppress(TimeoutError):
        async with asyncio.timeout(settings.timeout):
            return await aside(look, "pytest-opendal-look")
    return []


async def _missing(connection: Connection, kept: list[tuple[str, str]]) -> list[str]:
    gone: list[str] = []
    names = iter(kept)

    async def look() -> None:
        with suppress(errors.StorageError):
            for name, kind in names:
                if await connection.find(name if kind == "file" else f"{name}/") is None:
                    gone.append(name)

    with suppress(TimeoutError):
        async with asyncio.timeout(connection.timeout):
            await asyncio.gather(*(look() for _ in range(connection.settings.concurrency)))
    return gone


def slug(test: str) -> str:
    """Return a directory name for a test: readable, short, and different for different tests."""
    if not test:
        return "session"
    readable = _UNSAFE.sub("-", test.rpartition("/")[2]).strip("-.")[-_SLUG_CHARACTERS:]
    whole = hashlib.sha256(test.encode(errors="surrogatepass")).hexdigest()
    return f"{readable}-{whole[:8]}"


def is_own(info: StorageInfo) -> bool:
    """Whether only a process that used a storage can look there: memory, or an exporter that it reached."""
    return info.scheme in {*VOLATILE, "jumpstarter"}


def info_of(settings: StorageSettings) -> StorageInfo:
    """Return how header and reports name a storage."""
    return StorageInfo(
        settings.name, settings.scheme or "jumpstarter", settings.location, opendal_version()
    )
