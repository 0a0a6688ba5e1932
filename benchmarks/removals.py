"""Removing what tests made."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Any

import opendal

import servers
from benchmarks import proxy
from benchmarks.harness import Outcome, Seconds
from benchmarks.storages import a_run, boto3_client, end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_opendal.run import Held, Run

    from benchmarks.harness import Bench

_LATENCY = 0.02
_ONE_BY_ONE = 50


def _sizes(bench: Bench) -> tuple[int, ...]:
    return (1_000, bench.size(10_000, 2_000))


def remove_fs(bench: Bench) -> Iterator[Outcome]:
    """An isolation area of many small files of this machine."""
    root = bench.scratch / "root"
    entry = {
        "scheme": "fs",
        "kwargs": {"root": str(root)},
        "isolation": "test",
        "retention": "none",
    }
    for count in (*_sizes(bench), bench.size(100_000, 5_000)):
        with a_run(bench.scratch, entry) as (run, settings):

            def ours() -> Seconds:
                held = run.open(settings, "bench")
                held.storage.write_bytes("first", b"x")
                _many_files(root / _area(held), count)
                return _timed_end(run, held)

            def plain() -> Seconds:
                place = root / "plain"
                _many_files(place, count)
                begun = time.perf_counter()
                shutil.rmtree(place)
                return Seconds(time.perf_counter() - begun)

            times = bench.race({"ours": ours, "rmtree": plain}, min(bench.rounds, 5))
        yield Outcome(
            "remove-fs",
            "remove files of an area, fs",
            "shutil.rmtree",
            times["ours"],
            times["rmtree"],
            1.5,
            count,
        )


def _area(held: Held) -> str:
    return held.tracker.area


def _many_files(place: Path, count: int) -> None:
    for number in range(count):
        if number % 100 == 0:
            (place / f"d{number // 100}").mkdir(parents=True)
        (place / f"d{number // 100}" / f"f{number}").write_bytes(b"x")


def _timed_end(run: Run, held: Held) -> Seconds:
    begun = time.perf_counter()
    end(run, held)
    return Seconds(time.perf_counter() - begun)


def remove_s3(bench: Bench) -> Iterator[Outcome]:
    """An isolation area of many small objects; and how many requests that takes."""
    with (
        servers.seaweedfs(bench.scratch / "weed") as server,
        proxy.between(server.endpoint) as counting,
    ):
        for count in _sizes(bench):
            yield _remove_s3(bench, server, counting, count)


def _remove_s3(bench: Bench, server: servers.S3, counting: proxy.Proxy, count: int) -> Outcome:
    kwargs = {**server.kwargs, "endpoint": counting.endpoint}
    entry = {"scheme": "s3", "kwargs": kwargs, "isolation": "test", "retention": "none"}
    client = boto3_client(server, counting.endpoint)
    requests: list[int] = []
    with a_run(bench.scratch, entry) as (run, settings):

        def ours() -> Seconds:
            held = run.open(settings, "bench")
            held.storage.write_bytes("first", b"x")
            _many_objects(server, _area(held), count)
            before = counting.requests()
            taken = _timed_end(run, held)
            requests.append(counting.requests() - before)
            return taken

        def plain() -> Seconds:
            _many_objects(server, "plain", count)
            begun = time.perf_counter()
            _remove_by_boto3(client, server.bucket, "plain/")
            return Seconds(time.perf_counter() - begun)

        times = bench.race({"ours": ours, "boto3": plain}, min(bench.rounds, 5))
    allowed = 2 * -(-(count + 1) // 1000) + 2  # the first one is beside them
    return Outcome(
        "remove-s3",
        "remove objects of an area, S3",
        "boto3 list + delete_objects",
        times["ours"],
        times["boto3"],
        1.0,
        count,
        f"{max(requests)} requests of at most {allowed}",
    )


def _remove_by_boto3(client: Any, bucket: str, prefix: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        keys = [{"Key": found["Key"]} for found in page.get("Contents", ())]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _many_objects(server: servers.S3, prefix: str, count: int) -> None:
    operator = opendal.AsyncOperator("s3", **server.kwargs)

    async def write() -> None:
        at_once = asyncio.Semaphore(32)

        async def one(number: int) -> None:
            async with at_once:
                await operator.write(f"{prefix}/d{number // 100}/f{number}", b"x")

        await asyncio.gather(*(one(number) for number in range(count)))

    asyncio.run(write())


def remove_tracked(bench: Bench) -> Iterator[Outcome]:
    """Objects on a shared root, each remembered by its name, on a server 20 ms away.

    SeaweedFS: moto itself takes 1.8 ms for a deletion, however many are under way.
    """
    with (
        servers.seaweedfs(bench.scratch / "weed") as server,
        proxy.between(server.endpoint, _LATENCY) as far,
    ):
        kwargs = {**server.kwargs, "endpoint": far.endpoint}
        entry = {"scheme": "s3", "kwargs": kwargs, "retention": "none"}
        for count in (100, 1_000):
            with a_run(bench.scratch, entry) as (run, settings):

                def ours() -> Seconds:
                    held = run.open(settings, "bench")
                    names = [f"d{number // 100}/f{number}" for number in range(count)]
                    _many_objects(server, "root", count)
                    held.tracker.note(*(("+", f"root/{name}", "file", False) for name in names))
                    return _timed_end(run, held)

                def one_by_one() -> Seconds:
                    return Seconds(asyncio.run(_one_by_one(kwargs)))

                times = bench.race({"ours": ours, "peer": one_by_one}, 5)
            yield Outcome(
                "remove-tracked",
                "remove tracked objects, 20 ms",
                "one by one",
                times["ours"],
                times["peer"],
                0.05 if count >= 1_000 else None,
                count,
                f"the peer from {_ONE_BY_ONE} objects",
                of=count / _ONE_BY_ONE,
            )


async def _one_by_one(kwargs: dict[str, str]) -> float:
    operator = opendal.AsyncOperator("s3", **kwargs)
    begun = time.perf_counter()
    for number in range(_ONE_BY_ONE):
        await operator.delete(f"root/x{number}")
    return time.perf_counter() - begun
