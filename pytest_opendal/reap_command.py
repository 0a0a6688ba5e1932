"""The command ``pytest-opendal reap``."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_opendal import aftermath, config, remnants, settings
from pytest_opendal.areas import Sweeper
from pytest_opendal.backends import known
from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.process import Process, started_of
from pytest_opendal.reap import Reaper
from pytest_opendal.run import Hooks, Run
from pytest_opendal.words import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_opendal.reap import Reaped
    from pytest_opendal.remnants import Found, Remnant
    from pytest_opendal.settings import Lab, StorageSettings


class Mistake(click.ClickException):
    """What the user gave cannot be used."""

    exit_code = 2


@click.command(short_help="Remove what runs that died left on storages.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "-n", "--dry-run", "dry", is_flag=True, help="Tell what would be removed; touch nothing."
)
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    help="Only what runs left that started so long ago, such as 30m, 24h or 7d; their isolation "
    "areas are then found on the storages of FILE without a journal, too.",
)
@click.option(
    "-s", "--storage", "names", multiple=True, metavar="NAME", help="Only this one; repeatable."
)
@click.option(
    "--journal-dir",
    "directories",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the journals are; repeatable. Default: .pytest_cache/opendal of this directory or "
    "the nearest above, and the private directory for runs without a cache.",
)
def reap(
    file: Path | None,
    dry: bool,
    age: str | None,
    names: tuple[str, ...],
    directories: tuple[Path, ...],
) -> None:
    """Remove what runs that died left on storages, as their journals tell.

    FILE is the configuration of the storages, as in --opendal-config; without it OPENDAL_CONFIG
    counts. Directories of this host need none. What a living process holds is never touched, nor
    what existed before, nor a storage at another address than the journal's.

    The exit status is 0 when nothing is left, 1 when something could not be removed or a journal
    could not be judged, 2 when what was given cannot be used.

    \b
    Examples:
      pytest-opendal reap --dry-run
      pytest-opendal reap lab.yaml
      pytest-opendal reap lab.yaml --older-than 24h     also areas of hosts that are gone
    """  # noqa: D301 - click wants the character
    try:
        lab = _lab(file)
        before = _before(age)
        places = _places(directories)
        found = _older(remnants.find(places), before)
        storages = _storages(lab, names, found)
    except ConfigInvalid as error:
        raise Mistake(str(error)) from None
    run = Run(Process.new(), Path(), Hooks(tell=_tell))
    try:
        reaper = Reaper(run, storages, only=names, configured=lab is not None, leases=True)
        reaped = reaper.plan(found.remnants) if dry else reaper.reap(found.remnants)
        if before is not None and lab is None:
            _tell("without a configuration, only runs with a journal here are found")
        elif before is not None:
            sweeper = Sweeper(run, before, found.spared, _tell)
            reaped += sweeper.plan(storages) if dry else sweeper.sweep(storages)
    except KeyboardInterrupt:
        _tell("interrupted: what was not removed yet is left to the next reap")
        raise
    finally:
        run.close()
    _print(reaped, found, places, dry=dry)
    if found.alone or any(part.failed for part in reaped):
        raise SystemExit(1)


def _tell(text: str) -> None:
    click.echo(printable(text), err=True)


def _lab(file: Path | None) -> Lab | None:
    """Return the configuration that is named, None where there is none.

    Raises:
        ConfigInvalid: it cannot be used.
    """
    named = file or os.environ.get("OPENDAL_CONFIG")
    if named:
        return config.load(Path(named), os.environ, known.check_service)
    return config.from_opendal_test(os.environ, check_service=known.check_service)


def _before(age: str | None) -> datetime | None:
    """Return when a run must have started for its remnants to be old enough.

    Raises:
        ConfigInvalid: the age is none.
    """
    try:
        return None if age is None else datetime.now(UTC) - timedelta(seconds=settings.age(age))
    except ConfigInvalid as error:
        raise ConfigInvalid(f"--older-than: {error}") from None


def _places(directories: tuple[Path, ...]) -> list[Path]:
    """Return where journals are looked for.

    Raises:
        ConfigInvalid: a directory that was given is none.
    """
    for directory in directories:
        if not directory.is_dir():
            raise ConfigInvalid(f"--journal-dir: {directory} is no directory")
    if directories:
        return list(directories)
    return remnants.looked_into(Path.cwd())


def _older(found: Found, before: datetime | None) -> Found:
    """Return what was found, of runs that started before then; the others are spared."""
    if before is None:
        return found
    old = tuple(remnant for remnant in found.remnants if _started_before(remnant, before))
    young = {remnant.header.run_id for remnant in found.remnants if remnant not in old}
    return remnants.Found(old, found.alone, found.elsewhere, found.spared | young)


def _started_before(remnant: Remnant, before: datetime) -> bool:
    started = started_of(remnant.header.run_id)
    return started is not None and started < before


def _storages(lab: Lab | None, names: Collection[str], found: Found) -> list[StorageSettings]:
    """Return the storages to work on.

    Raises:
        ConfigInvalid: there is no storage of such a name.
    """
    if lab is not None:
        return [lab.storage(name) for name in names or lab.storages]
    left = {part.storage for part in remnants.counted(found.remnants)}
    for name in names:
        if name not in left:
            raise ConfigInvalid(f"--storage: no run that died left anything on a storage {name!r}")
    return []


def _print(reaped: list[Reaped], found: Found, places: Iterable[Path], *, dry: bool) -> None:
    for line in aftermath.command_lines(reaped, dry=dry):
        click.echo(line)
    for line in (*found.elsewhere, *found.alone):
        click.echo(printable(line))
    click.echo(printable(_last_line(reaped, places, dry=dry)))


def _last_line(reaped: list[Reaped], places: Iterable[Path], *, dry: bool) -> str:
    if not reaped:
        looked = ", ".join(str(place) for place in places) or "no journals are here"
        return f"nothing to reap ({looked})"
    if dry:
        return "nothing was touched (--dry-run)"
    failed = sum(part.failed for part in reaped)
    if failed:
        return f"{failed} could not be removed"
    others = any(part.others for part in reaped)
    return "nothing is left but that of other projects" if others else "nothing is left"
