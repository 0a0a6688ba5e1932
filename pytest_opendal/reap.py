"""Removing what runs that died left, on the storages that are the same places as then.

It knows neither pytest nor the command, which both use it.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_opendal import errors, places, recovery, remnants, sharing
from pytest_opendal.backends.protocol import PLACE
from pytest_opendal.cleanup import Outcome
from pytest_opendal.journal import Journal, UnreadableJournal
from pytest_opendal.paths import below, parents
from pytest_opendal.process import AREAS
from pytest_opendal.report import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pytest_opendal.journal import Header, Ledger, Opened, Record
    from pytest_opendal.remnants import Remnant
    from pytest_opendal.report import Leftover
    from pytest_opendal.run import Run
    from pytest_opendal.settings import StorageSettings

NO_STORAGE = "no storage of the configuration is that place"
NO_CONFIGURATION = "only a configuration tells how to reach it: pytest-opendal reap FILE"
UNTOLD = "the journal does not tell which place it is, since only a credential would"

# Who looks at a journal holds its lock for an instant.
_LOCK_SECONDS = 0.2

_Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of what one dead run had left on one storage."""

    run_id: str
    started: str
    """ISO time."""
    host: str
    storage: str
    where: str
    """Scheme and location, for people."""
    removed: tuple[str, ...] = ()
    """What was removed; when nothing is to be touched, what would be."""
    restored: tuple[str, ...] = ()
    """What existed before and was put back, or would be."""
    left: tuple[Leftover, ...] = ()
    """What is still there, and why."""

    @property
    def failed(self) -> int:
        """How much could not be removed; what holds files of others is theirs, as other projects' is."""
        return sum(left.reason is Reason.FAILED for left in self.left)

    @property
    def others(self) -> int:
        """How much is on storages of other projects."""
        return sum(left.reason is Reason.REMNANT for left in self.left)


class Reaper:
    """Removes remnants on the storages that it knows."""

    def __init__(
        self,
        run: Run,
        storages: Iterable[StorageSettings],
        *,
        only: Collection[str] = (),
        configured: bool = True,
        leases: bool = False,
    ) -> None:
        """Prepare; nothing is asked of a storage yet.

        Args:
            run: opens storages.
            storages: those of the configuration; directories of this host need none.
            only: names of storages; what is on others is passed over. Empty: all storages.
            configured: whether there is a configuration, for what is said where it is missing.
            leases: whether to lease the exporters that the dead processes had leased.
        """
        self._run = run
        self._storages = list(storages)
        self._only = only
        self._unknown = NO_STORAGE if configured else NO_CONFIGURATION
        # It is one for all projects of this user.
        self._shared = remnants.private_places() if configured else []
        self._leases = leases
        self._directories: dict[_Place, _Directories] = {}

    def plan(self, found: Iterable[Remnant]) -> list[Reaped]:
        """Return what `reap` would do, as far as that is known without asking a storage."""
        return _merged(
            self._planned(remnant, record)
            for remnant in found
            for record in remnant.records
            if self._concerns(remnants.opened_of(record))
        )

    def reap(self, found: Iterable[Remnant]) -> list[Reaped]:
        """Remove remnants, and return what became of them, by run and storage."""
        reaped = _merged(part for remnant in found for part in self._reaped(remnant))
        gone = {
            place: set(self._run.remove_directories(made.settings, made.deepest_first()))
            for place, made in self._directories.items()
        }
        return [_without(part, gone.get((part.storage, part.where), set())) for part in reaped]

    def _planned(self, remnant: Remnant, record: Record) -> Reaped:
        _, problem = self._way_to(remnants.opened_of(record), remnant.path)
        outcome = self._untouched(record, problem, remnant.path) if problem else Outcome()
        return _part(remnant.header, record, outcome)

    def _reaped(self, remnant: Remnant) -> Iterator[Reaped]:
        with _inherited(remnant) as ledgers:
            for ledger in ledgers:
                yield from self._reaped_record(remnant, ledger)

    def _reaped_record(self, remnant: Remnant, ledger: Ledger) -> Iterator[Reaped]:
        if not remnants.is_somewhere(ledger.record):
            ledger.end()
        elif self._concerns(remnants.opened_of(ledger.record)):
            record = deepcopy(ledger.record)
            yield _part(remnant.header, record, self._outcome(ledger, remnant.path))
            # An interrupt let this record come to its end; the journals keep the others.
            self._run.raise_postponed()

    def _outcome(self, ledger: Ledger, journal: Path) -> Outcome:
        opened = remnants.opened_of(ledger.record)
        settings, problem = self._way_to(opened, journal)
        if settings is None:
            return self._untouched(ledger.record, problem, journal)
        if self._leases:
            settings = settings.leasing(opened.identity.get(PLACE, ""))
        try:
            settings = self._run.same_place(settings, ledger.record)
            outcome = self._run.clean(settings, ledger, None)
        except errors.StorageError as error:
            return recovery.untouched(ledger.record, str(error))
        made = self._directories.setdefault(_place(opened), _Directories(settings))
        made.names.update(outcome.directories)
        if self._run.connection(settings).backend.hierarchical:
            # Of an area that could not be removed, the end of its run has forgotten those above.
            made.names.update(name for name in parents(opened.area) if below(name, AREAS))
        return outcome

    def _untouched(self, record: Record, problem: str, journal: Path) -> Outcome:
        """Return the outcome for a place that there is no way to, which may be another project's."""
        identity = recovery.identity_of(remnants.opened_of(record))
        ours = any(settings.identity == identity for settings in self._storages)
        others = journal.parent in self._shared and not ours
        return recovery.untouched(record, problem, Reason.REMNANT if others else Reason.FAILED)

    def _concerns(self, opened: Opened) -> bool:
        if not self._only or opened.storage in self._only:
            return True
        known = recovery.matching(self._storages, opened)
        return known is not None and known.name in self._only

    def _way_to(self, opened: Opened, journal: Path) -> tuple[StorageSettings | None, str]:
        """Return the storage that is the same place as then, or why there is none."""
        if not places.is_told(opened.identity):
            return None, UNTOLD
        settings = recovery.matching(self._storages, opened)
        if settings is None:
            return None, self._unknown
        root = settings.kwargs.get("root", "")
        # opendal would make it, and would find nothing there.
        if settings.scheme == "fs" and not Path(root).is_dir():
            return None, f"its root does not exist; mount it, or remove {journal} to forget this"
        return settings, ""


def tidy(found: Iterable[Remnant]) -> None:
    """Remove the journals of dead processes that tell of nothing, or of what is nowhere any more."""
    for remnant in found:
        if not remnant.records:
            with _inherited(remnant) as ledgers:
                for ledger in ledgers:
                    ledger.end()


@contextmanager
def _inherited(remnant: Remnant) -> Iterator[list[Ledger]]:
    """Yield the records of a dead process, none while somebody else is at them; hold its lock meanwhile."""
    with remnants.seized(remnant.path, _LOCK_SECONDS) as is_dead:
        try:
            inherited = Journal.inherit(remnant.path) if is_dead else None
        except (UnreadableJournal, OSError):
            inherited = None  # it was readable; so somebody else has been at it
        try:
            yield inherited.ledgers() if inherited else []
        finally:
            if inherited is not None:
                inherited.close()
    if not remnants.journals(remnant.path.parent, remnant.header.run_id):
        sharing.forget(remnant.path.parent, remnant.header.run_id)


@dataclass(frozen=True, slots=True)
class _Directories:
    """Directories of several dead processes on one storage, which may have been in one another."""

    settings: StorageSettings
    names: set[str] = field(default_factory=set)

    def deepest_first(self) -> list[str]:
        """Return children before parents."""
        return sorted(self.names, key=lambda name: (-name.count("/"), name))


def _place(opened: Opened) -> _Place:
    return opened.storage, places.described(opened.identity)


def _part(header: Header, record: Record, outcome: Outcome) -> Reaped:
    storage, where = _place(remnants.opened_of(record))
    left = tuple(
        leftover
        for leftover in outcome.leftovers
        if leftover.reason is not Reason.FOREIGN or not remnants.is_shared(leftover.path)
    )
    paths = {leftover.path for leftover in left}
    done = [name for name in remnants.resources(record) if name not in paths]
    before = {*record.saved, *record.moved}
    removed = tuple(name for name in done if name not in before)
    moves_back = remnants.opened_of(record).on_existing == "restore"
    put_back = before if moves_back else {*record.saved}
    put_back = put_back.difference(outcome.taken, outcome.astray)
    restored = tuple(name for name in done if name in put_back)
    return Reaped(
        header.run_id, header.started, header.host, storage, where, removed, restored, left
    )


def _key(part: Reaped) -> tuple[str, ...]:
    return part.started, part.run_id, part.host, part.storage, part.where


def _why_and_where(left: Leftover) -> tuple[str, str, str]:
    return left.reason, left.error or "", left.path


def _merged(parts: Iterable[Reaped]) -> list[Reaped]:
    """Return one part for each run and storage, of those of all its processes."""
    merged = []
    for _, group in groupby(sorted(parts, key=_key), key=_key):
        same = list(group)
        removed = tuple(sorted({name for part in same for name in part.removed}))
        restored = tuple(sorted({name for part in same for name in part.restored}))
        left = tuple(sorted((left for part in same for left in part.left), key=_why_and_where))
        merged.append(replace(same[0], removed=removed, restored=restored, left=left))
    return merged


def _without(part: Reaped, gone: Collection[str]) -> Reaped:
    """Return a part after directories of it have gone with the last of what was in them."""
    left = tuple(leftover for leftover in part.left if leftover.path not in gone)
    also = {leftover.path for leftover in part.left} & {*gone}
    return replace(part, removed=tuple(sorted({*part.removed, *also})), left=left)
