"""The suites in ``examples/`` pass as the README says, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import opendal
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import servers

EXAMPLES = Path(__file__).parents[1] / "examples"

without_xdist = pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not there")
serial_and_parallel = pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="serial"),
        pytest.param(["-n", "2"], id="xdist", marks=without_xdist),
    ],
)


def _run(
    tmp_path: Path, options: Sequence[str], environment: Mapping[str, str] | None = None
) -> str:
    """Run the examples, which fail if anything is left; return what pytest printed."""
    command = [sys.executable, "-m", "pytest", str(EXAMPLES), "--opendal-leftovers=error"]
    command += ["-o", f"cache_dir={tmp_path / 'cache'}", f"--basetemp={tmp_path / 'temp'}"]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "OPENDAL_"))
    }
    result = subprocess.run(
        [*command, *options],
        cwd=EXAMPLES.parent,
        env={**inherited, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "opendal leftovers" not in result.stdout
    return result.stdout


@serial_and_parallel
def test_on_the_embedded_storage(tmp_path: Path, options: list[str]) -> None:
    output = _run(tmp_path, options)

    assert "6 passed, 1 skipped" in output
    assert "storage 'default' lacks presign_read" in output


@serial_and_parallel
def test_on_s3(tmp_path: Path, seaweedfs: servers.SeaweedFS, options: list[str]) -> None:
    config = f"--opendal-config={EXAMPLES / 's3.yaml'}"
    before = _content(seaweedfs)
    output = _run(tmp_path, [*options, config], seaweedfs.environment)

    assert "7 passed" in output
    assert _content(seaweedfs) == before


def test_on_several_storages(tmp_path: Path, seaweedfs: servers.SeaweedFS) -> None:
    """Serial, because two workers on the literal paths of one SD card would meet."""
    sdcard = tmp_path / "sdcard"
    (sdcard / "images").mkdir(parents=True)
    (sdcard / "images" / "current.img").write_bytes(b"what the board runs")

    before = _content(seaweedfs)
    output = _run(
        tmp_path,
        [f"--opendal-config={EXAMPLES / 'lab.yaml'}"],
        {**seaweedfs.environment, "LAB_SDCARD": str(sdcard)},
    )

    assert "storage sdcard (fs, " in output
    assert "and 1 other" in output
    assert _content(seaweedfs) == before
    files = {path: path.read_bytes() for path in sdcard.rglob("*") if path.is_file()}
    assert files == {sdcard / "images" / "current.img": b"what the board runs"}


def _content(server: servers.S3) -> list[str]:
    """Return what a stranger to the plugin finds in the bucket."""
    operator = opendal.Operator("s3", **server.kwargs)
    return [entry.path for entry in operator.scan("/") if entry.path != "/"]
