"""Which process of which run this is; light, because every pytest run with xdist needs it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAIN = "main"
MISTAKE = "opendal_mistake"
"""Where in its output a worker tells of a mistake in the configuration."""


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
        return cls(f"{now:%Y%m%dT%H%M%S}-{os.urandom(3).hex()}", now.isoformat(timespec="seconds"))


def tell_mistake(config: Any, text: str) -> None:
    """Let the controller know that this worker of xdist found a mistake in the configuration.

    What a worker raises reaches the user as an internal error of xdist.
    """
    if hasattr(config, "workeroutput"):
        config.workeroutput[MISTAKE] = text
