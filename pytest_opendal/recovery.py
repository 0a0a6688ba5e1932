"""Taking over what other processes left: crashed workers of this run, and runs that died before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_opendal import errors, journal
from pytest_opendal.cleanup import Outcome, reason_to_keep
from pytest_opendal.paths import below
from pytest_opendal.report import Leftover, Reason, TestNote
from pytest_opendal.run import AREAS, PLACE, SHARED, info_of
from pytest_opendal.settings import StorageSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pytest_opendal.journal import Opened, Record
    from pytest_opendal.report import Collector, StorageInfo
    from pytest_opendal.run import Run

# The kernel drops a dead process' lock only when the last of its threads is gone.
_LOCK_SECONDS = 5.0

Keep = Callable[[str], "Reason | None"]
"""Given the retention of a record, return why it is kept, None when it is removed."""

_DEPTH_OF_WORKERS = 2


def private_directory() -> Path:
    """Return the place for journals when pytest's cache is off, in the system's temp directory.

    Raises:
        ConfigInvalid: somebody else has put something there.
    """
    place = Path(tempfile.gettempdir()) / f"pytest-opendal-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or place.is_symlink():
        remedy = "remove it, or set the ini key opendal_journal_dir"
        raise errors.ConfigInvalid(f"{place}: is not a private directory of this user; {remedy}")
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

    def __init__(
        self,
        run: Run,
        storages: Iterable[StorageSettings],
        collector: Collector,
        *,
        failed: bool = False,
    ) -> None:
        """Prepare.

        Args:
            run: opens storages.
            storages: those that this process knows.
            collector: gets what is left.
            failed: whether a test of this run failed.
        """
        self._run = run
        self._storages = list(storages)
        self._collector = collector
        self._failed = failed

    def take_over(self, directory: Path, run_id: str, ended: Collection[str]) -> None:
        """Remove what crashed workers of this run have not removed, unless retention keeps it.

        Args:
            directory: where the journals are.
            run_id: this run.
            ended: workers that came to a normal end; what they could not remove waits for a reap.
        """
        for path in journals(directory, run_id):
            worker = path.stem.removeprefix(f"{run_id}-")
            if worker in {*ended, self._run.process.worker}:
                continue
            keep = self._keep_shared if worker.endswith(SHARED) else _keep_of_crashed
            with seized(path, _LOCK_SECONDS) as is_dead:
                if is_dead:
                    self._recover(path, keep)

    def _keep_shared(self, retention: str) -> Reason | None:
        return reason_to_keep(retention, failed=self._failed)

    def _recover(self, path: Path, keep: Keep) -> None:
        try:
            replayed = journal.replay(path)
        except (journal.UnreadableJournal, OSError):
            return  # left alone
        results = [self._clean(record, path, keep) for record in replayed.records]
        if all(results) and not replayed.damaged:
            journal.remove(path)

    def _clean(self, record: Record, path: Path, keep: Keep) -> bool:
        """Clean up one record and tell what is left; whether nothing is outstanding afterwards."""
        opened = record.opened
        assert opened is not None
        settings = matching(self._storages, opened)
        created = sum(
            not (entry.existed or _is_shared(name)) for name, entry in record.created.items()
        )
        outcome = self._outcome(settings, record, path, keep)
        leftovers = tuple(
            left
            for left in outcome.leftovers
            if left.reason is Reason.FAILED or not _is_shared(left.path)
        )
        note = TestNote(
            test=opened.test,
            worker=opened.worker,
            created=created,
            removed=max(0, created - len(leftovers)),
            leftovers=leftovers,
            directories={opened.storage: outcome.directories} if outcome.directories else {},
            storages=(info_of(settings),) if settings else (),
        )
        self._collector.add(note)
        return not outcome.failed

    def _outcome(
        self, settings: StorageSettings | None, record: Record, path: Path, keep: Keep
    ) -> Outcome:
        if settings is None:
            return _untouched(record, "its storage is not in this run's configuration")
        assert record.opened is not None
        reason = keep(record.opened.retention)
        try:
            return self._run.clean(settings, record, path.with_suffix(".saved"), reason)
        except errors.StorageError as error:
            return _untouched(record, str(error))

    def retry_directories(self) -> None:
        """Remove directories that a test left because another test's files were in them then."""
        for info, names in self._collector.directories().items():
            settings = self._settings_of(info)
            if settings is not None:
                gone = self._run.remove_directories(settings, names)
                self._collector.discard(info.name, gone)

    def _settings_of(self, info: StorageInfo) -> StorageSettings | None:
        found = (settings for settings in self._storages if info_of(settings) == info)
        return next(found, None) or _here(info.name, info.scheme, info.location)


def _keep_of_crashed(retention: str) -> Reason | None:
    """Return why to keep what a crashed worker made: the test in it has failed."""
    return Reason.CRASHED if retention != "none" else None


def matching(storages: Iterable[StorageSettings], opened: Opened) -> StorageSettings | None:
    """Return the storage that is the same place; a directory of this host is always known."""
    # Of several exporters that the settings may lead to, the run finds out which it has.
    identity = {key: value for key, value in opened.identity.items() if key != PLACE}
    same = [settings for settings in storages if settings.identity == identity]
    same.sort(key=lambda settings: settings.name != opened.storage)
    if same:
        return same[0]
    return _here(opened.storage, identity.get("scheme", ""), identity.get("root", ""))


def _here(name: str, scheme: str, root: str) -> StorageSettings | None:
    if scheme != "fs" or not root:
        return None
    return StorageSettings(name=name, scheme="fs", kwargs={"root": root})


def _is_shared(name: str) -> bool:
    """Whether it is a worker's area or a directory above: those are no resources of a test."""
    return below(name, AREAS) and name.count("/") <= _DEPTH_OF_WORKERS


def _untouched(record: Record, error: str) -> Outcome:
    """Return the outcome of a cleanup that could not even begin."""
    opened = record.opened
    assert opened is not None
    return Outcome(
        tuple(
            Leftover(
                storage=opened.storage,
                path=name,
                kind="file" if entry.kind == "file" else "dir",
                size=None,
                test=opened.test,
                worker=opened.worker,
                reason=Reason.FAILED,
                error=error,
            )
            for name, entry in record.created.items()
            if not entry.existed
        )
    )
