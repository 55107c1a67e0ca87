"""The treemap's areas are the bytes it was given."""

from __future__ import annotations

import pytest

from lab.figures.memory import in_bytes, memory_treemap

NAMES = ["embed.weight", "blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight", "<b>"]
GROUPS, LAYERS, SIZES = ["parameters"] * 3 + ["activations"], [None, 0, 1, 1], [400, 300, 200, 100]


def test_groups_and_layers_are_the_sums_of_their_tensors() -> None:
    (trace,) = memory_treemap(NAMES, SIZES, GROUPS, LAYERS, title="fry").data
    value = dict(zip(trace.ids, trace.values, strict=True))
    assert value["parameters"] == 900 and value["activations/layer 1"] == 100
    leaves = [each for each in trace.ids if each.count("/") == 2]
    assert [value[leaf] for leaf in leaves] == SIZES
    parents = dict(zip(trace.ids, trace.parents, strict=True))
    assert sum(value[each] for each in trace.ids if not parents[each]) == 1000


@pytest.mark.parametrize("sizes", [[1, 2, 3], [1, 2, 3, -4]])
def test_what_does_not_fit_is_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError):
        memory_treemap(NAMES, sizes, GROUPS, LAYERS)


def test_nothing_is_an_empty_figure() -> None:
    (trace,) = memory_treemap([], [], [], []).data
    assert len(trace.ids) == 0


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1230, "1.23 kB"), (4.56e9, "4.56 GB")])
def test_bytes_in_words(count: float, text: str) -> None:
    assert in_bytes(count) == text
