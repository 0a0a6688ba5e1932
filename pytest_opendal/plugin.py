"""The pytest plugin: options, fixtures and hooks. Every pytest run imports this, so it is light."""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_opendal import options
from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.process import MISTAKE, PROPERTY, Process, tell_mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_opendal.async_storage import AsyncStorage
    from pytest_opendal.flashing import Flasher
    from pytest_opendal.session import Session
    from pytest_opendal.settings import Lab
    from pytest_opendal.storage import Storage

T = TypeVar("T")

STATE: pytest.StashKey[State] = pytest.StashKey()

_FIXTURES = frozenset({"opendal", "opendal_session", "opendal_factory"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and their ini twins."""
    group = parser.getgroup("opendal", "storages for hardware tests")
    for option in options.TABLE:
        if not option.ini_only:
            group.addoption(option.flag, **option.arguments())
        parser.addini(option.ini, option.help, type=option.ini_type, default=None)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks of `pytest_opendal.hookspecs`."""
    from pytest_opendal import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options and declare the markers."""
    for line in (
        "opendal(storage=, isolation=, retention=, on_existing=): settings of the test's storage",
        "opendal_capability(name, ...): skip where the storage lacks a capability of OpenDAL",
    ):
        config.addinivalue_line("markers", line)

    def ini(key: str) -> Any:
        try:
            return config.getini(key)
        except (ValueError, TypeError, pytest.UsageError) as error:  # by version
            raise ConfigInvalid(f"ini key {key}: {error}") from None

    sources = options.Sources(
        config.getoption, ini, os.environ, config.invocation_params.dir, config.rootpath
    )
    state = config.stash[STATE] = State(config, _usage(config, options.resolve, sources))
    config.pluginmanager.register(state, "opendal-state")
    config.pluginmanager.register(_fixtures(state), "opendal-fixtures")


def _usage(config: pytest.Config, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function; a mistake in the configuration becomes pytest's own usage error."""
    try:
        return function(*arguments)
    except ConfigInvalid as error:
        tell_mistake(config, str(error))
        raise pytest.UsageError(str(error)) from None


class State:
    """What the plugin knows before a test uses it; the rest begins with the first use."""

    def __init__(self, config: pytest.Config, chosen: options.Options) -> None:
        self.config = config
        self.options = chosen
        given = getattr(config, "workerinput", {}).get("opendal")
        self.process = Process(*given) if given else Process.new()
        self._session: Session | None = None
        self._item: pytest.Item | None = None

    def begin(self) -> Session:
        """Return what the plugin keeps once it is used."""
        if self._session is None:
            from pytest_opendal.session import Session

            self._session = Session(self.config, self.options, self.process)
            self.config.pluginmanager.register(self._session, "opendal-session")
        return self._session

    def is_asked_for(self) -> bool:
        """Whether the run itself names a configuration or asks for something."""
        chosen = self.options
        return bool(chosen.config or chosen.report or chosen.reap or os.environ.get("OPENDAL_TEST"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Check a configuration that the run names before anything is collected."""
        if self.is_asked_for():
            _usage(self.config, self.begin().start)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember the test that the fixture is for."""
        self._item = item

    @pytest.fixture
    def opendal(self, opendal_config: Any) -> Iterator[Storage]:
        """Storage of this test; what the test creates on it is removed when the test ends."""
        # Neither this nor `opendal_config` asks for `request`, which takes pytest 9.2 as long as all
        # the rest: 25 us for each fixture that does, and as much for each test that any of it is for.
        __tracebackhide__ = True
        assert self._item is not None
        yield from self.begin().storage_of(self._item, opendal_config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell an xdist worker which run it belongs to."""
        worker = node.workerinput["workerid"]
        node.workerinput["opendal"] = (self.process.run_id, self.process.started, worker)
        if self._session is not None:
            _usage(self.config, self._session.lend, node)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> None:
        """Let a report of a worker have its properties again."""
        if PROPERTY in data:
            from pytest_opendal.report import unpack_properties

            unpack_properties(data)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Begin with the first worker that used a storage."""
        notes = getattr(report, "opendal", None)
        if notes and "workerinput" not in vars(self.config):
            self.begin().collect(notes, report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Collect what a worker told at its end; of one that crashed only the journal tells."""
        output = getattr(node, "workeroutput", None)
        if output is None:
            self.begin()  # at the end of the run, it takes over
            return
        if MISTAKE in output:
            raise pytest.UsageError(output[MISTAKE])
        # xdist says so twice of a worker that was told to exit.
        if notes := output.pop("opendal", None):
            self.begin().collect(notes)
        if self._session is not None:
            self._session.ended(node.workerinput["workerid"])


def _fixtures(state: State) -> ModuleType:
    """Return a plugin with the fixture `opendal_config`; pytest deprecates methods with its scope."""

    @pytest.fixture(scope="session")
    def opendal_config() -> Lab | Any:
        """Configuration of the storages; override it to return a mapping, a path or a `Lab`."""
        return state.begin().lab()

    fixtures = ModuleType("opendal-fixtures")
    fixtures.opendal_config = opendal_config  # type: ignore[attr-defined]
    return fixtures


def session_of(config: pytest.Config) -> Session:
    """Return what the plugin keeps once it is used."""
    return config.stash[STATE].begin()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once per ``--opendal-storage`` when several are given."""
    names = metafunc.config.stash[STATE].options.storages
    if len(names) > 1 and "opendal" in metafunc.fixturenames and not _is_settled(metafunc):
        metafunc.parametrize("opendal", names, indirect=True)


def _is_settled(metafunc: pytest.Metafunc) -> bool:
    """Whether the test itself says which storage it runs on."""
    markers = metafunc.definition.iter_markers
    return any("storage" in marker.kwargs for marker in markers("opendal")) or any(
        "opendal" in _names(marker) for marker in markers("parametrize")
    )


def _names(parametrize: pytest.Mark) -> list[str]:
    """Return what a test says that it is parametrized with."""
    names = parametrize.args[0] if parametrize.args else parametrize.kwargs.get("argnames", "")
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check markers and storages of the collected tests before the first one runs."""
    users = [item for item in items if _uses_storage(item)]
    if users:
        _usage(config, session_of(config).check_items, users)


def _uses_storage(item: pytest.Item) -> bool:
    return bool(
        _FIXTURES.intersection(getattr(item, "fixturenames", ()))
        or next(item.iter_markers("opendal"), None)
        or next(item.iter_markers("opendal_capability"), None)
    )


@pytest.fixture
def opendal_async(opendal: Storage) -> AsyncStorage:
    """Storage of this test, the same as ``opendal``, with methods to await."""
    from pytest_opendal.async_storage import AsyncStorage

    return AsyncStorage(opendal)


@pytest.fixture(scope="session")
def opendal_session(request: pytest.FixtureRequest, opendal_config: Any) -> Storage:
    """Storage that keeps what is created on it until the session (of this worker) ends."""
    return session_of(request.config).shared_storage(request, opendal_config)


@pytest.fixture
def opendal_factory(request: pytest.FixtureRequest, opendal_config: Any) -> Callable[..., Storage]:
    """Function that opens another storage for this test: ``opendal_factory("results")``."""

    def open_storage(name: str | None = None) -> Storage:
        """Open the storage ``name``, or once more the one for tests that name none."""
        __tracebackhide__ = True
        return session_of(request.config).open(request, opendal_config, name)

    return open_storage


@pytest.fixture(scope="session")
def opendal_flasher(request: pytest.FixtureRequest, opendal_config: Any) -> Flasher:
    """Flasher of the exporter that the storage is behind, with ``assert_flashed(image)``."""
    return session_of(request.config).flasher(request, opendal_config)
