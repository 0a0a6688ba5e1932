"""Hooks of pytest-opendal; implement them in a ``conftest.py`` or in a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import pytest

    from pytest_opendal.report import Leftover
    from pytest_opendal.settings import Lab

hookspec = pluggy.HookspecMarker("pytest")


@hookspec
def pytest_opendal_config(config: pytest.Config, lab: Lab) -> None:
    """Called once per process with a validated configuration, before a storage is opened."""


@hookspec(firstresult=True)
def pytest_opendal_operator(storage: str, operator: Any) -> Any:
    """Return ``operator`` (an ``opendal.AsyncOperator``) with layers added, or None to leave it.

    What the plugin does on the disk itself, for an fs storage, goes by no layer: copies from and to local
    files, and the removal of directories.
    """


@hookspec
def pytest_opendal_created(storage: str, path: str, nodeid: str) -> None:
    """Called when a test is about to create ``path``, on the storages' thread: keep it short."""


@hookspec
def pytest_opendal_leftovers(leftovers: list[Leftover]) -> None:
    """Called once at the end of the run, in the controller, with all that was left behind.

    What it raises is told in the summary, and fails the run.
    """
