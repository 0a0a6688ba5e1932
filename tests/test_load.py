"""Many workers, tests and objects on one S3 server: nothing is left, and no worker grows.

Small here; ``./dev load`` makes it 8 workers, 5,000 tests and 100,000 objects, and prints its figures.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal
import pytest

import servers
from runs import Suite, needs_xdist

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_xdist

WORKERS = int(os.environ.get("LOAD_WORKERS", "2"))
TESTS = int(os.environ.get("LOAD_TESTS", "60"))
SECONDS = int(os.environ.get("LOAD_SECONDS", "120"))
EACH = 20
"""Objects of a test."""
GROWTH_KIB = 2.0
"""What a worker may grow by with each test, most of which are the reports that pytest keeps,"""
PAGES_KIB = 256.0
"""and in a quarter of its run, of pages that are not full yet."""

FOREIGN = {
    "theirs.bin": os.urandom(100_000),
    "load/theirs.txt": b"beside ours",
    "load/7/theirs.txt": b"in the directory of a test",
    "pytest-opendal/theirs.txt": b"where areas are",
}

CONFTEST = """
import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "controller")

def pytest_runtest_logfinish():
    pages = Path("/proc/self/statm").read_text().split()[1]
    with Path(f"memory-{PROCESS}.txt").open("a") as samples:
        print(int(pages) * PAGE, file=samples)
"""

TEST = """
import pytest

def fill(storage, place, number):
    for index in range(EACH):
        storage.write_bytes(f"{place}/{index}.bin", f"{number}.{index} ".encode() * 50)
    assert storage.read_bytes(f"{place}/{EACH - 1}.bin").startswith(f"{number}.".encode())

@pytest.mark.parametrize("number", range(0, TESTS, 2))
@pytest.mark.opendal(storage="literal")
def test_of_its_own_names(opendal, number):
    fill(opendal, f"load/{number}", number)

@pytest.mark.parametrize("number", range(1, TESTS, 2))
@pytest.mark.opendal(storage="areas")
def test_of_the_same_names(opendal, number):
    fill(opendal, "load/same", number)
"""


@dataclass(frozen=True)
class Load:
    """What a run did to a bucket, and what it cost."""

    seconds: float
    report: dict[str, Any]
    memory: dict[str, list[float]]
    """MiB after each test, by worker; of the controller too."""
    before: dict[str, bytes]
    after: dict[str, bytes]
    journals: list[str]

    def grows(self, worker: str) -> bool:
        """Whether a worker grew by more than it may in each quarter of its run after the first.

        What tests leave comes with each of them; arenas and pools come now and then, in steps of MiB.
        """
        samples, (_, *ends) = self.memory[worker], _quarters(self.memory[worker])
        allowed = [PAGES_KIB + GROWTH_KIB * (end - begin) for begin, end in pairwise(ends)]
        grown = [1024 * (samples[end] - samples[begin]) for begin, end in pairwise(ends)]
        return all(more > most for more, most in zip(grown, allowed, strict=True))

    @property
    def table(self) -> str:
        """The figures."""
        lines = [
            f"opendal {version('opendal')}: {WORKERS} workers, {TESTS} tests, {TESTS * EACH} objects"
            f" in {self.seconds:.0f} s, {TESTS * EACH / self.seconds:.0f} objects/s"
        ]
        for name, samples in sorted(self.memory.items()):
            quarters = " ".join(f"{samples[at]:7.1f}" for at in _quarters(samples))
            lines.append(f"{name:>10} {len(samples):5} tests, MiB by quarter: {quarters}")
        return "\n".join(lines)


def _quarters(samples: list[float]) -> list[int]:
    last = len(samples) - 1
    return [last * quarter // 4 for quarter in range(5)]


def _contents(server: servers.S3) -> dict[str, bytes]:
    bucket = opendal.Operator("s3", **server.kwargs)
    paths = [entry.path for entry in bucket.scan("")]
    return {path: bytes(bucket.read(path)) for path in paths if not path.endswith("/")}


def _memory(directory: Path) -> dict[str, list[float]]:
    return {
        file.stem.removeprefix("memory-"): [int(line) / 2**20 for line in file.read_text().split()]
        for file in directory.glob("memory-*.txt")
    }


@pytest.fixture
def server() -> Iterator[servers.S3]:
    """A server of its own, whose data goes with it."""
    with (
        tempfile.TemporaryDirectory(prefix="pytest-opendal-load-") as directory,
        servers.seaweedfs(Path(directory)) as server,
    ):
        yield server


@pytest.fixture
def load(suite: Suite, server: servers.S3) -> Load:
    """The run."""
    bucket = opendal.Operator("s3", **server.kwargs)
    for path, content in FOREIGN.items():
        bucket.write(path, content)
    before = _contents(server)
    s3 = {"scheme": "s3", "kwargs": server.kwargs, "retention": "none"}
    suite.several("areas", literal=s3, areas=s3 | {"isolation": "test"})
    suite.write(conftest=CONFTEST, test_load=f"EACH, TESTS = {EACH}, {TESTS}\n{TEST}")
    started = time.monotonic()
    run = suite.start("-q", f"-n{WORKERS}", "--opendal-report=report.json")
    try:
        text = run.communicate(timeout=SECONDS)[0]
    finally:
        run.kill()
    assert run.returncode == 0, text
    return Load(
        seconds=time.monotonic() - started,
        report=suite.report(),
        memory=_memory(suite.pytester.path),
        before=before,
        after=_contents(server),
        journals=suite.journals,
    )


def test_nothing_is_left_and_no_worker_grows(load: Load) -> None:
    print(f"\n{load.table}")  # noqa: T201 - the figures, which -s shows
    assert load.after == load.before
    assert load.report["leftovers"] == load.report["conflicts"] == load.report["remnants"] == []
    assert load.report["created"] == load.report["removed"] == TESTS * EACH
    assert load.journals == []
    assert len(workers := load.memory.keys() - {"controller"}) == WORKERS
    assert not [worker for worker in workers if load.grows(worker)], load.table
