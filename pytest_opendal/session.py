"""What the plugin keeps while pytest runs: glue between pytest's hooks and a `Run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import config as configuration
from pytest_opendal import recovery, report, terminal
from pytest_opendal.backends import known
from pytest_opendal.errors import ConfigInvalid, StorageError
from pytest_opendal.report import Reason
from pytest_opendal.settings import Lab
from pytest_opendal.run import BrokenStorage, Held, Hooks, Run, info_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from pytest_opendal.options import Options
    from pytest_opendal.process import Process
    from pytest_opendal.settings import StorageSettings
    from pytest_opendal.storage import Storage

_FAILED: pytest.StashKey[bool] = pytest.StashKey()
_NOTES: pytest.StashKey[list[report.TestNote]] = pytest.StashKey()
_DEFERRED: pytest.StashKey[list[Held]] = pytest.StashKey()

_MARKER_KEYS = frozenset({"storage", "isolation", "retention", "on_existing"})


class Session:
    """The plugin's state in one process: the only one, the controller, or an xdist worker."""

    def __init__(self, config: pytest.Config, chosen: Options, process: Process) -> None:
        self._config = config
        self._options = chosen
        self._process = process
        self._is_worker = hasattr(config, "workerinput")
        self._lab: Lab | None = None
        self._run: Run | None = None
        self._item: pytest.Item | None = None
        self._any_failed = False
        self._collector = report.Collector(process.run_id)
        self._result: report.RunReport | None = None

    def _journal_dir(self) -> Path:
        if self._options.journal_dir is not None:
            return self._options.journal_dir
        cache = getattr(self._config, "cache", None)
        return recovery.private_directory() if cache is None else Path(cache.mkdir("opendal"))

    # -- configuration

    def start(self) -> None:
        """Read the configuration that the run names, if it names one."""
        self._lab = self._named_lab()
        for name in self._options.storages if self._lab else ():
            assert self._lab is not None
            self._lab.storage(name)

    def _named_lab(self) -> Lab | None:
        if self._options.config is not None:
            return configuration.load(self._options.config, os.environ, known.check_service)
        return configuration.from_opendal_test(os.environ, known.check_service)

    def lab(self, request: pytest.FixtureRequest) -> Lab:
        """Return the lab of the options, or the embedded one."""
        if self._lab is None:
            root = request.getfixturevalue("tmp_path_factory").mktemp("opendal", numbered=False)
            self._lab = configuration.embedded(root)
        return self._lab

    def _lab_of(self, given: Any) -> Lab:
        if given is self._lab and self._lab is not None:
            return self._lab
        try:
            return configuration.from_mapping(
                given,
                source="opendal_config",
                base=self._config.rootpath,
                environ=os.environ,
                check_service=known.check_service,
            )
        except ConfigInvalid as error:
            raise pytest.UsageError(str(error)) from None

    def check_items(self, items: list[pytest.Item]) -> None:
        """Check the markers of collected tests, and that each finds its storage."""
        for item in items:
            named = _marked(item)
            if self._lab is None:
                continue
            settings = self._lab.storage(named.pop("storage", None) or self._first_storage())
            settings.with_overrides(**named)

    def _first_storage(self) -> str | None:
        return self._options.storages[0] if self._options.storages else None

    # -- storages of fixtures

    @property
    def run(self) -> Run:
        """The run of this process."""
        assert self._run is not None
        return self._run

    def _run_with(self, lab: Lab) -> Run:
        if self._run is None:
            hook = self._config.hook
            hook.pytest_opendal_config(config=self._config, lab=lab)

            def add_layers(storage: str, operator: Any) -> Any:
                layered = hook.pytest_opendal_operator(storage=storage, operator=operator)
                return operator if layered is None else layered

            def created(storage: str, path: str, test: str) -> None:
                hook.pytest_opendal_created(storage=storage, path=path, nodeid=test)

            self._run = Run(lab, self._process, self._journal_dir(), Hooks(add_layers, created))
        return self._run

    def hold(self, request: pytest.FixtureRequest, given: Any, name: str | None = None) -> Storage:
        """Open a storage for a fixture; it ends with the fixture."""
        __tracebackhide__ = True
        run = self._run_with(self._lab_of(given))
        item = request.node if isinstance(request.node, pytest.Item) else None
        settings = self._settings(run.lab, item, name)
        test = item.nodeid if item is not None else ""
        try:
            held = run.open(settings, test)
        except BrokenStorage as error:
            pytest.skip(f"storage is broken: {error}")
        except StorageError as error:
            pytest.fail(str(error), pytrace=False)
        request.addfinalizer(lambda: self._end(held, item))
        if item is not None:
            _skip_without_capability(item, held.storage)
        return held.storage

    def _settings(self, lab: Lab, item: pytest.Item | None, name: str | None) -> StorageSettings:
        named = {} if item is None else _marked(item)
        storage = named.pop("storage", None)
        try:
            settings = lab.storage(name or storage or self._first_storage())
            chosen = {
                "retention": self._options.retention,
                "isolation": self._options.isolation,
                "timeout": self._options.timeout,
            }
            return settings.with_overrides(**{**chosen, **named})
        except ConfigInvalid as error:
            raise pytest.UsageError(str(error)) from None

    def _end(self, held: Held, item: pytest.Item | None) -> None:
        """End a storage object, unless whether the test failed is not known yet."""
        failed = self._any_failed if item is None else item.stash.get(_FAILED, False)
        if (
            item is not None
            and held.settings.retention == "failed"
            and not failed
            and self._item is item
        ):
            item.stash.setdefault(_DEFERRED, []).append(held)
            return
        self._end_now(held, failed=failed)

    def _end_now(self, held: Held, *, failed: bool) -> None:
        self._tell(self.run.end(held, _kept(held.settings, failed=failed)))

    def _tell(self, note: report.TestNote) -> None:
        """Pass a note on: on the report of the running test, else directly."""
        if self._item is not None:
            self._item.stash.setdefault(_NOTES, []).append(note)
            self._item.user_properties.extend(report.user_properties(note))
        elif self._is_worker:
            output = self._config.workeroutput  # type: ignore[attr-defined]
            output.setdefault("opendal", []).append(note.to_builtins())
        else:
            self._collector.add(note)

    # -- hooks around tests

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """End the storages whose retention depends on how the teardown went."""
        self._item = item
        failed = item.stash.get(_FAILED, False)
        try:
            try:
                yield
            except BaseException:
                failed = True
                raise
            finally:
                for held in item.stash.get(_DEFERRED, []):
                    self._end_now(held, failed=failed)
        finally:
            self._item = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember failures, and put what a test left on its teardown report."""
        made = yield
        if made.failed:
            self._any_failed = item.stash[_FAILED] = True
        notes = item.stash.get(_NOTES, []) if made.when == "teardown" else []
        if notes:
            made.opendal = [note.to_builtins() for note in notes]  # type: ignore[attr-defined]
            item.stash[_NOTES] = []
        return made

    def collect(self, notes: Iterable[Any]) -> None:
        """Collect what tests left, in the process that prints the summary."""
        for note in notes:
            self._collector.add(report.TestNote.from_builtins(note))

    def pytest_keyboard_interrupt(self) -> None:
        """From now on a storage that does not answer gets one second."""
        if self._run is not None:
            self._run.interrupted = True

    # -- the end of the run

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Remove what is shared, take over from workers, and settle what the run left."""
        if self._run is not None:
            note = self._run.finish()
            if note is not None:
                self._tell(note)
        if not self._is_worker:
            self._settle(session)
        if self._run is not None:
            self._run.close()

    def _settle(self, session: pytest.Session) -> None:
        run = self._run_with(self._lab or Lab(storages={}, source="none"))
        recovered = recovery.Recovery(run, self._collector)
        recovered.take_over(run.journal_dir, self._process.run_id)
        recovered.retry_directories()
        self._result = self._collector.result()
        self._config.hook.pytest_opendal_leftovers(leftovers=list(self._result.leftovers))
        if self._options.report is not None:
            try:
                report.write_json(self._options.report, self._result)
            except OSError as error:
                raise pytest.UsageError(str(error)) from None
        if (
            self._options.leftovers == "error"
            and report.verdict(self._result)
            and not session.exitstatus
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what was left."""
        if self._result is not None:
            details = self._options.details or self._config.get_verbosity() > 0
            width = self._config.get_terminal_writer().fullwidth
            terminal.write_summary(
                terminalreporter,
                self._result,
                mode=self._options.leftovers,
                details=details,
                width=width,
            )

    def pytest_report_header(self) -> list[str]:
        """Tell file, storage, scheme, where and the version of opendal."""
        if self._lab is None:
            return []
        return terminal.header_line(self._infos(), self._lab.source)

    def _infos(self) -> list[report.StorageInfo]:
        """Return the storages of the configuration, the one of tests that name none first."""
        assert self._lab is not None
        first = self._first_storage() or self._lab.default
        ordered = sorted(self._lab.storages.values(), key=lambda settings: settings.name != first)
        return [info_of(settings) for settings in ordered]


def _kept(settings: StorageSettings, *, failed: bool) -> Reason | None:
    if settings.retention == "all":
        return Reason.KEPT
    return Reason.KEPT_FAILED if settings.retention == "failed" and failed else None


def _marked(item: pytest.Item) -> dict[str, str]:
    """Return the arguments of a test's ``opendal`` markers, the closest ones counting.

    Raises:
        ConfigInvalid: a marker has arguments that it does not take.
    """
    found: dict[str, str] = {}
    for marker in item.iter_markers("opendal"):
        wrong = [*map(repr, marker.args), *sorted(set(marker.kwargs) - _MARKER_KEYS)]
        if wrong:
            msg = f"{item.nodeid}: @pytest.mark.opendal takes storage=, isolation=, retention=, on_existing=, not {wrong[0]}"
            raise ConfigInvalid(msg)
        found = {**marker.kwargs, **found}
    return found


def _skip_without_capability(item: pytest.Item, storage: Storage) -> None:
    wanted = [name for marker in item.iter_markers("opendal_capability") for name in marker.args]
    if not wanted:
        return
    capability = storage.capability()
    missing = [name for name in wanted if not getattr(capability, name)]
    if missing:
        pytest.skip(f"storage {storage.name!r} lacks {', '.join(missing)}")
