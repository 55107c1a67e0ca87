import numpy as np
import pytest

from lab.figures.anatomy import anatomy_strips


def test_each_row_is_a_vector_in_its_own_scale():
    figure = anatomy_strips({"embed": [0.5, -2.0, 0.0], "q": [10.0, -np.inf]}, title="food", caption="fry · step 8")
    (strips,) = figure.data
    np.testing.assert_array_equal(np.array(strips.z, dtype=float), [[0.25, -1, 0], [1, np.nan, np.nan]])
    np.testing.assert_array_equal(np.array(strips.customdata, dtype=float), [[0.5, -2, 0], [10, -np.inf, np.nan]])
    assert list(strips.y) == ["embed ±2.00", "q ±10.0"]
    assert (strips.zmin, strips.zmax) == (-1, 1) and strips.colorscale[1][0] == 0.5
    assert figure.layout.annotations[0].text == "fry · step 8"


def test_a_vector_of_zeros_is_paper():
    assert np.array(anatomy_strips({"off": np.zeros(4)}).data[0].z).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("vectors", [{}, {"matrix": np.zeros((2, 2))}, {"nothing": []}])
def test_what_is_no_vector_is_refused(vectors):
    with pytest.raises(ValueError, match="vectors"):
        anatomy_strips(vectors)
