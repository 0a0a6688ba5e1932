"""What a run pays that does not use the plugin: nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runs import Suite, needs_xdist

HEAVY = {
    "opendal",
    "pydantic",
    "pydantic_core",
    "yaml",
    "asyncio",
    "ssl",
    "filelock",
    "jumpstarter",
}
LIGHT_OF_OURS = {
    "pytest_opendal",
    "pytest_opendal.errors",
    "pytest_opendal.hookspecs",
    "pytest_opendal.options",
    "pytest_opendal.places",
    "pytest_opendal.plugin",
    "pytest_opendal.process",
    "pytest_opendal.words",
}

TELLING_CONFTEST = """
import json, os, sys, threading
from pathlib import Path

def pytest_sessionfinish(session):
    told = {
        "modules": sorted(sys.modules),
        "threads": [thread.name for thread in threading.enumerate()],
    }
    name = os.environ.get("PYTEST_XDIST_WORKER", "main")
    Path(f"told-{name}.json").write_text(json.dumps(told))
"""


def _told(suite: Suite, *args: str) -> dict[str, dict[str, list[str]]]:
    """Return, for each process of a run, which modules and threads it had at its end."""
    # Nothing but pytest's own plugins and ours; coverage would load modules of its own.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = (sys.executable, "-m", "pytest", *args)
    subprocess.run(command, cwd=suite.pytester.path, env=environ, check=True, capture_output=True)
    found = {}
    for path in Path(suite.pytester.path).glob("told-*.json"):
        found[path.stem.removeprefix("told-")] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
    return found


@pytest.fixture
def idle_suite(suite: Suite) -> Suite:
    suite.write(conftest=TELLING_CONFTEST, test_idle="def test_idle(): pass\ndef test_two(): pass")
    return suite


@pytest.mark.parametrize(
    "args", [(), pytest.param(("-p", "xdist", "-n2"), marks=needs_xdist)], ids=["plain", "n2"]
)
def test_run_without_storage_imports_nothing_heavy(
    idle_suite: Suite, args: tuple[str, ...]
) -> None:
    without = _told(idle_suite, *args)
    with_us = _told(idle_suite, "-p", "pytest_opendal.plugin", *args)
    assert with_us.keys() == without.keys()
    for process, told in with_us.items():
        added = set(told["modules"]) - set(without[process]["modules"])
        assert not HEAVY & {name.partition(".")[0] for name in added}
        assert {name for name in added if name.startswith("pytest_opendal")} <= LIGHT_OF_OURS
        assert told["threads"] == without[process]["threads"]


def test_run_without_storage_makes_no_file(idle_suite: Suite) -> None:
    _told(idle_suite, "-p", "pytest_opendal.plugin")
    assert not (idle_suite.pytester.path / ".pytest_cache" / "opendal").exists()
    assert not (idle_suite.pytester.path / ".pytest_cache" / "d").exists()
