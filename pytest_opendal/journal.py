"""What a process is about to create, in a file that survives the process: one source of truth.

A `Record` is the state that a sequence of events leads to. While a process lives it applies each
event to the record and writes it to its journal in the same step (`Ledger.note`); after a kill,
`replay` applies the lines of the journal to a new record. So what a test sees in memory is what
would be read back. See ``docs/design.md`` for the reasons.

Journal format: JSON lines, ``[code, storage number, ...]``; the first line is a header. No line
holds a credential.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_opendal import errors
from pytest_opendal.paths import below, parents
from pytest_opendal.pathtree import PathTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from filelock import FileLock

VERSION = 1
SUFFIX = ".journal"
SHARED = "-shared"
"""End of the name of a journal of what a worker uploaded for all."""
LOCK_SUFFIX = ".lock"

Kind = Literal["file", "dir", "tree"]
"""What a record entry is: a file, a directory, or a directory with all that is below it."""

Event = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One created resource."""

    kind: Kind
    existed: bool = False
    """It was there before, so cleanup leaves it (`on_existing: keep` and `restore`)."""


_ENTRIES = {
    (kind, existed): Entry(kind, existed)
    for kind in ("file", "dir", "tree")
    for existed in (False, True)
}


@dataclass(frozen=True, slots=True)
class Opened:
    """The storage object that events of one number belong to; all values are builtins."""

    storage: str
    """Name in the configuration."""
    identity: dict[str, str]
    """Scheme, endpoint, bucket, root: must match before anything is removed."""
    test: str
    worker: str
    area: str
    """Isolation area, ``""`` when there is none."""
    retention: str
    on_existing: str


@dataclass(slots=True)
class Record:
    """What one storage object has created and not removed."""

    opened: Opened | None = None
    created: PathTree[Entry] = field(default_factory=PathTree)
    moved: dict[str, str] = field(default_factory=dict)
    """Where something that existed before is now: its original name."""
    unsettled: set[str] = field(default_factory=set)
    """Where something was about to be moved to; nobody knows whether it was when a process dies."""
    saved: dict[str, str | None] = field(default_factory=dict)
    """Old content that ``restore`` puts back: the backup's file name, None for a directory."""
    ended: bool = False

    def apply(self, event: Event) -> None:
        """Change the record by one event."""
        code, _number, *values = event
        _APPLY[code](self, *values)

    def origin(self, name: str) -> str:
        """Return where what is at ``name`` was before the renames that took it there."""
        for place in (name, *parents(name)):
            if place in self.moved:
                return self.moved[place] + name[len(place) :]
        return name

    def at(self, name: str) -> list[tuple[str, Entry]]:
        """Return what was created at and below ``name``."""
        return list(self.created.below(name))

    def events_at(self, name: str) -> list[Event]:
        """Return events that bring back what is recorded at and below ``name``, without their number."""
        moved = [(place, origin) for place, origin in self.moved.items() if below(place, name)]
        return [
            *(("+", place, entry.kind, entry.existed) for place, entry in self.at(name)),
            *(("moved", place, origin) for place, origin in moved),
        ]

    def is_empty(self) -> bool:
        """Whether nothing is left to do for this storage object."""
        return self.ended or not self.holds_any()

    def holds_any(self) -> bool:
        """Whether there is anything to remove or to put back, be it kept on purpose or not."""
        return bool(self.created or self.moved or self.saved)


def _created(record: Record, path: str, kind: Kind, existed: bool) -> None:
    record.created[path] = _ENTRIES[kind, existed]


def _gone(record: Record, path: str) -> None:
    record.created.pop(path)
    for name in [name for name in record.moved if below(name, path)]:
        _unmoved(record, name)


def _unrecorded(record: Record, path: str) -> None:
    record.created.discard(path)


def _renaming(record: Record, source: str, target: str) -> None:
    # With `restore` only what was foreign at its place is put back, and all at the target is ours.
    restores = record.opened is not None and record.opened.on_existing == "restore"
    for name, entry in record.at(source):
        place = target + name[len(source) :]
        there = record.created.get(place)
        if there is None or there.kind == entry.kind:  # else it will be refused
            record.created[place] = _ENTRIES[entry.kind, entry.existed and not restores]


def _moving(record: Record, source: str, target: str) -> None:
    record.moved[target] = record.origin(source)
    record.unsettled.add(target)


def _unmoved(record: Record, target: str) -> None:
    record.moved.pop(target, None)
    record.unsettled.discard(target)


def _moved(record: Record, target: str, origin: str) -> None:
    record.moved[target] = origin


def _renamed(record: Record, source: str, target: str) -> None:
    record.unsettled.clear()
    taken = record.created.pop(source)
    record.created.pop(target)
    record.created.graft(target, taken)
    record.moved.pop(source, None)
    for name in [name for name in record.moved if below(name, source)]:
        record.moved[target + name[len(source) :]] = record.moved.pop(name)
    for name in [name for name, origin in record.moved.items() if name == origin]:
        del record.moved[name]  # it is back where it was


def _saved(record: Record, path: str, backup: str | None) -> None:
    record.saved[path] = backup


def _restored(record: Record, path: str) -> None:
    record.saved.pop(path, None)


def _opened(record: Record, opened: dict[str, Any]) -> None:
    found = Opened(**opened)
    told = {**opened, **found.identity, "identity": ""}
    _refuse_all_but_text(told.values())
    record.opened = found


def _refuse_all_but_text(values: Iterable[object]) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError


def _ended(record: Record) -> None:
    record.ended = True


# A rename is noted twice: before it the record holds both places, after it only the new one. So a
# kill between the two loses track of neither; what is missing at one of them is no error.
_APPLY: dict[str, Callable[..., None]] = {
    "open": _opened,
    "+": _created,
    "-": _gone,
    "-1": _unrecorded,
    "renaming": _renaming,
    "moving": _moving,
    "moved": _moved,
    "unmoved": _unmoved,
    ">": _renamed,
    "saved": _saved,
    "restored": _restored,
    "end": _ended,
}


# What was damaged may be of any type, and is not acted upon.
_VALUES: dict[str, tuple[type | tuple[type, ...], ...]] = {
    "open": (dict,),
    "+": (str, str, bool),
    "-": (str,),
    "-1": (str,),
    "renaming": (str, str),
    "moving": (str, str),
    "moved": (str, str),
    "unmoved": (str,),
    ">": (str, str),
    "saved": (str, (str, type(None))),
    "restored": (str,),
    "end": (),
}


@dataclass(frozen=True, slots=True)
class Header:
    """Who wrote a journal."""

    version: int
    run_id: str
    started: str
    """ISO time of the run's start."""
    host: str
    worker: str


class Journal:
    """The journal of this process: begun with its first event, gone when nothing is left to do."""

    def __init__(self, directory: Path, run_id: str, worker: str, started: str) -> None:
        self._directory = directory
        self._header = Header(VERSION, run_id, started, socket.gethostname(), worker)
        self._path = directory / f"{run_id}-{worker}{SUFFIX}"
        self._fd: int | None = None
        self._lock: FileLock | None = None
        self._records: dict[int, Record] = {}
        """Of storage objects that have not ended: a long run has many."""
        self._numbers = itertools.count()

    @property
    def path(self) -> Path:
        """Where the journal is, also before it exists."""
        return self._path

    @cached_property
    def backups(self) -> Path:
        """Directory of the old content that ``restore`` puts back; beside the journal."""
        return self._path.with_suffix(".saved")

    def new_ledger(self, opened: Opened) -> Ledger:
        """Begin the record of one storage object; nothing is written before its first event."""
        number = next(self._numbers)
        record = self._records[number] = Record(opened)
        return Ledger(self, number, record)

    @classmethod
    def inherit(cls, path: Path) -> Journal:
        """Continue the journal of a dead process, whose lock the caller holds until it is closed.

        So what is removed now is noted, and a later reap does not touch what others put there since.

        Raises:
            UnreadableJournal: it cannot be read to its end.
            OSError: the file cannot be opened.
        """
        replayed = replay(path)
        if replayed.damaged:
            text = f"is damaged in {replayed.damaged} of its lines, left alone"
            raise UnreadableJournal(f"{path}: {text}")
        header = replayed.header
        inherited = cls(path.parent, header.run_id, header.worker, header.started)
        inherited._path = path
        inherited._records = replayed.numbered
        inherited._fd = _opened_again(path)
        return inherited

    def ledgers(self) -> list[Ledger]:
        """Return the records in which something is outstanding, to go on with them.

        The last that was opened comes first: what it puts back may be of another one.
        """
        return [
            Ledger(self, number, record, opened=True)
            for number, record in reversed(self._records.items())
        ]

    def forget(self, number: int) -> None:
        """Drop a record that has ended from memory."""
        self._records.pop(number, None)

    def write(self, lines: bytes) -> None:
        """Append lines with one write; they reach the kernel before this returns.

        Raises:
            StorageError: the journal cannot be written; what would be created must not be.
        """
        if self._fd is None:
            self.begin()
        assert self._fd is not None
        try:
            _append(self._fd, lines)
        except OSError as error:
            text = f"cannot write the journal {self._path}: {error.strerror or error}"
            raise errors.StorageError(f"{text}; nothing is created that is not noted") from error

    def begin(self) -> None:
        """Make the file and hold its lock, which tells others that this process lives.

        Raises:
            ConfigInvalid: it cannot be made.
        """
        try:
            if self._fd is None:
                self._open()
        except OSError as error:
            text = f"cannot make the journal {self._path}: {error.strerror or error}"
            remedy = "set the ini key opendal_journal_dir to a directory that can be written"
            raise errors.ConfigInvalid(f"{text}; {remedy}") from error

    def _open(self) -> None:
        # The lock is taken before the journal has its name, so nobody ever sees an unlocked journal
        # of a living process.
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = lock_of(self._path)
        lock.acquire(blocking=False)
        try:
            self._fd = _begun(self._path, self._header)
        except OSError:
            lock.release()
            raise
        self._lock = lock

    def close(self) -> None:
        """Drop the lock; the journal stays only when something in it is still outstanding."""
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        if all(record.is_empty() for record in self._records.values()):
            remove(self._path)
        if self._lock is not None:
            self._lock.release()
            if not self._path.exists():
                Path(self._lock.lock_file).unlink(missing_ok=True)


class Ledger:
    """The record of one storage object together with its lines in the journal."""

    def __init__(
        self, journal: Journal, number: int, record: Record, *, opened: bool = False
    ) -> None:
        """Begin; ``opened``: the journal tells already which storage object it is."""
        self._journal = journal
        self._number = number
        self._creating = f'["+",{number},'
        self._opened = opened
        self.record = record

    def begin(self) -> None:
        """Write which storage object this is, also if nothing will ever be created.

        Raises:
            ConfigInvalid, StorageError: the journal cannot be written.
        """
        if not self._opened:
            self._journal.write(self._opening().encode("utf-8", "surrogatepass"))
            self._opened = True

    def note(self, *events: Event, quietly: bool = False) -> None:
        """Write events to the journal and apply them to the record.

        Args:
            events: each as ``(code, value, ...)``, without the storage's number.
            quietly: only in memory, because a line written before covers it (an area).
        """
        if not quietly:
            lines = self._line(events[0]) if len(events) == 1 else "".join(map(self._line, events))
            text = lines if self._opened else self._opening() + lines
            self._journal.write(text.encode("utf-8", "surrogatepass"))
            self._opened = True
        for event in events:
            # Most note a creation: a shorter way than that of the others, to the same end.
            if event[0] == "+":
                self.record.created[event[1]] = _ENTRIES[event[2:]]
            else:
                _APPLY[event[0]](self.record, *event[1:])

    def _line(self, event: Event) -> str:
        if event[0] == "+":
            return self._creating + _quote(event[1]) + _ENDS[event[2:]]
        if event[0] == "end":
            return f'["end",{self._number}]\n'
        return _encode([event[0], self._number, *event[1:]]) + "\n"

    def _opening(self) -> str:
        opened = self.record.opened
        assert opened is not None
        return self._line(("open", {name: getattr(opened, name) for name in Opened.__slots__}))

    def end(self) -> None:
        """Note that what is still there stays on purpose: it is no remnant."""
        if self._opened:
            self.note(("end",))
        self.record.ended = True
        self._journal.forget(self._number)

    def end_created(self) -> None:
        """Tell whoever reads the journal that what was created stays on purpose.

        What was to be put back still is to be, and a test that runs again goes on with the record.
        """
        record = self.record
        stays: list[Event] = [
            ("-1", name)
            for name, entry in record.created.items()
            if not entry.existed and name not in record.saved
        ]
        stays += [("unmoved", name) for name in record.moved]
        if stays and self._opened:
            self._journal.write("".join(map(self._line, stays)).encode("utf-8", "surrogatepass"))

    @property
    def backups(self) -> Path:
        """Directory for old content that ``restore`` puts back."""
        return self._journal.backups


@dataclass(frozen=True, slots=True)
class Replayed:
    """A journal as read back."""

    header: Header
    numbered: dict[int, Record]
    """Those with something outstanding, by their number in the journal."""
    damaged: int
    """Lines that could not be read, a torn last one not counted."""
    opened: tuple[Opened, ...] = ()
    """All storage objects, also those in which nothing is outstanding."""

    @property
    def records(self) -> tuple[Record, ...]:
        """Those with something outstanding."""
        return tuple(self.numbered.values())


class UnreadableJournal(Exception):
    """The file is no journal that this version knows."""


def replay(path: Path) -> Replayed:
    """Read a journal back; a torn last line is left out.

    Raises:
        UnreadableJournal: no header, or one of another version.
        OSError: the file cannot be read.
    """
    *lines, _torn = path.read_bytes().split(b"\n")
    header = _read_header(lines, path)
    records: dict[int, Record] = {}
    damaged = 0
    for line in lines[1:]:
        try:
            event = _read_event(line)
            records.setdefault(event[1], Record()).apply(event)
        except (ValueError, LookupError, TypeError, RecursionError):
            damaged += 1
    outstanding = {
        number: record
        for number, record in sorted(records.items())
        if record.opened and not record.is_empty()
    }
    opened = tuple(record.opened for record in records.values() if record.opened)
    return Replayed(header, outstanding, damaged, opened)


def _read_event(line: bytes) -> Event:
    code, number, *values = event = json.loads(line)
    known = zip((number, *values), (int, *_VALUES[code]), strict=True)
    if not all(isinstance(value, kind) for value, kind in known):
        raise TypeError
    return tuple(event)


def _read_header(lines: list[bytes], path: Path) -> Header:
    try:
        fields = json.loads(lines[0])
        header = Header(*fields)
        _refuse_all_but_text(fields[1:])
    except (ValueError, TypeError, LookupError, RecursionError):
        msg = f"{path}: not a journal of pytest-opendal, left alone"
        raise UnreadableJournal(msg) from None
    if header.version != VERSION:
        msg = f"{path}: journal of version {header.version}, this is version {VERSION}, left alone"
        raise UnreadableJournal(msg)
    return header


def _header_fields(header: Header) -> list[Any]:
    return [getattr(header, name) for name in Header.__slots__]


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_quote = json.encoder.encode_basestring
_ENDS = {values: f",{_encode(values)[1:]}\n" for values in _ENTRIES}
"""How the line of a creation ends, by kind and whether it existed."""


def _begun(path: Path, header: Header) -> int:
    """Make a journal under its name once its header is in it; returns the open file."""
    beside = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(beside, flags, 0o600)
    try:
        _append(fd, f"{_encode(_header_fields(header))}\n".encode())
        beside.rename(path)
    except OSError:
        os.close(fd)
        raise
    return fd


def _append(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    if written < len(data):  # the disk is full; half a line would damage the next one
        os.ftruncate(fd, os.fstat(fd).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened_again(path: Path) -> int:
    """Open a journal to go on with it; what is left of a torn last line is cut off."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    os.ftruncate(fd, path.read_bytes().rfind(b"\n") + 1)
    return fd


def lock_of(path: Path) -> FileLock:
    """Return the lock that a process holds on its journal; the kernel drops it when it dies."""
    from filelock import FileLock

    return FileLock(path.with_suffix(LOCK_SUFFIX), mode=0o600, thread_local=False)


def remove(path: Path) -> None:
    """Remove a journal and the old content kept beside it; the holder of its lock calls this."""
    import shutil

    path.unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(".saved"), ignore_errors=True)
