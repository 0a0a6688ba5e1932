"""How the process that prints tells what a run left: to the terminal, files, browsers and GitHub."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import github, htmlreport, jsonreport, report, terminal
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from pytest_opendal.github import Place
    from pytest_opendal.options import Options


class LeftoverWarning(pytest.PytestWarning):
    """Something was left behind, and ``--opendal-leftovers=warn`` asks to be told so."""


class Reporting:
    """Told the result once, it passes it on to all who want to know."""

    def __init__(self, config: pytest.Config, chosen: Options) -> None:
        self._config = config
        self._options = chosen
        self._places: dict[str, Place] = {}
        self._result: report.RunReport | None = None
        self._problems: list[str] = []
        self._is_error = False
        """Whether a filter made the warning an error."""

    def place(self, test: pytest.Item | pytest.TestReport) -> None:
        """Remember where a test is that tells something."""
        file, line, _ = test.location
        self._places[test.nodeid] = (file, None if line is None else line + 1)

    def settle(self, result: report.RunReport) -> bool:
        """Take the result and write what is written to files; whether the run fails for it."""
        self._result = result
        self._write_report(result)
        self._call_hook(result)
        fails = self._options.leftovers == "error" and report.verdict(result) > 0
        if self._options.leftovers == "warn":
            self._is_error = _warns(self._config, terminal.one_line(result))
        return fails or self._is_error or bool(self._problems)

    def _write_report(self, result: report.RunReport) -> None:
        if self._options.report is not None:
            try:
                jsonreport.write_json(self._options.report, result)
            except OSError as error:
                self._problems.append(str(error))

    def _call_hook(self, result: report.RunReport) -> None:
        """Let other plugins know; a mistake in one of them costs nobody the summary."""
        try:
            self._config.hook.pytest_opendal_leftovers(leftovers=list(result.leftovers))
        except (Exception, pytest.fail.Exception) as error:
            reason = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")
            self._problems.append(f"a hook pytest_opendal_leftovers raised {reason}")

    def write(self, reporter: Any) -> None:
        """Print what was left."""
        writer = github.Inert(reporter) if github.is_wanted(os.environ) else reporter
        if self._result is not None:
            terminal.write_summary(
                writer,
                self._result,
                mode=self._options.leftovers,
                is_error=self._is_error,
                details=self._options.details or self._config.get_verbosity() > 0,
                width=self._config.get_terminal_writer().fullwidth,
            )
            self._annotate(reporter, self._result)
        for problem in self._problems:
            writer.write_line(f"ERROR: {problem}", red=True)

    def _annotate(self, reporter: Any, result: report.RunReport) -> None:
        if github.is_wanted(os.environ):
            for line in github.commands(
                result,
                mode="error" if self._is_error else self._options.leftovers,
                places=self._places,
                root=str(self._config.rootpath),
                workspace=os.environ.get("GITHUB_WORKSPACE", ""),
            ):
                reporter.write_line(line)

    def html(self) -> list[str]:
        """Return the section for pytest-html, if there is anything to tell."""
        found = (
            htmlreport.section(self._result, mode=self._options.leftovers) if self._result else ""
        )
        return [found] if found else []


def _warns(config: pytest.Config, text: str) -> bool:
    """Issue a warning; whether a filter made it an error."""
    try:
        with warnings.catch_warnings(record=True) as recorded:
            if text:
                warnings.warn(LeftoverWarning(text), stacklevel=1)
    except LeftoverWarning:
        return True
    for warning in recorded:
        # What pytest records at the end of a session comes after its summary of warnings.
        config.hook.pytest_warning_recorded.call_historic(
            kwargs={"warning_message": warning, "nodeid": "", "when": "config", "location": None}
        )
    return False
