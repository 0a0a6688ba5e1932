"""The section in the pages of pytest-html, as a real browser lays it out."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from runs import Suite

pytest.importorskip("pytest_html", reason="the environment html tries this one")

ROOT = Path(__file__).parents[1]
SUITE = """
def test_keeps(opendal):
    opendal.write_bytes("logs/<b>boot</b>.log", bytes(3000))
    opendal.write_bytes("gone", bytes(1000))
    opendal.delete("gone")

def test_removes(opendal_factory):
    opendal_factory("results").write_bytes("a/b", bytes(8000))
"""
# Runs in the page, after the scripts of pytest-html.
MEASURE = """
<script>addEventListener("load", () => {
  const section = document.querySelector(".opendal");
  const boxes = (name) => [...section.querySelectorAll(name)].map((one) => {
    const { left, right, width, height } = one.getBoundingClientRect();
    return { left, right, width, height, text: one.textContent.trim() };
  });
  const found = { window: innerWidth, tables: boxes("table"), cells: boxes("td"),
    bars: boxes("rect"), labels: boxes("svg text"), bold: section.querySelectorAll("b").length,
    scripts: section.querySelectorAll("script").length };
  const told = document.createElement("pre");
  told.id = "measured";
  told.textContent = JSON.stringify(found);
  document.body.append(told);
})</script></body>"""


def _measured(page: Path, profile: Path) -> dict[str, Any]:
    """Return what a browser sees of the section in a page."""
    browser = shutil.which("chromium")
    assert browser, "chromium is missing: apt-get install chromium"
    text = page.read_text(encoding="utf-8").replace("</body>", MEASURE)
    copy = page.with_name("measured.html")
    copy.write_text(text, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,900"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom"]
    environment = {**os.environ, "HOME": str(profile)}
    done = subprocess.run(
        [*command, copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=True,
    )
    told = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stdout[-2000:]
    found: dict[str, Any] = json.loads(unescape(told[1]))
    return found


def _run(suite: Suite, *args: str) -> Path:
    keep = suite.fs("device", retention="all")
    suite.several("lab", lab=keep, results=suite.fs("results"))
    suite.write(test_it=SUITE)
    suite.run("--html=page.html", "--self-contained-html", *args, strict=False).assert_outcomes(
        passed=2
    )
    return suite.pytester.path / "page.html"


def test_a_browser_shows_tables_and_bars(
    suite: Suite, plugin_args: tuple[str, ...], tmp_path: Path
) -> None:
    found = _measured(_run(suite, *plugin_args), tmp_path / "profile")

    texts = [cell["text"] for cell in found["cells"]]
    assert texts[:8] == ["lab", "fs", str(suite.root), "4", "1", "3", "3.9 KiB", "2.9 KiB"]
    assert "logs/<b>boot</b>.log" in texts
    assert found["bold"] == found["scripts"] == 0
    visible = [bar for bar in found["bars"] if bar["width"] > 0]
    assert [round(bar["width"]) for bar in visible[:3]] == [65, 195, 130]
    assert all(bar["height"] > 10 for bar in visible)
    labels = [label["text"] for label in found["labels"]]
    assert "4, 3 left" in labels
    widest = max(box["right"] for boxes in ("tables", "bars", "labels") for box in found[boxes])
    assert widest <= found["window"]


def test_a_run_without_storages_has_a_page_without_the_section(suite: Suite) -> None:
    suite.write(test_it="def test_it(): pass")
    suite.run("--html=page.html", "--self-contained-html", strict=False).assert_outcomes(passed=1)
    assert 'class="opendal"' not in (suite.pytester.path / "page.html").read_text(encoding="utf-8")


def test_the_result_is_settled_once(suite: Suite) -> None:
    """Also though pytest-html asks for its section before the run is finished."""
    suite.write(
        conftest="def pytest_opendal_leftovers(leftovers): print('told', len(leftovers))",
        test_it="def test_it(opendal): opendal.write_bytes('a', b'x')",
    )
    suite.lab(retention="all")
    result = suite.run("--html=page.html", "--opendal-leftovers=error", "-s", strict=False)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.stdout.str().count("told 1") == 1


def test_the_picture_in_the_documentation_can_be_taken(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    subprocess.run([sys.executable, ROOT / "docs" / "pictures" / "take.py", target], check=True)

    sizes = [
        struct.unpack(">II", path.read_bytes()[16:24])
        for path in (target, ROOT / "docs" / "pictures" / "pytest-html.png")
    ]
    assert sizes == [(1000, 1010), (1000, 1010)]
