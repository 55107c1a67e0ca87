import copy
import gc

import pytest
import torch
import torch.nn.functional as F
from networks import scrambled, some_ids, tiny
from torch import nn

from guppy.config import ModelConfig
from guppy.errors import GuppyError
from guppy.hooks import hook_points, record
from guppy.model import Guppy
from guppy.surgery import Surgery, operated

CASES = {
    "no-causal-mask": Surgery(causal_mask=False),
    "no-mlp": Surgery(mlp_off=(0, 1)),
    "no-mlp:1": Surgery(mlp_off=(1,)),
    "no-attention:0": Surgery(attention_off=(0,)),
    "no-head:0.1,1.0": Surgery(heads_off=((0, 1), (1, 0))),
    "no-positions": Surgery(positions=False),
    "no-layernorm": Surgery(layernorm=False),
    "no-residual": Surgery(residual=False),
    "no-scale": Surgery(scale=False),
    "no-causal-mask,no-mlp:0,no-head:1.1,no-scale": Surgery(
        causal_mask=False, mlp_off=(0,), heads_off=((1, 1),), scale=False
    ),
}


def by_hand(model, ids, surgery):
    """The whole network written out again with the parts that surgery removes left out, from its weights alone."""
    w, config = dict(model.named_parameters()), model.config
    pos = ids.shape[1]

    def norm(x, name):
        if not surgery.layernorm:
            return x
        return F.layer_norm(x, (config.d_model,), w[f"{name}.weight"], w[f"{name}.bias"], config.ln_eps)

    x = w["embed.weight"][ids]
    if surgery.positions:
        x = x + w["pos_embed.weight"][:pos]
    for layer in range(config.n_layers):
        at = f"blocks.{layer}"
        qkv = norm(x, f"{at}.ln1") @ w[f"{at}.attn.qkv.weight"].T + w[f"{at}.attn.qkv.bias"]
        q, k, v = (part.unflatten(-1, (config.n_heads, config.d_head)) for part in qkv.chunk(3, dim=-1))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / (config.d_head**0.5 if surgery.scale else 1)
        if surgery.causal_mask:
            scores = scores + torch.full((pos, pos), -torch.inf).triu(1)
        z = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)
        out = w[f"{at}.attn.out.bias"].expand(*ids.shape, -1)
        for head in range(config.n_heads):
            if (layer, head) not in surgery.heads_off:
                columns = slice(head * config.d_head, (head + 1) * config.d_head)
                out = out + z[:, :, head] @ w[f"{at}.attn.out.weight"][:, columns].T
        if layer in surgery.attention_off:
            out = torch.zeros_like(out)
        x = x + out if surgery.residual else out
        hidden = F.relu(norm(x, f"{at}.ln2") @ w[f"{at}.mlp.up.weight"].T + w[f"{at}.mlp.up.bias"])
        out = hidden @ w[f"{at}.mlp.down.weight"].T + w[f"{at}.mlp.down.bias"]
        if layer in surgery.mlp_off:
            out = torch.zeros_like(out)
        x = x + out if surgery.residual else out
    return norm(x, "ln_final") @ w["embed.weight"].T


@pytest.mark.parametrize("surgery", [Surgery(), *CASES.values()], ids=["nothing", *CASES])
@torch.no_grad()
def test_surgery_is_the_network_without_that_part(surgery):
    model = tiny(surgery)
    gc.collect()  # what was done must not depend on anything that Python may drop
    ids = some_ids(model)
    expected = by_hand(model, ids, surgery)
    torch.testing.assert_close(model(ids), expected, rtol=1e-4, atol=1e-5)
    with record(model):
        torch.testing.assert_close(model(ids), expected, rtol=1e-4, atol=1e-5)
    if surgery:
        assert (tiny()(ids) - expected).abs().max() > 0.01


@pytest.mark.parametrize("surgery", CASES.values(), ids=CASES)
@torch.no_grad()
def test_an_operation_lasts_for_its_block(surgery):
    model = tiny()
    ids = some_ids(model)
    before = model(ids)
    with pytest.raises(ZeroDivisionError), operated(model, surgery) as same:
        assert same is model
        torch.testing.assert_close(model(ids), by_hand(model, ids, surgery), rtol=1e-4, atol=1e-5)
        raise ZeroDivisionError
    assert torch.equal(model(ids), before)
    assert not any(point.listened for point in hook_points(model).values())


@torch.no_grad()
def test_an_operation_comes_on_top_of_the_models_own():
    model = tiny(Surgery(mlp_off=(0,)))
    ids = some_ids(model)
    both = Surgery(mlp_off=(0,), positions=False)
    with operated(model, Surgery(positions=False)):
        torch.testing.assert_close(model(ids), by_hand(model, ids, both), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(ids), by_hand(model, ids, model.surgery), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_future_is_seen_without_the_mask_and_only_then():
    for surgery, sees in ((Surgery(), False), (Surgery(causal_mask=False), True)):
        model = tiny(surgery)
        ids = some_ids(model)
        changed = ids.clone()
        changed[:, -1] = (ids[:, -1] + 1) % model.config.vocab_size
        assert ((model(ids) - model(changed))[:, :-1].abs().max() > 1e-3) == sees


def test_no_gradient_reaches_what_is_off():
    model = tiny(Surgery(mlp_off=(0,), heads_off=((1, 0),), positions=False))
    model(some_ids(model)).square().sum().backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(grads[f"blocks.0.mlp.{name}"] is None for name in ("up.weight", "down.weight", "down.bias"))
    assert grads["pos_embed.weight"] is None
    d_head = model.config.d_head
    assert grads["blocks.1.attn.out.weight"][:, :d_head].abs().sum() == 0
    assert grads["blocks.1.attn.out.weight"][:, d_head:].abs().sum() > 0


def test_twins_start_with_the_same_weights():
    config = ModelConfig(64, n_ctx=8, n_layers=2, n_heads=2, d_model=16, d_mlp=24)
    plain = Guppy(config, seed=3).state_dict()
    for surgery in CASES.values():
        twin = Guppy(config, surgery, seed=3).state_dict()
        assert plain.keys() == twin.keys() and all(torch.equal(plain[name], twin[name]) for name in plain)
    assert not torch.equal(plain["embed.weight"], Guppy(config, seed=4).state_dict()["embed.weight"])


@torch.no_grad()
def test_a_copy_has_the_surgery_too():
    model = tiny(CASES["no-causal-mask,no-mlp:0,no-head:1.1,no-scale"])
    ids = some_ids(model)
    assert torch.equal(copy.deepcopy(model)(ids), model(ids))


@pytest.mark.parametrize("surgery", [Surgery(), *CASES.values()], ids=["nothing", *CASES])
def test_names_and_dictionaries_round_trip(surgery):
    assert Surgery.parse(",".join(surgery.names), 2, 2) == surgery
    assert Surgery.from_dict(surgery.to_dict()) == surgery
    as_json = {key: list(value) if isinstance(value, tuple) else value for key, value in surgery.to_dict().items()}
    assert Surgery.from_dict(as_json) == surgery
    assert bool(surgery.description) == bool(surgery) == (surgery != Surgery())


def test_names_as_people_write_them():
    assert Surgery.parse("no-mlp", 3, 2) == Surgery(mlp_off=(0, 1, 2))
    assert Surgery.parse(" no-mlp:2,0 , no-scale,no-head:1.1", 3, 2) == Surgery(
        mlp_off=(0, 2), scale=False, heads_off=((1, 1),)
    )
    assert Surgery.parse("", 3, 2) == Surgery()
    assert Surgery(causal_mask=False, mlp_off=(0, 3)).description == "no causal mask · no MLP in layers 0, 3"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no-mask", "no-causal-mask"),
        ("no-head", "no-head:2.4"),
        ("no-head:1", "no-head:2.4"),
        ("no-mlp:x", "no-mlp:0,3"),
        ("no-scale:1", "no-scale"),
        ("no-mlp:2", "layers 0 to 1"),
        ("no-attention:-1", "layers 0 to 1"),
        ("no-head:0.2", "heads 0 to 1"),
    ],
)
def test_wrong_names_are_refused_with_the_right_ones(text, says):
    with pytest.raises(GuppyError, match=says):
        Surgery.parse(text, 2, 2)


def test_surgery_on_parts_that_are_not_there_is_refused():
    with pytest.raises(GuppyError, match="no layer 5"):
        tiny(Surgery(mlp_off=(5,)))
    with pytest.raises(GuppyError, match="cannot be read"):
        Surgery.from_dict({"brain": False})


def test_scrambled_reaches_every_parameter():
    """The other tests rely on it: a zero bias or a gain of one would hide a mistake."""
    model = scrambled(tiny())
    assert isinstance(model, nn.Module)
    for name, parameter in model.named_parameters():
        assert parameter.std() > 0.05, name
