"""Operations are counted as PyTorch's own counter counts them, product by product."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from guppy.config import ModelConfig
from guppy.evaluate import token_loss
from guppy.hooks import record
from guppy.inspect.flops import flops, matrix_product_peak, speed
from guppy.inspect.sizes import shape
from guppy.model import Guppy
from guppy.runs import open_run
from guppy.surgery import Surgery

CONFIG = ModelConfig(vocab_size=192, n_ctx=24, n_layers=3, n_heads=4, d_model=32, d_mlp=80)
BATCH, CONTEXT = 3, 20


def counted(model: Guppy, rows: int, context: int) -> tuple[int, int]:
    """Operations of the forward and of the backward pass by PyTorch's counter, attention by the formulas."""
    ids = torch.randint(0, model.config.vocab_size, (rows, context + 1))
    with record(model, "blocks.*.attn.hook_pattern", detach=False):
        with FlopCounterMode(display=False) as forward:
            loss = token_loss(model(ids[:, :-1]), ids[:, 1:])
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize(
    "names",
    [
        *("", "no-causal-mask", "no-mlp:1", "no-attention", "no-layernorm", "no-head:0.1", "no-positions"),
        *("no-residual", "no-residual,no-mlp:1", "no-residual,no-layernorm,no-attention:1", "no-mlp,no-attention"),
    ],
)
def test_operations_are_those_that_the_counter_counts(names: str) -> None:
    surgery = Surgery.parse(names, CONFIG.n_layers, CONFIG.n_heads)
    model = Guppy(CONFIG, surgery).train()
    found = flops(CONFIG, batch=BATCH, context=CONTEXT, surgery=surgery)
    assert (int(found.forward.sum()), int(found.backward.sum())) == counted(model, BATCH, CONTEXT)


def test_a_masked_half_is_not_needed() -> None:
    found = flops(CONFIG, batch=2, context=10)
    for name, done, needed in zip(found.component, found.forward.tolist(), found.forward_needed.tolist(), strict=True):
        assert needed * (20 if name in ("scores", "values") else 1) == done * (
            11 if name in ("scores", "values") else 1
        )
    without = flops(CONFIG, batch=2, context=10, surgery=Surgery(causal_mask=False))
    assert without.total_needed == without.total == found.total


def test_the_rule_of_six_leaves_out_attention_and_counts_biases() -> None:
    model = Guppy(CONFIG)
    found = flops(CONFIG, batch=2, context=10)
    assert found.multiplied == model.n_params - model.pos_embed.weight.numel()
    assert found.six_n == 6 * found.multiplied * 20
    vectors = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 1)
    between = sum(
        3 * done
        for done, name in zip(found.forward.tolist(), found.component, strict=True)
        if name in ("scores", "values")
    )
    assert found.total - between == found.six_n - 6 * vectors * 20


def test_operations_follow_from_the_words() -> None:
    found = flops(CONFIG, batch=BATCH, context=CONTEXT)
    for i, dims in enumerate(found.dims):
        assert found.forward[i] == 2 * prod(shape(dims, found.setting))
        assert found.backward[i] == found.backward_products[i] * found.forward[i]


def test_speed_is_what_the_metrics_say() -> None:
    run = open_run("checkpoints/fry")
    found = speed(run)
    lines = [json.loads(line) for line in (Path("checkpoints/fry") / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert (found.steps, found.tokens) == (steps[-1]["step"], steps[-1]["tokens"])
    assert min(s["tokens_per_second"] for s in steps) <= found.tokens_per_second
    assert found.tokens_per_second <= max(s["tokens_per_second"] for s in steps)
    assert found.seconds_per_step == pytest.approx(found.tokens / found.steps / found.tokens_per_second)
    six = 6 * (run.model().n_params - run.model().pos_embed.weight.numel())
    assert 0.95 * six < found.flops_per_token < 1.3 * six
    assert found.flops_per_second == pytest.approx(found.flops_per_token * found.tokens_per_second)
    assert found.peak is None and found.share is None


def test_the_matrix_product_is_measured_only_where_the_device_is() -> None:
    assert matrix_product_peak("cpu", "float32", 1) > 1e8
    if not torch.cuda.is_available():
        assert matrix_product_peak("cuda", "float32", 1) is None
