import numpy as np
import pytest

from lab.figures.patching import patching_heatmap


def test_the_scale_is_signed_and_reaches_the_clean_answer():
    recovered = np.array([[0.0, -0.5], [0.25, 0.75]])
    heatmap = patching_heatmap(recovered, ["<b>", " food"], corrupted=["<b>", " light"]).data[0]
    np.testing.assert_array_equal(heatmap.z, recovered)
    assert (heatmap.zmin, heatmap.zmax) == (-1, 1)
    assert list(heatmap.customdata[0]) == ["&lt;b&gt;", "·food / ·light"]
    assert patching_heatmap(3 * recovered, ["H0", "H1"]).data[0].zmax == 2.25


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="columns"):
        patching_heatmap(np.ones((2, 3)), ["a", "b"])
    with pytest.raises(ValueError, match="corrupted"):
        patching_heatmap(np.ones((2, 2)), ["a", "b"], corrupted=["a"])
