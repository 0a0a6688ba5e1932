"""Whether a directory of a storage holds the files that it should."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_opendal.contents import compare, expected_of
from pytest_opendal.digests import Content, Digest, closing
from pytest_opendal.errors import NotADirectory, NotFound
from pytest_opendal.loop import together
from pytest_opendal.nearest import missing
from pytest_opendal.paths import as_directory, is_directory, name_of, normalize, parents
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_opendal.contents import Expected
    from pytest_opendal.paths import Name, StrPath
    from pytest_opendal.subject import Subject

MOST = 20
"""Entries of each kind that are listed."""
AT_ONCE = 8
"""Files whose content is asked for at the same time."""

Wanted = dict[str, Digest | Content | None]
"""What each name has to hold; None when it only has to exist."""


def wanted_of(tree: Mapping[Name, Expected | None]) -> Wanted:
    """Read the expectation of a tree.

    Raises:
        ValueError: a name is empty or given twice, a directory has a content, or a digest is none.
        InvalidPath: a name would leave the tree or holds control characters.
        FileNotFoundError: a local file that is to be compared does not exist.
    """
    wanted: Wanted = {}
    for given, value in tree.items():
        name = normalize(given)
        if not name or name in wanted:
            raise ValueError(f"{str(given)!r} {'is given twice' if name else 'names no entry'}")
        if is_directory(name) and value is not None:
            raise ValueError(f"{str(given)!r} is a directory; only None can be expected of it")
        wanted[name] = None if value is None else expected_of(value)
    return wanted


@dataclass(frozen=True, slots=True)
class _Found:
    """Relative paths below a directory."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    """With a trailing slash; those that files imply included."""

    def add(self, path: str) -> None:
        (self.directories if is_directory(path) else self.files).add(path)
        self.directories.update(f"{parent}/" for parent in parents(path))

    def kind(self, name: str) -> str:
        """Say what the name is, with or without a slash; "" when it is missing.

        An object store may have a file and a directory of one name: the slash tells which is meant.
        """
        if name_of(name) in self.files and not self.is_directory(name):
            return "a file"
        return "a directory" if as_directory(name) in self.directories else ""

    def is_directory(self, name: str) -> bool:
        """Whether a name with a slash is that of a directory."""
        return name in self.directories


async def tree_problem(storage: Subject, path: StrPath, wanted: Wanted) -> str | None:
    """Return how the files below a directory differ from those wanted, None when they do not."""
    base = as_directory(normalize(path))
    found = await _scan(storage, base)
    if not found.files and not found.directories and base and not await storage.exists(base):
        return await _no_directory(storage, path)
    contents = await _compare_all(storage, base, found, wanted)
    named = {name_of(name) for name in wanted if not found.is_directory(name)}
    groups = {
        "missing": [_Entry(name) for name in wanted if not found.kind(name)] + contents.gone,
        "unexpected": [_Entry(name) for name in found.files - named],
        "differing": _wrong_kinds(found, wanted) + contents.unequal,
    }
    return _report(storage.display(path), groups) if any(groups.values()) else None


async def _no_directory(storage: Subject, path: StrPath) -> str:
    """Say what is there in place of a directory."""
    with suppress(NotFound, NotADirectory):
        if (await storage.stat(name := name_of(normalize(path)))).mode.is_file():
            return f"{storage.display(name)} is a file, where a directory is needed"
    return await missing(storage, path)


async def _scan(storage: Subject, base: str) -> _Found:
    found = _Found()
    async with closing(storage.scan(base or "/")) as entries:
        async for entry in entries:
            path = entry.lstrip("/")
            if path.startswith(base) and path != base:
                found.add(path.removeprefix(base))
    return found


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    """A name that a message lists, and the lines below it."""

    name: str
    lines: tuple[str, ...] = ()


def _wrong_kinds(found: _Found, wanted: Wanted) -> list[_Entry]:
    kinds = ((name, _kind_wanted(name), found.kind(name)) for name in wanted)
    return [
        _Entry(name, (f"expected: {kind}", f"actual:   {actual}"))
        for name, kind, actual in kinds
        if actual not in {"", kind}
    ]


def _kind_wanted(name: str) -> str:
    return "a directory" if is_directory(name) else "a file"


@dataclass(frozen=True, slots=True)
class _Contents:
    """What comparing the contents found."""

    unequal: list[_Entry] = field(default_factory=list)
    gone: list[_Entry] = field(default_factory=list)
    """Removed by somebody since the directory was scanned."""


async def _compare_all(storage: Subject, base: str, found: _Found, wanted: Wanted) -> _Contents:
    contents = _Contents()

    async def compare_one(name: str, expected: Digest | Content) -> None:
        try:
            unequal = await compare(storage, base + name, expected)
        except NotFound:
            contents.gone.append(_Entry(name))
        else:
            if unequal:
                contents.unequal.append(_Entry(name, tuple(unequal.lines())))

    known = ((name, wanted[name]) for name in wanted.keys() & found.files)
    jobs = (compare_one(name, value) for name, value in known if value is not None)
    await together(*jobs, at_once=AT_ONCE)
    return contents


def _report(directory: str, groups: Mapping[str, Sequence[_Entry]]) -> str:
    counts = (f"{len(entries)} {kind}" for kind, entries in groups.items() if entries)
    lines = [f"{directory} holds other files than expected: {', '.join(counts)}"]
    for kind, entries in groups.items():
        lines += _section(kind, sorted(entries))
    return "\n".join(lines)


def _section(kind: str, entries: Sequence[_Entry]) -> Iterator[str]:
    if entries:
        yield f"  {kind}:"
    for entry in entries[:MOST]:
        yield f"    {printable(entry.name)}"
        yield from (f"      {line}" for line in entry.lines)
    if len(entries) > MOST:
        yield f"    ... and {len(entries) - MOST} more"
