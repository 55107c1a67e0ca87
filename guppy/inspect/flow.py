"""Attention flow: how much of each input token could reach one position through the layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.rollout import SHARE, cumulative, routes
from guppy.model import Guppy

MOST = 256
"""Tokens: one maximum flow for each of them takes seconds together; of 1,024, minutes."""
UNIT = 2**30
"""A capacity of 1 in the whole numbers that the solver counts in."""


@dataclass(frozen=True)
class Flow:
    """Abnar & Zuidema 2020, section 3: the largest flow from one position down to each input token, through a graph
    whose nodes are the positions after each layer and whose edges carry at most that layer's attention (with the
    identity share of `rollout`). Each token's flow is found by itself, so together they may be more than 1."""

    flow: Float64[Tensor, " key"]
    """The largest flow to each input token, between 0 and 1; 0 for tokens that the query cannot see."""
    rollout: Float64[Tensor, " key"]
    """The row of `rollout` beside it, whose sum is 1: never more than the flow, because its own routes are one."""
    query: int
    layer: int
    """Where the flow starts: the position `query` after this layer."""
    share: float
    """The identity share."""


def flow(model: Guppy, ids: Int64[Tensor, " pos"], query: int = -1, layer: int = -1, share: float = SHARE) -> Flow:
    """Attention flow from the position `query` after `layer` to every input token, exact to 1e-5: the solver counts in
    units of 2⁻³⁰, and rounding adds up over the edges of the narrowest cut.

    One maximum flow (Dinic's) for each token: seconds for a long text. Indices below 0 count from the end. Raises
    GuppyError on more than `MOST` tokens, when there is no such query or layer, and as `rollout` does."""
    if len(ids) > MOST:
        mend = "shorten the text, or ask for rollout"
        raise GuppyError(f"Flow is found for up to {MOST} tokens, not {len(ids)}; {mend}.")
    if not -len(ids) <= query < len(ids):
        raise GuppyError(f"There is no position {query}; choose 0 to {len(ids) - 1}.")
    if not -model.config.n_layers <= layer < model.config.n_layers:
        raise GuppyError(f"There is no layer {layer}; choose 0 to {model.config.n_layers - 1}.")
    query, layer = query % len(ids), layer % model.config.n_layers
    layers, share = routes(model, ids, share)
    found = largest_flows(layers[: layer + 1].numpy(), query)
    return Flow(torch.from_numpy(found), cumulative(layers)[layer, query], query, layer, share)


def largest_flows(layers: Float64[np.ndarray, "layer query key"], query: int) -> Float64[np.ndarray, " key"]:
    """The largest flow from the node `query` above the last of `layers` to each node below the first; `layers[l][q, k]`
    is the capacity of the edge from q above layer l to k below it."""
    depth, n, _ = layers.shape
    graph = _graph(layers)
    flows = np.zeros(n)
    for key in range(n):
        flows[key] = maximum_flow(graph, depth * n + query, key, method="dinic").flow_value / UNIT
    return flows


def _graph(layers: Float64[np.ndarray, "layer query key"]) -> csr_array:
    """Capacities between nodes: node l * n + p is position p below layer l."""
    depth, n, _ = layers.shape
    layer, q, k = np.nonzero(layers)
    capacity = np.rint(layers[layer, q, k] * UNIT).astype(np.int32)
    size = (depth + 1) * n
    return csr_array((capacity, ((layer + 1) * n + q, layer * n + k)), shape=(size, size))


def _ask(subject: Subject, query: int, layer: int, share: float) -> Flow:
    return flow(subject.model, subject.ids, query, layer, share)


QUESTIONS = (
    Question(
        "flow",
        "Attention flow: the largest flow from one position to each input token.",
        _ask,
        hooks="blocks.*.attn.hook_pattern",
        exactness="approximate: to 1e-5",
        options=(
            Option("query", int, -1, "the position it starts from; below 0 from the end"),
            Option("layer", int, -1, "the layer after which it starts; below 0 from the end"),
            Option("share", float, SHARE, "how much of each layer is counted as passed on unchanged, 0 to 1"),
        ),
    ),
)
