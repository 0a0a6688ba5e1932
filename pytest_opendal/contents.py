"""Whether a file of a storage holds what is expected of it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_opendal.digests import (
    Content,
    Data,
    Difference,
    Digest,
    content_of,
    first_difference,
    new_hash,
    parse_digest,
)
from pytest_opendal.errors import StorageError
from pytest_opendal.loop import together

if TYPE_CHECKING:
    from pytest_opendal.paths import StrPath
    from pytest_opendal.subject import Subject

Expected = str | bytes | os.PathLike[str]
"""A digest (str), a content (bytes), or a local file that holds it (a path)."""


def expected_of(value: Expected, algo: str = "sha256") -> Digest | Content:
    """Read what is expected of a file.

    Raises:
        ValueError: no such algorithm, or a str that is no digest of it.
        FileNotFoundError: there is no such local file.
        TypeError: ``value`` is neither str, bytes nor a path.
    """
    if isinstance(value, str):
        return parse_digest(value, algo)
    return content_of(value)


@dataclass(frozen=True, slots=True)
class Unequal:
    """A file that does not hold what is expected."""

    expected: Digest
    actual: Digest
    expected_size: int | None
    """Bytes; None when only the digest is known."""
    actual_size: int | None
    """Bytes; None when the storage did not tell."""
    difference: Difference | None
    """None when the expected content is not at hand."""
    hint: str = ""

    def lines(self) -> list[str]:
        """Describe it, expected above actual."""
        return [
            f"expected: {self.expected}{_bytes(self.expected_size)}",
            f"actual:   {self.actual}{_bytes(self.actual_size)}",
            *(self.difference.lines() if self.difference else ()),
            *([self.hint] if self.hint else ()),
        ]


def size_text(size: int) -> str:
    """Return ``1 byte`` or ``2 bytes``."""
    return f"{size} byte{'' if size == 1 else 's'}"


def _bytes(size: int | None) -> str:
    return "" if size is None else f" ({size_text(size)})"


async def compare(
    storage: Subject, path: StrPath, expected: Digest | Content, algo: str = "sha256"
) -> Unequal | None:
    """Return how a file differs from what is expected, None when it does not.

    Args:
        storage: that holds the file.
        path: of the file.
        expected: a digest, or a content.
        algo: by which a content is compared; a digest has its own.
    """
    if isinstance(expected, Digest):
        wanted, actual = expected, Digest(expected.algo, await storage.hash(path, expected.algo))
        size = 0 if wanted.hex == new_hash(wanted.algo).hexdigest() else None
    else:
        found = await together(expected.hash(algo), storage.hash(path, algo))
        wanted, actual = (Digest(algo, digits) for digits in found)
        size = expected.size
    if wanted == actual:
        return None
    return Unequal(
        expected=wanted,
        actual=actual,
        expected_size=size,
        actual_size=await _size(storage, path),
        difference=await _difference(storage, path, expected),
        hint=_hint(expected, actual),
    )


async def _size(storage: Subject, path: StrPath) -> int | None:
    with suppress(StorageError):
        return (await storage.stat(path)).content_length
    return None


async def _difference(
    storage: Subject, path: StrPath, expected: Digest | Content
) -> Difference | None:
    if isinstance(expected, Digest):
        return None
    with suppress(StorageError):
        return await first_difference(expected.stream(), storage.stream(path))
    return None


def _hint(expected: Digest | Content, actual: Digest) -> str:
    if isinstance(expected, Data) and expected.data in {
        bytes.fromhex(actual.hex),
        actual.hex.encode(),
    }:
        return "hint: these bytes are the digest itself; give it as a str of hex digits"
    return ""
