"""What a lab offers: reads a configuration in any of its forms and checks all of it.

A mistake is a :class:`~pytest_opendal.errors.ConfigInvalid` of one line,
``FILE:LINE: KEY: what is wrong; what would be right``, which never holds a credential.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_opendal import editors
from pytest_opendal.document import Document, Key, dotted, plain, read
from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.settings import (
    JumpstarterSettings,
    Lab,
    SeveralStorages,
    StorageEntry,
    StorageSettings,
    validated,
)
from pytest_opendal.words import (
    Isolation,
    OnExisting,
    Retention,
    did_you_mean,
    is_utf8,
    kind_of,
    nearest,
)

if TYPE_CHECKING:
    from pytest_opendal.backends.known import ServiceProblem

__all__ = [
    "CheckService",
    "Isolation",
    "JumpstarterSettings",
    "Lab",
    "OnExisting",
    "Retention",
    "StorageSettings",
    "embedded",
    "from_mapping",
    "from_opendal_test",
    "json_schema",
    "load",
]

CheckService = Callable[[str, Mapping[str, str]], "Iterable[ServiceProblem]"]
"""Says what is wrong with a scheme and with its ``kwargs``."""

OPENDAL_DRIVER = "jumpstarter_driver_opendal.driver.Opendal"
# What any Jumpstarter driver takes beside its own keys, and what means nothing to us.
_DRIVER_BASE_KEYS = {"description", "methods_description", "log_level"}
_DRIVER_KEYS = frozenset({"scheme", "kwargs", "remove_created_on_close"})
_UNUSABLE_IN_NAME = re.compile(r"[:/\x00-\x1f\x7f-\x9f]")


def load(path: Path, environ: Mapping[str, str], check_service: CheckService | None = None) -> Lab:
    """Read the configuration file ``path``.

    Raises:
        ConfigInvalid: it cannot be used; the text says where, why, and what would be right.
    """
    try:
        reader = _Reader(read(path), path.absolute().parent, environ, check_service)
        return reader.lab()
    except ConfigInvalid as error:
        # A traceback with locals would show the environment and the data.
        del environ
        raise error.with_traceback(None) from None


def from_mapping(
    data: Mapping[str, Any] | str | os.PathLike[str] | Lab,
    *,
    source: str,
    base: Path,
    environ: Mapping[str, str],
    check_service: CheckService | None = None,
) -> Lab:
    """Return the lab that a conftest describes: a mapping like a file's, a path, or a ``Lab``.

    ``source`` is what messages call it; relative paths are below ``base``.

    Raises:
        ConfigInvalid: it cannot be used.
    """
    if isinstance(data, Lab):
        return data
    if isinstance(data, str | os.PathLike):
        return load(base / data, environ, check_service)
    try:
        return _Reader(Document(source, plain(data)), base, environ, check_service).lab()
    except ConfigInvalid as error:
        del data, environ
        raise error.with_traceback(None) from None


def from_opendal_test(
    environ: Mapping[str, str], base: Path | None = None, check_service: CheckService | None = None
) -> Lab | None:
    """Return the lab of ``OPENDAL_TEST=SCHEME`` and ``OPENDAL_<SCHEME>_<KEY>=VALUE``.

    Those are the variables of OpenDAL's own suites. The storage has the name of its scheme. None
    when ``OPENDAL_TEST`` is not set.

    Raises:
        ConfigInvalid: it cannot be used.
    """
    scheme = environ.get("OPENDAL_TEST", "").lower()
    if not scheme:
        return None
    prefix = f"OPENDAL_{scheme.upper().replace('-', '_')}_"
    kwargs = {
        name.removeprefix(prefix).lower(): value
        for name, value in environ.items()
        if name.startswith(prefix)
    }
    entry = {"scheme": scheme, "kwargs": kwargs}
    try:
        document = Document(
            "OPENDAL_TEST", {"storages": {scheme: entry}}, spell=_as_variable(prefix)
        )
        return _Reader(document, base or Path.cwd(), None, check_service).lab()
    except ConfigInvalid as error:
        del environ, kwargs, entry
        raise error.with_traceback(None) from None


def _as_variable(prefix: str) -> Callable[[Key], str]:
    """Return how messages spell a key of ``kwargs`` that comes from a variable."""
    return lambda key: prefix + key[-1].upper() if key[2:3] == ("kwargs",) else dotted(key)


def embedded(root: Path) -> Lab:
    """Return the lab of a run without configuration: files in a directory that is all ours.

    Raises:
        ConfigInvalid: OpenDAL cannot take the name of the directory.
    """
    if not is_utf8(os.fspath(root)):
        msg = f"the embedded storage: {os.fspath(root)!r} is no UTF-8 text; name another --basetemp"
        raise ConfigInvalid(msg)
    settings = StorageSettings(
        name="default",
        scheme="fs",
        kwargs={"root": os.fspath(root)},
        retention="none",
        owned_root=True,
    )
    return Lab(storages={"default": settings}, source="embedded")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a file with one or with several storages, for editors."""
    return editors.schema(OPENDAL_DRIVER)


@dataclass(frozen=True, slots=True, repr=False)
class _Found:
    """A storage in the data, not validated yet."""

    name: str
    key: Key
    """Where its keys stand."""
    data: object


@dataclass(frozen=True, slots=True, repr=False)
class _Reader:
    """Turns a document into a lab, noting in the document what is wrong with it."""

    document: Document
    base: Path
    environ: Mapping[str, str] | None
    """What ``${env:NAME}`` stands for; None: it stands for itself."""
    check_service: CheckService | None

    def lab(self) -> Lab:
        """Return the lab, or raise ``ConfigInvalid`` for the first mistake."""
        written, found = _forms(self.document)
        self._check_names(found)
        settings = [self._storage(one) for one in found]
        default = self._default(written, [one.name for one in found])
        self.document.refuse_mistakes()
        storages = {one.name: one for one in settings if one is not None}
        return Lab(storages=storages, default=default, source=self.document.source)

    def _storage(self, found: _Found) -> StorageSettings | None:
        data = self.document.resolved(found.data, found.key, self.environ)
        entry = validated(StorageEntry, data, self.document, found.key)
        if entry is None:
            return None
        self._check_service(entry, found.key)
        self._check_root(entry, found.key)
        # The directory of the file may have a name that is no text.
        fields = entry.fields_of(found.name, self.base)
        return validated(StorageSettings, fields, self.document, found.key)

    def _check_service(self, entry: StorageEntry, key: Key) -> None:
        if self.check_service is None or entry.scheme is None:
            return
        for problem in self.check_service(entry.scheme, entry.kwargs):
            if problem.key is None:
                shown = self.document.quoted((*key, "scheme"), entry.scheme)
                self.document.mistake((*key, "scheme"), f"{shown} {problem.text}")
            else:
                self.document.mistake((*key, "kwargs", problem.key), problem.text)

    def _check_root(self, entry: StorageEntry, key: Key) -> None:
        # An empty root would be the directory of the configuration file.
        if entry.scheme == "fs" and not entry.kwargs.get("root"):
            self.document.mistake(
                (*key, "kwargs", "root"), "is missing; name the directory of the storage"
            )

    def _check_names(self, found: list[_Found]) -> None:
        seen: set[str] = set()
        for one in found:
            if problem := _name_problem(one.name, seen):
                self.document.mistake(one.key, problem)
            seen.add(one.name)

    def _default(self, written: str | None, names: Collection[str]) -> str | None:
        if written is None:
            return None
        key = ("default",)
        default = str(self.document.resolved(written, key, self.environ))
        # That there are none is told as it is, and so is an address in the place of a name.
        told = not names or any(_UNUSABLE_IN_NAME.search(name) for name in names)
        if default not in names and not told:
            shown = self.document.quoted(key, default)
            self.document.mistake(key, f"{shown} is no storage; {did_you_mean(default, names)}")
        return default


def _name_problem(name: str, seen: Collection[str]) -> str | None:
    if not name.strip():
        return "is an empty name; give the storage a name"
    if _UNUSABLE_IN_NAME.search(name):
        return "is no name for a storage; leave out `:`, `/` and control characters"
    if not is_utf8(name):
        return "is no UTF-8 text; rename it"
    if name in seen:
        return f"makes a second storage {name!r}; rename one of them"
    return None


def _forms(document: Document) -> tuple[str | None, list[_Found]]:
    """Return the default and the storages of whichever form the data has."""
    data = document.data
    if not isinstance(data, Mapping) or not data:
        document.mistake((), f"is {kind_of(data)}; write a mapping with `scheme:` or `storages:`")
        return None, []
    if {"kind", "apiVersion", "export"} & data.keys():
        return None, _exporter(document, data)
    if {"type", "children"} & data.keys():
        return None, _drivers(document, [()])
    if {"storages", "default"} & data.keys():
        return _several(document, data)
    return None, [_Found("default", (), data)]


def _several(document: Document, data: Mapping[str, Any]) -> tuple[str | None, list[_Found]]:
    unknown = data.keys() - SeveralStorages.model_fields.keys()
    meant = [key for key in unknown if "storages" not in data and nearest(key, ["storages"])]
    for key in unknown:
        text = "is no key beside `storages`; the keys of a storage go below its name"
        document.mistake((key,), "is no key; did you mean 'storages'?" if key in meant else text)
    storages = data.get("storages")
    if not meant and (not isinstance(storages, Mapping) or not storages):
        is_what = f"is {kind_of(storages)}" if "storages" in data else "is missing"
        document.mistake(("storages",), f"{is_what}; write `NAME: {{scheme: ...}}` below it")
    if not isinstance(storages, Mapping):
        storages = {}
    default = data.get("default")
    if default is not None and not isinstance(default, str):
        document.mistake(("default",), f"is {kind_of(default)}; write the name of a storage")
        default = None
    return default, [
        _Found(str(name), ("storages", str(name)), item) for name, item in storages.items()
    ]


def _exporter(document: Document, data: Mapping[str, Any]) -> list[_Found]:
    if data.get("kind") != "ExporterConfig":
        shown = document.quoted(("kind",), data.get("kind"))
        document.mistake(
            ("kind",), f"{shown} holds no storages; use a file with `kind: ExporterConfig`"
        )
        return []
    export = data.get("export")
    if not isinstance(export, Mapping):
        document.mistake(("export",), f"is {kind_of(export)}; it maps names to drivers")
        return []
    return _drivers(document, [("export", name) for name in export])


def _drivers(document: Document, keys: Sequence[Key]) -> list[_Found]:
    """Return a storage for each OpenDAL driver in the driver trees at ``keys``."""
    found = [one for key in keys for one in _walk(document, key, key[1:])]
    if not found:
        document.mistake(
            keys[0][:1] if keys else ("export",), f"holds no entry with `type: {OPENDAL_DRIVER}`"
        )
    return found


def _walk(document: Document, key: Key, names: Key) -> Iterator[_Found]:
    # An entry with `ref` is another name of one that is found in its own place.
    entry = document.at(key)
    if not isinstance(entry, Mapping):
        return
    if entry.get("type") == OPENDAL_DRIVER:
        yield _driver(document, entry, key, names)
    children = entry.get("children")
    for name in children if isinstance(children, Mapping) else ():
        yield from _walk(document, (*key, "children", name), (*names, name))


def _driver(document: Document, entry: Mapping[str, Any], key: Key, names: Key) -> _Found:
    place = (*key, "config")
    config = entry.get("config", {})
    if isinstance(config, Mapping):
        config = {name: item for name, item in config.items() if name not in _DRIVER_BASE_KEYS}
        for name in config.keys() - _DRIVER_KEYS:
            document.mistake(
                (*place, name), f"is no key of the driver; {did_you_mean(name, _DRIVER_KEYS)}"
            )
        config = {name: item for name, item in config.items() if name in _DRIVER_KEYS}
    return _Found(".".join(names) or "default", place, config)
