"""The terminal summary: what was left behind, in lines that fit; facts come from ``report``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TYPE_CHECKING, Protocol
from unicodedata import east_asian_width

from pytest_opendal.report import Reason, verdict
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from pytest_opendal.report import Conflict, Leftover, Remnants, RunReport, StorageInfo

TITLE = "opendal leftovers"
MAX_LINES = 20
"""Lines that the list of leftovers takes, unless details are wanted."""
MAX_OTHERS = 5
"""The same for remnants and for conflicts."""
MAX_HOLDS = 3
"""The same for what others put into one directory."""
SESSION = "opendal_session"
SHOW_ALL = "--opendal-details or --opendal-report=PATH"

_KIB = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_MIN_PATH = 20

_BOLD = {"bold": True}
_RED = {"red": True}
_YELLOW = {"yellow": True}


class Writer(Protocol):
    """What of pytest's TerminalReporter the summary uses."""

    def ensure_newline(self) -> None:
        """End the line of dots, if there is one; a section's title does not."""

    def section(self, title: str, sep: str = "=", **kw: bool) -> None:
        """Write a line of ``sep`` with the title in the middle."""

    def write_line(self, line: str, **markup: bool) -> None:
        """Write one line, marked up as a whole."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the summary."""

    text: str
    markup: Mapping[str, bool] = field(default_factory=dict)
    """Keywords of pytest's writer."""


@dataclass(frozen=True, slots=True)
class View:
    """How the summary is shown."""

    width: int = 80
    details: bool = False
    """Show everything, and nothing shortened."""

    def fit(self, text: str, room: int) -> str:
        """Return ``text`` within ``room`` columns, its middle left out where it is longer."""
        return printable(text) if self.details else shorten(printable(text), room)


def write_summary(
    writer: Writer,
    report: RunReport,
    *,
    mode: str,
    is_error: bool = False,
    details: bool = False,
    width: int = 80,
) -> None:
    """Write the section "opendal leftovers"; nothing where there is nothing to tell.

    Args:
        writer: gets the lines.
        report: what the run tells.
        mode: value of ``--opendal-leftovers``.
        is_error: whether a filter made the warning of ``warn`` an error.
        details: whether to show everything, and nothing shortened.
        width: columns of the terminal.
    """
    lines = summary_lines(report, mode=mode, is_error=is_error, view=View(width, details))
    if lines:
        failing = (mode == "error" or is_error) and verdict(report) > 0
        writer.ensure_newline()
        writer.section(TITLE, red=failing, yellow=not failing)
    for line in lines:
        writer.write_line(line.text, **line.markup)


def summary_lines(
    report: RunReport, *, mode: str, view: View, is_error: bool = False
) -> list[Line]:
    """Return the lines of the section, empty where there is nothing to tell."""
    if mode == "ignore":
        return []
    return [
        *_leftover_lines(report, view),
        *_remnant_lines(report.remnants, report.reap, view),
        *(Line(printable(text), _YELLOW) for text in report.alone),
        *_conflict_lines(report.conflicts, view),
        *(_verdict_lines(report, mode) if mode == "error" or is_error else ()),
    ]


def one_line(report: RunReport) -> str:
    """Return the leftovers that may fail a run in one line, for a warning; "" where there are none."""
    names = [left.storage for left in report.leftovers if left.reason.fails_run]
    if not names:
        return ""
    counts = ", ".join(f"{sum(1 for _ in group)} in {name}" for name, group in groupby(names))
    return f"opendal: {resources(len(names))} left behind: {counts}"


def header_lines(infos: Sequence[StorageInfo], source: str, width: int = 80) -> list[str]:
    """Return the line of pytest's header, two where it would not fit.

    ``infos`` starts with the default storage.
    """
    if not infos:
        return []
    first, *others = infos
    count = f" and {len(others)} other{'s' * (len(others) > 1)}" if others else ""
    version = f", opendal {first.opendal}" if first.opendal else ""
    storage = printable(f"storage {_storage(first)}{count}")
    line = f"opendal: {printable(source)}, {storage}{version}"
    if columns(line) <= width:
        return [line]
    return [f"opendal: {printable(source)}{version}", f"  {storage}"]


def human_size(size: int | None) -> str:
    """Return a number of bytes for humans: ``512 B``, ``1.5 KiB``; ``-`` where it is unknown."""
    if size is None:
        return "-"
    if size < _KIB:
        return f"{size} B"
    power = 1
    # What would be rounded to 1024.0 is one of the next unit.
    while size / _KIB**power >= _KIB - 0.05 and power < len(_UNITS):
        power += 1
    return f"{size / _KIB**power:.1f} {_UNITS[power - 1]}"


def columns(text: str) -> int:
    """Return how many columns a terminal takes for ``text``."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def shorten(text: str, room: int) -> str:
    """Return ``text`` in at most ``room`` columns: a third of its start, ``...``, and its end."""
    if columns(text) <= room:
        return text
    rest = max(room - 3, 0)
    end = rest - rest // 3
    return f"{_start(text, rest // 3)}...{_start(text[::-1], end)[::-1]}"


def _start(text: str, room: int) -> str:
    """Return as much of the start of ``text`` as fits."""
    if text.isascii():
        return text[:room]
    kept = 0
    for char in text:
        room -= columns(char)
        if room < 0:
            break
        kept += 1
    return text[:kept]


def resources(count: int) -> str:
    """Return a number of resources with its noun."""
    return f"{count} resource{'s' * (count != 1)}"


def _storage(info: StorageInfo) -> str:
    return f"{info.name} ({info.scheme}, {info.location})"


def _leftover_lines(report: RunReport, view: View) -> Iterator[Line]:
    """Yield the leftovers below their storage and test, and how many are not shown."""
    shown = _shown(report.leftovers, view)
    hidden = report.leftovers[len(shown) :]
    table = _Table.of(shown, view)
    names = {(info.name, info.location): _storage(info) for info in report.storages}
    for place, of_storage in groupby(shown, key=_place):
        title = view.fit(f"storage {names.get(place, place[0])}", view.width)
        yield Line(title, _BOLD)
        for test, of_test in groupby(of_storage, key=lambda left: left.test):
            yield Line("  " + view.fit(test or SESSION, view.width - 2))
            for left in of_test:
                yield from table.lines(left)
    if hidden:
        yield _more_line(hidden)


def _shown(leftovers: tuple[Leftover, ...], view: View) -> tuple[Leftover, ...]:
    """Return the first leftovers, as many as there are lines for."""
    if view.details:
        return leftovers
    # MAX_LINES leftovers never take fewer lines than there are.
    costs = list(_costs(islice(leftovers, MAX_LINES), view))
    if len(leftovers) <= len(costs) and sum(costs) <= MAX_LINES:
        return leftovers
    used = count = 0
    for cost in costs:
        used += cost
        if used > MAX_LINES - 1:
            break
        count += 1
    return leftovers[: max(count, 1)]


def _place(left: Leftover) -> tuple[str, str]:
    return left.storage, left.location


def _costs(leftovers: Iterable[Leftover], view: View) -> Iterator[int]:
    """Yield the lines that each leftover takes, with the titles that it opens."""
    place: tuple[str, str] | None = None
    test: str | None = None
    for left in leftovers:
        is_elsewhere = _place(left) != place
        titles = is_elsewhere + (is_elsewhere or left.test != test)
        place, test = _place(left), left.test
        yield titles + 1 + bool(left.error) + len(_holds(left, view))


def _more_line(hidden: tuple[Leftover, ...]) -> Line:
    failed = sum(left.reason is Reason.FAILED for left in hidden)
    if failed:
        return Line(f"... {len(hidden)} more, {failed} delete failed; all: {SHOW_ALL}", _RED)
    return Line(f"... {len(hidden)} more ({SHOW_ALL} shows all)", _YELLOW)


@dataclass(frozen=True, slots=True)
class _Table:
    """The columns of the leftovers: path, size, why."""

    view: View
    path: int
    size: int
    twins: frozenset[Hashable]
    """Those that two workers left: one test may run on each of them."""

    @classmethod
    def of(cls, leftovers: Sequence[Leftover], view: View) -> _Table:
        """Return columns as wide as these leftovers need and the terminal allows."""
        path = size = why = 0
        seen = Counter(map(_resource, leftovers))
        twins = frozenset(one for one, count in seen.items() if count > 1)
        for left in leftovers:
            path = max(path, columns(printable(_path(left))))
            size = max(size, len(human_size(left.size)))
            why = max(why, len(_why(left, twins)))
        room = view.width - 4 - 2 - size - 2 - why
        return cls(view, min(path, max(room, _MIN_PATH)), size, twins)

    def lines(self, left: Leftover) -> Iterator[Line]:
        """Yield the line of one leftover, its error and what others put there."""
        markup = _RED if left.reason is Reason.FAILED else _YELLOW
        path = self.view.fit(_path(left), self.path)
        padding = " " * (self.path - columns(path))
        size = human_size(left.size).rjust(self.size)
        yield Line(f"    {path}{padding}  {size}  {_why(left, self.twins)}", markup)
        if left.error:
            yield Line("      " + self.view.fit(left.error, self.view.width - 6), markup)
        for text in _holds(left, self.view):
            yield Line("      " + self.view.fit(text, self.view.width - 6), markup)


def _path(left: Leftover) -> str:
    return f"{left.path}/" if left.kind == "dir" else left.path


def _resource(left: Leftover) -> Hashable:
    return left.storage, left.location, left.test, left.path


def _why(left: Leftover, twins: frozenset[Hashable]) -> str:
    if left.reason is Reason.CRASHED:
        return f"worker {left.worker} crashed"
    return f"{left.reason} ({left.worker})" if _resource(left) in twins else str(left.reason)


def _holds(left: Leftover, view: View) -> list[str]:
    """Return the lines for what others put into a directory of ours."""
    if view.details or len(left.holds) <= MAX_HOLDS:
        return [f"holds {name}" for name in left.holds]
    first = left.holds[: MAX_HOLDS - 1]
    return [*(f"holds {name}" for name in first), f"and {len(left.holds) - len(first)} more"]


def _remnant_lines(remnants: tuple[Remnants, ...], command: str, view: View) -> Iterator[Line]:
    """Yield what runs that died have left, and the command that removes it."""
    if not remnants:
        return
    runs = [list(group) for _, group in groupby(remnants, key=lambda r: (r.run_id, r.host))]
    shown = runs if view.details else runs[:MAX_OTHERS]
    for run in shown:
        title = f"remnant of run {run[0].run_id} ({run[0].started}, {run[0].host})"
        counts = ", ".join(f"{resources(found.count)} in {found.storage}" for found in run)
        yield Line(view.fit(title, view.width), _BOLD)
        yield Line("  " + view.fit(counts, view.width - 2), _YELLOW)
    if len(shown) < len(runs):
        yield Line(f"... {len(runs) - len(shown)} more ({SHOW_ALL} shows all)", _YELLOW)
    yield Line(printable(f"  remove with: pytest --opendal-reap, or: {command}"))


def _conflict_lines(conflicts: tuple[Conflict, ...], view: View) -> Iterator[Line]:
    """Yield the paths that two workers held at once, with both tests."""
    if not conflicts:
        return
    yield Line("conflicts: paths that two workers held at the same time", _BOLD)
    shown = conflicts if view.details else conflicts[:MAX_OTHERS]
    for conflict in shown:
        title = f"{conflict.storage}: {conflict.path}"
        yield Line("  " + view.fit(title, view.width - 2), _YELLOW)
        for test, worker in zip(conflict.tests, conflict.workers, strict=True):
            room = view.width - 4 - len(worker) - 2
            yield Line(f"    {worker}  {view.fit(test or SESSION, room)}", _YELLOW)
    if len(shown) < len(conflicts):
        yield Line(f"  ... {len(conflicts) - len(shown)} more ({SHOW_ALL} shows all)", _YELLOW)
    yield Line("  keep apart with: --opendal-isolation=worker, or =test")


def _verdict_lines(report: RunReport, mode: str) -> Iterator[Line]:
    count = verdict(report)
    if count:
        verb = "was" if count == 1 else "were"
        text = f"the run fails because {resources(count)} {verb} left"
        why = "" if mode == "error" else ", and a filter makes the warning an error"
        yield Line(f"{text} (--opendal-leftovers={mode}{why})", {"red": True, "bold": True})
