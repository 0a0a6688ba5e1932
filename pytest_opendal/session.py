"""What the plugin keeps while pytest runs: glue between pytest's hooks and a `Run`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_opendal import markers, recovery, remnants, report, signals, terminal
from pytest_opendal.aftermath import Aftermath
from pytest_opendal.attempt import Attempt
from pytest_opendal.cleanup import reason_to_keep
from pytest_opendal.errors import ConfigInvalid, StorageError, bare
from pytest_opendal.labs import Labs
from pytest_opendal.process import tell_mistake
from pytest_opendal.redacting import Url
from pytest_opendal.reporting import Reporting
from pytest_opendal.run import BrokenStorage, Held, Hooks, Run, info_of
from pytest_opendal.screen import Screen, removal_warnings
from pytest_opendal.settings import Secrets, StorageSettings
from pytest_opendal.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from pytest_opendal.flashing import Flasher
    from pytest_opendal.options import Options
    from pytest_opendal.process import Process
    from pytest_opendal.settings import Lab

_NO_EMBEDDED = (
    "the embedded storage is in pytest's own temp tree, and its plugin tmpdir is switched off; "
    "name a configuration with --opendal-config"
)
_ATTEMPT: pytest.StashKey[Attempt] = pytest.StashKey()


class Session:
    """The plugin's state in one process: the only one, the controller, or an xdist worker."""

    def __init__(self, config: pytest.Config, chosen: Options, process: Process) -> None:
        self._config = config
        self._options = chosen
        self._process = process
        self._is_worker = hasattr(config, "workerinput")
        self._labs = Labs(config, chosen)
        self._run: Run | None = None
        self._item: pytest.Item | None = None
        self._torn_down: Attempt | None = None
        self._any_failed = False
        self._interrupted = False
        self._termination = signals.Termination()
        self._termination.install()
        self._ended: set[str] = set()
        self._collector = report.Collector(process.run_id)
        self._aftermath: Aftermath | None = None
        self._told_late: list[str] = []
        self._reporting = Reporting(config, chosen)
        self._screen = Screen(config)
        self._finished = False
        self._is_summarized = False
        self._told: set[report.StorageInfo] = set()

    # -- configuration

    def start(self) -> None:
        """Read the configuration that the run names, if it names one.

        Raises:
            ConfigInvalid: it cannot be used.
        """
        self._labs.start()
        self._collector.configure(info_of(settings) for settings in self._labs.ordered())
        if self._is_worker:
            return
        if self._is_controller():
            # As long as this run lives, what its workers leave is its own business.
            self.run.journal.begin()
        aftermath = self._look_back()
        # With --collect-only nobody runs tests: an editor looks for them.
        if self._options.reap and not self._config.getoption("collectonly"):
            aftermath.reap(self.run)

    def _look_back(self) -> Aftermath:
        """Return what runs that died left, looked for when this is first asked."""
        if self._aftermath is None:
            storages = self._labs.ordered()
            here = self._config.invocation_params.dir
            self._aftermath = Aftermath(self._journal_dir(), self._process.run_id, storages, here)
        return self._aftermath

    def lab(self) -> Lab:
        """Return the lab of the options, or the embedded one."""
        if self._labs.main is None:
            # What the fixture `tmp_path_factory` returns; that asks for `request`, see plugin.py.
            factory: pytest.TempPathFactory | None = getattr(
                self._config, "_tmp_path_factory", None
            )
            if factory is None:
                self._exit(ConfigInvalid(_NO_EMBEDDED))
            try:
                self._labs.embed(factory.mktemp("pytest-opendal"))
            except ConfigInvalid as error:
                self._exit(error)
        assert self._labs.main is not None
        return self._labs.main

    def check_items(self, items: Iterable[pytest.Item]) -> None:
        """Check the markers of collected tests, and that each finds its storage.

        Raises:
            ConfigInvalid: one does not; the text says which.
        """
        if not self._is_worker:
            self._look_back()
        for item in items:
            self._labs.check(item)

    # -- storages of fixtures

    @property
    def run(self) -> Run:
        """The storages of this process."""
        if self._run is None:
            hook = self._config.hook

            def add_layers(storage: str, operator: Any) -> Any:
                layered = hook.pytest_opendal_operator(storage=storage, operator=operator)
                return operator if layered is None else layered

            def created(storage: str, path: str, test: str) -> None:
                hook.pytest_opendal_created(storage=storage, path=path, nodeid=test)

            hooks = Hooks(add_layers, created, self._screen.tell, self._screen.meter())
            leases = getattr(self._config, "workerinput", {}).get("opendal_leases", "")
            self._run = Run(self._process, self._journal_dir(), hooks, leases=leases)
            self._run.interrupted = self._interrupted
        return self._run

    def lend(self, node: Any) -> None:
        """Let a worker of xdist share the leases that this run takes once."""
        if any(settings.shares_lease for settings in self._labs.ordered()):
            node.workerinput["opendal_leases"] = self.run.share_leases()

    def _journal_dir(self) -> Path:
        return (
            self._options.journal_dir
            or remnants.beside_cache(getattr(self._config, "cache", None))
            or remnants.private_directory()
        )

    def storage_of(self, item: pytest.Item, given: Any) -> Iterator[Storage]:
        """Open the storage of a test, and end it; a mistake in the configuration ends the run."""
        __tracebackhide__ = True
        try:
            held = self._taken(item, given, _variant(item))
        except ConfigInvalid as error:
            self._exit(error)
        try:
            _skip_without_capability(item, held.storage)
            yield held.storage
        finally:
            self._end(held, item)

    def shared_storage(self, request: pytest.FixtureRequest, given: Any) -> Storage:
        """Open the storage of a session; a mistake in the configuration ends the run."""
        __tracebackhide__ = True
        try:
            return self.open(request, given)
        except ConfigInvalid as error:
            self._exit(error)

    def _exit(self, mistake: ConfigInvalid) -> NoReturn:
        __tracebackhide__ = True
        tell_mistake(self._config, str(mistake))
        pytest.exit(str(mistake), returncode=pytest.ExitCode.USAGE_ERROR)

    def flasher(self, request: pytest.FixtureRequest, given: Any) -> Flasher:
        """Return a flasher of the exporter that a storage is behind, the one of `opendal` first."""
        __tracebackhide__ = True
        try:
            exporter = self._labs.exporter(self._labs.of(given))
        except ConfigInvalid as error:
            self._exit(error)
        name = getattr(request, "param", None)
        if name is not None:
            exporter = exporter.model_copy(update={"flasher": name})
        scratch = request.getfixturevalue("tmp_path_factory").getbasetemp()
        seconds = self._options.timeout or StorageSettings.model_fields["timeout"].default
        try:
            return self.run.flasher(exporter, scratch, seconds)
        except StorageError as error:  # also that there is none: tests without it go on
            raise pytest.fail.Exception(f"opendal_flasher: {error}", pytrace=False) from None

    def open(self, request: pytest.FixtureRequest, given: Any, name: str | None = None) -> Storage:
        """Open a storage; it ends with the fixture that ``request`` is of.

        Raises:
            ConfigInvalid: there is no such storage, or its settings are wrong.
        """
        __tracebackhide__ = True
        item = request.node if isinstance(request.node, pytest.Item) else None
        try:
            held = self._taken(item, given, name or _variant(item))
        except ConfigInvalid as error:
            raise bare(error) from None
        request.addfinalizer(lambda: self._end(held, item))
        if item is not None:
            _skip_without_capability(item, held.storage)
        return held.storage

    def _taken(self, item: pytest.Item | None, given: Any, name: str | None) -> Held:
        __tracebackhide__ = True
        lab = self._labs.of(given)
        settings = self._labs.settings(lab, item, name)
        try:
            return self.run.open(settings, item.nodeid if item is not None else "")
        except BrokenStorage as error:
            raise pytest.skip.Exception(f"storage is broken: {error}") from None
        except ConfigInvalid as error:
            raise ConfigInvalid(f"{lab.source}: {error}") from None
        except StorageError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def _end(self, held: Held, item: pytest.Item | None) -> None:
        """End a storage object, unless whether the test failed is not known yet."""
        attempt = None if item is None else _attempt(item)
        failed = self._has_failed() if attempt is None else attempt.failed
        may_fail_yet = attempt is not None and self._item is item and not failed
        if may_fail_yet and held.settings.retention == "failed":
            assert attempt is not None
            attempt.deferred.append(held)
        else:
            self._end_now([held], failed=failed)

    def _has_failed(self) -> bool:
        """Whether a test failed, the running one included; what a rerun makes good does not count."""
        return self._any_failed or (self._item is not None and _attempt(self._item).failed)

    def _end_now(self, ending: list[Held], *, failed: bool) -> None:
        for held in ending:
            keep = reason_to_keep(held.settings.retention, failed=failed)
            note = self.run.end(held, keep)
            self._tell(note)
            if self._item is not None and note.test:
                _attempt(self._item).note(held, note)
        if self._item is None:
            self.run.raise_postponed()
        for held in ending:
            held.warn()

    def _tell(self, note: report.TestNote) -> None:
        """Pass a note on; a worker's on the report of the running test, where there is one."""
        if note.is_idle and self._told.issuperset(note.storages):
            return
        self._told.update(note.storages)
        is_remote = any(info.scheme == "jumpstarter" for info in note.storages)
        is_here = is_remote or not self._hands_over()
        if self._is_worker and note.leftovers and is_here:
            # The controller may not see the storage: this process looks what of it is gone.
            self._collector.add(replace(note, claims=(), directories={}))
        if self._item is not None:
            known = self._item.user_properties
            known.extend(report.user_properties(note, known))
        if self._is_worker and self._item is not None:
            _attempt(self._item).untold.append(note)
        elif self._is_worker:
            output = self._config.workeroutput  # type: ignore[attr-defined]
            output.setdefault("opendal", []).append(note.to_json())
        else:
            if self._item is not None:
                self._reporting.place(self._item)
            self._collector.add(note)

    # -- hooks around tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> list[str] | None:
        """Explain claims about signed URLs and arguments by reprs alone: a comparison would show more."""
        hides = isinstance(left, Url | Secrets) or isinstance(right, Url | Secrets)
        return [f"{_hidden(left)} {op} {_hidden(right)}"] if hides else None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """End the storages whose retention depends on how the teardown went."""
        self._item, attempt = item, _attempt(item)
        failed = attempt.failed
        try:
            try:
                yield
            except BaseException:
                failed = True
                raise
            finally:
                deferred, attempt.deferred = attempt.deferred, []
                self._end_now(deferred, failed=failed)
                if self._run is not None:
                    # Here all finalizers have run; pytest would drop those after one that raises it.
                    self._run.raise_postponed()
        except (KeyboardInterrupt, pytest.exit.Exception):
            self._tell_without_report(item)
            raise
        finally:
            self._item = None

    def _tell_without_report(self, item: pytest.Item) -> None:
        """Pass on what a test told whose teardown was interrupted: it makes no report."""
        self._item = None
        for note in _attempt(item).untold:
            self._tell(note)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Begin clean, and skip where the storage of a wider fixture lacks a capability."""
        self._begin_clean(item)
        yield
        shared = getattr(item, "funcargs", {}).get("opendal_session")
        if isinstance(shared, Storage):
            _skip_without_capability(item, shared)

    def _begin_clean(self, item: pytest.Item) -> None:
        """Remove what a failed attempt of a test kept that runs again, and tell so."""
        self._item = item
        for told, removal in _attempt(item).begin(self._run):
            for leftover in report.user_properties(told):
                with suppress(ValueError):  # two storage objects may have told it
                    item.user_properties.remove(leftover)
            self._tell(removal)
        self._item = None
        if self._run is not None:
            self._run.raise_postponed()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember failures, and put what a test left on its teardown report."""
        made = yield
        attempt = _attempt(item)
        attempt.failed |= made.failed
        if made.when == "teardown" and attempt.untold:
            made.opendal = [note.to_json() for note in attempt.untold]  # type: ignore[attr-defined]
            self._torn_down = attempt
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Note that a report is on its way; those of attempts before a rerun may never be."""
        self._any_failed |= report.failed
        if report.when == "teardown" and self._torn_down is not None:
            self._torn_down.untold.clear()
        yield
        # It is on its way to the controller, or was read there; pytest keeps all reports.
        vars(report).pop("opendal", None)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Generator[None, Any, Any]:
        """Let a worker's report tell its leftovers in few objects; other plugins call this hook too."""
        data = yield
        if self._is_worker and data is not None:
            report.pack_properties(data)
        return data

    def collect(self, notes: Iterable[str], test: pytest.TestReport | None = None) -> None:
        """Collect what tests left, in the process that prints the summary."""
        if test is not None:
            self._reporting.place(test)
        for note in notes:
            self._collector.add(report.TestNote.from_json(note))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """From now on a storage that does not answer gets one second."""
        if excinfo.type.__module__.startswith("xdist"):
            return  # what it ends a run with for -x and --maxfail
        self._interrupted = self._termination.ending = True
        if self._run is not None:
            self._run.interrupted = True
        delay = 0.0 if self._termination.came else signals.CTRL_C_SECONDS
        signals.end_workers(self._config.pluginmanager.get_plugin("dsession"), delay)

    # -- the end of the run

    def ended(self, worker: str) -> None:
        """Note that a worker came to its normal end, so that its journal is no crashed worker's."""
        self._ended.add(worker)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Remove what is shared, take over from workers, and settle what the run left."""
        self._finish(session)

    def _finish(self, session: pytest.Session) -> None:
        if self._finished:
            return
        self._finished = True
        self._read_rest()
        try:
            self._end_shared(session)
        except KeyboardInterrupt:
            # Nobody above would catch it; the journals hold what is left.
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        finally:
            if self._run is not None:
                self._run.close()
        if not self._is_worker:
            self._settle(session)
            if self._termination.came:
                session.exitstatus = signals.TERMINATED

    def _read_rest(self) -> None:
        """Take in what workers told of their end; after an interrupt xdist reads no more of it."""
        dsession = self._config.pluginmanager.get_plugin("dsession")
        state: Any = self._config.pluginmanager.get_plugin("opendal-state")
        queue = getattr(dsession, "queue", None)
        while queue is not None and not queue.empty():
            name, told = queue.get_nowait()
            if name == "workerfinished":
                with suppress(pytest.UsageError):  # a mistake that this worker told, too late
                    state.pytest_testnodedown(told["node"])
            elif name == "testreport" and hasattr(told["rep"], "opendal"):
                self.collect(told["rep"].opendal, told["rep"])

    def _end_shared(self, session: pytest.Session) -> None:
        if self._run is not None:
            for note in self._run.finish(failed=self._any_failed, hand_over=self._hands_over()):
                self._tell(note)
        if self._is_worker and self._run is not None:
            for info, gone in self._recovery().gone():
                told = report.TestNote("", self._process.worker, withdrawn=tuple(gone))
                self._tell(replace(told, storages=(info,)))
        if not self._is_worker and (self._run is not None or self._is_controller()):
            self._recover(failed=session.testsfailed > 0)
        if self._run is not None:
            self._run.raise_postponed()

    def pytest_unconfigure(self) -> None:
        """Give SIGTERM back, and tell what was left where pytest has written no summary."""
        self._termination.restore()
        # It writes none after an error of its own, and for an exit code of somebody else's.
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        wants_none = self._is_worker or self._config.getoption("no_summary", False)
        if reporter is not None and not (self._is_summarized or wants_none):
            self.pytest_terminal_summary(reporter)

    def _hands_over(self) -> bool:
        """Whether the controller can remove what the workers share: it knows the storages."""
        return self._is_worker and self._labs.all_named

    def _is_controller(self) -> bool:
        return self._config.pluginmanager.has_plugin("dsession")

    def _recover(self, *, failed: bool) -> None:
        """Remove what crashed workers, and tests that met in one directory, left."""
        recovered = self._recovery(failed=failed)
        if self._is_controller():
            recovered.take_over(self.run.journal_dir, self._process.run_id, self._ended)
        recovered.retry_directories()
        for info, gone in recovered.gone():
            self._collector.discard(info, gone)

    def _recovery(self, *, failed: bool = False) -> recovery.Recovery:
        return recovery.Recovery(self.run, self._labs.storages(), self._collector, failed=failed)

    def _settle(self, session: pytest.Session) -> None:
        """Tell all who want to know what was left, and let the run fail when it should."""
        try:
            self._told_late = self._look_back().settle(self._collector)
        except ConfigInvalid as error:  # there is no place for journals, so there is none
            self._told_late = [f"ERROR: {error}"]
        if self._reporting.settle(self._collector.result()) and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what was left, but not between the node ids that tools read and their number."""
        self._is_summarized = True
        if self._config.getoption("collectonly") and self._config.get_verbosity() < 0:
            return
        for line in self._told_late:
            terminalreporter.write_line(line)
        self._reporting.write(terminalreporter)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str], session: pytest.Session) -> None:
        """Add a section to the page of pytest-html, which asks before this run is finished."""
        self._finish(session)
        prefix.extend(self._reporting.html())

    def pytest_report_header(self) -> list[str]:
        """Tell file, storage, scheme, where and the version of opendal."""
        told = self._aftermath.header_lines() if self._aftermath else []
        lab = self._labs.main
        if lab is None:
            return told
        infos = [info_of(settings) for settings in self._labs.ordered()]
        width = self._config.get_terminal_writer().fullwidth
        return [
            *terminal.header_lines(infos, lab.source, width),
            *removal_warnings(lab),
            *told,
        ]


def _hidden(value: object) -> str:
    """Return a repr; what arguments are compared with may hold the same credentials."""
    return repr(Secrets(value) if isinstance(value, dict) else value)


def _attempt(item: pytest.Item) -> Attempt:
    attempt = item.stash.get(_ATTEMPT, None)
    if attempt is None:
        attempt = item.stash[_ATTEMPT] = Attempt()
    return attempt


def _variant(item: pytest.Item | None) -> str | None:
    """Return the storage that this variant of a test runs on, with several ``--opendal-storage``."""
    callspec = getattr(item, "callspec", None)
    parameter = None if callspec is None else callspec.params.get("opendal")
    return None if parameter is None else str(parameter)


def _skip_without_capability(item: pytest.Item, storage: Storage) -> None:
    wanted = markers.capabilities(item)
    if not wanted:
        return
    capability = storage.capability()
    missing = [name for name in wanted if not getattr(capability, name)]
    if missing:
        pytest.skip(f"storage {storage.name!r} lacks {', '.join(missing)}")
