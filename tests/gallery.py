"""The messages in `docs/reference/messages.md`, made by the failing tests that the page shows.

python tests/gallery.py     runs them, and writes what they told below each
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import servers

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "messages.md"
SHOWN_ENDPOINT = "http://127.0.0.1:9000"

_BLOCK = re.compile(
    r"^```py\n(?P<code>.*?)^```\n\n```text\n(?P<told>.*?)^```$", re.MULTILINE | re.DOTALL
)
_HEAD = "from pathlib import Path\n\nimport pytest\n\n"
_FIXTURES = "opendal, results, opendal_flasher, tmp_path, monkeypatch"
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_SCRATCH = re.compile(r"(?<!\S)/\S*/(?=firmware\.img)")
_CONFTEST = """
import asyncio
import json
from pathlib import Path

import pytest

from pytest_opendal.flashing import Flasher

class Board:
    def flash(self, path):
        self.memory = bytearray(Path(path).read_bytes())
        self.memory[4096:4608] = bytes(512)

    def dump(self, path):
        Path(path).write_bytes(self.memory)

@pytest.fixture
def opendal_flasher(tmp_path):
    board = Board()
    return Flasher(lambda: board, asyncio.run, lambda error: (type(error), str(error)), tmp_path)

@pytest.fixture
def results(opendal_factory):
    return opendal_factory("results")

def pytest_runtest_logreport(report):
    if report.failed:
        with open("told.jsonl", "a") as file:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = crash.message if crash else str(report.longrepr)
            print(json.dumps([report.nodeid.rpartition("_")[2], text]), file=file)
"""


def refreshed(page: str, server: servers.S3) -> str:
    """Return the page with what its tests tell now.

    Args:
        page: text of the page.
        server: serves the storage `results`.
    """
    blocks = list(_BLOCK.finditer(page))
    told = _told([block["code"] for block in blocks], server)
    for number, block in reversed(list(enumerate(blocks))):
        text = told[number].replace(server.endpoint, SHOWN_ENDPOINT)
        text = _SCRATCH.sub("/home/me/", _TIME.sub("2026-07-01 12:00:00", text))
        page = page[: block.start("told")] + f"{text}\n" + page[block.end("told") :]
    return page


def _told(codes: list[str], server: servers.S3) -> dict[int, str]:
    """Run each code as a test, and return how it failed."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
        (directory / "test_gallery.py").write_text(_HEAD + "".join(_tests(codes)), encoding="utf-8")
        (directory / "lab.yaml").write_text(json.dumps(_lab(server)), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += ["-p", "no:hypothesispytest", "--opendal-config=lab.yaml", "--rootdir=."]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        lines = (directory / "told.jsonl").read_text(encoding="utf-8").splitlines()
    told = {int(number): text for number, text in map(json.loads, lines)}
    if told.keys() != set(range(len(codes))):
        raise AssertionError(f"each of {len(codes)} tests has to fail:\n{done.stdout}")
    return told


def _tests(codes: list[str]) -> Iterator[str]:
    for number, code in enumerate(codes):
        body = textwrap.indent(code, "    ")
        yield f"def test_{number}({_FIXTURES}):\n{body}\n\n"


def _lab(server: servers.S3) -> dict[str, object]:
    storages = {
        "sdcard": {"scheme": "fs", "kwargs": {"root": "sdcard"}, "retention": "none"},
        "results": {"scheme": "s3", "kwargs": server.kwargs, "retention": "none"},
    }
    return {"default": "sdcard", "storages": storages}


def main() -> None:
    """Write the page."""
    import servers

    with tempfile.TemporaryDirectory() as place, servers.seaweedfs(Path(place)) as server:
        PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8"), server), encoding="utf-8")


if __name__ == "__main__":
    main()
