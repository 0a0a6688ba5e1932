"""SIGTERM, and Ctrl-C at a bad moment: finalizers run, what is left is told, journals stay right."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal.signals import TERMINATED, Terminated, Termination

import servers
from runs import Suite, needs_xdist

if TYPE_CHECKING:
    from collections.abc import Iterator

# Less than a test that waits would take.
PATIENCE = 20.0

WAITS = """
import os, time
from pathlib import Path
import pytest

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")

@pytest.fixture
def finalized():
    yield
    Path(f"finalized-{WORKER}").touch()

@pytest.mark.parametrize("number", range(2))
def test_it(finalized, opendal, opendal_factory, number):
    opendal.write_bytes(f"{WORKER}/{number}.txt", b"x")
    opendal_factory("kept").write_bytes(f"{number}.txt", b"x")
    Path(f"pid-{WORKER}").write_text(str(os.getpid()))
    if all(Path(f"pid-{name}").exists() for name in NAMES):
        Path("waiting").touch()
    try:
        time.sleep(60)
    except BaseException as interrupt:
        Path(f"interrupt-{WORKER}").write_text(type(interrupt).__name__)
        raise
"""


@pytest.fixture
def waiting(suite: Suite) -> Suite:
    """A suite with a storage that is cleaned up, and one that keeps what tests made."""
    suite.several("here", here=suite.fs("here"), kept=suite.fs("kept", retention="all"))
    return suite


def _write(suite: Suite, *names: str) -> None:
    suite.write(test_it=WAITS.replace("NAMES", repr(names)))


def _left(suite: Suite) -> list[str]:
    return suite.left(suite.pytester.path / "here")


def _finalized(suite: Suite) -> list[str]:
    return sorted(path.name for path in suite.pytester.path.glob("finalized-*"))


def test_sigterm_ends_a_serial_run_in_order(waiting: Suite) -> None:
    _write(waiting, "main")
    ended = waiting.signalled(signal.SIGTERM, "--opendal-report=report.json")
    assert ended.code == TERMINATED == 143
    assert ended.seconds < PATIENCE
    assert _finalized(waiting) == ["finalized-main"]
    assert "SIGTERM: the run ends here" in ended.text
    assert "opendal leftovers" in ended.text
    assert "Traceback" not in ended.text
    assert [left["path"] for left in waiting.report()["leftovers"]] == ["0.txt"]
    assert _left(waiting) == []
    assert waiting.journals == []


def _interrupts(suite: Suite) -> set[str]:
    return {path.read_text() for path in suite.pytester.path.glob("interrupt-*")}


@needs_xdist
@pytest.mark.parametrize("to", ["process", "group"])
def test_sigterm_ends_a_run_with_workers(waiting: Suite, to: str) -> None:
    """Also when only the controller gets it."""
    _write(waiting, "gw0", "gw1")
    ended = waiting.signalled(signal.SIGTERM, "-n2", "--opendal-report=report.json", to=to)
    assert ended.code == TERMINATED
    assert ended.seconds < PATIENCE
    assert _interrupts(waiting) == {"Terminated"}
    assert _finalized(waiting) == ["finalized-gw0", "finalized-gw1"]
    assert "SIGTERM: the run ends here" in ended.text
    assert "INTERNALERROR" not in ended.text
    assert [left["path"] for left in waiting.report()["leftovers"]] == ["0.txt", "1.txt"]
    assert _left(waiting) == []
    assert waiting.journals == []


@needs_xdist
def test_sigint_to_the_controller_alone_reaches_its_workers(waiting: Suite) -> None:
    """The controller passes it on; execnet alone would interrupt them after five seconds."""
    _write(waiting, "gw0", "gw1")
    ended = waiting.signalled(signal.SIGINT, "-n2", "--opendal-report=report.json")
    assert ended.code == pytest.ExitCode.INTERRUPTED
    assert [left["path"] for left in waiting.report()["leftovers"]] == ["0.txt", "1.txt"]
    assert _interrupts(waiting) == {"Terminated"}
    assert _finalized(waiting) == ["finalized-gw0", "finalized-gw1"]
    assert _left(waiting) == []
    assert waiting.journals == []


@needs_xdist
def test_sigterm_to_one_worker_stops_the_run(suite: Suite) -> None:
    """For xdist it is that worker's Ctrl-C: the others end their tests, and no test begins."""
    suite.several("here", here=suite.fs("here"), kept=suite.fs("kept", retention="all"))
    _write(suite, "gw0", "gw1")
    text = (suite.pytester.path / "test_it.py").read_text()
    until = 'while WORKER == "gw0" or not Path("finalized-gw0").exists(): time.sleep(0.01)'
    suite.write(test_it=text.replace("time.sleep(60)", until))
    ended = suite.signalled(signal.SIGTERM, "-n2", to="pid-gw0")
    assert ended.code == pytest.ExitCode.INTERRUPTED
    assert _finalized(suite) == ["finalized-gw0", "finalized-gw1"]
    assert "received keyboard-interrupt" in ended.text
    assert "INTERNALERROR" not in ended.text
    assert _left(suite) == []
    assert suite.journals == []


CLEANS_SLOWLY = """
import asyncio
from pathlib import Path

class Slow:
    def __init__(self, operator): self._operator = operator
    def __getattr__(self, name): return getattr(self._operator, name)
    async def delete(self, path):
        number = len(list(Path().glob("cleaning-*")))
        Path(f"cleaning-{number}").touch()
        await asyncio.sleep(60 if number < STUCK else 0)
        await self._operator.delete(path)

def pytest_opendal_operator(storage, operator):
    return Slow(operator)
"""
CLEANUP = """
from pathlib import Path
import pytest

@pytest.fixture
def finalized():
    yield
    Path("finalized").touch()

def test_it(finalized, opendal):
    opendal.write_bytes("a.txt", b"x")
    Path("waiting").touch()

def test_two(opendal):
    Path("went on").touch()
"""


def _cleaning(suite: Suite, stuck: int) -> None:
    suite.lab()
    conftest = CLEANS_SLOWLY.replace("STUCK", str(stuck))
    suite.write(conftest=conftest, test_it=CLEANUP.replace('Path("waiting").touch()', ""))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_during_cleanup_lets_it_come_to_its_end(
    suite: Suite, number: signal.Signals
) -> None:
    """The call that hangs is given up, the cleanup is tried once more, and the run ends."""
    _cleaning(suite, stuck=1)
    ended = _signalled_at(suite, number, "cleaning-0")
    assert ended.code == (TERMINATED if number == signal.SIGTERM else pytest.ExitCode.INTERRUPTED)
    assert ended.seconds < PATIENCE
    assert "Traceback" not in ended.text
    assert (suite.pytester.path / "finalized").exists()
    assert not (suite.pytester.path / "went on").exists()
    assert suite.left() == []
    assert suite.journals == []


def test_a_second_interrupt_gives_the_cleanup_up(suite: Suite) -> None:
    """What may be left is told and stays in the journal; other finalizers run."""
    _cleaning(suite, stuck=9)
    ended = _signalled_at(suite, signal.SIGINT, "cleaning-0", again="cleaning-1")
    assert ended.code == pytest.ExitCode.INTERRUPTED
    assert ended.seconds < PATIENCE
    assert "Traceback" not in ended.text
    assert "its cleanup was interrupted" in ended.text
    assert (suite.pytester.path / "finalized").exists()
    assert suite.left() == ["a.txt"]
    assert len([name for name in suite.journals if name.endswith(".journal")]) == 1


def _signalled_at(suite: Suite, number: signal.Signals, name: str, again: str = "") -> Any:
    (suite.pytester.path / "waiting").symlink_to(name)
    return suite.signalled(number, "--opendal-details", again=again)


def test_a_second_sigterm_cuts_nothing_short(suite: Suite) -> None:
    with servers.black_hole() as address:
        credentials = {"access_key_id": "x", "secret_access_key": "y"}
        kwargs = {"endpoint": f"http://{address}", "bucket": "b", "region": "r"} | credentials
        suite.several("silent", silent={"scheme": "s3", "kwargs": kwargs, "retention": "none"})
        suite.write(conftest=ANSWERS, test_it=REGISTERS)
        ended = suite.signalled(signal.SIGTERM, "--opendal-details", again="ending")
    assert ended.code == TERMINATED
    assert "no answer within 1 s" in ended.text
    assert "Traceback" not in ended.text
    assert len([name for name in suite.journals if name.endswith(".journal")]) == 1


ANSWERS = """
from opendal.exceptions import NotFound

class Silent:
    def __init__(self, operator): self._operator = operator
    def __getattr__(self, name): return getattr(self._operator, name)
    async def stat(self, path, **kwargs): raise NotFound("not there")

def pytest_opendal_operator(storage, operator):
    return Silent(operator)
"""
REGISTERS = """
from pathlib import Path
import time
import pytest

@pytest.fixture
def ending():
    yield
    Path("ending").touch()

def test_it(opendal, ending):
    opendal.register_path("a.txt")
    Path("waiting").touch()
    time.sleep(60)
"""


# -- the handler itself


@pytest.fixture
def _nobody_handles() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def termination(_nobody_handles: None) -> Iterator[Termination]:
    installed = Termination()
    installed.install()
    yield installed
    installed.restore()


def test_it_raises_what_no_test_swallows(termination: Termination) -> None:
    def swallows() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:  # noqa: BLE001 - what the test is about
            pytest.fail("swallowed")

    with pytest.raises(Terminated):
        swallows()
    assert termination.came


def test_it_lets_an_interrupt_unwind(termination: Termination) -> None:
    """A test's own ``finally`` is not interrupted a second time."""
    steps = []

    def unwinds() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("finally")

    with pytest.raises(KeyboardInterrupt) as raised:
        unwinds()
    assert type(raised.value) is KeyboardInterrupt
    assert steps == ["finally"]
    assert termination.came


def test_it_does_nothing_once_the_run_ends(termination: Termination) -> None:
    termination.ending = True
    os.kill(os.getpid(), signal.SIGTERM)
    assert termination.came


@pytest.mark.usefixtures("_nobody_handles")
def test_it_leaves_the_handler_of_somebody_else() -> None:
    def mine(_number: int, _frame: object) -> None:
        raise AssertionError

    signal.signal(signal.SIGTERM, mine)
    termination = Termination()
    termination.install()
    assert signal.getsignal(signal.SIGTERM) is mine
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is mine


def test_it_spares_the_handler_that_came_later(termination: Termination) -> None:
    def mine(_number: int, _frame: object) -> None:
        raise AssertionError

    signal.signal(signal.SIGTERM, mine)
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is mine


def test_it_gives_the_signal_back(termination: Termination) -> None:
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("_nobody_handles")
def test_it_stays_away_from_other_threads() -> None:
    termination = Termination()
    thread = threading.Thread(target=termination.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def _tick(begun: int) -> None:
    os.write(begun, b"x")
    while True:
        time.sleep(0.05)


@pytest.mark.usefixtures("termination")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_dies_of_it() -> None:
    """`multiprocessing` ends its processes by SIGTERM."""
    reading, writing = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=_tick, args=(writing,), daemon=True)
    child.start()
    assert os.read(reading, 1) == b"x"
    child.terminate()
    child.join(10)
    child.kill()
    os.close(reading)
    os.close(writing)
    assert child.exitcode == -signal.SIGTERM
