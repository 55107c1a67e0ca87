"""Norms, shares and sums of the residual stream, against TransformerLens and against sums written out."""

import pytest
import torch
from bridges import bridge_of
from networks import TEXTS, some_ids, tiny

from guppy.errors import GuppyError
from guppy.hooks import hook_points, record
from guppy.inspect.residual import STREAM, Z, head_results, residual, stream_of
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

SURGERIES = {
    "none": Surgery(),
    "residual": Surgery(residual=False),
    "layernorm": Surgery(layernorm=False),
    "positions": Surgery(positions=False),
    "parts": Surgery(mlp_off=(0,), attention_off=(1,), heads_off=((0, 1),)),
    "mask": Surgery(causal_mask=False, scale=False),
    "both": Surgery(residual=False, mlp_off=(2,)),
}


def test_norms_and_components_are_transformer_lenses(tmp_path):
    tokenizer = train_bpe(TEXTS, 300)
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=3)
    ids = some_ids(model, batch=1)
    found = residual(model, ids[0], heads=True)
    with torch.no_grad():
        _, cache = bridge_of(model, tokenizer, tmp_path).run_with_cache(ids)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found.norm, cache.accumulated_resid(incl_mid=True)[:, 0].norm(dim=-1), **close)
    parts = cache.decompose_resid(mode="all")[:, 0]
    torch.testing.assert_close(found.added_norm, parts.norm(dim=-1), **close)
    end = cache["blocks.2.hook_resid_post"][0]
    torch.testing.assert_close(found.share[-1], (parts * end).sum(-1) / end.pow(2).sum(-1), **close)
    heads = cache.stack_head_results()[:, 0].unflatten(0, (3, 2))  # (layer, head, pos, d_model)
    torch.testing.assert_close(found.head_norm, heads.norm(dim=-1), **close)
    torch.testing.assert_close(found.head_share, (heads * end).sum(-1) / end.pow(2).sum(-1), **close)


@pytest.mark.parametrize("name", SURGERIES)
def test_every_point_is_the_sum_of_what_it_carries(name):
    model = tiny(SURGERIES[name], n_layers=3)
    ids = some_ids(model, batch=1)[0]
    found = residual(model, ids, heads=True)
    assert found.points[0] == "blocks.0.hook_resid_pre" and found.points[-1] == "blocks.2.hook_resid_post"
    assert found.norm.shape == (7, 11) and found.share.shape == (7, 8, 11)
    assert found.error < 1e-5
    there = (found.norm > 0).float()
    torch.testing.assert_close(found.share.sum(1), there)
    # The heads' shares are the attentions', but for the bias that is no head's.
    with torch.no_grad(), record(model, "*") as tape:
        model(ids[None])
    for layer in range(3):
        bias = model.blocks[layer].attn.out.bias * bool(tape[f"blocks.{layer}.hook_attn_out"].any())
        end, carried = tape["blocks.2.hook_resid_post"][0], model.blocks[0].residual
        rest = (bias * end).sum(-1) / end.pow(2).sum(-1) * carried if found.norm[-1].all() else 0
        torch.testing.assert_close(found.head_share[layer].sum(0) + rest, found.share[-1, 2 + 2 * layer])


def test_without_the_residual_only_the_last_part_is_carried():
    found = residual(tiny(SURGERIES["residual"]), some_ids(tiny(), batch=1)[0])
    assert found.share[1, 2].allclose(torch.ones(11)) and found.share[1, [0, 1, 3, 4, 5]].abs().sum() == 0
    assert found.share[-1, 5].allclose(torch.ones(11))


def test_cosines_are_with_the_stream_before():
    model = tiny()
    ids = some_ids(model, batch=1)[0]
    found = residual(model, ids)
    with torch.no_grad(), record(model) as tape:
        model(ids[None])
    embed, place = tape["hook_embed"][0], tape["hook_pos_embed"][0]
    pairs = [(embed, embed + place), (place, embed + place)]
    for layer in range(2):
        pairs.append((tape[f"blocks.{layer}.hook_attn_out"][0], tape[f"blocks.{layer}.hook_resid_pre"][0]))
        pairs.append((tape[f"blocks.{layer}.hook_mlp_out"][0], tape[f"blocks.{layer}.hook_resid_mid"][0]))
    expected = torch.stack([torch.cosine_similarity(a, b, dim=-1) for a, b in pairs])
    torch.testing.assert_close(found.cosine, expected, rtol=1e-4, atol=1e-5)
    assert not any(point.listened for point in hook_points(model).values())


@pytest.mark.parametrize("name", ["none", "parts"])
def test_heads_and_bias_make_the_attention(name):
    model = tiny(SURGERIES[name], n_layers=3)
    with torch.no_grad(), record(model, [*STREAM, Z.format("*")]) as tape:
        model(some_ids(model, batch=1))
        for layer in range(3):
            out = tape[f"blocks.{layer}.hook_attn_out"][0]
            bias = model.blocks[layer].attn.out.bias * bool(out.any())
            torch.testing.assert_close(head_results(model, tape, layer).sum(1) + bias, out)


def test_the_stream_is_what_passes_the_hook_points():
    model = tiny()
    with torch.no_grad(), record(model) as tape:
        model(some_ids(model, batch=1))
    stream = stream_of(model, tape)
    for i, name in enumerate(stream.points):
        assert torch.equal(stream.at[i], tape[name][0])
    for i, name in enumerate(stream.components):
        assert torch.equal(stream.added[i], tape[name][0])


def test_a_text_too_long_is_refused():
    with pytest.raises(GuppyError, match="17 tokens"):
        residual(tiny(), some_ids(tiny(), batch=1, pos=17)[0])
