"""The look, defined once: colours for paper and ink in both modes, and Gradio's own parts set in them.

`PALETTE` becomes CSS custom properties (`--paper`, `--ink`, …), which style sheets and canvases read; Gradio's
variables only point at those, so that light and dark are switched in one place.
"""

from __future__ import annotations

from gradio.themes import Base
from gradio.themes.utils import sizes

PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#fcfbf8", "#0e141a"),
    "surface": ("#ffffff", "#151d25"),
    "sunken": ("#f3f1ec", "#0a0f14"),
    "ink": ("#1a222b", "#e7eaed"),
    "ink-2": ("#59646f", "#9aa6b2"),
    "hairline": ("#e0ddd6", "#26313b"),
    "edge": ("#8b939b", "#5f6c79"),
    "accent": ("#b94709", "#ff9147"),
    "on-accent": ("#ffffff", "#1b0e04"),
    "run-b": ("#1f62b3", "#6aaefc"),
    "surgery": ("#7440b5", "#c19df5"),
    "reference": ("#626b74", "#8c98a4"),
    "danger": ("#b3261e", "#ff8a80"),
    "attention-0": ("#fcfbf8", "#0e141a"),
    "attention-1": ("#00494f", "#6ff3e6"),
    "head-2": ("#0a7f86", "#45d3c8"),
    "head-4": ("#8a6a00", "#d8b93c"),
    "head-5": ("#b0357f", "#f191c6"),
    "head-6": ("#4d7a1f", "#9ccf62"),
    "negative": ("#1f62b3", "#6aaefc"),
    "positive": ("#b94709", "#ff9147"),
}
"""CSS custom property: (light, dark). The attention scale starts at the paper; signed values have it in the middle."""

UI_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', sans-serif"
MONO_FONT = "ui-monospace, 'SF Mono', Menlo, Consolas, 'Liberation Mono', monospace"


def palette_css() -> str:
    """The custom properties of both modes. Gradio marks the dark one with the class `dark` on <body>, and sets its own
    variables, which point at these, on :root in the light one: so these have to be there too."""
    light, dark = ("".join(f"--{name}:{pair[mode]};" for name, pair in PALETTE.items()) for mode in (0, 1))
    return (
        f":root{{--ui:{UI_FONT};--mono:{MONO_FONT};color-scheme:light}}"
        f":root,body{{{light}color-scheme:light}}body.dark{{{dark}color-scheme:dark}}"
    )


class LabTheme(Base):
    """Gradio's inputs and buttons as parts of a calm instrument: hairlines, flat surfaces, small corners, no shadows.

    Each variable is set once, to a custom property, and serves both modes.
    """

    def __init__(self) -> None:
        super().__init__(
            text_size=sizes.text_md,
            spacing_size=sizes.spacing_md,
            radius_size=sizes.radius_sm,
            font=("system-ui", "sans-serif"),
            font_mono=("ui-monospace", "monospace"),
        )
        for name, value in {**_SURFACES, **_TEXT, **_INPUTS, **_BUTTONS}.items():
            # Base.set() would keep its own dark default where it is given none.
            for variable in (name, f"{name}_dark"):
                if hasattr(self, variable):
                    setattr(self, variable, value)
        # Gradio quotes font names, and a quoted system-ui is no longer the system's font.
        self.font, self.font_mono = "var(--ui)", "var(--mono)"


_NONE, _PAPER, _SURFACE, _SUNKEN = "none", "var(--paper)", "var(--surface)", "var(--sunken)"
_INK, _MUTED, _LINE, _EDGE, _ACCENT = "var(--ink)", "var(--ink-2)", "var(--hairline)", "var(--edge)", "var(--accent)"

_SURFACES = {
    "body_background_fill": _PAPER,
    "background_fill_primary": _PAPER,
    "background_fill_secondary": _SUNKEN,
    "block_background_fill": "transparent",
    "block_border_color": _LINE,
    "block_border_width": "0px",
    "block_padding": "0px",
    "block_radius": "4px",
    "block_shadow": _NONE,
    "block_label_background_fill": "transparent",
    "block_label_border_width": "0px",
    "block_label_shadow": _NONE,
    "block_title_border_width": "0px",
    "border_color_primary": _LINE,
    "border_color_accent": _ACCENT,
    "border_color_accent_subdued": _LINE,
    "color_accent": _ACCENT,
    "color_accent_soft": _SUNKEN,
    "panel_background_fill": "transparent",
    "panel_border_width": "0px",
    "form_gap_width": "8px",
    "layout_gap": "16px",
    "shadow_drop": _NONE,
    "shadow_drop_lg": _NONE,
    "shadow_inset": _NONE,
    "shadow_spread": "0px",
    "table_border_color": _LINE,
    "table_even_background_fill": "transparent",
    "table_odd_background_fill": "transparent",
    "table_row_focus": _SUNKEN,
    "code_background_fill": _SUNKEN,
    "stat_background_fill": _ACCENT,
    "loader_color": _ACCENT,
    "error_background_fill": _SURFACE,
    "error_border_color": "var(--danger)",
    "error_text_color": "var(--danger)",
    "error_icon_color": "var(--danger)",
}

_TEXT = {
    "body_text_color": _INK,
    "body_text_color_subdued": _MUTED,
    "block_label_text_color": _MUTED,
    "block_label_text_size": "12px",
    "block_label_padding": "0 0 4px 0",
    "block_title_text_color": _MUTED,
    "block_title_text_size": "12px",
    "block_title_text_weight": "400",
    "block_info_text_color": _MUTED,
    "block_info_text_size": "12px",
    "accordion_text_color": _INK,
    "table_text_color": _INK,
    "link_text_color": _ACCENT,
    "link_text_color_hover": _INK,
    "link_text_color_visited": _ACCENT,
    "link_text_color_active": _INK,
}

_INPUTS = {
    "input_background_fill": _SURFACE,
    "input_background_fill_focus": _SURFACE,
    "input_background_fill_hover": _SURFACE,
    "input_border_color": _EDGE,
    "input_border_color_focus": _ACCENT,
    "input_border_color_hover": _INK,
    "input_border_width": "1px",
    "input_padding": "6px 8px",
    "input_placeholder_color": _MUTED,
    "input_radius": "4px",
    "input_shadow": _NONE,
    "input_shadow_focus": _NONE,
    "input_text_size": "14px",
    "slider_color": _ACCENT,
    "checkbox_background_color": _SURFACE,
    "checkbox_background_color_hover": _SURFACE,
    "checkbox_background_color_focus": _SURFACE,
    "checkbox_background_color_selected": _ACCENT,
    "checkbox_border_color": _EDGE,
    "checkbox_border_color_hover": _INK,
    "checkbox_border_color_focus": _ACCENT,
    "checkbox_border_color_selected": _ACCENT,
    "checkbox_border_radius": "2px",
    "checkbox_shadow": _NONE,
    "checkbox_label_background_fill": "transparent",
    "checkbox_label_background_fill_hover": "transparent",
    "checkbox_label_background_fill_selected": "transparent",
    "checkbox_label_border_color": "transparent",
    "checkbox_label_border_color_hover": "transparent",
    "checkbox_label_border_color_selected": "transparent",
    "checkbox_label_border_width": "0px",
    "checkbox_label_gap": "16px",
    "checkbox_label_padding": "4px 0",
    "checkbox_label_shadow": _NONE,
    "checkbox_label_shadow_hover": _NONE,
    "checkbox_label_shadow_active": _NONE,
    "checkbox_label_text_color": _INK,
    "checkbox_label_text_color_selected": _INK,
    "checkbox_label_text_weight": "400",
}

_BUTTONS = {
    "button_border_width": "1px",
    "button_transform_hover": _NONE,
    "button_transform_active": _NONE,
    "button_transition": _NONE,
    "button_large_padding": "7px 16px",
    "button_large_radius": "4px",
    "button_large_text_size": "14px",
    "button_large_text_weight": "500",
    "button_medium_padding": "6px 12px",
    "button_medium_radius": "4px",
    "button_medium_text_size": "14px",
    "button_medium_text_weight": "500",
    "button_small_padding": "4px 10px",
    "button_small_radius": "4px",
    "button_small_text_size": "13px",
    "button_small_text_weight": "500",
    "button_primary_background_fill": _ACCENT,
    "button_primary_background_fill_hover": "color-mix(in srgb, var(--accent) 86%, var(--ink))",
    "button_primary_border_color": _ACCENT,
    "button_primary_border_color_hover": _ACCENT,
    "button_primary_text_color": "var(--on-accent)",
    "button_primary_text_color_hover": "var(--on-accent)",
    "button_primary_shadow": _NONE,
    "button_primary_shadow_hover": _NONE,
    "button_primary_shadow_active": _NONE,
    "button_secondary_background_fill": "transparent",
    "button_secondary_background_fill_hover": _SUNKEN,
    "button_secondary_border_color": _EDGE,
    "button_secondary_border_color_hover": _INK,
    "button_secondary_text_color": _INK,
    "button_secondary_text_color_hover": _INK,
    "button_secondary_shadow": _NONE,
    "button_secondary_shadow_hover": _NONE,
    "button_secondary_shadow_active": _NONE,
    "button_cancel_background_fill": "transparent",
    "button_cancel_background_fill_hover": _SUNKEN,
    "button_cancel_border_color": "var(--danger)",
    "button_cancel_border_color_hover": "var(--danger)",
    "button_cancel_text_color": "var(--danger)",
    "button_cancel_text_color_hover": "var(--danger)",
    "button_cancel_shadow": _NONE,
    "button_cancel_shadow_hover": _NONE,
    "button_cancel_shadow_active": _NONE,
}
