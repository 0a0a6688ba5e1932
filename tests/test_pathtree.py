"""The tree of names behaves like a dict that can also be asked for what lies below a name."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_opendal.paths import below
from pytest_opendal.pathtree import PathTree

names = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join)
steps = st.one_of(
    st.tuples(st.just("set"), names, st.integers(1, 9)),
    st.tuples(st.just("pop"), names),
    st.tuples(st.just("discard"), names),
    st.tuples(st.just("move"), names, names),
)


def _moved(model: dict[str, int], source: str, target: str) -> dict[str, int]:
    taken = {name: value for name, value in model.items() if below(name, source)}
    kept = {name: value for name, value in model.items() if name not in taken}
    if taken:
        kept = {name: value for name, value in kept.items() if not below(name, target)}
    return kept | {target + name[len(source) :]: value for name, value in taken.items()}


def _step(tree: PathTree[int], model: dict[str, int], step: tuple[Any, ...]) -> dict[str, int]:
    match step:
        case ("set", name, value):
            tree[name] = value
            return model | {name: value}
        case ("pop", name):
            tree.pop(name)
            return {other: value for other, value in model.items() if not below(other, name)}
        case ("discard", name):
            tree.discard(name)
            return {other: value for other, value in model.items() if other != name}
        case ("move", source, target):
            if below(target, source):
                return model
            tree.graft(target, tree.pop(source))
            return _moved(model, source, target)
    raise AssertionError(step)


@given(st.lists(steps, max_size=30), names)
def test_any_sequence_leaves_what_a_dict_would_hold(
    sequence: list[tuple[Any, ...]], asked: str
) -> None:
    tree: PathTree[int] = PathTree()
    model: dict[str, int] = {}
    for step in sequence:
        model = _step(tree, model, step)
    assert dict(tree.items()) == model
    assert bool(tree) == bool(model)
    assert tree.get(asked) == model.get(asked)
    assert (asked in tree) == (asked in model)
    assert dict(tree.below(asked)) == {n: v for n, v in model.items() if below(n, asked)}
    assert dict(tree.below("")) == model


def test_taking_out_one_directory_does_not_cost_more_in_a_large_tree() -> None:
    def seconds(size: int) -> float:
        tree: PathTree[int] = PathTree()
        for number in range(size):
            tree[f"d{number // 10}/f{number}"] = 1
        start = time.perf_counter()
        for number in range(100):
            tree.pop(f"d{number}")
        return time.perf_counter() - start

    small, large = min(seconds(2_000) for _ in range(3)), min(seconds(200_000) for _ in range(3))
    assert large < 20 * small, f"{large:.6f} s in the large tree, {small:.6f} s in the small one"
