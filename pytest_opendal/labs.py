"""Which storages a run knows: of its options, of a conftest, or the embedded one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pytest_opendal import config as configuration
from pytest_opendal import markers
from pytest_opendal.backends import known
from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.settings import JumpstarterSettings, Lab, StorageSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pytest

    from pytest_opendal.options import Options

# To check the values of markers while it is not known yet which storages there are.
_NO_STORAGE = StorageSettings(name="default", scheme="memory")
# What the storages of a run are that names none: the embedded one.
_UNNAMED = Lab(storages={"default": _NO_STORAGE}, source="without --opendal-config")


class Labs:
    """The configurations of one process; a conftest may give others than the run names."""

    def __init__(self, config: pytest.Config, chosen: Options) -> None:
        self._config = config
        self._options = chosen
        self.main: Lab | None = None
        """That of the options, or the embedded one; None until it is known."""
        self._is_named = False
        self._given: list[tuple[Any, Lab]] = []
        self._settings: dict[tuple[Any, ...], StorageSettings] = {}

    def start(self) -> None:
        """Read the configuration that the run names, if it names one.

        Raises:
            ConfigInvalid: it cannot be used.
        """
        self.main = self._named()
        if self.main is not None:
            self._is_named = True
            self._announce(self.main)

    def _named(self) -> Lab | None:
        if self._options.config is not None:
            return configuration.load(self._options.config, os.environ, known.check_service)
        return configuration.from_opendal_test(
            os.environ, self._config.invocation_params.dir, known.check_service
        )

    def _announce(self, lab: Lab) -> None:
        self._config.hook.pytest_opendal_config(config=self._config, lab=lab)

    def embed(self, root: Path) -> None:
        """Use the embedded storage, in the directory ``root``."""
        self.main = configuration.embedded(root)
        self._announce(self.main)

    def of(self, given: Any) -> Lab:
        """Return the lab that ``opendal_config`` gave; a conftest may override that fixture."""
        __tracebackhide__ = True  # what is given may hold credentials, which --showlocals shows
        if self.main is not None and given is self.main:
            return self.main
        for known_given, lab in self._given:
            if known_given is given:
                return lab
        lab = configuration.from_mapping(
            given,
            source="opendal_config",
            base=self._config.rootpath,
            environ=os.environ,
            check_service=known.check_service,
        )
        self._announce(lab)
        self._given.append((given, lab))
        return lab

    @property
    def all_named(self) -> bool:
        """Whether the run names all storages, so that each of its processes knows them."""
        return self._is_named and not self._given

    def storages(self) -> list[StorageSettings]:
        """Return all storages of all configurations."""
        labs = [self.main, *(lab for _, lab in self._given)]
        return [settings for lab in labs if lab is not None for settings in lab.storages.values()]

    def ordered(self, lab: Lab | None = None) -> list[StorageSettings]:
        """Return the storages of a lab (the main one), that of tests that name none first."""
        lab = lab or self.main
        if lab is None:
            return []
        first = self._first() or lab.default
        return sorted(lab.storages.values(), key=lambda settings: settings.name != first)

    def _first(self) -> str | None:
        return self._options.storages[0] if self._options.storages else None

    def exporter(self, lab: Lab) -> JumpstarterSettings:
        """Return the way to the exporter that a storage is behind, the one of `opendal` first."""
        behind = [one.jumpstarter for one in self.ordered(lab) if one.jumpstarter is not None]
        # Inside `jmp shell` no configuration is needed.
        return behind[0] if behind else JumpstarterSettings()

    # -- storages of tests

    def check(self, item: pytest.Item) -> None:
        """Check the markers of a collected test, and that it finds its storage.

        Raises:
            ConfigInvalid: it does not; the text says which.
        """
        markers.capabilities(item)
        if not _has_ours(item, "opendal_config"):
            # Which storages there are is known when that fixture was asked.
            markers.overridden(item, _NO_STORAGE)
            return
        lab = self.main or _UNNAMED
        for problem, name in self._named_by(item):
            try:
                lab.storage(name)
            except ConfigInvalid as error:
                raise ConfigInvalid(f"{problem}{error}") from None
        markers.overridden(item, next(iter(lab.storages.values())))

    def _named_by(self, item: pytest.Item) -> Iterator[tuple[str, str | None]]:
        """Yield the storages that a test will ask for, each after the beginning of its mistake."""
        fixtures = getattr(item, "fixturenames", ())
        marked = markers.chosen(item).get("storage")
        if marked is not None:
            yield f"{markers.place(item)}: @pytest.mark.opendal: ", marked
        if "opendal" in fixtures and _has_ours(item, "opendal"):
            variant: Any = getattr(item, "callspec", None)
            parameter = None if variant is None else variant.params.get("opendal")
            if parameter is not None:
                name = str(parameter)
                is_option = name in self._options.storages
                yield "" if is_option else f"{markers.place(item)}: [{variant.id}]: ", name
            elif marked is None:
                yield "", self._first()
        if "opendal_session" in fixtures:
            yield "", self._first()

    def settings(self, lab: Lab, item: pytest.Item | None, name: str | None) -> StorageSettings:
        """Return the settings of the storage ``name`` as a test uses it, or the session (None).

        Raises:
            ConfigInvalid: there is no such storage.
        """
        marked = {} if item is None else markers.chosen(item)
        # Tests ask for the same few again and again, and pydantic takes its time.
        key = (id(lab), name, *sorted(marked.items()))
        if key not in self._settings:
            self._settings[key] = self._overridden(lab, item, name or marked.get("storage"))
        return self._settings[key]

    def _overridden(self, lab: Lab, item: pytest.Item | None, name: str | None) -> StorageSettings:
        settings = lab.storage(name or self._first()).with_overrides(
            retention=self._options.retention,
            isolation=self._options.isolation,
            timeout=self._options.timeout,
        )
        return settings if item is None else markers.overridden(item, settings)


def _has_ours(item: pytest.Item, fixture: str) -> bool:
    """Whether a test is known to use the plugin's own fixture of that name.

    A conftest may override it, and a test may have a parameter of that name. Of what a test asks for
    while it runs nothing is known.
    """
    asked = getattr(item, "_fixtureinfo", None)
    found: Sequence[Any] = () if asked is None else asked.name2fixturedefs.get(fixture, ())
    return bool(found) and found[-1].func.__module__ == "pytest_opendal.plugin"
