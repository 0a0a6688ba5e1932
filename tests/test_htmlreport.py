"""The section for HTML pages holds what a run tells, and no markup that others chose."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from pytest_opendal.htmlreport import MOST, section
from pytest_opendal.report import Leftover, Reason, RunReport, StorageInfo, Work

SDCARD = StorageInfo("sdcard", "fs", "/srv/lab/sdcard", "0.47.12")
RESULTS = StorageInfo("results", "s3", "http://127.0.0.1:9000/lab", "0.47.12")


def leftover(path: str = "a.bin", reason: Reason = Reason.KEPT, **values: object) -> Leftover:
    """Return a leftover that matters in the given values only."""
    given = {"kind": "file", "size": 1536, "test": "t.py::test_a", "worker": "gw0"} | values
    return Leftover("sdcard", path, reason=reason, **given)  # type: ignore[arg-type]


def report(*leftovers: Leftover, work: tuple[Work, ...] | None = None) -> RunReport:
    """Return the report of a run with two storages."""
    done = (Work(SDCARD, 4, 3, 2048, 1536), Work(RESULTS, 2, 2, 1024)) if work is None else work
    return RunReport("run-1", (SDCARD, RESULTS), 6, 5, leftovers, (), (), done)


class _Cells(HTMLParser):
    """Collects the texts of table rows, and all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def cells(html: str) -> list[list[str]]:
    """Return the rows of all tables."""
    parser = _Cells()
    parser.feed(html)
    return parser.rows


def bars(html: str) -> list[list[float]]:
    """Return the widths of the bars of each plot: removed, left, for each storage."""
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    return [
        [float(bar.attrib["width"]) for bar in ET.fromstring(plot).iter("rect")]  # noqa: S314
        for plot in plots
    ]


def test_a_run_that_used_no_storage_has_no_section() -> None:
    assert section(report(work=()), mode="report") == ""


def test_storages_that_were_used_have_a_row() -> None:
    rows = cells(section(report(work=(Work(SDCARD, 4, 3, 2048, 1536),)), mode="report"))
    assert rows == [
        ["storage", "service", "where", "created", "removed", "left", "written", "bytes left"],
        ["sdcard", "fs", "/srv/lab/sdcard", "4", "3", "1", "2.0 KiB", "1.5 KiB"],
    ]


def test_leftovers_have_a_row_with_reason_and_size() -> None:
    failed = leftover("b", Reason.FAILED, error="PermissionDenied: b", size=None, test="")
    held = leftover("d", Reason.FOREIGN, kind="dir", size=None, holds=("d/x",))
    rows = cells(section(report(leftover(), failed, held), mode="report"))[3:]
    assert rows == [
        ["storage", "test", "path", "why", "size"],
        ["sdcard", "t.py::test_a", "a.bin", "kept: retention all", "1.5 KiB"],
        ["sdcard", "opendal_session", "b", "delete failedPermissionDenied: b", "-"],
        ["sdcard", "t.py::test_a", "d/", "holds files of othersholds d/x", "-"],
    ]


def test_ignore_leaves_the_leftovers_out() -> None:
    html = section(report(leftover()), mode="ignore")
    assert "a.bin" not in html
    assert "/srv/lab/sdcard" in html


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    resources, sizes = bars(section(report(leftover()), mode="report"))
    assert resources == [pytest.approx(195), pytest.approx(65), pytest.approx(130), 0]
    assert sizes == [pytest.approx(65), pytest.approx(195), pytest.approx(130), 0]


def test_nothing_created_draws_nothing() -> None:
    assert bars(section(report(work=(Work(SDCARD),)), mode="report")) == [[0, 0], [0, 0]]


def test_a_bar_never_points_backwards() -> None:
    """What a device wrote is left without having been counted as written."""
    html = section(report(work=(Work(SDCARD, 1, 0, 10, 5000),)), mode="report")
    assert all(width >= 0 for plot in bars(html) for width in plot)


def test_names_are_text_whatever_others_called_their_files() -> None:
    hostile = leftover("<script>alert(1)</script>\x1b[2J", test="<img src=x>")
    storage = StorageInfo("<b>", "fs", "</table>", "0.47.12")
    html = section(
        RunReport("run-1", (storage,), 1, 0, (hostile,), (), (), (Work(storage, 1),)), mode="report"
    )
    parser = _Cells()
    parser.feed(html)
    assert not {"script", "img", "b"} & parser.tags
    assert html.count("</table>") == 2
    assert "\x1b" not in html


@pytest.mark.parametrize(("count", "unfolded"), [(20, True), (21, False)])
def test_a_long_list_is_folded(count: int, unfolded: bool) -> None:
    html = section(report(*(leftover(f"{i}") for i in range(count))), mode="report")
    assert ("<details open>" in html) == unfolded


def test_a_very_long_list_is_cut() -> None:
    html = section(report(*(leftover(f"f{i}") for i in range(MOST + 5))), mode="report")
    assert len(cells(html)) == 3 + 1 + MOST
    assert "... and 5 more; --opendal-report=PATH writes all of them." in html
