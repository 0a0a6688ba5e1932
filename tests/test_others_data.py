"""What others have on a storage survives our tests, whatever both do to it, also when we are killed."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from neighbours import (
    POLICIES,
    Model,
    Step,
    Stranger,
    contents,
    perform,
    step_of_stranger,
    step_of_test,
)

from pytest_opendal import transfer
from pytest_opendal.recovery import Recovery
from pytest_opendal.report import Collector

from contract import REMOTE, Lab, address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_opendal.report import Leftover

KINDS = ("fs", "memory", "moto", "seaweedfs", *REMOTE[:1])


def _drawn(step: Callable[[Callable[[Sequence[str]], str]], Step]) -> st.SearchStrategy[Step]:
    @st.composite
    def steps(draw: st.DrawFn) -> Step:
        return step(lambda texts: draw(st.sampled_from(texts)))

    return steps()


class Neighbours(RuleBasedStateMachine):
    """A test and a stranger on one storage; the model is asked after each operation and at the end."""

    kind: str
    scheme: str
    kwargs: Mapping[str, str]
    on_existing: str
    numbers = itertools.count()

    @initialize(theirs=st.lists(_drawn(step_of_stranger), max_size=5))
    def begin(self, theirs: list[Step]) -> None:
        self.tmp = Path(tempfile.mkdtemp(prefix="neighbours-"))
        root = self.tmp / "root" if self.scheme == "fs" else f"/neighbours-{next(self.numbers)}"
        if isinstance(root, Path):
            root.mkdir()
        kwargs = {**self.kwargs} | ({} if self.scheme == "memory" else {"root": str(root)})
        self.lab = Lab(self.kind, self.scheme, kwargs, "none", self.tmp)
        self.held = self.lab.hold(on_existing=self.on_existing)
        self.stranger = Stranger(self.lab)
        self.their_contents, self.our_contents = contents("theirs"), contents("ours")
        for step in theirs:
            self.stranger.perform(step, next(self.their_contents))
        self.model = Model(
            self.on_existing,
            self.stranger.sees(),
            has_directories=self.lab.has_directories,
            one_entry=self.kind == "seaweedfs",
            remembers=self.lab.is_remote,
        )

    @rule(step=_drawn(step_of_test))
    def test(self, step: Step) -> None:
        done = perform(self.held.storage, step, next(self.our_contents), self.tmp)
        self.model.did(step, self.stranger.sees(), done=done)

    @rule(step=_drawn(step_of_stranger))
    def neighbour(self, step: Step) -> None:
        if self.stranger.perform(step, next(self.their_contents)):
            self.model.heard(step, self.stranger.sees())

    @invariant()
    def journal_and_memory_agree(self) -> None:
        if hasattr(self, "model"):
            record = self.held.tracker.record
            replayed = [
                other for other in self.lab.replayed() if other.opened == self.held.tracker.opened
            ]
            assert replayed == ([] if record.is_empty() else [record])

    def _end(self) -> list[Leftover]:
        """End test and run as the plugin does."""
        collector = Collector(self.lab.process.run_id)
        for note in (self.lab.end(self.held), *self.lab.run.finish()):
            collector.add(note)
        Recovery(self.lab.run, [self.held.settings], collector).retry_directories()
        return list(collector.leftovers())

    def teardown(self) -> None:
        if not hasattr(self, "lab"):
            return
        try:
            if hasattr(self, "model"):
                leftovers = self._end()
                self.model.check_end(self.stranger.sees(), leftovers)
        finally:
            if self.scheme == "s3":
                self.lab.stranger.clear()
            self.lab.close()
            shutil.rmtree(self.tmp)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let contents of some 100 bytes go the ways of large files."""
    monkeypatch.setattr(transfer, "PART_BYTES", 64)


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, Mapping[str, str]]:
    """Kind, scheme and kwargs of a storage whose root each sequence chooses itself."""
    kind: str = request.param
    return kind, *address_of(kind.removeprefix("exporter_"), request, tmp_path)


_QUICK = settings(
    max_examples=5,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
_LONG = settings(_QUICK, max_examples=125, stateful_step_count=30, derandomize=False)


@pytest.mark.parametrize("on_existing", POLICIES)
@pytest.mark.parametrize(
    "how",
    [pytest.param(_QUICK, id="quick"), pytest.param(_LONG, id="long", marks=pytest.mark.sweep)],
)
def test_others_data_survives(
    address: tuple[str, str, Mapping[str, str]], on_existing: str, how: settings
) -> None:
    kind, scheme, kwargs = address
    namespace = {"kind": kind, "scheme": scheme, "kwargs": kwargs, "on_existing": on_existing}
    machine = type(f"Neighbours_{kind}_{on_existing}", (Neighbours,), namespace)
    run_state_machine_as_test(machine, settings=how)
