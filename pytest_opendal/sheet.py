"""What ``pytest-opendal check`` prints of each storage, and of all beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_opendal.probe import BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_opendal.models import Capability
    from pytest_opendal.probe import Probe
    from pytest_opendal.settings import StorageSettings

_TEN = 10


def storage_lines(settings: StorageSettings, probe: Probe) -> Iterator[str]:
    """Yield which storage it is and how it answered, then how fast."""
    state = probe.problem or ("ok, but read-only" if probe.read_only else "ok")
    yield f"{settings.name} ({settings.scheme or 'jumpstarter'}, {settings.location}): {state}"
    if probe.read_only:
        yield f"  writing is refused: {probe.read_only}"
    if probe.seconds:
        yield f"  {latencies(probe)}"


def latencies(probe: Probe) -> str:
    """Return the time of each operation: ``write 0.52 ms, read 0.11 ms (1 KiB, median of 5)``."""
    times = ", ".join(f"{name} {duration(seconds)}" for name, seconds in probe.seconds.items())
    size = f"{BYTES >> 10} KiB, " if "write" in probe.seconds else ""
    return f"{times} ({size}median of {probe.rounds})"


def duration(seconds: float) -> str:
    """Return a time in three digits: ``0.12 ms``, ``12.3 ms``, ``1.23 s``."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    places = 2 if value < _TEN else 1 if value < _TEN * _TEN else 0
    return f"{value:.{places}f} {unit}"


def capability_lines(found: Mapping[str, Capability]) -> Iterator[str]:
    """Yield a table: a row for each capability that one of the storages has."""
    if not found:
        return
    rows = [("", *found), *_rows(list(found.values()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _rows(found: Sequence[Capability]) -> list[tuple[str, ...]]:
    names = type(found[0]).model_fields
    rows = [(name, *(_cell(getattr(capability, name)) for capability in found)) for name in names]
    return [row for row in rows if any(cell != "-" for cell in row[1:])]


def _cell(value: bool | int | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return "-" if value is None else str(value)
