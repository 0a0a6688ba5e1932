"""What runs that died left, as their journals tell. Nothing is removed or changed here.

A journal is a remnant when its lock is free and no other journal of its run is locked: a worker that
crashed is the business of its own run while that lives. Age and process ids say nothing.
"""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_opendal import errors, journal
from pytest_opendal.paths import below, leads_inside, normalize
from pytest_opendal.places import EMBEDDED
from pytest_opendal.process import AREAS, started_of
from pytest_opendal.report import Remnants

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_opendal.journal import Header, Opened, Record, Replayed

_DEPTH_OF_WORKERS = 2
_OTHERS_MAY = 0o077
_CACHE = Path(".pytest_cache", "opendal")
VOLATILE = frozenset({"memory", "moka", "mini-moka", "mini_moka", "dashmap"})
"""Services whose content ends with the process."""


@dataclass(frozen=True, slots=True)
class Remnant:
    """What one process of a dead run left."""

    path: Path
    """Its journal."""
    header: Header
    records: tuple[Record, ...]
    """Those with something outstanding; none where the journal itself is all that is left."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the journals in some directories tell."""

    remnants: tuple[Remnant, ...] = ()
    alone: tuple[str, ...] = ()
    """Journals that cannot be judged, and why; one line each."""
    elsewhere: tuple[str, ...] = ()
    """The same for journals of other hosts, which can be judged there."""
    spared: frozenset[str] = frozenset()
    """Ids of runs that live, or that cannot be judged."""


def private_directory() -> Path:
    """Return the place for journals when pytest's cache is off, in the system's temp directory.

    Raises:
        ConfigInvalid: something else is there, or it cannot be made.
    """
    place = _private_place()
    elsewhere = "set TMPDIR, or for pytest the ini key opendal_journal_dir"
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        if not (place.is_dir() and _is_private(place)):
            problem = f"is not a private directory of this user; remove it, or {elsewhere}"
            raise errors.ConfigInvalid(f"{place}: {problem}") from None
    except OSError as error:
        problem = f"cannot be made: {error.strerror}; {elsewhere}"
        raise errors.ConfigInvalid(f"{place}: {problem}") from None
    return place


def private_places() -> list[Path]:
    """Return the place for journals when pytest's cache is off, where it is there already."""
    place = _private_place()
    return [place] if os.path.lexists(place) and _is_private(place) else []


def looked_into(here: Path) -> list[Path]:
    """Return where the command looks for journals when it is started in ``here`` and told no place."""
    caches = [place / _CACHE for place in (here, *here.parents) if (place / _CACHE).is_dir()]
    return [*caches[:1], *private_places()]


def _private_place() -> Path:
    return Path(tempfile.gettempdir()) / f"pytest-opendal-{os.getuid()}"


def _is_private(path: Path) -> bool:
    """Whether only this user may write there: what a journal says is removed."""
    found = path.lstat()
    owned = found.st_uid == os.getuid() and not found.st_mode & _OTHERS_MAY
    return owned and not path.is_symlink()


def beside_cache(cache: Any) -> Path | None:
    """Return the place for journals in pytest's cache, where ``--cache-clear`` spares them.

    Args:
        cache: what pytest's config has as ``cache``; None where there is none.
    """
    if cache is None:
        return None
    try:
        # Only this tells where the cache is; its own directory stays empty, since other processes
        # of the run ask at the same time.
        place = Path(cache.mkdir("opendal")).parents[1] / "opendal"
        place.mkdir(exist_ok=True)
    except OSError:
        return None
    return place if os.access(place, os.W_OK | os.X_OK) else None


def journals(directory: Path, run_id: str = "") -> list[Path]:
    """Return the journals in a directory, of one run or of all; of what is shared last.

    A test may have to put back what all workers share.
    """
    prefix = f"{run_id}-" if run_id else ""
    found = directory.glob(f"{prefix}*{journal.SUFFIX}")
    return sorted(found, key=lambda path: (path.stem.endswith(journal.SHARED), path.name))


@contextmanager
def seized(path: Path, seconds: float = 0) -> Iterator[bool]:
    """Yield whether the journal's process is dead, and hold its lock meanwhile."""
    from filelock import Timeout

    lock = journal.lock_of(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    try:
        yield path.exists()
    finally:
        lock.release()
        if not path.exists():
            Path(lock.lock_file).unlink(missing_ok=True)


def find(directories: Iterable[Path], without: str = "") -> Found:
    """Return what dead runs left, as the journals in ``directories`` tell.

    Args:
        directories: where journals are; those that do not exist hold none.
        without: id of a run to leave out, which is the own one.
    """
    paths = [
        path
        for directory in dict.fromkeys(directories)
        for path in journals(directory)
        if not (without and path.name.startswith(f"{without}-"))
    ]
    remnants: list[Remnant] = []
    alone: list[str] = []
    elsewhere: list[str] = []
    spared: set[str] = set()
    for path in paths:
        try:
            remnants += [remnant] if (remnant := _remnant(path)) else []
        except _LivesError:
            spared.add(_run_id(path))
        except journal.UnreadableJournal as error:
            (elsewhere if isinstance(error, _OfOtherHost) else alone).append(str(error))
            spared.add(_run_id(path))
        except FileNotFoundError:
            continue  # its process came to its end, or somebody reaps
        except OSError as error:
            alone.append(f"{path}: {error.strerror or error}, left alone")
            spared.add(_run_id(path))
    dead = tuple(remnant for remnant in remnants if remnant.header.run_id not in spared)
    return Found(dead, tuple(alone), tuple(elsewhere), frozenset(spared))


def _run_id(path: Path) -> str:
    """Return the run that a journal's name tells; its content may not be readable."""
    return "-".join(path.name.split("-")[:2])


class _LivesError(Exception):
    """The process of a journal lives."""


class _OfOtherHost(journal.UnreadableJournal):
    """Only there it is known whether its process lives."""


def _remnant(path: Path) -> Remnant | None:
    """Return what is left of the process of a journal, None when it has just come to its end.

    Raises:
        _LivesError: it lives.
        UnreadableJournal: nobody here may judge it.
        OSError: neither may this user.
    """
    lock = journal.lock_of(path).lock_file
    if not Path(lock).exists():
        if not path.exists():
            return None
        text = "its lock is gone, so nobody can tell whether its process lives, left alone"
        raise journal.UnreadableJournal(f"{path}: {text}")
    _refuse_others(path)
    with seized(path) as is_dead:
        if not is_dead and path.exists():
            raise _LivesError
    replayed = read(path)
    return Remnant(path, replayed.header, tuple(filter(is_somewhere, replayed.records)))


def _refuse_others(path: Path) -> None:
    """Raise `UnreadableJournal` for a journal that others may have written."""
    if not _is_private(path):
        text = "is not a private file of this user (0600), left alone"
        raise journal.UnreadableJournal(f"{path}: {text}")


def read(path: Path) -> Replayed:
    """Read a dead process' journal, which only this user can have written, and all of which makes sense.

    Raises:
        UnreadableJournal: of another user, version or host, or damaged.
        OSError: it cannot be read.
    """
    _refuse_others(path)
    replayed = journal.replay(path)
    header = replayed.header
    if header.host != socket.gethostname():
        raise _OfOtherHost(f"{path}: journal of host {header.host}, to be reaped there, left alone")
    if replayed.damaged:
        text = f"is damaged in {replayed.damaged} of its lines, left alone"
        raise journal.UnreadableJournal(f"{path}: {text}")
    if started_of(header.run_id) is None:
        text = f"is of a run {header.run_id!r}, which is no id of a run, left alone"
        raise journal.UnreadableJournal(f"{path}: {text}")
    for record in replayed.records:
        names = [(name, _is_normal(name)) for name in record.created]
        names += [(name, leads_inside(name)) for name in _names_of_others(record)]
        for name, makes_sense in names:
            if not makes_sense:
                text = f"names {name!r}, which no run would write, left alone"
                raise journal.UnreadableJournal(f"{path}: {text}")
    return replayed


def _names_of_others(record: Record) -> Iterator[str]:
    yield from record.moved
    yield from record.moved.values()
    yield from record.saved
    for backup in record.saved.values():
        if backup is not None:
            yield backup.replace("/", "//")  # a plain name, beside the journal


def _is_normal(name: str) -> bool:
    """Whether a test may have created a file of that name."""
    with suppress(errors.InvalidPath):
        return bool(name) and normalize(name) == name
    return False


def is_somewhere(record: Record) -> bool:
    """Whether what is recorded can still be anywhere: not in memory, nor where temp files were."""
    identity = opened_of(record).identity
    if identity.get("scheme") in VOLATILE:
        return False
    root = Path(identity.get("root", ""))
    temporary = EMBEDDED in identity or root.is_relative_to(tempfile.gettempdir())
    return identity.get("scheme") != "fs" or not temporary or root.is_dir()


# -- what a record is about


def resources(record: Record) -> list[str]:
    """Return what is to be removed or put back, without the directories above isolation areas."""
    own = [
        name
        for name, entry in record.created.items()
        if not (entry.existed or (entry.kind == "dir" and is_shared(name)))
    ]
    return sorted({*own, *record.saved, *record.moved})


def is_shared(name: str) -> bool:
    """Whether it is a worker's area or a directory above: those are no resources of a test."""
    return below(name, AREAS) and name.count("/") <= _DEPTH_OF_WORKERS


def opened_of(record: Record) -> Opened:
    """Return which storage object a record is of."""
    assert record.opened is not None
    return record.opened


def counted(remnants: Iterable[Remnant]) -> list[Remnants]:
    """Return how much each dead run left on each storage, for the summary and the report."""
    parts: dict[tuple[str, str, str, str], list[Record]] = {}
    for remnant in remnants:
        head = remnant.header
        for record in remnant.records:
            key = (head.run_id, head.started, head.host, opened_of(record).storage)
            parts.setdefault(key, []).append(record)
    return [Remnants(*key, _count(records)) for key, records in sorted(parts.items())]


def _count(records: list[Record]) -> int:
    # Two workers may both have noted a directory. Those above isolation areas count only where
    # they are all that is left.
    names = {name for record in records for name in resources(record)}
    return len(names or {name for record in records for name in record.created})
