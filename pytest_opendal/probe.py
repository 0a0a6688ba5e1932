"""A storage tried before a test does: whether it answers, what it can do, and how long that takes.

What is written for it goes into an isolation area of its own, is tracked like what a test creates,
and is removed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pytest_opendal import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_opendal.models import Capability
    from pytest_opendal.run import Held, Run
    from pytest_opendal.settings import StorageSettings
    from pytest_opendal.storage import Storage

ROUNDS = 5
BYTES = 1024
_MOST_SECONDS = 5.0  # no round begins later; a slow storage gets fewer
_REFUSALS = (errors.PermissionDenied, errors.Protected, errors.Unsupported)
_WHO = "pytest-opendal check"
_FILE = "file"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a storage answered."""

    capability: Capability | None = None
    """What it can do; None when it does not answer."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Median of each operation, on a file of ``BYTES`` bytes, as a test sees it."""
    rounds: int = 0
    read_only: str | None = None
    """Why nothing can be written."""
    problem: str | None = None
    """Why it cannot be used, or what could not be removed again."""


def probe(run: Run, settings: StorageSettings, *, writes: bool = True) -> Probe:
    """Try a storage; ``run.finish`` afterwards removes the directories above the area.

    Args:
        run: opens it, and keeps the journal of what is written.
        settings: of the storage; isolation and retention do not count.
        writes: False: write nothing, and measure `stat` only.
    """
    if not writes and (missing := _missing_directory(settings)):
        return Probe(problem=f"there is no directory {missing}, and nothing is to be written")
    own = settings.with_overrides(isolation="test", retention="none", on_existing="created")
    try:
        held = run.open(own, _WHO)
    except errors.StorageError as error:
        return Probe(problem=str(error))
    left: str | None = None
    try:
        answered = _measured(held.storage, writes=writes)
    except errors.StorageError as error:
        answered = Probe(problem=str(error))
    finally:
        left = _end(run, held)
    return replace(answered, problem=answered.problem or left)


def _missing_directory(settings: StorageSettings) -> str:
    """Return a directory of an fs storage that opendal would make when it connects, ``""`` for none."""
    places = [settings.kwargs.get(key, "") for key in ("root", "atomic_write_dir")]
    missing = [place for place in places if place and not Path(place).is_dir()]
    return missing[0] if missing and settings.scheme == "fs" else ""


def _end(run: Run, held: Held) -> str | None:
    """Remove what was written; returns what could not be removed, and why."""
    leftovers = run.end(held, None).leftovers
    return f"could not be removed again: {leftovers[0].error}" if leftovers else None


def _measured(storage: Storage, *, writes: bool) -> Probe:
    """Measure, with what a reader may do where writing is refused."""
    refusal = _refusal(storage) if writes else None
    reads = {"stat": lambda: storage.exists(_FILE)}
    times = _timed(_all_steps(storage) if writes and refusal is None else reads)
    return Probe(
        storage.capability(),
        {name: median(values) for name, values in times.items()},
        min(map(len, times.values())),
        refusal,
    )


def _refusal(storage: Storage) -> str | None:
    """Return why nothing can be written; a first write also makes the area and connects."""
    try:
        storage.write_bytes(_FILE, b"")
    except _REFUSALS as error:
        return str(error).rpartition(f"/{_FILE}': ")[2]
    return None


def _all_steps(storage: Storage) -> dict[str, Callable[[], object]]:
    """Return the operations in their order."""
    content = bytes(BYTES)
    return {
        "write": lambda: storage.write_bytes(_FILE, content),
        "read": lambda: storage.read_bytes(_FILE),
        "stat": lambda: storage.stat(_FILE),
        "delete": lambda: storage.delete(_FILE),
    }


def _timed(steps: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the seconds that each step took, round by round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    until = time.monotonic() + _MOST_SECONDS
    for _ in range(ROUNDS):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begun)
        if time.monotonic() > until:
            break
    return times
