"""Leftovers as annotations of GitHub Actions: lines that its runner shows beside the tests."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING

from pytest_opendal.terminal import SESSION, human_size
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_opendal.report import Leftover, RunReport
    from pytest_opendal.terminal import Writer

Place = tuple[str, int | None]
"""File of a test relative to pytest's root directory, and its line, counted from 1."""

MOST = 10
"""GitHub shows no more of a kind for a step."""
_NAMED = 5


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether this is a step of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


class Inert:
    """Writes lines in which the runner finds no command: others choose the names in them."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def ensure_newline(self) -> None:
        """End the line of dots, if there is one."""
        self._writer.ensure_newline()

    def section(self, title: str, sep: str = "=", **kw: bool) -> None:
        """Write a line of ``sep`` with the title in the middle."""
        self._writer.section(title, sep, **kw)

    def write_line(self, line: str, **markup: bool) -> None:
        """Write one line, with a backslash in what the runner would obey."""
        if line.lstrip().startswith("::"):
            line = line.replace("::", "\\::", 1)
        self._writer.write_line(line.replace("##[", "#\\#["), **markup)


def commands(
    report: RunReport, *, mode: str, places: Mapping[str, Place], root: str, workspace: str
) -> Iterator[str]:
    """Yield a line for each test that left something, at most ``MOST``.

    Args:
        report: what the run tells.
        mode: value of ``--opendal-leftovers``; ``error``: what fails the run is an error.
        places: where each test is, by node id.
        root: pytest's root directory.
        workspace: directory of the checkout, which GitHub's file names are relative to; ``""``: root.
    """
    if mode == "ignore":
        return
    tests = [(test, list(left)) for test, left in groupby(_by_test(report), lambda left: left.test)]
    shown = tests if len(tests) <= MOST else tests[: MOST - 1]
    for test, left in shown:
        file, line = places.get(test, ("", None))
        place = {"file": _below(file, root, workspace), "line": line} if file else {}
        yield _command(_level(left, mode), _told(test, left), place)
    if rest := tests[len(shown) :]:
        left = [one for _, members in rest for one in members]
        text = f"{len(rest)} more tests left {len(left)} resources; the log lists them"
        yield _command(_level(left, mode), text, {})


def _by_test(report: RunReport) -> list[Leftover]:
    return sorted(report.leftovers, key=lambda left: (left.test, left.storage, left.path))


def _level(leftovers: Sequence[Leftover], mode: str) -> str:
    fails = mode == "error" and any(left.reason.fails_run for left in leftovers)
    return "error" if fails else "warning"


def _told(test: str, leftovers: Sequence[Leftover]) -> str:
    """Return what a test left: a line for each resource, the first ones."""
    lines = [f"{test or SESSION} left {len(leftovers)} resource{'s' * (len(leftovers) != 1)}"]
    lines += [f"{left.storage}:{left.path} ({_about(left)})" for left in leftovers[:_NAMED]]
    if len(leftovers) > _NAMED:
        lines.append(f"... and {len(leftovers) - _NAMED} more")
    return "\n".join(map(printable, lines))


def _about(left: Leftover) -> str:
    size = "" if left.size is None else f"{human_size(left.size)}, "
    return f"{size}{left.error or left.reason}"


def _below(file: str, root: str, workspace: str) -> str:
    """Return a file's name as GitHub needs it: relative to the checkout."""
    return PurePath(os.path.relpath(PurePath(root, file), workspace or root)).as_posix()


def _command(level: str, text: str, place: Mapping[str, object]) -> str:
    properties = {"title": "opendal leftovers", **place}
    given = ",".join(f"{key}={_escaped_value(value)}" for key, value in properties.items() if value)
    return f"::{level} {given}::{_escaped(text)}"


def _escaped(text: str) -> str:
    # The runner's own order: the percent sign first.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_value(value: object) -> str:
    return _escaped(str(value)).replace(":", "%3A").replace(",", "%2C")
