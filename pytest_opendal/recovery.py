"""Taking over what crashed workers of this run left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_opendal import errors, journal, remnants
from pytest_opendal.backends.protocol import LEASE, PLACE
from pytest_opendal.cleanup import Outcome, reason_to_keep
from pytest_opendal.report import Leftover, Reason, TestNote, counted
from pytest_opendal.run import info_of
from pytest_opendal.settings import StorageSettings
from pytest_opendal.words import is_utf8

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from pytest_opendal.journal import Ledger, Opened, Record
    from pytest_opendal.report import Collector, StorageInfo
    from pytest_opendal.run import Run

# The kernel drops a dead process' lock only when the last of its threads is gone.
_LOCK_SECONDS = 5.0

Keep = Callable[[str], "Reason | None"]
"""Given the retention of a record, return why it is kept, None when it is removed."""

NOT_CONFIGURED = (
    "its storage is not in this run's configuration; it stays in the journal, for "
    "pytest-opendal reap FILE with a configuration that names it"
)


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
        for path in remnants.journals(directory, run_id):
            worker = path.stem.removeprefix(f"{run_id}-")
            if worker in {*ended, self._run.process.worker}:
                continue
            keep = self._keep_shared if worker.endswith(journal.SHARED) else _keep_of_crashed
            with remnants.seized(path, _LOCK_SECONDS) as is_dead:
                if is_dead:
                    self._recover(path, keep)

    def _keep_shared(self, retention: str) -> Reason | None:
        return reason_to_keep(retention, failed=self._failed)

    def _recover(self, path: Path, keep: Keep) -> None:
        try:
            replayed = remnants.read(path)
            inherited = journal.Journal.inherit(path)
        except (journal.UnreadableJournal, OSError) as error:
            self._collector.leave_alone(str(error))
            return
        for ledger in inherited.ledgers():
            self._clean(ledger, keep)
        inherited.close()
        self._release(replayed.opened)

    def _release(self, opened: Iterable[Opened]) -> None:
        """Take over the leases of a crashed worker in which nothing of it was left."""
        for one in {one.identity.get(LEASE, ""): one for one in opened}.values():
            settings = matching(self._storages, one)
            if settings is not None and settings.jumpstarter is not None:
                self._run.hold(settings, one.identity)

    def _clean(self, ledger: Ledger, keep: Keep) -> None:
        """Clean up one record and tell what is left."""
        opened = remnants.opened_of(ledger.record)
        settings = matching(self._storages, opened)
        created = sum(
            not (entry.existed or remnants.is_shared(name))
            for name, entry in ledger.record.created.items()
        )
        outcome = self._outcome(settings, ledger, keep)
        leftovers = tuple(
            left
            for left in outcome.leftovers
            if left.reason is Reason.FAILED or not remnants.is_shared(left.path)
        )
        note = TestNote(
            test=opened.test,
            worker=opened.worker,
            created=created,
            removed=max(0, created - counted(leftovers)),
            leftovers=leftovers,
            directories={opened.storage: outcome.directories} if outcome.directories else {},
            storages=(info_of(settings),) if settings else (),
        )
        self._collector.add(note)

    def _outcome(self, settings: StorageSettings | None, ledger: Ledger, keep: Keep) -> Outcome:
        if settings is None:
            return untouched(ledger.record, NOT_CONFIGURED)
        reason = keep(remnants.opened_of(ledger.record).retention)
        try:
            return self._run.clean(self._run.same_place(settings, ledger.record), ledger, reason)
        except errors.StorageError as error:
            return untouched(ledger.record, str(error), location=settings.location)

    def retry_directories(self) -> None:
        """Remove directories that a test left because another test's files were in them then."""
        for info, names in self._collector.directories().items():
            settings = self._settings_of(info)
            if settings is not None:
                gone = self._run.remove_directories(settings, names)
                self._collector.discard(info, gone)

    def gone(self) -> Iterator[tuple[StorageInfo, list[str]]]:
        """Yield what was kept of tests, and others, such as later tests, have removed since."""
        for info, kept in self._collector.kept().items():
            # An error tells that the storage fell silent; others choose names that are no Unicode.
            names = [(one.path, one.kind) for one in kept if "\ufffd" not in one.path]
            settings = None if any(one.error for one in kept) else self._settings_of(info)
            if settings is not None and (gone := self._run.missing(settings, names)):
                yield info, gone

    def _settings_of(self, info: StorageInfo) -> StorageSettings | None:
        found = (settings for settings in self._storages if info_of(settings) == info)
        return next(found, None) or _here(info.name, info.scheme, info.location)


def _keep_of_crashed(retention: str) -> Reason | None:
    """Return why to keep what a crashed worker made: the test in it has failed."""
    return Reason.CRASHED if retention != "none" else None


def matching(storages: Iterable[StorageSettings], opened: Opened) -> StorageSettings | None:
    """Return the storage that is the same place; a directory of this host is always known."""
    identity = identity_of(opened)
    same = [settings for settings in storages if settings.identity == identity]
    same.sort(key=lambda settings: settings.name != opened.storage)
    if same:
        return same[0]
    return _here(opened.storage, identity.get("scheme", ""), identity.get("root", ""))


def identity_of(opened: Opened) -> dict[str, str]:
    """Return the identity that the settings had."""
    # Of several exporters that they may lead to, the run finds out which it has.
    return {key: value for key, value in opened.identity.items() if key not in {PLACE, LEASE}}


def _here(name: str, scheme: str, root: str) -> StorageSettings | None:
    if scheme != "fs" or not root or not is_utf8(root):
        return None
    return StorageSettings(name=name, scheme="fs", kwargs={"root": root})


def untouched(
    record: Record, error: str, reason: Reason = Reason.FAILED, *, location: str = ""
) -> Outcome:
    """Return the outcome of a cleanup that could not even begin, or that is another's business."""
    opened = remnants.opened_of(record)
    return Outcome(
        tuple(
            Leftover(
                storage=opened.storage,
                path=name,
                kind="dir" if _is_directory(record, name) else "file",
                size=None,
                test=opened.test,
                worker=opened.worker,
                reason=reason,
                error=error,
                location=location,
            )
            for name in remnants.resources(record) or sorted(record.created)
        )
    )


def _is_directory(record: Record, name: str) -> bool:
    entry = record.created.get(name)
    return entry is not None and entry.kind != "file"
