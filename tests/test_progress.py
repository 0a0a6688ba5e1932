"""The line about a long transfer: on a terminal only, and gone without a trace."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pyte
import pytest

from pytest_opendal.meter import Progress
from pytest_opendal.progress import Line, is_wanted, line

from runs import needs_xdist

if TYPE_CHECKING:
    from runs import Suite

MIB = 1 << 20
SHOWN = re.compile(r"\x1bD\x1b\[A\x1b7\x1b\[B\r\x1b\[K([^\x1b]*)\x1b8")
# The threshold is tried in test_meter; here each piece of a copy (64 MiB) is to be shown.
CONFTEST = """
from pytest_opendal import meter
meter.SHOWN_AFTER_SECONDS = meter._EVERY_SECONDS = 0.0
"""
TRANSFERS = """
def test_it(opendal, tmp_path, capfd):
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(200 << 20)
    opendal.write_from_path("images/rootfs.ext4", source)
    print("a line that is captured")
    opendal.read_into_path("images/rootfs.ext4", tmp_path / "back")
    opendal.assert_hash("images/rootfs.ext4", source)
    assert capfd.readouterr() == ("a line that is captured\\n", "")
"""


def shown(moved: int, total: int | None, seconds: float, room: int = 79) -> str:
    return line(Progress("sdcard: write images/rootfs.ext4", moved, total, seconds), room)


def test_it_tells_share_size_rate_and_time_left() -> None:
    assert shown(512 * MIB, 2048 * MIB, 4.0) == (
        "sdcard: write images/rootfs.ext4   25% of 2.0 GiB  128.0 MiB/s  0:12 left"
    )


def test_without_a_size_it_tells_what_was_moved() -> None:
    assert shown(512 * MIB, None, 4.0) == (
        "sdcard: write images/rootfs.ext4  512.0 MiB  128.0 MiB/s"
    )


def test_a_file_that_grew_is_never_more_than_whole() -> None:
    assert "100% of 1.0 MiB" in shown(2 * MIB, MIB, 1.0)
    assert shown(2 * MIB, MIB, 1.0).endswith("0:00 left")


@pytest.mark.parametrize("room", [79, 59, 20])
def test_it_fits_into_one_line(room: int) -> None:
    assert len(shown(512 * MIB, 2048 * MIB, 4.0, room)) <= room


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {}, {"TERM": "xterm", "CI": "true"}])
def test_no_terminal_of_a_person_wants_none(environ: dict[str, str]) -> None:
    master, slave = pty.openpty()
    try:
        assert not is_wanted(slave, environ)
        assert is_wanted(slave, {"TERM": "xterm"})
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(("columns", "room"), [(40, 39), (0, 79)])
def test_it_fits_into_the_terminal_that_it_is_written_to(columns: int, room: int) -> None:
    progress = Progress("sdcard: write images/" + "x" * 80, 512 * MIB, 2048 * MIB, 4.0)
    master, slave = pty.openpty()
    try:
        termios.tcsetwinsize(slave, (24, columns))
        Line(slave).show(progress)
        (text,) = SHOWN.findall(os.read(master, 65536).decode())
    finally:
        os.close(master)
        os.close(slave)
    assert len(text) == room


def _on_a_terminal(suite: Suite, *args: str, **environ: str) -> str:
    """Run the suite on a terminal of its own, and return all that was written to it."""
    suite.lab()
    suite.write(conftest=CONFTEST, test_it=TRANSFERS)
    command = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", *args]
    command += ["-p", "no:cacheprovider", f"--opendal-config={suite.config}"]
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "COLUMNS"}}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=suite.pytester.path,
        env={**kept, "TERM": "xterm", "NO_COLOR": "1", **environ},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = bytearray()
    while piece := _read(master):
        written += piece
    os.close(master)
    assert process.wait(60) == 0, written.decode()
    return written.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # nobody has the terminal open any more
        return b""


@pytest.mark.parametrize("args", [(), ("-s",), ("-v",)], ids=["plain", "s", "v"])
def test_it_is_seen_during_a_transfer_and_leaves_nothing(
    suite: Suite, args: tuple[str, ...]
) -> None:
    text = _on_a_terminal(suite, *args)

    lines = SHOWN.findall(text)
    assert any(re.match(r"lab: write images/rootfs.ext4 +32% of 200.0 MiB ", one) for one in lines)
    assert any(one.startswith("lab: read images/rootfs.ext4 ") for one in lines)
    assert lines[-1] == ""
    quiet = _on_a_terminal(suite, *args, CI="true")
    assert "\x1b7" not in quiet
    # CI makes pytest itself say a little more; what is left over is the same screen.
    assert _screen(text) == _screen(SHOWN.sub("", text))


def _screen(text: str) -> list[str]:
    """Return what a terminal of few lines shows at the end, which has scrolled."""
    screen = pyte.Screen(80, 8)
    pyte.Stream(screen).feed(text)
    return [one.rstrip() for one in screen.display]


def test_it_is_below_the_line_on_which_pytest_is() -> None:
    text = "".join(f"line {number}\r\n" for number in range(20)) + "test_it.py ..."
    before = pyte.Screen(80, 8)
    pyte.Stream(before).feed(text)
    during = pyte.Screen(80, 8)
    pyte.Stream(during).feed(f"{text}\x1bD\x1b[A\x1b7\x1b[B\r\x1b[Khalf\x1b8")

    assert [one.rstrip() for one in during.display[-2:]] == ["test_it.py ...", "half"]
    assert during.cursor.x == before.cursor.x == len("test_it.py ...")


@needs_xdist
def test_workers_write_nothing_to_the_terminal(suite: Suite) -> None:
    assert "\x1b7" not in _on_a_terminal(suite, "-n1")


def test_what_is_no_terminal_gets_nothing(suite: Suite) -> None:
    suite.lab()
    suite.write(conftest=CONFTEST, test_it=TRANSFERS)
    process = suite.start("-s", TERM="xterm")
    text, _ = process.communicate(timeout=120)
    assert "1 passed" in text
    assert "\x1b" not in text
    assert "rootfs" not in text
