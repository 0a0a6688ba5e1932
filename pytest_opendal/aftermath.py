"""How a run and the command tell of runs that died; facts come from ``remnants`` and ``reap``."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from pytest_opendal import reap, recovery, remnants
from pytest_opendal.report import REAP, Reason
from pytest_opendal.terminal import resources
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pytest_opendal.reap import Reaped
    from pytest_opendal.remnants import Found, Remnant
    from pytest_opendal.report import Collector, Leftover
    from pytest_opendal.run import Run
    from pytest_opendal.settings import StorageSettings

_SHOWN = 20


class Aftermath:
    """What runs before this one left: looked for when it starts, told then and at its end."""

    def __init__(
        self, directory: Path, run_id: str, storages: Iterable[StorageSettings], here: Path
    ) -> None:
        """Look, and remove what tells of nothing; only the journals of dead processes are read.

        Args:
            directory: where the journals of this run are.
            run_id: of this run.
            storages: those of the configuration.
            here: where the user is, who may give the command.
        """
        self._directory = directory
        self._run_id = run_id
        self._storages = list(storages)
        self._here = here
        self._found = self._look()
        reap.tidy(self._found.remnants)
        self._reaped: list[Reaped] = []
        self._is_told = False

    def _look(self) -> Found:
        # The private directory is one for all projects of this user.
        shared = remnants.private_places()
        found = remnants.find([self._directory], without=self._run_id)
        others = remnants.find(place for place in shared if place != self._directory)
        ours = tuple(
            remnant
            for remnant in (*found.remnants, *others.remnants)
            if remnant.path.parent not in shared or self._concerns(remnant)
        )
        return replace(found, remnants=ours)

    def _concerns(self, remnant: Remnant) -> bool:
        """Whether a process left something on a storage of the configuration, or nothing at all."""
        identities = [settings.identity for settings in self._storages]
        return not remnant.records or any(
            recovery.identity_of(remnants.opened_of(record)) in identities
            for record in remnant.records
        )

    def reap(self, run: Run) -> None:
        """Remove what can be removed."""
        reaper = reap.Reaper(run, self._storages, configured=bool(self._storages))
        self._reaped = reaper.reap(self._found.remnants)

    def header_lines(self) -> list[str]:
        """Return the lines of pytest's header; empty where nobody left anything."""
        self._is_told = True
        lines = reaped_lines(self._reaped) if self._reaped else self._waiting_lines()
        return [printable(f"opendal: {line}") for line in (*lines, *self._alone)]

    @property
    def _alone(self) -> tuple[str, ...]:
        return (*self._found.elsewhere, *self._found.alone)

    def _waiting_lines(self) -> list[str]:
        counted = remnants.counted(self._found.remnants)
        if not counted:
            return []
        counts: Counter[str] = Counter()
        for part in counted:
            counts[part.storage] += part.count
        told = ", ".join(
            f"{resources(count)} in {storage}" for storage, count in sorted(counts.items())
        )
        runs = _runs(len({part.run_id for part in counted}))
        command = self._command(self._found.remnants)
        return [f"{runs} left {told}; remove with --opendal-reap, or: {command}"]

    def _command(self, found: Iterable[Remnant]) -> str:
        """Return the command that finds these remnants when it is given where the user is."""
        looked = {os.path.realpath(place) for place in remnants.looked_into(self._here)}
        places = dict.fromkeys(remnant.path.parent for remnant in found if remnant.records)
        if looked.issuperset(map(os.path.realpath, places)):
            return REAP
        named = [f"--journal-dir {shlex.quote(self._from_here(place))}" for place in places]
        return " ".join((REAP, *named))

    def _from_here(self, place: Path) -> str:
        return str(place.relative_to(self._here) if place.is_relative_to(self._here) else place)

    def settle(self, collector: Collector) -> list[str]:
        """Tell the collector what is still there, and return what the header did not tell."""
        known = {remnant.path for remnant in self._found.remnants}
        there = [remnant for remnant in self._look().remnants if remnant.path in known]
        collector.add_remnants(remnants.counted(there), self._command(there))
        collector.leave_alone(*self._alone)
        return [] if self._is_told else [f"opendal: {line}" for line in reaped_lines(self._reaped)]


def reaped_lines(reaped: Iterable[Reaped]) -> list[str]:
    """Return what a reap removed, in a line, and a line for each storage where something is left."""
    parts = list(reaped)
    removed: Counter[str] = Counter()
    restored: Counter[str] = Counter()
    for part in parts:
        removed[part.storage] += len(part.removed)
        restored[part.storage] += len(part.restored)
    runs = _runs(len({part.run_id for part in parts}))
    lines = [
        f"reap: {verb} what {runs} {left}: {told}"
        for verb, left, counts, way in (
            ("removed", "left", removed, "from"),
            ("put back", "had replaced", restored, "on"),
        )
        if (told := _by_storage(counts, way))
    ]
    for part in parts:
        if part.failed:
            error = next(left.error for left in part.left if left.reason is Reason.FAILED)
            lines.append(
                f"reap: {resources(part.failed)} left in {part.storage} ({part.where}): {error}"
            )
    return [printable(line) for line in lines]


def _by_storage(counts: Counter[str], way: str) -> str:
    told = [f"{resources(count)} {way} {name}" for name, count in sorted(counts.items()) if count]
    return ", ".join(told)


def _runs(count: int) -> str:
    return "a run that died" if count == 1 else f"{count} runs that died"


def command_lines(reaped: Iterable[Reaped], *, dry: bool) -> Iterator[str]:
    """Yield what the command prints: by run and storage, what was removed and what is left."""
    for (run_id, started, host), parts in groupby(
        reaped, key=lambda part: (part.run_id, part.started, part.host)
    ):
        if run_id:
            yield printable(f"run {run_id} (started {started}{f' on {host}' if host else ''})")
        for part in parts:
            yield printable(f"  {part.storage} ({part.where}): {_outcome(part, dry=dry)}")
            if dry:
                yield from _cut([f"    {printable(name)}" for name in part.removed])
                yield from _cut([f"    {printable(name)}: put back" for name in part.restored])
            yield from _cut([f"    {line}" for line in _left_lines(part.left)])


def _outcome(part: Reaped, *, dry: bool) -> str:
    counts = [
        (len(part.removed), "would remove" if dry else "removed"),
        (len(part.restored), "would put back" if dry else "put back"),
        (part.failed, "cannot remove" if dry else "could not remove"),
        (part.others, "would leave alone" if dry else "left alone"),
    ]
    return (
        ", ".join(f"{verb} {resources(count)}" for count, verb in counts if count)
        or "nothing to remove"
    )


def _left_lines(left: Iterable[Leftover]) -> list[str]:
    """Return why something is left; a reason that several have in common stands above them."""
    lines = []
    for why, group in groupby(left, key=_why):
        names = [printable(f"{part.path}/" if part.kind == "dir" else part.path) for part in group]
        several = [why, *(f"  {name}" for name in names)]
        lines += several if len(names) > 1 else [f"{names[0]}: {why}"]
    return lines


def _why(left: Leftover) -> str:
    text = left.error or f"{left.reason}: {', '.join(left.holds)}".removesuffix(": ")
    return printable(text)


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[: _SHOWN - 1], f"    ... {len(lines) - _SHOWN + 1} more"]
