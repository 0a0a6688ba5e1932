"""Storages that hang or fail: every operation ends in time, with the error that fits, and tells which."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import errors, journal
from pytest_opendal.report import Reason

import servers
from contract import HAS_JUMPSTARTER, Lab
from faults import Faulty, faulty
from runs import SECONDS, Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_opendal.storage import Storage


LARGE = bytes(range(256)) * (40 << 10)
"""10 MiB: more than one part of an upload."""
# What a busy machine may add to a time limit.
PATIENCE = 10.0


@pytest.fixture
def server(moto: servers.S3) -> Iterator[Faulty]:
    """A real S3 server that can be told to fail."""
    with faulty(moto.endpoint.partition("//")[2]) as running:
        yield running


WAYS = [
    "local",
    pytest.param(
        "exporter",
        marks=pytest.mark.skipif(
            not HAS_JUMPSTARTER,
            reason="Jumpstarter is not installed; its driver needs opendal 0.45",
        ),
    ),
]


@pytest.fixture(params=WAYS)
def lab(
    request: pytest.FixtureRequest, moto: servers.S3, server: Faulty, tmp_path: Path
) -> Iterator[Lab]:
    """The storage on that server: as this host reaches it, and behind an exporter."""
    kind = "moto" if request.param == "local" else "exporter_moto"
    kwargs = moto.kwargs | {
        "endpoint": f"http://{server.address}",
        "root": f"/{tmp_path.name}",
    }
    made = Lab(kind, "s3", kwargs, "none", tmp_path)
    yield made
    server.heal()
    made.close()


# -- every operation


def _upload(storage: Storage, path: str, content: bytes) -> None:
    source = Path(os.environ["PYTEST_OPENDAL_SCRATCH"]) / "source"
    source.write_bytes(content)
    storage.write_from_path(path, source)


def _stream(storage: Storage, path: str) -> bytes:
    with storage.open(path, "rb") as file:
        content: bytes = file.read()
        return content


def _spool(storage: Storage, path: str, content: bytes) -> None:
    with storage.open(path, "wb") as file:
        file.write(content)


def _download(storage: Storage, path: str) -> bytes:
    target = Path(os.environ["PYTEST_OPENDAL_SCRATCH"]) / "target"
    storage.read_into_path(path, target)
    return target.read_bytes()


READS: dict[str, Callable[[Storage], Any]] = {
    "read_bytes": lambda storage: storage.read_bytes("d/f"),
    "read_bytes of a range": lambda storage: storage.read_bytes("d/f", offset=1, size=2),
    "open for reading": lambda storage: _stream(storage, "d/f"),
    "read_into_path": lambda storage: _download(storage, "d/f"),
    "hash": lambda storage: storage.hash("d/f"),
    "stat": lambda storage: storage.stat("d/f"),
    "exists": lambda storage: storage.exists("d/f"),
    "list": lambda storage: list(storage.list("d/")),
    "scan": lambda storage: list(storage.scan("d/")),
    "wait_until": lambda storage: storage.wait_until("d/f", timeout=0.2),
    "assert_exists": lambda storage: storage.assert_exists("d/f"),
    "assert_absent": lambda storage: storage.assert_absent("d/g"),
    "assert_hash": lambda storage: storage.assert_hash("d/f", b"content"),
    "assert_stat": lambda storage: storage.assert_stat("d/f", content_length=7),
    "assert_tree": lambda storage: storage.assert_tree("d", {"f": b"content"}),
}
WRITES: dict[str, Callable[[Storage], Any]] = {
    "write_bytes": lambda storage: storage.write_bytes("d/new", b"content"),
    "write_from_path": lambda storage: _upload(storage, "d/new", b"content"),
    "write_from_path in parts": lambda storage: _upload(storage, "d/new", LARGE),
    "open for writing": lambda storage: _spool(storage, "d/new", b"content"),
    "create_dir": lambda storage: storage.create_dir("d/new/"),
    "copy": lambda storage: storage.copy("d/f", "d/new"),
    "copy of a directory": lambda storage: storage.copy("d", "new"),
    "register_path": lambda storage: storage.register_path("d/new"),
    "ensure": lambda storage: storage.ensure("d/new", __file__),
    "delete": lambda storage: storage.delete("d/f"),
    "remove_all": lambda storage: storage.remove_all("d"),
}
OPERATIONS = READS | WRITES


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_OPENDAL_SCRATCH", str(tmp_path))


@contextmanager
def _fails(operation: str, kind: type[errors.StorageError], seconds: float) -> Iterator[None]:
    """Expect exactly this error, in time, and a text that names the storage and is one line."""
    begun = time.monotonic()
    with pytest.raises(errors.StorageError) as raised:
        yield
    assert type(raised.value) is kind, f"{operation}: {raised.value!r}"
    assert time.monotonic() - begun < seconds, operation
    text = str(raised.value)
    assert text.startswith("lab: "), text
    assert "\n" not in text


def _each_fails(storage: Storage, kind: type[errors.StorageError], seconds: float) -> None:
    for operation, call in OPERATIONS.items():
        with _fails(operation, kind, seconds):
            call(storage)


def _impatient(lab: Lab, seconds: float) -> None:
    """Set the time limit, but not for the connecting, which a busy machine may delay."""
    lab.run.connection(lab.settings()).timeout = seconds


def test_a_server_that_never_answers(lab: Lab, server: Faulty) -> None:
    storage = lab.open()
    _impatient(lab, 0.3)
    server.fail("silent")
    _each_fails(storage, errors.StorageTimeout, 4 * 0.3 + PATIENCE)


def test_a_server_that_is_gone(lab: Lab, server: Faulty) -> None:
    """Refused at once, and at once again: that pauses are short is what keeps this quick."""
    storage = lab.open()
    server.kill()
    _each_fails(storage, errors.StorageUnavailable, PATIENCE)


def test_a_server_that_answers_503(lab: Lab, server: Faulty) -> None:
    storage = lab.open(retries=0)
    server.fail("503")
    _each_fails(storage, errors.StorageUnavailable, PATIENCE)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_two_failures_for_the_moment_are_not_noticed(
    lab: Lab, server: Faulty, operation: str
) -> None:
    lab.stranger.write("d/f", b"content")
    storage = lab.open()
    server.fail("503", times=2)
    OPERATIONS[operation](storage)
    assert len(server.requests) >= 3


def test_a_wait_goes_on_while_a_server_starts_anew(lab: Lab, server: Faulty) -> None:
    storage = lab.open(retries=0)
    lab.stranger.write("d/f", b"content")
    server.fail("503", times=3)
    assert storage.wait_until("d/f", 10).content_length == len(b"content")
    assert len(server.requests) > 3


def test_a_wait_ends_in_time_on_a_silent_server(lab: Lab, server: Faulty) -> None:
    """Not after the time limit of the storage, which may be longer."""
    storage = lab.open()
    server.fail("silent")
    begun = time.monotonic()
    with pytest.raises(errors.StorageTimeout, match=r"awaited within 0\.2 s \(no answer\)$"):
        storage.wait_until("d/f", 0.2)
    assert time.monotonic() - begun < PATIENCE


def test_requests_are_repeated_as_often_as_configured(lab: Lab, server: Faulty) -> None:
    for retries in (0, 1, 3):
        storage = lab.open(retries=retries)
        server.fail("503")
        with _fails("stat", errors.StorageUnavailable, PATIENCE):
            storage.stat("f")
        assert len(server.requests) == retries + 1
        server.heal()
        lab.close()
        lab._runs.clear()


def test_repeating_ends_with_the_time_limit(lab: Lab, server: Faulty) -> None:
    storage = lab.open(retries=1000)
    _impatient(lab, 2.0)
    server.fail("503")
    with _fails("stat", errors.StorageTimeout, 2.0 + PATIENCE):
        storage.stat("f")
    assert 1 < len(server.requests) < 10


def test_what_must_not_happen_twice_is_not_repeated(lab: Lab, server: Faulty) -> None:
    if lab.is_remote or not hasattr(__import__("opendal"), "types"):
        pytest.skip("if_not_exists needs opendal 0.46 or newer, and no exporter")
    storage = lab.open()
    server.fail("503", "PUT")
    with _fails("write", errors.StorageUnavailable, PATIENCE):
        storage.write_bytes("f", b"x", if_not_exists=True)
    assert [request.split()[0] for request in server.requests].count("PUT") == 1


# -- half a body


@pytest.mark.parametrize("operation", ["read_bytes", "open for reading", "read_into_path", "hash"])
def test_a_download_that_breaks_off(lab: Lab, server: Faulty, operation: str) -> None:
    storage = lab.open(retries=0)
    lab.stranger.write("d/f", LARGE)
    server.fail("cut download", "GET")
    with _fails(operation, errors.StorageUnavailable, PATIENCE):
        READS[operation](storage)


@pytest.mark.parametrize("operation", ["read_bytes", "open for reading", "read_into_path"])
def test_a_download_goes_on_where_it_broke_off(lab: Lab, server: Faulty, operation: str) -> None:
    if lab.is_remote and operation != "read_bytes":
        pytest.skip("an exporter's stream that breaks off is not repeated")
    lab.stranger.write("d/f", LARGE)
    storage = lab.open()
    server.fail("cut download", "GET", times=1)
    assert READS[operation](storage) == LARGE


_LARGE_READS = ["open for reading", "read_into_path", "hash"]


@pytest.mark.parametrize("operation", _LARGE_READS)
def test_a_download_that_falls_silent(
    lab: Lab, server: Faulty, operation: str, tmp_path: Path
) -> None:
    (tmp_path / "target").write_bytes(b"before")
    lab.stranger.write("d/f", LARGE)
    storage = lab.open()
    _impatient(lab, 0.5)
    server.fail("halted download", "GET")
    with _fails(operation, errors.StorageTimeout, 0.5 + PATIENCE):
        READS[operation](storage)
    assert (tmp_path / "target").read_bytes() == b"before"
    assert [path.name for path in tmp_path.glob("*target*")] == ["target"]


@pytest.mark.parametrize("operation", _LARGE_READS)
def test_a_slow_download_may_take_longer_than_the_time_limit(
    lab: Lab, server: Faulty, operation: str
) -> None:
    if lab.is_remote and operation == "hash":
        pytest.skip("an exporter hashes itself, and says nothing meanwhile")
    lab.stranger.write("d/f", LARGE)
    storage = lab.open()
    _impatient(lab, 1.5)
    server.fail("drip", "GET", seconds=0.3)
    begun = time.monotonic()
    found = READS[operation](storage)
    assert found in {LARGE, hashlib.sha256(LARGE).hexdigest()}
    assert time.monotonic() - begun > 1.5


@pytest.mark.parametrize("size", [100, len(LARGE)], ids=["whole", "parts"])
def test_an_upload_that_breaks_off_publishes_nothing(lab: Lab, server: Faulty, size: int) -> None:
    storage = lab.open(retries=0)
    lab.stranger.write("f", b"old")
    server.fail("cut upload", "PUT")
    with _fails("write", errors.StorageUnavailable, PATIENCE):
        _upload(storage, "f", LARGE[:size])
    server.heal()
    assert lab.stranger.read("f") == b"old"


@pytest.mark.parametrize("size", [100, len(LARGE)], ids=["whole", "parts"])
def test_an_upload_that_broke_off_is_sent_again(lab: Lab, server: Faulty, size: int) -> None:
    if lab.is_remote and size > 100:
        pytest.skip("an exporter's stream that breaks off is not repeated")
    storage = lab.open()
    server.fail("cut upload", "PUT", times=1)
    _upload(storage, "f", LARGE[:size])
    assert lab.stranger.read("f") == LARGE[:size]


# -- refused credentials


@pytest.mark.parametrize(
    "kind", ["seaweedfs", *(["exporter_seaweedfs"] if HAS_JUMPSTARTER else [])]
)
def test_wrong_credentials(seaweedfs: servers.SeaweedFS, tmp_path: Path, kind: str) -> None:
    with _refused("s3", seaweedfs.kwargs | {"secret_access_key": "wrong"}, tmp_path, kind) as lab:
        storage = lab.open()
        _each_fails(storage, errors.PermissionDenied, PATIENCE)


def test_a_wrong_password(wsgidav: servers.WebDAV, tmp_path: Path) -> None:
    kwargs = wsgidav.kwargs | {"password": "wrong"}
    with (
        _refused("webdav", kwargs, tmp_path, "wsgidav") as lab,
        _fails("connect", errors.PermissionDenied, PATIENCE),
    ):
        lab.open()


@contextmanager
def _refused(scheme: str, kwargs: dict[str, str], tmp_path: Path, kind: str) -> Iterator[Lab]:
    lab = Lab(kind, scheme, kwargs, "none", tmp_path)
    try:
        yield lab
    finally:
        lab.close()


# -- slow, and dead while something is cleaned up


def test_slow_deletions_are_waited_for(lab: Lab, server: Faulty) -> None:
    held = lab.hold()
    for number in range(5):
        held.storage.write_bytes(f"d/{number}", b"x")
    server.fail("slow", "DELETE", "POST", seconds=0.3)
    assert lab.end(held).leftovers == ()
    assert lab.stranger.everything() == {}


def test_deletions_slower_than_the_time_limit_are_told(lab: Lab, server: Faulty) -> None:
    held = lab.hold()
    for number in range(40):
        held.storage.write_bytes(f"d/{number}", b"x")
    _impatient(lab, 0.3)
    server.fail("slow", "DELETE", seconds=1.0)
    note = lab.end(held)
    assert {left.reason for left in note.leftovers} == {Reason.FAILED}
    assert all("no answer within 0.3 s" in str(left.error) for left in note.leftovers)
    assert len(lab.replayed()) == 1


def test_removing_a_tree_slowly_is_no_failure_while_the_server_answers(
    lab: Lab, server: Faulty
) -> None:
    storage = lab.open()
    for number in range(3):
        storage.write_bytes(f"d/{number}", b"x")
    _impatient(lab, 0.5)
    server.fail("slow", "DELETE", "POST", times=1, seconds=0.8)
    storage.remove_all("d")
    assert lab.stranger.everything() == {}


# -- a server that dies under a run

TIMEOUT = 3.0
"""Seconds of the storage in the suite below."""

DIES = """
import time
from pathlib import Path
import pytest

@pytest.fixture
def finalized():
    yield
    Path("finalized").touch()

def test_one(finalized, opendal):
    for number in range(1000):
        opendal.register_path(f"d/{number}")
    opendal.write_bytes("d/0", b"x")
    Path("ready").touch()
    while not Path("dead").exists():
        time.sleep(0.01)

def test_two(opendal): raise AssertionError
def test_three(opendal): raise AssertionError
"""
TIMES = """
from pathlib import Path

def pytest_runtest_logreport(report):
    with Path("times").open("a") as file:
        print(report.nodeid.rpartition("::")[2], report.when, report.duration, file=file)
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_cleanup_of_a_thousand_on_a_dead_server_costs_one_timeout(
    suite: Suite, tmp_path: Path, number: signal.Signals
) -> None:
    """They are reported with the reason and stay in the journal; the tests after it are skipped."""
    with servers.seaweedfs(tmp_path / "weed") as server:
        suite.lab(scheme="s3", kwargs=server.kwargs, timeout=TIMEOUT)
        suite.write(conftest=TIMES, test_it=DIES)
        process = suite.start("-rs", "--opendal-report=report.json", "--opendal-details")
        try:
            suite.wait_for("ready", process)
            server_pid = servers.pid_in(tmp_path / "weed")
            os.kill(server_pid, number)
            _wait_until_nothing_runs(server_pid)
            (suite.pytester.path / "dead").touch()
            text = process.communicate(timeout=SECONDS)[0]
        finally:
            process.kill()
            if number == signal.SIGSTOP:
                os.kill(server_pid, signal.SIGCONT)
        assert _seconds(suite, "test_one", "teardown") < 2 * TIMEOUT
        leftovers = suite.report()["leftovers"]
        assert len(leftovers) == 1000
        why = "no answer within 3 s" if number == signal.SIGSTOP else "connection refused"
        assert {why in left["error"] for left in leftovers} == {True}, leftovers[-1]["error"]
        assert "1 passed, 2 skipped" in text
        assert "storage is broken: lab: connect: " in text
        assert (suite.pytester.path / "finalized").exists()
        assert _in_journals(suite) == 1000
        if number == signal.SIGSTOP:
            assert _reaped(suite)


def _wait_until_nothing_runs(pid: int) -> None:
    """Wait until each thread of a process is stopped or dead; a signal reaches them one by one."""
    deadline = time.monotonic() + SECONDS
    while _states(pid) - {"T", "Z", "X"}:
        assert time.monotonic() < deadline
        time.sleep(servers.POLL_SECONDS)


def _states(pid: int) -> set[str]:
    found = set()
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            found.add(status.read_text().rpartition(")")[2].split()[0])
    return found


def _seconds(suite: Suite, test: str, when: str) -> float:
    lines = (suite.pytester.path / "times").read_text().splitlines()
    return next(float(line.split()[2]) for line in lines if line.startswith(f"{test} {when} "))


def _in_journals(suite: Suite) -> int:
    place = suite.pytester.path / ".pytest_cache" / "opendal"
    replayed = [journal.replay(path) for path in place.glob("*.journal")]
    return sum(
        entry.kind == "file"
        for journal_ in replayed
        for record in journal_.records
        for _, entry in record.created.items()
    )


def _reaped(suite: Suite) -> bool:
    """Whether a run with --opendal-reap removes what is left, now that the server answers again."""
    suite.write(test_it="def test_it(): pass")
    process = suite.start("--opendal-reap")
    text = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0, text
    return suite.journals == []


# -- no space left

FULL = """
import pytest
from pytest_opendal import StorageError

CONTENT = bytes(2 << 20)

def full(call, *arguments):
    with pytest.raises(StorageError, match="no space left on device") as raised:
        call(*arguments)
    assert str(raised.value).startswith("lab: write ")

def test_it(opendal, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    opendal.write_bytes("f", b"old")
    full(opendal.write_bytes, "f", CONTENT)
    full(opendal.write_bytes, "new", CONTENT)
    full(opendal.write_from_path, "f", source)
    full(opendal.write_from_path, "new", source)
    file = opendal.open("f", "wb")
    file.write(CONTENT)
    full(file.close)
    assert opendal.read_bytes("f") == b"old"
    assert sorted(opendal.scan("")) == ["/", "f"]
    assert opendal.get_created_resources() == {"f"}
    if not REMOTE:
        opendal.write_bytes("fits", bytes(1000))
"""


@pytest.mark.parametrize("remote", [False, *([True] if HAS_JUMPSTARTER else [])])
def test_no_space_left(suite: Suite, *, remote: bool) -> None:
    """On a file system of one megabyte, in a namespace of its own, which needs no rights."""
    suite.root.mkdir()
    if remote:
        lab = Lab("exporter_fs", "fs", {"root": str(suite.root)}, "none", suite.pytester.path)
        exporter = {"exporter_config": str(lab._exporter_config())}
        suite.several(None, lab={"jumpstarter": exporter, "retention": "none"})
    else:
        suite.lab()
    # The driver (0.9) keeps a file open that it could not close, and with it the space.
    suite.write(test_it=f"REMOTE = {remote}\n{FULL}")
    mount = f'mount -t tmpfs -o size=1m none "{suite.root}" && exec "$@"'
    process = suite.start(prefix=("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"))
    text = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0, text
    assert "opendal leftovers" not in text
    assert suite.journals == []
