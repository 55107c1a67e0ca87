import pytest
import torch
from networks import some_ids, tiny

from guppy.hooks import intervene, record, zero
from guppy.inspect.value_weighted import value_weighted
from guppy.surgery import Surgery


def vectors(model, ids):
    """alpha v W_O of every (layer, head, query, key), written out, and the results that the model computes."""
    with torch.no_grad(), record(model, ["*hook_pattern", "*hook_v", "*hook_result"]) as tape:
        model(ids[None])
    given, results = [], []
    for layer, block in enumerate(model.blocks):
        pattern, v = tape[f"blocks.{layer}.attn.hook_pattern"][0], tape[f"blocks.{layer}.attn.hook_v"][0]
        d_head = v.shape[-1]
        heads = [
            torch.einsum("qk,kd,md->qkm", pattern[h], v[:, h], block.attn.out.weight[:, h * d_head : (h + 1) * d_head])
            for h in range(v.shape[1])
        ]
        given.append(torch.stack(heads))
        results.append(tape[f"blocks.{layer}.attn.hook_result"][0])
    return torch.stack(given).detach(), torch.stack(results).transpose(1, 2)


@pytest.mark.parametrize(
    "surgery", [None, Surgery(causal_mask=False), Surgery(layernorm=False, scale=False), Surgery(residual=False)]
)
def test_norms_are_those_of_the_vectors_written_out(surgery):
    model = tiny(surgery, n_layers=3)
    ids = some_ids(model)[0]
    expected, results = vectors(model, ids)
    torch.testing.assert_close(expected.sum(3), results, rtol=1e-4, atol=1e-5)  # they are all of the head's output
    found = value_weighted(model, ids)
    torch.testing.assert_close(found.norms, expected.norm(dim=-1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.summed, expected.sum(1).norm(dim=-1), rtol=1e-4, atol=1e-6)
    assert (found.summed <= found.norms.sum(1) + 1e-6).all()
    assert found.largest == found.norms.max()
    if model.causal:
        assert found.norms.triu(1).abs().sum() == 0


def test_value_norms_are_what_a_look_at_one_key_alone_carries():
    model = tiny()
    ids = some_ids(model)[0]
    found = value_weighted(model, ids)
    torch.testing.assert_close(found.norms[:, :, 0, 0], found.value_norms[:, :, 0])  # the first can look nowhere else


def test_the_output_bias_is_in_none_of_it():
    model = tiny()
    ids = some_ids(model)[0]
    before = value_weighted(model, ids).norms[0]
    with torch.no_grad():
        model.blocks[0].attn.out.bias += 3
    torch.testing.assert_close(value_weighted(model, ids).norms[0], before)


def test_what_is_switched_off_carries_nothing():
    model = tiny(Surgery(heads_off=((0, 1),), attention_off=(2,)), n_layers=3)
    ids = some_ids(model)[0]
    found = value_weighted(model, ids)
    whole = value_weighted(tiny(n_layers=3), ids)
    assert found.norms[0, 1].abs().sum() == found.norms[2].abs().sum() == found.summed[2].abs().sum() == 0
    torch.testing.assert_close(found.norms[0, 0], whole.norms[0, 0])
    torch.testing.assert_close(found.summed[0], found.norms[0, 0])
    with intervene(tiny_model := tiny(n_layers=3), {"blocks.1.hook_attn_out": zero}):
        assert value_weighted(tiny_model, ids).norms[1].abs().sum() == 0
