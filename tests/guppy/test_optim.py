import math

import pytest
import torch
from networks import some_ids, tiny

from guppy.config import ModelConfig, TrainConfig
from guppy.errors import GuppyError
from guppy.optim import build_optimizer, learning_rate, load_optimizer, optimizer_tensors, parameter_groups


def stepped(model, optimizer, steps: int) -> None:
    for seed in range(steps):
        model(some_ids(model, seed=seed)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_only_matrices_decay():
    model = tiny()
    names = {parameter: name for name, parameter in model.named_parameters()}
    decaying, kept = ([names[p] for p in group["params"]] for group in parameter_groups(model, 0.1))
    assert (
        "embed.weight" in decaying and "blocks.0.attn.qkv.weight" in decaying and "blocks.1.mlp.down.weight" in decaying
    )
    assert "pos_embed.weight" in kept
    assert all(name.endswith("bias") or "ln" in name or name == "pos_embed.weight" for name in kept)
    assert sorted(decaying + kept) == sorted(names.values())


def test_a_step_is_adamws():
    model = tiny()
    config = TrainConfig(steps=1, lr=0.01, beta1=0.8, beta2=0.9, weight_decay=0.5)
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


@pytest.mark.parametrize(("width", "rate"), [(64, 0.003), (128, 0.003), (384, 0.001), (512, 0.00075)])
def test_the_rate_fits_the_width_unless_it_is_given(width, rate):
    model = ModelConfig(64, n_heads=1, d_model=width)
    assert math.isclose(TrainConfig(steps=1).for_model(model).lr, rate)
    assert TrainConfig(steps=1, lr=0.5).for_model(model).lr == 0.5


def test_without_warmup_or_decay_the_rate_is_flat():
    config = TrainConfig(steps=1, lr=0.5, warmup=0, decay=0)
    assert [learning_rate(share, config) for share in (0.0, 0.5, 1.0)] == [0.5, 0.5, 0.5]


def test_saved_state_goes_on_bit_for_bit():
    model, other = tiny(), tiny()
    config = TrainConfig(steps=1, lr=0.01)
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
    assert not optimizer.state


def test_a_misfit_is_said():
    model = tiny()
    optimizer = build_optimizer(model, TrainConfig(steps=1, lr=0.01))
    stepped(model, optimizer, 1)
    saved = optimizer_tensors(model, optimizer)
    missing = {name: tensor for name, tensor in saved.items() if name != "exp_avg.embed.weight"}
    with pytest.raises(GuppyError, match=r"no exp_avg\.embed\.weight"):
        load_optimizer(model, optimizer, missing)
    with pytest.raises(GuppyError, match="another shape"):
        load_optimizer(model, optimizer, saved | {"exp_avg.embed.weight": torch.zeros(2, 2)})
