"""The figures of lens and attribution draw exactly the arrays they are given."""

import numpy as np
import pytest

from lab.figures.attribution import attribution_bars, head_grid
from lab.figures.lens import lens_grid

WORDS = [["<b>", " food"], [" yes", "\n"]]
VALUES = np.array([[0.25, 0.5], [0.75, 1.0]])


def test_lens_grid_shows_words_and_values():
    figure = lens_grid(WORDS, VALUES, ["embed", "final"], ["hi", " you"], title="lens", caption="fry · step 8")
    heatmap = figure.data[0]
    np.testing.assert_array_equal(heatmap.z, VALUES)
    assert [list(row) for row in heatmap.text] == [["&lt;b&gt;", "·food"], ["·yes", "↵"]]
    assert (heatmap.zmin, heatmap.zmax) == (0, 1)
    assert list(figure.layout.xaxis.ticktext) == ["hi", "·you"]
    assert list(figure.layout.yaxis.ticktext) == ["embed", "final"] and figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.annotations[0].text == "fry · step 8"
    assert lens_grid(WORDS, VALUES, ["a", "b"], ["c", "d"], measure="kl").data[0].zmax is None


@pytest.mark.parametrize(
    "given",
    [
        {"values": VALUES[:1]},
        {"words": WORDS[:1]},
        {"words": [["a"], ["b", "c"]]},
        {"measure": "colour"},
    ],
)
def test_a_lens_that_does_not_fit_is_refused(given: dict):
    with pytest.raises(ValueError):
        lens_grid(**{"words": WORDS, "values": VALUES, "points": ["a", "b"], "tokens": ["c", "d"], **given})


def test_attribution_bars_have_the_sum_beside_the_logit():
    figure = attribution_bars(["embed", "head"], [1.5, -0.25], logit=1.25, caption="fry")
    (bars,) = figure.data
    assert list(bars.x) == [1.5, -0.25] and list(bars.y) == ["embed", "head"]
    assert bars.marker.color[0] != bars.marker.color[1]
    assert figure.layout.annotations[0].text == "fry · sum 1.25 · the model's own 1.25"
    with pytest.raises(ValueError):
        attribution_bars(["embed"], [1.0, 2.0])


def test_head_grid_has_its_zero_in_the_middle():
    figure = head_grid([[0.5, -2.0], [0.0, 1.0]], caption="fry")
    heatmap = figure.data[0]
    assert (heatmap.zmin, heatmap.zmax) == (-2, 2) and heatmap.colorscale[1][0] == 0.5
    assert head_grid(np.zeros((1, 1))).data[0].zmax == 1
    with pytest.raises(ValueError):
        head_grid([1.0, 2.0])
