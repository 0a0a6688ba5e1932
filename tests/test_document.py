"""Reading YAML: places, repeated keys, aliases, variables, and what cannot be read at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_opendal.document import Document, dotted, plain, read
from pytest_opendal.errors import ConfigInvalid


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the names in messages short."""
    monkeypatch.chdir(tmp_path)


def _read(text: str | bytes) -> Document:
    path = Path("lab.yaml")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read(path)


def _error(text: str | bytes) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        _read(text)
    return str(caught.value)


def _bomb(first: str, level: str) -> str:
    """Return a text of thirty levels, each of which refers nine times to the one before."""
    levels = (level.format(n=n, aliases=f"*a{n - 1}, " * 9) for n in range(1, 30))
    return first + "".join(levels)


def test_each_key_has_the_line_on_which_it_stands() -> None:
    document = _read("a: 1\nb:\n  c:\n    - x\n    - y\n")
    assert [document.line(key) for key in [("a",), ("b", "c"), ("b", "c", "1")]] == [1, 3, 5]


def test_a_key_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    assert _read("a: 1\nb:\n  c: 2\n").line(("b", "missing", "deeper")) == 2


def test_keys_are_text_as_written_even_where_yaml_makes_booleans_and_numbers_of_them() -> None:
    assert _read("on: 1\n007: 2\n1.50: 3\n").data == {"on": 1, "007": 2, "1.50": 3}


def test_below_kwargs_numbers_and_dates_stay_as_written() -> None:
    data = _read("kwargs: {a: 0123, b: 1.50, c: 2024-01-01, d: 1_000, e: 22:30, f: true}\n").data
    kwargs = {"a": "0123", "b": "1.50", "c": "2024-01-01", "d": "1_000", "e": "22:30", "f": True}
    assert data == {"kwargs": kwargs}


def test_json_is_read_as_the_yaml_that_it_is() -> None:
    assert _read('{"scheme": "fs",\n "kwargs": {"root": "/x"}}').data == {
        "scheme": "fs",
        "kwargs": {"root": "/x"},
    }


def test_a_byte_order_mark_and_utf_16_do_not_disturb() -> None:
    assert _read(b"\xef\xbb\xbfa: 1\n").data == {"a": 1}
    assert _read("a: \u00e4\n".encode("utf-16")).data == {"a": "\u00e4"}


def test_aliases_and_merge_keys_are_expanded_and_own_keys_win() -> None:
    text = "base: &base {x: 1, y: 2}\nuse: {<<: *base, y: 3}\nsame: *base\n"
    assert _read(text).data == {
        "base": {"x": 1, "y": 2},
        "use": {"y": 3, "x": 1},
        "same": {"x": 1, "y": 2},
    }


def test_of_several_merged_mappings_the_first_wins() -> None:
    text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nuse: {<<: [*a, *b]}\n"
    assert _read(text).data == {"a": {"x": 1}, "b": {"x": 2, "y": 2}, "use": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    "bomb",
    [
        _bomb("a: &a0 [x, x]\n", "a{n}: &a{n} [{aliases}]\n"),
        _bomb("a: &a0 {x: 1}\n", "a{n}: &a{n} {{<<: [{aliases}]}}\n"),
        "a: &a [*a]\n",
        "a: &a {<<: *a}\n",
    ],
    ids=["lists", "merges", "a list in itself", "a mapping merged into itself"],
)
def test_aliases_that_multiply_are_refused_at_once(bomb: str) -> None:
    start = time.monotonic()
    assert (
        _error(bomb)
        == "lab.yaml: holds too much (aliases that multiply?); this is no configuration"
    )
    assert time.monotonic() - start < 5


def test_deep_nesting_is_refused() -> None:
    assert _error("[" * 5000) == "lab.yaml: is nested too deeply; this is no configuration"
    assert "holds too much" in _error("{a: " * 60 + "1" + "}" * 60)


def test_a_key_that_is_given_twice_is_an_error_with_both_lines() -> None:
    assert _error("a: 1\nb: 2\na: 3\n") == "lab.yaml:1: a: is given again on line 3; remove one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lab.yaml: is empty; write `scheme:`, `storages:`, or a Jumpstarter driver"),
        (
            "# nothing\n",
            "lab.yaml: is empty; write `scheme:`, `storages:`, or a Jumpstarter driver",
        ),
        (
            "a: [1,\nb: 2\n",
            "lab.yaml:3: not YAML: expected ',' or ']', but got '<stream end>'; put quotes around",
        ),
        (
            "a: 1\n\tb: 2\n",
            r"lab.yaml:2: not YAML: found character '\t' that cannot start any token",
        ),
        ("a: 1\n---\nb: 2\n", "lab.yaml:2: not YAML: but found another document"),
        (b"a: \xff\n", "lab.yaml: not YAML: it is no UTF-8 text or holds control characters"),
        ("a: \x01\n", "lab.yaml: not YAML: it is no UTF-8 text or holds control characters"),
        ("a: {b: ${env:B}}\n", 'inside {...} put quotes around it: "${env:NAME}"'),
        (
            "a: !python/object:os.system x\n",
            "lab.yaml:1: a: is neither text nor a number; put quotes",
        ),
        ("? [a, b]\n: 1\n", "lab.yaml:1: has a list or a mapping as key on line 1; write text"),
        ("a: {<<: 5}\n", "lab.yaml:1: a: `<<` merges mappings only"),
    ],
)
def test_what_is_no_usable_yaml_is_told_with_its_line(text: str | bytes, message: str) -> None:
    assert message in _error(text)


@pytest.mark.parametrize(
    "text",
    [
        "kwargs:\n  password: *hunter2\n",
        "kwargs:\n  password: !hunter2 x\n",
        "kwargs:\n  password: !hunter2!x y\n",
        'kwargs:\n  password: "\\hunter2"\n',
        "kwargs:\n  password: %hunter2\n",
        "kwargs:\n  password: @hunter2\n",
        "kwargs:\n  password: x: hunter2\n",
        "kwargs:\n  password: {hunter2: [}\n",
        "kwargs:\n  password: &hunter2 1\n  other: &hunter2 *hunter2\n",
        "kwargs:\n  password: 'hunter2\n",
        "kwargs:\n  password: |hunter2\n",
    ],
)
def test_a_password_that_breaks_the_yaml_is_not_in_the_message(text: str) -> None:
    assert "hunter2" not in _error(text)


def test_a_missing_file_a_directory_and_an_impossible_name_are_told_apart() -> None:
    messages = []
    for path in (Path("nothing.yaml"), Path(), Path("nul\0")):
        with pytest.raises(ConfigInvalid) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages == [
        "nothing.yaml: no such file; give the path of a YAML file",
        ".: is a directory; give the path of a YAML file in it",
        "nul\0: cannot be read: embedded null byte",
    ]


def test_a_file_that_cannot_be_read_is_told_with_the_systems_reason() -> None:
    with pytest.raises(
        ConfigInvalid, match=r"^/proc/self/mem: cannot be read: Input/output error$"
    ):
        read(Path("/proc/self/mem"))


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigInvalid, match=r"larger than 1 MiB"):
        read(Path("/dev/zero"))


def test_variables_are_replaced_in_strings_at_any_depth_and_not_twice() -> None:
    document = Document("lab", {})
    data = {"a": ["x ${env:A} ${env:B:-two}", "${env:UNSET:-}", "$A ${A} 5", 5]}
    resolved = document.resolved(data, (), {"A": "${env:B}", "B": ""})
    document.refuse_mistakes()
    assert resolved == {"a": ["x ${env:B} two", "", "$A ${A} 5", 5]}


def test_keys_are_no_place_for_variables() -> None:
    resolved = Document("lab", {}).resolved({"${env:A}": "1"}, (), {"A": "x"})
    assert resolved == {"${env:A}": "1"}


@pytest.mark.parametrize("text", ["${env:}", "${env:A", "${env:A-b}", "${env:1}", "${env: A}"])
def test_a_broken_variable_is_an_error_that_shows_the_right_form(text: str) -> None:
    document = Document("lab", {})
    document.resolved(text, ("k",), {"A": "x"})
    with pytest.raises(ConfigInvalid) as caught:
        document.refuse_mistakes()
    expected = "lab: k: holds a broken ${env:...}; write ${env:NAME} or ${env:NAME:-default}"
    assert str(caught.value) == expected


def test_a_null_is_a_mistake_and_does_not_reach_the_data() -> None:
    document = Document("lab", {})
    assert document.resolved({"a": None, "b": 1}, ("s",), {}) == {"b": 1}
    with pytest.raises(
        ConfigInvalid, match=r"^lab: s\.a: is null; give a value or leave the key out$"
    ):
        document.refuse_mistakes()


def test_the_first_mistake_of_the_file_is_told_and_the_others_are_counted() -> None:
    document = _read("a: 1\nb: 2\nc: 3\n")
    for key in ("c", "b", "b"):
        document.mistake((key,), f"is wrong {key}")
    with pytest.raises(ConfigInvalid, match=r"^lab\.yaml:2: b: is wrong b \(and 1 more\)$"):
        document.refuse_mistakes()


def test_a_value_from_the_environment_is_never_quoted() -> None:
    document = Document("lab", {})
    document.resolved({"a": "${env:A}", "b": "plain"}, (), {"A": "secret"})
    assert document.quoted(("a",), "secret") == "the value"
    assert document.quoted(("b",), "plain") == "'plain'"


def test_a_key_below_kwargs_that_looks_like_a_secret_is_not_repeated() -> None:
    assert (
        dotted(("storages", "a/b", "kwargs", "AKIAIOSFODNN7EXAMPLE"))
        == "storages.'a/b'.kwargs.(a key)"
    )
    assert dotted(("kwargs", "access_key_id")) == "kwargs.access_key_id"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("s3://KEY:SECRET@h/b", "'s3://h/b'"),
        ("s3://KEY:SEC/RET@h/b", "'...'"),
        (f"s3://KEY:SECRET{'T' * 50}@h/b", "'s3://h/b'"),
        ("https://h/b?sig=SECRET", "'https://h/b'"),
        ("KEY:SECRET@h", "'h'"),
        ("a/b", "'a/b'"),
    ],
)
def test_a_key_that_is_an_address_is_shown_without_its_login(name: str, shown: str) -> None:
    assert dotted(("storages", name)) == f"storages.{shown}"


def test_the_repr_of_a_document_shows_no_data() -> None:
    assert repr(Document("lab.yaml", {"password": "hunter2"})) == "<Document 'lab.yaml'>"


def test_python_data_gets_text_keys_and_lists_like_a_file() -> None:
    assert plain({1: ({True: "x"},)}) == {"1": [{"True": "x"}]}
