"""A storage behind an exporter: finding it, using it, and what of the driver's defects stays outside.

What all storages have in common is in `test_contract.py`, where exporters have columns of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
import uuid
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import AsyncStorage, errors
from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process
from pytest_opendal.report import Reason
from pytest_opendal.run import BrokenStorage, Run

import exporters

pytest.importorskip("jumpstarter_driver_opendal", reason=exporters.NOT_INSTALLED)

from pytest_opendal.backends.jumpstarter import JumpstarterBackend

import boards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pytest_opendal.storage import Storage

OPENDAL_CLIENT = "jumpstarter_driver_opendal.client.OpendalClient"


class Bench:
    """The storages of one process, with exporters that a test describes."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.root = tmp / "root"
        self.run = Run(Process.new(), tmp / "journals")

    def serve(self, **export: Any) -> dict[str, str]:
        """Return ``jumpstarter`` keys for an export tree that is served in this process."""
        tree = export or {"storage": exporters.opendal(self.root) | {"type": "boards.Watched"}}
        return {"exporter_config": str(exporters.exporter_file(self.tmp / "board.yaml", tree))}

    def settings(self, name: str = "dut", **keys: Any) -> Any:
        """Return the settings of a storage with these ``jumpstarter`` keys."""
        timeout = keys.pop("timeout", 20)
        entry = {"jumpstarter": keys, "remove_created_on_close": True, "timeout": timeout}
        lab = from_mapping({"storages": {name: entry}}, source="lab", base=self.tmp, environ={})
        return lab.storage(name)

    def open(self, **keys: Any) -> Storage:
        """Open a storage."""
        return self.run.open(self.settings(**keys), "test_it.py::test_it").storage

    def refusal(self, kind: type[errors.StorageError], **keys: Any) -> str:
        """Return the one line with which a storage cannot be opened."""
        with pytest.raises(kind) as caught:
            self.open(**keys)
        text = str(caught.value)
        assert "\n" not in text
        return text

    @property
    def driver(self) -> boards.Watched:
        """The driver that is served here."""
        return boards.Watched.made[-1]

    def open_handles(self) -> int:
        """Return how many files the driver has open."""
        count: int = self.run.loop.run(self.driver.open_handles())
        return count


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A process with no storage open yet."""
    made = Bench(tmp_path)
    yield made
    made.run.close()


@pytest.fixture
def remote(bench: Bench) -> Storage:
    """A directory behind an exporter that is served in this process."""
    return bench.open(**bench.serve())


# -- finding the driver


def test_the_only_driver_needs_no_name(bench: Bench) -> None:
    tree = {"dut": {"children": {"storage": exporters.opendal(bench.root)}}, "power": POWER}
    bench.open(**bench.serve(**tree)).write_bytes("f", b"x")
    assert (bench.root / "f").read_bytes() == b"x"


POWER = {"type": "boards.Power"}
UNKNOWN = {"type": "boards.Unknown"}


def test_a_dotted_path_names_a_driver(bench: Bench, tmp_path: Path) -> None:
    tree = {
        "dut": {"children": {"a": exporters.opendal(bench.root)}},
        "b": exporters.opendal(tmp_path / "other"),
    }
    bench.open(**bench.serve(**tree), driver="dut.a").write_bytes("f", b"x")
    assert (bench.root / "f").exists()


def test_references_count_once(bench: Bench) -> None:
    tree = {"storage": exporters.opendal(bench.root), "again": {"ref": "storage"}}
    storage = bench.open(**bench.serve(**tree))
    storage.write_bytes("f", b"x")
    again = bench.open(**bench.serve(**tree), driver="again")
    assert again.read_bytes("f") == b"x"


@pytest.mark.parametrize(
    ("tree", "driver", "text"),
    [
        (
            {"a": "storage", "b": "storage"},
            None,
            "the exporter has 2 OpenDAL drivers (a, b); name one with `driver:`",
        ),
        ({"power": POWER}, None, "the exporter has no OpenDAL driver; it has power (DriverClient)"),
        (
            {"a": "storage", "power": POWER},
            "power",
            "driver 'power' is no OpenDAL driver, but DriverClient; it has a (OpendalClient), power",
        ),
        (
            {"a": "storage", "box": {"children": {"x": UNKNOWN}}},
            "b",
            "no driver 'b'; it has a (OpendalClient), box.x (BoardClient, not installed)",
        ),
        (
            {"x": UNKNOWN},
            "x",
            "driver 'x' needs board_not_installed.client.BoardClient, which is not installed here",
        ),
    ],
)
def test_what_is_no_driver_lists_what_there_is(
    bench: Bench, tree: Mapping[str, Any], driver: str | None, text: str
) -> None:
    export = {
        name: exporters.opendal(bench.root) if entry == "storage" else entry
        for name, entry in tree.items()
    }
    keys = {} if driver is None else {"driver": driver}
    assert text in bench.refusal(errors.ConfigInvalid, **bench.serve(**export), **keys)


def test_storages_of_one_exporter_share_it(bench: Bench, tmp_path: Path) -> None:
    watched = exporters.opendal(bench.root) | {"type": "boards.Watched"}
    tree = {"a": watched, "b": exporters.opendal(tmp_path / "b")}
    before = len(boards.Watched.made)
    bench.open(name="a", **bench.serve(**tree), driver="a")
    bench.open(name="b", **bench.serve(**tree), driver="b")
    assert len(boards.Watched.made) == before + 1


# -- reaching the exporter


def test_without_a_shell_the_message_names_the_ways(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUMPSTARTER_HOST", raising=False)
    text = bench.refusal(errors.StorageUnavailable)
    assert "JUMPSTARTER_HOST is not set; run pytest inside `jmp shell`, or add selector" in text
    with pytest.raises(BrokenStorage, match="JUMPSTARTER_HOST is not set"):
        bench.open()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("", "Input should be a valid dictionary"),
        ("{", "is no YAML (line 1)"),
        ("kind: Other\nmetadata: {name: x, namespace: y}", "kind: Input should be"),
        (
            "metadata: {name: x, namespace: y}\nexport: {a: {type: no.such.driver.Driver}}",
            "Driver 'no.such.driver.Driver' is not installed",
        ),
        (
            "metadata: {name: x, namespace: y}\n"
            f"export: {{a: {{type: {exporters.OPENDAL}, config: {{scheme: nope, kwargs: {{}}}}}}}}",
            "scheme is not enabled or supported",
        ),
        (
            "metadata: {name: x, namespace: y}\n"
            f"export: {{a: {{type: {exporters.OPENDAL}, config: {{schema: fs}}}}}}",
            "schema",
        ),
    ],
)
def test_an_exporter_configuration_with_a_mistake(bench: Bench, config: str, text: str) -> None:
    file = bench.tmp / "exporter.yaml"
    file.write_text(config)
    message = bench.refusal(errors.ConfigInvalid, exporter_config=str(file))
    assert message.startswith(f"dut: connect: exporter configuration {file}: ")
    assert text in message


def test_a_missing_exporter_configuration(bench: Bench) -> None:
    text = bench.refusal(errors.ConfigInvalid, exporter_config="missing.yaml")
    assert "missing.yaml: there is no such file" in text


def test_a_mistake_in_an_exporter_configuration_tells_no_secret(bench: Bench) -> None:
    kwargs = {"bucket": "b", "secret_access_key": "very-secret"}
    wrong = {"type": exporters.OPENDAL, "config": {"scheme": "s3", "kwargs": kwargs, "extra": 1}}
    text = bench.refusal(errors.ConfigInvalid, **bench.serve(a=wrong))
    assert "very-secret" not in text


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what a ``jmp shell`` sets, and nothing else."""

    def set_only(**variables: str) -> None:
        for name in [name for name in os.environ if name.startswith(("JMP_", "JUMPSTARTER_"))]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_only


def test_a_dead_socket_is_told_at_once(
    bench: Bench, environment: Callable[..., None], tmp_path: Path
) -> None:
    environment(JUMPSTARTER_HOST=str(tmp_path / "socket"), JMP_DRIVERS_ALLOW="UNSAFE")
    begun = time.monotonic()
    text = bench.refusal(errors.StorageUnavailable)
    assert f"dut: connect: no exporter answers at {tmp_path}/socket" in text
    assert time.monotonic() - begun < 5


def test_a_silent_address_costs_one_timeout(bench: Bench, environment: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        environment(JUMPSTARTER_HOST=address, JMP_DRIVERS_ALLOW="UNSAFE", JMP_GRPC_INSECURE="1")
        begun = time.monotonic()
        text = bench.refusal(errors.StorageTimeout, timeout=0.5)
        assert "no answer within 0.5 s" in text
        assert time.monotonic() - begun < 5


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[exporters.Exporter]:
    """An exporter of its own process, behind a passphrase."""
    tmp = tmp_path_factory.mktemp("board")
    tree = {"dut": {"children": {"storage": exporters.opendal(tmp / "root")}}}
    with exporters.exporter(
        exporters.exporter_file(tmp / "board.yaml", tree), "open sesame"
    ) as one:
        yield one


def test_a_wrong_passphrase(
    bench: Bench, environment: Callable[..., None], board: exporters.Exporter
) -> None:
    environment(**board.environment | {"JMP_GRPC_PASSPHRASE": "wrong-passphrase"})
    text = bench.refusal(errors.StorageUnavailable)
    assert "refuses the passphrase; it is taken from JMP_GRPC_PASSPHRASE" in text
    assert "wrong-passphrase" not in text


@pytest.mark.parametrize("allow", [None, "other_*,jumpstarter_driver_power.*"])
def test_drivers_that_are_not_allowed(
    bench: Bench,
    environment: Callable[..., None],
    board: exporters.Exporter,
    allow: str | None,
) -> None:
    rest = {name: value for name, value in board.environment.items() if name != "JMP_DRIVERS_ALLOW"}
    environment(**rest, **({} if allow is None else {"JMP_DRIVERS_ALLOW": allow}))
    text = bench.refusal(errors.ConfigInvalid)
    assert f"driver 'dut.storage' needs {OPENDAL_CLIENT}" in text
    assert "which JMP_DRIVERS_ALLOW does not allow; add jumpstarter_driver_opendal.* to it" in text


def test_an_allowed_driver_among_others_that_are_not(
    bench: Bench, environment: Callable[..., None], board: exporters.Exporter
) -> None:
    environment(**board.environment | {"JMP_DRIVERS_ALLOW": "jumpstarter_driver_opendal.*"})
    storage = bench.open()
    storage.write_bytes("f", b"x")
    assert storage.read_bytes("f") == b"x"
    storage.delete("f")


# -- the defects of the driver


def test_handles_are_closed(bench: Bench, remote: Storage, tmp_path: Path) -> None:
    (tmp_path / "src").write_bytes(b"x" * 100_000)
    for number in range(1000):
        remote.write_bytes(f"{number % 9}", b"x")
    for number in range(9):
        remote.read_bytes(f"{number}", offset=1)
        with remote.open(f"{number}", "wb") as file:
            file.write(b"more")
        with remote.open(f"{number}") as file:
            file.read(2)
            file.seek(0)
        remote.write_from_path("from", tmp_path / "src")
        remote.read_into_path("from", tmp_path / "dst")
    for _ in range(5):
        with pytest.raises(errors.NotFound):
            remote.read_bytes("missing")
        with pytest.raises(errors.IsADirectory):
            remote.write_bytes("dir/", b"x")
    assert len(bench.driver._fds) > 1000
    assert bench.open_handles() == 0


def test_an_exporter_that_gives_up_ends_the_upload(
    bench: Bench, remote: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.write_bytes("f", b"before")

    async def full(self: Any, fd: Any, src: Any) -> None:
        async with self.resource(src) as there:
            await there.receive()
            raise OSError(28, "No space left on device (os error 28)")

    (tmp_path / "src").write_bytes(bytes(20 << 20))
    monkeypatch.setattr(boards.Watched, "file_write", exported(full))
    with pytest.raises(errors.StorageError, match="no space left on device"):
        remote.write_from_path("f", tmp_path / "src")
    assert sorted(path.name for path in bench.root.iterdir()) == ["f"]
    assert remote.read_bytes("f") == b"before"
    assert bench.open_handles() == 0


def exported(method: Any) -> Any:
    """Return a method that a driver exports."""
    from jumpstarter.driver import export

    return export(method)


def test_a_stream_that_breaks_off_here_publishes_nothing(bench: Bench, remote: Storage) -> None:
    remote.write_bytes("f", b"before")

    class Breaking:
        async def open(self, path: str, mode: str) -> Any:
            return self

        async def read(self, size: int) -> bytes:
            if getattr(self, "sent", 0) > 3:
                raise RuntimeError("the source broke off")
            self.sent = getattr(self, "sent", 0) + 1
            return bytes(3 << 20)

        async def close(self) -> None:
            pass

    with pytest.raises(Exception, match="the source broke off"):
        remote.write_from_path("f", "x", operator=Breaking())
    assert sorted(path.name for path in bench.root.iterdir()) == ["f"]
    assert remote.read_bytes("f") == b"before"
    assert bench.open_handles() == 0


def test_silence_during_an_upload_costs_one_timeout(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = bench.open(**bench.serve(), timeout=1)
    (tmp_path / "src").write_bytes(bytes(20 << 20))

    async def silent(self: Any, fd: Any, src: Any) -> None:
        import anyio

        await anyio.sleep_forever()

    monkeypatch.setattr(boards.Watched, "file_write", exported(silent))
    begun = time.monotonic()
    with pytest.raises(errors.StorageTimeout, match="no answer within 1 s"):
        storage.write_from_path("f", tmp_path / "src")
    assert time.monotonic() - begun < 5
    assert bench.open_handles() == 0


def test_a_missing_local_source_does_not_truncate(remote: Storage, tmp_path: Path) -> None:
    remote.write_bytes("f", b"before")
    with pytest.raises(errors.NotFound, match="nothing was written"):
        remote.write_from_path("f", tmp_path / "missing")
    assert remote.read_bytes("f") == b"before"


def test_the_path_operated_on_is_the_path_tracked(bench: Bench, remote: Storage) -> None:
    remote.write_bytes("./a\\b//f", b"x")
    assert (bench.root / "a" / "b" / "f").read_bytes() == b"x"
    assert remote.get_created_resources() == {"a", "a/b", "a/b/f"}
    for escape in ("../f", "a/../../f", "..\\f"):
        with pytest.raises(errors.PathEscape):
            remote.write_bytes(escape, b"x")
    assert not (bench.tmp / "f").exists()


def test_nothing_is_printed_or_logged(
    remote: Storage,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    (tmp_path / "src").write_bytes(bytes(3 << 20))
    remote.write_from_path("f", tmp_path / "src")
    remote.read_into_path("f", tmp_path / "dst")
    remote.write_bytes("g", b"x")
    assert remote.read_bytes("g") == b"x"
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert os.environ["TERM"] == "xterm"


def test_the_end_of_a_served_exporter_is_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made = Bench(tmp_path)
    storage = made.open(**made.serve())
    storage.write_bytes("f", b"x")
    with storage.open("f") as file:
        file.read(1)
    made.run.close()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_what_upstream_loops_complain_about_is_not_logged(
    bench: Bench, remote: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """A callback of anyio's, and what is no such thing and is told."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        given_up = loop.create_future()
        given_up.cancel()
        loop.call_soon(given_up.set_result, None)
        loop.call_soon(int, "a mistake")
        await asyncio.sleep(0)

    remote.exists("f")
    bench.run.loop.run(both())
    [record] = caplog.records
    assert "a mistake" in record.getMessage()


def test_the_digests_that_the_exporter_knows_come_from_there(bench: Bench, remote: Storage) -> None:
    remote.write_bytes("f", b"content")
    bench.driver.calls.clear()
    for algo in ("md5", "sha256"):
        assert remote.hash("f", algo) == hashlib.new(algo, b"content").hexdigest()
    assert bench.driver.calls == ["hash", "hash"]
    assert remote.hash("f", "sha3_256") == hashlib.sha3_256(b"content").hexdigest()
    assert "file_read" in bench.driver.calls


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda storage: storage.open("f", "ab"), "cannot append"),
        (lambda storage: storage.stat("f", if_match='"x"'), "takes no if_match"),
        (lambda storage: storage.read_bytes("f", if_none_match='"x"'), "takes no if_none_match"),
        (
            lambda storage: storage.write_bytes("f", b"x", content_type="a/b"),
            "takes no content_typ",
        ),
        (lambda storage: storage.presign_delete("f", 60), "driver cannot presign delete"),
        (lambda storage: storage.presign_read("f", 60), "storage cannot presign read"),
    ],
)
def test_what_the_exporter_lacks_is_unsupported(
    bench: Bench, remote: Storage, use: Callable[[Storage], object], text: str
) -> None:
    remote.write_bytes("f", b"before")
    with pytest.raises(errors.Unsupported, match=text):
        use(remote)
    assert remote.read_bytes("f") == b"before"
    assert os.listdir(bench.root) == ["f"]


def test_a_device_is_written_to_and_never_replaced(bench: Bench, remote: Storage) -> None:
    device = bench.root / "device"
    device.symlink_to("/dev/null")
    # Written to it is; what opendal's fs cannot do is to sync this one.
    with pytest.raises(errors.StorageError, match="invalid argument"):
        remote.write_bytes("device", b"image")
    assert device.is_symlink()
    assert os.listdir(bench.root) == ["device"]


def test_seeking_back_and_forth_in_a_large_file(remote: Storage) -> None:
    content = bytes(range(256)) * 40_000
    remote.write_bytes("f", content)
    with remote.open("f", "rb") as file:
        assert file.read(10) == content[:10]
        assert file.seek(5_000_000) == 5_000_000
        assert file.read(300_000) == content[5_000_000:5_300_000]
        assert file.seek(-100, os.SEEK_END) == len(content) - 100
        assert file.read() == content[-100:]
        assert file.seek(0) == 0
        assert file.read() == content


def test_an_area_is_removed_by_one_call(bench: Bench) -> None:
    settings = bench.settings(**bench.serve()).model_copy(update={"isolation": "test"})
    held = bench.run.open(settings, "test_it.py::test_it")
    for number in range(20):
        held.storage.write_bytes(f"d{number % 3}/{number}", b"x")
    bench.driver.calls.clear()
    assert bench.run.end(held, None).leftovers == ()
    assert bench.driver.calls == ["remove_all"]
    bench.run.finish()
    assert list(bench.root.iterdir()) == []


def test_what_others_wrote_survives(bench: Bench) -> None:
    (bench.root / "theirs").mkdir(parents=True)
    (bench.root / "theirs" / "f").write_bytes(b"theirs")
    held = bench.run.open(bench.settings(**bench.serve()), "test_it.py::test_it")
    held.storage.create_dir("theirs/")
    held.storage.write_bytes("ours/f", b"x")
    (bench.root / "ours" / "log").write_bytes(b"theirs")
    note = bench.run.end(held, None)
    assert [left.path for left in note.leftovers] == ["ours"]
    found = sorted(str(p.relative_to(bench.root)) for p in bench.root.rglob("*") if p.is_file())
    assert found == ["ours/log", "theirs/f"]


def test_a_directory_that_others_write_into_just_now_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was empty when it was listed; that is no failure, so the journal need not tell of it."""
    held = bench.run.open(bench.settings(**bench.serve()), "test_it.py::test_it")
    held.storage.create_dir("ours/")

    async def late(self: Any, path: str) -> None:
        (bench.root / "ours" / "log").write_bytes(b"theirs")
        await self._operator.delete(path)

    monkeypatch.setattr(boards.Watched, "delete", exported(late))
    note = bench.run.end(held, None)
    assert [left.reason for left in note.leftovers] == [Reason.FOREIGN]
    bench.run.finish()
    bench.run.close()
    assert list((bench.tmp / "journals").iterdir()) == []


def test_importing_it_leaves_no_trace(bench: Bench) -> None:
    """A process of its own, since here it is imported long since."""
    import subprocess
    import sys

    code = (
        "import os, warnings\n"
        "before = warnings.filters[:], dict(os.environ)\n"
        "import pytest_opendal.backends.jumpstarter, pytest_opendal.backends.leases\n"
        "assert (warnings.filters[:], dict(os.environ)) == before\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=bench.tmp)
    assert warnings.filters


# -- an exporter that ends


def test_a_process_that_took_the_exporters_place_is_told_as_one(
    bench: Bench, remote: Storage
) -> None:
    """It answers, and knows none of the drivers by the ids that the other had."""
    remote.write_bytes("f", b"x")
    backend: Any = bench.run.connection(bench.settings(**bench.serve())).backend
    assert isinstance(backend, JumpstarterBackend)
    bench.run.loop.run(backend.check())
    client: Any = backend._met
    refusal = RuntimeError(f"Unexpected <class 'KeyError'>: UUID('{client.uuid}')")
    assert backend.explain(refusal)[0] is errors.StorageUnavailable
    assert backend.may_be_gone
    bench.run.loop.run(backend.check())
    assert not backend.may_be_gone
    handle = RuntimeError(f"Unexpected <class 'KeyError'>: UUID('{uuid.uuid4()}')")
    assert backend.explain(handle)[0] is errors.StorageError
    assert not backend.may_be_gone


def test_a_file_that_is_opened_when_nobody_waits_any_more_is_removed(bench: Bench) -> None:
    late = exporters.opendal(bench.root) | {"type": "boards.Late"}
    storage = bench.open(**bench.serve(storage=late))
    assert not storage.exists("f")

    async def give_up() -> None:
        async with asyncio.timeout(0.15):
            await AsyncStorage(storage).write_bytes("f", b"x")

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    time.sleep(0.6)
    assert list(bench.root.iterdir()) == []
    assert storage.get_created_resources() == set()


@contextmanager
def own_board(tmp: Path) -> Iterator[exporters.Exporter]:
    """Run an exporter that a test may kill."""
    file = exporters.exporter_file(tmp / "own.yaml", {"storage": exporters.opendal(tmp / "root")})
    with exporters.exporter(file) as one:
        yield one


def test_an_exporter_killed_during_a_transfer(
    bench: Bench, environment: Callable[..., None], tmp_path: Path
) -> None:
    with own_board(tmp_path) as board:
        environment(**board.environment)
        storage = bench.open()

        class Killing:
            """A source whose fourth piece comes when the exporter is dead."""

            read_so_far = 0

            async def open(self, path: str, mode: str) -> Any:
                return self

            async def read(self, size: int) -> bytes:
                self.read_so_far += 1
                if self.read_so_far == 4:
                    board.kill()
                return bytes(3 << 20)

            async def close(self) -> None:
                pass

        begun = time.monotonic()
        with pytest.raises(errors.StorageUnavailable, match="write 'f': the exporter broke off"):
            storage.write_from_path("f", "x", operator=Killing())
        assert time.monotonic() - begun < 15
    with pytest.raises(BrokenStorage, match="no exporter answers at"):
        bench.open()


def test_an_exporter_that_came_back_is_used_again(
    bench: Bench, environment: Callable[..., None], tmp_path: Path
) -> None:
    with own_board(tmp_path) as board:
        environment(**board.environment)
        storage = bench.open()
        storage.write_bytes("f", b"x")
        board.kill()
        with pytest.raises(errors.StorageUnavailable):
            storage.stat("f")
        with exporters.started_anew(board, tmp_path / "own.yaml"):
            assert bench.open().read_bytes("f") == b"x"
            assert storage.read_bytes("f") == b"x"
