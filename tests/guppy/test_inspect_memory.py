"""Memory is counted as it really is: against autograd's own saved tensors, the optimizer's state, and live storages."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from guppy.batches import Batch
from guppy.cache import KVCache
from guppy.config import ModelConfig, TrainConfig
from guppy.errors import GuppyError
from guppy.evaluate import batch_loss
from guppy.inspect.memory import Memory, memory
from guppy.inspect.sizes import shape
from guppy.model import Guppy
from guppy.optim import Together, build_optimizer, optimizer_tensors
from guppy.precision import Precision, pick_precision
from guppy.surgery import Surgery

CONFIG = ModelConfig(vocab_size=192, n_ctx=24, n_layers=3, n_heads=4, d_model=32, d_mlp=80)
BATCH, CONTEXT = 3, 20
CPU = torch.device("cpu")
SURGERIES = [
    "",
    "no-causal-mask",
    "no-mlp:1",
    "no-mlp",
    "no-attention:0,2",
    "no-head:1.2,1.3",
    "no-positions",
    "no-layernorm",
    "no-residual",
    "no-scale",
    "no-residual,no-mlp:1",
    "no-residual,no-layernorm,no-attention:1",
    "no-attention,no-mlp",
]


class Kept:
    """What autograd holds instead of a tensor; it dies when autograd lets go."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor.detach()  # not the output itself, whose history would hold this


@contextmanager
def saved() -> Iterator[weakref.WeakSet]:
    kept: weakref.WeakSet = weakref.WeakSet()

    def pack(tensor: torch.Tensor) -> Kept:
        held = Kept(tensor)
        kept.add(held)
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        yield kept


def storages(tensors: Iterator[torch.Tensor]) -> dict[int, int]:
    """Bytes by address, each storage once."""
    return {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}


def batch(
    config: ModelConfig, rows: int, context: int, device: torch.device = CPU
) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, config.vocab_size, (rows, context + 1), generator=torch.Generator().manual_seed(0))
    return ids[:, :-1].contiguous().to(device), ids[:, 1:].contiguous().to(device)


def loss_of(model: Guppy, precision: Precision, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """As guppy.train computes it."""
    with precision.autocast():
        return batch_loss(model, Batch(ids, targets, ids.numel())) / ids.numel()


def stepped(model: Guppy, precision: Precision, optimizer: Together, config: ModelConfig, rows: int, context: int):
    loss_of(model, precision, *batch(config, rows, context, precision.device)).backward()
    optimizer.step()


def of(found: Memory, group: str) -> list[int]:
    return sorted(size for size, name in zip(found.bytes.tolist(), found.group, strict=True) if name == group)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("names", SURGERIES)
def test_activations_are_those_that_autograd_saves(names: str, dtype: str) -> None:
    surgery = Surgery.parse(names, CONFIG.n_layers, CONFIG.n_heads)
    model = Guppy(CONFIG, surgery).train()
    parameters = storages(model.parameters())
    with saved() as kept:
        loss = loss_of(model, Precision(CPU, getattr(torch, dtype), "asked"), *batch(CONFIG, BATCH, CONTEXT))
        there = storages(held.tensor for held in kept if held.tensor.numel() > 1)
    measured = sorted(size for address, size in there.items() if address not in parameters)
    found = memory(CONFIG, batch=BATCH, context=CONTEXT, dtype=dtype, surgery=surgery)
    assert of(found, "activations") == measured
    assert loss.requires_grad


@pytest.mark.parametrize("act_fn", ["gelu", "gelu_new"])
def test_gelu_keeps_what_it_reads_too(act_fn: str) -> None:
    config = ModelConfig(**{**CONFIG.to_dict(), "act_fn": act_fn})
    with saved() as kept:
        loss = loss_of(model := Guppy(config).train(), Precision(CPU, torch.float32, ""), *batch(config, 2, 9))
        there = storages(held.tensor for held in kept if held.tensor.numel() > 1)
    mine = storages(model.parameters())
    assert loss.requires_grad
    assert of(memory(config, batch=2, context=9), "activations") == sorted(
        size for address, size in there.items() if address not in mine
    )


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("names", SURGERIES)
def test_weights_gradients_and_moments_are_those_of_a_step(names: str, optimizer: str) -> None:
    surgery = Surgery.parse(names, CONFIG.n_layers, CONFIG.n_heads)
    model = Guppy(CONFIG, surgery).train()
    driven = build_optimizer(model, TrainConfig(steps=1, optimizer=optimizer).for_model(CONFIG))
    order: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: order.append(name))
    stepped(model, Precision(CPU, torch.float32, ""), driven, CONFIG, BATCH, CONTEXT)
    found = memory(CONFIG, batch=BATCH, context=CONTEXT, optimizer=optimizer, surgery=surgery)
    rows = list(zip(found.name, found.group, found.shape, found.bytes.tolist(), strict=True))
    assert [(name, tuple(shape)) for name, group, shape, _ in rows if group == "parameters"] == [
        (name, tuple(parameter.shape)) for name, parameter in model.named_parameters()
    ]
    grads = {name: parameter.grad.nbytes for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.removesuffix(".grad"): size for name, group, _, size in rows if group == "gradients"} == grads
    modules = [name.removesuffix(".grad").rpartition(".")[0] for name, group, _, _ in rows if group == "gradients"]
    assert modules == [name.rpartition(".")[0] for name in order]
    state = {
        ".".join((name, key.removesuffix("_buffer"))): tensor.nbytes
        for key, name, tensor in (
            (*key.split(".", 1), tensor) for key, tensor in optimizer_tensors(model, driven).items()
        )
    }
    assert {name: size for name, group, _, size in rows if group == "optimizer"} == state
    assert found.totals["optimizer"] == sum(state.values())


class Live(TorchDispatchMode):
    """The bytes of all storages made inside, now and at most, seen after every operation."""

    def __init__(self, *before: torch.Tensor) -> None:
        """`before`: what is there already and not counted."""
        super().__init__()
        self.now = self.most = 0
        self.known: dict[int, object] = {each.untyped_storage()._cdata: each for each in before}

    def watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()

        def gone(_: object) -> None:
            self.now -= size
            self.known.pop(key, None)

        self.known[key] = weakref.ref(storage, gone)
        self.now += size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.watch(leaf)
        self.most = max(self.most, self.now)
        return out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("config", "rows"),
    [
        (ModelConfig(vocab_size=1536, n_ctx=64, n_layers=4, n_heads=4, d_model=64, d_mlp=256), 8),
        (ModelConfig(vocab_size=1536, n_ctx=64, n_layers=4, n_heads=4, d_model=64, d_mlp=256), 1),
        (ModelConfig(vocab_size=512, n_ctx=32, n_layers=6, n_heads=2, d_model=96, d_mlp=192), 4),
    ],
)
def test_the_peak_of_a_step_is_within_five_percent(config: ModelConfig, rows: int, dtype: str) -> None:
    model = Guppy(config).train()
    precision = Precision(CPU, getattr(torch, dtype), "asked")
    driven = build_optimizer(model, TrainConfig(steps=1).for_model(config))
    driven.parts[0].dtype = getattr(torch, dtype)
    inputs = batch(config, rows, config.n_ctx)
    stepped(model, precision, driven, config, rows, config.n_ctx)  # the moments are made
    model.zero_grad(set_to_none=True)
    found = memory(config, batch=rows, dtype=dtype)
    there = found.totals["parameters"] + found.totals["optimizer"]
    with Live(*model.parameters(), *optimizer_tensors(model, driven).values(), *inputs) as live:
        loss = loss_of(model, precision, *inputs)
        loss.backward()
        driven.step()
    assert found.peak == pytest.approx(live.most + there + sum(each.nbytes for each in inputs), rel=0.05)


def test_reading_a_text_needs_the_cache_and_little_else() -> None:
    config = ModelConfig(vocab_size=1536, n_ctx=64, n_layers=4, n_heads=4, d_model=64, d_mlp=256)
    model, cache = Guppy(config).eval(), KVCache(4, 64)
    found = memory(config, batch=2, context=48, mode="inference")
    with torch.no_grad(), Live(*model.parameters()) as live:
        model(batch(config, 2, 48)[0], cache)
    assert found.totals["cache"] == cache._store.nbytes
    assert found.peak == pytest.approx(live.most + found.totals["parameters"], rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_a_gpu_reports_the_same_within_five_percent(dtype: str) -> None:
    config = ModelConfig(vocab_size=1536, n_ctx=128, n_layers=6, n_heads=6, d_model=384, d_mlp=768)
    precision, rows = pick_precision("cuda", dtype), 32
    found = memory(config, batch=rows, dtype=precision.name, device="cuda")
    base = torch.cuda.memory_allocated()
    model = Guppy(config).to("cuda").train()
    driven = build_optimizer(model, TrainConfig(steps=1).for_model(config))
    for _ in range(2):
        inputs = batch(config, rows, 128, precision.device)
        torch.cuda.reset_peak_memory_stats()
        loss = loss_of(model, precision, *inputs)
        forward = torch.cuda.memory_allocated() - base
        loss.backward()
        del loss
        driven.step()
        peak = torch.cuda.max_memory_allocated() - base
        driven.zero_grad()
    kept = torch.cuda.memory_allocated() - base
    totals = found.totals
    assert totals["parameters"] + totals["optimizer"] == pytest.approx(kept, rel=0.05)
    assert totals["parameters"] + totals["optimizer"] + totals["activations"] == pytest.approx(forward, rel=0.05)
    assert found.peak == pytest.approx(peak, rel=0.05)


def test_bytes_follow_from_the_words() -> None:
    found = memory(CONFIG, batch=BATCH, context=CONTEXT)
    width = {"float32": 4, "int64": 8, "bool": 1, "bfloat16": 2}
    for i, dims in enumerate(found.dims):
        assert found.shape[i] == shape(dims, found.setting)
        assert found.bytes[i] == prod(found.shape[i]) * width[found.dtype[i]]
    assert found.peak == max(
        sum(int(b) for b, phase in zip(found.bytes, found.phase, strict=True) if phase in there)
        for there in found.moments.values()
    )


def test_what_cannot_be_counted_is_said() -> None:
    with pytest.raises(GuppyError, match="do not fit the context"):
        memory(CONFIG, batch=1, context=25)
    with pytest.raises(GuppyError, match="dropout"):
        memory(ModelConfig(**{**CONFIG.to_dict(), "dropout": 0.1}), batch=1)
    with pytest.raises(GuppyError, match="at least 1"):
        memory(CONFIG, batch=0)
    assert memory(ModelConfig(**{**CONFIG.to_dict(), "dropout": 0.1}), batch=1, mode="inference").peak > 0
