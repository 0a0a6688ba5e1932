"""What a run leaves behind and what it did: facts as frozen records, their JSON, their merging."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby, repeat
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_opendal.conflicts import Claim, Conflict, ConflictFinder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Claim",
    "Collector",
    "Conflict",
    "Leftover",
    "Reason",
    "Remnants",
    "RunReport",
    "StorageInfo",
    "TestNote",
    "Work",
    "user_properties",
    "verdict",
]


REAP = "pytest-opendal reap"


class Reason(StrEnum):
    """Why a resource is still there after its fixture ended."""

    KEPT = "kept: retention all"
    """The configuration keeps everything."""
    KEPT_FAILED = "kept: retention failed"
    """The configuration keeps the resources of failed tests, and the test failed."""
    FAILED = "delete failed"
    """It could not be removed; ``error`` says why."""
    FOREIGN = "holds files of others"
    """A directory of ours in which somebody else put something."""
    MOVED = "moved there"
    """It existed before and the test renamed it to here."""
    CRASHED = "worker crashed"
    """The worker that made it died, and the configuration keeps the resources of failed tests."""
    REMNANT = "remnant"
    """A run that died left it."""

    @property
    def fails_run(self) -> bool:
        """Whether ``--opendal-leftovers=error`` fails the run for it."""
        return self not in _HARMLESS


# A test whose worker crashed has failed, so what is kept of it is what `retention: failed` keeps.
_HARMLESS = frozenset({Reason.KEPT_FAILED, Reason.CRASHED, Reason.FOREIGN, Reason.REMNANT})


@dataclass(frozen=True, slots=True)
class Leftover:
    """One resource still there after its fixture ended; all values are builtins."""

    storage: str
    """Name of the storage in the configuration."""
    path: str
    """Path below the storage's root, without slashes at its ends."""
    kind: str
    """``file`` or ``dir``."""
    size: int | None
    """Bytes, None for a directory or when the storage did not tell."""
    test: str
    """Node id of the test, or "" for a resource of ``opendal_session``."""
    worker: str
    """Worker id under xdist (``gw0``), else ``main``."""
    reason: Reason
    error: str | None = None
    """One line, when ``reason`` is a failed deletion."""
    holds: tuple[str, ...] = ()
    """For ``holds files of others``: what they put there (at most 20 paths)."""


@dataclass(frozen=True, slots=True)
class Remnants:
    """What one dead run left, as its journal tells."""

    run_id: str
    started: str
    """ISO time."""
    host: str
    storage: str
    count: int


@dataclass(frozen=True, slots=True)
class StorageInfo:
    """One storage of the configuration as the header and the report name it; nothing secret."""

    name: str
    scheme: str
    location: str
    """Endpoint, bucket and root, or the exporter's driver; never credentials."""
    opendal: str
    """Version of opendal that reaches it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What tests did on one storage."""

    storage: str
    created: int = 0
    """Resources that tests made."""
    removed: int = 0
    """Of those, how many the tests or the cleanup removed."""
    written: int = 0
    """Bytes that tests wrote from this host; not what the service copied or a device wrote."""
    left: int = 0
    """Bytes of the leftovers, as far as the storage told."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """All that a run tells, merged over its workers."""

    run_id: str
    storages: tuple[StorageInfo, ...]
    created: int
    """Resources that tests made."""
    removed: int
    """Of those, how many the tests or the cleanup removed."""
    leftovers: tuple[Leftover, ...]
    remnants: tuple[Remnants, ...]
    conflicts: tuple[Conflict, ...]
    work: tuple[Work, ...] = ()
    """What tests did on each storage that they used, by name."""
    alone: tuple[str, ...] = ()
    """Journals that are left alone, and why; one line each."""
    reap: str = REAP
    """Command that removes the remnants."""


@dataclass(frozen=True, slots=True)
class TestNote:
    """What one process tells about one test; it crosses xdist on the test's teardown report."""

    __test__: ClassVar[bool] = False

    test: str
    """Node id of the test, or "" for ``opendal_session``."""
    worker: str
    """Worker id under xdist (``gw0``), else ``main``."""
    created: int = 0
    """Resources that it made."""
    removed: int = 0
    """Of those, how many it or its cleanup removed."""
    written: int = 0
    """Bytes that it wrote from this host."""
    leftovers: tuple[Leftover, ...] = ()
    claims: tuple[Claim, ...] = ()
    """What it held on storages that it shared with other workers (``isolation: none``)."""
    directories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Directories it made, by storage, where directories are real."""
    storages: tuple[StorageInfo, ...] = ()
    """The storages it used."""
    withdrawn: tuple[str, ...] = ()
    """Leftovers of an earlier note that were removed since, because the test ran again."""

    @property
    def is_idle(self) -> bool:
        """Whether the test did nothing with its storages."""
        did = self.created or self.written or self.leftovers or self.directories or self.withdrawn
        return not did

    def to_builtins(self) -> tuple[Any, ...]:
        """Return the note as tuples of builtins, which is what xdist can carry.

        Leftovers and claims go as columns: execnet pays for every object, in pure Python.
        """
        return (
            self.test,
            self.worker,
            self.created,
            self.removed,
            self.written,
            _pack_leftovers(self.leftovers),
            _pack_claims(self.claims),
            tuple((storage, tuple(names)) for storage, names in self.directories.items()),
            tuple((s.name, s.scheme, s.location, s.opendal) for s in self.storages),
            self.withdrawn,
        )

    @classmethod
    def from_builtins(cls, data: Any) -> TestNote:
        """Return the note that ``to_builtins`` turned into ``data``."""
        (
            test,
            worker,
            created,
            removed,
            written,
            leftovers,
            claims,
            directories,
            storages,
            gone,
        ) = data
        return cls(
            test=test,
            worker=worker,
            created=created,
            removed=removed,
            written=written,
            leftovers=tuple(_unpack_leftovers(leftovers)),
            claims=tuple(_unpack_claims(claims)),
            directories={storage: tuple(names) for storage, names in directories},
            storages=tuple(StorageInfo(*values) for values in storages),
            withdrawn=tuple(gone),
        )


def _shared(left: Leftover) -> tuple[Any, ...]:
    """Return what neighbouring leftovers of one test have in common."""
    return left.storage, left.kind, left.test, left.worker, str(left.reason), left.holds


def _pack_leftovers(leftovers: Iterable[Leftover]) -> tuple[Any, ...]:
    packed = []
    for shared, group in groupby(leftovers, key=_shared):
        members = list(group)
        paths = tuple([member.path for member in members])
        sizes = tuple([member.size for member in members])
        packed.append((shared, paths, sizes, _pack_errors(members)))
    return tuple(packed)


def _pack_errors(leftovers: list[Leftover]) -> tuple[str | None, ...]:
    """Return the errors, or nothing at all where there is none."""
    errors = tuple([left.error and _encodable(left.error) for left in leftovers])
    return errors if any(errors) else ()


def _encodable(text: str) -> str:
    # An error may quote a local file name that is no Unicode; execnet would fail on it.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _unpack_leftovers(packed: Any) -> Iterator[Leftover]:
    for (storage, kind, test, worker, why, holds), paths, sizes, errors in packed:
        reason = Reason(why)
        rows = zip(paths, sizes, errors or repeat(None), strict=False)
        for path, size, error in rows:
            yield Leftover(storage, path, kind, size, test, worker, reason, error, tuple(holds))


def _pack_claims(claims: Iterable[Claim]) -> tuple[Any, ...]:
    packed = []
    for storage, group in groupby(claims, key=lambda claim: claim.storage):
        _, paths, starts, ends = zip(*group, strict=True)
        packed.append((storage, paths, starts, ends))
    return tuple(packed)


def _unpack_claims(packed: Any) -> Iterator[Claim]:
    for storage, *columns in packed:
        for path, start, end in zip(*columns, strict=True):
            yield Claim(storage, path, start, end)


def user_properties(note: TestNote) -> list[tuple[str, str]]:
    """Return the properties that a test's report carries, so that JUnit XML has its leftovers."""
    return [("opendal_leftover", f"{left.storage}:{left.path}") for left in note.leftovers]


class Collector:
    """Merges the notes of one run, in the controller or in the only process."""

    def __init__(self, run_id: str, storages: Iterable[StorageInfo] = ()) -> None:
        """Start with the storages of the configuration; notes add to them and know them better."""
        self._run_id = run_id
        self._configured = {info.name: info for info in storages}
        self._used: dict[str, StorageInfo] = {}
        self._work: dict[str, Work] = {}
        self._leftovers: dict[tuple[str, str, str, str], Leftover] = {}
        self._directories: dict[StorageInfo, set[str]] = {}
        self._finder = ConflictFinder()
        self._remnants: dict[tuple[str, str, str], Remnants] = {}
        self._alone: dict[str, None] = {}
        self._reap = REAP

    def configure(self, storages: Iterable[StorageInfo]) -> None:
        """Take in the storages of the configuration; the report has them in this order."""
        self._configured |= {info.name: info for info in storages}

    def add(self, note: TestNote) -> None:
        """Take in what one process tells about one test."""
        # A note is about one storage; that of a crashed worker may be unknown here.
        storage = note.storages[0].name if note.storages else ""
        self._count(storage, note.created, note.removed, note.written)
        if note.withdrawn:
            self.discard(storage, note.withdrawn, worker=note.worker)
        for info in note.storages:
            self._used.setdefault(info.name, info)
        for leftover in note.leftovers:
            self.add_leftover(leftover)
        for info in note.storages:
            names = note.directories.get(info.name, ())
            self._directories.setdefault(info, set()).update(names)
        self._add_claims(note)

    def _count(self, storage: str, created: int, removed: int, written: int = 0) -> None:
        so_far = self._work.get(storage) or Work(storage)
        self._work[storage] = Work(
            storage, so_far.created + created, so_far.removed + removed, so_far.written + written
        )

    def _add_claims(self, note: TestNote) -> None:
        places = {info.name: f"{info.scheme} {info.location}" for info in note.storages}
        for storage, path, start, end in note.claims:
            self._finder.add(
                storage,
                places.get(storage, storage),
                path,
                worker=note.worker,
                test=note.test,
                start=start,
                end=end,
            )

    def add_leftover(self, leftover: Leftover) -> None:
        """Take in one leftover; it replaces what was known of that path, test and worker."""
        key = (leftover.storage, leftover.test, leftover.path, leftover.worker)
        self._leftovers[key] = leftover

    def add_remnants(self, remnants: Iterable[Remnants], command: str = REAP) -> None:
        """Take in what runs that died have left, each run and storage once, and what removes it."""
        self._reap = command
        for found in remnants:
            self._remnants[found.run_id, found.host, found.storage] = found

    def leave_alone(self, *lines: str) -> None:
        """Take in which journals are left alone, and why."""
        self._alone.update(dict.fromkeys(lines))

    def discard(self, storage: str, paths: Iterable[str], *, worker: str | None = None) -> int:
        """Forget leftovers that have been removed since, and count them as removed.

        With ``worker``, only those of that worker: where each worker has a board of its own, a
        path is one resource per worker. One call takes all paths: it walks over all leftovers.
        """
        gone = frozenset(paths)
        keys = [
            key
            for key, left in self._leftovers.items()
            if left.storage == storage and left.path in gone and worker in {None, left.worker}
        ]
        for key in keys:
            del self._leftovers[key]
        self._count(storage, 0, len(keys))
        return len(keys)

    def leftovers(self, storage: str | None = None) -> tuple[Leftover, ...]:
        """Return the leftovers known so far, ordered by storage, test and path."""
        return tuple(
            left
            for _, left in sorted(self._leftovers.items(), key=lambda item: item[0])
            if storage in {None, left.storage}
        )

    def directories(self) -> dict[StorageInfo, list[str]]:
        """Return those to try again on each storage, children before parents; none that is kept."""
        kept = {
            (left.storage, left.path)
            for left in self._leftovers.values()
            if left.reason not in {Reason.FAILED, Reason.FOREIGN}
        }
        return {
            info: sorted(again, key=lambda name: (-name.count("/"), name))
            for info, names in self._directories.items()
            if (again := {name for name in names if (info.name, name) not in kept})
        }

    def result(self) -> RunReport:
        """Return all that is known."""
        work = self._work.values()
        return RunReport(
            run_id=self._run_id,
            storages=tuple((self._configured | self._used).values()),
            created=sum(one.created for one in work),
            removed=sum(one.removed for one in work),
            leftovers=self.leftovers(),
            remnants=tuple(found for _, found in sorted(self._remnants.items())),
            conflicts=self._finder.conflicts(),
            work=tuple(
                replace(one, left=self._bytes_left(one.storage)) for one in work if one.storage
            ),
            alone=tuple(self._alone),
            reap=self._reap,
        )

    def _bytes_left(self, storage: str) -> int:
        sizes = (left.size for left in self.leftovers(storage) if left.reason is not Reason.MOVED)
        return sum(size or 0 for size in sizes)


def verdict(report: RunReport) -> int:
    """Return how many leftovers fail the run under ``--opendal-leftovers=error``."""
    return sum(left.reason.fails_run for left in report.leftovers)
