"""What it costs to sign a request."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import opendal

import servers
from benchmarks.harness import Outcome, Seconds
from benchmarks.storages import boto3_client, our_storage, s3_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.harness import Bench


def presign(bench: Bench) -> Iterator[Outcome]:
    """Sign a request for reading; no server is asked."""
    count = bench.size(200, 20)
    with (
        servers.moto(bench.scratch / "moto") as server,
        our_storage(bench.scratch, s3_entry(server)) as storage,
    ):
        operator = opendal.AsyncOperator("s3", **server.kwargs)
        client = boto3_client(server)

        async def inside_a_loop() -> Seconds:
            begun = time.perf_counter()
            for _ in range(count):
                await operator.presign_read("file", 60)
            return Seconds(time.perf_counter() - begun)

        def ours() -> None:
            for _ in range(count):
                storage.presign_read("file", 60)

        def boto3() -> None:
            asked = {"Bucket": server.bucket, "Key": "file"}
            for _ in range(count):
                client.generate_presigned_url("get_object", Params=asked, ExpiresIn=60)

        times = bench.race(
            {"ours": ours, "loop": lambda: asyncio.run(inside_a_loop()), "boto3": boto3},
            bench.rounds * 3,
        )
    for peer, key, target in (("awaited inside a loop", "loop", 1.5), ("boto3", "boto3", 1.0)):
        yield Outcome(
            "presign", f"presign_read, {count} times", peer, times["ours"], times[key], target
        )
