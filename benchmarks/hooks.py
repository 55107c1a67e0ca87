"""What hook points cost when nothing listens: a training step of Guppy against the same network without them.

    python -m benchmarks.hooks [--sizes fry,guppy] [--rounds 8] [--pairs 12] [--threads N] [--clock wall|cpu] [--json]

Both networks hold the same weights, read the same tokens, and take whole steps (forward, loss, backward, clipping,
AdamW, in the arithmetic that training would choose here). They take turns within one process, each going first every
other time, so that what else the machine does meets both alike. Where tensors happen to lie in memory favours one of
them by up to a few percent, so each round builds both anew, in turns as well. A pair gives a ratio, a round the median
of its pairs; the report is the mean of the rounds with its standard error. On a machine that is not quiet,
`--clock cpu --threads 1` counts only the time that this process itself computed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import run_main
from guppy.config import ModelConfig, TrainConfig, preset
from guppy.model import ACTIVATIONS, Guppy
from guppy.optim import build_optimizer
from guppy.precision import Precision, pick_precision

Times: TypeAlias = "list[tuple[float, float]]"


class PlainBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.d_model
        self.n_heads, self.dropout, self.act = config.n_heads, config.dropout, ACTIVATIONS[config.act_fn]
        self.ln1, self.ln2 = (nn.LayerNorm(width, config.ln_eps) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"up": nn.Linear(width, config.d_mlp), "down": nn.Linear(config.d_mlp, width)})

    def forward(self, x: Tensor) -> Tensor:
        batch, pos, width = x.shape
        heads = self.attn["qkv"](self.ln1(x)).view(batch, pos, 3, self.n_heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (batch, head, pos, d_head)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        out = self.attn["out"](z.transpose(1, 2).reshape(batch, pos, width))
        x = x + F.dropout(out, self.dropout, self.training)
        out = self.mlp["down"](self.act(self.mlp["up"](self.ln2(x))))
        return x + F.dropout(out, self.dropout, self.training)


class PlainGuppy(nn.Module):
    """The same network and the same parameter names, as one writes it who never looks inside."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.pos_embed = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layers))
        self.ln_final = nn.LayerNorm(config.d_model, config.ln_eps)

    def forward(self, ids: Tensor) -> Tensor:
        position = torch.arange(ids.shape[1], device=ids.device)
        x = F.dropout(self.embed(ids) + self.pos_embed(position), self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_final(x), self.embed.weight)


def stepper(model: nn.Module, ids: Tensor, precision: Precision, clock: Callable[[], float]) -> Callable[[], float]:
    """A function that takes one training step and returns its seconds."""
    config = TrainConfig(steps=1, lr=1e-3)
    optimizer = build_optimizer(model, config)
    wait = torch.cuda.synchronize if ids.is_cuda else lambda: None

    def step() -> float:
        wait()
        start = clock()
        with precision.autocast():
            logits = model(ids[:, :-1])
            loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        wait()
        return clock() - start

    return step


def one_round(
    config: ModelConfig, ids: Tensor, precision: Precision, options: argparse.Namespace, number: int
) -> Times:
    """Seconds of each pair of steps, with hook points and without."""
    builders: list[Callable[[], nn.Module]] = [lambda: Guppy(config, seed=0), lambda: PlainGuppy(config)]
    order = [0, 1] if number % 2 else [1, 0]
    models = {which: builders[which]().to(precision.device) for which in order}
    models[1].load_state_dict(models[0].state_dict())
    with torch.no_grad():
        torch.testing.assert_close(models[0](ids[:, :-1]), models[1](ids[:, :-1]), rtol=1e-4, atol=1e-4)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    steps = {which: stepper(models[which], ids, precision, clock) for which in order}
    times: Times = []
    for _ in range(options.pairs + 2):
        order.reverse()
        taken = {which: steps[which]() for which in order}
        times.append((taken[0], taken[1]))
    return times[2:]  # the first steps allocate


def compare(size: str, options: argparse.Namespace) -> dict[str, object]:
    precision = pick_precision("auto", "auto")
    config = preset(size, 2048)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 2048, (options.batch, options.context + 1), generator=generator).to(precision.device)
    rounds = [one_round(config, ids, precision, options, number) for number in range(options.rounds)]
    overheads = [100 * (statistics.median(a / b for a, b in times) - 1) for times in rounds]
    return {
        "size": size,
        "device": precision.device.type,
        "dtype": precision.name,
        "threads": torch.get_num_threads(),
        "clock": options.clock,
        "tokens": options.batch * options.context,
        "hooked_ms": 1000 * statistics.median(a for times in rounds for a, _ in times),
        "plain_ms": 1000 * statistics.median(b for times in rounds for _, b in times),
        "overhead_percent": statistics.mean(overheads),
        "standard_error": statistics.stdev(overheads) / len(overheads) ** 0.5,
        "rounds_percent": overheads,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="fry,guppy")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=12, help="pairs of steps in a round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    results = []
    for size in options.sizes.split(","):
        result = compare(size, options)
        results.append(result)
        where = f"{result['device']} {result['dtype']}, {result['threads']} threads, {options.clock} time"
        print(
            f"{size}, {result['tokens']} tokens: {result['hooked_ms']:.1f} ms with hook points, "
            f"{result['plain_ms']:.1f} ms without: {result['overhead_percent']:+.2f}% ± {result['standard_error']:.2f} "
            f"({where})",
            file=sys.stderr if options.json else sys.stdout,
        )
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    run_main(main)
