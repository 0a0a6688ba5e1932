"""No name reads, writes or removes anything outside of the root, or of the isolation area."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hostile import Bystanders, generated, handmade, try_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_opendal import errors

from contract import OPENDAL, REMOTE, Lab, lab_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KINDS = ("fs", "memory", "seaweedfs", "moto", "wsgidav", *REMOTE)
_AT_ONCE = 10
_SHARE = 75


def _ways(kinds: Sequence[str]) -> list[Any]:
    """Return parameters for the kinds; those with a server are for the sweep."""
    marks = {kind: [] if kind in {"fs", "memory"} else [pytest.mark.sweep] for kind in kinds}
    names = [(f"{kind}{area}", marks[kind]) for kind in kinds for area in ("", "-area")]
    return [pytest.param(name, marks=mark) for name, mark in names]


@pytest.fixture(params=_ways(KINDS))
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    kind, _, way = request.param.partition("-")
    with lab_of(kind, request, tmp_path, "test" if way else "none") as found:
        yield found


@pytest.fixture
def bystanders(lab: Lab, request: pytest.FixtureRequest) -> Bystanders:
    directory = None
    if lab.scheme == "fs":
        directory = Path(lab.kwargs["root"]).parent
    elif lab.scheme == "webdav":
        directory = request.getfixturevalue("wsgidav").directory
    return Bystanders(lab, directory)


@pytest.fixture(scope="module")
def tally(pytestconfig: pytest.Config) -> Iterator[Counter[str]]:
    """How many names were tried on each kind; the sweep tells it at its end."""
    tried: Counter[str] = Counter()
    yield tried
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    if pytestconfig.option.markexpr == "sweep" and capture is not None:
        with capture.global_and_fixture_disabled():
            for kind, count in sorted(tried.items()):
                sys.stdout.write(f"\nhostile names tried on {kind}, opendal {OPENDAL}: {count:,}")


@pytest.fixture
def attempt(
    lab: Lab, bystanders: Bystanders, tally: Counter[str]
) -> Callable[[Sequence[str]], None]:
    """Try names as one test would, to its end."""
    kind = f"{lab.kind}{'-area' if lab.area else ''}"

    def try_names(names: Sequence[str]) -> None:
        tally[kind] += len(names)
        held = lab.hold()
        assert not list(try_all(held.storage, names, lab.tmp))
        bystanders.check(names)
        note = lab.end(held)
        bystanders.check_end(names, {f"{lab.area}{left.path}" for left in note.leftovers})

    return try_names


@pytest.mark.parametrize(
    "share",
    [pytest.param(_SHARE, id="some"), pytest.param(1, id="all", marks=pytest.mark.sweep)],
)
def test_no_handmade_name_leaves(
    attempt: Callable[[Sequence[str]], None],
    bystanders: Bystanders,
    share: int,
) -> None:
    names = handmade(bystanders.aims)[::share]
    for start in range(0, len(names), _AT_ONCE):
        attempt(names[start : start + _AT_ONCE])


_QUICK = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(_QUICK, id="some"),
        pytest.param(
            settings(_QUICK, max_examples=300, derandomize=False),
            id="many",
            marks=pytest.mark.sweep,
        ),
    ],
)
def test_no_generated_name_leaves(
    attempt: Callable[[Sequence[str]], None],
    bystanders: Bystanders,
    how: settings,
) -> None:
    settings(how)(given(st.lists(generated(bystanders.aims), max_size=4))(attempt))()


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", " lead"])
def test_a_directory_with_a_name_that_nobody_could_use_is_not_copied(
    fs_lab: Lab, name: str
) -> None:
    """It would be noted, and the journal of a run that dies with it left alone."""
    storage = fs_lab.open()
    there = Path(fs_lab.kwargs["root"]) / "theirs"
    there.mkdir()
    (there / name).write_bytes(b"theirs")
    with pytest.raises(errors.InvalidPath, match="lab: copy: "):
        storage.copy("theirs", "ours")
    assert storage.get_created_resources() == set()
    assert not storage.exists("ours/")
