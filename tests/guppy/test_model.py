import math

import pytest
import torch
import torch.nn.functional as F
from networks import some_ids, tiny

from guppy.config import PRESETS, preset
from guppy.hooks import record
from guppy.model import Guppy


def loss_of(model, ids):
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


@pytest.mark.parametrize("size", PRESETS)
@torch.no_grad()
def test_the_first_loss_is_log_v(size):
    for vocab_size in (256, 2048):
        model = Guppy(preset(size, vocab_size), seed=1).eval()
        varied = torch.randint(0, vocab_size, (4, 129), generator=torch.Generator().manual_seed(0))
        repeating = varied[:, :8].repeat(1, 17)[:, :129]  # a tied embedding must not start off by repeating
        for ids in (varied, repeating):
            assert loss_of(model, ids).item() == pytest.approx(math.log(vocab_size), rel=0.02)


@pytest.mark.parametrize("size", PRESETS)
@torch.no_grad()
def test_observed_and_unobserved_logits_agree(size):
    model = Guppy(preset(size, 512), seed=0).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0, 0.1)
    ids = some_ids(model, batch=2, pos=128)
    unobserved = model(ids)
    with record(model):
        torch.testing.assert_close(model(ids), unobserved, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act_fn", ["relu", "gelu", "gelu_new"])
@pytest.mark.parametrize("observed", [False, True], ids=["fused", "explicit"])
def test_gradients_are_the_slopes_of_the_loss(act_fn, observed):
    """Each parameter tensor along a random direction, by central differences in float64."""
    model = tiny(act_fn=act_fn, vocab_size=12, d_model=8, d_mlp=10).double()
    ids = some_ids(model, batch=2, pos=7)
    generator = torch.Generator().manual_seed(0)
    with record(model, "*" if observed else "hook_embed"):
        loss_of(model, ids).backward()
        for name, parameter in model.named_parameters():
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            losses = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    parameter += step * direction
                    losses.append(loss_of(model, ids))
                    parameter -= step * direction
            slope = (losses[0] - losses[1]) / 2e-6
            torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-5, atol=1e-7, msg=name)


def test_the_same_seed_gives_the_same_network():
    config = preset("fry", 256)
    a, b, c = (Guppy(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["blocks.0.mlp.up.weight"], c["blocks.0.mlp.up.weight"])


def test_initial_spreads():
    model = Guppy(preset("guppy", 1024), seed=0)
    spread = {name: parameter.std().item() for name, parameter in model.named_parameters() if parameter.dim() > 1}
    residual = 0.02 / math.sqrt(2 * 6)
    for name, found in spread.items():
        wanted = 0.1 if "embed" in name else residual if "out." in name or "down." in name else 0.02
        assert found == pytest.approx(wanted, rel=0.03), name
    assert all(p.abs().sum() == 0 for name, p in model.named_parameters() if name.endswith("bias"))
    gains = {name: p for name, p in model.named_parameters() if "ln" in name and name.endswith("weight")}
    assert all((gain == (0.1 if name == "ln_final.weight" else 1)).all() for name, gain in gains.items())


def test_the_unembedding_is_the_embedding():
    model = tiny()
    assert model.n_params == sum(value.numel() for value in model.state_dict().values())
    with torch.no_grad(), record(model, "ln_final.hook_normalized") as tape:
        logits = model(some_ids(model))
    x = tape["ln_final.hook_normalized"] * model.ln_final.weight + model.ln_final.bias
    torch.testing.assert_close(logits, x @ model.embed.weight.T)


@torch.no_grad()
def test_dropout_is_for_training_only():
    model = tiny(dropout=0.5)
    ids = some_ids(model)
    assert torch.equal(model(ids), tiny()(ids))
    model.train()
    torch.manual_seed(0)
    first, second = model(ids), model(ids)
    assert (first - second).abs().max() > 0.1
    plain = tiny().train()
    assert torch.equal(plain(ids), plain(ids))


@pytest.mark.parametrize("point", ["hook_embed", "*.hook_pattern"], ids=["fused", "explicit"])
@torch.no_grad()
def test_dropout_on_the_pattern_keeps_its_mean(point):
    model = tiny(dropout=0.3, n_layers=1)
    ids = some_ids(model)
    with record(model, "blocks.0.ln1.hook_normalized") as tape:
        model(ids)
    x = model.blocks[0].ln1.weight * tape["blocks.0.ln1.hook_normalized"] + model.blocks[0].ln1.bias
    expected = model.blocks[0].attn(x, None)
    model.train()
    torch.manual_seed(0)
    with record(model, point):
        mean = torch.stack([model.blocks[0].attn(x, None) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, expected, rtol=0, atol=0.15)
