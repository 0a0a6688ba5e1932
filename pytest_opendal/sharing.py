"""What all workers of a run share: uploaded by the first who needs it, removed when the run ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pytest_opendal.tracking import Tracker

SUFFIX = ".once"

_POLL_SECONDS = 0.05


class Sharing:
    """The shared files of one storage; their record belongs to no test."""

    def __init__(self, tracker: Tracker, directory: Path, run_id: str) -> None:
        """Prepare; nothing is locked yet.

        Args:
            tracker: notes what is uploaded.
            directory: of the journals, which all workers of this host use.
            run_id: of this run.
        """
        self.tracker = tracker
        self._directory = directory
        self._run_id = run_id

    @asynccontextmanager
    async def exclusive(self, path: str) -> AsyncIterator[Tracker]:
        """Let one worker at a time look at ``path`` and upload it; yields what notes the upload."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._lock_file(path), mode=0o600, thread_local=False)
        while not lock.is_locked:
            try:
                lock.acquire(blocking=False)
            except Timeout:
                # Another worker uploads: its own time limits end that, its death frees the lock.
                await asyncio.sleep(_POLL_SECONDS)
        try:
            yield self.tracker
        finally:
            lock.release()

    def _lock_file(self, path: str) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = json.dumps([self.tracker.opened.identity, path], sort_keys=True)
        digest = hashlib.sha256(place.encode()).hexdigest()[:16]
        return self._directory / f"{self._run_id}-{digest}{SUFFIX}"


def forget(directory: Path, run_id: str) -> None:
    """Remove the lock files of a run that has ended."""
    for file in directory.glob(f"{run_id}-*{SUFFIX}"):
        file.unlink(missing_ok=True)
