"""Takes the picture of pytest-html's page that the documentation shows: ``take.py OUTPUT.png``.

Needs pytest-html and chromium; ``tox run -e html`` has them, and tries this script.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = """
import pytest


def test_boot_log(opendal):
    opendal.write_bytes("logs/boot.log", b"U-Boot 2026.07\\nself-test: FAILED\\n")

    opendal.assert_hash("logs/boot.log", b"U-Boot 2026.07\\nself-test: passed\\n")


@pytest.mark.parametrize("size", [1, 3])
def test_upload(opendal, size):
    opendal.write_bytes(f"images/firmware-{size}.img", bytes(size << 20))


def test_results(opendal_factory):
    results = opendal_factory("results")
    for number in range(6):
        results.write_bytes(f"runs/{number:03}.json", b"{}" * 40_000)


def test_capture(opendal_factory):
    opendal_factory("captures").write_bytes("can/bus-0.log", bytes(700_000))
"""
LAB = """
default: sdcard
storages:
  sdcard: {scheme: fs, kwargs: {root: sdcard}, retention: failed}
  results: {scheme: fs, kwargs: {root: results}, retention: all}
  captures: {scheme: fs, kwargs: {root: captures}, retention: none}
"""
SIZE = (1000, 1010)


def page(directory: Path) -> Path:
    """Run the suite in a directory, and return the page that pytest-html wrote."""
    (directory / "test_board.py").write_text(SUITE, encoding="utf-8")
    (directory / "lab.yaml").write_text(LAB, encoding="utf-8")
    options = ["--opendal-config=lab.yaml", "--html=report.html", "--self-contained-html"]
    command = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if "1 failed, 4 passed" not in done.stdout:
        raise SystemExit(done.stdout + done.stderr)
    return directory / "report.html"


def picture(html: Path, target: Path) -> None:
    """Let a browser draw a page."""
    browser = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--screenshot={target.absolute()}",
            html.absolute().as_uri(),
        ]
        environment = {**os.environ, "HOME": profile}
        subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment)


def main() -> None:
    """Take the picture."""
    with tempfile.TemporaryDirectory() as place:
        lab = Path(place) / "lab"  # its name is in the picture
        lab.mkdir()
        picture(page(lab), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
