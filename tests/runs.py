"""Runs of pytest that tests start: a suite in a directory of its own, and its configuration."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

# Loaded here, so that a run inside this process does not load native modules a second time.
import pytest_opendal.backends.local
import pytest_opendal.session  # noqa: F401
from pytest_opendal import jsonreport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SECONDS = 120
HAS_XDIST = importlib.util.find_spec("xdist") is not None

needs_xdist = pytest.mark.skipif(not HAS_XDIST, reason="pytest-xdist is not installed")


@pytest.fixture(
    params=[
        pytest.param((), id="plain"),
        pytest.param(("-n0",), id="n0", marks=needs_xdist),
        pytest.param(("-n2",), id="n2", marks=needs_xdist),
    ]
)
def plugin_args(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Arguments with which the same suite has to do the same: serially and under xdist."""
    args: tuple[str, ...] = request.param
    return args


@dataclass(frozen=True)
class Ended:
    """How a run ended that got a signal."""

    code: int
    seconds: float
    """From the signal on."""
    text: str


@dataclass(frozen=True)
class Suite:
    """A directory with tests, a storage on ``fs`` and a configuration."""

    pytester: pytest.Pytester

    @property
    def root(self) -> Path:
        """Where the storage is."""
        return self.pytester.path / "device"

    @property
    def config(self) -> Path:
        """The configuration, which need not exist."""
        return self.pytester.path / "lab.yaml"

    def write(self, **files: str) -> None:
        """Write Python files; ``conftest`` and ``test_...``."""
        self.pytester.makepyfile(**files)

    def lab(self, **keys: Any) -> None:
        """Configure one fs storage that is cleaned up after each test; ``keys`` change it."""
        entry = {"scheme": "fs", "kwargs": {"root": str(self.root)}, "retention": "none"} | keys
        self.several(None, lab=entry)

    def several(self, default: str | None, **storages: Mapping[str, Any]) -> None:
        """Configure several storages."""
        data = {"storages": storages} | ({} if default is None else {"default": default})
        self.config.write_text(json.dumps(data), encoding="utf-8")

    def fs(self, name: str, **keys: Any) -> dict[str, Any]:
        """Return an fs storage in a directory of its own."""
        root = str(self.pytester.path / name)
        return {"scheme": "fs", "kwargs": {"root": root}, "retention": "none"} | keys

    def run(self, *args: str, strict: bool = True) -> pytest.RunResult:
        """Run the suite in this process; with the configuration, when there is one."""
        named = (f"--opendal-config={self.config}",) if self.config.exists() else ()
        errors = ("-W", "error" if strict else "default")
        return self.pytester.runpytest_inprocess(
            "-p", "no:hypothesispytest", *errors, *named, *args
        )

    def start(
        self, *args: str, prefix: Sequence[str] = (), **environ: str
    ) -> subprocess.Popen[str]:
        """Start the suite in a process of its own, which leads a process group.

        Args:
            args: of pytest.
            prefix: a command that runs the one that follows it.
            environ: added to the environment.
        """
        named = (f"--opendal-config={self.config}",) if self.config.exists() else ()
        command = (
            *prefix,
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:hypothesispytest",
            *named,
            *args,
        )
        return subprocess.Popen(
            command,
            cwd=self.pytester.path,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def kill(self, *args: str, ready: int, **environ: str) -> None:
        """Start the suite, and kill its process group once ``ready`` files ``ready-*`` are there."""
        process = self.start(*args, **environ)
        try:
            deadline = time.monotonic() + SECONDS
            while len([*self.pytester.path.glob("ready-*")]) < ready:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def wait_for(self, name: str, process: subprocess.Popen[str]) -> Path:
        """Wait until the suite has made the file ``name``."""
        place = self.pytester.path / name
        deadline = time.monotonic() + SECONDS
        while not place.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, f"no {name}"
            time.sleep(0.01)
        return place

    def signalled(
        self, number: signal.Signals, *args: str, to: str = "process", again: str = ""
    ) -> Ended:
        """Run the suite, and send it a signal when it has made the file ``waiting``.

        Args:
            number: the signal.
            args: of pytest.
            to: ``process``, ``group``, or a file in which the suite tells a process id.
            again: a file; when the suite has made it the signal is sent once more.
        """
        process = self.start(*args)
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.append(process.communicate()[0]))
        try:
            self.wait_for("waiting", process)
            pids = {"process": process.pid, "group": -process.pid}
            target = pids[to] if to in pids else int(self.wait_for(to, process).read_text())
            reader.start()
            begun = time.monotonic()
            os.kill(target, number)
            if again:
                self.wait_for(again, process)
                os.kill(target, number)
            reader.join(SECONDS)
            return Ended(process.returncode, time.monotonic() - begun, read[0])
        finally:
            process.kill()

    def report(self) -> dict[str, Any]:
        """Return what ``--opendal-report=report.json`` wrote, which is what its schema says."""
        text = (self.pytester.path / "report.json").read_text(encoding="utf-8")
        document: dict[str, Any] = json.loads(text)
        import jsonschema

        jsonschema.validate(document, json.loads(jsonreport.schema()))
        return document

    def left(self, root: Path | None = None) -> list[str]:
        """Return all that is on a storage, sorted."""
        place = root or self.root
        return sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))

    @property
    def journals(self) -> list[str]:
        """What is where the journals are."""
        place = self.pytester.path / ".pytest_cache" / "opendal"
        return sorted(path.name for path in place.iterdir()) if place.exists() else []


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A directory for a suite; nothing of this run's own configuration reaches it."""
    for name in [name for name in os.environ if name.startswith(("OPENDAL", "PYTEST_", "GITHUB_"))]:
        monkeypatch.delenv(name)
    pytester.makeini("[pytest]\n")
    return Suite(pytester)


def output(result: pytest.RunResult) -> str:
    """Return all that a run printed."""
    return f"{result.stdout}\n{result.stderr}"


def section(result: pytest.RunResult) -> list[str]:
    """Return the lines of the summary about leftovers."""
    lines = result.stdout.lines
    starts = [number for number, line in enumerate(lines) if " opendal leftovers " in line]
    if not starts:
        return []
    found: Iterable[str] = lines[starts[0] + 1 :]
    kept: list[str] = []
    for line in found:
        if line.startswith(("=", "- generated xml file")):
            break
        if line:
            kept.append(line)
    return kept
