"""Figures of heads and of lines between tokens draw the arrays they are given."""

from __future__ import annotations

import numpy as np
import pytest

from lab.figures.attention import HEADS, attention_arcs, head_kinds


def test_head_kinds_has_a_row_for_each_head_and_a_column_for_each_kind():
    score = np.arange(12).reshape(2, 3, 2) / 12
    score[1, 2, 1] = np.nan
    figure = head_kinds(
        score, ["even", "induction"], thresholds=[0.2, 0.9], confidence=score / 2, caption="fry · step 8"
    )
    heatmap = figure.data[0]
    assert list(heatmap.x) == ["even", "induction"]
    assert list(heatmap.y) == ["L0 H0", "L0 H1", "L1 H0", "L1 H1", "L2 H0", "L2 H1"]
    np.testing.assert_array_equal(heatmap.z[3], score[:, 1, 1])
    np.testing.assert_array_equal(heatmap.customdata[4], score[:, 2, 0] / 2)
    assert (heatmap.zmin, heatmap.zmax) == (0, 1)
    assert heatmap.text[3][0] == "<b>0.25</b>" and heatmap.text[3][1] == "0.75" and heatmap.text[5][1] == ""
    assert figure.layout.annotations[-1].text == "fry · step 8"
    with pytest.raises(ValueError, match="do not fit"):
        head_kinds(score, ["even"])
    with pytest.raises(ValueError, match="do not fit"):
        head_kinds(score, ["even", "induction"], thresholds=[1])


def test_arcs_draw_every_probability_once_in_its_strength():
    pattern = np.zeros((2, 3, 3))
    pattern[0] = [[1, 0, 0], [0.25, 0.75, 0], [0.01, 0.09, 0.9]]
    pattern[1] = np.eye(3)
    figure = attention_arcs(pattern, ["<b>", " a", "\n"], title="layer 1")
    for head in (0, 1):
        drawn = {}
        for trace in figure.data:
            if trace.legendgroup != str(head) and trace.legendgroup != head:
                continue
            assert trace.line.color == HEADS[head]
            if trace.showlegend is False and len(trace.y):
                ends = np.asarray(trace.y, dtype=float).reshape(-1, 3)
                assert np.asarray(trace.x, dtype=float).reshape(-1, 3)[:, :2].tolist() == [[0, 1]] * len(ends)
                drawn |= {(int(query), int(key)): trace.opacity for query, key, _ in ends}
        wanted = {(int(q), int(k)) for q, k in zip(*np.nonzero(pattern[head] >= 0.04), strict=True)}
        assert set(drawn) == wanted
        assert all(abs(strength - pattern[head][at]) <= 0.125 for at, strength in drawn.items())
    texts = [note.text for note in figure.layout.annotations]
    assert texts == ["&lt;b&gt;", "&lt;b&gt;", "·a", "·a", "↵", "↵"]
    with pytest.raises(ValueError, match="do not fit"):
        attention_arcs(pattern, ["a"])
