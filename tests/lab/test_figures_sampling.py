from __future__ import annotations

import numpy as np
import pytest

from lab.figures.sampling import next_token_bars, surprise_bars


def test_bars_show_the_likeliest_tokens_before_and_after():
    figure = next_token_bars([0.1, 0.5, 0.4], [0.0, 0.6, 0.4], ["a", " <i>", "c"], most=2)
    own, drawn = figure.data
    assert list(own.x) == [0.5, 0.4] and list(drawn.x) == [0.6, 0.4]
    assert list(figure.layout.yaxis.ticktext) == ["·&lt;i&gt;", "c"]
    with pytest.raises(ValueError):
        next_token_bars([0.5, 0.5], [1.0], ["a", "b"])


def test_surprise_shows_bits_and_what_was_expected():
    figure = surprise_bars(["a", "\n"], [np.nan, 3.5], [np.nan, 1.25])
    bits, entropy = figure.data
    assert bits.y[1] == 3.5 and entropy.y[1] == 1.25
    assert list(figure.layout.xaxis.ticktext) == ["a", "↵"]
    assert figure.layout.yaxis.title.text == "bits"
    with pytest.raises(ValueError):
        surprise_bars(["a"], [1.0, 2.0], [1.0])
