"""Which claims of two workers are conflicts, and which are not."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_opendal.conflicts import Conflict, ConflictFinder

_Row = tuple[str, str, float, float]
"""Worker, test, start, end."""


def found(*rows: _Row, path: str = "boot.cfg") -> tuple[Conflict, ...]:
    """Return the conflicts of claims on one path."""
    finder = ConflictFinder()
    for worker, test, start, end in rows:
        finder.add("sdcard", "fs /srv", path, worker=worker, test=test, start=start, end=end)
    return finder.conflicts()


def test_two_workers_that_hold_one_path_at_once_conflict() -> None:
    assert found(("gw1", "t::b", 2, 5), ("gw0", "t::a", 1, 3)) == (
        Conflict("sdcard", "boot.cfg", ("t::a", "t::b"), ("gw0", "gw1")),
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("gw0", "t::a", 1, 2), ("gw1", "t::b", 3, 4), id="one after the other"),
        pytest.param(("gw0", "t::a", 1, 2), ("gw1", "t::b", 2, 4), id="back to back"),
        pytest.param(("gw0", "t::a", 1, 9), ("gw0", "t::b", 2, 4), id="the same worker"),
        pytest.param(("gw0", "", 1, 9), ("gw0", "t::b", 2, 4), id="a session and its own test"),
    ],
)
def test_claims_that_do_not_meet_are_no_conflict(one: _Row, other: _Row) -> None:
    assert found(one, other) == ()


def test_a_short_claim_within_a_long_one_conflicts() -> None:
    assert len(found(("gw0", "t::a", 1, 9), ("gw1", "t::b", 4, 4))) == 1


def test_a_long_claim_conflicts_with_each_that_it_meets() -> None:
    conflicts = found(
        ("gw0", "t::long", 0, 10),
        ("gw1", "t::a", 1, 2),
        ("gw1", "t::b", 3, 4),
        ("gw2", "t::c", 5, 6),
    )
    assert [conflict.tests for conflict in conflicts] == [
        ("t::a", "t::long"),
        ("t::b", "t::long"),
        ("t::c", "t::long"),
    ]


def test_a_pair_of_tests_is_told_once_however_often_it_met() -> None:
    rows: list[_Row] = [("gw0", "t::a", i, i + 0.9) for i in range(5)]
    rows += [("gw1", "t::b", i + 0.5, i + 0.8) for i in range(5)]
    assert len(found(*rows)) == 1


def test_one_test_run_by_two_workers_conflicts_with_itself() -> None:
    (conflict,) = found(("gw1", "t::a", 1, 3), ("gw0", "t::a", 1, 3))
    assert (conflict.tests, conflict.workers) == (("t::a", "t::a"), ("gw0", "gw1"))


def test_the_same_path_at_two_places_is_no_conflict() -> None:
    """Each worker may have leased a board of its own for one storage."""
    finder = ConflictFinder()
    finder.add("dut", "board 1", "x", worker="gw0", test="t::a", start=1, end=3)
    finder.add("dut", "board 2", "x", worker="gw1", test="t::b", start=1, end=3)
    assert finder.conflicts() == ()


def test_one_place_under_two_names_conflicts() -> None:
    finder = ConflictFinder()
    finder.add("sdcard", "fs /srv", "x", worker="gw0", test="t::a", start=1, end=3)
    finder.add("card", "fs /srv", "x", worker="gw1", test="t::b", start=1, end=3)
    assert finder.conflicts() == (Conflict("sdcard", "x", ("t::a", "t::b"), ("gw0", "gw1")),)


def test_conflicts_are_ordered_by_storage_and_path() -> None:
    finder = ConflictFinder()
    for storage, path, worker in itertools.product("zs", "yb", ["gw1", "gw0"]):
        finder.add(storage, storage, path, worker=worker, test=f"t::{worker}", start=1, end=2)
    places = [(conflict.storage, conflict.path) for conflict in finder.conflicts()]
    assert places == [("s", "b"), ("s", "y"), ("z", "b"), ("z", "y")]


_CLAIMS = st.lists(
    st.tuples(
        st.sampled_from(["gw0", "gw1", "gw2"]),
        st.sampled_from(["t::a", "t::b", "t::c", "t::d"]),
        st.integers(0, 12),
        st.integers(1, 6),
    ),
    max_size=12,
)


@given(_CLAIMS)
def test_it_finds_what_comparing_each_with_each_finds(
    claims: list[tuple[str, str, int, int]],
) -> None:
    rows: list[_Row] = [(worker, test, start, start + n) for worker, test, start, n in claims]
    expected = {
        tuple(sorted([(one[1], one[0]), (other[1], other[0])]))
        for one, other in itertools.combinations(rows, 2)
        if one[0] != other[0] and one[2] < other[3] and other[2] < one[3]
    }
    got = [tuple(zip(c.tests, c.workers, strict=True)) for c in found(*rows)]
    assert set(got) == expected
    assert len(got) == len(expected)
