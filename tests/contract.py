"""Every storage that the contract suite runs on, built through the real classes, without pytest's plugin."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import opendal
import pytest

from pytest_opendal import journal
from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process
from pytest_opendal.run import Hooks, Run

from awaited import awaited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
    from pathlib import Path

    from pytest_opendal.report import Reason, TestNote
    from pytest_opendal.run import Held
    from pytest_opendal.settings import StorageSettings
    from pytest_opendal.storage import Storage

OPENDAL = importlib.metadata.version("opendal")
IS_045 = OPENDAL.startswith("0.45.")
TEST = "tests/test_boot.py::test_boots"

HAS_JUMPSTARTER = importlib.util.find_spec("jumpstarter_driver_opendal") is not None
REMOTE = ("exporter_fs", "exporter_moto") if HAS_JUMPSTARTER else ()
"""The same storages behind an exporter, where the driver is installed."""
KINDS = ("fs", "memory", "seaweedfs", "moto", "wsgidav", "redis", *REMOTE)
"""seaweedfs and moto are two dialects of S3; moto checks no signatures."""

_NO_DIRECTORIES = "redis keeps keys and values: no listing, no directories"
_LACKS: dict[str, dict[str, str]] = {
    "fs": {"presign": "a local directory has no URLs"},
    "memory": {
        "append": "opendal's memory service does not append",
        "copy": "opendal's memory service does not copy",
        "presign": "memory has no URLs",
        "rename": "opendal's memory service does not rename",
    },
    "seaweedfs": {
        "append": "S3 objects are written whole",
        "rename": "S3 has no rename",
    },
    "moto": {
        "append": "S3 objects are written whole",
        "rename": "S3 has no rename",
    },
    "wsgidav": {
        "append": "WebDAV has no append",
        "presign": "WebDAV has no signed URLs",
    },
    "redis": {
        "append": "opendal's redis service does not append",
        "copy": "opendal's redis service does not copy",
        "create_dir": _NO_DIRECTORIES,
        "list": _NO_DIRECTORIES,
        "presign": "redis has no URLs",
        "rename": "opendal's redis service does not rename",
    },
}
_NO_OPTIONS = {
    "append": "the exporter's driver does not append",
    "options": "the exporter's driver takes no options",
    "presign_delete": "the exporter's driver signs no delete",
}
_LACKS |= {kind: _LACKS[kind.removeprefix("exporter_")] | _NO_OPTIONS for kind in REMOTE}


@dataclass
class Lab:
    """One storage, reached as this process of a test run would, and as a stranger would."""

    kind: str
    scheme: str
    kwargs: Mapping[str, str]
    isolation: str
    tmp: Path
    awaited: bool = False
    """Whether tests use an `AsyncStorage`."""
    process: Process = field(default_factory=Process.new)
    _operators: list[Any] = field(default_factory=list)
    _runs: list[Run] = field(default_factory=list)

    @property
    def run(self) -> Run:
        """The storages of this process; made with the first use."""
        if not self._runs:
            self._runs.append(self.new_run())
        return self._runs[0]

    def settings(self, **keys: object) -> StorageSettings:
        """Return the storage ``lab`` of a configuration, which has ``keys`` beside the usual ones."""
        entry = {
            **self._way,
            "isolation": self.isolation,
            "remove_created_on_close": True,
            "timeout": 30,
            **keys,
        }
        lab = from_mapping({"storages": {"lab": entry}}, source="lab", base=self.tmp, environ={})
        return lab.storage("lab")

    @property
    def is_remote(self) -> bool:
        """Whether it is behind an exporter."""
        return self.kind.startswith("exporter_")

    @property
    def _way(self) -> dict[str, object]:
        if self.is_remote:
            return {"jumpstarter": {"exporter_config": str(self._exporter_config())}}
        return {"scheme": self.scheme, "kwargs": dict(self.kwargs)}

    def _exporter_config(self) -> Path:
        """Return an exporter configuration (JSON is YAML) that exports the storage."""
        file = self.tmp / "exporter.yaml"
        config = {"scheme": self.scheme, "kwargs": dict(self.kwargs)}
        driver = {"type": "jumpstarter_driver_opendal.driver.Opendal", "config": config}
        metadata = {"namespace": "default", "name": "lab"}
        exporter = {"kind": "ExporterConfig", "metadata": metadata, "export": {"storage": driver}}
        file.write_text(json.dumps({"apiVersion": "jumpstarter.dev/v1alpha1", **exporter}))
        return file

    def new_run(self) -> Run:
        """Return what one process of a test run does."""
        hooks = Hooks(add_layers=self._capture)
        return Run(process=self.process, journal_dir=self.tmp / "journals", hooks=hooks)

    def _capture(self, _name: str, operator: Any) -> Any:
        self._operators.append(operator)
        return operator

    def hold(self, test: str = TEST, **keys: Any) -> Held:
        """Return a new storage object for a test; ``keys`` change the settings of this one only."""
        return self.run.open(self.settings(**keys), test)

    def open(self, **keys: Any) -> Storage:
        """Return a new storage object."""
        storage = self.hold(**keys).storage
        return awaited(storage) if self.awaited else storage

    def end(self, held: Held, keep: Reason | None = None) -> TestNote:
        """End a storage object as its fixture does."""
        note = self.run.end(held, keep)
        held.warn()
        return note

    def finish(self) -> None:
        """End this process as a run's end does."""
        self.run.finish()

    def close(self) -> None:
        """Let go of everything, whatever a test left."""
        for run in self._runs:
            run.close()

    def replayed(self) -> list[journal.Record]:
        """Return what would be read back if this process were killed now."""
        path = self.run.journal.path
        return list(journal.replay(path).records) if path.exists() else []

    # -- what the storage can do

    def lacks(self, feature: str) -> str:
        """Return why the service cannot do something, ``""`` when it can."""
        return _LACKS[self.kind].get(feature, "")

    def need(self, *features: str) -> None:
        """Skip the test when the service itself cannot do what it is about."""
        for feature in features:
            if reason := self.lacks(feature):
                pytest.skip(reason)

    @property
    def has_directories(self) -> bool:
        """Whether directories are things of their own."""
        return self.kind in {"fs", "wsgidav", "exporter_fs"}

    # -- the same storage without us

    @property
    def stranger(self) -> Stranger:
        """Somebody else who uses the same storage."""
        if not self._operators and self.is_remote:
            self._operators.append(opendal.AsyncOperator(self.scheme, **self.kwargs))
        if not self._operators:
            self.run.connection(self.settings())
        return Stranger(self, self._operators[0])

    @property
    def area(self) -> str:
        """Where the paths of a test's storage object begin, ``""`` or ending with ``/``."""
        if self.isolation == "none":
            return ""
        from pytest_opendal.run import slug

        return f"pytest-opendal/{self.process.run_id}/main/{slug(TEST)}/"


@dataclass
class Stranger:
    """Uses a plain opendal operator; paths are those of the lab's storage objects.

    A path with a leading slash is below the storage's root, outside of the isolation area.
    """

    lab: Lab
    operator: opendal.AsyncOperator

    def _run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.lab.run.loop.run(call)

    def _place(self, path: str) -> str:
        return path[1:] if path.startswith("/") else self.lab.area + path

    def write(self, path: str, data: bytes = b"theirs") -> None:
        """Write a file."""

        async def call() -> None:
            await self.operator.write(self._place(path), data)

        self._run(call())

    def read(self, path: str) -> bytes:
        """Return a file's content."""

        async def call() -> bytes:
            return bytes(await self.operator.read(self._place(path)))

        content: bytes = self._run(call())
        return content

    def create_dir(self, path: str) -> None:
        """Make a directory."""

        async def call() -> None:
            await self.operator.create_dir(self._place(path))

        self._run(call())

    def delete(self, path: str) -> None:
        """Remove a file or an empty directory."""

        async def call() -> None:
            await self.operator.delete(self._place(path))

        self._run(call())

    def clear(self) -> None:
        """Remove everything below the root."""

        async def call() -> None:
            await self.operator.remove_all("/")

        self._run(call())

    def everything(self) -> dict[str, bytes | None]:
        """Return all files below the root with their content; directories end with ``/``."""
        if self.lab.kind == "redis":
            return _redis_content(self.lab.kwargs)

        async def call() -> dict[str, bytes | None]:
            return {path: content async for path, content in self._walk()}

        found: dict[str, bytes | None] = self._run(call())
        return found

    async def _walk(self) -> AsyncIterator[tuple[str, bytes | None]]:
        async for entry in await self.operator.scan("/"):
            if entry.path not in {"/", ""}:
                yield entry.path, await self._content(entry.path)

    async def _content(self, path: str) -> bytes | None:
        return None if path.endswith("/") else bytes(await self.operator.read(path))


def _redis_content(kwargs: Mapping[str, str]) -> dict[str, bytes | None]:
    """Ask redis itself, since opendal cannot list it."""
    address = urlsplit(kwargs["endpoint"])
    root = kwargs["root"].strip("/") + "/"
    with (
        socket.create_connection(
            (str(address.hostname), address.port or 0), timeout=5
        ) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(f"AUTH {kwargs['password']}\r\nKEYS *\r\n".encode())
        answers.readline()
        count = int(answers.readline()[1:])
        keys = [answers.read(int(answers.readline()[1:]) + 2)[:-2].decode() for _ in range(count)]
    names = [key.lstrip("/").removeprefix(root) for key in keys if key.lstrip("/").startswith(root)]
    return dict.fromkeys(names)


@contextmanager
def lab_of(
    kind: str, request: pytest.FixtureRequest, tmp: Path, isolation: str = "none"
) -> Iterator[Lab]:
    """Yield a storage of the given kind with an empty root of its own; starts its server."""
    scheme, kwargs = address_of(kind.removeprefix("exporter_"), request, tmp)
    lab = Lab(kind, scheme, kwargs, isolation, tmp)
    try:
        yield lab
    finally:
        if scheme == "s3":
            lab.stranger.clear()  # other tests look at the whole bucket
        lab.close()


def address_of(kind: str, request: pytest.FixtureRequest, tmp: Path) -> tuple[str, dict[str, str]]:
    if kind == "memory":
        return "memory", {}
    if kind == "fs":
        root = tmp / "above" / "root"
        root.mkdir(parents=True)
        return "fs", {"root": str(root)}
    server = request.getfixturevalue(kind)
    root_name = f"root-{secrets.token_hex(6)}"
    if kind == "wsgidav":
        (server.directory / root_name).mkdir()
    scheme = {"wsgidav": "webdav", "redis": "redis"}.get(kind, "s3")
    return scheme, {**server.kwargs, "root": f"/{root_name}"}


_WAYS = [*(f"{kind}{area}" for kind in KINDS for area in ("", "-area")), "fs-awaited"]


@pytest.fixture(params=_WAYS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Each storage, with literal paths and (``-area``) in the isolation area of a test.

    One of them once more through the `AsyncStorage` (``-awaited``).
    """
    kind, _, way = request.param.partition("-")
    with lab_of(kind, request, tmp_path, "test" if way == "area" else "none") as found:
        found.awaited = way == "awaited"
        yield found


@pytest.fixture(params=KINDS)
def plain_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Each storage with literal paths."""
    with lab_of(request.param, request, tmp_path) as found:
        yield found


@pytest.fixture(params=["seaweedfs", "moto"])
def s3_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Each dialect of S3."""
    with lab_of(request.param, request, tmp_path) as found:
        yield found


@pytest.fixture
def fs_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A directory of this machine."""
    with lab_of("fs", request, tmp_path) as found:
        yield found


@pytest.fixture
def storage(lab: Lab) -> Storage:
    """A storage object of each storage."""
    return lab.open()
