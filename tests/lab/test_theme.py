"""The palette is readable in both modes, and the theme names only variables that Gradio has."""

from __future__ import annotations

import pytest
from gradio.themes import Base

from lab import theme
from lab.theme import PALETTE, LabTheme, palette_css

TEXT = ("ink", "ink-2", "accent", "run-b", "surgery", "reference", "danger")
GRAPHICS = ("edge", "accent", "run-b", "surgery", "reference", "attention-1", "negative", "positive")


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_contrast_is_aa(mode: int) -> None:
    for surface in ("paper", "surface", "sunken"):
        for name in TEXT:
            assert contrast(PALETTE[name][mode], PALETTE[surface][mode]) >= 4.5, (name, surface)
        for name in GRAPHICS:
            if surface != "sunken":
                assert contrast(PALETTE[name][mode], PALETTE[surface][mode]) >= 3, (name, surface)
    assert contrast(PALETTE["on-accent"][mode], PALETTE["accent"][mode]) >= 4.5


def test_the_attention_scale_starts_at_the_paper() -> None:
    assert PALETTE["attention-0"] == PALETTE["paper"]


def test_custom_properties_of_both_modes() -> None:
    css = palette_css()
    for name, (light, dark) in PALETTE.items():
        assert f"--{name}:{light};" in css.split("body.dark")[0]
        assert f"--{name}:{dark};" in css.split("body.dark")[1]


def test_every_variable_is_one_that_gradio_has() -> None:
    plain = Base()
    named = {**theme._SURFACES, **theme._TEXT, **theme._INPUTS, **theme._BUTTONS}
    assert [name for name in named if not hasattr(plain, name)] == []
    ours = LabTheme()
    for name, value in named.items():
        assert getattr(ours, name) == value
        assert getattr(ours, f"{name}_dark", value) == value
