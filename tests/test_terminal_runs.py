"""What a person sees of whole runs, at 80 columns: the same serially and under xdist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runs import Suite

LEAVES = """
import pytest
from pathlib import Path

ROOTFS = "images/board-rpi4/release-candidate/rootfs-with-a-long-name-of-its-own.ext4"
LONG = "a-parameter-with-a-name-that-does-not-fit-into-eighty-columns-beside-all-the-rest"

def test_boot_log(opendal):
    opendal.write_bytes("logs/boot.log", b"self-test: FAILED")
    assert 0

@pytest.mark.parametrize("what", [LONG])
def test_foreign(opendal, what):
    opendal.create_dir("shared")
    Path("device/shared/other.txt").write_text("x")

def test_results(opendal_factory):
    opendal_factory("results").write_bytes("run.json", bytes(80_000))

def test_rootfs(opendal):
    opendal.create_dir("images/board-rpi4/release-candidate")
    opendal.write_bytes(ROOTFS, bytes(3 << 20))
    assert 0

def test_tidy(opendal):
    opendal.write_bytes("gone", b"x")
"""
TOLD = """\
storage results (fs, RESULTS)
  test_it.py::test_results
    run.json                                    78.1 KiB  kept: retention all
storage sdcard (fs, DEVICE)
  test_it.py::test_boot_log
    logs/                                              -  kept: retention failed
    logs/boot.log                                   17 B  kept: retention failed
  test_it.py::test_foreign[...s-not-fit-into-eighty-columns-beside-all-the-rest]
    shared/                                            -  holds files of others
      holds shared/other.txt
  test_it.py::test_rootfs
    images/                                            -  kept: retention failed
    images/board-rpi4/                                 -  kept: retention failed
    images/board-rpi4/release-candidate/               -  kept: retention failed
    images/board-...-long-name-of-its-own.ext4   3.0 MiB  kept: retention failed
"""


@pytest.fixture
def leaving(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite that leaves things for several reasons, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)  # there pytest repeats whole messages
    keep = suite.fs("device", retention="failed")
    suite.several("sdcard", sdcard=keep, results=suite.fs("results", retention="all"))
    suite.write(test_it=LEAVES)
    return suite


def _section(suite: Suite, *args: str) -> str:
    """Return the section as printed, with a blank for what differs between directories."""
    lines = suite.run("--tb=no", *args, strict=False).stdout.lines
    titles = [number for number, line in enumerate(lines) if " opendal leftovers " in line]
    (start,) = titles
    end = next(number for number in range(start + 1, len(lines)) if lines[number].startswith("="))
    assert all(len(line) <= 80 for line in lines[start:end])
    return "".join(f"{_PLACE.sub(_blank, line)}\n" for line in lines[start + 1 : end])


_PLACE = re.compile(r"\(fs, [^)]*(device|results)\)")


def _blank(place: re.Match[str]) -> str:
    return f"(fs, {place[1].upper()})"


def test_the_section_is_this_text(leaving: Suite, plugin_args: tuple[str, ...]) -> None:
    assert _section(leaving, *plugin_args) == TOLD


@pytest.mark.parametrize(("colour", "some"), [("yes", True), ("no", False), ("auto", False)])
def test_colours_are_where_pytest_has_them(leaving: Suite, colour: str, some: bool) -> None:
    lines = leaving.run("--tb=no", f"--color={colour}", strict=False).stdout.lines
    (line,) = [line for line in lines if "logs/boot.log" in line]
    assert ("\x1b[33m" in line) == some


def test_a_title_begins_on_a_line_of_its_own(leaving: Suite) -> None:
    """Also after dots without a failure in between, and nothing blank follows it."""
    lines = leaving.run("--tb=no", "-q", "-k", "results", strict=False).stdout.lines
    (title,) = [number for number, line in enumerate(lines) if " opendal leftovers " in line]
    assert lines[title].startswith("==")
    assert lines[title + 1].startswith("storage results ")


def test_a_header_that_is_too_long_is_two_lines(leaving: Suite) -> None:
    lines = leaving.run("--collect-only", strict=False).stdout.lines
    (start,) = [number for number, line in enumerate(lines) if line.startswith("opendal: ")]
    assert re.fullmatch(r"opendal: .*lab\.yaml, opendal [\d.]+", lines[start])
    assert re.fullmatch(r"  storage sdcard \(fs, .*device\) and 1 other", lines[start + 1])
