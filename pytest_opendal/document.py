"""A YAML file, or plain data, that knows where each key stands and what is wrong with it.

It knows nothing about storages. No text of a mistake holds what may be a credential: values are
quoted only through :meth:`Document.quoted`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import yaml

from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.places import public_address

if TYPE_CHECKING:
    from pathlib import Path

Key = tuple[str, ...]

# Far above any real configuration; what exceeds them is a wrong file, or aliases that multiply.
_MAX_BYTES = 2**20
_MAX_NODES = 10_000
_MAX_DEPTH = 40

_VARIABLE = re.compile(r"\$\{env:(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?")
_PRESENTABLE = re.compile(r"[\w .+-]{1,40}")
_ARGUMENT = re.compile(r"[a-z][a-z0-9_]{0,50}")
_SHOWN = 40
_SHORT_QUOTE = 5
_QUOTE = re.compile(r"""'[^']*'|"[^"]*\"""")
_TEXT_TAGS = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:binary")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class Document:
    """Plain data (mappings, lists, scalars) that collects the mistakes found in it."""

    def __init__(
        self,
        source: str,
        data: object,
        lines: Mapping[Key, int] | None = None,
        spell: Callable[[Key], str] | None = None,
    ) -> None:
        self.source = source
        self.data = data
        self._lines = lines or {}
        self._spell = spell or dotted
        self._from_environment: set[Key] = set()
        self._mistakes: dict[Key, str] = {}

    def __repr__(self) -> str:
        """Hide the data, which holds credentials, from tracebacks that show locals."""
        return f"<Document {self.source!r}>"

    def mistake(self, key: Key, text: str) -> None:
        """Note what is wrong at ``key`` and what would be right; the first of a key counts."""
        self._mistakes.setdefault(key, text)

    def refuse_mistakes(self) -> None:
        """Raise ``ConfigInvalid`` for the first mistake in the order of the file, if any."""
        if not self._mistakes:
            return
        key = min(self._mistakes, key=lambda key: self.line(key) or 0)
        others = len(self._mistakes) - 1
        more = f" (and {others} more)" if others else ""
        raise ConfigInvalid(self._place(key) + self._mistakes[key] + more)

    def line(self, key: Key) -> int | None:
        """Return the line of ``key``, or of the nearest key around it; None for plain data."""
        for length in range(len(key), -1, -1):
            if key[:length] in self._lines:
                return self._lines[key[:length]]
        return None

    def quoted(self, key: Key, value: object) -> str:
        """Return ``value`` as a message may show it: not when it comes from the environment."""
        if (
            isinstance(value, str)
            and _PRESENTABLE.fullmatch(value)
            and key not in self._from_environment
        ):
            return repr(value)
        return "the value"

    def at(self, key: Key) -> object:
        """Return the data at ``key``, None where there is nothing."""
        return descend(self.data, key)

    def resolved(self, value: object, key: Key, environ: Mapping[str, str] | None) -> object:
        """Return ``value`` with each ``${env:NAME}`` replaced; notes unset names, and nulls.

        Without ``environ`` the text is final.
        """
        if isinstance(value, Mapping):
            items = {
                name: self.resolved(item, (*key, name), environ) for name, item in value.items()
            }
            return {name: item for name, item in items.items() if item is not None}
        if isinstance(value, list | tuple):
            return [
                self.resolved(item, (*key, str(index)), environ) for index, item in enumerate(value)
            ]
        if isinstance(value, str) and environ is not None:
            return self._replaced_variables(value, key, environ)
        if value is None:
            self.mistake(key, "is null; give a value or leave the key out")
        return value

    def _replaced_variables(self, text: str, key: Key, environ: Mapping[str, str]) -> str:
        def replacement(match: re.Match[str]) -> str:
            self._from_environment.add(key)
            return self._variable(match, key, environ)

        return _VARIABLE.sub(replacement, text)

    def _variable(self, match: re.Match[str], key: Key, environ: Mapping[str, str]) -> str:
        name, default = match["name"], match["default"]
        if name is None:
            self.mistake(
                key, "holds a broken ${env:...}; write ${env:NAME} or ${env:NAME:-default}"
            )
            return ""
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            problem = (
                f"environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
            )
            self.mistake(key, problem)
        return environ.get(name, "")

    def _place(self, key: Key) -> str:
        line = self.line(key)
        where = self.source if line is None else f"{self.source}:{line}"
        return f"{where}: {self._spell(key)}: " if key else f"{where}: "


def dotted(key: Key) -> str:
    """Return a key as messages name it."""
    return ".".join(_shown(part, "kwargs" in key[:place]) for place, part in enumerate(key))


def _shown(part: str, argument: bool) -> str:
    # Below kwargs a "key" may be a password in the wrong place.
    if argument:
        return part if _ARGUMENT.fullmatch(part) else "(a key)"
    # And an address in the place of a name may hold a login.
    public = public_address(part) if "@" in part or "://" in part else part
    return part if _PRESENTABLE.fullmatch(part) else repr(public[:_SHOWN])


def plain(data: object) -> object:
    """Return data of Python as a file would give it: keys are text."""
    if isinstance(data, Mapping):
        return {str(name): plain(item) for name, item in data.items()}
    return [plain(item) for item in data] if isinstance(data, list | tuple) else data


def descend(data: object, key: Key) -> object:
    """Return what plain data holds at ``key``, None where there is nothing."""
    for part in key:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list | tuple) and part.isdecimal() and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data


def read(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigInvalid: it cannot be read, is not YAML, is empty, or has a key twice.
    """
    source = os.fspath(path)
    root = _compose(source, _read_bytes(path))
    if root is None:
        msg = f"{source}: is empty; write `scheme:`, `storages:`, or a Jumpstarter driver"
        raise ConfigInvalid(msg)
    builder = _Builder()
    try:
        document = Document(source, builder.build(root, ()), builder.lines)
    except (_TooMuchError, RecursionError):
        msg = f"{source}: holds too much (aliases that multiply?); this is no configuration"
        raise ConfigInvalid(msg) from None
    for key, text in builder.mistakes:
        document.mistake(key, text)
    document.refuse_mistakes()
    return document


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        problem = "no such file; give the path of a YAML file"
    except IsADirectoryError:
        problem = "is a directory; give the path of a YAML file in it"
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    else:
        if len(content) <= _MAX_BYTES:
            return content
        problem = "is larger than 1 MiB; this is no configuration"
    msg = f"{path}: {problem}"
    raise ConfigInvalid(msg)


def _compose(source: str, content: bytes) -> yaml.Node | None:
    try:
        return yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        msg = f"{source}:{line}: not YAML: {_yaml_problem(error, content, line)}"
    except yaml.YAMLError:
        msg = f"{source}: not YAML: it is no UTF-8 text or holds control characters"
    except RecursionError:
        msg = f"{source}: is nested too deeply; this is no configuration"
    raise ConfigInvalid(msg)


def _yaml_problem(error: yaml.MarkedYAMLError, content: bytes, line: int) -> str:
    # The parser quotes what it stumbled over, which may be a password (`secret: *abc`).
    problem = _QUOTE.sub(_short_quote, error.problem or "it cannot be parsed")
    written = content.decode("utf-8", "replace").splitlines()[line - 1 : line]
    if any("${env:" in text for text in written):
        return f'{problem}; inside {{...}} put quotes around it: "${{env:NAME}}"'
    if "\t" in problem or "\\t" in problem:
        return f"{problem}; indent with spaces, not with tabs"
    if "alias" in problem or "anchor" in problem or "tag" in problem:
        return f"{problem}; put quotes around a text that starts with *, & or !"
    return f"{problem}; put quotes around a text with special characters, and check the indentation"


def _short_quote(match: re.Match[str]) -> str:
    """Keep a sign (``'}'``) and a word of the parser's own (``'<block end>'``)."""
    own = len(match[0]) <= _SHORT_QUOTE or match[0][1:-1].startswith("<")
    return match[0] if own else "..."


class _TooMuchError(Exception):
    """Aliases make more data than any configuration has."""


class _Builder:
    """Turns YAML nodes into plain data, noting the line of each key, keys given twice, odd tags."""

    def __init__(self) -> None:
        self.lines: dict[Key, int] = {}
        self.mistakes: list[tuple[Key, str]] = []
        self._scalars = yaml.constructor.SafeConstructor()
        self._left = _MAX_NODES

    def build(self, node: yaml.Node, key: Key) -> object:
        """Return the data of ``node``, aliases expanded."""
        self._spend(key)
        self.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return {
                name: self.build(child, (*key, name))
                for name, child in self._items(node, key).items()
            }
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*key, str(index))) for index, child in enumerate(node.value)]
        return self._scalar(node, key)

    def _spend(self, key: Key) -> None:
        self._left -= 1
        if self._left < 0 or len(key) > _MAX_DEPTH:
            raise _TooMuchError

    def _items(self, node: yaml.MappingNode, key: Key) -> dict[str, yaml.Node]:
        merged: dict[str, yaml.Node] = {}
        own: dict[str, yaml.Node] = {}
        for name_node, child in node.value:
            if name_node.tag == "tag:yaml.org,2002:merge":
                merged = dict(self._merged(child, key)) | merged
            else:
                self._add(own, name_node, child, key)
        return merged | own

    def _add(
        self, own: dict[str, yaml.Node], name_node: yaml.Node, child: yaml.Node, key: Key
    ) -> None:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            self.mistakes.append(
                (key, f"has a list or a mapping as key on line {line}; write text")
            )
            return
        # As written: YAML would make True of a storage called `on`.
        name = str(name_node.value)
        if name in own:
            self.mistakes.append(((*key, name), f"is given again on line {line}; remove one"))
        self.lines.setdefault((*key, name), line)
        own[name] = child

    def _merged(self, node: yaml.Node, key: Key) -> Iterator[tuple[str, yaml.Node]]:
        """Yield what ``<<:`` brings in; of a list of mappings the first wins, so it comes last."""
        self._spend(key)
        if isinstance(node, yaml.MappingNode):
            yield from self._items(node, key).items()
        elif isinstance(node, yaml.SequenceNode):
            for part in reversed(node.value):
                yield from self._merged(part, key)
        else:
            self.mistakes.append((key, "`<<` merges mappings only"))

    def _scalar(self, node: yaml.Node, key: Key) -> object:
        as_written = node.tag in _TEXT_TAGS or (node.tag in _NUMBER_TAGS and "kwargs" in key)
        # An account number such as 0123 is octal to YAML; the service wants what is written.
        if as_written:
            return node.value
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, ArithmeticError):
            self.mistakes.append((key, "is neither text nor a number; put quotes around it"))
            return ""
