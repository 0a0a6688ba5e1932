"""What crosses processes, how it is merged, and the document that a run writes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from pytest_opendal.report import (
    Claim,
    Collector,
    Conflict,
    Leftover,
    Reason,
    Remnants,
    RunReport,
    StorageInfo,
    TestNote,
    Work,
    pack_properties,
    unpack_properties,
    user_properties,
    verdict,
)

SDCARD = StorageInfo("sdcard", "fs", "/srv/lab/sdcard", "0.47.12")
RESULTS = StorageInfo("results", "s3", "http://127.0.0.1:9000/lab", "0.47.12")


def leftover(
    path: str = "a.bin",
    *,
    storage: str = "sdcard",
    test: str = "t.py::test_a",
    worker: str = "gw0",
    kind: str = "file",
    size: int | None = 1,
    reason: Reason = Reason.KEPT,
    error: str | None = None,
    holds: tuple[str, ...] = (),
) -> Leftover:
    """Return a leftover that matters in the given values only."""
    place = {"sdcard": SDCARD.location, "results": RESULTS.location}.get(storage, "")
    return Leftover(storage, path, kind, size, test, worker, reason, error, holds, place)


def note(*leftovers: Leftover, **values: Any) -> TestNote:
    """Return a note of one test."""
    return TestNote(test="t.py::test_a", worker="gw0", leftovers=leftovers, **values)


FULL_NOTE = TestNote(
    test="t.py::test_a",
    worker="gw1",
    created=7,
    removed=2,
    written=4096,
    leftovers=(
        leftover("b.bin"),
        leftover("a.bin", size=None),
        leftover("c.bin", reason=Reason.FAILED, error="PermissionDenied: c.bin"),
        leftover("d.bin", reason=Reason.FAILED),
        leftover("logs", kind="dir", size=None, reason=Reason.FOREIGN, holds=("logs/x", "logs/ü")),
        leftover("b.bin", storage="results", test="", worker="gw2"),
    ),
    claims=(Claim("sdcard", "a", 1.5, 2.5), Claim("sdcard", "b", 1.75, 3), Claim("r", "a", 1, 2)),
    directories={"sdcard": ("logs", "logs/deep"), "results": ()},
    storages=(SDCARD, RESULTS),
)


class TestWire:
    """What xdist carries from a worker to the controller."""

    @pytest.mark.parametrize("original", [FULL_NOTE, TestNote("", "main")], ids=["full", "empty"])
    def test_a_note_comes_back_as_it_was(self, original: TestNote) -> None:
        assert TestNote.from_json(original.to_json()) == original

    def test_what_comes_back_can_be_compared_and_hashed(self) -> None:
        back = TestNote.from_json(FULL_NOTE.to_json())
        assert {type(left.reason) for left in back.leftovers} == {Reason}
        assert hash(back.leftovers[4])

    def test_a_note_survives_execnet(self) -> None:
        gateway_base = pytest.importorskip("execnet.gateway_base", reason="xdist not installed")
        carried = gateway_base.loads(gateway_base.dumps(FULL_NOTE.to_json()))
        assert TestNote.from_json(carried) == FULL_NOTE

    def test_an_error_that_is_no_unicode_can_be_carried(self) -> None:
        """It may quote a local file whose name is bytes."""
        broken = note(leftover(reason=Reason.FAILED, error="no file 'a\udcff'"))
        carried = TestNote.from_json(broken.to_json())
        assert carried.leftovers[0].error == "no file 'a\\udcff'"

    def test_what_leftovers_have_in_common_is_carried_once(self) -> None:
        many = note(*(leftover(f"file-{i}") for i in range(1000)))
        assert many.to_json().count("retention") == 1


def test_the_properties_of_a_report_cross_as_one_text() -> None:
    others: list[Any] = [("requirement", 7), ("unhashable", []), "no pair"]
    theirs = ("opendal_leftover", "sdcard:ü")
    data: dict[str, Any] = {
        "nodeid": "t",
        "user_properties": [others[0], theirs, *others[1:], theirs],
    }
    pack_properties(data)
    assert data["user_properties"] == others
    assert isinstance(data["opendal_leftover"], str)
    unpack_properties(data)
    assert data == {"nodeid": "t", "user_properties": [*others, theirs, theirs]}


@pytest.mark.parametrize("data", [{"nodeid": "t"}, {"user_properties": [("a", 1)]}])
def test_a_report_without_leftovers_crosses_as_it_is(data: dict[str, Any]) -> None:
    before = dict(data)
    pack_properties(data)
    assert data == before
    unpack_properties(data)
    assert data == before


def test_the_properties_of_a_test_name_its_leftovers() -> None:
    assert user_properties(note(leftover("a"), leftover("b/c", storage="results"))) == [
        ("opendal_leftover", "sdcard:a"),
        ("opendal_leftover", "results:b/c"),
    ]


class TestCollector:
    """The merging of notes."""

    def test_work_is_counted_per_storage(self) -> None:
        collector = Collector("run-1", [SDCARD, RESULTS])
        collector.add(note(created=3, removed=3, written=30, storages=(SDCARD,)))
        kept = (leftover("a", size=7), leftover("m", size=99, reason=Reason.MOVED))
        collector.add(note(*kept, created=2, removed=1, written=12, storages=(SDCARD,)))
        collector.add(note(created=1, removed=1, written=5, storages=(RESULTS,)))
        result = collector.result()
        assert result.work == (Work(SDCARD, 5, 4, 42, 7), Work(RESULTS, 1, 1, 5, 0))
        assert (result.created, result.removed) == (6, 5)

    def test_a_run_without_notes_tells_nothing(self) -> None:
        assert Collector("run-1", [SDCARD]).result() == RunReport(
            "run-1", (SDCARD,), 0, 0, (), (), ()
        )

    def test_counts_add_up(self) -> None:
        collector = Collector("run-1")
        collector.add(note(created=3, removed=2))
        collector.add(note(created=4, removed=4))
        assert (collector.result().created, collector.result().removed) == (7, 6)

    def test_leftovers_are_ordered_whatever_the_order_of_the_notes(self) -> None:
        ordered = [
            leftover(f"{path}-{test}", storage=storage, test=test)
            for storage in ("results", "sdcard")
            for test in ("", "t.py::a", "t.py::b")
            for path in ("a", "a/b", "c")
        ]
        shuffled = random.Random(1).sample(ordered, len(ordered))  # noqa: S311
        collector = Collector("run-1")
        for left in shuffled:
            collector.add(note(left))
        assert collector.result().leftovers == tuple(ordered)

    def test_the_last_word_on_a_leftover_counts(self) -> None:
        """A test that is run again may leave the same path again."""
        collector = Collector("run-1")
        collector.add(note(leftover(size=1)))
        collector.add(note(leftover(size=2)))
        assert collector.result().leftovers == (leftover(size=2),)

    def test_one_test_on_two_workers_leaves_two_resources(self) -> None:
        collector = Collector("run-1")
        collector.add(note(leftover(worker="gw1"), leftover(worker="gw0")))
        assert [left.worker for left in collector.leftovers()] == ["gw0", "gw1"]

    def test_discarded_leftovers_count_as_removed(self) -> None:
        collector = Collector("run-1")
        collector.add(note(leftover("a"), leftover("b"), leftover("a", storage="r"), created=3))
        assert collector.discard(SDCARD, ["a", "unknown"]) == 1
        report = collector.result()
        assert report.leftovers == (leftover("a", storage="r"), leftover("b"))
        assert report.removed == 1

    def test_discard_can_mean_one_worker_only(self) -> None:
        collector = Collector("run-1")
        collector.add(note(leftover(worker="gw0"), leftover(worker="gw1")))
        collector.discard(SDCARD, ["a.bin"], worker="gw1")
        assert collector.leftovers() == (leftover(worker="gw0"),)

    def test_two_places_with_one_name_are_two_storages(self) -> None:
        elsewhere = replace(SDCARD, location="/srv/other/sdcard")
        here, there = leftover("d"), replace(leftover("d"), location=elsewhere.location)
        collector = Collector("run-1", [SDCARD])
        for left, info in ((here, SDCARD), (there, elsewhere)):
            collector.add(note(left, created=1, storages=(info,), directories={"sdcard": ("d",)}))
        assert collector.result().storages == (SDCARD, elsewhere)
        assert collector.leftovers() == (here, there)
        collector.discard(elsewhere, ["d"])
        report = collector.result()
        assert report.leftovers == (here,)
        assert report.work == (Work(SDCARD, 1, 0, 0, 1), Work(elsewhere, 1, 1, 0, 0))
        assert collector.directories() == {elsewhere: ["d"]}

    def test_a_directory_that_is_kept_elsewhere_is_tried_again(self) -> None:
        elsewhere = replace(SDCARD, location="/srv/other/sdcard")
        collector = Collector("run-1")
        collector.add(note(leftover("d"), created=1, storages=(SDCARD,)))
        collector.add(note(directories={"sdcard": ("d",)}, storages=(elsewhere,)))
        assert collector.directories()[elsewhere] == ["d"]

    def test_what_two_tests_leave_at_one_path_is_one_resource(self) -> None:
        first, second = leftover("a", test="t::1", size=5), leftover("a", test="t::2", size=7)
        collector = Collector("run-1")
        for left in (first, second):
            collector.add(note(left, created=1, storages=(SDCARD,)))
        assert collector.leftovers() == (second,)
        assert collector.result().work == (Work(SDCARD, 2, 1, 0, 7),)

    def test_what_was_not_counted_as_created_is_not_counted_as_removed(self) -> None:
        """A directory that a test registered is one resource, and all in it is left."""
        names = ["dev", *(f"dev/{number}" for number in range(5))]
        collector = Collector("run-1")
        for _ in range(2):  # attempts
            left = [replace(leftover(name), created=name == "dev") for name in names]
            collector.add(note(*left, created=1, storages=(SDCARD,)))
            collector.add(note(withdrawn=tuple(names), storages=(SDCARD,)))
        collector.add(note(created=1, removed=1, storages=(SDCARD,)))
        assert collector.result().work == (Work(SDCARD, 3, 3),)

    def test_directories_come_children_first_and_once(self) -> None:
        collector = Collector("run-1")
        info = StorageInfo("sdcard", "fs", "/srv/lab", "0.47.12")
        for names in (("a", "a/b"), ("a/b", "a/b/c", "b")):
            collector.add(note(directories={"sdcard": names}, storages=(info,)))
        assert collector.directories() == {info: ["a/b/c", "a/b", "a", "b"]}

    def test_remnants_are_told_once_and_in_order(self) -> None:
        later = Remnants("run-0b", "2025-01-02T00:00:00", "host", "sdcard", 3)
        earlier = Remnants("run-0a", "2025-01-01T00:00:00", "host", "sdcard", 2)
        collector = Collector("run-1")
        collector.add_remnants([later, earlier])
        collector.add_remnants([later])
        assert collector.result().remnants == (earlier, later)

    def test_a_note_knows_a_storage_better_than_the_configuration(self) -> None:
        leased = StorageInfo("dut", "jumpstarter", "rpi4-07 dut.storage", "0.45.20")
        collector = Collector(
            "run-1", [StorageInfo("dut", "jumpstarter", "board=rpi4", ""), SDCARD]
        )
        collector.add(note(storages=(RESULTS, leased)))
        assert collector.result().storages == (leased, SDCARD, RESULTS)

    def test_claims_of_two_workers_become_conflicts(self) -> None:
        collector = Collector("run-1")
        for worker in ("gw0", "gw1"):
            claims = (Claim("sdcard", "x", 1, 2),)
            collector.add(TestNote(f"t::{worker}", worker, claims=claims, storages=(SDCARD,)))
        assert collector.result().conflicts == (
            Conflict("sdcard", "x", ("t::gw0", "t::gw1"), ("gw0", "gw1")),
        )

    def test_claims_on_different_boards_are_no_conflict(self) -> None:
        collector = Collector("run-1")
        for worker in ("gw0", "gw1"):
            board = StorageInfo("dut", "jumpstarter", f"board of {worker}", "0.45.20")
            claims = (Claim("dut", "x", 1, 2),)
            collector.add(TestNote(f"t::{worker}", worker, claims=claims, storages=(board,)))
        assert collector.result().conflicts == ()


@pytest.mark.parametrize(
    ("reason", "count"),
    [
        (Reason.KEPT, 1),
        (Reason.KEPT_FAILED, 0),
        (Reason.FAILED, 1),
        (Reason.FOREIGN, 0),
        (Reason.MOVED, 1),
        (Reason.CRASHED, 0),
        (Reason.REMNANT, 0),
    ],
)
def test_which_leftovers_fail_a_run(reason: Reason, count: int) -> None:
    """Remnants, which the report also has, never do."""
    collector = Collector("run-1")
    collector.add(note(leftover(reason=reason)))
    collector.add_remnants([Remnants("run-0", "2025-01-01", "lab-3", "sdcard", 12)])
    assert verdict(collector.result()) == count
