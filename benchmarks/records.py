"""What it costs to remember what was created: in memory, and in the journal."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pytest_opendal.journal import Journal, Ledger, Opened

from benchmarks.harness import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.harness import Bench

_BYTES_PER_PATH = 250
_OPENED = Opened(
    "lab", {"scheme": "s3", "bucket": "lab"}, "test_x.py::test", "main", "", "all", "created"
)


def _paths(count: int) -> list[str]:
    """Return paths as tests make them, ten in a directory."""
    return [
        f"results/run-{number // 1000}/board-{number // 10 % 100}/log-{number}.txt"
        for number in range(count)
    ]


def _ledger(place: Path) -> tuple[Journal, Ledger]:
    journal = Journal(place, "bench", "main", "2026-01-01T00:00:00")
    return journal, journal.new_ledger(_OPENED)


def tracking(bench: Bench) -> Iterator[Outcome]:
    """Remember created paths; and take one directory of ten out of them again."""
    for count in (1_000, 10_000, 100_000, bench.size(1_000_000, 200_000)):
        yield from _tracking(bench, count)


def _tracking(bench: Bench, count: int) -> Iterator[Outcome]:
    held: dict[str, object] = {}

    def remember() -> None:
        _, ledger = _ledger(bench.scratch)
        held["record"] = ledger.record
        for path in _paths(count):
            ledger.note(("+", path, "file", False), quietly=True)

    def remember_in_dict() -> None:
        found: dict[str, tuple[str, bool]] = {}
        held["dict"] = found
        for path in _paths(count):
            found[path] = ("file", False)

    times = bench.race(
        {"ours": remember, "dict": remember_in_dict}, memory=True, clock=time.process_time
    )
    note = f"{times['ours'].peak / count:.0f} B per path, a dict {times['dict'].peak / count:.0f}"
    yield Outcome(
        "tracking",
        "remember created paths",
        "a dict",
        times["ours"],
        times["dict"],
        3 if count >= 1_000_000 else None,
        count,
        note,
        _BYTES_PER_PATH * count if count >= 1_000_000 else None,
    )
    yield _removing(bench, count)


def _removing(bench: Bench, count: int) -> Outcome:
    _, ledger = _ledger(bench.scratch)
    paths = _paths(count)
    ledger.note(*(("+", path, "file", False) for path in paths), quietly=True)
    known = dict.fromkeys(paths)
    directories = [
        f"results/run-{number // 1000}/board-{number // 10 % 100}" for number in range(0, count, 10)
    ]
    todo = iter(directories)
    again = iter(directories)

    def remove() -> None:
        for _ in range(10):
            ledger.note(("-", next(todo)), quietly=True)

    def look_up() -> None:
        for _ in range(10):
            directory = next(again)
            for number in range(10):
                known.get(f"{directory}/log-{number}.txt")

    times = bench.race(
        {"ours": remove, "dict": look_up}, min(bench.rounds, 5), clock=time.process_time
    )
    return Outcome(
        "tracking",
        "forget 10 directories of 10",
        "a dict lookup per child",
        times["ours"],
        times["dict"],
        3,
        count,
    )


def journal(bench: Bench) -> Iterator[Outcome]:
    """Note resources in the journal, one write each."""
    for count in (1_000, 10_000, 100_000):
        paths = _paths(count)
        lines = [f'["+",0,"{path}","file",false]\n'.encode() for path in paths]

        def note(paths: list[str] = paths) -> None:
            journal, ledger = _ledger(bench.scratch)
            for path in paths:
                ledger.note(("+", path, "file", False))
            ledger.end()
            journal.close()

        def write(lines: list[bytes] = lines) -> None:
            place = bench.scratch / "lines"
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for line in lines:
                os.write(file, line)
            os.close(file)
            place.unlink()

        times = bench.race({"ours": note, "os.write": write}, clock=time.process_time)
        yield Outcome(
            "journal",
            "note resources",
            "os.write of the lines",
            times["ours"],
            times["os.write"],
            3 if count >= 100_000 else None,
            count,
        )
