from __future__ import annotations

import numpy as np
import pytest

from lab.figures.weights import copying_scores, embedding_map, singular_values, weight_histogram


def test_a_map_draws_its_points_with_escaped_texts():
    points = np.array([[1.0, 2.0, 9.0], [3.0, -1.0, 9.0], [0.5, 0.5, 9.0]])
    figure = embedding_map(points, ["<b>", " food", "x"], explained=[0.251, 0.1], chosen=[1])
    cloud, chosen = figure.data
    np.testing.assert_array_equal(np.stack([cloud.x, cloud.y], axis=1), points[:, :2])
    assert list(cloud.text) == ["&lt;b&gt;", "·food", "x"]
    assert (chosen.x[0], chosen.y[0], chosen.text[0]) == (3.0, -1.0, "·food")
    assert figure.layout.xaxis.title.text == "component 1 (25.1% of the variance)"
    for bad in ({"tokens": ["one"]}, {"chosen": [3]}):
        with pytest.raises(ValueError):
            embedding_map(**{"points": points, "tokens": ["a", "b", "c"], **bad})


def test_singular_values_leave_out_what_is_not_there():
    figure = singular_values({"step 0": [3.0, 2.0, np.nan], "step 8": [4.0, 1.0, 0.5]})
    assert [list(curve.y) for curve in figure.data] == [[3.0, 2.0], [4.0, 1.0, 0.5]]
    assert list(figure.data[1].x) == [1, 2, 3]
    with pytest.raises(ValueError, match="largest first"):
        singular_values({"x": [1.0, 2.0]})


def test_copying_scores_have_zero_in_the_middle():
    figure = copying_scores([[0.5, -0.25], [1.0, 0.0]])
    heat = figure.data[0]
    assert (heat.zmin, heat.zmax) == (-1, 1) and heat.colorscale[1][0] == 0.5
    np.testing.assert_array_equal(heat.z, [[0.5, -0.25], [1.0, 0.0]])
    for bad in ([1.0, 0.5], [[1.5]]):
        with pytest.raises(ValueError):
            copying_scores(bad)


def test_a_histogram_has_zero_in_its_middle_bin():
    figure = weight_histogram([1, 5, 2], 0.3)
    np.testing.assert_allclose(figure.data[0].x, [-0.2, 0.0, 0.2], atol=1e-9)
    assert list(figure.data[0].y) == [1, 5, 2]
    with pytest.raises(ValueError):
        weight_histogram([1, 2], 0)
