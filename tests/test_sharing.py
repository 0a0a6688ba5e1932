"""What `ensure` uploads is there once per run, for all workers, until the run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runs import Suite, needs_xdist

if TYPE_CHECKING:
    from contract import Lab

SUITE = """
    from pathlib import Path
    import pytest

    @pytest.fixture(scope="session")
    def image(tmp_path_factory):
        path = tmp_path_factory.mktemp("image") / "golden.img"
        path.write_bytes(b"golden")
        return path

    @pytest.mark.parametrize("number", range(12))
    def test_it(opendal, image, number, worker_id):
        uploaded = opendal.ensure("images/golden.img", image)
        if uploaded:
            Path(f"uploaded-{number}").touch()
        opendal.assert_hash("images/golden.img", b"golden")
"""


@needs_xdist
def test_workers_upload_once_and_nothing_is_left(suite: Suite) -> None:
    suite.lab(retention="none")
    suite.write(test_it=SUITE)
    result = suite.run("-n3", "--opendal-report=report.json")
    result.assert_outcomes(passed=12)
    assert len(list(suite.pytester.path.glob("uploaded-*"))) == 1
    assert suite.left() == []
    assert suite.journals == []
    report = suite.report()
    assert (report["created"], report["removed"], report["leftovers"]) == (2, 2, [])


@needs_xdist
def test_retention_keeps_what_is_shared_and_tells_it(suite: Suite) -> None:
    suite.lab(retention="all")
    suite.write(test_it=SUITE)
    result = suite.run("-n2", "--opendal-report=report.json")
    result.assert_outcomes(passed=12)
    left = {(left["path"], left["reason"]) for left in suite.report()["leftovers"]}
    assert left == {
        ("images", "kept: retention all"),
        ("images/golden.img", "kept: retention all"),
    }
    assert suite.journals == []


def test_one_process_removes_it_at_the_end(suite: Suite) -> None:
    suite.lab(retention="none")
    suite.write(test_it=SUITE.replace(", worker_id", ""))
    suite.run().assert_outcomes(passed=12)
    assert len(list(suite.pytester.path.glob("uploaded-*"))) == 1
    assert suite.left() == []
    assert suite.journals == []


@pytest.mark.parametrize(
    ("on_existing", "left"), [("created", None), ("keep", b"new"), ("restore", b"theirs")]
)
def test_what_existed_is_treated_as_when_it_is_written(
    plain_lab: Lab, on_existing: str, left: bytes | None
) -> None:
    plain_lab.stranger.write("f", b"theirs")
    source = plain_lab.tmp / "source"
    source.write_bytes(b"new")
    held = plain_lab.hold(on_existing=on_existing)
    assert held.storage.ensure("f", source)
    assert held.storage.get_created_resources() == {"f"}
    plain_lab.end(held)
    assert plain_lab.stranger.read("f") == b"new", "it stays until the run ends"
    plain_lab.finish()
    there = "f" in plain_lab.stranger.everything()
    assert (plain_lab.stranger.read("f") if there else None) == left
