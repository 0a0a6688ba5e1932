"""The pages of the documentation, and the examples in them."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("README.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.yaml")])


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page; a YAML file is one."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        return [text] if language == "yaml" else []
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [dedent(block) for _, block in found]


def write_modules(directory: Path, sources: list[str]) -> None:
    """Write blocks of Python as test modules; the one that says so is the conftest."""
    for number, source in enumerate(sources):
        name = "conftest" if source.startswith("# conftest.py") else f"test_block_{number}"
        directory.joinpath(f"{name}.py").write_text(source, encoding="utf-8")
