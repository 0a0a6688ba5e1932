"""The line about a long transfer: only on a terminal, below the cursor, gone when it has ended."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_opendal.meter import Meter
from pytest_opendal.terminal import human_size, shorten
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_opendal.meter import Progress

# The cursor is back where it was after each of these, in whatever column pytest's dots have come to.
# Index (ESC D) makes room below at the bottom of the screen, which a newline would do in column 0.
_SAVE_AND_GO_BELOW = "\x1bD\x1b[A\x1b7\x1b[B\r\x1b[K"
_RETURN = "\x1b8"
_MINUTE = 60
_WIDTH = 80


def is_wanted(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether a person watches: a terminal that understands escapes, and no CI."""
    plain = environ.get("TERM", "dumb") == "dumb" or environ.get("CI")
    return not plain and os.isatty(descriptor)


def meter(environ: Mapping[str, str]) -> Meter:
    """Return what shows long transfers on this process' terminal; of no effect where none is."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return Meter()
    # Kept open for as long as the process lives: a storage may be used until its very end.
    return Meter(Line(os.dup(descriptor)).show) if is_wanted(descriptor, environ) else Meter()


class Line:
    """Writes to the terminal itself, past what pytest captures."""

    def __init__(self, descriptor: int) -> None:
        """Write to a descriptor of the terminal, which has to stay open."""
        self._descriptor = descriptor

    def show(self, progress: Progress | None) -> None:
        """Show how far a transfer is, in the place of what was shown; None: show nothing."""
        with suppress(OSError):  # the terminal is gone
            # Standard output, which shutil asks, is captured by pytest; 0: a terminal that does not tell.
            width = os.get_terminal_size(self._descriptor).columns or _WIDTH
            text = "" if progress is None else line(progress, width - 1)
            os.write(self._descriptor, f"{_SAVE_AND_GO_BELOW}{text}{_RETURN}".encode())


def line(progress: Progress, room: int) -> str:
    """Return what is shown of a transfer, in at most ``room`` columns."""
    rate = progress.moved / progress.seconds
    parts = [_amount(progress), f"{human_size(int(rate))}/s"]
    if progress.total is not None and rate:
        parts.append(f"{_time((progress.total - progress.moved) / rate)} left")
    told = "  ".join(parts)
    return f"{shorten(printable(progress.what), room - len(told) - 2)}  {told}"[:room]


def _amount(progress: Progress) -> str:
    if not progress.total:
        return human_size(progress.moved)
    share = min(100, 100 * progress.moved // progress.total)
    return f"{share:3d}% of {human_size(progress.total)}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), _MINUTE)
    return f"{minutes}:{rest:02d}"
