"""Taking over what other processes left: crashed workers of this run, and runs that died before."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_opendal import errors, journal
from pytest_opendal.report import Leftover, Reason, Remnants
from pytest_opendal.settings import StorageSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_opendal.journal import Record
    from pytest_opendal.report import Collector
    from pytest_opendal.run import Run
    from pytest_opendal.settings import Lab

# The kernel drops a dead process' lock only when the last of its threads is gone.
_LOCK_SECONDS = 5.0


def private_directory() -> Path:
    """Return the place for journals when pytest's cache is off: ours alone, in the system's temp directory.

    Raises:
        ConfigInvalid: somebody else has put something there.
    """
    place = Path(tempfile.gettempdir()) / f"pytest-opendal-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or place.is_symlink():
        msg = f"{place}: is not a private directory of this user; remove it or set the ini key opendal_journal_dir"
        raise errors.ConfigInvalid(msg)
    return place


def journals(directory: Path, run_id: str = "") -> list[Path]:
    """Return the journals in a directory, of one run or of all."""
    prefix = f"{run_id}-" if run_id else ""
    return sorted(directory.glob(f"{prefix}*{journal.SUFFIX}"))


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


class Recovery:
    """Removes what dead processes left, on the storages of this run."""

    def __init__(self, run: Run, collector: Collector) -> None:
        """Prepare.

        Args:
            run: opens storages; its lab says which there are.
            collector: gets what is left.
        """
        self._run = run
        self._collector = collector

    def take_over(self, directory: Path, run_id: str) -> None:
        """Remove what workers of this run have not removed, unless retention keeps it."""
        for path in journals(directory, run_id):
            if path == self._run.journal.path:
                continue
            with seized(path, _LOCK_SECONDS) as is_dead:
                if is_dead:
                    self._recover(path, keeps=True)

    def reap(self, directory: Path) -> list[Remnants]:
        """Remove what dead runs left; returns what was found."""
        found: list[Remnants] = []
        for path in journals(directory):
            with seized(path) as is_dead:
                if is_dead:
                    found += remnants_in(path)
                    self._recover(path, keeps=False)
        return found

    def _recover(self, path: Path, *, keeps: bool) -> None:
        replayed = journal.replay(path)
        results = [self._clean(record, path, keeps=keeps) for record in replayed.records]
        if all(results) and not replayed.damaged:
            journal.remove(path)

    def _clean(self, record: Record, path: Path, *, keeps: bool) -> bool:
        """Clean up one record; whether nothing is outstanding afterwards."""
        opened = record.opened
        assert opened is not None
        settings = matching(self._run.lab, opened.identity)
        if settings is None:
            reason = "its storage is not in this run's configuration"
            for name, entry in record.created.items():
                self._add(
                    Leftover(
                        opened.storage,
                        name,
                        entry.kind,
                        None,
                        opened.test,
                        opened.worker,
                        Reason.CRASHED,
                        reason,
                    )
                )
            return False
        keep = Reason.CRASHED if keeps and opened.retention != "none" else None
        backups = path.with_suffix(".saved")
        outcome = self._run.clean(settings, record, backups, keep)
        for leftover in outcome.leftovers:
            self._add(leftover)
        return not outcome.failed

    def _add(self, leftover: Leftover) -> None:
        self._collector.add_leftover(leftover)

    def retry_directories(self) -> None:
        """Remove directories that a test left because another test's files were in them then."""
        for settings in list(self._run.lab.storages.values()):
            names = self._collector.directories(settings.name)
            if names:
                gone = self._run.remove_directories(settings, names)
                self._collector.discard(settings.name, gone)


def matching(lab: Lab, identity: dict[str, str]) -> StorageSettings | None:
    """Return the storage of the lab that is the same place; a directory of this host needs no lab."""
    for settings in lab.storages.values():
        if settings.identity == identity:
            return settings
    if identity.get("scheme") == "fs" and identity.get("root"):
        return StorageSettings(name="fs", scheme="fs", kwargs={"root": identity["root"]})
    return None


def remnants_in(path: Path) -> list[Remnants]:
    """Return what one journal of a dead run holds, by storage."""
    replayed = journal.replay(path)
    records = sorted(replayed.records, key=_storage_of)
    header = replayed.header
    return [
        Remnants(
            header.run_id,
            header.started,
            header.host,
            name,
            sum(_count(record) for record in group),
        )
        for name, group in groupby(records, key=_storage_of)
    ]


def _storage_of(record: Record) -> str:
    return record.opened.storage if record.opened else ""


def _count(record: Record) -> int:
    return sum(1 for _ in record.created)
