"""Runs of pytest against exporters: in a shell of Jumpstarter's, served here, or leased."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import exporters
from runs import Suite, needs_xdist, output, section

pytest.importorskip("jumpstarter_driver_opendal", reason=exporters.NOT_INSTALLED)

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSPHRASE = "open-sesame"
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(8))
def test_write(opendal, number):
    opendal.write_bytes(f"d{number}/f", b"content" * number)
    assert opendal.stat(f"d{number}/f").content_length == 7 * number
    assert opendal.get_created_resources() == {f"d{number}", f"d{number}/f"}
"""


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Configuration of an exporter with one storage."""
    tree = {"dut": {"children": {"storage": exporters.opendal(tmp_path / "sdcard")}}}
    return exporters.exporter_file(tmp_path / "board.yaml", tree)


@pytest.fixture
def remote(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite whose storage is behind the exporter of the surrounding shell."""
    for name in [name for name in os.environ if name.startswith(("JMP_", "JUMPSTARTER_"))]:
        monkeypatch.delenv(name)
    configure(suite)
    suite.write(test_it=TESTS)
    return suite


def configure(suite: Suite, **keys: Any) -> None:
    """Put the storage of a suite behind an exporter."""
    entry = {"jumpstarter": keys, "remove_created_on_close": True}
    suite.several(None, dut=entry)


def pytest_command(suite: Suite, *args: str) -> list[str]:
    """Return the command that runs a suite."""
    named = f"--opendal-config={suite.config}"
    return [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", named, *args]


def run_in(suite: Suite, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command,
        check=False,
        cwd=suite.pytester.path,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


# -- (a) JUMPSTARTER_HOST


@needs_xdist
def test_four_workers_on_one_exporter_behind_a_passphrase(
    remote: Suite, board: Path, tmp_path: Path
) -> None:
    with exporters.jmp_run(board, PASSPHRASE) as running:
        done = run_in(remote, pytest_command(remote, "-n4"), **running.environment)
    assert "8 passed" in done.stdout, done.stdout
    assert done.returncode == 0
    assert list((tmp_path / "sdcard").iterdir()) == []
    assert PASSPHRASE not in done.stdout + done.stderr


def test_a_shell_on_tcp_keeps_the_exit_status(remote: Suite, board: Path, tmp_path: Path) -> None:
    remote.write(test_it=TESTS + "\n    assert number != 3\n")
    with exporters.exporter(board, PASSPHRASE) as running:
        to = ["--tls-grpc", running.address, "--tls-grpc-insecure", "--passphrase", PASSPHRASE]
        shell = [exporters.jmp(), "shell", *to, "--", *pytest_command(remote)]
        done = run_in(remote, shell)
    assert "1 failed, 7 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    assert list((tmp_path / "sdcard").iterdir()) == []
    assert PASSPHRASE not in done.stdout


def test_a_shell_that_leases_keeps_the_exit_status(
    remote: Suite, lab: exporters.Controller, tmp_path: Path
) -> None:
    """A storage with a selector uses the lease of the shell, and leaves it to the shell to release."""
    ways: dict[str, dict[str, str]] = {
        "here": {},
        "named": {"client": str(lab.client), "selector": "board=rpi4"},
    }
    cleaned = {name: {"jumpstarter": way, "retention": "none"} for name, way in ways.items()}
    remote.several("here", **cleaned)
    remote.write(test_it=TESTS + "\n    assert number != 3\n")
    to = ["--client-config", str(lab.client), "--selector", "board=rpi4"]
    both = ["--opendal-storage=here", "--opendal-storage=named"]
    done = run_in(remote, [exporters.jmp(), "shell", *to, "--", *pytest_command(remote, *both)])
    assert "2 failed, 14 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    assert (lab.told("create"), lab.told("delete")) == (1, 1)
    assert list((tmp_path / "board1").iterdir()) == []


def test_a_shell_over_a_unix_socket(remote: Suite, board: Path, tmp_path: Path) -> None:
    """Jumpstarter 0.9 swallows the exit status of this one; the how-to says what to do in CI."""
    shell = [exporters.jmp(), "shell", "--exporter-config", str(board), "--"]
    done = run_in(remote, [*shell, *pytest_command(remote, "--junitxml=junit.xml")])
    assert "8 passed" in done.stdout, done.stdout + done.stderr
    assert list((tmp_path / "sdcard").iterdir()) == []


# -- (b) served here


def test_a_served_exporter(remote: Suite, board: Path, plugin_args: tuple[str, ...]) -> None:
    configure(remote, exporter_config=str(board), driver="dut.storage")
    result = remote.run(*plugin_args)
    result.assert_outcomes(passed=8)
    assert section(result) == []
    result.stdout.fnmatch_lines(
        [
            "opendal: *lab.yaml, *",
            "  storage dut (jumpstarter, dut.storage of the exporter served from *board.yaml)",
        ]
    )


@pytest.mark.parametrize("args", [(), pytest.param(("-n1",), marks=needs_xdist)])
def test_what_a_later_test_removed_is_not_told_as_kept(
    remote: Suite, board: Path, args: tuple[str, ...]
) -> None:
    """The controller serves no exporter of its own to look."""
    configure(remote, exporter_config=str(board), driver="dut.storage")
    remote.write(
        test_it="""
        def test_1(opendal): opendal.write_bytes("a", b"x")
        def test_2(opendal): opendal.write_bytes("b", b"x")
        def test_3(opendal): opendal.delete("a")
        """
    )
    result = remote.run("--opendal-retention=all", *args)
    assert section(result)[1:] == ["  test_it.py::test_2", "    b  1 B  kept: retention all"]


def test_the_header_warns_of_a_driver_that_removes_too(remote: Suite, tmp_path: Path) -> None:
    entry = exporters.opendal(tmp_path / "sdcard", remove_created_on_close=True)
    file = exporters.exporter_file(tmp_path / "board.yaml", {"storage": entry})
    configure(remote, exporter_config=str(file))
    result = remote.run()
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(
        ["opendal: warning: dut: the exporter's driver has remove_created_on_close*"]
    )


def test_the_exporters_own_file_without_an_exporter(
    suite: Suite, board: Path, tmp_path: Path
) -> None:
    suite.write(test_it=TESTS)
    suite.config.write_text(board.read_text())
    suite.run().assert_outcomes(passed=8)
    assert (
        list((tmp_path / "sdcard").iterdir())
        == [tmp_path / "sdcard" / f"d{number}" for number in range(0)]
        or len(list((tmp_path / "sdcard").iterdir())) == 8
    )


def test_the_rest_is_skipped_when_no_exporter_answers(
    remote: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUMPSTARTER_HOST", str(tmp_path / "socket"))
    result = remote.run("-rs")
    result.assert_outcomes(errors=1, skipped=7)
    result.stdout.fnmatch_lines(
        [
            f"dut: connect: no exporter answers at {tmp_path}/socket: *",
            "SKIPPED*storage is broken: dut: connect: no exporter answers at *",
        ]
    )


def test_an_exporter_killed_between_tests(
    remote: Suite, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test in which it dies fails, and the rest is skipped."""
    remote.write(
        test_it="""
        import os, signal
        import pytest

        @pytest.mark.parametrize("number", range(5))
        def test_it(opendal, number):
            if number == 1:
                os.kill(int(os.environ["BOARD"]), signal.SIGKILL)
            opendal.write_bytes(f"{number}", b"x" * (20 << 20))
        """
    )
    with exporters.exporter(board) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("BOARD", str(running.process.pid))
        begun = time.monotonic()
        result = remote.run("-rs")
    result.assert_outcomes(passed=1, failed=1, skipped=3)
    assert time.monotonic() - begun < 60
    result.stdout.fnmatch_lines(
        [
            "*StorageUnavailable: dut: *the exporter broke off: *",
            "SKIPPED*storage is broken: dut: connect: no exporter answers at *",
        ]
    )


def test_without_the_extra_one_line_says_what_to_install(
    remote: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = """
import sys
sys.modules["jumpstarter"] = sys.modules["jumpstarter_driver_opendal"] = None
"""
    remote.write(conftest=blocker)
    done = run_in(remote, pytest_command(remote))
    assert 'pip install "pytest-opendal[jumpstarter]"' in done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.USAGE_ERROR


# -- (c) leases


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[exporters.Controller]:
    """A controller with two exporters, one storage on each."""
    files = [
        exporters.exporter_file(
            tmp_path / f"{name}.yaml", {"storage": exporters.opendal(tmp_path / name)}
        )
        for name in ("board1", "board2")
    ]
    with exporters.controller(tmp_path / "controller", *files) as running:
        yield running


def test_a_lease_is_taken_once_and_released(
    remote: Suite, lab: exporters.Controller, plugin_args: tuple[str, ...], tmp_path: Path
) -> None:
    configure(remote, selector="board=rpi4", client=str(lab.client), duration="10m")
    result = remote.run(*plugin_args)
    result.assert_outcomes(passed=8)
    assert section(result) == []
    assert (lab.told("create"), lab.told("delete")) == (1, 1)
    assert "create lease-0 600s" in lab.events.read_text()
    assert list((tmp_path / "board1").iterdir()) == []


@needs_xdist
def test_each_worker_may_lease_its_own(remote: Suite, lab: exporters.Controller) -> None:
    """On boards of their own, what two workers write to one path at the same time is no conflict."""
    configure(remote, selector="board=rpi4", client=str(lab.client), lease="worker")
    remote.write(
        test_it="""
        import time
        from pathlib import Path

        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_meet(opendal, number, worker_id):
            opendal.write_bytes("same", b"x")
            Path(worker_id).touch()
            while not (Path("gw0").exists() and Path("gw1").exists()):
                time.sleep(0.01)
        """
    )
    result = remote.run("-n2")
    result.assert_outcomes(passed=2)
    assert section(result) == []
    assert (lab.told("create"), lab.told("delete")) == (2, 2)
    assert {"board1", "board2"} == {
        line.split()[2] for line in lab.events.read_text().splitlines() if line.startswith("dial")
    }


@needs_xdist
def test_no_lease_is_taken_for_what_no_test_uses(remote: Suite, lab: exporters.Controller) -> None:
    entry = {"jumpstarter": {"selector": "board=rpi4", "client": str(lab.client)}}
    remote.several("here", here=remote.fs("here"), dut=entry)
    remote.run("-n2").assert_outcomes(passed=8)
    assert lab.told("create") == 0


def test_waiting_is_told_and_bounded(
    remote: Suite, lab: exporters.Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_opendal.run.TELL_SECONDS", 0.3)
    configure(remote, exporter_name="board9", client=str(lab.client), acquisition_timeout=1.2)
    result = remote.run("-rs")
    result.assert_outcomes(errors=1, skipped=7)
    result.stdout.fnmatch_lines(
        [
            "opendal: dut: waiting for a lease of the exporter board9 (* s of 1.2 s): "
            "all exporters with these labels are leased",
            "dut: connect: no lease within 1.2 s (acquisition_timeout); waited for a lease of the "
            "exporter board9*",
            "SKIPPED*no lease within 1.2 s*",
        ]
    )
    assert (lab.told("create"), lab.told("delete")) == (1, 1)


@needs_xdist
def test_workers_are_told_that_there_is_no_lease(remote: Suite, lab: exporters.Controller) -> None:
    configure(remote, selector="board=none", client=str(lab.client))
    result = remote.run("-n2")
    result.assert_outcomes(errors=2, skipped=6)
    result.stdout.fnmatch_lines(
        ["dut: connect: no lease of an exporter with board=none: *no exporter has board=none"]
    )
    assert (lab.told("create"), lab.told("delete")) == (1, 1)


def test_an_interrupt_releases_the_lease(
    remote: Suite, lab: exporters.Controller, tmp_path: Path
) -> None:
    configure(remote, selector="board=rpi4", client=str(lab.client))
    remote.write(
        test_it="""
        import time
        from pathlib import Path

        def test_it(opendal):
            opendal.write_bytes("f", b"x")
            Path("ready").touch()
            time.sleep(60)
        """
    )
    process = remote.start()
    try:
        wait_for(remote.pytester.path / "ready", process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert (lab.told("create"), lab.told("delete")) == (1, 1)
    assert list((tmp_path / "board1").iterdir()) == []


def test_an_interrupt_while_a_lease_is_made_releases_it(
    remote: Suite, lab: exporters.Controller
) -> None:
    """Its name, by which it is released, comes with the controller's answer."""
    configure(remote, selector=exporters.SLOW_SELECTOR, client=str(lab.client))
    interrupt_at_the_lease(remote, lab)
    assert (lab.told("create"), lab.told("delete")) == (1, 1)


def test_a_release_may_take_its_time(remote: Suite, lab: exporters.Controller) -> None:
    configure(remote, selector=exporters.SLOW_SELECTOR, client=str(lab.client))
    remote.run().assert_outcomes(passed=8)
    assert (lab.told("create"), lab.told("delete")) == (1, 1)


def interrupt_at_the_lease(suite: Suite, lab: exporters.Controller) -> None:
    """Run a suite, and interrupt it when the controller is asked for a lease."""
    process = suite.start()
    try:
        deadline = time.monotonic() + 60
        while lab.told("create") == 0:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED


def test_an_interrupt_ends_the_wait_for_a_lease(remote: Suite, lab: exporters.Controller) -> None:
    configure(remote, exporter_name="board9", client=str(lab.client))
    interrupt_at_the_lease(remote, lab)
    assert lab.told("delete") == 1


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


CRASHING = """
import os

def test_it(opendal):
    opendal.write_bytes("d/f", b"x")
    os.kill(os.getpid(), 9)
"""


CRASHING_EARLY = CRASHING.replace('opendal.write_bytes("d/f", b"x")', 'opendal.exists("f")')


@needs_xdist
@pytest.mark.parametrize("lease", ["run", "worker"])
def test_the_controller_cleans_up_after_a_crashed_worker(
    remote: Suite, lab: exporters.Controller, tmp_path: Path, lease: str
) -> None:
    """Through the worker's own lease, which it cannot release any more."""
    configure(remote, selector="board=rpi4", client=str(lab.client), lease=lease)
    remote.write(test_it=CRASHING)
    result = remote.run("-n1", "--max-worker-restart=0")
    result.assert_outcomes(failed=1)
    assert section(result) == []
    assert list((tmp_path / "board1").iterdir()) == [], output(result)
    assert (lab.told("create"), lab.told("delete")) == (1, 1)


@needs_xdist
def test_the_lease_of_a_worker_that_crashed_before_it_created_anything_is_released(
    remote: Suite, lab: exporters.Controller
) -> None:
    configure(remote, selector="board=rpi4", client=str(lab.client), lease="worker")
    remote.write(test_it=CRASHING_EARLY)
    result = remote.run("-n1", "--max-worker-restart=0")
    result.assert_outcomes(failed=1)
    assert section(result) == []
    assert (lab.told("create"), lab.told("delete")) == (1, 1)
    assert remote.journals == []


@pytest.mark.parametrize("lease", ["lasts", "is over"])
def test_reap_reaches_the_board_of_a_dead_run(
    remote: Suite, lab: exporters.Controller, tmp_path: Path, lease: str
) -> None:
    """Any other board would do for the selector."""
    configure(remote, selector="board=rpi4", client=str(lab.client), acquisition_timeout=30)
    remote.write(test_it=CRASHING)
    assert run_in(remote, pytest_command(remote)).returncode == -signal.SIGKILL
    assert (tmp_path / "board1" / "d" / "f").exists()
    if lease == "is over":
        end = ["delete", "leases", "--client-config", str(lab.client), "lease-0"]
        assert run_in(remote, [exporters.jmp(), *end]).returncode == 0
    command = str(Path(sys.executable).with_name("pytest-opendal"))
    journals = f"--journal-dir={remote.pytester.path}/.pytest_cache/opendal"
    done = run_in(remote, [command, "reap", journals, str(remote.config)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "board1").iterdir()) == []
    assert lab.told("create") == lab.told("delete") == (2 if lease == "is over" else 1)


@needs_xdist
def test_a_crashed_worker_among_four_on_one_exporter(
    remote: Suite, board: Path, tmp_path: Path
) -> None:
    configure(remote)
    remote.write(
        test_it=TESTS + "    if number == 3:\n        import os\n        os.kill(os.getpid(), 9)\n"
    )
    with exporters.exporter(board) as running:
        done = run_in(remote, pytest_command(remote, "-n4"), **running.environment)
    assert "1 failed, 7 passed" in done.stdout, done.stdout
    assert "opendal leftovers" not in done.stdout
    assert list((tmp_path / "sdcard").iterdir()) == []


@needs_xdist
def test_a_lab_of_a_conftest_cannot_share_a_lease(suite: Suite, lab: exporters.Controller) -> None:
    entry = {"jumpstarter": {"selector": "board=rpi4", "client": str(lab.client)}}
    suite.write(
        conftest=f"""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config():
            return {json.dumps(entry)}
        """,
        test_it=TESTS,
    )
    result = suite.run("-n2")
    assert "leases only for the configuration that --opendal-config" in output(result)
    assert lab.told("create") == 0


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("missing-alias", "there is no client configuration 'missing-alias': *does not exist"),
        ("missing.yaml", "there is no client configuration '*missing.yaml'*"),
        ("broken.yaml", "client configuration *broken.yaml: is no YAML (line 2)"),
        ("directory.yaml", "client configuration *directory.yaml: Is a directory"),
    ],
)
def test_a_client_configuration_that_cannot_be_read(remote: Suite, client: str, text: str) -> None:
    (remote.pytester.path / "broken.yaml").write_text("a: 1\nb: c: d\n", encoding="utf-8")
    (remote.pytester.path / "directory.yaml").mkdir()
    configure(remote, selector="board=rpi4", client=client)
    result = remote.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    pytest.LineMatcher(output(result).splitlines()).fnmatch_lines([f"*{text}*"])


def test_a_controller_that_is_gone(
    remote: Suite, lab: exporters.Controller, tmp_path: Path
) -> None:
    config = json.loads(lab.client.read_text())
    config["endpoint"] = "127.0.0.1:9"
    file = tmp_path / "gone.yaml"
    file.write_text(json.dumps(config))
    configure(remote, selector="board=rpi4", client=str(file))
    result = remote.run("-rs")
    result.assert_outcomes(errors=1, skipped=7)
    result.stdout.fnmatch_lines(["dut: connect: the controller at 127.0.0.1:9 gives no lease: *"])
    assert exporters.TOKEN not in output(result)


def test_a_leased_exporter_that_is_offline(remote: Suite, tmp_path: Path) -> None:
    tree = {"storage": exporters.opendal(tmp_path / "root")}
    file = exporters.exporter_file(tmp_path / "offline.yaml", tree)
    with exporters.controller(tmp_path / "controller", file) as running:
        configure(remote, exporter_name="offline", client=str(running.client))
        result = remote.run("-rs")
        result.assert_outcomes(errors=1, skipped=7)
        result.stdout.fnmatch_lines(["dut: connect: no exporter answers at offline (*"])
        assert (running.told("create"), running.told("delete")) == (1, 1)


def test_a_lease_of_another_selector_is_left_alone(
    remote: Suite, lab: exporters.Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is taken in its place is released."""
    monkeypatch.setenv("JMP_LEASE", exporters.SHELL_LEASE)
    configure(remote, selector="board=rpi4", client=str(lab.client))
    remote.run().assert_outcomes(passed=8)
    assert "delete lease-0" in lab.events.read_text()
    assert (lab.told("create"), lab.told("delete")) == (1, 1)


@needs_xdist
@pytest.mark.parametrize("written", [True, False])
def test_the_lease_of_the_shell_outlives_a_worker_that_crashed(
    remote: Suite,
    lab: exporters.Controller,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    written: bool,
) -> None:
    monkeypatch.setenv("JMP_LEASE", exporters.SHELL_LEASE)
    configure(remote, exporter_name="board1", client=str(lab.client), lease="worker")
    remote.write(test_it=CRASHING if written else CRASHING_EARLY)
    remote.run("-n1", "--max-worker-restart=0").assert_outcomes(failed=1)
    assert list((tmp_path / "board1").iterdir()) == []
    assert (lab.told("create"), lab.told("delete")) == (0, 0)


def test_a_lease_of_another_exporter_is_refused(
    remote: Suite, lab: exporters.Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests would write to a board that nobody named."""
    monkeypatch.setenv("JMP_LEASE", exporters.SHELL_LEASE)
    configure(remote, exporter_name="board2", client=str(lab.client))
    result = remote.run()
    result.assert_outcomes(errors=1, skipped=7)
    text = "of this `jmp shell` is of the exporter board1, not of board2; leave exporter_name out"
    assert text in output(result)
    assert (lab.told("create"), lab.told("delete")) == (0, 0)


def test_a_lease_of_a_shell_on_tcp_is_not_passed_on(
    remote: Suite, lab: exporters.Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`jmp shell --tls-grpc` sets JMP_LEASE=direct, which no controller knows."""
    monkeypatch.setenv("JMP_LEASE", "direct")
    configure(remote, selector="board=rpi4", client=str(lab.client))
    remote.run().assert_outcomes(passed=8)
    assert (lab.told("create"), lab.told("delete")) == (1, 1)


# -- the examples


EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(suite: Suite, tmp_path: Path) -> Suite:
    """The suite of the examples, with an exporter whose directory a test may write to."""
    for path in EXAMPLES.glob("*.*"):
        text = path.read_text(encoding="utf-8")
        here = text.replace("/srv/lab/sdcard", str(tmp_path / "sdcard"))
        (suite.pytester.path / path.name).write_text(here, encoding="utf-8")
    (suite.pytester.path / "jumpstarter.yaml").rename(suite.config)
    (tmp_path / "sdcard").mkdir()
    return suite


def test_the_example_on_the_exporter_host(example: Suite, tmp_path: Path) -> None:
    (example.pytester.path / "exporter.yaml").rename(example.config)
    result = example.run("--opendal-retention=none")
    result.assert_outcomes(passed=6, skipped=1)
    assert list((tmp_path / "sdcard").iterdir()) == []


def test_the_example_in_a_shell(example: Suite, tmp_path: Path) -> None:
    with exporters.exporter(example.pytester.path / "exporter.yaml") as running:
        done = run_in(example, pytest_command(example), **running.environment)
    assert "6 passed, 1 skipped" in done.stdout, done.stdout
    assert list((tmp_path / "sdcard").iterdir()) == []


def test_the_example_leased(
    example: Suite, plugin_args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client configuration comes from the environment, as in CI."""
    file = example.pytester.path / "exporter.yaml"
    with exporters.controller(tmp_path / "controller", file) as running:
        config = json.loads(running.client.read_text())
        for name, value in {
            "JMP_NAMESPACE": config["metadata"]["namespace"],
            "JMP_NAME": config["metadata"]["name"],
            "JMP_ENDPOINT": config["endpoint"],
            "JMP_TOKEN": config["token"],
            "JMP_TLS": json.dumps(config["tls"]),
            "JMP_DRIVERS_ALLOW": "UNSAFE",
        }.items():
            monkeypatch.setenv(name, value)
        result = example.run(*plugin_args, "--opendal-storage=leased", "--opendal-isolation=worker")
        result.assert_outcomes(passed=6, skipped=1)
        assert (running.told("create"), running.told("delete")) == (1, 1)
    assert exporters.TOKEN not in output(result)


def test_the_example_served_here(example: Suite) -> None:
    result = example.run("--opendal-storage=served")
    result.assert_outcomes(passed=6, skipped=1)
