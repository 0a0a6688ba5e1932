"""One table of options, and which of command line, environment and ini file counts."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.options import TABLE, Options, Sources, resolve

Given = Mapping[str, Any]
SWITCHES = ["details", "reap"]


def _resolve(
    option: Given | None = None, ini: Given | None = None, environ: dict[str, str] | None = None
) -> Options:
    return resolve(
        Sources(
            option=(option or {}).get,
            ini=(ini or {}).get,
            environ=environ or {},
            invocation_dir=Path("/here"),
            ini_dir=Path("/project"),
        )
    )


def _error(
    option: Given | None = None, ini: Given | None = None, environ: dict[str, str] | None = None
) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        _resolve(option, ini, environ)
    return str(caught.value)


def test_with_nothing_given_the_configuration_decides() -> None:
    assert _resolve() == Options()
    options = Options()
    assert (options.leftovers, options.storages, options.details) == ("report", (), False)
    assert (options.config, options.retention, options.isolation, options.timeout) == (None,) * 4


def test_each_option_has_its_place_in_the_record() -> None:
    given = {option.name.replace("storage", "storages") for option in TABLE}
    assert given == {field.name for field in fields(Options)}


def test_the_flags_are_those_of_the_documentation() -> None:
    assert [option.flag for option in TABLE if not option.ini_only] == [
        "--opendal-config",
        "--opendal-storage",
        "--opendal-retention",
        "--opendal-isolation",
        "--opendal-leftovers",
        "--opendal-report",
        "--opendal-timeout",
        "--opendal-reap",
        "--opendal-details",
    ]
    assert [(option.ini, option.ini_only) for option in TABLE][-1] == ("opendal_journal_dir", True)


def test_only_the_configuration_has_an_environment_variable() -> None:
    variables = {option.name: option.environment for option in TABLE if option.environment}
    assert variables == {"config": "OPENDAL_CONFIG"}


def test_the_arguments_are_what_argparse_takes_and_not_given_is_none() -> None:
    parser = argparse.ArgumentParser(prog="pytest")
    for option in TABLE:
        if not option.ini_only:
            parser.add_argument(option.flag, **option.arguments())
    assert set(vars(parser.parse_args([])).values()) == {None}
    words = ["--opendal-storage=a", "--opendal-storage", "b", "--opendal-details"]
    given = vars(parser.parse_args(words))
    assert (given["opendal_storage"], given["opendal_details"]) == (["a", "b"], True)
    assert "--opendal-retention {none,failed,all}" in parser.format_help()


def test_every_option_says_in_its_help_which_ini_key_it_has() -> None:
    described = {option.ini: option.arguments()["help"] for option in TABLE}
    assert [ini for ini, text in described.items() if f"(ini: {ini}" not in text] == []
    assert described["opendal_config"].endswith("environment: OPENDAL_CONFIG)")


def test_the_types_of_the_ini_keys_are_pytests() -> None:
    types = {option.name: option.ini_type for option in TABLE}
    assert types.pop("storage") == "args"
    assert [types.pop(name) for name in SWITCHES] == ["bool"] * len(SWITCHES)
    assert set(types.values()) == {"string"}


def test_the_command_line_counts_more_than_the_environment_and_that_more_than_the_ini_file() -> (
    None
):
    everything: dict[str, Any] = {
        "option": {"opendal_config": "a.yaml"},
        "environ": {"OPENDAL_CONFIG": "b.yaml"},
        "ini": {"opendal_config": "c.yaml"},
    }
    assert _resolve(**everything).config == Path("/here/a.yaml")
    del everything["option"]
    assert _resolve(**everything).config == Path("/here/b.yaml")
    del everything["environ"]
    assert _resolve(**everything).config == Path("/project/c.yaml")


def test_an_empty_variable_or_ini_value_is_as_good_as_none() -> None:
    ini = {"opendal_config": "", "opendal_storage": [], "opendal_details": False}
    assert _resolve({}, ini, {"OPENDAL_CONFIG": ""}) == Options()


def test_absolute_paths_and_the_home_directory_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/lab")
    options = _resolve({"opendal_report": "/srv/r.json"}, {"opendal_journal_dir": "~/journals"})
    assert options.report == Path("/srv/r.json")
    assert options.journal_dir == Path("/home/lab/journals")


def test_storages_keep_their_order_and_come_once_each() -> None:
    assert _resolve({"opendal_storage": ["b", "a", "b"]}).storages == ("b", "a")
    assert _resolve({}, {"opendal_storage": ["a", "b"]}).storages == ("a", "b")


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_on_when_the_command_line_or_the_ini_file_says_so(name: str) -> None:
    assert getattr(_resolve({f"opendal_{name}": True}), name) is True
    assert getattr(_resolve({}, {f"opendal_{name}": True}), name) is True
    assert getattr(_resolve({}, {f"opendal_{name}": False}), name) is False


def test_values_are_read_from_the_ini_file_as_from_the_command_line() -> None:
    values = {
        "opendal_retention": "failed",
        "opendal_isolation": "test",
        "opendal_leftovers": "error",
        "opendal_timeout": "1.5",
    }
    assert _resolve(values) == _resolve({}, values)
    assert _resolve(values) == Options(
        retention="failed", isolation="test", leftovers="error", timeout=1.5
    )


@pytest.mark.parametrize(
    ("option", "ini", "message"),
    [
        (
            {"opendal_retention": "fialed"},
            {},
            "--opendal-retention: 'fialed' is not allowed; did you mean 'failed'?",
        ),
        (
            {},
            {"opendal_isolation": "x"},
            "ini key opendal_isolation: 'x' is not allowed; known are none, test, worker",
        ),
        (
            {"opendal_timeout": "0"},
            {},
            "--opendal-timeout: '0' is no number of seconds above 0; write one such as 60",
        ),
        (
            {},
            {"opendal_timeout": "inf"},
            "ini key opendal_timeout: 'inf' is no number of seconds above 0; write one such as 60",
        ),
        (
            {"opendal_timeout": "1m"},
            {},
            "--opendal-timeout: '1m' is no number of seconds above 0; write one such as 60",
        ),
        (
            {"opendal_config": ""},
            {},
            "--opendal-config: is empty; give a value or leave the option out",
        ),
        (
            {"opendal_storage": ["a", ""]},
            {},
            "--opendal-storage: holds an empty name; write the name of a storage",
        ),
    ],
)
def test_a_wrong_value_names_the_option_or_the_ini_key(
    option: dict[str, Any], ini: dict[str, Any], message: str
) -> None:
    assert _error(option, ini) == message


def test_the_record_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Options().details = True  # type: ignore[misc]


def test_the_table_costs_a_run_nothing_that_it_does_not_have_anyway() -> None:
    code = (
        "import sys\n"
        "import pytest_opendal.options\n"
        "heavy = {'pytest', 'pydantic', 'yaml', 'opendal', 'asyncio', 'jumpstarter', 'difflib'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
