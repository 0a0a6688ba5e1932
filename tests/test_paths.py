"""One spelling for each path, and none outside of the root."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_opendal import errors, paths

PIECES = st.sampled_from(["a", "b c", "ä", "..", ".", "", "x.y", "...", "a..b", "%2e%2e"])
WRITTEN = st.builds(
    lambda pieces, separators: "".join(
        piece + separator for piece, separator in zip(pieces, separators, strict=False)
    ),
    st.lists(PIECES, max_size=6),
    st.lists(st.sampled_from(["/", "\\", "//"]), min_size=6, max_size=6),
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("/", ""),
        (".", ""),
        ("./", ""),
        ("a/..", ""),
        ("a", "a"),
        ("/a", "a"),
        ("//a//b", "a/b"),
        ("a\\b", "a/b"),
        ("\\a", "a"),
        ("./a/./b", "a/b"),
        ("a/../b", "b"),
        ("a/", "a/"),
        ("a//", "a/"),
        ("a/.", "a/"),
        ("a/b/..", "a/"),
        ("a\\", "a/"),
        ("parent/../simple", "simple"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("%2e%2e/x", "%2e%2e/x"),
        ("C:\\dir\\f", "C:/dir/f"),
        (PurePosixPath("a/b"), "a/b"),
        (PureWindowsPath("a\\b"), "a/b"),
        (Path("a/"), "a"),
    ],
)
def test_normalize(given: paths.StrPath, expected: str) -> None:
    assert paths.normalize(given) == expected


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../a",
        "/..",
        "a/../..",
        "a\\..\\..\\b",
        "./..",
        "a/../../a",
        ".. /x",
        "a/ ../x",
        "..\u3000/x",
    ],
)
def test_no_path_leaves_the_root(path: str) -> None:
    with pytest.raises(errors.PathEscape, match="would leave the root"):
        paths.normalize(path)


@pytest.mark.parametrize(
    "path", ["\0", "a\nb", "a\tb", "\x7f", "\x85", "\u2028", "a\u2029", "\udcff"]
)
def test_control_characters_are_refused(path: str) -> None:
    with pytest.raises(errors.InvalidPath, match="control character"):
        paths.normalize(path)


@pytest.mark.parametrize(
    "path",
    [" a", "a ", "a/b ", " /a", "a /", "\u00a0a", "a\u3000", "a /b", "a/ b", "a / b", "a/ /b"],
)
def test_white_space_at_either_end_of_a_name_is_refused(path: str) -> None:
    with pytest.raises(errors.InvalidPath, match="begins or ends with white space"):
        paths.normalize(path)


def test_a_path_that_no_storage_takes_is_refused_at_once() -> None:
    assert paths.normalize("a" * 4096)
    with pytest.raises(errors.InvalidPath, match="'aaaa.* has 4,097 characters"):
        paths.normalize("a" * 4097)


def test_white_space_within_is_kept() -> None:
    assert paths.normalize("a b/c  d/\u00a7\u3000x") == "a b/c  d/\u00a7\u3000x"


def test_bytes_are_no_path() -> None:
    with pytest.raises(errors.InvalidPath, match="a path is a str, not bytes"):
        paths.normalize(b"a")  # type: ignore[arg-type]


def test_the_errors_are_value_errors() -> None:
    assert issubclass(errors.PathEscape, errors.InvalidPath)
    assert issubclass(errors.InvalidPath, ValueError)


@given(WRITTEN)
def test_a_normalized_path_is_its_own_spelling_and_below_the_root(written: str) -> None:
    try:
        found = paths.normalize(written)
    except errors.InvalidPath:
        return
    assert paths.normalize(found) == found
    assert not found.startswith("/")
    assert "//" not in found
    assert not {"..", "."} & set(found.split("/"))
    assert paths.normalize(f"/{written}") == found


@given(WRITTEN)
def test_a_name_is_below_each_of_its_parents(written: str) -> None:
    try:
        found = paths.normalize(written)
    except errors.InvalidPath:
        return
    name = paths.name_of(found)
    for parent in paths.parents(found):
        assert paths.below(name, parent)
        assert not paths.below(parent, name)
    assert paths.below(name, "")


def test_siblings_are_not_below() -> None:
    assert paths.below("x", "x")
    assert paths.below("x/y", "x")
    assert not paths.below("xy", "x")
    assert not paths.below("x", "x/y")


def test_parents_come_nearest_first() -> None:
    assert list(paths.parents("a/b/c/")) == ["a/b", "a"]
    assert list(paths.parents("a")) == []
    assert list(paths.parents("")) == []


@pytest.mark.parametrize(("path", "expected"), [("", True), ("a/", True), ("a", False)])
def test_is_directory(path: str, expected: bool) -> None:
    assert paths.is_directory(path) is expected


@pytest.mark.parametrize(("path", "expected"), [("", ""), ("a", "a/"), ("a/", "a/")])
def test_as_directory(path: str, expected: str) -> None:
    assert paths.as_directory(path) == expected


@pytest.mark.parametrize(
    ("glob", "name"),
    [
        ("*.key", "a/b.key"),
        ("**/*.key", "b.key"),
        ("**/*.key", "a/b.key"),
        ("boot/**/cmdline.txt", "boot/cmdline.txt"),
        ("boot/**/cmdline.txt", "boot/a/b/cmdline.txt"),
        ("**/a/**/b", "a/b"),
        ("./etc/**", "etc/passwd"),
        ("/etc//x/", "etc/x"),
        ("boot\\x", "boot/x"),
        ("[ab]?.key", "a1.key"),
        ("**", "a"),
        ("**/", "a"),
        ("/", "a/b"),
        (".", "a"),
    ],
)
def test_a_glob_names_what_a_shell_would_find(glob: str, name: str) -> None:
    assert paths.matches(name, glob)


@pytest.mark.parametrize(
    ("glob", "name"),
    [
        ("*.key", "key"),
        ("boot/**/cmdline.txt", "bootcmdline.txt"),
        ("boot/**", "boots/x"),
        ("boot", "boot2"),
        ("a**/b", "ab"),
        ("A", "a"),
    ],
)
def test_a_glob_names_nothing_else(glob: str, name: str) -> None:
    assert not paths.matches(name, glob)
