"""Hashing and copying of large files, on fs and S3, in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import opendal

from pytest_opendal import transfer

import servers
from benchmarks.harness import MEBI, Outcome, Seconds, Times, seconds_of
from benchmarks.storages import boto3_client, our_storage, s3_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.harness import Bench

_MORE = 64 * MEBI
"""Memory that a transfer may take, whatever the size of the file."""


def random_file(path: Path, size: int) -> Path:
    """Make a file that no file system can fold."""
    with path.open("wb") as file:
        for _ in range(size // MEBI):
            file.write(os.urandom(MEBI))
    return path


def _fs(place: Path) -> dict[str, Any]:
    return {"scheme": "fs", "kwargs": {"root": str(place)}}


def _sizes(bench: Bench) -> tuple[tuple[int, float | None], ...]:
    """Return sizes, and whether there is a goal for them: for the large one."""
    return (bench.size(64, 8) * MEBI, None), (bench.size(1024, 64) * MEBI, 1)


def hash_fs(bench: Bench) -> Iterator[Outcome]:
    """Digest of a large file of this machine."""
    for size, goal in _sizes(bench):
        large = random_file(bench.scratch / "large", size)

        def plain(large: Path = large) -> None:
            with large.open("rb") as file:
                hashlib.file_digest(file, "sha256")

        with our_storage(bench.scratch, _fs(bench.scratch)) as storage:
            storage.hash("large")
            times = bench.race({"ours": lambda: storage.hash("large"), "plain": plain}, memory=True)
        yield Outcome(
            "hash-fs",
            "hash sha256, fs",
            "hashlib.file_digest",
            times["ours"],
            times["plain"],
            goal and 1.1,
            size,
            max_peak=_MORE,
        )


_PIECES = (1 * MEBI, 4 * MEBI, 8 * MEBI)


def hash_s3(bench: Bench) -> Iterator[Outcome]:
    """Digest of a large object; beside the fastest stream without hashing and the hash alone."""
    size = bench.size(256, 32) * MEBI
    large = random_file(bench.scratch / "large", size)
    with (
        servers.seaweedfs(bench.scratch / "weed") as server,
        our_storage(bench.scratch, s3_entry(server)) as storage,
    ):
        storage.write_from_path("large", large)
        operator = opendal.AsyncOperator("s3", **server.kwargs)
        streams = {
            f"{way.__name__} {piece}": partial(way, operator, piece)
            for piece in _PIECES
            for way in (_drain_awaited, _drain_blocking)
        }
        content = large.read_bytes()
        times = bench.race({"ours": lambda: storage.hash("large"), **streams}, memory=True)
        hashing = [
            seconds_of(lambda: hashlib.sha256(content).digest()) for _ in range(bench.rounds)
        ]
    fastest = min((times[name] for name in streams), key=lambda found: found.median)
    summed = [stream + hashed for stream, hashed in zip(fastest.seconds, hashing, strict=True)]
    yield Outcome(
        "hash-s3",
        "hash sha256, S3",
        "fastest stream + hash",
        times["ours"],
        Times(summed, fastest.peak),
        1.0,
        note=f"stream {fastest.median:.2f} s, hash {Times(hashing).median:.2f} s",
        max_peak=_MORE,
    )


def _drain_awaited(operator: opendal.AsyncOperator, piece: int) -> None:
    async def drain() -> None:
        file = await operator.open("large", "rb")
        while await file.read(piece):
            pass
        await file.close()

    asyncio.run(drain())


def _drain_blocking(operator: opendal.AsyncOperator, piece: int) -> None:
    with operator.to_operator().open("large", "rb") as file:
        while file.read(piece):
            pass


def copy_fs(bench: Bench) -> Iterator[Outcome]:
    """Copies between an fs storage and a file of this machine."""
    for size, goal in _sizes(bench):
        large = random_file(bench.scratch / "large", size)
        root = bench.scratch / "root"
        root.mkdir(exist_ok=True)

        def copyfile() -> Seconds:
            # To a new name each time, as a test writes it.
            target = root / "copy"
            target.unlink(missing_ok=True)
            return _timed(lambda: shutil.copyfile(large, target))

        with our_storage(bench.scratch, _fs(root)) as storage:

            def upload() -> Seconds:
                storage.delete("copy")
                return _timed(lambda: storage.write_from_path("copy", large))

            def download() -> Seconds:
                (root / "back").unlink(missing_ok=True)
                return _timed(lambda: storage.read_into_path("copy", root / "back"))

            up = bench.race({"ours": upload, "plain": copyfile}, memory=True)
            yield Outcome(
                "copy-fs",
                "write_from_path, fs",
                "shutil.copyfile",
                up["ours"],
                up["plain"],
                goal and 1.3,
                size,
                max_peak=_MORE,
            )
            storage.write_from_path("copy", large)
            down = bench.race({"plain": copyfile_back(root), "ours": download}, memory=True)
            yield Outcome(
                "copy-fs",
                "read_into_path, fs",
                "shutil.copyfile",
                down["ours"],
                down["plain"],
                goal and 1.15,
                size,
                max_peak=_MORE,
            )
        shutil.rmtree(root)


def copyfile_back(root: Path) -> Any:
    """Return the plain copy of the same file to the same place."""

    def copy() -> Seconds:
        (root / "back").unlink(missing_ok=True)
        return _timed(lambda: shutil.copyfile(root / "copy", root / "back"))

    return copy


def _timed(work: Any) -> Seconds:
    begun = time.perf_counter()
    work()
    return Seconds(time.perf_counter() - begun)


@contextmanager
def _discarding(_: Path) -> Iterator[servers.S3]:
    """Run a server that takes every request, reads the body and throws it away."""
    with servers.reserved_ports(1) as (port,):
        command = [sys.executable, "-m", "benchmarks.discarding", str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                yield servers.S3(
                    f"http://{servers.HOST}:{port}", "test", servers.REGION, "key", "secret"
                )
            finally:
                process.terminate()


# boto3 sends checksums with its parts, opendal only if it is told to. Of an object that comes without
# any, moto 5 makes another copy and computes one.
_CHECKSUMS = {"checksum_algorithm": "crc32c"}
_UPLOADS: dict[str, tuple[Any, float, dict[str, str]]] = {
    "SeaweedFS": (servers.seaweedfs, 1.0, {}),
    "moto": (servers.moto, 1.15, {}),
    "moto with checksums": (servers.moto, 1.15, _CHECKSUMS),
    "a discarding server": (_discarding, 0.6, {}),
}


def upload_s3(bench: Bench) -> Iterator[Outcome]:
    """Upload of a large file, in parts."""
    size = bench.size(256, 32) * MEBI
    large = random_file(bench.scratch / "large", size)
    for name, (serve, target, more) in _UPLOADS.items():
        place = bench.scratch / name.replace(" ", "-")
        with (
            serve(place) as server,
            our_storage(bench.scratch, s3_entry(server, **more)) as storage,
        ):
            client = boto3_client(server)
            contestants = {
                "ours": lambda: storage.write_from_path("large", large),
                "boto3": lambda: client.upload_file(str(large), server.bucket, "large"),
            }
            times = bench.race(contestants, memory=True)
        yield Outcome(
            "upload-s3",
            f"write_from_path, {name}",
            "boto3 upload_file",
            times["ours"],
            times["boto3"],
            target,
            note=f"boto3 takes {times['boto3'].peak / MEBI:.0f} MiB",
            max_peak=96 * MEBI,
        )


def download_s3(bench: Bench) -> Iterator[Outcome]:
    """Download of a large object to a file."""
    size = bench.size(256, 32) * MEBI
    large = random_file(bench.scratch / "large", size)
    back = bench.scratch / "back"
    with (
        servers.seaweedfs(bench.scratch / "weed") as server,
        our_storage(bench.scratch, s3_entry(server)) as storage,
    ):
        storage.write_from_path("large", large)
        large.unlink()
        client = boto3_client(server)

        operator = opendal.AsyncOperator("s3", **server.kwargs)

        def stream() -> None:
            body = client.get_object(Bucket=server.bucket, Key="large")["Body"]
            with back.open("wb") as file:
                while piece := body.read(MEBI):
                    file.write(piece)

        def to_a_new_file(download: Any) -> Any:
            def turn() -> Seconds:
                # As a test reads it; one that is there takes as long again, whoever replaces it.
                back.unlink(missing_ok=True)
                return _timed(download)

            return turn

        downloads = {
            "ours": lambda: storage.read_into_path("large", back),
            "download_file": lambda: client.download_file(server.bucket, "large", str(back)),
            "get_object": stream,
        }
        contestants = {name: to_a_new_file(download) for name, download in downloads.items()}
        floors = {
            "awaited": partial(_drain_awaited, operator, transfer.CHUNK_BYTES),
            "blocking": partial(_drain_blocking, operator, MEBI),
        }
        times = bench.race(contestants | floors, memory=True)
    ours = times.pop("ours")
    unwritten = {name: times.pop(name).median for name in floors}
    fastest = min(times, key=lambda name: times[name].median)
    yield Outcome(
        "download-s3",
        "read_into_path, SeaweedFS",
        f"boto3 {fastest}",
        ours,
        times[fastest],
        1.2,
        note=f"OpenDAL's own stream of it, written nowhere: awaited {unwritten['awaited']:.2f} s, "
        f"blocking {unwritten['blocking']:.2f} s",
        max_peak=_MORE,
    )
