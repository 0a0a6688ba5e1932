"""What a run measured: as a table, as JSON, and drawn."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.harness import Outcome, Times

HEAD = f"{'':58}{'ours':>34}{'peer':>34}{'ratio':>8}{'goal':>7}  {'memory':>9}"
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_KIB, _MIB = 1 << 10, 1 << 20


def human(seconds: float) -> str:
    """Return a duration in three digits."""
    unit, name = next((u for u in _UNITS if abs(seconds) >= u[0]), _UNITS[-1])
    return f"{seconds / unit:.3g} {name}"


def _figures(times: Times) -> str:
    low, high = human(min(times.seconds)), human(max(times.seconds))
    return f"{human(times.median):>10} ({low} - {high})"


def _bytes(count: int) -> str:
    if not count:
        return "-"
    return f"{count / _MIB:.0f} MiB" if count >= _MIB else f"{count / _KIB:.1f} KiB"


def line(row: Outcome) -> str:
    """Return a row of the table."""
    goal = "-" if row.target is None else f"{row.target:g}"
    mark = "" if row.within else " *"
    return (
        f"{f'{title(row.to_json())} / {row.peer}':58}{_figures(row.ours):>34}{_figures(row.theirs):>34}"
        f"{row.ratio:8.3f}{goal:>7}  {_bytes(row.ours.peak):>9}{mark}"
        + (f"\n    {row.note}" if row.note else "")
    )


def document(rows: Sequence[Outcome], rounds: int) -> dict[str, Any]:
    """Return the whole run as builtins."""
    return {
        "python": platform.python_version(),
        "opendal": metadata.version("opendal"),
        "pytest": metadata.version("pytest"),
        "machine": platform.platform(),
        "rounds": rounds,
        "rows": [row.to_json() for row in rows],
    }


def write(path: Path, rows: Sequence[Outcome], rounds: int) -> dict[str, Any]:
    """Write the run as JSON and return it; rows of benchmarks that were not run now stay in their place."""
    told = document(rows, rounds)
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    by_benchmark: dict[str, list[Any]] = {row["benchmark"]: [] for row in (*kept, *told["rows"])}
    measured = {row["benchmark"] for row in told["rows"]}
    for row in (*(row for row in kept if row["benchmark"] not in measured), *told["rows"]):
        by_benchmark[row["benchmark"]].append(row)
    told["rows"] = [row for same in by_benchmark.values() for row in same]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told


def draw(path: Path, told: dict[str, Any]) -> None:
    """Draw the ratio of each row beside its goal, and cost against size for work that grows."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    rows = told["rows"]
    figure, (bars, growth) = plt.subplots(
        1, 2, figsize=(15, 2 + 0.28 * len(rows)), layout="constrained"
    )
    figure.suptitle(f"opendal {told['opendal']}, Python {told['python']}")
    _draw_ratios(bars, rows)
    _draw_growth(growth, [row for row in rows if row["size"] is not None])
    figure.savefig(path)
    plt.close(figure)


def _draw_ratios(axes: Any, rows: list[dict[str, Any]]) -> None:
    names = [f"{title(row)} / {row['peer']}" for row in rows]
    colors = ["tab:blue" if row["within"] else "tab:red" for row in rows]
    axes.barh(names, [row["ratio"] for row in rows], color=colors, height=0.6)
    for place, row in enumerate(rows):
        if row["target"] is not None:
            axes.plot([row["target"]] * 2, [place - 0.4, place + 0.4], color="black")
    axes.axvline(1, color="gray", linewidth=0.5)
    axes.set(xscale="log", xlabel="ours / peer (black: the goal)")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)


def _draw_growth(axes: Any, rows: list[dict[str, Any]]) -> None:
    for work in dict.fromkeys(row["work"] for row in rows):
        points = {row["size"]: row["ours"]["median"] for row in rows if row["work"] == work}
        if len(points) > 1:
            axes.plot(*zip(*sorted(points.items()), strict=True), marker="o", label=work)
    axes.set(xscale="log", yscale="log", xlabel="size", ylabel="seconds")
    axes.legend(fontsize=7) if axes.lines else None


def title(row: dict[str, Any]) -> str:
    """Return what a row is about, with its size."""
    size = row["size"]
    if size is None:
        return str(row["work"])
    return f"{row['work']} [{f'{size // _MIB} MiB' if size % _MIB == 0 else f'{size:,}'}]"
