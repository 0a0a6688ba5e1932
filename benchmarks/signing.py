"""What it costs to sign a request."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import opendal

import servers
from benchmarks.harness import Outcome, Seconds
from benchmarks.storages import boto3_client, our_storage, s3_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.harness import Bench, Work


def presign(bench: Bench) -> Iterator[Outcome]:
    """Sign a request for reading; no server is asked."""
    count = bench.size(200, 20)
    with (
        servers.moto(bench.scratch / "moto") as server,
        our_storage(bench.scratch, s3_entry(server)) as storage,
        _loop_on_a_thread() as elsewhere,
    ):
        operator = opendal.AsyncOperator("s3", **server.kwargs)
        sign_by_boto3 = boto3_client(server).generate_presigned_url
        asked = {"Bucket": server.bucket, "Key": "file"}

        async def sign() -> None:
            await operator.presign_read("file", 60)

        async def inside_a_loop() -> Seconds:
            begun = time.perf_counter()
            for _ in range(count):
                await sign()
            return Seconds(time.perf_counter() - begun)

        def repeated(work: Work) -> Work:
            return lambda: [work() for _ in range(count)]

        times = bench.race(
            {
                "ours": repeated(lambda: storage.presign_read("file", 60)),
                "loop": lambda: asyncio.run(inside_a_loop()),
                "thread": repeated(
                    lambda: asyncio.run_coroutine_threadsafe(sign(), elsewhere).result()
                ),
                "boto3": repeated(lambda: sign_by_boto3("get_object", Params=asked, ExpiresIn=60)),
            },
            bench.rounds * 3,
        )
    milliseconds = times["thread"].median * 1e3
    floor = f"OpenDAL's call alone, from a thread without a loop, {milliseconds:.1f} ms"
    for peer, key, target in (("awaited inside a loop", "loop", 1.5), ("boto3", "boto3", 1.0)):
        work = f"presign_read, {count} times"
        yield Outcome("presign", work, peer, times["ours"], times[key], target, note=floor)


@contextmanager
def _loop_on_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield a running loop for callers who have none, as a test has none."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
