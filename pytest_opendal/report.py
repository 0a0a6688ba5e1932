"""What a run leaves behind and what it did: facts as frozen records, their JSON, their merging."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby, repeat
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_opendal.conflicts import Claim, Conflict, ConflictFinder
from pytest_opendal.process import PROPERTY

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
    "counted",
    "pack_properties",
    "unpack_properties",
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
    location: str = ""
    """Where the storage is, as `StorageInfo` tells: several places may have one name."""
    created: bool = True
    """Whether it counts as created; not what a device wrote into a directory that a test registered."""


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

    storage: StorageInfo
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
    """What tests did on each storage that they used."""
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
    """Leftovers of earlier notes that this process has removed since."""

    @property
    def is_idle(self) -> bool:
        """Whether the test did nothing with its storages."""
        did = self.created or self.written or self.leftovers or self.directories or self.withdrawn
        return not did

    def to_json(self) -> str:
        """Return the note as one text: of what xdist carries, execnet pays for every object, in pure Python.

        Leftovers and claims go as columns.
        """
        values = (
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
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> TestNote:
        """Return the note that ``to_json`` turned into ``text``."""
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
        ) = json.loads(text)
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
    about = left.storage, left.location, left.kind, left.test, left.worker
    return *about, str(left.reason), left.holds, left.created


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
    for (
        storage,
        location,
        kind,
        test,
        worker,
        why,
        holds,
        created,
    ), paths, sizes, errors in packed:
        shared = test, worker, Reason(why)
        rows = zip(paths, sizes, errors or repeat(None), strict=False)
        for path, size, error in rows:
            yield Leftover(
                storage, path, kind, size, *shared, error, tuple(holds), location, created
            )


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


def user_properties(note: TestNote, known: Iterable[Any] = ()) -> list[tuple[str, str]]:
    """Return the properties that a test's report carries, so that JUnit XML has its leftovers.

    Args:
        note: of the test.
        known: what the report has already, such as of an attempt before a rerun.
    """
    told = {entry[1] for entry in known if _is_leftover(entry)}
    values = dict.fromkeys(f"{left.storage}:{left.path}" for left in note.leftovers)
    return [(PROPERTY, value) for value in values if value not in told]


def _is_leftover(entry: Any) -> bool:
    """Whether a property is one of ours; others may append what is no pair."""
    return isinstance(entry, tuple) and entry[:1] == (PROPERTY,)


def pack_properties(data: dict[str, Any]) -> None:
    """Make one text of the leftovers in the properties of a serialized report; see `TestNote.to_json`."""
    known = data.get("user_properties") or []
    if packed := [entry[1] for entry in known if _is_leftover(entry)]:
        data["user_properties"] = [entry for entry in known if not _is_leftover(entry)]
        data[PROPERTY] = json.dumps(packed)


def unpack_properties(data: dict[str, Any]) -> None:
    """Undo `pack_properties`."""
    if (packed := data.pop(PROPERTY, None)) is not None:
        properties = [(PROPERTY, value) for value in json.loads(packed)]
        data["user_properties"] = [*data["user_properties"], *properties]


_UNKNOWN = StorageInfo("", "", "", "")
"""The storage of a crashed worker that this process does not know."""


class Collector:
    """Merges the notes of one run, in the controller or in the only process."""

    def __init__(self, run_id: str, storages: Iterable[StorageInfo] = ()) -> None:
        """Start with the storages of the configuration; notes add to them and know them better."""
        self._run_id = run_id
        self._configured = {info.name: info for info in storages}
        self._used: dict[str, dict[StorageInfo, None]] = {}
        self._work: dict[StorageInfo, Work] = {}
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
        storage = note.storages[0] if note.storages else _UNKNOWN
        self._count(storage, note.created, note.removed, note.written)
        if note.withdrawn:
            self.discard(storage, note.withdrawn, worker=note.worker)
        self._add_leftovers(note, storage)
        for info in note.storages:
            self._used.setdefault(info.name, {})[info] = None
            names = note.directories.get(info.name, ())
            self._directories.setdefault(info, set()).update(names)
        self._add_claims(note)

    def _count(self, storage: StorageInfo, created: int, removed: int, written: int = 0) -> None:
        so_far = self._work.get(storage) or Work(storage)
        self._work[storage] = Work(
            storage, so_far.created + created, so_far.removed + removed, so_far.written + written
        )

    def _add_leftovers(self, note: TestNote, storage: StorageInfo) -> None:
        """Take in leftovers; each replaces what an earlier test of that worker left there."""
        replaced: list[Leftover] = []
        for left in note.leftovers:
            key = (left.storage, left.location, left.path, left.worker)
            if key in self._leftovers:
                replaced.append(self._leftovers[key])
            self._leftovers[key] = left
        if replaced and note.created:  # else these are the same resources, told again
            self._count(storage, 0, counted(replaced))

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

    def add_remnants(self, remnants: Iterable[Remnants], command: str = REAP) -> None:
        """Take in what runs that died have left, each run and storage once, and what removes it."""
        self._reap = command
        for found in remnants:
            self._remnants[found.run_id, found.host, found.storage] = found

    def leave_alone(self, *lines: str) -> None:
        """Take in which journals are left alone, and why."""
        self._alone.update(dict.fromkeys(lines))

    def discard(
        self, storage: StorageInfo, paths: Iterable[str], *, worker: str | None = None
    ) -> int:
        """Forget leftovers that have been removed since, and count as removed what was created.

        With ``worker``, only those of that worker: where each worker has a board of its own, a
        path is one resource per worker. One call takes all paths: it walks over all leftovers.
        """
        gone = frozenset(paths)
        place = (storage.name, storage.location)
        keys = [
            key
            for key in self._leftovers
            if key[2] in gone and key[:2] == place and worker in {None, key[3]}
        ]
        self._count(storage, 0, counted(self._leftovers.pop(key) for key in keys))
        return len(keys)

    def leftovers(self) -> tuple[Leftover, ...]:
        """Return the leftovers known so far, ordered by storage, test and path."""
        return tuple(sorted(self._leftovers.values(), key=_order))

    def directories(self) -> dict[StorageInfo, list[str]]:
        """Return those to try again on each storage, children before parents; none that is kept."""
        kept = {
            (left.storage, left.location, left.path)
            for left in self._leftovers.values()
            if left.reason not in {Reason.FAILED, Reason.FOREIGN}
        }
        return {
            info: sorted(again, key=lambda name: (-name.count("/"), name))
            for info, names in self._directories.items()
            if (again := {name for name in names if (info.name, info.location, name) not in kept})
        }

    def kept(self) -> dict[StorageInfo, list[Leftover]]:
        """Return what is left for other reasons than that it could not be removed, by storage."""
        infos = {
            (info.name, info.location): info for infos in self._used.values() for info in infos
        }
        found: dict[StorageInfo, list[Leftover]] = {}
        for left in self._leftovers.values():
            info = infos.get((left.storage, left.location))
            if info is not None and left.reason not in {Reason.FAILED, Reason.FOREIGN}:
                found.setdefault(info, []).append(left)
        return found

    def result(self) -> RunReport:
        """Return all that is known."""
        work = self._work.values()
        known = {name: {info: None} for name, info in self._configured.items()} | self._used
        left = self._bytes_left()
        return RunReport(
            run_id=self._run_id,
            storages=tuple(info for infos in known.values() for info in infos),
            created=sum(one.created for one in work),
            removed=sum(one.removed for one in work),
            leftovers=self.leftovers(),
            remnants=tuple(found for _, found in sorted(self._remnants.items())),
            conflicts=self._finder.conflicts(),
            work=tuple(
                replace(one, left=left.get((info.name, info.location), 0))
                for info, one in self._work.items()
                if info is not _UNKNOWN
            ),
            alone=tuple(self._alone),
            reap=self._reap,
        )

    def _bytes_left(self) -> dict[tuple[str, str], int]:
        """Return the bytes that are left, by name and location."""
        sizes: dict[tuple[str, str], int] = {}
        for left in self._leftovers.values():
            if left.size and left.reason is not Reason.MOVED:
                place = (left.storage, left.location)
                sizes[place] = sizes.get(place, 0) + left.size
        return sizes


def counted(leftovers: Iterable[Leftover]) -> int:
    """Return how many leftovers count as created."""
    return sum(left.created for left in leftovers)


def _order(left: Leftover) -> tuple[str, ...]:
    return left.storage, left.location, left.test, left.path, left.worker


def verdict(report: RunReport) -> int:
    """Return how many leftovers fail the run under ``--opendal-leftovers=error``."""
    return sum(left.reason.fails_run for left in report.leftovers)
