import numpy as np
import pytest

from lab.figures.ablation import ablation_heatmap, subset_losses


def test_damage_is_symmetric_about_zero():
    damage = np.array([[0.5, -2.0], [1.0, 0.0]])
    figure = ablation_heatmap(damage, ["H0", "MLP"], caption="fry · step 8")
    heatmap = figure.data[0]
    np.testing.assert_array_equal(heatmap.z, damage)
    assert (heatmap.zmin, heatmap.zmax, list(heatmap.x)) == (-2, 2, ["H0", "MLP"])
    assert [note.text for note in figure.layout.annotations] == ["fry · step 8"]
    with pytest.raises(ValueError, match="does not fit 3 parts"):
        ablation_heatmap(damage, ["a", "b", "c"])


def test_every_subset_is_a_point_and_the_line_is_their_mean():
    points, mean = subset_losses([[0, 0], [0, 1], [1, 0], [1, 1]], [4.0, 3.0, 2.0, 1.0]).data
    assert list(points.x) == [0, 1, 1, 2] and list(points.y) == [4, 3, 2, 1]
    assert list(points.customdata) == ["none", "1", "0", "0, 1"]
    assert list(mean.x) == [0, 1, 2] and list(mean.y) == [4, 2.5, 1]
    with pytest.raises(ValueError, match="losses"):
        subset_losses([[0, 1]], [1.0, 2.0])
