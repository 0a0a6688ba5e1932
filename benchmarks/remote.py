"""Calls through our storage to an exporter, compared with Jumpstarter's own ``OpendalClient``.

Both talk to the same exporter, which is a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from typing import TYPE_CHECKING, Any

from benchmarks.harness import MEBI, Outcome
from benchmarks.storages import our_storage
from benchmarks.transfers import random_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_opendal.storage import Storage

    from benchmarks.harness import Bench

SMALL = os.urandom(1 << 10)
TARGET = 1.1


@contextlib.contextmanager
def _clients(bench: Bench) -> Iterator[tuple[Storage, Any]]:
    """Yield our storage and the plain client, of one exporter."""
    from jumpstarter.common.utils import env

    import exporters

    export = {"storage": exporters.opendal(bench.scratch / "root")}
    file = exporters.exporter_file(bench.scratch / "board.yaml", export)
    before = dict(os.environ)
    with exporters.exporter(file, "bench") as board:
        os.environ.update(board.environment)
        try:
            with our_storage(bench.scratch, {"jumpstarter": {}}) as ours, env() as root:
                yield ours, root.children["storage"]
        finally:
            os.environ.clear()
            os.environ.update(before)


def calls(bench: Bench) -> Iterator[Outcome]:
    """Each call, small and large."""
    if not _is_installed():
        return
    size = bench.size(64, 8) * MEBI
    large = random_file(bench.scratch / "large", size)
    with _clients(bench) as (ours, plain):
        ours.write_bytes("small", SMALL)
        for name, (call, count) in _calls(large, size >> 20).items():
            yield _compared(bench, name, call, count, ours, plain)


def _compared(
    bench: Bench, name: str, call: Callable[[Any], object], count: int, ours: Any, plain: Any
) -> Outcome:
    # The plain client prints progress bars.
    with contextlib.redirect_stdout(io.StringIO()):
        times = bench.race(
            {"ours": lambda: call(ours), "plain": lambda: call(plain)}, bench.rounds * count
        )
    return Outcome(
        "remote", f"remote {name}", "OpendalClient", times["ours"], times["plain"], TARGET
    )


def _calls(large: Path, size: int) -> dict[str, tuple[Callable[[Any], object], int]]:
    """Return what is measured, and how many times more than the largest transfers."""
    content, back = large.read_bytes(), large.with_name("back")
    return {
        "exists": (lambda client: client.exists("small"), 50),
        "stat": (lambda client: client.stat("small"), 50),
        "hash of 1 KiB": (lambda client: client.hash("small"), 50),
        "write_bytes 1 KiB": (lambda client: client.write_bytes("small", SMALL), 50),
        "read_bytes 1 KiB": (lambda client: client.read_bytes("small"), 50),
        f"write_bytes {size} MiB": (lambda client: client.write_bytes("large", content), 1),
        f"hash of {size} MiB": (lambda client: client.hash("large"), 1),
        f"read_bytes {size} MiB": (lambda client: client.read_bytes("large"), 1),
        f"write_from_path {size} MiB": (lambda client: client.write_from_path("large", large), 1),
        f"read_into_path {size} MiB": (lambda client: client.read_into_path("large", back), 1),
    }


def memory(bench: Bench) -> Iterator[Outcome]:
    """A large file written, hashed here and read back: what it needs does not grow with it."""
    if not _is_installed():
        return
    for size in (bench.size(64, 8) * MEBI, bench.size(1024, 64) * MEBI):
        source, back = random_file(bench.scratch / "source", size), bench.scratch / "back"

        def work(client: Any, source: Path = source, back: Path = back) -> None:
            client.write_from_path("huge", source)
            client.hash("huge", "sha256")
            client.read_into_path("huge", back)

        with _clients(bench) as (ours, plain), contextlib.redirect_stdout(io.StringIO()):
            contestants = {"ours": lambda: work(ours), "plain": lambda: work(plain)}
            times = bench.race(contestants, 1, memory=True)
        yield Outcome(
            "remote-memory",
            "remote write, hash, read",
            "OpendalClient",
            times["ours"],
            times["plain"],
            TARGET,
            size,
            max_peak=64 * MEBI,
        )


def _is_installed() -> bool:
    if importlib.util.find_spec("jumpstarter_driver_opendal") is not None:
        return True
    print("remote: Jumpstarter is not installed; it needs opendal 0.45")
    return False
