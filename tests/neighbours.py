"""A storage that a test and a stranger use at the same time, and what it must hold at the end.

The model looks at the whole storage around each operation, so it need not know what a service can
do: what appears by an operation of the test is the test's, what it moves keeps its owner, and what
becomes of foreign data that it writes over is what ``on_existing`` says:

- ``created``: it counts as the test's from then on, and goes at the end.
- ``keep``: it stays foreign, with the content that the test gave it.
- ``refuse``: it never happens.
- ``restore``: at the end the storage is as if the test had never been, also where it removed or
  moved foreign data. The other policies take an explicit removal or move at its word.

A path of the test stays the test's until the test removes it, whoever else writes to it.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal

from pytest_opendal import errors
from pytest_opendal.paths import below, name_of, parents
from pytest_opendal.report import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_opendal.report import Leftover
    from pytest_opendal.storage import Storage

    from contract import Lab

Tree = dict[str, bytes | None]
"""Content of files by path; directories end with ``/`` and have none."""
Step = tuple[str, ...]
"""Name of an operation and its paths."""

POLICIES = ("created", "keep", "restore", "refuse")
_OPAQUE = ("a", "b", "ab", "a/a", "a/b", "a/ab", "b/a", "b/b", "ab/a", "a/a/a", "a/a/b", "b/a/a")
_SLASHED = tuple(name + slash for name in _OPAQUE for slash in ("", "/"))
_STEPS: dict[str, tuple[Sequence[str], ...]] = {
    "write": (_OPAQUE,),
    "write_from_path": (_OPAQUE,),
    "open": (_OPAQUE,),
    "append": (_OPAQUE,),
    "give_up": (_OPAQUE,),
    "ensure": (_OPAQUE,),
    "create_dir": (_OPAQUE,),
    "register_path": (_SLASHED,),
    "presign_write": (_OPAQUE,),
    "copy": (_OPAQUE, _OPAQUE),
    "rename": (_OPAQUE, _OPAQUE),
    "delete": (_SLASHED,),
    "remove_all": (_SLASHED,),
    "look": (_SLASHED,),
}
_THEIRS: dict[str, tuple[Sequence[str], ...]] = {
    "write": (_OPAQUE,),
    "create_dir": (_OPAQUE,),
    "delete": (_OPAQUE,),
    "remove_all": (_OPAQUE,),
}
_REMOVALS = {"delete", "remove_all"}
_CLAIMS = {"register_path", "presign_write"}


def step_of_test(choose: Callable[[Sequence[str]], str]) -> Step:
    """Return an operation of the test; ``choose`` picks one of several texts."""
    return _step(_STEPS, choose)


def step_of_stranger(choose: Callable[[Sequence[str]], str]) -> Step:
    """Return an operation of the stranger."""
    return _step(_THEIRS, choose)


def _step(steps: dict[str, Any], choose: Callable[[Sequence[str]], str]) -> Step:
    name = choose(tuple(steps))
    return (name, *(choose(paths) for paths in steps[name]))


def contents(owner: str) -> Iterator[bytes]:
    """Yield contents that tell their owner, each different, short and long by turns."""
    for number in itertools.count():
        yield f"{owner}-{number}".encode() * (1 + number % 2 * 20)


# -- the test


def perform(storage: Storage, step: Step, data: bytes, tmp: Path) -> bool:
    """Do what a test would; whether the storage did it."""
    name, *paths = step
    try:
        _PERFORM.get(name, _by_name)(storage, name, paths, data, tmp)
    except errors.StorageError:
        return False
    return True


def _by_name(storage: Storage, name: str, paths: list[str], _data: bytes, _tmp: Path) -> None:
    getattr(storage, name)(*paths)


def _write(storage: Storage, _name: str, paths: list[str], data: bytes, _tmp: Path) -> None:
    storage.write_bytes(paths[0], data)


def _from_path(storage: Storage, name: str, paths: list[str], data: bytes, tmp: Path) -> None:
    source = tmp / "source"
    source.write_bytes(data)
    getattr(storage, name)(paths[0], source)


def _open(storage: Storage, name: str, paths: list[str], data: bytes, _tmp: Path) -> None:
    with storage.open(paths[0], "ab" if name == "append" else "wb") as file:
        file.write(data)
        if name == "give_up":
            raise errors.StorageError


def _presign(storage: Storage, _name: str, paths: list[str], _data: bytes, _tmp: Path) -> None:
    storage.presign_write(paths[0], 60)


def _look(storage: Storage, _name: str, paths: list[str], _data: bytes, _tmp: Path) -> None:
    for use in (storage.exists, storage.stat, storage.read_bytes, storage.hash):
        with suppress(errors.StorageError):
            use(paths[0])
    list(storage.list(paths[0]))
    list(storage.scan(paths[0]))


_PERFORM: dict[str, Callable[[Storage, str, list[str], bytes, Path], None]] = {
    "write": _write,
    "write_from_path": _from_path,
    "ensure": _from_path,
    "open": _open,
    "append": _open,
    "give_up": _open,
    "presign_write": _presign,
    "look": _look,
}


# -- the stranger


class Stranger:
    """Uses a storage with a client of its own: plain files where there are, else opendal."""

    def __init__(self, lab: Lab) -> None:
        self._run = lab.run.loop.run
        self._root = Path(lab.kwargs["root"]) if lab.scheme == "fs" else None
        # What is in memory is in one client's memory.
        self._operator = (
            lab.stranger.operator
            if lab.scheme == "memory"
            else opendal.AsyncOperator(lab.scheme, **lab.kwargs)
        )

    def perform(self, step: Step, data: bytes) -> bool:
        """Do one of the stranger's operations; whether the storage did it."""
        name, path = step
        try:
            (self._use_files if self._root is not None else self._use_operator)(name, path, data)
        except OSError:
            return False
        except Exception as error:
            if not type(error).__module__.startswith("opendal"):
                raise
            return False
        return True

    def _use_files(self, name: str, path: str, data: bytes) -> None:
        assert self._root is not None
        place = self._root / path
        if name == "remove_all":
            shutil.rmtree(place)
        elif name == "delete":
            place.rmdir() if place.is_dir() else place.unlink()
        elif name == "create_dir":
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)

    def _use_operator(self, name: str, path: str, data: bytes) -> None:
        async def use() -> None:
            if name == "write":
                await self._operator.write(path, data)
            elif name == "delete":
                await self._operator.delete(path)
            else:
                await getattr(self._operator, name)(f"{path}/")

        self._run(use())

    def sees(self) -> Tree:
        """Return all that is on the storage."""
        if self._root is not None:
            found = {path.relative_to(self._root).as_posix(): path for path in _all(self._root)}
            return {
                f"{name}/" if path.is_dir() else name: None if path.is_dir() else path.read_bytes()
                for name, path in found.items()
            }
        tree: Tree = self._run(self._tree())
        return tree

    async def _tree(self) -> Tree:
        paths = [entry.path async for entry in await self._operator.scan("/")]
        paths = [path for path in paths if path.strip("/")]
        return dict(zip(paths, await asyncio.gather(*map(self._content, paths)), strict=True))

    async def _content(self, path: str) -> bytes | None:
        return None if path.endswith("/") else bytes(await self._operator.read(path))


def _all(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


# -- the model


def _differ(one: Tree, other: Tree, path: str) -> bool:
    return one.get(path, b"missing") != other.get(path, b"missing")


def _related(one: str, other: str) -> bool:
    """Whether one of two paths is the other or lies below it."""
    one, other = name_of(one), name_of(other)
    return below(one, other) or below(other, one)


@dataclass
class Model:
    """What belongs to whom, and so what must be there at the end."""

    on_existing: str
    now: Tree
    """What is on the storage."""
    has_directories: bool
    one_entry: bool = False
    """The service keeps the file ``x`` and the directory ``x/`` as one thing (SeaweedFS)."""
    remembers: bool = False
    """Directories are not looked for again before each write: that would be a request."""
    ours: set[str] = field(default_factory=set)
    """Paths of the test; directories end with ``/``; also what does not exist (yet)."""
    trees: set[str] = field(default_factory=set)
    """Directories (``x/``) whose whole content is the test's."""
    alone: Tree = field(default_factory=dict)
    """What would be there without the test."""
    killed: set[bytes | None] = field(default_factory=set)
    """Contents that the stranger removed or wrote over."""
    claimed: set[bytes | None] = field(default_factory=set)
    """Contents that were at paths of the test."""
    disturbed: bool = False
    """The stranger was where the test had changed something, so that not all can be as before."""
    moves: set[str] = field(default_factory=set)
    """Where the test has moved foreign data from, and to."""
    unsure: set[str] = field(default_factory=set)
    """Directories that nobody can tell of: named like a file where both are one entry; removed by
    the stranger when they were the test's, or where the test remembers them and makes them again."""
    kept: set[str] = field(default_factory=set)
    """Foreign files that the test has written over with ``keep``, also when the stranger removes them."""
    removed: set[str] = field(default_factory=set)
    """Foreign paths that the test has removed, moved or written over."""
    doubtful: set[str] = field(default_factory=set)
    """Foreign files that a killed operation was about to write over."""

    def __post_init__(self) -> None:
        self.alone = dict(self.now)

    # -- what the stranger does

    def heard(self, step: Step, after: Tree) -> None:
        """Learn what the stranger did, who was able to do it."""
        name, path = step
        self.disturbed = self.disturbed or not self._is_undisturbed(name, path)
        before = dict(self.alone)
        self._mix(path, *after)
        for gone in self.now.keys() - after.keys():
            self.alone.pop(gone, None)
            if gone.endswith("/") and (self.remembers or gone in self.ours):
                self.unsure.add(gone)
        self.alone |= {made: after[made] for made in after if _differ(self.now, after, made)}
        if self.has_directories and name not in _REMOVALS:
            self.alone |= {f"{parent}/": None for parent in parents(path)}
        for old, new in ((self.now, after), (before, self.alone)):
            self.killed |= set(old.values()) - set(new.values())
        self._become(after)

    def _become(self, now: Tree) -> None:
        self.now = now
        self.claimed |= {content for path, content in now.items() if self._is_claimed(path)}

    def _is_undisturbed(self, name: str, path: str) -> bool:
        """Whether the test has left this place as it was, or only freed it."""
        if any(_related(place, path) for place in self.moves):
            return False
        near = {other for other in self.removed | self.claims if _related(other, path)}
        if name in _REMOVALS:
            return not near
        near -= {f"{parent}/" for parent in parents(path)} - self.trees
        freed = name == "write" and path not in self.now and path not in self.ours
        return near <= ({path} if freed else set())

    @property
    def claims(self) -> set[str]:
        """All that belongs to the test."""
        return self.ours | self.trees

    def _mix(self, *paths: str) -> None:
        if self.one_entry:
            self.unsure |= {f"{path}/" for path in paths if not path.endswith("/")}

    # -- what the test does

    def did(self, step: Step, after: Tree, *, done: bool, killed: bool = False) -> None:
        """Learn what an operation of the test did.

        Args:
            step: the operation.
            after: what is on the storage now.
            done: whether the storage did it.
            killed: whether the process died in it, so that nobody knows.
        """
        name, *paths = step
        self._mix(*paths, *after)
        self._check(step, after, may_change=done or killed or name == "copy")
        is_move = name == "rename" and not any(below(name_of(path), paths[0]) for path in after)
        if is_move and self.now != after:
            self._moved(paths[0], paths[1], after)
        else:
            self._changed(after)
        if done and name in _REMOVALS:
            self._forget(*paths)
            # What it writes there from now on is new.
            self.kept -= {
                name for name in self.kept - after.keys() if below(name, name_of(paths[0]))
            }
        if done and name == "create_dir":
            self.ours.discard(paths[0])  # a file of ours that had this name is gone
        if done and name in _CLAIMS:
            self._claim(*paths)
        if killed and self.on_existing == "created":
            self.doubtful |= {path for path in after if below(name_of(path), paths[-1])}
        if self.on_existing == "restore" and not self.has_directories:
            # Of a foreign file and a foreign marker with one name, only the file is put back.
            self.unsure |= {f"{path}/" for path in self.alone if not path.endswith("/")}
        self.removed |= {path for path in self.alone if _differ(after, self.alone, path)}
        self._become(after)

    def _check(self, step: Step, after: Tree, *, may_change: bool) -> None:
        name, *paths = step
        changed = {path for path in {*self.now, *after} if _differ(self.now, after, path)}
        assert may_change or not changed, f"{step} failed, and changed {changed}"
        assert name not in {"look", "give_up", *_CLAIMS} or not changed, f"{step}: {changed}"
        touched = paths[1:] if name == "copy" else paths
        for path in changed:
            if path.endswith(".part") and path not in self.now:
                continue  # what was to replace a file, when its writer was killed
            assert any(_related(path, target) for target in touched), f"{step}: {path}"
        if self.on_existing == "refuse" and name not in {*_REMOVALS, "rename"}:
            lost = {path for path in changed if path in self.now} - self.claims - self.unsure
            assert not lost, f"{step} wrote over {lost}"

    def _changed(self, after: Tree) -> None:
        """New is ours; what was written over is by the policy; gone is nobody's."""
        overwritten = {path for path in self.now if path in after and self.now[path] != after[path]}
        self.ours -= self.now.keys() - after.keys()
        if self.on_existing == "keep":
            self.kept |= overwritten - self.claims
        else:
            self.ours |= overwritten
        self.ours |= after.keys() - self.now.keys() - self.kept

    def _moved(self, source: str, target: str, after: Tree) -> None:
        was_there = target in self.now and target not in self.ours
        below_source = {path for path in self.now if below(name_of(path), source)}
        if not below_source <= self.ours:
            self.moves |= {source, target}

        def there(path: str) -> str:
            return target + path[len(source) :] if below(name_of(path), source) else path

        for names in (self.ours, self.trees, self.kept):
            moved = {path for path in names if below(name_of(path), source)}
            stay = {path for path in names - moved if not below(name_of(path), target)}
            names.clear()
            names.update(stay, map(there, moved))
        self.ours |= after.keys() - {there(path) for path in self.now}
        if was_there and self.on_existing == "keep":
            self.ours.discard(target)
            self.kept.add(target)

    def _forget(self, path: str) -> None:
        """A removed path is no more of the test's, and neither is what is below it."""
        name = name_of(path)
        for names in (self.ours, self.trees, self.kept):
            names -= {
                other for other in names if below(name_of(other), name) and other not in self.now
            }

    def _claim(self, path: str) -> None:
        if path.endswith("/"):
            if any(other.startswith(path) for other in self.now):
                return
            self.trees.add(path)
        elif not (path in self.now and self.on_existing == "keep"):
            self.ours.add(path)
        if self.has_directories:
            self.ours |= {f"{parent}/" for parent in parents(path)} - self.now.keys()

    # -- the end

    def expected(self) -> Tree:
        """Return what must be there at the end, with policies that take a test at its word."""
        directories = {path for path in self.ours if path.endswith("/")}
        left = {
            path: content
            for path, content in self.now.items()
            if not self._is_claimed(path) or path in directories
        }
        for directory in sorted(directories, key=lambda path: -path.count("/")):
            held = any(path.startswith(directory) for path in left if path != directory)
            if directory in left and not (held and self.has_directories):
                del left[directory]
        return left

    def check_end(self, after: Tree, leftovers: Sequence[Leftover]) -> None:
        """Assert that the storage holds what it must, and nothing else."""
        failed = [left for left in leftovers if left.reason is Reason.FAILED]
        if self.on_existing != "restore":
            assert not failed, failed
            expected = self.expected()
            assert self._comparable(after) == self._comparable(expected)
        elif not self.disturbed:
            assert not failed, failed
            assert self._comparable(after) == self._comparable(self.alone)
        else:
            self._check_disturbed(after, told=bool(failed))

    def _check_disturbed(self, after: Tree, *, told: bool) -> None:
        """Nothing of ours stays, and nothing foreign is lost that the stranger did not remove."""
        ours = {path for path, content in after.items() if content and content.startswith(b"ours")}
        assert not ours or told, ours
        foreign = {*self.now.values(), *self.alone.values()} - self.claimed - self.killed
        lost = {content for content in foreign if content and content.startswith(b"theirs")}
        assert lost <= set(after.values()) or told, lost

    def _is_claimed(self, path: str) -> bool:
        return path in self.ours or any(f"{path}/".startswith(tree) for tree in self.trees)

    def _comparable(self, tree: Tree) -> Tree:
        """Return what can be told of a tree."""
        unknown = self.doubtful | self.unsure
        return {path: content for path, content in tree.items() if path not in unknown}
