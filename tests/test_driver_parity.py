"""A test written for Jumpstarter's ``OpendalClient`` passes unchanged: its own tests and doctests do.

They are collected from the installed driver package and run on a storage attached to this host, and
on one behind an exporter.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import files, models, storage

import exporters
from contract import HAS_JUMPSTARTER, lab_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from pytest_opendal.storage import Storage

    from contract import Lab

# What only the driver's own object has: its name in the exporter's tree and its command line.
DRIVER_ONLY = {"cli"}


def _driver(name: str) -> ModuleType:
    # It changes the global warning filters at import.
    return importlib.import_module(f"jumpstarter_driver_opendal.{name}")


def _client_tests() -> list[str]:
    if not HAS_JUMPSTARTER:
        return []
    module = _driver("driver_test")
    return sorted(
        name
        for name, test in vars(module).items()
        if name.startswith("test_")
        and callable(test)
        and "opendal" in inspect.signature(test).parameters
    )


def _examples() -> dict[str, doctest.DocTest]:
    if not HAS_JUMPSTARTER:
        return {}
    client = _driver("client").OpendalClient
    found = doctest.DocTestFinder(recurse=False)
    own = {name: method for name, method in vars(client).items() if callable(method)}
    tests = {name: found.find(method, name, globs={}) for name, method in own.items()}
    return {name: cases[0] for name, cases in tests.items() if cases and cases[0].examples}


@pytest.fixture(params=["fs-none", "fs-test", "exporter_fs-none", "exporter_fs-test"])
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A directory of this machine or of an exporter, with literal paths and in an isolation area."""
    kind, _, isolation = request.param.partition("-")
    with lab_of(kind, request, tmp_path, isolation) as lab:
        yield lab


@pytest.fixture
def opendal(fs: Lab) -> Storage:
    """What the driver's tests take for an ``OpendalClient``."""
    return fs.open()


@exporters.needs_jumpstarter
def test_the_driver_has_as_many_tests_and_examples_as_we_know() -> None:
    assert len(_client_tests()) == 6
    assert len(_examples()) >= 14


@exporters.needs_jumpstarter
@pytest.mark.parametrize("name", _client_tests() or ["none"])
def test_of_the_driver_passes_unchanged(name: str, opendal: Storage, tmp_path: Path) -> None:
    test: Callable[..., None] = getattr(_driver("driver_test"), name)
    given: dict[str, Any] = {"opendal": opendal, "tmp_path": tmp_path}
    test(**{argument: given[argument] for argument in inspect.signature(test).parameters})


@exporters.needs_jumpstarter
@pytest.mark.parametrize("name", sorted(_examples()) or ["none"])
def test_example_of_the_driver_passes_unchanged(
    name: str, opendal: Storage, tmp_path: Path
) -> None:
    example = _examples()[name]
    example.globs.update(opendal=opendal, tmp=tmp_path)
    told: list[str] = []
    failed = doctest.DocTestRunner(verbose=False).run(example, out=told.append).failed
    assert not failed, "".join(told)


@exporters.needs_jumpstarter
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("OpendalClient", storage.Storage), ("OpendalFile", files.StorageFile)],
)
def test_all_methods_are_there_with_the_same_arguments(theirs: str, ours: type) -> None:
    known = vars(getattr(_driver("client"), theirs))
    public = {name: method for name, method in known.items() if not name.startswith("_")}
    assert public
    for name, method in public.items():
        if name in {*DRIVER_ONLY, "client", "fd"}:
            continue
        assert hasattr(ours, name), name
        if not isinstance(method, property):
            wanted = list(inspect.signature(inspect.unwrap(method)).parameters)
            given = list(inspect.signature(getattr(ours, name)).parameters)
            assert given[: len(wanted)] == wanted, name


@exporters.needs_jumpstarter
@pytest.mark.parametrize("name", ["EntryMode", "Metadata", "PresignedRequest", "Capability"])
def test_the_models_have_the_fields_of_the_driver(name: str) -> None:
    theirs = getattr(_driver("common"), name).model_fields
    ours = getattr(models, name).model_fields
    assert set(theirs) <= set(ours)
    for field, info in theirs.items():
        assert (info.serialization_alias or field) == (ours[field].serialization_alias or field)


@exporters.needs_jumpstarter
def test_the_metadata_has_the_json_of_the_driver(opendal: Storage, fs: Lab) -> None:
    import asyncio

    opendal.write_bytes("f", b"content")
    raw = asyncio.run(_stat(fs, f"{fs.area}f"))
    model = _driver("common").Metadata.model_validate(raw, from_attributes=True)
    theirs = json.loads(model.model_dump_json(by_alias=True))
    ours = json.loads(opendal.stat("f").model_dump_json(by_alias=True))
    assert theirs.items() <= ours.items()


async def _stat(fs: Lab, path: str) -> Any:
    return await fs.stranger.operator.stat(path)
