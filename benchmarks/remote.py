"""What a call costs through our storage, compared with Jumpstarter's own ``OpendalClient``.

Both talk to the same exporter, which is a process of its own, in turns, so that what else the machine
does meets both. Prints medians and their ratio:

    python benchmarks/remote.py [--rounds N] [--memory]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process
from pytest_opendal.run import Run

import exporters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_opendal.storage import Storage

SMALL = os.urandom(1 << 10)
LARGE_BYTES = 64 << 20
TARGET = 1.1


def calls(directory: Path) -> dict[str, tuple[Callable[[Any], object], int]]:
    """Return what is measured, and how many times more than the largest transfers."""
    large, back = directory / "large", directory / "back"
    with large.open("wb") as file:
        for _ in range(LARGE_BYTES >> 20):
            file.write(os.urandom(1 << 20))
    content = large.read_bytes()
    return {
        "exists": (lambda client: client.exists("small"), 50),
        "stat": (lambda client: client.stat("small"), 50),
        "hash of 1 KiB": (lambda client: client.hash("small"), 50),
        "write_bytes 1 KiB": (lambda client: client.write_bytes("small", SMALL), 50),
        "read_bytes 1 KiB": (lambda client: client.read_bytes("small"), 50),
        "write_bytes 64 MiB": (lambda client: client.write_bytes("large", content), 1),
        "hash of 64 MiB": (lambda client: client.hash("large"), 1),
        "read_bytes 64 MiB": (lambda client: client.read_bytes("large"), 1),
        "write_from_path 64 MiB": (lambda client: client.write_from_path("large", large), 1),
        "read_into_path 64 MiB": (lambda client: client.read_into_path("large", back), 1),
    }


@contextlib.contextmanager
def our_storage(tmp: Path) -> Iterator[Storage]:
    """Yield a storage as a test gets it."""
    entry = {"jumpstarter": {}, "retention": "all"}
    lab = from_mapping({"storages": {"dut": entry}}, source="bench", base=tmp, environ=os.environ)
    run = Run(Process.new(), tmp / "journals")
    try:
        yield run.open(lab.storage("dut"), "bench").storage
    finally:
        run.close()


@contextlib.contextmanager
def plain_client() -> Iterator[Any]:
    """Yield Jumpstarter's client as ``jmp shell`` gives it."""
    from jumpstarter.common.utils import env

    with env() as root:
        yield root.children["storage"]


def measure(call: Callable[[Any], object], clients: list[Any], rounds: int) -> list[float]:
    """Return the median seconds of a call for each client, asked in turns."""
    taken: list[list[float]] = [[] for _ in clients]
    for number in range(rounds):
        order = range(len(clients)) if number % 2 else reversed(range(len(clients)))
        for index in order:
            begun = time.perf_counter()
            # The plain client prints progress bars.
            with contextlib.redirect_stdout(io.StringIO()):
                call(clients[index])
            taken[index].append(time.perf_counter() - begun)
    return [statistics.median(times) for times in taken]


def compare(rounds: int, tmp: Path) -> bool:
    """Print the table; whether all ratios are within the target."""
    within = True
    with our_storage(tmp) as ours, plain_client() as plain:
        ours.write_bytes("small", SMALL)
        print(f"{'':24}{'plain':>12}{'ours':>12}{'ratio':>8}")
        for name, (call, more) in calls(tmp).items():
            mine, theirs = measure(call, [ours, plain], rounds * more)
            ratio = mine / theirs
            within &= ratio <= TARGET
            print(f"{name:24}{theirs * 1e3:9.2f} ms{mine * 1e3:9.2f} ms{ratio:8.2f}", flush=True)
    return within


def memory(tmp: Path) -> None:
    """Print how much memory a file of 1 GiB takes to write, hash and read back."""
    source, target = tmp / "source", tmp / "target"
    with source.open("wb") as file:
        for _ in range(1024):
            file.write(os.urandom(1 << 20))
    with our_storage(tmp) as storage:
        storage.write_bytes("small", SMALL)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        storage.write_from_path("huge", source)
        storage.hash("huge", "sha1")
        storage.read_into_path("huge", target)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        same = storage.hash("huge") == storage.hash("huge", "sha256")
        print(f"1 GiB: {(after - before) / 1024:.0f} MiB more than before, same content: {same}")


def main() -> int:
    """Start an exporter and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help="also a file of 1 GiB")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_DIR")) as place:
        tmp = Path(place)
        file = exporters.exporter_file(
            tmp / "board.yaml", {"storage": exporters.opendal(tmp / "root")}
        )
        with exporters.exporter(file, "bench") as board:
            os.environ.update(board.environment)
            if chosen.memory:  # first, while the process has never been large
                memory(tmp)
            within = compare(chosen.rounds, tmp)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
