"""The document that a run writes, and the schema that says what is in it."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from pytest_opendal import jsonreport
from pytest_opendal.jsonreport import to_json, write_json
from pytest_opendal.report import (
    Collector,
    Conflict,
    Leftover,
    Reason,
    Remnants,
    RunReport,
    StorageInfo,
    Work,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SDCARD = StorageInfo("sdcard", "fs", "/srv/lab/sdcard", "0.47.12")
SCHEMA: dict[str, Any] = json.loads(jsonreport.schema())


def leftover(
    path: str = "a.bin",
    *,
    kind: str = "file",
    size: int | None = 1,
    reason: Reason = Reason.KEPT,
    error: str | None = None,
    holds: tuple[str, ...] = (),
) -> Leftover:
    """Return a leftover that matters in the given values only."""
    return Leftover("sdcard", path, kind, size, "t.py::test_a", "gw0", reason, error, holds)


def report(*leftovers: Leftover) -> RunReport:
    """Return a report with something in every part."""
    return RunReport(
        run_id="run-1",
        storages=(SDCARD,),
        created=3,
        removed=1,
        leftovers=leftovers,
        remnants=(Remnants("run-0", "2025-01-01T00:00:00+00:00", "lab-3", "sdcard", 12),),
        conflicts=(Conflict("sdcard", "x", ("t::a", "t::b"), ("gw0", "gw1")),),
        work=(Work(SDCARD, 3, 1, 2048, 1),),
    )


class TestJson:
    """The document of ``--opendal-report``."""

    def test_it_has_exactly_the_documented_keys(self) -> None:
        failed = leftover("b", reason=Reason.FAILED, error="PermissionDenied: b")
        foreign = leftover("logs", kind="dir", size=None, reason=Reason.FOREIGN, holds=("logs/x",))
        assert to_json(report(failed, foreign)) == {
            "version": 1,
            "run_id": "run-1",
            "storages": [
                {
                    "name": "sdcard",
                    "scheme": "fs",
                    "location": "/srv/lab/sdcard",
                    "opendal": "0.47.12",
                    "created": 3,
                    "removed": 1,
                    "bytes_written": 2048,
                    "bytes_left": 1,
                }
            ],
            "created": 3,
            "removed": 1,
            "leftovers": [
                {
                    "storage": "sdcard",
                    "path": "b",
                    "kind": "file",
                    "size": 1,
                    "test": "t.py::test_a",
                    "worker": "gw0",
                    "reason": "delete failed",
                    "error": "PermissionDenied: b",
                },
                {
                    "storage": "sdcard",
                    "path": "logs",
                    "kind": "dir",
                    "size": None,
                    "test": "t.py::test_a",
                    "worker": "gw0",
                    "reason": "holds files of others",
                    "error": None,
                    "holds": ["logs/x"],
                },
            ],
            "remnants": [
                {
                    "run_id": "run-0",
                    "started": "2025-01-01T00:00:00+00:00",
                    "host": "lab-3",
                    "storage": "sdcard",
                    "count": 12,
                }
            ],
            "conflicts": [
                {
                    "storage": "sdcard",
                    "path": "x",
                    "tests": ["t::a", "t::b"],
                    "workers": ["gw0", "gw1"],
                }
            ],
        }

    def test_the_file_holds_the_document_with_one_record_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "deep" / "report.json"
        left = report(leftover("ü\udcff"), leftover("b"))
        write_json(path, left)
        text = path.read_text(encoding="utf-8")
        assert json.loads(text) == to_json(left)
        assert sum('"path": ' in line for line in text.splitlines()) == 3
        assert list(path.parent.iterdir()) == [path]

    def test_an_empty_report_is_a_document_too(self, tmp_path: Path) -> None:
        empty = Collector("run-1").result()
        write_json(tmp_path / "r.json", empty)
        assert json.loads((tmp_path / "r.json").read_text()) == to_json(empty)

    def test_an_old_report_is_replaced_with_the_rights_of_any_new_file(
        self, tmp_path: Path
    ) -> None:
        path, other = tmp_path / "r.json", tmp_path / "other"
        path.write_text("old")
        other.touch()
        write_json(str(path), report())
        assert json.loads(path.read_text())["run_id"] == "run-1"
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)

    @pytest.mark.parametrize("name", [f"{'r' * 250}.json", f"{'ä' * 125}.json"])
    def test_its_name_may_be_as_long_as_that_of_any_file(self, tmp_path: Path, name: str) -> None:
        write_json(tmp_path / name, report())
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
        write_json(tmp_path / "link.json", report())
        assert (tmp_path / "link.json").is_symlink()
        assert json.loads((tmp_path / "real.json").read_text())["version"] == 1

    @pytest.mark.skipif(sys.platform == "win32", reason="a named pipe stands for a device")
    def test_a_device_is_written_to_and_stays(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            write_json(pipe, report())
            assert json.loads(os.read(reader, 65536))["run_id"] == "run-1"
        finally:
            os.close(reader)
        assert pipe.is_fifo()

    @pytest.mark.parametrize("bad", ["", "file/report.json"], ids=["directory", "below a file"])
    def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
        self, tmp_path: Path, bad: str
    ) -> None:
        (tmp_path / "file").write_text("keep")
        with pytest.raises(OSError, match=r"\Acannot write the opendal report .+: .+\Z"):
            write_json(tmp_path / bad, report())
        assert list(tmp_path.iterdir()) == [tmp_path / "file"]
        assert not [p for p in tmp_path.parent.iterdir() if p.name.endswith(".tmp")]

    def test_a_leftover_names_its_place_where_several_have_the_name(self) -> None:
        elsewhere = replace(SDCARD, location="/srv/other")
        told = report(leftover(), replace(leftover(), location="/srv/other"))
        document = to_json(replace(told, storages=(SDCARD, elsewhere)))
        jsonschema.validate(document, _strict(SCHEMA))
        assert [left["location"] for left in document["leftovers"]] == ["", "/srv/other"]
        assert [info["created"] for info in document["storages"]] == [3, 0]


class TestSchema:
    """The published description of the document."""

    def test_it_is_a_schema(self) -> None:
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    @pytest.mark.parametrize("reason", Reason)
    def test_documents_are_what_it_says(self, reason: Reason) -> None:
        held = leftover("d", kind="dir", size=None, reason=reason, error="no", holds=("d/x",))
        jsonschema.validate(to_json(report(held, leftover(reason=reason))), _strict(SCHEMA))
        jsonschema.validate(to_json(Collector("run-1").result()), _strict(SCHEMA))

    @pytest.mark.parametrize("key", ["version", "storages", "conflicts"])
    def test_a_document_that_lacks_a_key_is_refused(self, key: str) -> None:
        document = to_json(report())
        del document[key]
        with pytest.raises(jsonschema.ValidationError, match=key):
            jsonschema.validate(document, SCHEMA)

    def test_each_key_is_described(self) -> None:
        for name, part in _properties(SCHEMA):
            assert "description" in part or "$ref" in part, name

    def test_reasons_are_those_of_the_code(self) -> None:
        reasons = SCHEMA["$defs"]["leftover"]["properties"]["reason"]["enum"]
        assert reasons == [str(reason) for reason in Reason]


def _strict(schema: Any) -> Any:
    """Return the schema with no room for keys that it does not name."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _strict(part) for name, part in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in schema else closed


def _properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in (schema, *schema["$defs"].values()):
        yield from part.get("properties", {}).items()
