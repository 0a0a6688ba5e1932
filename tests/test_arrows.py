"""Imports point down only, in the layout that the picture in CONTRIBUTING.md shows."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_opendal

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is installed, which under tox is the wheel.
PACKAGE = Path(pytest_opendal.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"

SHY = {
    "opendal": {"protocol", "compat", "known", "local", "jumpstarter"},
    "jumpstarter": {"drivers", "exporters", "jumpstarter", "leases"},
    "jumpstarter_driver_opendal": {"exporters", "jumpstarter"},
    "pytest": {"plugin", "reporting", "session"},
    "_pytest": set(),
    "xdist": set(),
}
"""Who may import these, also inside a function."""

HEAVY = {"opendal", "pydantic", "yaml", "asyncio", "filelock", "jumpstarter"}
"""What a run that uses no storage must not pay for."""


@dataclass
class Imports:
    """What a module imports at run time: modules of this package by name, others by their root."""

    at_start: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    """Inside functions."""

    @property
    def all(self) -> set[str]:
        return self.at_start | self.later


def _name(file: Path) -> str:
    """Return how the picture calls a module: ``local`` for ``backends/local.py``."""
    return file.stem if file.stem != "__init__" else file.parent.name


def _statements(node: ast.AST, *, late: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yield what runs, and whether in a function; not what only type checkers read."""
    body = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        body = list(node.orelse)
    for child in body:
        yield child, late
        inside = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _statements(child, late=inside)


def _targets(statement: ast.AST) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        assert statement.level == 0, "imports are absolute"
        return [f"{statement.module}.{alias.name}" for alias in statement.names]
    return []


def _imported(target: str) -> str:
    """Return the module of the package that ``a.b.c`` is in, or ``a.`` where it is a foreign one."""
    first, *rest = target.split(".")
    if first != "pytest_opendal":
        return f"{first}."
    while rest:
        file = PACKAGE.joinpath(*rest)
        if file.with_suffix(".py").exists() or file.is_dir():
            return rest[-1]
        rest.pop()
    return "pytest_opendal"


@cache
def _modules() -> dict[str, Imports]:
    found: dict[str, Imports] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        imports = found[_name(file)] = Imports()
        for statement, late in _statements(ast.parse(file.read_text(encoding="utf-8"))):
            for target in _targets(statement):
                (imports.later if late else imports.at_start).add(_imported(target))
    return found


def _picture() -> list[list[str]]:
    """Return the lines of the picture, the lowest first; each from left to right."""
    section = CONTRIBUTING.read_text(encoding="utf-8").partition("## The layout")[2]
    lines = re.findall(r"^    ([^|\n]*)\|", section.partition("\n## ")[0], re.MULTILINE)
    return [line.split() for line in reversed(lines)]


ORDER = [name for line in _picture() for name in line]
MODULES = sorted(_modules().keys() - {"pytest_opendal", "backends"})


def test_the_picture_shows_each_module_once() -> None:
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str) -> None:
    """A module imports only what the picture shows below it, or on its left."""
    below = {*ORDER[: ORDER.index(module)], "backends"}
    own = _modules()[module].all & {*MODULES, "pytest_opendal", "backends"}

    assert not own - below


@pytest.mark.parametrize("module", [*MODULES, "pytest_opendal", "backends"])
def test_third_parties_stay_in_their_corner(module: str) -> None:
    foreign = {name[:-1] for name in _modules()[module].all if name.endswith(".")}
    strangers = {name for name in foreign if module not in SHY.get(name, {module})}

    assert not strangers


@pytest.mark.parametrize("glue", ["plugin", "cli"])
def test_nobody_imports_the_glue(glue: str) -> None:
    assert not [name for name, imports in _modules().items() if glue in imports.all]


def test_the_package_itself_imports_nothing_at_start() -> None:
    assert _modules()["pytest_opendal"].at_start <= {"__future__.", "typing."}


def test_what_every_pytest_run_loads_is_light() -> None:
    loaded, todo = set[str](), ["plugin"]
    while todo:
        name = todo.pop()
        loaded.add(name)
        fresh = _modules()[name].at_start - loaded
        todo += [other for other in fresh if other in _modules()]
        heavy = {other[:-1] for other in fresh} & HEAVY
        assert not heavy, f"plugin imports {heavy} through {name}"
