"""Storages for tests of assertions: a shelf in memory, a bucket of one, and a bare operator."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from typing import TYPE_CHECKING, Any

from opendal import exceptions

from pytest_opendal.errors import NotADirectory, NotFound, Unsupported
from pytest_opendal.models import EntryMode, Metadata, PresignedRequest
from pytest_opendal.paths import as_directory, normalize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import opendal

    from pytest_opendal.paths import StrPath

FILE = EntryMode(entry_is_file=True, entry_is_dir=False)
DIRECTORY = EntryMode(entry_is_file=False, entry_is_dir=True)


class Shelf:
    """Files in a dict; directories are only implied, as in an object store."""

    name = "shelf"
    timeout = 5.0

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        """Begin with some files."""
        self.files = dict(files or {})
        self.asked: list[str] = []

    def display(self, path: StrPath) -> str:
        return f"{self.name}:{normalize(path) or '/'}"

    def _content(self, operation: str, path: StrPath) -> bytes:
        self.asked.append(operation)
        name = normalize(path)
        if name not in self.files:
            raise NotFound(f"{self.display(path)}: {operation}: no such file")
        return self.files[name]

    async def stat(self, path: StrPath) -> Metadata:
        if await self.exists(as_directory(normalize(path))):
            return Metadata(content_length=0, mode=DIRECTORY)
        content = self._content("stat", path)
        return Metadata(content_length=len(content), mode=FILE, content_type="text/plain")

    async def exists(self, path: StrPath) -> bool:
        name = normalize(path)
        below = as_directory(name)
        return name in self.files or any(file.startswith(below) for file in self.files)

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        return hashlib.new(algo, self._content("hash", path)).hexdigest()

    async def stream(self, path: StrPath, offset: int = 0) -> AsyncIterator[bytes]:
        content = self._content("stream", path)
        for start in range(offset, len(content), 1000):
            yield content[start : start + 1000]

    async def list(self, path: StrPath) -> AsyncIterator[str]:
        base = normalize(path)
        async for name in self.scan(path):
            if "/" not in name.removeprefix(base).rstrip("/"):
                yield name

    async def scan(self, path: StrPath) -> AsyncIterator[str]:
        self.asked.append("scan")
        base = normalize(path)
        seen = set()
        for name in list(self.files):
            if not name.startswith(base):
                continue
            parts = name.split("/")
            paths = ["/".join(parts[:end]) + "/" for end in range(1, len(parts))] + [name]
            for found in paths:
                if found not in seen:
                    seen.add(found)
                    yield found

    def forget(self, path: StrPath) -> None:
        self.asked.append(f"forget {path}")

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        raise Unsupported(f"{self.display(path)}: presign_{operation} for {expire_second} s")


class Bucket(Shelf):
    """A shelf with a web server that gives, takes and removes its files, or does as it is told."""

    name = "bucket"
    timeout = 5.0

    def __init__(self, files: dict[str, bytes], answer: str | None = None) -> None:
        """Begin with some files.

        Args:
            files: what the bucket holds.
            answer: what the web server says to everything, in place of doing what it is asked.
        """
        super().__init__(files)
        self.answer = answer
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Bucket]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        method = {"read": "GET", "stat": "HEAD", "write": "PUT", "delete": "DELETE"}[operation]
        query = f"X-Amz-Expires={expire_second}&X-Amz-Signature=secret"
        url = f"http://127.0.0.1:{self.port}/{normalize(path)}?{query}"
        return PresignedRequest(url=url, method=method, headers={})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, *_ = head.split(" ", 2)
        announced = re.search(r"Content-Length: (\d+)", head)
        body = await reader.readexactly(int(announced[1]) if announced else 0)
        answer = self.answer or self._obey(method, target[1:].partition("?")[0], body)
        writer.write(answer.encode())
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _obey(self, method: str, name: str, body: bytes) -> str:
        if method == "PUT":
            self.files[name] = body
        if method == "DELETE":
            self.files.pop(name)
            return "HTTP/1.1 204 No Content\r\n\r\n"
        content = self.files[name].decode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
        return head + content if method == "GET" else head


class Operated:
    """A storage over a bare operator, in as few lines as will do."""

    name = "lab"
    timeout = 10.0

    def __init__(self, operator: opendal.AsyncOperator) -> None:
        """Take the operator that reaches the files."""
        self.operator = operator

    def display(self, path: StrPath) -> str:
        return f"{self.name}:{normalize(path) or '/'}"

    async def stat(self, path: StrPath) -> Metadata:
        found = await _translated(self.operator.stat(normalize(path) or "/"))
        mode = DIRECTORY if found.mode.is_dir() else FILE
        return Metadata(content_length=found.content_length, mode=mode)

    async def exists(self, path: StrPath) -> bool:
        try:
            await self.stat(path)
        except (NotFound, NotADirectory):
            return False
        return True

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        return hashlib.new(algo, await _translated(self.operator.read(normalize(path)))).hexdigest()

    async def stream(self, path: StrPath, offset: int = 0) -> AsyncIterator[bytes]:
        file = await _translated(self.operator.open(normalize(path), "rb"))
        try:
            await file.seek(offset)
            while chunk := await file.read(100_000):
                yield bytes(chunk)
        finally:
            await file.close()

    async def list(self, path: StrPath) -> AsyncIterator[str]:
        async for entry in await self.operator.list(normalize(path) or "/"):
            yield entry.path

    async def scan(self, path: StrPath) -> AsyncIterator[str]:
        async for entry in await self.operator.scan(normalize(path) or "/"):
            yield entry.path

    def forget(self, path: StrPath) -> None:
        """Do nothing: there is no record."""

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        sign = getattr(self.operator, f"presign_{operation}")
        made = await _translated(sign(normalize(path), expire_second))
        return PresignedRequest(url=made.url, method=made.method, headers=made.headers)


async def _translated(call: Any) -> Any:
    try:
        return await call
    except exceptions.NotFound as error:
        raise NotFound("no such path") from error
    except exceptions.Unsupported as error:
        raise Unsupported("cannot do this") from error
    except exceptions.Unexpected as error:
        if "Not a directory" in str(error):
            raise NotADirectory("not a directory") from error
        raise
