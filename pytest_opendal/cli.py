"""The command ``pytest-opendal``."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_opendal import config, jsonreport, options, sheet, starter
from pytest_opendal.backends import known
from pytest_opendal.errors import ConfigInvalid, StorageError
from pytest_opendal.probe import probe
from pytest_opendal.process import Process
from pytest_opendal.reap_command import reap
from pytest_opendal.remnants import private_directory
from pytest_opendal.run import Hooks, Run

if TYPE_CHECKING:
    from pytest_opendal.probe import Probe
    from pytest_opendal.settings import StorageSettings


class _Command(click.Group):
    """Ends in one line where its output cannot go."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None or isinstance(error, StorageError):
                raise
            # Python writes what is left once more when it ends, and would tell of that.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"Error: cannot write to standard output: {error.strerror}", err=True)
            raise SystemExit(1) from None


@click.group(
    cls=_Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="pytest-opendal COMMAND --help tells more of each, with examples.",
)
@click.version_option(package_name="pytest-opendal")
def main() -> None:
    """Storages for hardware tests: write a configuration, and try it before a test run does.

    \b
    Begin with:
      pytest-opendal init s3              write lab.yaml, and fill it in
      pytest-opendal check lab.yaml       see whether the storage answers
      pytest --opendal-config=lab.yaml    run the tests on it
    """


def _scheme_names(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    names = {starter.JUMPSTARTER, *(known.known_schemes() or ())}
    return [name for name in sorted(names) if name.startswith(incomplete)]


def _existing_scheme(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Return a scheme as written; the user is told of one that the installed opendal lacks."""
    problems = () if value == starter.JUMPSTARTER else known.check_service(value, {})
    for problem in problems:
        if problem.key is None:
            raise click.BadParameter(f"{value!r} {problem.text}")
    return value


@main.command(short_help="Write a configuration for a service, to be filled in.")
@click.argument("scheme", callback=_existing_scheme, shell_complete=_scheme_names)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path("lab.yaml"),
    show_default=True,
    help="File to write; - for the terminal.",
)
def init(scheme: str, file: Path) -> None:
    """Write a configuration for SCHEME, with all the keys that it takes, to be filled in.

    SCHEME is a service of the installed opendal, such as fs, s3, webdav or azblob, or jumpstarter
    for a storage behind an exporter. What the service needs is filled in with examples, all other
    keys are comments. A file that exists is never overwritten.

    \b
    Examples:
      pytest-opendal init fs
      pytest-opendal init s3 --output ci/lab.yaml
      pytest-opendal init webdav -o -
    """
    text = starter.starter(scheme, "lab.yaml" if str(file) == "-" else str(file))
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    # The text names the file, whose name may be no UTF-8.
    content = text.encode("utf-8", "backslashreplace")
    try:
        with file.open("xb") as opened:
            opened.write(content)
    except FileExistsError:
        raise click.ClickException(f"{file} exists and is left as it is; name another") from None
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from None
    click.echo(f"{file} is written; fill it in, then: pytest-opendal check {file}")


def _seconds(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> float | None:
    try:
        return None if value is None else options.seconds("--timeout", value)
    except ConfigInvalid as error:
        raise click.UsageError(str(error)) from None


@main.command(short_help="Tell whether storages answer, what they can do, how fast.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-s", "--storage", "names", multiple=True, metavar="NAME", help="Only this one; repeatable."
)
@click.option(
    "--timeout", callback=_seconds, metavar="SECONDS", help="Seconds to wait for each answer."
)
@click.option(
    "--no-write", is_flag=True, help="Write nothing; only ask whether the storage answers."
)
def check(file: Path, names: tuple[str, ...], timeout: float | None, no_write: bool) -> None:
    """Validate FILE, connect to its storages, and print what each can do and how fast.

    Each storage that can be written gets a file of 1 KiB, in a directory of its own below
    pytest-opendal/, which is written, read, asked for, and removed, five times. One that refuses
    to be written is called read-only, which is no failure.

    The exit status is 0 when every storage answers, else 1.

    \b
    Examples:
      pytest-opendal check lab.yaml
      pytest-opendal check lab.yaml --storage results --timeout 5
      pytest-opendal check exporter.yaml --no-write
    """
    try:
        lab = config.load(file, os.environ, known.check_service)
        chosen = [lab.storage(name) for name in dict.fromkeys(names or lab.storages)]
        run = Run(Process.new(), private_directory(), Hooks(tell=_tell))
    except ConfigInvalid as error:
        raise click.ClickException(str(error)) from None
    try:
        probes = {one.name: _checked(run, one, timeout, no_write) for one in chosen}
    except KeyboardInterrupt:
        run.interrupted = True
        raise
    finally:
        run.finish()
        run.close()
    _print_capabilities(probes)
    if any(one.problem for one in probes.values()):
        raise SystemExit(1)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _checked(run: Run, settings: StorageSettings, timeout: float | None, no_write: bool) -> Probe:
    """Try one storage and print at once how it answered."""
    answered = probe(run, settings.with_overrides(timeout=timeout), writes=not no_write)
    for line in sheet.storage_lines(settings, answered):
        click.echo(line)
    return answered


def _print_capabilities(probes: dict[str, Probe]) -> None:
    found = {name: one.capability for name, one in probes.items() if one.capability is not None}
    if found:
        click.echo()
    for line in sheet.capability_lines(found):
        click.echo(line)


@main.command(short_help="Print the JSON Schema of the configuration, or of the report.")
@click.option("--report", is_flag=True, help="Of what `pytest --opendal-report` writes.")
def schema(report: bool) -> None:
    """Print the JSON Schema of the configuration, for editors, or that of the JSON report.

    \b
    Examples:
      pytest-opendal schema > lab.schema.json
      pytest-opendal schema --report > report.schema.json

    With this as the first line of lab.yaml, editors that have the YAML language server check it
    while it is written:

    \b
      # yaml-language-server: $schema=lab.schema.json
    """
    text = jsonreport.schema() if report else json.dumps(config.json_schema(), indent=2)
    click.echo(text.rstrip())


main.add_command(reap)
