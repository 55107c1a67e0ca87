import math

import pytest
import torch
from networks import some_ids, tiny

from guppy.config import ModelConfig, TrainConfig
from guppy.errors import GuppyError
from guppy.optim import (
    build_optimizer,
    learning_rate,
    load_optimizer,
    optimizer_tensors,
    orthogonal,
    split_parameters,
)


def stepped(model, optimizer, steps: int) -> None:
    for seed in range(steps):
        model(some_ids(model, seed=seed)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def treated(model):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return tuple({names[p] for p in part} for part in split_parameters(model))


def test_each_parameter_has_its_treatment():
    model = tiny()
    matrices, decaying, kept = treated(model)
    assert matrices == {
        f"blocks.{layer}.{name}.weight" for layer in range(2) for name in ("attn.qkv", "attn.out", "mlp.up", "mlp.down")
    }
    assert decaying == {"embed.weight"}
    assert all(name.endswith("bias") or "ln" in name or name == "pos_embed.weight" for name in kept)
    assert matrices | decaying | kept == {name for name, _ in model.named_parameters()}


def test_muons_and_adamws_parts_share_decay_and_follow_one_rate():
    optimizer = build_optimizer(tiny(), TrainConfig(steps=1, lr=0.01, weight_decay=0.5))
    assert [type(part).__name__ for part in optimizer.parts] == ["Muon", "AdamW"]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.5, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.015, 0.015]
    optimizer.set_rate(0.02)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.03, 0.03]
    alone = build_optimizer(tiny(), TrainConfig(steps=1, lr=0.01, weight_decay=0.5, optimizer="adamw"))
    assert [type(part).__name__ for part in alone.parts] == ["AdamW"]
    assert {group["lr"] for group in alone.param_groups} == {0.01}
    assert sum(len(group["params"]) for group in alone.param_groups) == len(list(tiny().parameters()))


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 2), (torch.bfloat16, 5)])
@pytest.mark.parametrize("shape", [(24, 24), (24, 72), (72, 24)])
def test_orthogonal_evens_singular_values_out(shape, dtype, largest):
    u, _, v = torch.linalg.svd(torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    spectrum = torch.logspace(0, -2, min(shape))
    found = orthogonal((u @ torch.diag(spectrum) @ v).to(dtype))
    assert (found.shape, found.dtype) == ((3, *shape), dtype)
    values = torch.linalg.svdvals(found.float())
    assert (values > 0.1).all() and (values < largest).all()  # from 100 : 1
    nearest = u @ v
    assert (found * nearest).sum() / found.float().norm() / nearest.norm() > 0.8


def test_orthogonal_does_not_care_about_scale_and_survives_zeros():
    matrix = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(orthogonal(matrix * 2**-20), orthogonal(matrix))
    assert torch.equal(orthogonal(matrix * 2**20), orthogonal(matrix))
    nothing = torch.zeros(1, 4, 8, dtype=torch.bfloat16)
    assert torch.equal(orthogonal(nothing), nothing)


@pytest.mark.parametrize(("flags", "dtype"), [({"avx512_bf16"}, torch.bfloat16), ({"avx2"}, torch.float32)])
def test_muon_iterates_in_bfloat16_only_with_units_for_it(monkeypatch, flags, dtype):
    monkeypatch.setattr("guppy.precision.cpu_flags", lambda: frozenset(flags))
    model = tiny()
    optimizer = build_optimizer(model, TrainConfig(steps=1, lr=0.01))
    assert optimizer.parts[0].dtype == dtype
    model(some_ids(model)).square().mean().backward()
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_muon_step_is_the_orthogonal_momentum():
    """By hand, for two steps of Nesterov's momentum."""
    model = tiny()
    config = TrainConfig(steps=1, lr=0.01, momentum=0.8, weight_decay=0.5)
    optimizer = build_optimizer(model, config)
    weights = [block.mlp.up.weight for block in model.blocks]
    mean, expected = torch.zeros_like(torch.stack(weights)), torch.stack(weights).detach()
    for seed in range(2):
        model(some_ids(model, seed=seed)).square().mean().backward()
        grad = torch.stack([weight.grad for weight in weights])
        mean = 0.8 * mean + 0.2 * grad
        step = orthogonal((0.8 * mean + 0.2 * grad).bfloat16())
        expected = expected * (1 - 0.01 * 0.5) - 0.01 * 0.2 * math.sqrt(max(weights[0].shape)) * step
        optimizer.step()
        optimizer.zero_grad()
        torch.testing.assert_close(torch.stack(weights).detach(), expected, rtol=1e-2, atol=1e-3)


def test_a_step_is_adamws():
    model = tiny()
    config = TrainConfig(steps=1, lr=0.01, beta1=0.8, beta2=0.9, weight_decay=0.5, optimizer="adamw")
    optimizer = build_optimizer(model, config)
    weight, bias = model.blocks[0].mlp.up.weight, model.blocks[0].mlp.up.bias
    w, b = weight.detach().clone(), bias.detach().clone()
    model(some_ids(model)).square().mean().backward()
    dw, db = weight.grad.clone(), bias.grad.clone()
    optimizer.step()
    # The first step: both moments, corrected for their start at zero, are the gradient and its square.
    torch.testing.assert_close(weight, w * (1 - 0.01 * 0.5) - 0.01 * dw / (dw.abs() + 1e-8))
    torch.testing.assert_close(bias, b - 0.01 * db / (db.abs() + 1e-8))


def test_the_rate_warms_up_stays_and_decays():
    config = TrainConfig(steps=1, lr=1.0, min_lr=0.2, warmup=0.1, decay=0.4)
    shares = {0.0: 0.0, 0.05: 0.5, 0.1: 1.0, 0.35: 1.0, 0.6: 1.0, 0.8: 0.6, 1.0: 0.2, 1.3: 0.2}
    for share, rate in shares.items():
        assert math.isclose(learning_rate(share, config), rate, abs_tol=1e-12), share


@pytest.mark.parametrize(
    ("width", "muon", "adamw", "rows"),
    [(64, 0.012, 0.003, 32), (128, 0.012, 0.003, 32), (384, 0.004, 0.001, 96), (512, 0.003, 0.00075, 128)],
)
def test_rate_and_rows_fit_the_width_unless_they_are_given(width, muon, adamw, rows):
    model = ModelConfig(64, n_heads=1, d_model=width)
    chosen = TrainConfig(steps=1).for_model(model)
    assert math.isclose(chosen.lr, muon) and chosen.batch_size == rows
    assert math.isclose(TrainConfig(steps=1, optimizer="adamw").for_model(model).lr, adamw)
    given = TrainConfig(steps=1, lr=0.5, batch_size=3)
    assert given.for_model(model) == given


def test_without_warmup_or_decay_the_rate_is_flat():
    config = TrainConfig(steps=1, lr=0.5, warmup=0, decay=0)
    assert [learning_rate(share, config) for share in (0.0, 0.5, 1.0)] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_saved_state_goes_on_bit_for_bit(name):
    model, other = tiny(), tiny()
    config = TrainConfig(steps=1, lr=0.01, optimizer=name)
    optimizer = build_optimizer(model, config)
    stepped(model, optimizer, 3)
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(model, optimizer).items()}
    other.load_state_dict(model.state_dict())
    second = build_optimizer(other, config)
    load_optimizer(other, second, saved)
    stepped(model, optimizer, 2)
    stepped(other, second, 2)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name


def test_nothing_saved_is_a_fresh_optimizer():
    model = tiny()
    optimizer = build_optimizer(model, TrainConfig(steps=1, lr=0.01))
    assert optimizer_tensors(model, optimizer) == {}
    load_optimizer(model, optimizer, {})
    assert not any(part.state for part in optimizer.parts)


def test_a_misfit_is_said():
    model = tiny()
    optimizer = build_optimizer(model, TrainConfig(steps=1, lr=0.01))
    stepped(model, optimizer, 1)
    saved = optimizer_tensors(model, optimizer)
    missing = {name: tensor for name, tensor in saved.items() if name != "exp_avg.embed.weight"}
    with pytest.raises(GuppyError, match=r"no exp_avg\.embed\.weight"):
        load_optimizer(model, optimizer, missing)
    other = build_optimizer(model, TrainConfig(steps=1, lr=0.01, optimizer="adamw"))
    with pytest.raises(GuppyError, match=r"no exp_avg\.blocks"):
        load_optimizer(model, other, saved)
    with pytest.raises(GuppyError, match="another shape"):
        load_optimizer(model, optimizer, saved | {"exp_avg.embed.weight": torch.zeros(2, 2)})
