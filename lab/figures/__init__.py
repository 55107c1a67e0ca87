"""Figures: pure functions, arrays in, plotly Figure out. No torch, no gradio, no files.

Backgrounds are transparent and every colour reads on white paper and on deep ink alike, so one figure serves both
themes, a notebook and a file.
"""

from lab.figures.ablation import ablation_heatmap, subset_losses
from lab.figures.anatomy import anatomy_strips
from lab.figures.attention import attention_arcs, attention_heatmap, head_kinds
from lab.figures.attribution import attribution_bars, head_grid
from lab.figures.lens import lens_grid
from lab.figures.losses import Curve, loss_curves
from lab.figures.memory import memory_treemap
from lab.figures.patching import patching_heatmap
from lab.figures.sampling import next_token_bars, surprise_bars
from lab.figures.weights import copying_scores, embedding_map, singular_values, weight_histogram

__all__ = [
    "Curve",
    "ablation_heatmap",
    "anatomy_strips",
    "attention_arcs",
    "attention_heatmap",
    "attribution_bars",
    "copying_scores",
    "embedding_map",
    "head_grid",
    "head_kinds",
    "lens_grid",
    "loss_curves",
    "memory_treemap",
    "next_token_bars",
    "patching_heatmap",
    "singular_values",
    "subset_losses",
    "surprise_bars",
    "weight_histogram",
]
