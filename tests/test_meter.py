"""A transfer is shown when it takes long, one at a time, and no longer than it lasts."""

from __future__ import annotations

import pytest

from pytest_opendal.meter import SHOWN_AFTER_SECONDS, Meter, Progress

MIB = 1 << 20


class Watch:
    """A clock that stands still, and what was shown."""

    def __init__(self) -> None:
        self.time = 100.0
        self.shown: list[Progress | None] = []
        self.meter = Meter(self.shown.append, lambda: self.time)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_short_transfer_is_not_shown(watch: Watch) -> None:
    with watch.meter.moving("lab: write a", 3 * MIB) as moving:
        for _ in range(3):
            watch.time += SHOWN_AFTER_SECONDS / 4
            moving.add(MIB)
    assert watch.shown == []


def test_a_long_one_is_shown_until_it_ends(watch: Watch) -> None:
    with watch.meter.moving("lab: write a", 3 * MIB) as moving:
        for _ in range(3):
            watch.time += 1
            moving.add(MIB)
    assert watch.shown == [
        Progress("lab: write a", 2 * MIB, 3 * MIB, 2.0),
        Progress("lab: write a", 3 * MIB, 3 * MIB, 3.0),
        None,
    ]


def test_it_is_not_shown_more_often_than_anybody_can_read(watch: Watch) -> None:
    with watch.meter.moving("lab: write a") as moving:
        watch.time += 10
        for _ in range(1000):
            watch.time += 0.001
            moving.add(1)
    assert 4 <= len(watch.shown) <= 7


def test_of_two_at_once_the_first_is_shown(watch: Watch) -> None:
    with watch.meter.moving("first") as first:
        with watch.meter.moving("second") as second:
            watch.time += 5
            first.add(1)
            second.add(1)
        assert watch.shown == [Progress("first", 1, None, 5.0)]
    assert watch.shown[1:] == [None]


def test_the_next_is_shown_when_the_first_has_ended(watch: Watch) -> None:
    with watch.meter.moving("second") as second:
        with watch.meter.moving("first") as first:
            watch.time += 5
            first.add(1)
        second.add(7)
    assert [one and one.what for one in watch.shown] == ["first", None, "second", None]


def test_a_transfer_that_fails_is_shown_no_longer(watch: Watch) -> None:
    with pytest.raises(OSError, match="gone"), watch.meter.moving("lab: read a") as moving:
        watch.time += 5
        moving.add(1)
        raise OSError("gone")
    assert watch.shown[-1] is None


def test_its_size_is_wanted_only_when_it_is_shown(watch: Watch) -> None:
    with watch.meter.moving("lab: read a") as moving:
        assert not moving.wants_total
        watch.time += SHOWN_AFTER_SECONDS
        assert moving.wants_total
        moving.total = 5
        assert not moving.wants_total


def test_nobody_watching_wants_nothing() -> None:
    with Meter(now=lambda: 0.0).moving("lab: read a") as moving:
        moving.add(1)
        assert not moving.wants_total
