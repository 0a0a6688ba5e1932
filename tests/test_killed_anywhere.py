"""A run that is killed at any point, also between its note and what it noted, and then reaped."""

from __future__ import annotations

import random
import secrets
import shutil
from typing import TYPE_CHECKING

import pytest
import victims
from neighbours import POLICIES, Model, Stranger, contents, step_of_stranger, step_of_test

from pytest_opendal import remnants
from pytest_opendal.reap import Reaper

from contract import Lab, address_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_opendal.report import Leftover

STEPS = 25
POINTS = 150
_SEEDS = {"quick": range(3), "long": range(3, 60)}


@pytest.fixture(params=["fs", "moto"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Mapping[str, str]]:
    """Scheme and kwargs of a storage."""
    return address_of(request.param, request, tmp_path)


@pytest.fixture
def lab(address: tuple[str, Mapping[str, str]], tmp_path: Path) -> Iterator[Lab]:
    """The storage, with an empty root, as the run that comes after sees it."""
    scheme, kwargs = address
    root = kwargs["root"] if scheme == "fs" else f"/killed-{secrets.token_hex(4)}"
    lab = Lab(
        "fs" if scheme == "fs" else "moto", scheme, {**kwargs, "root": root}, "none", tmp_path
    )
    yield lab
    lab.stranger.clear()
    lab.close()


def reaped(lab: Lab) -> list[Leftover]:
    """Reap as the next run does; returns what is left."""
    reaper = Reaper(lab.run, [lab.settings()])
    found = remnants.find([lab.tmp / "journals"])
    assert not found.alone
    return [left for part in reaper.reap(found.remnants) for left in part.left]


def kill_and_reap(lab: Lab, on_existing: str, seed: str) -> None:
    """Let a test and a stranger use the storage until the test's process is killed; check all."""
    chance = random.Random(seed)  # noqa: S311
    stranger, theirs, ours = Stranger(lab), contents("theirs"), contents("ours")
    for _ in range(chance.randrange(6)):
        stranger.perform(step_of_stranger(chance.choice), next(theirs))
    model = Model(on_existing, stranger.sees(), has_directories=lab.has_directories)
    way = (lab.kind, lab.scheme, lab.kwargs, lab.tmp, on_existing, chance.randrange(POINTS))
    with victims.victim(*way) as victim:
        for _ in range(STEPS):
            if chance.random() < 0.3:
                step = step_of_stranger(chance.choice)
                if stranger.perform(step, next(theirs)):
                    model.heard(step, stranger.sees())
            step = step_of_test(chance.choice)
            done = victim.perform(step, next(ours))
            model.did(step, stranger.sees(), done=bool(done), killed=done is None)
            if done is None:
                break
        else:
            victim.end()
    left = reaped(lab)
    model.check_end(stranger.sees(), left)
    assert left or not list((lab.tmp / "journals").glob("*.journal"))


@pytest.mark.parametrize("on_existing", POLICIES)
@pytest.mark.parametrize("how", ["quick", pytest.param("long", marks=pytest.mark.sweep)])
def test_a_killed_run_is_reaped(lab: Lab, on_existing: str, how: str) -> None:
    for number in _SEEDS[how]:
        seed = f"{on_existing}-{number}"
        try:
            kill_and_reap(lab, on_existing, seed)
        except BaseException as error:
            error.add_note(f"with seed {seed}")
            raise
        lab.stranger.clear()
        # What this one could not put back is not for the next one to put back.
        shutil.rmtree(lab.tmp / "journals", ignore_errors=True)
