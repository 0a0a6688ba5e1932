"""The command tells whether the storages of a configuration answer, and what they can do."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pytest_opendal.cli import main

import servers

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def _check(directory: Path, text: str, *options: str) -> Result:
    lab = directory / "lab.yaml"
    lab.write_text(text)
    return CliRunner().invoke(main, ["check", str(lab), *options])


def test_check_connects_and_prints_what_a_storage_can_do(tmp_path: Path) -> None:
    result = _check(tmp_path, "scheme: fs\nkwargs: {root: ./root}\n")
    assert result.exit_code == 0
    assert f"default (fs, {tmp_path}/root): ok" in result.output
    assert any(line.split() == ["rename", "yes"] for line in result.output.splitlines())
    assert "presign_read" not in result.output


def test_check_tells_which_storage_does_not_answer(tmp_path: Path) -> None:
    with servers.refused() as address:
        text = (
            "storages:\n"
            "  good: {scheme: memory}\n"
            "  bad:\n"
            "    scheme: webdav\n"
            f'    kwargs: {{endpoint: "http://{address}", password: s3cr3t}}\n'
        )
        result = _check(tmp_path, text, "--timeout", "5")
    assert result.exit_code == 1
    assert re.search(r"^good \(memory, .*\): ok$", result.output, re.MULTILINE)
    assert "bad: connect: connection refused" in result.output
    assert "s3cr3t" not in result.output


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("scheme: fss\nkwargs: {root: x}\n", "did you mean 'fs'")],
)
def test_check_explains_a_mistake_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    result = _check(tmp_path, text)
    assert result.exit_code == 1
    assert words in result.output
    assert len(result.output.splitlines()) == 1


def test_schema_describes_the_configuration_for_editors() -> None:
    result = CliRunner().invoke(main, ["schema"])
    assert result.exit_code == 0
    assert "storages" in json.dumps(json.loads(result.output))
