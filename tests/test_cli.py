"""The command tells whether the storages of a configuration answer, and what they can do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pytest_opendal import jsonreport
from pytest_opendal.cli import main

import servers
from pages import ROOT

if TYPE_CHECKING:
    from click.testing import Result


@pytest.fixture(autouse=True)
def own_journals(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command's journals from the runs of other tests, which tell of all of this user's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("journals")))


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


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_limit_that_is_none_is_refused(tmp_path: Path, seconds: str) -> None:
    result = _check(tmp_path, "scheme: memory\n", f"--timeout={seconds}")
    assert result.exit_code == 2
    said = f"Error: --timeout: '{seconds}' is no number of seconds above 0; write one such as 60"
    assert result.output.splitlines()[-1] == said


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scheme: azblob\nkwargs:\n  container: c\n", ":2: kwargs.endpoint: is missing; write"),
        ("scheme: memcached\nkwargs: {}\n", ":2: kwargs.endpoint: is missing; write"),
        (
            "scheme: gcs\nkwargs:\n  root: /\n  bucket: ${env:EMPTY}\n",
            ":4: kwargs.bucket: is empty; name the bucket",
        ),
    ],
)
def test_check_says_where_a_service_lacks_what_it_needs(
    tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")
    result = _check(tmp_path, text)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {tmp_path}/lab.yaml{said}")
    assert len(result.output.splitlines()) == 1


def test_check_tries_the_storages_that_are_named(tmp_path: Path) -> None:
    text = "storages: {one: {scheme: memory}, two: {scheme: memory}}"
    result = _check(tmp_path, text, "--storage", "two", "--no-write")
    assert result.exit_code == 0
    assert "two (memory" in result.output
    assert "one (memory" not in result.output
    assert re.search(r"^  stat [\d.]+ ms \(median of 5\)$", result.output, re.MULTILINE)


def test_check_tries_a_storage_once_that_is_named_twice(tmp_path: Path) -> None:
    with servers.refused() as address:
        text = f'scheme: webdav\nkwargs: {{endpoint: "http://{address}"}}\n'
        result = _check(tmp_path, text, "-s", "default", "-s", "default")
    assert isinstance(result.exception, SystemExit)
    assert result.output.count("default: connect: connection refused") == 1


def test_check_explains_where_it_cannot_keep_its_journal(tmp_path: Path) -> None:
    place = Path(tempfile.gettempdir(), f"pytest-opendal-{os.getuid()}")
    place.touch()
    result = _check(tmp_path, "scheme: memory\n")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"Error: {place}: is not a private directory of this user; remove it, or set" in (
        result.output
    )


def test_check_refuses_a_storage_that_is_not_there(tmp_path: Path) -> None:
    result = _check(tmp_path, "storages: {one: {scheme: memory}}", "--storage", "won")
    assert result.exit_code == 1
    assert "there is no storage 'won'; did you mean 'one'?" in result.output


def test_check_leaves_nothing_behind(tmp_path: Path) -> None:
    assert _check(tmp_path, "scheme: fs\nkwargs: {root: ./root}\n").exit_code == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["lab.yaml", "root"]


def test_init_writes_a_file_that_check_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["init", "fs"])
    assert result.exit_code == 0
    assert result.output == "lab.yaml is written; fill it in, then: pytest-opendal check lab.yaml\n"
    assert CliRunner().invoke(main, ["check", "lab.yaml"]).exit_code == 0


def test_init_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("mine")
    result = CliRunner().invoke(main, ["init", "fs", "-o", str(file)])
    assert result.exit_code == 1
    assert result.output == f"Error: {file} exists and is left as it is; name another\n"
    assert file.read_text() == "mine"


def test_init_explains_where_it_cannot_write(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "lab.yaml"
    result = CliRunner().invoke(main, ["init", "fs", "-o", str(file)])
    assert result.exit_code == 1
    assert result.output == f"Error: cannot write {file}: No such file or directory\n"


def test_init_writes_a_file_whose_name_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["init", "memory", "-o", "a\udcff.yaml"])
    assert (result.exit_code, result.output[:24]) == (0, "a\\udcff.yaml is written;")
    assert CliRunner().invoke(main, ["check", "a\udcff.yaml"]).exit_code == 0


def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("scheme: fs\nkwargs: {root: 日本}\n", encoding="utf-8")
    result = CliRunner(charset="latin-1").invoke(main, ["check", str(tmp_path / "lab.yaml")])
    assert result.exit_code == 0
    assert f"default (fs, {tmp_path}/\\u65e5\\u672c): ok" in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("args", [["schema"], ["check", "lab.yaml"], ["reap", "-n"], ["--help"]])
def test_output_that_goes_nowhere_is_told_in_one_line(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "lab.yaml").write_text("scheme: fs\nkwargs: {root: root}\n")
    code = "from pytest_opendal.cli import main; main()"
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [sys.executable, "-c", code, *args],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    said = "Error: cannot write to standard output: No space left on device\n"
    assert (run.returncode, run.stderr) == (1, said)


def test_init_prints_where_it_is_asked_to() -> None:
    result = CliRunner().invoke(main, ["init", "memory", "-o", "-"])
    assert "\nscheme: memory\n" in result.output


def test_init_refuses_a_service_that_is_not_there() -> None:
    result = CliRunner().invoke(main, ["init", "webdv"])
    assert result.exit_code == 2
    assert "did you mean 'webdav'?" in result.output


@pytest.mark.parametrize(
    ("words", "expected"),
    [("init web", "plain,webdav"), ("ch", "plain,check"), ("init ju", "plain,jumpstarter")],
)
def test_the_shell_completes_commands_and_schemes(words: str, expected: str) -> None:
    environment = {
        "_PYTEST_OPENDAL_COMPLETE": "bash_complete",
        "COMP_WORDS": f"pytest-opendal {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    result = CliRunner().invoke(main, prog_name="pytest-opendal", env=environment)
    assert expected in result.output.splitlines()


def test_every_command_explains_itself_with_examples() -> None:
    for name in main.commands:
        result = CliRunner().invoke(main, [name, "--help"])
        assert "Example" in result.output
        assert f"pytest-opendal {name} " in result.output.partition("Example")[2]


def test_every_command_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "command.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"(`{name}`)" in page


def test_schema_describes_the_configuration_for_editors() -> None:
    result = CliRunner().invoke(main, ["schema"])
    assert result.exit_code == 0
    assert "storages" in json.dumps(json.loads(result.output))


def test_schema_describes_the_report_too() -> None:
    result = CliRunner().invoke(main, ["schema", "--report"])
    assert json.loads(result.output) == json.loads(jsonreport.schema())
