"""Ctrl-C while a storage is silent: the run ends soon, finalizers run, and it says what is left."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import opendal
import pytest

import servers
from faults import faulty
from runs import Suite, needs_xdist

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a busy machine may add to the second; the time limit of a call is 60 s.
PATIENCE = 10.0

WAITS = """
from pathlib import Path
import pytest

@pytest.fixture
def finalized():
    yield
    Path("finalized").touch()

@pytest.fixture
def answering(opendal_factory):
    storage = opendal_factory("here")
    storage.write_bytes("d/a.txt", b"x")
    return storage

def test_it(finalized, answering, opendal, request):
    Path("waiting").touch()
    opendal.read_bytes("a.txt")
"""
# Whether something is there is answered: a storage that is silent from the start is never opened.
CONFTEST = """
from opendal.exceptions import NotFound

class Silent:
    def __init__(self, operator): self._operator = operator
    def __getattr__(self, name): return getattr(self._operator, name)
    async def stat(self, path, **kwargs): raise NotFound("not there")

def pytest_opendal_operator(storage, operator):
    return Silent(operator) if storage == "silent" else None
"""


@pytest.fixture
def silent() -> Iterator[dict[str, Any]]:
    """A storage that never answers, apart from what `CONFTEST` answers in its place."""
    with servers.black_hole() as address:
        kwargs = {"endpoint": f"http://{address}", "bucket": "b", "region": "r"}
        credentials = {"access_key_id": "x", "secret_access_key": "y"}
        yield {"scheme": "s3", "kwargs": kwargs | credentials, "retention": "none"}


def _interrupted(suite: Suite, *args: str, group: bool = False) -> tuple[int, float, str]:
    """Interrupt the suite when its test waits; return exit code, seconds to the end and output."""
    ended = suite.signalled(signal.SIGINT, *args, to="group" if group else "process")
    return ended.code, ended.seconds, ended.text


def test_interrupt_ends_a_serial_run(suite: Suite, silent: dict[str, Any]) -> None:
    suite.several("silent", silent=silent, here=suite.fs("here"))
    suite.write(conftest=CONFTEST, test_it=WAITS)
    code, seconds, text = _interrupted(suite, "--opendal-report=report.json")
    assert code == pytest.ExitCode.INTERRUPTED
    assert seconds < PATIENCE
    assert "KeyboardInterrupt" in text
    assert "Traceback" not in text
    assert "no tests ran in" in text
    assert (suite.pytester.path / "finalized").exists()
    assert suite.left(suite.pytester.path / "here") == []
    assert suite.journals == []


WRITES = """
from pathlib import Path

def test_it(opendal, opendal_factory, opendal_session):
    second = opendal_factory()
    for number, storage in enumerate((opendal, second, opendal_session)):
        for file in range(30):
            storage.register_path(f"{number}/{file}")
    Path("waiting").touch()
    opendal.read_bytes("a.txt")
"""


def test_cleanup_of_a_silent_storage_gets_one_second(suite: Suite, silent: dict[str, Any]) -> None:
    """Not one for each of its objects; what is left is told, and stays in the journal."""
    suite.several("silent", silent=silent)
    suite.write(conftest=CONFTEST, test_it=WRITES)
    code, seconds, text = _interrupted(suite, "--opendal-report=report.json", "--opendal-details")
    assert code == pytest.ExitCode.INTERRUPTED
    assert seconds < PATIENCE
    leftovers = suite.report()["leftovers"]
    assert len(leftovers) == 90
    assert {left["reason"] for left in leftovers} == {"delete failed"}
    assert "no answer within" in text
    assert len([name for name in suite.journals if name.endswith(".journal")]) == 1


@needs_xdist
def test_controller_takes_over_from_interrupted_workers_in_a_second(
    suite: Suite, silent: dict[str, Any]
) -> None:
    """What a worker could not remove is tried once more, and told by the controller."""
    suite.several("silent", silent=silent)
    suite.write(conftest=CONFTEST, test_it=WRITES)
    code, seconds, text = _interrupted(suite, "-n1", "--opendal-report=report.json", group=True)
    assert code == pytest.ExitCode.INTERRUPTED
    assert seconds < 2 * PATIENCE
    assert "opendal leftovers" in text
    leftovers = suite.report()["leftovers"]
    assert len(leftovers) == 90
    assert {left["reason"] for left in leftovers} == {"delete failed"}
    assert len([name for name in suite.journals if name.endswith(".journal")]) == 1


@needs_xdist
@pytest.mark.parametrize("group", [True, False], ids=["group", "controller"])
def test_interrupt_ends_a_run_with_workers(
    suite: Suite, silent: dict[str, Any], *, group: bool
) -> None:
    suite.several("silent", silent=silent, here=suite.fs("here"))
    suite.write(conftest=CONFTEST, test_it=f"{WAITS}\ndef test_two(): pass")
    code, seconds, text = _interrupted(suite, "-n2", group=group)
    assert code == pytest.ExitCode.INTERRUPTED
    assert seconds < 3 * PATIENCE
    assert "KeyboardInterrupt" in text
    assert suite.left(suite.pytester.path / "here") == []
    assert suite.journals == []


def test_a_silent_url_holds_up_neither_the_interrupt_nor_the_end(suite: Suite) -> None:
    suite.lab()
    with servers.black_hole() as address:
        suite.write(
            test_it=f"""
            from pathlib import Path

            def test_it(opendal):
                Path("waiting").touch()
                opendal.write_from_path("image", "http://{address}/image")
            """
        )
        code, seconds, text = _interrupted(suite)
    assert code == pytest.ExitCode.INTERRUPTED
    assert seconds < PATIENCE
    assert "KeyboardInterrupt" in text
    assert suite.left() == []
    assert suite.journals == []


@pytest.mark.parametrize("operation", ["read_into_path('f', tmp_path / 'f')", "hash('f')"])
def test_a_download_that_halts_holds_up_neither_the_interrupt_nor_the_end(
    suite: Suite, moto: servers.S3, operation: str
) -> None:
    root = suite.pytester.path.name
    writer = opendal.Operator("s3", **moto.kwargs, root=root)
    writer.write("f", bytes(10 << 20))
    with faulty(moto.endpoint.partition("//")[2]) as server:
        kwargs = moto.kwargs | {"endpoint": f"http://{server.address}", "root": root}
        suite.lab(scheme="s3", kwargs=kwargs)
        suite.write(
            test_it=f"""
            from pathlib import Path

            def test_it(opendal, tmp_path):
                Path("waiting").touch()
                opendal.{operation}
            """
        )
        server.fail("halted download", "GET")
        code, seconds, text = _interrupted(suite)
    writer.delete("f")
    assert code == pytest.ExitCode.INTERRUPTED
    assert seconds < PATIENCE
    assert "KeyboardInterrupt" in text
    assert suite.journals == []
