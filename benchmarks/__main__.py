"""The command: ``python -m benchmarks [NAME...]``."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from benchmarks import pytest_runs, records, remote, removals, results, signing, transfers
from benchmarks.harness import Bench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness import Benchmark, Outcome

ALL: dict[str, Benchmark] = {
    "unused": pytest_runs.unused,
    "per-test": pytest_runs.per_test,
    "hash-fs": transfers.hash_fs,
    "hash-s3": transfers.hash_s3,
    "copy-fs": transfers.copy_fs,
    "upload-s3": transfers.upload_s3,
    "download-s3": transfers.download_s3,
    "presign": signing.presign,
    "remove-fs": removals.remove_fs,
    "remove-s3": removals.remove_s3,
    "remove-tracked": removals.remove_tracked,
    "tracking": records.tracking,
    "journal": records.journal,
    "leftovers": pytest_runs.leftovers,
    "remote": remote.calls,
    "remote-memory": remote.memory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the status is 0 when all goals are reached."""
    chosen = _parser().parse_args(arguments)
    rows: list[Outcome] = []
    told = results.document(rows, chosen.rounds)
    print(results.HEAD)
    for name in chosen.names or ALL:
        place = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=chosen.dir))
        try:
            for row in ALL[name](Bench(place, chosen.rounds, chosen.quick)):
                rows.append(row)
                print(results.line(row), flush=True)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        # After each one: a run of all takes long, and may be broken off.
        told = results.document(rows, chosen.rounds)
        if chosen.json:
            told = results.write(chosen.json, rows, chosen.rounds)
    if chosen.plot:
        results.draw(chosen.plot, told)
    missed = sum(not row.within for row in rows)
    print(f"{len(rows)} rows, {missed} beyond the goal (*)")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; all")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try")
    parser.add_argument("--dir", type=Path, help="where large files go; the system's temp place")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plot", type=Path, help="draw them there (SVG, PNG or PDF)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
