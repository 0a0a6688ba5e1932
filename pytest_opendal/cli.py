"""The command ``pytest-opendal``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_opendal import config
from pytest_opendal.backends import known
from pytest_opendal.errors import StorageError
from pytest_opendal.process import Process
from pytest_opendal.run import Run

if TYPE_CHECKING:
    from pytest_opendal.models import Capability
    from pytest_opendal.settings import Lab, StorageSettings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-opendal")
def main() -> None:
    """Storages for hardware tests: check a configuration before a test run does."""


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--timeout", type=float, help="Seconds to wait for each storage.")
def check(file: Path, timeout: float | None) -> None:
    """Validate FILE, connect to its storages, and print what each of them can do.

    The exit status is 0 when every storage answers, else 1.
    """
    lab = _load(file)
    run = Run(Process.new(), Path())
    answers = {name: _answer(run, lab.storage(name), timeout) for name in lab.storages}
    run.close()
    for name, answer in answers.items():
        settings = lab.storages[name]
        state = answer if isinstance(answer, str) else "ok"
        click.echo(f"{name} ({settings.scheme or 'jumpstarter'}, {settings.location}): {state}")
    _echo_capabilities({n: a for n, a in answers.items() if not isinstance(a, str)})
    if any(isinstance(answer, str) for answer in answers.values()):
        raise SystemExit(1)


def _load(file: Path) -> Lab:
    try:
        return config.load(file, os.environ, known.check_service)
    except StorageError as error:
        raise click.ClickException(str(error)) from None


def _answer(run: Run, settings: StorageSettings, timeout: float | None) -> Capability | str:
    """Return what a storage can do, or why it does not answer."""
    try:
        return run.open(settings.with_overrides(timeout=timeout), "").storage.capability()
    except StorageError as error:
        return str(error)


def _echo_capabilities(found: dict[str, Capability]) -> None:
    if not found:
        return
    click.echo()
    rows = [("", *found), *_capability_rows(list(found.values()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _capability_rows(found: list[Capability]) -> list[tuple[str, ...]]:
    names = type(found[0]).model_fields
    rows = [(name, *(_cell(getattr(capability, name)) for capability in found)) for name in names]
    return [row for row in rows if any(cell != "-" for cell in row[1:])]


def _cell(value: bool | int | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return "-" if value is None else str(value)


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    click.echo(json.dumps(config.json_schema(), indent=2))
