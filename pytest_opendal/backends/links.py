"""Symbolic links in a directory of this machine: followed to read and write, never to remove."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_opendal import errors
from pytest_opendal.paths import name_of, parents

if TYPE_CHECKING:
    from pathlib import Path


def above(root: Path, path: str) -> str:
    """Return the link among the directories above ``path``, ``""`` where there is none."""
    return next((name for name in parents(path) if os.path.islink(f"{root}/{name}")), "")  # noqa: PTH114


def refuse_through(root: Path, path: str) -> None:
    """Raise `PathEscape` where something is at ``path`` and a link leads there."""
    if (link := above(root, path)) and os.path.lexists(f"{root}/{name_of(path)}"):
        raise errors.PathEscape(through(link))


def through(link: str) -> str:
    """Return why nothing is removed behind a link."""
    return f"the link {link!r} leads there, and nothing is removed through a link; remove it there"


def is_link(root: Path, path: str) -> bool:
    """Whether ``path`` itself is a link, wherever it leads."""
    return os.path.islink(f"{root}/{name_of(path)}")  # noqa: PTH114


def remove(root: Path, path: str) -> None:
    """Remove the link, and nothing of what it leads to."""
    (root / name_of(path)).unlink(missing_ok=True)
