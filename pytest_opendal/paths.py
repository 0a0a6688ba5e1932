"""Paths of a storage: one spelling for each, none outside its root."""

from __future__ import annotations

import os
import re
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from pytest_opendal.errors import InvalidPath, PathEscape

if TYPE_CHECKING:
    from collections.abc import Iterator

StrPath = str | os.PathLike[str]
Name = TypeVar("Name", bound=StrPath)
"""Key of a mapping by path; a type checker takes no ``dict[str, ...]`` for one by `StrPath`."""

# C0 and C1 controls and the two Unicode line separators: servers store them and then cannot list.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# What Linux takes; S3 takes 1,024. Much longer ones cost seconds before they are refused.
_LONGEST = 4096


def normalize(path: StrPath) -> str:
    r"""Return the one spelling of ``path``: relative, ``/`` separated, ``/`` at the end of a directory.

    The root is ``""``. A leading ``/`` means the root, ``\`` is ``/``, ``.`` and doubled slashes are
    folded, and ``..`` may go up only within the path.

    Raises:
        PathEscape: the path would leave the root.
        InvalidPath: the path holds control characters or is too long, or a name in it begins or ends
            with white space.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        msg = f"a path is a str, not {type(text).__name__}: {text!r}"
        raise InvalidPath(msg)
    if len(text) > _LONGEST:
        msg = f"{text[:40]!r}... has {len(text):,} characters; no storage takes more than {_LONGEST:,}"
        raise InvalidPath(msg)
    if _CONTROL.search(text):
        msg = (
            f"{text!r} holds a control character; some servers store such a name and cannot list it"
        )
        raise InvalidPath(msg)
    parts: list[str] = []
    pieces = text.replace("\\", "/").split("/")
    for piece in pieces:
        if piece == "..":
            if not parts:
                msg = f"{text!r} would leave the root of the storage"
                raise PathEscape(msg)
            parts.pop()
        elif piece not in {"", "."}:
            _refuse_white_space(text, piece)
            parts.append(piece)
    trailing_slash = "/" if parts and pieces[-1] in {"", ".", ".."} else ""
    return "/".join(parts) + trailing_slash


def _refuse_white_space(path: str, piece: str) -> None:
    # opendal (0.45 and 0.47) cuts it off the ends of a path, and off a directory of fs that it lists:
    # another name would be used than the one that is tracked, and `.. ` would go up.
    if (meant := piece.strip()) in {".", ".."} and piece != meant:
        msg = f"{path!r} would leave the root of the storage, without its white space"
        raise PathEscape(msg)
    if piece != meant:
        msg = f"{path!r}: {piece!r} begins or ends with white space, which opendal takes away"
        raise InvalidPath(msg)


def is_directory(path: str) -> bool:
    """Whether a normalized path names a directory: the root, or a trailing slash."""
    return path == "" or path.endswith("/")


def name_of(path: str) -> str:
    """Return a normalized path without its trailing slash, as records and reports spell it."""
    return path.rstrip("/")


def as_directory(path: str) -> str:
    """Return a normalized path spelled as a directory; the root stays ``""``."""
    return f"{name_of(path)}/" if path else ""


def parents(path: str) -> Iterator[str]:
    """Yield the names of the directories above a normalized path, nearest first, without the root."""
    name = name_of(path)
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def below(path: str, directory: str) -> bool:
    """Whether the name ``path`` is ``directory`` or lies below it; everything is below the root."""
    return directory in {"", path} or path.startswith(f"{directory}/")


def leads_inside(name: str) -> bool:
    """Whether a name that others may have chosen leads to a place below a root, on any server."""
    pieces = re.split(r"[/\\]", name)
    return "\0" not in name and all(piece.strip() not in {"", ".", ".."} for piece in pieces)


def matches(name: str, glob: str) -> bool:
    """Whether a glob of the configuration names ``name``.

    The glob is one of `fnmatch`, whose ``*`` also stands for ``/``, with paths spelled as everywhere;
    ``**/`` stands for no directory too, and ``/`` alone for everything.
    """
    return _pattern(glob).match(name) is not None


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    pieces = [piece for piece in glob.replace("\\", "/").split("/") if piece not in {"", "."}]
    variants = [""]
    for number, piece in enumerate(pieces or ["*"]):
        begun = [f"{variant}/{piece}".removeprefix("/") for variant in variants]
        is_deep = piece == "**" and number < len(pieces) - 1
        variants = [*dict.fromkeys([*begun, *variants])] if is_deep else begun
    return re.compile("|".join(map(translate, variants)))
