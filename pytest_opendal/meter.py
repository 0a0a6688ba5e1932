"""What a transfer has moved so far, for those who watch one that takes long."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN_AFTER_SECONDS = 2.0
_EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is."""

    what: str
    """Storage, operation and path."""
    moved: int
    """Bytes."""
    total: int | None
    """Bytes; None: not known."""
    seconds: float
    """Since it began."""


Show = Callable[[Progress | None], None]
"""Shows how far a transfer is; None: it has ended."""


class Moving:
    """One transfer."""

    def __init__(self, meter: Meter, what: str, total: int | None) -> None:
        self._meter = meter
        self._what = what
        self._moved = 0
        self._begun = self._told = meter.now()
        self.total = total

    @property
    def wants_total(self) -> bool:
        """Whether somebody watches who is not told how much there is; asking costs a request."""
        return self.total is None and self._meter.watched and self._is_long(self._meter.now())

    def _is_long(self, now: float) -> bool:
        return now - self._begun >= SHOWN_AFTER_SECONDS

    def add(self, count: int) -> None:
        """Count bytes that have been moved."""
        self._moved += count
        if not self._meter.watched:
            return
        now = self._meter.now()
        if self._is_long(now) and now - self._told >= _EVERY_SECONDS:
            self._told = now
            seconds = now - self._begun
            self._meter.show(self, Progress(self._what, self._moved, self.total, seconds))


class Meter:
    """Shows a transfer that takes long; of several at once the first, until it ends."""

    def __init__(self, show: Show | None = None, now: Callable[[], float] = time.monotonic) -> None:
        """Begin; without ``show`` nobody watches, and counting costs next to nothing."""
        self.watched = show is not None
        self.now = now
        self._show = show
        self._shown: Moving | None = None

    @contextmanager
    def moving(self, what: str, total: int | None = None) -> Iterator[Moving]:
        """Yield what counts a transfer; at its end nothing of it is shown any more.

        Args:
            what: storage, operation and path.
            total: bytes that there are, where that is known.
        """
        one = Moving(self, what, total)
        try:
            yield one
        finally:
            if self._shown is one and self._show is not None:
                self._shown = None
                self._show(None)

    def show(self, one: Moving, progress: Progress) -> None:
        """Show how far a transfer is, unless another one is shown."""
        if self._show is not None and self._shown in {None, one}:
            self._shown = one
            self._show(progress)
