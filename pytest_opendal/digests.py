"""Digests and contents: what is expected of a file, and where two contents part."""

from __future__ import annotations

import asyncio
import hashlib
import os
import string
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from pytest_opendal.loop import aside
from pytest_opendal.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from hashlib import _Hash

T = TypeVar("T")

BLOCK = 64 * 1024
"""Bytes that are compared at a time."""
CONTEXT = 8
"""Bytes shown on each side of a difference."""
# Seconds for bytes that are shown beside a difference.
_PATIENCE = 0.5
# Bytes of a local file that are hashed at a time: few calls, and soon at an end.
_HASHED = 256 * 1024
_HASH_THREAD = "pytest-opendal-hash"
# Characters of a wrong digest that a message repeats; the longest digest has 128.
_LONGEST = 136


def new_hash(algo: str) -> _Hash:
    """Return a fresh hash of ``algo``, any of hashlib's with a fixed length; it knows its name.

    Raises:
        ValueError: hashlib has no such algorithm here, or its digests have no fixed length.
        TypeError: ``algo`` is no name.
    """
    if not isinstance(algo, str):
        raise TypeError(f"algo is the name of an algorithm such as 'sha256', not {algo!r}")
    try:
        made = hashlib.new(algo.lower(), usedforsecurity=False)
    except ValueError:
        known = [name for name in hashlib.algorithms_available if not name.startswith("shake")]
        hint = did_you_mean(algo.replace("-", ""), known)
        raise ValueError(f"hashlib has no algorithm {algo!r} here; {hint}") from None
    if not made.digest_size:
        raise ValueError(f"digests of {algo} have no fixed length; use one such as sha256")
    return made


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest and the algorithm that made it."""

    algo: str
    hex: str
    """Hexadecimal, lower case."""

    def __str__(self) -> str:
        return f"{self.algo} {self.hex}"


def parse_digest(text: str, algo: str) -> Digest:
    """Read a hex digest, or ``"md5:<hex>"`` whose prefix overrides ``algo``.

    Raises:
        ValueError: no such algorithm, or ``text`` is no hex digest of its length.
    """
    prefix, colon, rest = text.strip().rpartition(":")
    digits = rest.strip().lower()
    made = new_hash(prefix.strip() if colon and _is_hex(digits) else algo)
    if not _is_hex(digits) or len(digits) != 2 * made.digest_size:
        raise ValueError(_no_digest(text, made))
    return Digest(made.name, digits)


def _is_hex(text: str) -> bool:
    return bool(text) and set(text) <= set(string.hexdigits)


def _no_digest(text: str, made: _Hash) -> str:
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return (
        f"{shown!r} ({len(text)} characters) is no digest; accepted are the "
        f"{2 * made.digest_size} hex digits of {made.name}, those of another algorithm "
        'as "md5:...", the content as bytes, and a local file as pathlib.Path'
    )


class Content(Protocol):
    """A content that is at hand, so that it can be compared byte by byte."""

    @property
    def size(self) -> int:
        """Bytes."""

    def stream(self) -> AsyncIterator[bytes]:
        """Yield the content in chunks."""

    async def hash(self, algo: str) -> str:
        """Return the hex digest."""


@dataclass(frozen=True, slots=True, repr=False)
class Data:
    """Content held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the content in chunks."""
        for start in range(0, len(self.data), BLOCK):
            yield self.data[start : start + BLOCK]

    async def hash(self, algo: str) -> str:
        """Return the hex digest."""
        made = new_hash(algo)
        await aside(partial(made.update, self.data), _HASH_THREAD)
        return made.hexdigest()


@dataclass(frozen=True, slots=True)
class LocalFile:
    """Content of a file of this machine."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes."""
        with _named(self.path):
            return self.path.stat().st_size

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the content in chunks, each read in a thread."""
        with _named(self.path), await asyncio.to_thread(self.path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, BLOCK):
                yield chunk

    async def hash(self, algo: str) -> str:
        """Return the hex digest, computed in a thread that ends when nobody waits for it any more."""
        given_up = threading.Event()
        try:
            return await aside(partial(_hash_file, self.path, algo, given_up), _HASH_THREAD)
        finally:
            given_up.set()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file of this machine cannot be read; most of what the system says does not."""
    try:
        yield
    except OSError as error:
        # Not one that is taken for trouble with a server.
        kind = type(error) if isinstance(error, FileNotFoundError | PermissionError) else OSError
        why = f"cannot read the local file {path}: {error.strerror or error}"
        raise kind(why) from None


def _hash_file(path: Path, algo: str, given_up: threading.Event) -> str:
    made, block = new_hash(algo), memoryview(bytearray(_HASHED))
    with _named(path), path.open("rb", buffering=0) as file:
        while (size := file.readinto(block)) and not given_up.is_set():
            made.update(block[:size])
    return made.hexdigest()


async def hash_stream(stream: AsyncIterator[bytes], algo: str) -> str:
    """Return the hex digest of a stream; only a chunk at a time is held."""
    made = new_hash(algo)
    async for chunk in stream:
        made.update(chunk)
    return made.hexdigest()


def content_of(value: object) -> Content:
    """Return bytes, or the local file that a path names, as a `Content`.

    Raises:
        FileNotFoundError: there is no such local file.
        IsADirectoryError: the local path is a directory.
        TypeError: ``value`` is neither bytes nor a path.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return Data(bytes(value))
    if isinstance(value, os.PathLike):
        return _local_file(Path(os.fsdecode(value)))
    raise TypeError(f"content is bytes or a local pathlib.Path, not {type(value).__name__}")


def _local_file(path: Path) -> LocalFile:
    if path.is_dir():
        raise IsADirectoryError(f"the local path {path} is a directory; a file is needed")
    if not path.exists():
        raise FileNotFoundError(f"there is no local file {path} to compare with")
    return LocalFile(path)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two contents part, with a few bytes around that place."""

    offset: int
    """Of the first byte that differs, or that only one side has."""
    before: bytes
    """What both hold just before it."""
    expected: bytes
    """What one side holds from there; empty when it ends there."""
    actual: bytes
    """What the other holds from there; empty when it ends there."""

    def __str__(self) -> str:
        """Describe it in a line without the bytes."""
        if not self.actual:
            return f"actual ends at offset {self.offset}, equal so far"
        if not self.expected:
            return f"expected ends at offset {self.offset}, equal so far"
        return f"first difference at offset {self.offset} (0x{self.offset:x})"

    def lines(self) -> list[str]:
        """Describe it with the bytes of both sides in hex; a mark shows the first."""
        width = len(self.before) + max(len(self.expected), len(self.actual))
        return [
            f"{self}:",
            f"  expected: {_window(self.before + self.expected, width)}",
            f"  actual:   {_window(self.before + self.actual, width)}",
            f"            {'   ' * len(self.before)}^^",
        ]


def _window(shown: bytes, width: int) -> str:
    text = "".join(map(_printable, shown))
    return f"{shown.hex(' '):{3 * width - 1}}  |{text}|"


def _printable(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else "."  # noqa: PLR2004  # the ASCII range


async def first_difference(
    expected: AsyncIterator[bytes], actual: AsyncIterator[bytes]
) -> Difference | None:
    """Return where two streams part, or None when they are equal.

    Compares what has come, and holds a chunk of each side: a stream without end does no harm, nor
    does one whose bytes come slowly once they decide. Both are closed.
    """
    async with closing(expected) as wanted, closing(actual) as found:
        return await _compare(wanted, found)


async def _compare(wanted: AsyncIterator[bytes], found: AsyncIterator[bytes]) -> Difference | None:
    offset, before = 0, b""
    left = right = memoryview(b"")
    while True:
        left, right = left or await _more(wanted), right or await _more(found)
        size = min(len(left), len(right), BLOCK)
        one, other = bytes(left[:size]), bytes(right[:size])
        if one != other or not size:
            break
        left, right = left[size:], right[size:]
        offset, before = offset + size, (before + one[-CONTEXT:])[-CONTEXT:]
    if not left and not right:
        return None
    same = _common_length(one, other)
    return Difference(
        offset=offset + same,
        before=(before + one[:same])[-CONTEXT:],
        expected=await _from(left[same:], wanted),
        actual=await _from(right[same:], found),
    )


async def _more(stream: AsyncIterator[bytes]) -> memoryview:
    """Return the next chunk that is not empty; an empty one at the end."""
    async for chunk in stream:
        if chunk:
            return memoryview(chunk)
    return memoryview(b"")


async def _from(block: memoryview, more: AsyncIterator[bytes]) -> bytes:
    """Return the next `CONTEXT` bytes, or those that come soon: they only illustrate."""
    window = bytes(block[:CONTEXT])
    with suppress(Exception):  # an error after the difference changes nothing about it
        async with asyncio.timeout(_PATIENCE):
            while len(window) < CONTEXT and (chunk := await _more(more)):
                window += chunk[: CONTEXT - len(window)]
    return window


def _common_length(left: bytes, right: bytes) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(left), len(right)))


@asynccontextmanager
async def closing(stream: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T]]:
    """Close an async iterator at the end when it can be closed, as generators can."""
    try:
        yield stream
    finally:
        if (aclose := getattr(stream, "aclose", None)) is not None:
            await aclose()
