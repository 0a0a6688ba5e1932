"""The exact text of the summary, at 80 columns unless a test says otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_opendal.report import (
    Conflict,
    Leftover,
    Reason,
    Remnants,
    RunReport,
    StorageInfo,
)
from pytest_opendal.terminal import (
    Writer,
    columns,
    header_lines,
    human_size,
    one_line,
    shorten,
    write_summary,
)
from pytest_opendal.words import printable

SDCARD = StorageInfo("sdcard", "fs", "/srv/lab/sdcard", "0.47.12")
RESULTS = StorageInfo("results", "s3", "http://127.0.0.1:9000/lab/results", "0.47.12")
FLASH = "tests/test_boot.py::test_flash"
LONG = "images/board-rpi4/2025-11-22/release-candidate/rootfs-with-a-long-name.ext4"


class Screen:
    """Keeps what a terminal would show; a title as ``== title``."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.markup: dict[str, set[str]] = {}

    def ensure_newline(self) -> None:
        assert not self.lines, "the line of dots ends before the title"

    def section(self, title: str, sep: str = "=", **kw: bool) -> None:
        self.write_line(f"{sep * 2} {title}", **kw)

    def write_line(self, line: str, **markup: bool) -> None:
        assert line == line.rstrip()
        self.lines.append(line)
        self.markup[line.strip()] = {name for name, on in markup.items() if on}


def shown(report: RunReport, **options: Any) -> Screen:
    """Return the screen with the summary of ``report``."""
    screen = Screen()
    write_summary(screen, report, **{"mode": "report", **options})
    return screen


def text(report: RunReport, **options: Any) -> str:
    """Return the summary of ``report``, framed by newlines as the literals here are."""
    return "\n" + "".join(f"{line}\n" for line in shown(report, **options).lines)


def left(
    path: str,
    *,
    storage: str = "sdcard",
    test: str = FLASH,
    size: int | None = 512,
    reason: Reason = Reason.KEPT,
    error: str | None = None,
    holds: tuple[str, ...] = (),
    kind: str = "file",
) -> Leftover:
    """Return a leftover that matters in the given values only."""
    place = {"sdcard": SDCARD.location, "results": RESULTS.location}.get(storage, "")
    return Leftover(storage, path, kind, size, test, "gw3", reason, error, holds, place)


def report(
    *leftovers: Leftover,
    remnants: tuple[Remnants, ...] = (),
    conflicts: tuple[Conflict, ...] = (),
) -> RunReport:
    """Return the report of a run."""
    return RunReport("run-1", (SDCARD, RESULTS), 9, 5, leftovers, remnants, conflicts)


def foreign(*holds: str) -> Leftover:
    """Return a directory of ours with files of others."""
    return left("logs", kind="dir", size=None, reason=Reason.FOREIGN, holds=holds)


def test_pytests_own_reporter_is_a_writer(pytestconfig: pytest.Config) -> None:
    """What mypy checks here is that its signatures fit."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    if not isinstance(reporter, pytest.TerminalReporter):
        pytest.skip("this run has no terminal reporter")
    writer: Writer = reporter
    assert callable(writer.section)


def test_leftovers_of_two_storages_and_three_tests() -> None:
    assert text(
        report(
            left("run/log.txt", storage="results", test="tests/test_up.py::test_up[s3]", size=1536),
            left("calibration.bin", test="", reason=Reason.MOVED, size=None),
            left("rootfs.ext4", size=64 << 20),
            left("u-boot.bin", reason=Reason.KEPT_FAILED),
            left("x", test="tests/test_boot.py::test_up", reason=Reason.CRASHED),
        )
    ) == (
        """
== opendal leftovers
storage results (s3, http://127.0.0.1:9000/lab/results)
  tests/test_up.py::test_up[s3]
    run/log.txt       1.5 KiB  kept: retention all
storage sdcard (fs, /srv/lab/sdcard)
  opendal_session
    calibration.bin         -  moved there
  tests/test_boot.py::test_flash
    rootfs.ext4      64.0 MiB  kept: retention all
    u-boot.bin          512 B  kept: retention failed
  tests/test_boot.py::test_up
    x                   512 B  worker gw3 crashed
"""
    )


def test_each_place_of_one_name_has_its_title() -> None:
    places = [replace(SDCARD, location=f"/srv/gw{number}") for number in range(2)]
    left_there = [replace(left("a", size=1), location=info.location) for info in places]
    assert text(replace(report(*left_there), storages=tuple(places))) == (
        """
== opendal leftovers
storage sdcard (fs, /srv/gw0)
  tests/test_boot.py::test_flash
    a  1 B  kept: retention all
storage sdcard (fs, /srv/gw1)
  tests/test_boot.py::test_flash
    a  1 B  kept: retention all
"""
    )


def test_what_two_workers_left_names_them() -> None:
    twins = [replace(left("a", size=1), worker=f"gw{number}") for number in range(2)]
    assert shown(report(*twins, left("b", size=1))).lines[3:] == [
        "    a  1 B  kept: retention all (gw0)",
        "    a  1 B  kept: retention all (gw1)",
        "    b  1 B  kept: retention all",
    ]


def test_a_long_path_and_its_error_are_shortened_in_the_middle() -> None:
    error = f"PermissionDenied: sdcard: delete {LONG}: the card is read-only"
    assert text(report(left(LONG, reason=Reason.FAILED, error=error), left("u-boot.bin"))) == (
        """
== opendal leftovers
storage sdcard (fs, /srv/lab/sdcard)
  tests/test_boot.py::test_flash
    images/board-rp...e/rootfs-with-a-long-name.ext4  512 B  delete failed
      PermissionDenied: sdcar...tfs-with-a-long-name.ext4: the card is read-only
    u-boot.bin                                        512 B  kept: retention all
"""
    )


def test_details_shorten_nothing() -> None:
    error = f"PermissionDenied: sdcard: delete {LONG}: the card is read-only"
    lines = shown(report(left(LONG, reason=Reason.FAILED, error=error)), details=True).lines
    assert LONG in lines[3]
    assert lines[4] == f"      {error}"


def test_a_failed_deletion_shows_its_error() -> None:
    error = "StorageTimeout: sdcard: delete u-boot.bin: no answer within 60 s"
    screen = shown(report(left("u-boot.bin", reason=Reason.FAILED, error=error)))
    assert screen.lines[3:] == ["    u-boot.bin  512 B  delete failed", f"      {error}"]
    assert screen.markup[error] == {"red"}


def test_what_others_put_into_a_directory_is_listed_below_it() -> None:
    assert text(report(foreign("logs/dmesg.txt", "logs/old"))) == (
        """
== opendal leftovers
storage sdcard (fs, /srv/lab/sdcard)
  tests/test_boot.py::test_flash
    logs/  -  holds files of others
      holds logs/dmesg.txt
      holds logs/old
"""
    )


def test_much_that_others_put_there_is_counted() -> None:
    directory = foreign(*(f"logs/{i}" for i in range(20)))
    below = ["      holds logs/0", "      holds logs/1", "      and 18 more"]
    assert shown(report(directory)).lines[4:] == below
    assert len(shown(report(directory), details=True).lines) == 24


def many(count: int, reason: Reason = Reason.KEPT) -> list[Leftover]:
    """Return leftovers of one test."""
    return [left(f"{reason.name.lower()}-{i:02}", reason=reason) for i in range(count)]


def test_the_list_takes_at_most_twenty_lines() -> None:
    lines = shown(report(*many(25))).lines
    assert len(lines) == 21
    assert lines[-2:] == [
        "    kept-16  512 B  kept: retention all",
        "... 8 more (--opendal-details or --opendal-report=PATH shows all)",
    ]


def test_a_list_of_twenty_lines_is_not_cut() -> None:
    lines = shown(report(*many(18))).lines
    assert len(lines) == 21
    assert "more" not in lines[-1]


def test_details_list_all() -> None:
    lines = shown(report(*many(25)), details=True).lines
    assert len(lines) == 28
    assert lines[-1] == "    kept-24  512 B  kept: retention all"


def test_titles_count_as_lines_and_none_stands_alone() -> None:
    lines = shown(report(*(left("x", test=f"t.py::test_{i:02}") for i in range(25)))).lines
    assert len(lines) == 21
    assert lines[-3:] == [
        "  t.py::test_08",
        "    x  512 B  kept: retention all",
        "... 16 more (--opendal-details or --opendal-report=PATH shows all)",
    ]


def test_failed_deletions_that_are_not_shown_are_counted() -> None:
    screen = shown(report(*many(20), *many(3, Reason.FAILED)))
    last = "... 6 more, 3 delete failed; all: --opendal-details or --opendal-report=PATH"
    assert screen.lines[-1] == last
    assert screen.markup[last] == {"red"}


def test_remnants_come_with_the_command_that_removes_them() -> None:
    started = "2025-11-22T18:15:00+00:00"
    remnants = (
        Remnants("20251122-181500-ab12", started, "lab-host-3", "results", 3),
        Remnants("20251122-181500-ab12", started, "lab-host-3", "sdcard", 12),
        Remnants("20251123-070000-cd34", started, "lab-host-4", "sdcard", 1),
    )
    assert text(report(remnants=remnants)) == (
        """
== opendal leftovers
remnant of run 20251122-181500-ab12 (2025-11-22T18:15:00+00:00, lab-host-3)
  3 resources in results, 12 resources in sdcard
remnant of run 20251123-070000-cd34 (2025-11-22T18:15:00+00:00, lab-host-4)
  1 resource in sdcard
  remove with: pytest --opendal-reap, or: pytest-opendal reap
"""
    )


def test_many_remnants_are_cut() -> None:
    remnants = tuple(Remnants(f"run-{i}", "now", "host", "sdcard", 1) for i in range(7))
    lines = shown(report(remnants=remnants)).lines
    assert lines[-2] == "... 2 more (--opendal-details or --opendal-report=PATH shows all)"
    assert len(lines) == 1 + 5 * 2 + 2
    assert len(shown(report(remnants=remnants), details=True).lines) == 1 + 7 * 2 + 1


def test_conflicts_name_the_path_and_both_tests() -> None:
    tests = ("", f"{FLASH}[a-parameter-that-is-so-long-that-it-has-no-room-in-the-line-at-all]")
    conflict = Conflict("sdcard", "boot/config.txt", tests, ("gw0", "gw1"))
    assert text(report(conflicts=(conflict,))) == (
        """
== opendal leftovers
conflicts: paths that two workers held at the same time
  sdcard: boot/config.txt
    gw0  opendal_session
    gw1  tests/test_boot.py::te...o-long-that-it-has-no-room-in-the-line-at-all]
  keep apart with: --opendal-isolation=worker, or =test
"""
    )


def test_many_conflicts_are_cut() -> None:
    conflicts = tuple(
        Conflict("sdcard", f"x{i}", ("t::a", "t::b"), ("gw0", "gw1")) for i in range(8)
    )
    lines = shown(report(conflicts=conflicts)).lines
    assert lines[-2] == "  ... 3 more (--opendal-details or --opendal-report=PATH shows all)"
    assert len(shown(report(conflicts=conflicts), details=True).lines) == 2 + 8 * 3 + 1


@pytest.mark.parametrize("mode", ["report", "warn", "error", "ignore"])
def test_nothing_left_prints_nothing(mode: str) -> None:
    assert shown(report(), mode=mode, details=True).lines == []


def test_ignore_prints_nothing() -> None:
    assert shown(report(left("x")), mode="ignore").lines == []


def test_warn_prints_what_report_prints() -> None:
    assert shown(report(left("x")), mode="warn").lines == shown(report(left("x"))).lines


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 resource was left"), (3, "3 resources were left")]
)
def test_error_ends_with_why_the_run_fails(count: int, words: str) -> None:
    screen = shown(report(*many(count), foreign("logs/x")), mode="error")
    assert screen.lines[-1] == f"the run fails because {words} (--opendal-leftovers=error)"
    assert screen.markup[screen.lines[-1]] == {"red", "bold"}
    assert screen.markup["== opendal leftovers"] == {"red"}


def test_a_warning_that_is_an_error_says_why_the_run_fails() -> None:
    screen = shown(report(left("x")), mode="warn", is_error=True)
    why = "--opendal-leftovers=warn, and a filter makes the warning an error"
    assert screen.lines[-1] == f"the run fails because 1 resource was left ({why})"
    assert screen.markup["== opendal leftovers"] == {"red"}


def test_error_has_no_such_line_when_the_run_does_not_fail() -> None:
    left_for_a_reason = report(*many(2, Reason.KEPT_FAILED))
    assert text(left_for_a_reason, mode="error") == text(left_for_a_reason)


def test_colours_are_the_writers() -> None:
    markup = shown(report(left("x"))).markup
    assert markup["== opendal leftovers"] == {"yellow"}
    assert markup["storage sdcard (fs, /srv/lab/sdcard)"] == {"bold"}
    assert markup["x  512 B  kept: retention all"] == {"yellow"}


@pytest.mark.parametrize("width", [72, 80, 132])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Whatever the names: long, wide or both."""
    name = f"{'長い名前' * 20}/{'x' * 200}"
    where = StorageInfo(name, "fs", name, "0.47.12")
    lefts = [
        left(name, storage=name, test=name, size=1 << 40, reason=reason, error=name, holds=(name,))
        for reason in Reason
    ]
    long_report = RunReport(
        "run-1",
        (where,),
        9,
        5,
        tuple(lefts[:4]),
        (Remnants(name, "now", name, name, 1),),
        (Conflict(name, name, (name, name), ("gw0", "gw1")),),
    )
    lines = shown(long_report, mode="error", width=width).lines[1:]
    assert [line for line in lines if columns(line) > width] == []


def test_names_cannot_control_the_terminal() -> None:
    """Others choose the names in a directory; they may hold escapes and line ends."""
    lines = shown(report(foreign("logs/\x1b[2J\nfine"))).lines
    assert lines[-1] == r"      holds logs/\x1b[2J\nfine"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (64 << 20, "64.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 60, "3072.0 PiB"),
    ],
)
def test_sizes_are_for_humans(size: int | None, words: str) -> None:
    assert human_size(size) == words


@pytest.mark.parametrize(
    ("given", "room", "expected"),
    [
        ("short", 5, "short"),
        ("0123456789abcdef", 12, "012...abcdef"),
        ("長い名前/ファイル", 12, "長...ァイル"),
    ],
)
def test_the_end_of_a_shortened_text_is_kept(given: str, room: int, expected: str) -> None:
    assert shorten(given, room) == expected


def test_printable_text_is_as_it_was() -> None:
    assert printable("ü/名 x") == "ü/名 x"
    assert printable("a\udcff\t") == r"a\udcff\t"


def test_the_header_names_file_storage_and_version() -> None:
    line = "opendal: lab.yaml, storage sdcard (fs, /srv/lab/sdcard), opendal 0.47.12"
    assert header_lines([SDCARD], "lab.yaml") == [line]


@pytest.mark.parametrize(("more", "words"), [(1, "and 1 other"), (2, "and 2 others")])
def test_the_header_counts_the_other_storages(more: int, words: str) -> None:
    (line,) = header_lines([SDCARD, *[RESULTS] * more], "lab.yaml", width=100)
    assert line == (
        f"opendal: lab.yaml, storage sdcard (fs, /srv/lab/sdcard) {words}, opendal 0.47.12"
    )


def test_a_header_that_does_not_fit_has_two_lines() -> None:
    source = "/home/me/lab/configurations/lab.yaml"
    assert header_lines([SDCARD], source, width=80) == [
        "opendal: /home/me/lab/configurations/lab.yaml, opendal 0.47.12",
        "  storage sdcard (fs, /srv/lab/sdcard)",
    ]
    assert len(header_lines([SDCARD], source, width=120)) == 1


def test_the_header_leaves_out_what_is_not_known() -> None:
    assert header_lines([], "lab.yaml") == []
    dut = StorageInfo("dut", "jumpstarter", "dut.storage", "")
    assert header_lines([dut], "lab.yaml") == [
        "opendal: lab.yaml, storage dut (jumpstarter, dut.storage)"
    ]


def test_one_line_for_a_warning() -> None:
    assert one_line(report()) == ""
    assert one_line(report(foreign("logs/x"), left("x", reason=Reason.KEPT_FAILED))) == ""
    assert one_line(report(left("a", storage="results"), left("a"), left("b"))) == (
        "opendal: 3 resources left behind: 1 in results, 2 in sdcard"
    )
