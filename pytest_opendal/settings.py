"""The settings of storages as frozen records, and what a file may say about them.

No repr and no error text of a record holds a value of ``kwargs``: those are credentials.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pytest_opendal import places
from pytest_opendal.document import Document, Key, descend
from pytest_opendal.errors import ConfigInvalid
from pytest_opendal.redacting import refuse_pickle
from pytest_opendal.words import (
    Isolation,
    OnExisting,
    Retention,
    did_you_mean,
    is_utf8,
    kind_of,
)

if TYPE_CHECKING:
    from pathlib import Path


_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_NO_COUNT = "is no whole number; write one such as 16"
_NO_UTF8 = "is no UTF-8 text; OpenDAL takes no other"
_MOST_SECONDS = 1e10
_MOST_TIMES = 1000
_UNIT_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


class Secrets(dict[str, str]):
    """Arguments of a service; the repr shows the keys only, also in a traceback with locals."""

    def __repr__(self) -> str:
        """Show which keys there are."""
        return f"{{{', '.join(f'{key!r}: ...' for key in self)}}}"

    def __or__(self, other: Any) -> Any:
        return type(self)(dict(self) | other)

    def __ror__(self, other: Any) -> Any:
        return type(self)(other | dict(self))

    def copy(self) -> Self:
        """Return the same arguments, as well hidden."""
        return type(self)(self)

    __copy__ = copy

    def __deepcopy__(self, _memo: object) -> Self:
        return self.copy()

    def __reduce__(self) -> Any:
        if self.keys() - {"root"}:
            refuse_pickle("a configuration")
        return type(self), (dict(self),)


def _wrong(text: str, key: str | None = None) -> PydanticCustomError:
    """Return the error of a validator; ``key`` tells which field of a whole record is wrong."""
    return PydanticCustomError("wrong", "{text}", {"text": text, "key": key})


def _seconds(value: object) -> object:
    """Turn ``"30m"``, ``"1h30m"`` or a number into seconds above zero."""
    try:
        seconds = math.nan if isinstance(value, bool) else _seconds_of(str(value).strip())
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _wrong('is no time; write seconds above 0 such as 60, or a text such as "30m"')
    return seconds


def _seconds_of(text: str) -> float:
    if _DURATION.fullmatch(text):
        return sum(
            float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text)
        )
    return float(text)


def age(text: str) -> float:
    """Return the seconds that a text such as ``30m``, ``24h`` or ``7d`` stands for.

    Raises:
        ConfigInvalid: it is none.
    """
    seconds = _seconds_of(text) if _DURATION.fullmatch(text) else 0.0
    if not 0 < seconds < _MOST_SECONDS:
        raise ConfigInvalid(f"{text!r} is no age; write one such as 30m, 24h or 7d")
    return seconds


def _count(value: object) -> object:
    if isinstance(value, bool):
        raise _wrong(_NO_COUNT)
    return value


def _scalar_text(value: object) -> object:
    """Turn a scalar into the text that OpenDAL takes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | str):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    problem = f"is {kind_of(value)}; OpenDAL takes text, numbers, true and false only"
    raise _wrong(problem)


def _utf8(value: str) -> str:
    if not is_utf8(value):
        raise _wrong(_NO_UTF8)
    return value


def _lower_keys(value: object) -> object:
    """Spell keys as the services' documentation does; OpenDAL does not care for their case."""
    if not isinstance(value, Mapping):
        return value
    lowered = {str(key).lower(): item for key, item in value.items()}
    if len(lowered) < len(value):
        raise _wrong("holds a key twice, in capital and in small letters; keep one")
    return lowered


def _scheme(value: object) -> object:
    """Spell a scheme as we compare it; ``file`` is opendal's other name of ``fs``."""
    if not isinstance(value, str):
        return value
    return "fs" if value.lower() == "file" else value.lower()


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _glob(value: str) -> str:
    if not value.strip():
        raise _wrong("is an empty pattern, which protects nothing; write one such as boot/**")
    return value


def _dotted_path(value: str) -> str:
    if not all(value.split(".")):
        raise _wrong("is no dotted path such as dut.storage")
    return value


_KWARGS_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_SECONDS_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": rf"^\s*({_DURATION.pattern}|\d+(\.\d+)?)\s*$"},
    ]
}
_GLOBS_SCHEMA = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}
Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(_SECONDS_SCHEMA),
]
# The pydantic of today writes the limit of a validated number as "ge", which no editor knows.
Count = Annotated[
    int,
    BeforeValidator(_count),
    Field(ge=1),
    WithJsonSchema({"type": "integer", "minimum": 1}),
]
Times = Annotated[
    int,
    BeforeValidator(_count),
    Field(ge=0, le=_MOST_TIMES),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": _MOST_TIMES}),
]
Scheme = Annotated[Text, BeforeValidator(_scheme)]
Globs = Annotated[
    tuple[Annotated[str, AfterValidator(_glob)], ...],
    BeforeValidator(_one_or_many),
    WithJsonSchema(_GLOBS_SCHEMA),
]
Kwargs = Annotated[
    dict[str, Annotated[str, BeforeValidator(_scalar_text), AfterValidator(_utf8)]],
    BeforeValidator(_lower_keys),
    AfterValidator(Secrets),
    WithJsonSchema(_KWARGS_SCHEMA),
]


class Settings(BaseModel):
    """Base of the records: frozen, no unknown keys, no input in pydantic's error texts."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


Record = TypeVar("Record", bound=Settings)


class JumpstarterSettings(Settings):
    """How an exporter's OpenDAL driver is reached."""

    driver: Annotated[str, AfterValidator(_dotted_path)] | None = None
    """Dotted path of the driver in the export tree; may be left out when there is exactly one."""
    flasher: Annotated[str, AfterValidator(_dotted_path)] | None = None
    """Dotted path of the flasher for ``opendal_flasher``; may be left out when there is exactly one."""
    selector: Text | None = None
    """Labels of the exporter to lease, such as ``board=rpi4``."""
    exporter_name: Text | None = None
    """Name of the exporter to lease."""
    client: Text | None = None
    """Client configuration for the lease: an alias, or a file (relative to this one)."""
    duration: Seconds | None = None
    """Length of the lease: seconds, or a text such as ``30m``."""
    acquisition_timeout: Seconds = 300.0
    """Seconds to wait for the lease."""
    exporter_config: Text | None = None
    """Exporter configuration (relative to this file) that is served in this process."""
    lease: Literal["run", "worker"] = "run"
    """``run``: one lease, shared by all workers; ``worker``: one for each."""

    @property
    def needs_lease(self) -> bool:
        """Whether an exporter is leased, rather than found in the environment or served here."""
        return bool(self.selector or self.exporter_name)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [
            key for key in ("selector", "exporter_name", "exporter_config") if getattr(self, key)
        ]
        if len(ways) > 1:
            problem = f"contradicts {ways[0]}; an exporter is found in one way, so keep one of them"
            raise _wrong(problem, ways[1])
        return self

    @model_validator(mode="after")
    def _lease_keys(self) -> Self:
        about_leases = ("client", "duration", "acquisition_timeout", "lease")
        idle = [key for key in about_leases if key in self.model_fields_set]
        if idle and not self.needs_lease:
            problem = "is about a lease, but none is taken; add selector or exporter_name"
            raise _wrong(problem, idle[0])
        return self


class HeldLease(JumpstarterSettings):
    """The way to an exporter whose lease a process took that crashed; no file says so."""

    name: str
    """Of the lease."""


class _StorageKeys(Settings):
    scheme: Scheme | None = None
    """OpenDAL service: ``fs``, ``s3``, ``webdav``, ``azblob``, ..."""
    kwargs: Kwargs = Field(default_factory=Secrets)
    """Arguments of the service; scalars are turned into the text that OpenDAL takes."""
    jumpstarter: JumpstarterSettings | None = None
    """Reach the storage through a Jumpstarter exporter, instead of ``scheme`` and ``kwargs``."""
    isolation: Isolation = "none"
    """``none``: paths are literal; ``worker``, ``test``: an area of its own for each."""
    on_existing: OnExisting = "created"
    """What becomes of a file that existed and that a test wrote over: ``created`` removes it like
    the rest, ``keep`` leaves it, ``restore`` puts the old content back, ``refuse`` is an error."""
    protect: Globs = ()
    """Globs of paths that are never written or removed."""
    timeout: Seconds = 60.0
    """Seconds before an operation fails; per chunk when streaming."""
    retries: Times = 2
    """How often a request is sent again, within ``timeout``, after what a service calls temporary, such
    as a 503 or a broken connection; 0: never. Appending and moving are not repeated."""
    concurrency: Count = 64
    """How many operations run at once, at most."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Return what the repr shows (pydantic's hook): no value of ``kwargs``."""
        for name, value in super().__repr_args__():
            yield name, Secrets(value) if name == "kwargs" else value

    @model_validator(mode="after")
    def _scheme_or_jumpstarter(self) -> Self:
        if self.jumpstarter is None and self.scheme is None:
            problem = (
                "is missing; name an OpenDAL service such as fs or s3, or write `jumpstarter:`"
            )
            raise _wrong(problem, "scheme")
        if self.jumpstarter is not None and (self.scheme is not None or self.kwargs):
            problem = "contradicts scheme and kwargs, which the exporter knows; keep one of them"
            raise _wrong(problem, "jumpstarter")
        return self


class StorageSettings(_StorageKeys):
    """One storage of the lab."""

    name: str
    """How tests, options and reports call it."""
    retention: Retention = "all"
    """Which created resources stay after a test: ``none``, those of ``failed`` tests, ``all``."""
    owned_root: bool = False
    """The whole root is ours; set for the embedded storage only."""

    @property
    def remove_created_on_close(self) -> bool:
        """Whether what a test created goes at its end, in the words of Jumpstarter's driver."""
        return self.retention == "none"

    @property
    def shares_lease(self) -> bool:
        """Whether all workers of a run use one lease, which the controller takes."""
        exporter = self.jumpstarter
        return exporter is not None and exporter.needs_lease and exporter.lease == "run"

    def leasing(self, exporter: str) -> StorageSettings:
        """Return these settings with a lease of this very exporter, where any that fits would do."""
        if self.jumpstarter is None or not self.jumpstarter.needs_lease or not exporter:
            return self
        way = {"selector": None, "exporter_name": exporter, "lease": "run"}
        return self._reached(self.jumpstarter.model_copy(update=way))

    def holding(self, lease: str) -> StorageSettings:
        """Return these settings with the way to the exporter that this lease is of."""
        assert self.jumpstarter is not None
        way = dict(self.jumpstarter) | {"lease": "run", "name": lease}
        return self._reached(HeldLease.model_construct(**way))

    def _reached(self, jumpstarter: JumpstarterSettings) -> StorageSettings:
        # A copy would bring what is cached of the old way along.
        return StorageSettings.model_construct(**(dict(self) | {"jumpstarter": jumpstarter}))

    @cached_property
    def way(self) -> tuple[str, int]:
        """What tells apart the storages of one name that several configurations may have."""
        kwargs = frozenset(self.kwargs.items())
        return self.name, hash((self.scheme, kwargs, self.jumpstarter))

    @cached_property
    def identity(self) -> dict[str, str]:
        """Which place this is, to compare with a record of an earlier run; no credential."""
        if self.jumpstarter is None:
            embedded = {places.EMBEDDED: "true"} if self.owned_root else {}
            return {"scheme": self.scheme or ""} | places.place(self.kwargs) | embedded
        keys = ("client", "driver", "exporter_config", "exporter_name", "selector")
        values = {key: getattr(self.jumpstarter, key) for key in keys}
        return {"scheme": "jumpstarter"} | {key: value for key, value in values.items() if value}

    @cached_property
    def location(self) -> str:
        """Where it is, for people: endpoint, bucket and root, or the exporter; no credential."""
        if self.jumpstarter is None:
            return places.location(self.scheme or "", self.kwargs)
        way = self.jumpstarter
        exporter = "the exporter at JUMPSTARTER_HOST"
        if way.exporter_config:
            exporter = f"the exporter served from {way.exporter_config}"
        elif way.exporter_name:
            exporter = f"the exporter {way.exporter_name}"
        elif way.selector:
            exporter = f"an exporter with {way.selector}"
        return f"{way.driver or 'the OpenDAL driver'} of {exporter}"

    def with_overrides(
        self,
        *,
        retention: str | None = None,
        isolation: str | None = None,
        on_existing: str | None = None,
        timeout: float | None = None,
    ) -> StorageSettings:
        """Return these settings with what options or a marker say; None leaves a setting.

        Raises:
            ConfigInvalid: a value is not one of those allowed; the text starts with the setting.
        """
        given = {
            "retention": retention,
            "isolation": isolation,
            "on_existing": on_existing,
            "timeout": timeout,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        document = Document(f"storage {self.name}", {})
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        settings = validated(StorageSettings, fields | changes, document, ())
        document.refuse_mistakes()
        return settings or self


class StorageEntry(_StorageKeys):
    """The keys of a storage in a file."""

    remove_created_on_close: bool = False
    """Jumpstarter's key: true is ``retention: none``, false is ``retention: all``."""
    retention: Retention | None = None
    """Which created resources stay after a test: ``none``, those of ``failed`` tests, ``all``."""

    @model_validator(mode="after")
    def _one_retention(self) -> Self:
        both = {"remove_created_on_close", "retention"} <= self.model_fields_set
        if both and self.retention != self._retention_of_driver():
            problem = "contradicts remove_created_on_close (true is none, false is all); keep one"
            raise _wrong(problem, "retention")
        return self

    def fields_of(self, name: str, base: Path) -> dict[str, Any]:
        """Return the fields of the storage ``name``, to be validated; relative paths are below ``base``."""
        fields = {key: getattr(self, key) for key in _StorageKeys.model_fields}
        fields["kwargs"] = places.absolute_kwargs(self.scheme or "", self.kwargs, base)
        if self.jumpstarter is not None:
            fields["jumpstarter"] = _absolute_exporter(self.jumpstarter, base)
        retention = self.retention or self._retention_of_driver()
        return fields | {"name": name, "retention": retention}

    def _retention_of_driver(self) -> Retention:
        return "none" if self.remove_created_on_close else "all"


def _absolute_exporter(settings: JumpstarterSettings, base: Path) -> JumpstarterSettings:
    changes = {}
    if settings.exporter_config:
        changes["exporter_config"] = places.absolute(settings.exporter_config, base)
    if settings.client and ("/" in settings.client or settings.client.endswith((".yaml", ".yml"))):
        changes["client"] = places.absolute(settings.client, base)
    return settings.model_copy(update=changes)


class SeveralStorages(Settings):
    """A file with several storages."""

    default: str | None = None
    """The storage of a test that names none."""
    storages: Annotated[dict[str, StorageEntry], Field(min_length=1)]
    """The storages by name."""


class Lab(Settings):
    """All storages of a configuration."""

    storages: dict[str, StorageSettings]
    """The storages by name."""
    default: str | None = None
    """The storage of a test that names none."""
    source: str
    """File of the configuration, ``OPENDAL_TEST``, or ``embedded``."""

    def storage(self, name: str | None = None) -> StorageSettings:
        """Return the storage ``name``, or the one for tests that name none.

        Raises:
            ConfigInvalid: there is no such storage, or there are several and no default.
        """
        name = self._default_name() if name is None else name
        if name in self.storages:
            return self.storages[name]
        msg = f"{self.source}: there is no storage {name!r}; {did_you_mean(name, self.storages)}"
        raise ConfigInvalid(msg)

    def _default_name(self) -> str:
        if self.default is not None:
            return self.default
        if len(self.storages) == 1:
            return next(iter(self.storages))
        names = ", ".join(self.storages)
        msg = (
            f"{self.source}: several storages ({names}) and no default; "
            "write `default: NAME` into the file, or pass --opendal-storage=NAME"
        )
        raise ConfigInvalid(msg)


def validated(record: type[Record], data: object, document: Document, key: Key) -> Record | None:
    """Return ``data`` as a record, or None after noting each mistake in ``document``."""
    if data is None:
        return None  # noted as null
    if not isinstance(data, Mapping):
        document.mistake(key, f"is {kind_of(data)}; it is a mapping with keys such as `scheme:`")
        return None
    try:
        return record.model_validate(data)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    for mistake in mistakes:
        document.mistake(*_explained(mistake, record, document, key, data))
    return None


_BY_TYPE = {
    "missing": "is missing",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "int_type": _NO_COUNT,
    "int_parsing": _NO_COUNT,
    "int_from_float": _NO_COUNT,
    "greater_than_equal": "is too small; write {ge} or more",
    "less_than_equal": "is too large; write {le} or less",
    "string_unicode": _NO_UTF8,
    "string_too_short": "is empty; give a value or leave the key out",
}
_WANTED = {
    "string_type": "write text",
    "tuple_type": "write a list",
    "dict_type": "write a mapping",
    "model_type": "write a mapping",
    "model_attributes_type": "write a mapping",
}


def _explained(
    mistake: Mapping[str, Any], record: type[Settings], document: Document, key: Key, data: object
) -> tuple[Key, str]:
    """Return place and text of a pydantic error; pydantic's own texts are for programmers."""
    context = mistake.get("ctx", {})
    inner = tuple(str(part) for part in mistake["loc"])
    if context.get("key"):
        inner = (*inner, context["key"])
    value = descend(data, inner)
    shown = document.quoted((*key, *inner), value)
    return (*key, *inner), _text(mistake, context, shown, value) or _unknown_key(key, inner, record)


def _text(mistake: Mapping[str, Any], context: Mapping[str, Any], shown: str, value: object) -> str:
    kind: str = mistake["type"]
    if kind == "wrong":
        return str(context["text"])
    if kind == "literal_error":
        return f"{shown} is not {context['expected']}"
    if kind in _WANTED:
        return f"is {kind_of(value)}; {_WANTED[kind]}"
    if kind == "extra_forbidden":
        return ""
    return _BY_TYPE[kind].format_map(context) if kind in _BY_TYPE else str(mistake["msg"])


def _unknown_key(key: Key, inner: Key, record: type[Settings]) -> str:
    owner = JumpstarterSettings if len(inner) > 1 else record
    # Nothing above tells yet whether a whole file was to hold one storage or several.
    several = () if key or len(inner) > 1 else SeveralStorages.model_fields
    return f"is no key here; {did_you_mean(inner[-1], {*owner.model_fields, *several})}"
