"""Which process of which run this is; light, because every pytest run with xdist needs it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

AREAS = "pytest-opendal"
"""Directory of all isolation areas below a storage's root; those of a run are in one with its id."""

MAIN = "main"
MISTAKE = "opendal_mistake"
"""Where in its output a worker tells of a mistake in the configuration."""
PROPERTY = "opendal_leftover"
"""Name of the user properties of tests that tell a leftover each."""


_STARTED = "%Y%m%dT%H%M%S"
_RUN_ID = r"\d{8}T\d{6}-[0-9a-f]{6}"


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a run; what the controller tells its workers."""

    run_id: str
    """Start time and a random part: ``20260131T120000-1a2b3c``."""
    started: str
    """ISO time of the run's start."""
    worker: str = MAIN
    """Worker id under xdist (``gw0``), else ``main``."""

    @classmethod
    def new(cls) -> Process:
        """Return the process that begins a run now."""
        now = datetime.now(UTC)
        return cls(f"{now:{_STARTED}}-{os.urandom(3).hex()}", now.isoformat(timespec="seconds"))


def tell_mistake(config: Any, text: str) -> None:
    """Let the controller know that this worker of xdist found a mistake in the configuration.

    What a worker raises reaches the user as an internal error of xdist.
    """
    if hasattr(config, "workeroutput"):
        config.workeroutput[MISTAKE] = text


def started_of(run_id: str) -> datetime | None:
    """Return when the run of an id started, None where it is no id of a run."""
    if re.fullmatch(_RUN_ID, run_id) is None:
        return None
    try:
        return datetime.strptime(run_id.partition("-")[0], _STARTED).replace(tzinfo=UTC)
    except ValueError:
        return None
