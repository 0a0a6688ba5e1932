"""What the how-tos for exporters say is so: their commands and suites run against real ones."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import exporters
import servers
from pages import ROOT, blocks, write_modules

pytest.importorskip("jumpstarter_driver_opendal", reason=exporters.NOT_INSTALLED)

if TYPE_CHECKING:
    from collections.abc import Callable

    from runs import Suite

HOW_TO = ROOT / "docs" / "how-to"


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the variables of a shell of Jumpstarter's, and no others of them."""

    def set_only(**variables: str) -> None:
        for name in [name for name in os.environ if name.startswith(("JMP_", "JUMPSTARTER_"))]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_only


def test_the_script_for_ci_keeps_the_exit_status_and_ends_its_exporter(
    suite: Suite, only: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = HOW_TO / "jmp-shell.md"
    (script,), (lab,) = blocks(page, "bash"), blocks(page, "yaml")
    suite.config.write_text(lab)
    suite.write(test_it="def test_it(opendal):\n    opendal.write_bytes('f', b'x')\n    assert 0\n")
    tree = {"dut": {"children": {"storage": exporters.opendal(tmp_path / "root")}}}
    exporters.exporter_file(suite.pytester.path / "exporter.yaml", tree)
    only(LAB_PASSPHRASE="open sesame")
    monkeypatch.setenv("PATH", f"{Path(exporters.jmp()).parent}:{os.environ['PATH']}")
    with servers.reserved_ports(1) as (port,):
        command = script.replace("8990", str(port)).replace("pytest", f"{sys.executable} -m pytest")
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            cwd=suite.pytester.path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
        assert "1 failed" in done.stdout
        wait_until_closed(port)
    assert list((tmp_path / "root").iterdir()) == []


def wait_until_closed(port: int) -> None:
    """Wait until nobody listens any more."""
    deadline = time.monotonic() + exporters.STOP_SECONDS
    with suppress(ConnectionRefusedError):
        while time.monotonic() < deadline:
            socket.create_connection((exporters.HOST, port)).close()
            time.sleep(servers.POLL_SECONDS)
        pytest.fail("the exporter of the script still runs")


@pytest.mark.parametrize("flasher", ["Flasher", "Forgetful"])
def test_the_suite_that_flashes(
    suite: Suite, only: Callable[..., None], tmp_path: Path, flasher: str
) -> None:
    """It passes on a good device, and tells what the page shows on a bad one."""
    page = HOW_TO / "flash.md"
    write_modules(suite.pytester.path, blocks(page, "py"))
    (lab,), (picture,) = blocks(page, "yaml"), blocks(page, "text")
    suite.config.write_text(lab)
    children = {
        "storage": exporters.opendal(tmp_path / "root"),
        "flasher": {"type": f"boards.{flasher}"},
    }
    file = exporters.exporter_file(tmp_path / "board.yaml", {"dut": {"children": children}})
    with exporters.exporter(file) as running:
        only(**running.environment)
        result = suite.run()
    if flasher == "Flasher":
        result.assert_outcomes(passed=3)
    else:
        result.assert_outcomes(failed=3)
        result.stdout.fnmatch_lines(picture.splitlines()[1:], consecutive=True)
