"""What to say of a path that is missing: the names that come nearest to it."""

from __future__ import annotations

from contextlib import suppress
from difflib import SequenceMatcher
from heapq import nlargest
from typing import TYPE_CHECKING

from pytest_opendal.digests import closing
from pytest_opendal.errors import IsADirectory, NotADirectory, NotFound, StorageError
from pytest_opendal.paths import as_directory, name_of, normalize, parents
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pytest_opendal.paths import StrPath
    from pytest_opendal.subject import Subject

NEAREST = 5
"""Names that are shown."""
MOST_ENTRIES = 1000
"""Entries of a directory among which they are looked for."""
# difflib's own idea of a close match.
_ALIKE = 0.6


async def unless_missing(
    storage: Subject, path: StrPath, problem: Awaitable[str | None]
) -> str | None:
    """Await what an assertion found wrong, or say that the path is missing or has no content."""
    try:
        return await problem
    except (NotFound, NotADirectory):
        return await missing(storage, path)
    except IsADirectory:
        claim = f"{storage.display(path)} is a directory, where a file is needed"
        return f"{claim}; assert_tree compares directories"


async def missing(storage: Subject, path: StrPath) -> str:
    """Say that a path does not exist, and what is there with a similar name."""
    claim, name = f"{storage.display(path)} does not exist", name_of(normalize(path))
    # A storage that fails once is not asked again: each silence would cost another timeout.
    with suppress(StorageError):
        for directory in (*parents(name), ""):
            if near := await _near(storage, directory, _step(name, directory)):
                return f"{claim}\n  {near}"
    return f"{claim}, and no name near it is known"


def _step(name: str, directory: str) -> str:
    """Return the part of ``name`` that stands directly below ``directory``."""
    return name.removeprefix(as_directory(directory)).partition("/")[0]


async def _near(storage: Subject, directory: str, wanted: str) -> str:
    """Describe what a directory holds; "" when it does not exist."""
    shown, names = storage.display(as_directory(directory)), []
    with suppress(NotFound, NotADirectory):
        names = await names_in(storage, directory)
    if near := _alike(wanted, names):
        return f"nearest in {shown}: {', '.join(map(printable, near))}"
    if names:
        return f"{shown} holds: {enumeration(names)}"
    return f"{shown} is empty" if await storage.exists(as_directory(directory) or "/") else ""


async def names_in(storage: Subject, directory: str) -> list[str]:
    """Return the names in a directory, at most `MOST_ENTRIES`; raises as listing does."""
    base = as_directory(directory)
    names: set[str] = set()
    async with closing(storage.list(base or "/")) as entries:
        async for entry in entries:
            path = entry.lstrip("/")
            if path.startswith(base) and path != base:
                names.add(path.removeprefix(base))
            if len(names) >= MOST_ENTRIES:
                break
    return sorted(names)


def _alike(wanted: str, names: list[str]) -> list[str]:
    """Return the names like ``wanted``, nearest first, whatever their case."""
    matcher = SequenceMatcher(b=wanted.casefold())
    scored = []
    for name in names:
        matcher.set_seq1(name_of(name).casefold())
        scored.append((matcher.ratio(), name))
    return [name for score, name in nlargest(NEAREST, scored) if score >= _ALIKE]


def enumeration(names: list[str]) -> str:
    """Join the first names with commas, and tell how many more there are."""
    shown = ", ".join(map(printable, names[:NEAREST]))
    more = len(names) - NEAREST
    return f"{shown} ... and {more} more" if more > 0 else shown
