"""Contestants that take turns, and what came of it."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Work = Callable[[], object]
"""One turn; what it returns is thrown away, unless it is seconds that it measured itself."""

Clock = Callable[[], float]

MEBI = 1 << 20


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a turn took, where the turn knows better than a clock around it."""

    value: float


@dataclass(slots=True)
class Times:
    """What the turns of one contestant took."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    """Bytes of memory that a turn needed at most, beyond what the process held before it."""

    @property
    def median(self) -> float:
        """Return the median."""
        return statistics.median(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as builtins."""
        return {
            "median": self.median,
            "min": min(self.seconds),
            "max": max(self.seconds),
            "rounds": len(self.seconds),
            "peak": self.peak,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the table."""

    benchmark: str
    work: str
    peer: str
    ours: Times
    theirs: Times
    target: float | None = None
    """The ratio to reach; None where the row is only there to compare with."""
    size: int | None = None
    """How much of it, for work whose cost grows."""
    note: str = ""
    max_peak: int | None = None
    """Bytes of memory to stay below."""
    of: float = 1
    """How many calls of ours a turn of the peer stands for."""

    @property
    def ratio(self) -> float:
        """Return our cost divided by theirs, from the medians."""
        return self.ours.median / (self.theirs.median * self.of)

    @property
    def within(self) -> bool:
        """Whether what is to be reached is."""
        return (self.target is None or self.ratio <= self.target) and (
            self.max_peak is None or self.ours.peak <= self.max_peak
        )

    def to_json(self) -> dict[str, Any]:
        """Return the row as builtins."""
        return {
            "benchmark": self.benchmark,
            "work": self.work,
            "peer": self.peer,
            "ratio": round(self.ratio, 4),
            "target": self.target,
            "within": self.within,
            "size": self.size,
            "note": self.note,
            "max_peak": self.max_peak,
            "ours": self.ours.to_json(),
            "theirs": self.theirs.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark is given."""

    scratch: Path
    """A directory of its own on disk, emptied afterwards."""
    rounds: int
    quick: bool = False
    """Small sizes, to try whether it runs."""

    def size(self, usual: int, quick: int) -> int:
        """Return how much to work on."""
        return quick if self.quick else usual

    def race(
        self,
        contestants: Mapping[str, Work],
        rounds: int | None = None,
        *,
        memory: bool = False,
        clock: Clock = time.perf_counter,
    ) -> dict[str, Times]:
        """Let the contestants take turns, after a turn of each that does not count.

        Args:
            contestants: by name; the order turns round from round to round.
            rounds: turns of each, the run's by default.
            clock: `time.process_time` for work that waits for nothing: on a busy machine a turn is
                often interrupted.
            memory: also measure what a turn needs; in turns of their own, where it costs no time.
        """
        times = {name: Times() for name in contestants}
        for name, work in contestants.items():
            times[name].peak = peak_of(work) if memory else _nothing(work)
        for number in range(rounds or self.rounds):
            for name in _rotated(list(contestants), number):
                times[name].seconds.append(seconds_of(contestants[name], clock))
        return times


def _nothing(work: Work) -> int:
    work()
    return 0


def _rotated(names: list[str], number: int) -> list[str]:
    start = number % len(names)
    return names[start:] + names[:start]


def seconds_of(work: Work, clock: Clock = time.perf_counter) -> float:
    """Return what one turn takes; what earlier turns left is not collected during it."""
    gc.collect()
    begun = clock()
    told = work()
    taken = clock() - begun
    return told.value if isinstance(told, Seconds) else taken


def peak_of(work: Work) -> int:
    """Return how many bytes of memory a turn needs at most (Linux; elsewhere 0)."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory("VmRSS")
    work()
    return max(0, memory("VmHWM") - before)


def memory(name: str) -> int:
    """Return a figure of this process from the kernel, in bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10
    return 0


Benchmark = Callable[[Bench], Iterator[Outcome]]
