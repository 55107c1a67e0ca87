"""The figures draw exactly the arrays they are given, and nothing in a token reaches plotly as markup."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from lab.figures import Curve, attention_heatmap, loss_curves, style
from lab.figures.style import number, token_text


def test_loss_curves_draw_the_numbers_given():
    curve = Curve("fry", [0, 1, 2, 4], [7.6, 7.0, 5.0, 4.0], [0, 4], [7.6, 4.1], colour="surgery")
    figure = loss_curves([curve], {"log_v": 7.625, "bigram": 2.5})
    train, heldout = figure.data
    assert list(train.x) == [0, 1, 2, 4] and list(train.y) == [7.6, 7.0, 5.0, 4.0]
    assert (train.line.dash, heldout.line.dash) == ("solid", "dash")
    assert train.line.color == heldout.line.color == style.SURGERY
    np.testing.assert_allclose(heldout.customdata[:, 1], np.exp([7.6, 4.1]))
    assert [shape.y0 for shape in figure.layout.shapes] == [7.625, 2.5]
    assert [note.text for note in figure.layout.annotations] == ["log V 7.62", "bigram entropy 2.50"]


def test_log_axis_keeps_step_zero():
    figure = loss_curves([Curve("fry", [0, 1, 8], [7.0, 6.0, 5.0])], log_x=True)
    assert figure.layout.xaxis.type == "log"
    assert list(figure.data[0].x) == [0.5, 1, 8]
    assert figure.data[0].customdata[0][0] == 0


@pytest.mark.parametrize("bad", [Curve("x", [1, 2], [1.0]), Curve("x", [1], [1.0], colour="pink")])
def test_what_does_not_fit_is_refused(bad: Curve):
    with pytest.raises(ValueError):
        loss_curves([bad])


def test_attention_heatmap_shows_the_pattern_with_escaped_tokens():
    pattern = np.array([[1.0, 0.0], [0.25, 0.75]])
    figure = attention_heatmap(pattern, ["<b>x</b>", " food\n"], title="head 2.1", caption="fry · step 8")
    heatmap = figure.data[0]
    np.testing.assert_array_equal(heatmap.z, pattern)
    assert (heatmap.zmin, heatmap.zmax) == (0, 1)
    assert list(figure.layout.xaxis.ticktext) == ["&lt;b&gt;x&lt;/b&gt;", "·food↵"]
    assert list(heatmap.customdata[1, 0]) == ["·food↵", "&lt;b&gt;x&lt;/b&gt;"]
    with pytest.raises(ValueError):
        attention_heatmap(pattern, ["one"])


def test_both_figures_are_transparent():
    for figure in (loss_curves([]), attention_heatmap(np.ones((1, 1)), ["a"])):
        layout = figure.layout.template.layout
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0, 0, 0, 0)"


@pytest.mark.parametrize("colour", [style.RUN_A, style.RUN_B, style.SURGERY, style.REFERENCE, style.ATTENTION])
@pytest.mark.parametrize("surface", ["#ffffff", "#12161b"])
def test_colours_read_on_both_surfaces(colour: str, surface: str):
    """Contrast of at least 3:1 (WCAG 2.2, 1.4.11, graphical objects)."""

    def luminance(rgb: str) -> float:
        channels = np.array([int(rgb[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(colour), luminance(surface)))
    assert (light + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0021349, "0.00213"), (1.2349, "1.23"), (12345, "12\N{THIN SPACE}300")]
)
def test_numbers_have_three_digits(value: float, text: str):
    assert number(value) == text


def test_control_characters_in_tokens_are_spelled():
    assert token_text("a\x07\t") == "a⟨07⟩⇥"


def test_figures_import_neither_torch_nor_gradio():
    for path in Path("lab/figures").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names]
        names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not {name.split(".")[0] for name in names} & {"torch", "gradio", "guppy"}, path
