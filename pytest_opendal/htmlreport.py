"""What a run did and left, as a section of an HTML page: tables and plots without any script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pytest_opendal.terminal import SESSION, TITLE, human_size
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_opendal.report import Leftover, RunReport, Work

MOST = 200
"""Leftovers that the table lists; the JSON report has all."""
_FOLDED = 20
"""More of them are folded up, since the tests come below."""

_GONE, _LEFT = "#4a8f5c", "#d9822b"
_BAR, _ROW, _NAME, _VALUE = 260, 22, 150, 150
"""Of the plot, in pixels: length of the longest bar, height of a row, columns of text beside it."""
_LONG = 20
"""Characters of a storage's name for which there is room."""
_STYLE = """
.opendal { color: #222; }
.opendal table { border-collapse: collapse; margin: 0.5em 0 1em; }
.opendal th, .opendal td { border: 1px solid #e6e6e6; padding: 4px 10px; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
.opendal td.number { text-align: right; white-space: nowrap; }
.opendal figure { display: inline-block; margin: 0 2em 1em 0; }
.opendal figcaption { margin-bottom: 4px; }
.opendal svg text { font: 12px sans-serif; fill: #222; }
.opendal summary { font-weight: bold; cursor: pointer; }
"""


def section(report: RunReport, *, mode: str) -> str:
    """Return the section; ``""`` for a run in which no test used a storage.

    Args:
        report: what the run tells.
        mode: value of ``--opendal-leftovers``; ``ignore`` leaves the leftovers out.
    """
    if not (report.work or report.leftovers):
        return ""
    parts = ["<h2>opendal</h2>", *_storages(report)]
    if mode != "ignore":
        parts += _leftovers(report.leftovers)
    return f'<style>{_STYLE}</style>\n<div class="opendal">\n' + "\n".join(parts) + "\n</div>"


def _storages(report: RunReport) -> Iterator[str]:
    works = {work.storage: work for work in report.work}
    used = [info for info in report.storages if info in works]
    heads = ("storage", "service", "where", "created", "removed", "left", "written", "bytes left")
    rows = []
    for info in used:
        work = works[info]
        counts = (work.created, work.removed, work.created - work.removed)
        sizes = (human_size(work.written), human_size(work.left))
        rows.append((info.name, info.scheme, info.location, *map(str, counts), *sizes))
    yield _table(heads, rows, numbers=5)
    shown = [works[info] for info in used]
    yield _plot("resources", shown, lambda work: work.created, lambda work: work.removed, str)
    yield _plot(
        "bytes",
        shown,
        lambda work: max(work.written, work.left),
        lambda work: max(work.written - work.left, 0),
        human_size,
    )


def _leftovers(leftovers: tuple[Leftover, ...]) -> Iterator[str]:
    if not leftovers:
        return
    unfolded = " open" if len(leftovers) <= _FOLDED else ""
    yield f"<details{unfolded}><summary>{TITLE}: {len(leftovers)}</summary>"
    heads = ("storage", "test", "path", "why", "size")
    yield _table(heads, map(_row, leftovers[:MOST]), numbers=1)
    if len(leftovers) > MOST:
        yield f"<p>... and {len(leftovers) - MOST} more; --opendal-report=PATH writes all of them.</p>"
    yield "</details>"


def _row(left: Leftover) -> tuple[str, ...]:
    path = f"{left.path}/" if left.kind == "dir" else left.path
    holds = "".join(f"\nholds {name}" for name in left.holds)
    error = f"\n{left.error}" if left.error else ""
    size = human_size(left.size)
    return left.storage, left.test or SESSION, path, f"{left.reason}{error}{holds}", size


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: int) -> str:
    """Return a table whose last columns are numbers."""
    lines = ["<table>", "<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for row in rows:
        cells = [_text(cell) for cell in row]
        texts = "".join(f"<td>{cell}</td>" for cell in cells[:-numbers])
        lines.append(f"<tr>{texts}{''.join(map(_number, cells[-numbers:]))}</tr>")
    return "\n".join([*lines, "</table>"])


def _number(cell: str) -> str:
    return f'<td class="number">{cell}</td>'


def _text(text: str) -> str:
    """Return a text for HTML; others choose the names that are shown."""
    return "<br>".join(escape(printable(line)) for line in text.split("\n"))


def _plot(
    what: str,
    works: list[Work],
    all_of: Callable[[Work], int],
    removed_of: Callable[[Work], int],
    told: Callable[[int], str],
) -> str:
    """Return a bar for each storage: what was created, of which a part was removed."""
    most = max((all_of(work) for work in works), default=0)
    bars = [
        _bar(row, work.storage.name, all_of(work), removed_of(work), most, told)
        for row, work in enumerate(works)
    ]
    width, height = _NAME + _BAR + _VALUE, _ROW * len(works)
    key = f"{_dot(_GONE)} removed {_dot(_LEFT)} left"
    return (
        f"<figure><figcaption>{what} created: {key}</figcaption>\n"
        f'<svg role="img" aria-label="{what} created and removed on each storage" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        + "\n".join(bars)
        + "\n</svg></figure>"
    )


def _dot(colour: str) -> str:
    return f'<span style="color:{colour}">&#9632;</span>'


def _bar(
    row: int, name: str, created: int, removed: int, most: int, told: Callable[[int], str]
) -> str:
    top, middle = row * _ROW + 3, row * _ROW + _ROW // 2 + 4
    gone, length = (_BAR * count / most if most else 0 for count in (removed, created))
    left = f", {told(created - removed)} left" if created > removed else ""
    return (
        f'<text x="0" y="{middle}">{_text(name if len(name) <= _LONG else name[:_LONG] + "...")}</text>'
        f'<rect x="{_NAME}" y="{top}" width="{gone:.1f}" height="{_ROW - 6}" fill="{_GONE}"/>'
        f'<rect x="{_NAME + gone:.1f}" y="{top}" width="{length - gone:.1f}" height="{_ROW - 6}" '
        f'fill="{_LEFT}"/>'
        f'<text x="{_NAME + length + 6:.1f}" y="{middle}">{told(created)}{left}</text>'
    )
