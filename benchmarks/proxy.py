"""A proxy on loopback that adds latency and counts requests, as a process of its own.

python -m benchmarks.proxy HOST PORT SECONDS
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_REQUEST = re.compile(rb"(?:GET|HEAD|PUT|POST|DELETE) [^ \r\n]+ HTTP/1\.1\r\n")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy."""

    process: subprocess.Popen[str]
    endpoint: str

    def requests(self) -> int:
        """Return how many requests came so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("count\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def between(endpoint: str, seconds: float = 0) -> Iterator[Proxy]:
    """Yield a proxy to a server, which answers ``seconds`` later through it."""
    there = urlsplit(endpoint)
    command = [
        sys.executable,
        "-m",
        "benchmarks.proxy",
        str(there.hostname),
        str(there.port),
        str(seconds),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        try:
            yield Proxy(process, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


class _Relay:
    """Passes bytes on; answers later than they came, and without keeping others waiting."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._host = host
        self._port = port
        self._seconds = seconds
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        there, back = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._ask(reader, back), self._answer(there, writer))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 16):
                self.count += len(_REQUEST.findall(piece))
                writer.write(piece)
                await writer.drain()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while piece := await reader.read(1 << 16):
                if self._seconds:
                    loop.call_later(self._seconds, writer.write, piece)
                else:
                    writer.write(piece)
                    await writer.drain()
            loop.call_later(self._seconds, writer.close)


async def _main(host: str, port: int, seconds: float) -> None:
    relay = _Relay(host, port, seconds)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(relay.count, flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
