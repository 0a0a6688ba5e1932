"""Flashing through an exporter, and the proof that the device holds the image."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

import exporters
from runs import Suite, output

pytest.importorskip("jumpstarter_driver_opendal", reason=exporters.NOT_INSTALLED)

from pytest_opendal import errors
from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process
from pytest_opendal.run import Run
from pytest_opendal.settings import JumpstarterSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_opendal.flashing import Flasher

FLASHER = {"type": "boards.Flasher"}
MUX = {"type": "boards.Mux"}
FORGETFUL = {"type": "boards.Forgetful"}


class Bench:
    """One process, with an exporter that is served in it."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.run = Run(Process.new(), tmp / "journals")

    def flasher(
        self, flasher: str | None = None, *, seconds: float | None = None, **export: Any
    ) -> Flasher:
        """Return the flasher of an export tree."""
        file = exporters.exporter_file(self.tmp / "board.yaml", export)
        keys = {"exporter_config": str(file)} | ({} if flasher is None else {"flasher": flasher})
        entry = {"storages": {"dut": {"jumpstarter": keys}}}
        lab = from_mapping(entry, source="lab", base=self.tmp, environ={})
        settings = lab.storage("dut").jumpstarter
        assert settings is not None
        return self.run.flasher(settings, self.tmp, seconds)

    def image(self, content: bytes = b"an image of some length") -> Path:
        """Write an image."""
        path = self.tmp / "disk.img"
        path.write_bytes(content)
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A process with no exporter yet."""
    made = Bench(tmp_path)
    yield made
    made.run.close()


@pytest.mark.parametrize(("entry", "target"), [(FLASHER, None), (FLASHER, "uboot"), (MUX, None)])
def test_what_was_flashed_is_on_the_device(
    bench: Bench, entry: dict[str, str], target: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    flasher = bench.flasher(flash=entry)
    flasher.assert_flashed(bench.image(os.urandom(3 << 20)), target=target)
    assert capfd.readouterr() == ("", "")
    assert not list(bench.tmp.glob("dump-*"))


def test_the_first_byte_that_differs_is_told(bench: Bench) -> None:
    flasher = bench.flasher(flash=FORGETFUL)
    with pytest.raises(AssertionError) as caught:
        flasher.assert_flashed(bench.image(b"01234567"))
    text = str(caught.value)
    assert "the device does not hold" in text
    assert text.count("sha256") == 2
    assert "offset 5" in text


def test_what_a_device_holds_behind_the_image_does_not_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    flasher = bench.flasher(flash=FLASHER)
    larger = bench.tmp / "larger.img"
    larger.write_bytes(b"0123456789")
    flash = flasher.client.flash
    monkeypatch.setattr(flasher.client, "flash", lambda _path, **given: flash(larger, **given))
    flasher.assert_flashed(bench.image(b"01234"))
    with pytest.raises(AssertionError, match="actual ends at offset 10|offset 10"):
        flasher.assert_flashed(bench.image(b"0123456789AB"))


def test_a_dump_and_the_clients_own_methods(bench: Bench) -> None:
    flasher = bench.flasher(flash=MUX)
    flasher.host()
    flasher.flash(bench.image(b"content"))
    flasher.dump(bench.tmp / "dump")
    assert (bench.tmp / "dump").read_bytes() == b"content"
    assert "StorageMuxFlasherClient" in repr(flasher)


def test_a_missing_image_flashes_nothing(bench: Bench) -> None:
    flasher = bench.flasher(flash=FLASHER)
    flasher.assert_flashed(bench.image(b"before"))
    with pytest.raises(errors.NotFound, match="nothing was flashed"):
        flasher.assert_flashed(bench.tmp / "missing.img")
    flasher.dump(bench.tmp / "dump")
    assert (bench.tmp / "dump").read_bytes() == b"before"


def test_an_error_of_the_exporter_names_what_was_done(bench: Bench) -> None:
    flasher = bench.flasher("flash", mux=MUX, flash=FLASHER)
    with pytest.raises(
        errors.StorageError, match="flasher: dump of 'nowhere' '.*': .*No such file"
    ):
        flasher.dump(bench.tmp / "dump", target="nowhere")
    mux = bench.flasher("mux", mux=MUX, flash=FLASHER)
    with pytest.raises(errors.StorageError, match="target is not supported"):
        mux.flash(bench.image(), target="uboot")


def test_several_flashers_need_a_name(bench: Bench) -> None:
    with pytest.raises(
        errors.ConfigInvalid, match=r"has 2 flashers \(a, b\); name one with `flash"
    ):
        bench.flasher(a=FLASHER, b=MUX)


def test_an_exporter_without_flasher(bench: Bench, tmp_path: Path) -> None:
    storage = exporters.opendal(tmp_path / "root")
    with pytest.raises(errors.ConfigInvalid, match=r"has no flasher; it has a \(OpendalClient\)"):
        bench.flasher(a=storage)


TESTS = """
import pytest

def test_flash(opendal_flasher, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"image")
    opendal_flasher.assert_flashed(image)
"""


def test_the_fixture(suite: Suite, plugin_args: tuple[str, ...], tmp_path: Path) -> None:
    tree = {"storage": exporters.opendal(tmp_path / "root"), "flash": FLASHER, "mux": MUX}
    file = exporters.exporter_file(tmp_path / "board.yaml", tree)
    keys = {"exporter_config": str(file), "flasher": "flash"}
    suite.several("dut", here=suite.fs("here"), dut={"jumpstarter": keys})
    named = """
@pytest.mark.parametrize("opendal_flasher", ["mux"], indirect=True)
def test_named(opendal_flasher, tmp_path):
    assert "StorageMux" in repr(opendal_flasher)

def test_both(opendal, opendal_flasher, tmp_path):
    opendal.write_bytes("f", b"x")
"""
    suite.write(test_it=TESTS + named)
    suite.run(*plugin_args).assert_outcomes(passed=3)


def test_without_an_exporter_it_says_where_one_may_be(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUMPSTARTER_HOST", raising=False)
    suite.write(test_it=TESTS)
    result = suite.run()
    result.assert_outcomes(errors=1)
    assert "opendal_flasher: JUMPSTARTER_HOST is not set" in output(result)
    assert "During handling" not in output(result)


def test_tests_without_a_flasher_go_on(
    suite: Suite, plugin_args: tuple[str, ...], tmp_path: Path
) -> None:
    file = exporters.exporter_file(
        tmp_path / "board.yaml", {"storage": exporters.opendal(tmp_path / "root")}
    )
    suite.several("dut", dut={"jumpstarter": {"exporter_config": str(file)}})
    suite.write(test_it=f"{TESTS}\ndef test_it(opendal):\n    opendal.write_bytes('f', b'x')")
    result = suite.run(*plugin_args)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["opendal_flasher: the exporter has no flasher; it has storage *"])


def test_an_exporter_that_never_gets_ready_costs_one_timeout(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `beforeLease` hook hangs."""
    monkeypatch.setattr("pytest_opendal.backends.exporters._READY", set())
    with pytest.raises(errors.StorageTimeout, match=r"^connect: no answer within 0.5 s"):
        bench.flasher(seconds=0.5, flash=FLASHER)


def test_an_exporter_that_came_back_is_flashed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A flasher of the session stays with the tests after that."""
    file = exporters.exporter_file(tmp_path / "board.yaml", {"flash": FLASHER})
    with exporters.exporter(file) as board:
        for name, value in board.environment.items():
            monkeypatch.setenv(name, value)
        flasher = bench.run.flasher(JumpstarterSettings(), tmp_path)
        flasher.assert_flashed(bench.image(b"before"))
        board.kill()
        with pytest.raises(errors.StorageUnavailable, match="flasher: flash '.*': the exporter"):
            flasher.flash(bench.image())
        with pytest.raises(errors.StorageUnavailable, match="no exporter answers at"):
            flasher.flash(bench.image())
        with exporters.started_anew(board, file):
            flasher.assert_flashed(bench.image(b"after"))
    assert repr(flasher) == "<Flasher FlasherClient>"


def test_an_exporter_that_falls_silent_while_it_flashes_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the pings of gRPC, which Jumpstarter has answered within a minute; here within a second."""
    pings = {"grpc.keepalive_time_ms": 1000, "grpc.http2.ping_timeout_ms": 1000}
    monkeypatch.setattr("pytest_opendal.backends.exporters._CHANNEL", pings)
    file = exporters.exporter_file(tmp_path / "board.yaml", {"flash": FLASHER})
    with exporters.exporter(file) as board:
        for name, value in board.environment.items():
            monkeypatch.setenv(name, value)
        flasher = bench.run.flasher(JumpstarterSettings(), tmp_path)
        board.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(errors.StorageUnavailable, match=r"flash '.*': the exporter broke off"):
            flasher.flash(bench.image(bytes(64 << 20)))
        assert time.monotonic() - begun < 30
        board.kill()
