"""The terminal before and while tests run: warnings, a line for who waits, long transfers."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_opendal import config as configuration
from pytest_opendal import progress
from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.meter import Meter

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pytest

    from pytest_opendal.settings import Lab, StorageSettings


class Screen:
    """Writes past what is captured; workers of xdist have no terminal, and write nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager
        self._is_worker = hasattr(config, "workerinput")

    @property
    def _reporter(self) -> Any:
        return None if self._is_worker else self._plugins.get_plugin("terminalreporter")

    def _uncaptured(self) -> AbstractContextManager[None]:
        capture = self._plugins.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def tell(self, text: str) -> None:
        """Show a line while a test is waiting."""
        if self._reporter is not None:
            with self._uncaptured():
                self._reporter.ensure_newline()
                self._reporter.write_line(f"opendal: {text}")

    def meter(self) -> Meter:
        """Return what shows how far a long transfer is, where a person watches a terminal."""
        if self._reporter is None:
            return Meter()
        with self._uncaptured():
            return progress.meter(os.environ)


def removal_warnings(lab: Lab) -> list[str]:
    """Return what the header says of exporters whose drivers remove files of their own accord."""
    return [_removes_too(storage) for storage in lab.storages.values() if _is_removing(storage)]


def _is_removing(settings: StorageSettings) -> bool:
    """Whether the exporter that is served here removes files by itself when it closes."""
    exporter = settings.jumpstarter
    if exporter is None or exporter.exporter_config is None:
        return False
    try:
        exported = configuration.load(Path(exporter.exporter_config), os.environ).storages
    except ConfigInvalid:
        return False  # told when it is served
    drivers = [exported.get(exporter.driver)] if exporter.driver else exported.values()
    return any(driver is not None and driver.remove_created_on_close for driver in drivers)


def _removes_too(settings: StorageSettings) -> str:
    return (
        f"opendal: warning: {settings.name}: the exporter's driver has remove_created_on_close and "
        "removes all that was written when it closes, also what existed before"
    )
