"""What the documentation says is so: its examples run, its files load, its tables are true."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from pytest_opendal import config, options
from pytest_opendal.backends import known

import exporters
from pages import PAGES, ROOT, blocks, write_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

OLD = metadata.version("opendal").startswith("0.45.")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _pages_with(language: str) -> pytest.MarkDecorator:
    pages = [page for page in PAGES if blocks(page, language)]
    return pytest.mark.parametrize("page", pages, ids=_name)


@_pages_with("python")
def test_python_blocks_run(page: Path, pytester: pytest.Pytester) -> None:
    """Each block is a module; on the embedded storage, or on two when it names ``results``."""
    sources = blocks(page, "python")
    write_modules(pytester.path, sources)

    arguments = _two_storages(pytester) if '"results"' in "".join(sources) else []
    result = pytester.runpytest("-W", "error", "--strict-markers", *arguments)

    outcomes = result.parseoutcomes()
    assert set(outcomes) <= {"passed", "skipped"}
    assert sum(outcomes.values()) == "".join(sources).count("def test_")
    assert "opendal leftovers" not in result.stdout.str()


@exporters.needs_jumpstarter
def test_suites_for_jumpstarter_run_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Blocks of the language ``py`` use Jumpstarter's own fixture, as inside of `jmp shell`."""
    pytest.importorskip("jumpstarter_testing", reason="the environment migration tries this one")
    sources = blocks(ROOT / "docs" / "how-to" / "migrate.md", "py")
    write_modules(pytester.path, sources)
    lab = {"jumpstarter": {"driver": "dut.storage"}, "retention": "none"}
    pytester.path.joinpath("lab.yaml").write_text(json.dumps(lab), encoding="utf-8")
    composite = "jumpstarter_driver_composite.driver.Composite"
    export = {
        "dut": {"type": composite, "children": {"storage": exporters.opendal(tmp_path / "board")}},
        "power": {"type": "jumpstarter_driver_power.driver.MockPower"},
    }
    with exporters.exporter(
        exporters.exporter_file(tmp_path / "exporter.yaml", export)
    ) as exporter:
        for name, value in exporter.environment.items():
            monkeypatch.setenv(name, value)
        result = pytester.runpytest_subprocess("--opendal-config=lab.yaml")

    result.assert_outcomes(passed=len(sources))
    assert not list((tmp_path / "board").iterdir())


def _two_storages(pytester: pytest.Pytester) -> list[str]:
    storages = {
        name: {"scheme": "fs", "kwargs": {"root": name}, "retention": "none"}
        for name in ("sdcard", "results")
    }
    pytester.path.joinpath("lab.yaml").write_text(
        json.dumps({"default": "sdcard", "storages": storages}), encoding="utf-8"
    )
    return ["--opendal-config=lab.yaml"]


@_pages_with("yaml")
def test_yaml_blocks_load(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        file = tmp_path / "lab.yaml"
        file.write_text(block, encoding="utf-8")
        environment = dict.fromkeys(re.findall(r"\$\{env:(\w+)", block), "http://127.0.0.1:9")

        assert config.load(file, environment, known.check_service).storages


@_pages_with("yaml")
def test_yaml_blocks_are_what_the_schema_for_editors_says(page: Path) -> None:
    for block in blocks(page, "yaml"):
        jsonschema.validate(yaml.safe_load(block), config.json_schema())


@_pages_with("toml")
def test_toml_blocks_hold_known_keys(page: Path) -> None:
    keys = {option.ini for option in options.TABLE}
    for block in blocks(page, "toml"):
        assert tomllib.loads(block)["tool"]["pytest"]["ini_options"].keys() <= keys


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_options_exist(page: Path) -> None:
    flags = {option.flag for option in options.TABLE}

    assert set(re.findall(r"--opendal-[a-z-]*[a-z]", page.read_text(encoding="utf-8"))) <= flags


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Sphinx checks those between its pages; the README is read on other sites too."""
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_readme_leads_to_every_how_to() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs" / "how-to").glob("*.md")}

    assert pages <= set(re.findall(r"\]\(([^)#]+)", text))


def test_the_picture_in_the_readme_is_what_the_quick_start_prints(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what differs by machine; the log tells of a failure there."""
    readme = ROOT / "README.md"
    (block,) = blocks(readme, "python")
    (lab,) = blocks(readme, "yaml")
    (picture,) = blocks(readme, "text")
    test = block.removeprefix("# test_boot.py\n").replace("passed", "FAILED", 1)
    pytester.path.joinpath("test_boot.py").write_text(test, encoding="utf-8")
    pytester.path.joinpath("lab.yaml").write_text(lab, encoding="utf-8")
    pytester.path.joinpath("sdcard").mkdir()
    monkeypatch.setenv("COLUMNS", "96")
    monkeypatch.delenv("CI", raising=False)  # there pytest repeats whole messages in its summary

    output = pytester.runpytest("--opendal-config=lab.yaml").stdout.str()

    def told(text: str) -> list[str]:
        lines = text[text.index("= FAILURES =") :].splitlines()[1:-1]
        own = ("FAILED ", "opendal = ", "storage default (fs, ")  # with paths of this machine
        return [line.rstrip() for line in lines if not line.startswith(own)]

    assert told(output) == told(picture)


SERVICES: dict[str, Callable[[pytest.FixtureRequest], Mapping[str, str]]] = {
    "fs": lambda request: {"root": str(request.getfixturevalue("tmp_path") / "root")},
    "S3": lambda request: {
        **request.getfixturevalue("seaweedfs").kwargs,
        "root": "/services",
    },
    "WebDAV": lambda request: {
        **request.getfixturevalue("wsgidav").kwargs,
        "root": "/services",
    },
    "memory": lambda _: {},
    "redis": lambda request: request.getfixturevalue("redis").kwargs,
}


@pytest.mark.parametrize("service", SERVICES)
def test_services_differ_as_the_table_says(
    service: str, request: pytest.FixtureRequest, pytester: pytest.Pytester
) -> None:
    kwargs = dict(SERVICES[service](request))
    lab = {"scheme": service.lower(), "kwargs": kwargs, "retention": "none"}
    pytester.path.joinpath("lab.yaml").write_text(json.dumps(lab), encoding="utf-8")
    pytester.makepyfile("""
        import json
        from pathlib import Path

        from observed import observe

        def test_it(opendal):
            Path("column.json").write_text(json.dumps(observe(opendal)))
    """)

    pytester.runpytest("--opendal-config=lab.yaml").assert_outcomes(passed=1)

    seen = json.loads(pytester.path.joinpath("column.json").read_text(encoding="utf-8"))
    assert seen == _column(service)


def _column(service: str) -> dict[str, str]:
    """Return what the table says of a service for the installed opendal."""
    text = (ROOT / "docs" / "reference" / "services.md").read_text(encoding="utf-8")
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    place = head.index(service)
    return {row[0].replace("`", ""): _for_this_opendal(row[0], row[place]) for row in rows}


def _for_this_opendal(what: str, cell: str) -> str:
    """Return a cell as this line of opendal shows it; 0.45 takes no conditions at all."""
    if OLD and what.startswith(("`read_bytes(if_", "`write_bytes(if_")):
        return "0.47"
    if cell == "0.47":
        return "`Unsupported`" if OLD else "yes"
    return cell
