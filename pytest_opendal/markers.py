"""What a test says by its markers, checked when it is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.models import Capability
from pytest_opendal.words import did_you_mean, kind_of

if TYPE_CHECKING:
    import pytest

    from pytest_opendal.settings import StorageSettings

KEYS = ("storage", "isolation", "retention", "on_existing")
"""What ``@pytest.mark.opendal`` takes."""


def chosen(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments of a test's ``opendal`` markers, the closest ones counting.

    Raises:
        ConfigInvalid: a marker has arguments that it does not take.
    """
    found: dict[str, Any] = {}
    for marker in item.iter_markers("opendal"):
        if problem := _problem(marker):
            raise ConfigInvalid(f"{place(item)}: @pytest.mark.opendal: {problem}")
        found = {**marker.kwargs, **found}
    return found


def _problem(marker: pytest.Mark) -> str:
    if marker.args:
        return (
            f"{marker.args[0]!r} has no name; write one of {', '.join(f'{key}=' for key in KEYS)}"
        )
    for key, value in marker.kwargs.items():
        if key not in KEYS:
            return f"takes no {key}=; {did_you_mean(key, KEYS)}"
        if not isinstance(value, str):
            return f"{key} is {kind_of(value)}; write text"
    return ""


def overridden(item: pytest.Item, settings: StorageSettings) -> StorageSettings:
    """Return settings with what the test's markers say of them.

    Raises:
        ConfigInvalid: a value is not one of those allowed.
    """
    values = chosen(item)
    values.pop("storage", None)
    try:
        return settings.with_overrides(**values) if values else settings
    except ConfigInvalid as error:
        raise ConfigInvalid(f"{place(item)}: @pytest.mark.opendal: {error}") from None


def capabilities(item: pytest.Item) -> list[str]:
    """Return the capabilities that a test needs.

    Raises:
        ConfigInvalid: there is no such capability.
    """
    wanted: list[str] = []
    for marker in item.iter_markers("opendal_capability"):
        if problem := _capability_problem(marker):
            raise ConfigInvalid(f"{place(item)}: @pytest.mark.opendal_capability: {problem}")
        wanted += marker.args
    return wanted


def _capability_problem(marker: pytest.Mark) -> str:
    if marker.kwargs or not marker.args:
        return 'takes names only; write them like "presign_read"'
    for name in marker.args:
        if not isinstance(name, str):
            return (
                f'takes names only, and was given {kind_of(name)}; write them like "copy", "rename"'
            )
        if name not in Capability.model_fields:
            return f"{name!r} is no capability; {did_you_mean(name, Capability.model_fields)}"
    return ""


def place(item: pytest.Item) -> str:
    """Return file and line of a test."""
    file, line, _ = item.location
    return file if line is None else f"{file}:{line + 1}"
