import numpy as np
import pytest

from lab.figures.neurons import layer_activity, neuron_histogram, token_effects


def test_a_histogram_shows_its_bins_and_tells_the_rest():
    counts, edges = [70, 0, 5, 20, 0, 5, 0], [0, 0.5, 1, 2, 4, 8]
    figure = neuron_histogram(counts, edges, title="L1 · 3", caption="fry · step 8")
    (bar,) = figure.data
    assert list(bar.y) == [5, 20, 0, 5] and list(bar.x) == [
        "0.500 to 1.00",
        "1.00 to 2.00",
        "2.00 to 4.00",
        "4.00 to 8.00",
    ]
    assert figure.layout.annotations[0].text == "fry · step 8 · not active on 70.0% of tokens"
    dead = neuron_histogram([9, 0, 0], [0, 1])
    assert sum(dead.data[0].y) == 0 and "100.0%" in dead.layout.annotations[0].text
    with pytest.raises(ValueError, match="do not make a histogram"):
        neuron_histogram([1, 2, 3], [0, 1, 2])


def test_effects_have_a_true_zero():
    figure = token_effects([" food", "\n", "<b>"], [2.0, 0.5, -1.0])
    (bar,) = figure.data
    assert list(bar.x) == [2.0, 0.5, -1.0] and bar.marker.color[0] == bar.marker.color[1] != bar.marker.color[2]
    low, high = figure.layout.xaxis.range
    assert low == -high and high > 2
    assert list(figure.layout.yaxis.ticktext) == ["·food", "↵", "&lt;b&gt;"]
    with pytest.raises(ValueError, match="do not fit 2 tokens"):
        token_effects(["a", "b"], [1.0])


def test_every_neuron_of_a_layer_is_of_one_kind():
    share = np.array([[0, 0.001, 0.01, 0.19, 0.2, 0.9, 0.91, 1], [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]])
    figure = layer_activity(share)
    told = {bar.name: list(bar.x) for bar in figure.data}
    assert told == {
        "dead": [1, 2],
        "on less than 1% of tokens": [1, 0],
        "on 1% to 20%": [2, 0],
        "on 20% to 90%": [2, 6],
        "saturated": [2, 0],
    }
    assert np.array(list(told.values())).sum(0).tolist() == [8, 8]
    for wrong in ([0.5, 0.5], [[1.5]]):
        with pytest.raises(ValueError, match="no table of shares"):
            layer_activity(wrong)
