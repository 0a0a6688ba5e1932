"""Storages that do not answer, refuse or interrupt: error classes, texts without secrets, and time."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import errors
from pytest_opendal.backends import compat
from pytest_opendal.backends.local import LocalBackend, explained
from pytest_opendal.loop import LoopThread

import servers
from contract import Lab, lab_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_opendal.storage import Storage

KEY_ID, SECRET = "AKIDRECOGNISABLE", "SECRETRECOGNISABLE"


def _s3(address: str) -> dict[str, str]:
    return {
        "endpoint": f"http://{address}",
        "bucket": "test",
        "region": "us-east-1",
        "access_key_id": KEY_ID,
        "secret_access_key": SECRET,
        "disable_config_load": "true",
        "disable_ec2_metadata": "true",
    }


def _webdav(address: str) -> dict[str, str]:
    return {"endpoint": f"http://{address}", "username": "lab", "password": SECRET}


ADDRESSES: dict[str, Callable[[str], dict[str, str]]] = {"s3": _s3, "webdav": _webdav}


def _lab(scheme: str, address: str, tmp: Path) -> Lab:
    return Lab(scheme, scheme, ADDRESSES[scheme](address), "none", tmp)


def _unchecked(lab: Lab, **keys: object) -> Storage:
    """Return a storage object of a storage that broke off after its first answer."""
    settings = lab.settings(**keys)
    lab.run.connection(settings).checked = True
    return lab.run.open(settings, "test").storage


def _operations(storage: Storage, tmp: Path) -> dict[str, Callable[[], object]]:
    source = tmp / "src"
    source.write_bytes(b"x" * (9 << 20))

    def opened() -> None:
        with storage.open("d/f", "wb") as file:
            file.write(b"x")

    return {
        "read": lambda: storage.read_bytes("d/f"),
        "read_into_path": lambda: storage.read_into_path("d/f", tmp / "dst"),
        "open": lambda: storage.open("d/f"),
        "write": lambda: storage.write_bytes("d/f", b"x"),
        "write_from_path": lambda: storage.write_from_path("d/f", source),
        "open for writing": opened,
        "stat": lambda: storage.stat("d/f"),
        "exists": lambda: storage.exists("d/f"),
        "hash": lambda: storage.hash("d/f"),
        "list": lambda: list(storage.list("d/f")),
        "scan": lambda: list(storage.scan("d/")),
        "create_dir": lambda: storage.create_dir("d/f/"),
        "copy": lambda: storage.copy("d/f", "d/g"),
        "delete": lambda: storage.delete("d/f"),
        "remove_all": lambda: storage.remove_all("d/f"),
        "ensure": lambda: storage.ensure("d/f", source),
        "wait_until": lambda: storage.wait_until("d/f"),
        "register_path": lambda: storage.register_path("d/f"),
    }


OPERATIONS = (
    "read",
    "read_into_path",
    "open",
    "write",
    "write_from_path",
    "open for writing",
    "stat",
    "exists",
    "hash",
    "list",
    "scan",
    "create_dir",
    "copy",
    "delete",
    "remove_all",
    "ensure",
    "wait_until",
    "register_path",
)


def _check_text(error: BaseException, secrets: tuple[str, ...] = (KEY_ID, SECRET)) -> None:
    text = "".join(traceback.format_exception(error))
    assert re.match(r"lab: \w+ 'd/[fg]?/?': ", str(error)), str(error)
    for secret in secrets:
        assert secret not in text
        assert secret not in repr(error)
    while error.__cause__ is not None:
        error = error.__cause__
        assert error.__traceback__ is None


@pytest.fixture
def silence() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with servers.black_hole() as address:
        yield address


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections."""
    with servers.refused() as address:
        yield address


# -- silence


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("scheme", ["s3", "webdav"])
def test_a_silent_storage_costs_one_timeout(
    scheme: str, operation: str, silence: str, tmp_path: Path
) -> None:
    lab = _lab(scheme, silence, tmp_path)
    storage = _unchecked(lab, timeout=0.5)
    use = _operations(storage, tmp_path)[operation]
    start = time.monotonic()
    with pytest.raises(errors.StorageTimeout, match=r"no answer within 0\.5 s") as caught:
        use()
    assert 0.5 <= time.monotonic() - start < 10
    _check_text(caught.value)
    assert isinstance(caught.value, TimeoutError)
    assert not (tmp_path / "dst").exists()
    lab.close()


@pytest.mark.parametrize("scheme", ["s3", "webdav"])
def test_the_end_of_a_silent_storage_costs_one_timeout(
    scheme: str, silence: str, tmp_path: Path
) -> None:
    lab = _lab(scheme, silence, tmp_path)
    settings = lab.settings(timeout=0.5)
    lab.run.connection(settings).checked = True
    held = lab.run.open(settings, "test")
    for number in range(40):
        held.tracker.note(("+", f"d/{number}", "file", False))
    start = time.monotonic()
    note = lab.end(held)
    assert time.monotonic() - start < 10
    assert len(note.leftovers) == 40
    assert all(SECRET not in str(left) and KEY_ID not in str(left) for left in note.leftovers)
    assert lab.replayed(), "what could not be removed stays in the journal"
    lab.close()


def test_a_loop_thread_that_waits_lets_the_test_go_on(silence: str, tmp_path: Path) -> None:
    lab = _lab("s3", silence, tmp_path)
    storage = _unchecked(lab, timeout=0.5)

    async def test() -> str:
        try:
            storage.read_bytes("d/f")
        except errors.StorageTimeout:
            return "ended"
        return "answered"

    assert asyncio.run(test()) == "ended"
    lab.close()


_WAITS = """
import signal, sys
from pathlib import Path
from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process
from pytest_opendal.run import Run

# A run in the background of a shell ignores Ctrl-C, and so would this process.
signal.signal(signal.SIGINT, signal.default_int_handler)
scheme, operation, tmp = sys.argv[1:4]
kwargs = dict(pair.split("=", 1) for pair in sys.argv[4:])
entry = {"scheme": scheme, "kwargs": kwargs, "timeout": 60}
lab = from_mapping({"storages": {"lab": entry}}, source="lab", base=Path(tmp), environ={})
run = Run(process=Process.new(), journal_dir=Path(tmp) / "journals")
settings = lab.storage("lab")
run.connection(settings).checked = True
storage = run.open(settings, "test").storage
try:
    getattr(storage, operation)(*(["d/f", b"x"] if operation == "write_bytes" else ["d/f"]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
run.close()
"""


def _wait_for_a_connection(port: int) -> None:
    """Wait until somebody has connected to a port of this machine, as the kernel tells it."""
    wanted = re.compile(rf": 0100007F:{port:04X} 0100007F:[0-9A-F]+ 01 ")
    deadline = time.monotonic() + 20
    while not wanted.search(Path("/proc/net/tcp").read_text()):
        assert time.monotonic() < deadline, "nobody connected"
        time.sleep(0.02)


@pytest.mark.parametrize("operation", ["read_bytes", "write_bytes", "hash", "remove_all"])
@pytest.mark.parametrize("scheme", ["s3", "webdav"])
def test_ctrl_c_ends_a_wait_at_once(
    scheme: str, operation: str, silence: str, tmp_path: Path
) -> None:
    pairs = [f"{key}={value}" for key, value in ADDRESSES[scheme](silence).items()]
    command = [sys.executable, "-c", _WAITS, scheme, operation, str(tmp_path), *pairs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        _wait_for_a_connection(int(silence.rpartition(":")[2]))
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - start < 1
        assert process.wait(10) == 0
    assert time.monotonic() - start < 10


# -- refusals


@pytest.mark.parametrize("scheme", ["s3", "webdav"])
def test_a_refused_connection_is_unavailable(scheme: str, nobody: str, tmp_path: Path) -> None:
    lab = _lab(scheme, nobody, tmp_path)
    with pytest.raises(errors.StorageUnavailable, match="lab: connect: ") as caught:
        lab.open()
    assert isinstance(caught.value, ConnectionError)
    assert nobody.partition(":")[0] in "".join(traceback.format_exception(caught.value))
    storage = _unchecked(_lab(scheme, nobody, tmp_path))
    for name, use in _operations(storage, tmp_path).items():
        with pytest.raises(errors.StorageUnavailable) as caught:
            pytest.fail(f"{name}: {use()}")
        _check_text(caught.value)
    lab.close()


def test_wrong_credentials_are_denied_on_s3(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with lab_of("seaweedfs", request, tmp_path) as right:
        right.stranger.write("d/f")
        wrong = {**right.kwargs, "access_key_id": KEY_ID, "secret_access_key": SECRET}
        lab = Lab("s3", "s3", wrong, "none", tmp_path)
        storage = lab.open()
        for name, use in _operations(storage, tmp_path).items():
            with pytest.raises(errors.PermissionDenied) as caught:
                pytest.fail(f"{name}: {use()}")
            _check_text(caught.value)
        assert storage.get_created_resources() == set()
        lab.close()


def test_wrong_credentials_are_denied_on_webdav(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with lab_of("wsgidav", request, tmp_path) as right:
        right.stranger.write("d/f")
        lab = Lab("webdav", "webdav", {**right.kwargs, "password": SECRET}, "none", tmp_path)
        with pytest.raises(errors.PermissionDenied, match="lab: connect: ") as caught:
            lab.open()
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        storage = _unchecked(
            Lab("webdav", "webdav", {**right.kwargs, "password": SECRET}, "none", tmp_path)
        )
        for name, use in _operations(storage, tmp_path).items():
            with pytest.raises(errors.PermissionDenied) as caught:
                pytest.fail(f"{name}: {use()}")
            _check_text(caught.value)
        lab.close()


def test_s3_without_keys_says_which_to_set() -> None:
    kwargs = {key: value for key, value in _s3("127.0.0.1:1").items() if "access_key" not in key}
    backend, loop = LocalBackend("s3", kwargs), LoopThread()
    with pytest.raises(compat.ERRORS) as caught:
        loop.run(backend.stat("f"))
    loop.stop()
    _, reason = backend.explain(caught.value)
    assert "no " in reason
    assert reason.endswith("; set access_key_id and secret_access_key")


def test_a_missing_bucket_is_named(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with lab_of("moto", request, tmp_path) as right:
        lab = Lab("moto", "s3", {**right.kwargs, "bucket": "no-such-bucket"}, "none", tmp_path)
        storage = lab.open()
        with pytest.raises(errors.StorageError, match="NoSuchBucket|bucket"):
            storage.write_bytes("f", b"x")
        assert storage.get_created_resources() == set()
        lab.close()


@pytest.mark.skipif(not os.geteuid(), reason="root may write everywhere")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    lab = Lab("fs", "fs", {"root": str(tmp_path / "root")}, "none", tmp_path)
    lab.stranger.create_dir("closed/")
    (tmp_path / "root" / "closed").chmod(0o500)
    with pytest.raises(errors.PermissionDenied, match="permission denied"):
        lab.open().write_bytes("closed/f", b"x")
    lab.close()


# -- what opendal says and what we say


class _ToldError(Exception):
    """An error with opendal's kind of text."""


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (
            'PermissionDenied (permanent) at write => S3Error { code: "AccessDenied", message: '
            '"Access Denied.", resource: "/test/f" }\n\nContext:\n   uri: http://h/f\n',
            errors.PermissionDenied,
            "AccessDenied: Access Denied.",
        ),
        (
            "Unexpected (temporary) at stat => not a directory\n\nContext:\n   path: f/x\n\n"
            "Source:\n   Not a directory (os error 20)\n",
            errors.NotADirectory,
            "not a directory",
        ),
        (
            "Unexpected (persistent) at read, context: { url: http://h/f, called: http_util } => "
            "send http request, source: error sending request for url (http://h/f?X-Sig=SIGNED)\n",
            errors.StorageUnavailable,
            "send http request, source: error sending request for url (http://h/f?...)",
        ),
        (
            "Unexpected (permanent) at write => \n\nContext:\n   response: Parts { status: 401 }\n",
            errors.PermissionDenied,
            "the server answers 401",
        ),
        (
            "Unexpected (permanent) at write => odd\n\nContext:\n   path: is a directory.connection\n",
            errors.StorageError,
            "odd",
        ),
        (
            "Unexpected (permanent) at stat => signing http request\n\nContext:\n"
            "   called: reqsign::Sign\n   service: gcs\n   path: x\n\n"
            "Source:\n   failed to load signing credential\n\nBacktrace:\n   0: x\n",
            errors.StorageError,
            "no credentials: failed to load signing credential",
        ),
        (
            "ConfigInvalid (permanent) at Builder::build => user:SIGNED@ no://user:SIGNED@host\n",
            errors.ConfigInvalid,
            "user:SIGNED@ no://host",
        ),
    ],
)
def test_an_error_is_explained_in_one_line(
    text: str, kind: type[errors.StorageError], reason: str
) -> None:
    assert explained(_ToldError(text)) == (kind, reason)


def test_every_kind_of_opendal_is_known() -> None:
    from opendal import exceptions

    kinds = {name for name in vars(exceptions) if name[0].isupper() and name != "Error"}
    assert kinds - {"Exception"} <= set(compat.KINDS)


def test_the_service_refuses_its_keys_without_telling_them() -> None:
    with pytest.raises(errors.ConfigInvalid) as caught:
        LocalBackend("s3", {"access_key_id": KEY_ID, "secret_access_key": SECRET})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None


def test_an_unknown_service_is_unsupported_or_invalid() -> None:
    with pytest.raises((errors.ConfigInvalid, errors.Unsupported)):
        LocalBackend("no-such-service", {})


def test_layers_are_added_to_the_operator() -> None:
    added: list[Any] = []

    def add(operator: Any) -> Any:
        added.append(operator)
        return operator

    LocalBackend("memory", {}, add)
    assert len(added) == 1


def test_a_name_too_long_for_the_file_system_is_one_of_our_errors(
    fs_lab: Lab, tmp_path: Path
) -> None:
    storage = fs_lab.open()
    with pytest.raises(errors.StorageError, match="lab: .*too long"):
        storage.read_into_path("x" * 256, tmp_path / "target")
