"""What the plugin keeps of a test while it runs, and when another plugin runs it again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_opendal.report import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_opendal.report import TestNote
    from pytest_opendal.run import Held, Run


@dataclass(slots=True)
class Attempt:
    """One run of a test; begun anew when the same test runs again."""

    failed: bool = False
    deferred: list[Held] = field(default_factory=list)
    """Storages whose end waits for how the teardown goes."""
    kept: list[tuple[Held, TestNote]] = field(default_factory=list)
    """Storages whose resources stay because the test failed, and what was told of them."""
    untold: list[TestNote] = field(default_factory=list)
    """Notes on a report that has not been logged yet, and may never be: of a failed attempt."""

    def note(self, held: Held, note: TestNote) -> None:
        """Remember what was kept."""
        if any(left.reason is Reason.KEPT_FAILED for left in note.leftovers):
            self.kept.append((held, note))

    def begin(self, run: Run | None) -> Iterator[tuple[TestNote, TestNote]]:
        """Remove what a failed attempt before this one kept; yields what was told, and what is to be."""
        kept, self.kept, self.failed = self.kept, [], False
        for held, told in kept:
            assert run is not None
            yield told, _withdrawn(told, run.remove_kept(held))


def _withdrawn(told: TestNote, removal: TestNote) -> TestNote:
    stays = {left.path for left in removal.leftovers}
    gone = tuple(left.path for left in told.leftovers if left.path not in stays)
    return replace(removal, withdrawn=gone)
