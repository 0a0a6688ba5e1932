"""Conflicts: two workers that held one path of one storage at the same time."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Claim(NamedTuple):
    """A test holds a path from its creation to the end of its fixture."""

    storage: str
    path: str
    start: float
    """Seconds since the epoch, as ``time.time()`` gives them."""
    end: float


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two workers held one path of a storage at the same time."""

    storage: str
    path: str
    tests: tuple[str, str]
    workers: tuple[str, str]


class _Holder(NamedTuple):
    """Who claims, and under which name it knows the storage."""

    test: str
    worker: str
    storage: str


class _Held(NamedTuple):
    """One claim on the path that is being looked at."""

    start: float
    end: float
    holder: _Holder


class _Claims:
    """The claims on one location, as columns: 100,000 of them take few megabytes."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.starts = array("d")
        self.ends = array("d")
        self.holders = array("L")

    def add(self, path: str, start: float, end: float, holder: int) -> None:
        self.paths.append(path)
        self.starts.append(start)
        self.ends.append(end)
        self.holders.append(holder)

    def contested(self) -> Iterator[tuple[str, list[int]]]:
        """Yield each path with more than one claim, and the rows of its claims."""
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        for path, rows in groupby(order, key=self.paths.__getitem__):
            group = list(rows)
            if len(group) > 1:
                yield path, group


class ConflictFinder:
    """Collects the claims of all workers and finds those that met.

    Claims of one worker never conflict: its tests run one after the other, and what a test and a
    wider fixture do to one path in one process is their own business.
    """

    def __init__(self) -> None:
        self._claims: dict[str, _Claims] = {}
        self._holders: dict[_Holder, int] = {}

    def add(
        self,
        storage: str,
        location: str,
        path: str,
        *,
        worker: str,
        test: str,
        start: float,
        end: float,
    ) -> None:
        """Note that ``test`` in ``worker`` held ``path``.

        ``location`` tells where ``storage`` really is: two storages may be one place under two
        names, and one name may be a different board in each worker.
        """
        holder = self._holders.setdefault(_Holder(test, worker, storage), len(self._holders))
        claims = self._claims.get(location)
        if claims is None:
            claims = self._claims[location] = _Claims()
        claims.add(path, start, end, holder)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Return each pair of tests that met on a path, once, in the order of storage and path."""
        found = set(self._meetings()) if self._several_workers() else set()
        return tuple(sorted(found, key=lambda c: (c.storage, c.path, c.tests, c.workers)))

    def _several_workers(self) -> bool:
        return len({holder.worker for holder in self._holders}) > 1

    def _meetings(self) -> Iterator[Conflict]:
        holders = list(self._holders)
        for claims in self._claims.values():
            for path, rows in claims.contested():
                held = [
                    _Held(claims.starts[row], claims.ends[row], holders[claims.holders[row]])
                    for row in rows
                ]
                for first, second in _overlaps(held):
                    yield _conflict(path, first, second)


def _overlaps(held: list[_Held]) -> Iterator[tuple[_Holder, _Holder]]:
    """Yield the holders, of different workers, whose intervals overlap."""
    active: list[_Held] = []
    for claim in sorted(held, key=itemgetter(0)):
        active = [other for other in active if other.end > claim.start]
        for other in active:
            if other.holder.worker != claim.holder.worker:
                yield other.holder, claim.holder
        active.append(claim)


def _conflict(path: str, one: _Holder, other: _Holder) -> Conflict:
    first, second = sorted((one, other))
    return Conflict(first.storage, path, (first.test, second.test), (first.worker, second.worker))
