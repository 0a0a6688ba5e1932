"""The options of a run: one table, and one frozen record of what the user asked for.

Every pytest run imports this module, so it imports nothing that costs time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.places import absolute
from pytest_opendal.words import Isolation, Retention, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Leftovers = Literal["report", "warn", "error", "ignore"]


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table: an option of the command line and its ini twin."""

    name: str
    """``config`` stands for ``--opendal-config``; ini key and dest are ``opendal_config``."""
    kind: Literal["path", "words", "choice", "seconds", "switch"]
    """How its text is read."""
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    environment: str | None = None
    """Variable that counts more than the ini file and less than the command line."""
    ini_only: bool = False

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return f"--opendal-{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        """The key of the ini file, and the name under which pytest keeps the option."""
        return f"opendal_{self.name}"

    @property
    def ini_type(self) -> Literal["string", "args", "bool"]:
        """What pytest calls the type of the ini key."""
        if self.kind == "switch":
            return "bool"
        return "args" if self.kind == "words" else "string"

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for ``addoption``; an option that is not given is None."""
        common: dict[str, Any] = {"dest": self.ini, "help": self._described(), "default": None}
        if self.kind == "switch":
            return common | {"action": "store_true"}
        action = "append" if self.kind == "words" else "store"
        return common | {"action": action, "metavar": self._placeholder()}

    def _placeholder(self) -> str | None:
        return f"{{{','.join(self.choices)}}}" if self.choices else self.metavar

    def _described(self) -> str:
        variable = f"; environment: {self.environment}" if self.environment else ""
        # argparse formats the text with %.
        return f"{self.help} (ini: {self.ini}{variable})".replace("%", "%%")


TABLE: tuple[Option, ...] = (
    Option(
        "config",
        "path",
        "configuration of the storages: one, several, or a Jumpstarter exporter's own file",
        metavar="PATH",
        environment="OPENDAL_CONFIG",
    ),
    Option(
        "storage",
        "words",
        "storage for tests that name none; repeatable: each such test runs once per storage",
        metavar="NAME",
    ),
    Option(
        "retention",
        "choice",
        "which created resources stay after a test",
        choices=get_args(Retention),
    ),
    Option(
        "isolation",
        "choice",
        "literal paths, or an area of its own for each worker or test",
        choices=get_args(Isolation),
    ),
    Option(
        "leftovers",
        "choice",
        "what to do about resources that are left at the end; error: the run exits with 1",
        choices=get_args(Leftovers),
    ),
    Option("report", "path", "write what was created, removed and left as JSON", metavar="PATH"),
    Option(
        "timeout", "seconds", "seconds before an operation on a storage fails", metavar="SECONDS"
    ),
    Option("reap", "switch", "remove what runs that died left, before the first test"),
    Option("details", "switch", "list every leftover in the summary"),
    Option("journal_dir", "path", "directory for the journals of running processes", ini_only=True),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; None leaves it to the configuration file."""

    config: Path | None = None
    """Configuration file."""
    storages: tuple[str, ...] = ()
    """Storages for the tests that name none; empty: the default one."""
    retention: Retention | None = None
    isolation: Isolation | None = None
    leftovers: Leftovers = "report"
    """What to do about resources that are left at the end."""
    report: Path | None = None
    """File for the JSON report."""
    timeout: float | None = None
    """Seconds before an operation fails."""
    reap: bool = False
    """Remove what runs that died left, before the first test."""
    details: bool = False
    """List every leftover in the summary."""
    journal_dir: Path | None = None
    """Directory for the journals."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the values of options come from; a value that is not given is None or empty."""

    option: Callable[[str], Any]
    """Value from the command line for a dest such as ``opendal_config``."""
    ini: Callable[[str], Any]
    """Value from the ini file for such a key."""
    environ: Mapping[str, str]
    invocation_dir: Path
    """What relative paths of the command line and of the environment are relative to."""
    ini_dir: Path
    """What relative paths of the ini file are relative to."""


def resolve(sources: Sources) -> Options:
    """Return what the user asked for: command line, then environment, then ini file.

    Raises:
        ConfigInvalid: a value cannot be used; the text names the option, variable or ini key.
    """
    values = {option.name: _value(option, sources) for option in TABLE}
    storages = values.pop("storage") or ()
    given = {name: value for name, value in values.items() if value is not None}
    return Options(storages=tuple(dict.fromkeys(storages)), **given)


def _value(option: Option, sources: Sources) -> Any:
    """Return the checked value from the first source that has one."""
    for where, value, base in _candidates(option, sources):
        if value not in (None, "", [], False):
            return _checked(option, where, value, base)
    return None


def _candidates(option: Option, sources: Sources) -> Iterable[tuple[str, Any, Path]]:
    if not option.ini_only:
        given = sources.option(option.ini)
        if given == "":
            raise ConfigInvalid(f"{option.flag}: is empty; give a value or leave the option out")
        yield option.flag, given, sources.invocation_dir
    if option.environment:
        yield option.environment, sources.environ.get(option.environment), sources.invocation_dir
    yield f"ini key {option.ini}", sources.ini(option.ini), sources.ini_dir


def _checked(option: Option, where: str, value: Any, base: Path) -> Any:
    if option.kind == "path":
        return Path(absolute(value, base))
    if option.kind == "seconds":
        return seconds(where, value)
    if option.kind == "choice":
        return _choice(where, value, option.choices)
    return bool(value) if option.kind == "switch" else _words(where, value)


def seconds(where: str, text: str) -> float:
    """Return a number of seconds above 0.

    Raises:
        ConfigInvalid: it is none; the text begins with ``where``.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 < number < math.inf:
        return number
    msg = f"{where}: {text!r} is no number of seconds above 0; write one such as 60"
    raise ConfigInvalid(msg)


def _choice(where: str, text: str, choices: tuple[str, ...]) -> str:
    if text in choices:
        return text
    msg = f"{where}: {text!r} is not allowed; {did_you_mean(text, choices)}"
    raise ConfigInvalid(msg)


def _words(where: str, words: Iterable[str]) -> tuple[str, ...]:
    words = tuple(words)
    if all(word.strip() for word in words):
        return words
    msg = f"{where}: holds an empty name; write the name of a storage"
    raise ConfigInvalid(msg)
