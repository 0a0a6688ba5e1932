"""What whole pytest runs cost: without a storage, per test, and with a long report."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.harness import Outcome, Seconds, Times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.harness import Bench

_TIMING_CONFTEST = '''
import json, os, time
from pathlib import Path

import opendal, pytest

TIMES = {}
WAITING = {"tmp_path", "fs", "fs_hand"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    # What waits for a disk takes its time there; of all others a busy machine takes turns away.
    kind = item.name.split("__")[1]
    clock = time.perf_counter if kind in WAITING else time.process_time
    begun, begun_empty = clock(), time.perf_counter()
    result = yield
    TIMES.setdefault(kind, []).append(clock() - begun)
    if kind == "empty":
        TIMES.setdefault("empty_waiting", []).append(time.perf_counter() - begun_empty)
    return result


def pytest_sessionfinish():
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    Path(os.environ["BENCH_TIMES"], f"{worker}.json").write_text(json.dumps(TIMES))


@pytest.fixture
def nothing():
    yield


@pytest.fixture(scope="session")
def configured():
    return {}


@pytest.fixture
def shape(configured):
    """What pytest itself takes for a fixture like ours: one of the session below it."""
    yield


@pytest.fixture(scope="session")
def operators():
    """What a suite without the plugin writes: one operator for the session, a prefix for a test."""
    return {
        "fs": opendal.Operator("fs", root=os.environ["BENCH_HAND"]),
        "memory": opendal.Operator("memory"),
    }


def by_hand(operators, scheme, name):
    operator = operators[scheme]
    prefix = f"{name}/"
    yield operator, prefix
    operator.remove_all(prefix)


@pytest.fixture
def fs_by_hand(operators, request):
    yield from by_hand(operators, "fs", request.node.name)


@pytest.fixture
def memory_by_hand(operators, request):
    yield from by_hand(operators, "memory", request.node.name)
'''

# Of each kind one after the other, so that what else the machine does meets all of them.
_KINDS = {
    "empty": "def test_{n}__empty():\n    pass",
    "nothing": "def test_{n}__nothing(nothing):\n    pass",
    "shape": "def test_{n}__shape(shape):\n    pass",
    "idle": "def test_{n}__idle(opendal):\n    pass",
    "tmp_path": 'def test_{n}__tmp_path(tmp_path):\n    (tmp_path / "file").write_bytes(DATA)',
    "fs": 'def test_{n}__fs(opendal):\n    opendal.write_bytes("file", DATA)',
    "fs_hand": (
        "def test_{n}__fs_hand(fs_by_hand):\n"
        "    operator, prefix = fs_by_hand\n"
        '    operator.write(prefix + "file", DATA)'
    ),
    "memory": (
        '@pytest.mark.opendal(storage="memory")\n'
        'def test_{n}__memory(opendal):\n    opendal.write_bytes("file", DATA)'
    ),
    "memory_hand": (
        "def test_{n}__memory_hand(memory_by_hand):\n"
        "    operator, prefix = memory_by_hand\n"
        '    operator.write(prefix + "file", DATA)'
    ),
}
_WARM_UP = 10
_NO_PYC = "PYTHONDONTWRITEBYTECODE"
_WAITING = {"tmp_path", "fs", "fs_hand"}


def _suite(place: Path, count: int) -> None:
    place.mkdir()
    tests = [body.format(n=number) for number in range(count) for body in _KINDS.values()]
    head = "import os, pytest\nDATA = os.urandom(1024)"
    (place / "test_costs.py").write_text("\n\n\n".join([head, *tests]), encoding="utf-8")
    (place / "conftest.py").write_text(_TIMING_CONFTEST, encoding="utf-8")
    (place / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    ours, hand = place / "ours", place / "hand"
    ours.mkdir()
    hand.mkdir()
    entry = {"isolation": "test", "remove_created_on_close": True}
    lab = {
        "default": "fs",
        "storages": {
            "fs": {"scheme": "fs", "kwargs": {"root": str(ours)}, **entry},
            "memory": {"scheme": "memory", **entry},
        },
    }
    (place / "lab.yaml").write_text(json.dumps(lab), encoding="utf-8")


def _pytest(place: Path, *arguments: str, **environ: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    # As usual: what was compiled once is not compiled again.
    environ = {name: value for name, value in os.environ.items() if name != _NO_PYC} | environ
    told = subprocess.run(
        command, cwd=place, env=environ, capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{told.stdout[-3000:]}{told.stderr[-2000:]}")


def _costs(place: Path, rounds: int, *arguments: str) -> dict[str, Times]:
    """Return, per kind of test, its median beyond that of an empty test; one figure a run."""
    found: dict[str, Times] = defaultdict(Times)
    for number in range(rounds):
        told = place / f"times-{'-'.join(arguments)}-{number}"
        told.mkdir()
        _pytest(
            place,
            "--opendal-config=lab.yaml",
            *arguments,
            BENCH_TIMES=str(told),
            BENCH_HAND=str(place / "hand"),
        )
        kinds: dict[str, list[float]] = defaultdict(list)
        for file in told.iterdir():
            for kind, seconds in json.loads(file.read_text(encoding="utf-8")).items():
                kinds[kind] += seconds[_WARM_UP:]
        empty = {clock: Times(kinds.pop(clock)).median for clock in ("empty", "empty_waiting")}
        for kind, seconds in kinds.items():
            clock = "empty_waiting" if kind in _WAITING else "empty"
            found[kind].seconds.append(Times(seconds).median - empty[clock])
    return found


def per_test(bench: Bench) -> Iterator[Outcome]:
    """One test: what it costs beyond an empty one; all kinds in turns in one pytest process."""
    suite = bench.scratch / "suite"
    _suite(suite, bench.size(250, 40))
    for label, arguments in (("", ()), (" -n 2", ("-n", "2"))):
        costs = _costs(suite, bench.rounds, *arguments)
        beside = "tmp_path " + f"{costs['tmp_path'].median * 1e6:.0f} us"
        yield Outcome(
            "per-test",
            f"idle test{label}",
            "no-op fixture",
            costs["idle"],
            costs["nothing"],
            # Beside another worker the peer costs too little to be told from none at all.
            None if arguments else 4,
            note=f"an empty fixture of the same shape {costs['shape'].median * 1e6:.0f} us; CPU time",
        )
        yield Outcome(
            "per-test",
            f"1 KiB file, fs{label}",
            "by hand",
            costs["fs"],
            costs["fs_hand"],
            1.3,
            note=beside,
        )
        yield Outcome(
            "per-test",
            f"1 KiB file, memory{label}",
            "by hand",
            costs["memory"],
            costs["memory_hand"],
            1.5,
            note=beside,
        )


_EMPTY_PLUGIN = '"""A plugin that does nothing."""\n'


def unused(bench: Bench) -> Iterator[Outcome]:
    """A run that does not use the plugin, which every pytest run loads."""
    place = bench.scratch / "suite"
    place.mkdir()
    (place / "test_one.py").write_text("def test_one():\n    pass\n", encoding="utf-8")
    (place / "empty_plugin.py").write_text(_EMPTY_PLUGIN, encoding="utf-8")
    (place / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def run(*arguments: str) -> Seconds:
        before = _cpu_of_children()
        _pytest(place, "--collect-only", "-p", "no:cacheprovider", *arguments, PYTHONPATH=".")
        return Seconds(_cpu_of_children() - before)

    times = bench.race(
        {
            "with": lambda: run(),
            "without": lambda: run("-p", "no:opendal"),
            "empty": lambda: run("-p", "no:opendal", "-p", "empty_plugin"),
        },
        bench.rounds * 6,
    )
    for peer, key in (("-p no:opendal", "without"), ("an empty plugin", "empty")):
        yield Outcome(
            "unused", "collect 1 test", peer, times["with"], times[key], 1.03, note="CPU time"
        )


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


_LEAVING = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_leave(opendal, number):
    for count in range({each}):
        opendal.write_bytes(f"d{{number}}/f{{count}}", b"x")
"""


def leftovers(bench: Bench) -> Iterator[Outcome]:
    """A run on four workers that leaves many resources, and the same run that removes them."""
    for count in (1_000, 10_000, bench.size(100_000, 20_000)):
        place = bench.scratch / f"suite-{count}"
        place.mkdir()
        tests = 100
        text = _LEAVING.format(tests=tests, each=count // tests)
        (place / "test_leaving.py").write_text(text, encoding="utf-8")
        (place / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (place / "lab.yaml").write_text("scheme: memory\n", encoding="utf-8")

        def run(retention: str, place: Path = place) -> Seconds:
            begun = time.perf_counter()
            chosen = ("--opendal-config=lab.yaml", f"--opendal-retention={retention}")
            _pytest(place, *chosen, "-n", "4", "--opendal-report=report.json")
            return Seconds(time.perf_counter() - begun)

        rounds = bench.rounds if count < 100_000 else min(bench.rounds, 5)
        times = bench.race({"kept": lambda: run("all"), "removed": lambda: run("none")}, rounds)
        yield Outcome(
            "leftovers",
            "report of leftovers, -n 4",
            "the same run, removing",
            times["kept"],
            times["removed"],
            1.2 if count >= 100_000 else None,
            size=count,
        )
