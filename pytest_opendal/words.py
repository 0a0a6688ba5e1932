"""Words of a configuration, and of the messages about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

Retention = Literal["none", "failed", "all"]
"""Which created resources stay after a test."""
Isolation = Literal["none", "worker", "test"]
"""Literal paths, or an area for each worker or test."""
OnExisting = Literal["created", "keep", "restore", "refuse"]
"""What becomes of a file that existed and that a test wrote over."""

_LISTED = 20


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped: others choose the names that we print."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded; a name or a variable of the system may hold any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def nearest(word: str, known: Collection[str]) -> str:
    """Return the known word that an unknown one is nearly, ``""`` when there is none."""
    import difflib

    return next(iter(difflib.get_close_matches(word.lower(), known, n=1)), "")


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return how a message about an unknown word ends: the nearest known one, or what is known."""
    listed = sorted(known)
    if near := nearest(word, listed):
        return f"did you mean {near!r}?"
    return f"known are {', '.join(listed[:_LISTED])}{', ...' if len(listed) > _LISTED else ''}"


def kind_of(value: object) -> str:
    """Return what a value is, in the words of somebody who writes YAML."""
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "null"
    return "text" if isinstance(value, str) else f"a {type(value).__name__}"
