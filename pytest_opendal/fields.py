"""Which fields of a path's metadata differ from what is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_opendal.models import EntryMode, Metadata
from pytest_opendal.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MODES = {"file", "dir"}
# Characters of a value that a message shows.
_LONGEST = 200


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse what can never be expected of `Metadata`.

    Raises:
        TypeError: there is no such field.
        ValueError: a ``mode`` that is none.
    """
    for name in fields:
        if name not in Metadata.model_fields:
            hint = did_you_mean(name, Metadata.model_fields)
            raise TypeError(f"Metadata has no field {name!r}; {hint}")
    mode = fields.get("mode")
    if isinstance(mode, str) and mode not in _MODES:
        raise ValueError(f"mode is 'file' or 'dir', not {mode!r}")


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table in a message."""

    field: str
    expected: str
    actual: str


def differing(metadata: Metadata, fields: Mapping[str, Any]) -> list[str]:
    """Return a table of the fields that differ, nothing when all are as expected."""
    compared = (_compare(name, value, getattr(metadata, name)) for name, value in fields.items())
    rows = [row for row in compared if row is not None]
    if not rows:
        return []
    untold = [row.field for row in rows if row.actual == "None"]
    note = [f"None: this service, or the installed opendal, does not tell {', '.join(untold)}"]
    return _table([_Row("field", "expected", "actual"), *rows]) + (note if untold else [])


def _compare(field: str, expected: Any, actual: Any) -> _Row | None:
    if callable(expected):
        return _ask(field, expected, actual)
    if isinstance(actual, EntryMode) and isinstance(expected, str):
        actual = _mode(actual)
    return None if actual == expected else _Row(field, _shown(expected), _shown(actual))


def _ask(field: str, condition: Callable[[Any], object], actual: Any) -> _Row | None:
    name = getattr(condition, "__name__", None) or repr(condition)
    try:
        if condition(actual):
            return None
    except Exception as error:  # a condition that fails does not hold, and says why
        why = " ".join(str(error).split())
        return _Row(field, f"{name} is true", f"{_shown(actual)}, {type(error).__name__}: {why}")
    return _Row(field, f"{name} is true", _shown(actual))


def _mode(mode: EntryMode) -> str:
    if mode.is_dir():
        return "dir"
    return "file" if mode.is_file() else "unknown"


def _shown(value: Any) -> str:
    text = repr(_mode(value) if isinstance(value, EntryMode) else value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _table(rows: list[_Row]) -> list[str]:
    first = max(len(row.field) for row in rows)
    second = max(len(row.expected) for row in rows)
    return [f"{row.field:{first}}  {row.expected:{second}}  {row.actual}" for row in rows]
