"""How much arithmetic a model needs: every matrix product's operations, forward and backward, and how fast a run was.

A multiply-add counts as two operations. Counted are matrix products, as PaLM (Chowdhery et al. 2022, appendix B) and
PyTorch's flop counter do; norms, activations, softmax and additions together are about a percent of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from guppy.config import ModelConfig
from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.sizes import parameters, reach_of, shape, sizes
from guppy.precision import DTYPES, pick_device
from guppy.surgery import Surgery

if TYPE_CHECKING:
    from guppy.runs import Run

WARM_UP = 0.1
"""Share of a run's logged steps that its speed leaves out."""
PEAK_SIZES, PEAK_REPEATS = (512, 1024), 3


class Product(NamedTuple):
    """One matrix product (a batch of them counts as one), its multiply-adds as a product of sizes."""

    name: str
    component: str
    layer: int | None
    dims: tuple[str, ...]
    seen: tuple[str, ...]
    """The same with only those pairs of tokens that a causal mask leaves."""
    backward: int
    """How many products of the same size its gradients need."""


@dataclass(frozen=True)
class Flops:
    """Operations of one batch, matrix product by matrix product in the order of the code. The lists run in parallel."""

    name: list[str]
    component: list[str]
    """qkv, scores (QKᵀ), values (pattern times V), out, mlp, or unembedding."""
    layer: list[int | None]
    dims: list[list[str]]
    """What is multiplied to get the multiply-adds, see `guppy.inspect.sizes`."""
    seen: list[list[str]]
    """The same where a causal mask leaves half of the pairs of tokens."""
    backward_products: list[int]
    """Products of the same size in the backward pass: one for the gradient of each factor that has one."""
    forward: Int64[Tensor, " product"]
    """Operations with all pairs of query and key, as the formulas are written."""
    backward: Int64[Tensor, " product"]
    forward_needed: Int64[Tensor, " product"]
    """Operations without the pairs that the causal mask hides; the same as `forward` without a mask."""
    backward_needed: Int64[Tensor, " product"]
    multiplied: int
    """Parameters that a token is multiplied with: all but positions; the embedding once, as the output's matrix."""
    six_n: int
    """6 operations for each of these and each token: the usual rule for forward and backward (Kaplan et al. 2020,
    section 2.1), which leaves out attention between tokens."""
    total: int
    """forward and backward."""
    total_needed: int
    tokens: int
    setting: dict[str, int]
    """Every size."""


def flops(config: ModelConfig, *, batch: int = 1, context: int | None = None, surgery: Surgery | None = None) -> Flops:
    """The operations of one training step on `batch` rows of `context` tokens (None: the whole context), exact.

    The forward pass computes what surgery then zeroes; the backward pass does not go there. A fused attention kernel
    computes the scores once more on the way back, which is not counted. Raises GuppyError when the context does not
    fit."""
    surgery, context = surgery or Surgery(), config.n_ctx if context is None else context
    size = sizes(config, batch, context)
    products = list(_products(config, surgery))
    back = [p.backward for p in products]
    forward = torch.tensor([2 * prod(shape(p.dims, size)) for p in products])
    forward_needed = torch.tensor([2 * prod(shape(p.seen, size)) for p in products])
    backward, backward_needed = forward * torch.tensor(back), forward_needed * torch.tensor(back)
    multiplied = sum(prod(shape(w.dims, size)) for w in parameters(config) if w.name != "pos_embed.weight")
    return Flops(
        name=[p.name for p in products],
        component=[p.component for p in products],
        layer=[p.layer for p in products],
        dims=[list(p.dims) for p in products],
        seen=[list(p.seen) for p in products],
        backward_products=back,
        forward=forward,
        backward=backward,
        forward_needed=forward_needed,
        backward_needed=backward_needed,
        multiplied=multiplied,
        six_n=6 * multiplied * batch * context,
        total=int(forward.sum() + backward.sum()),
        total_needed=int(forward_needed.sum() + backward_needed.sum()),
        tokens=batch * context,
        setting=size,
    )


def _products(config: ModelConfig, surgery: Surgery) -> Iterator[Product]:
    reach = reach_of(config, surgery)

    def linear(name: str, component: str, layer: int | None, rows: str, columns: str, back: int) -> Product:
        dims = ("batch", "context", rows, columns)
        return Product(name, component, layer, dims, dims, back)

    for layer in range(config.n_layers):
        block = f"blocks.{layer}"
        learns, passes = reach.learns[layer, "attn"], reach.passes[layer, "attn"]
        yield linear(f"{block}.attn.qkv", "qkv", layer, "d_model", "3*d_model", learns + passes)
        pairs = "seen_pairs" if surgery.causal_mask else "pairs"
        for name in ("scores", "values"):
            full, seen = (("batch", "n_heads", every, "d_head") for every in ("pairs", pairs))
            yield Product(f"{block}.attn.{name}", name, layer, full, seen, 2 * learns)
        yield linear(f"{block}.attn.out", "out", layer, "d_model", "d_model", 2 * learns)
        learns, passes = reach.learns[layer, "mlp"], reach.passes[layer, "mlp"]
        yield linear(f"{block}.mlp.up", "mlp", layer, "d_model", "d_mlp", learns + passes)
        yield linear(f"{block}.mlp.down", "mlp", layer, "d_mlp", "d_model", 2 * learns)
    yield linear("unembed", "unembedding", None, "d_model", "vocab_size", 1 + reach.into_output)


# -- how fast a run was ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """How fast a run trained, as its metrics say; absent where they do not."""

    tokens_per_second: float | None
    """Target tokens, padding not counted: the median over the logged steps after the first tenth."""
    seconds_per_step: float | None
    tokens_per_step: float | None
    """Mean over the run."""
    row: float | None
    """Mean tokens of a row."""
    flops_per_token: float | None
    """Operations, forward and backward, of one of its tokens in a row of that length."""
    flops_per_second: float | None
    """Operations a second that these tokens took. What was computed for padding is not in it."""
    peak: float | None
    """Operations a second of a matrix product here, in the run's dtype, on as many threads as the run had; only if
    asked for and the run's kind of device is here."""
    share: float | None
    """flops_per_second over peak. Of what that other machine could do, if the run was trained elsewhere."""
    steps: int
    tokens: int
    seconds: float
    """Wall time of the run, evaluation and checkpoints included."""
    device: str
    dtype: str
    threads: int | None


def speed(run: Run, *, peak: bool = False) -> Speed:
    """How fast a run trained, and which share that is of what the matrix product reaches here (`peak`: measure it,
    which takes about a second on one core). A run without logged steps has no speed."""
    manifest, config = run.manifest, run.model_config
    rows = [row for row in run.metrics.to_dict("records") if row["kind"] == "step"]
    device, dtype = manifest.get("device", "cpu"), manifest.get("dtype", "float32")
    facts: dict[str, Any] = {"steps": 0, "tokens": 0, "seconds": float(manifest.get("seconds") or 0.0)}
    facts |= {"device": device, "dtype": dtype, "threads": manifest.get("threads")}
    missing = dict.fromkeys(
        ("tokens_per_second", "seconds_per_step", "tokens_per_step", "row", "flops_per_token", "flops_per_second")
    )
    top = matrix_product_peak(device, dtype, manifest.get("threads") or 1) if peak else None
    if not rows:
        return Speed(**missing, **facts, peak=top, share=None)
    last = rows[-1]
    speeds = sorted(row["tokens_per_second"] for row in rows[int(WARM_UP * len(rows)) :])
    fast = float(speeds[len(speeds) // 2])
    a_step = last["tokens"] / last["step"]
    row = a_step / run.train_config.for_model(config).batch_size
    each = flops(config, context=max(1, min(config.n_ctx, round(row))), surgery=run.surgery)
    per_token = each.total_needed / each.tokens
    return Speed(
        tokens_per_second=fast,
        seconds_per_step=a_step / fast,
        tokens_per_step=a_step,
        row=row,
        flops_per_token=per_token,
        flops_per_second=per_token * fast,
        peak=top,
        share=per_token * fast / top if top else None,
        **facts | {"steps": int(last["step"]), "tokens": int(last["tokens"])},
    )


def matrix_product_peak(device: str, dtype: str, threads: int) -> float | None:
    """The most operations a second of a square matrix product: on a GPU as it is, on a CPU one thread's times
    `threads`. None where that device is not here."""
    try:
        where = pick_device(device)
    except GuppyError:
        return None
    best = 0.0
    for side in PEAK_SIZES if where.type == "cpu" else (4096, 8192):
        a, b = (torch.randn(side, side, device=where).to(DTYPES[dtype]) for _ in range(2))
        for _ in range(PEAK_REPEATS):
            began = time.perf_counter()
            (a @ b)[0, 0].item()
            best = max(best, 2.0 * side**3 / (time.perf_counter() - began))
    return best * (threads / min(threads, torch.get_num_threads()) if where.type == "cpu" else 1)


def _ask_flops(subject: Subject, batch: int, context: int) -> Flops:
    return flops(subject.model.config, batch=batch, context=context or None, surgery=subject.model.surgery)


def _ask_speed(subject: Subject, peak: bool) -> Speed:
    if subject.run is None:
        raise GuppyError("Speed is read from a run's files; ask a run.")
    return speed(subject.run, peak=peak)


QUESTIONS = (
    Question(
        "flops",
        "Operations of every matrix product, forward and backward, with and without what the mask hides.",
        _ask_flops,
        options=(
            Option("batch", int, 1, "Rows."),
            Option("context", int, 0, "Tokens of a row; 0: the whole context."),
        ),
        prompt=False,
    ),
    Question(
        "speed",
        "How fast the run trained: tokens and operations a second, and which share of what is possible that was.",
        _ask_speed,
        exactness="measured while it trained; operations without those for padding",
        options=(Option("peak", bool, False, "Measure this machine's matrix product too: about a second."),),
        prompt=False,
    ),
)
