import pytest
import torch
from networks import some_ids, tiny

from guppy.cache import KVCache
from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.surgery import Surgery


def cache_for(model):
    return KVCache(model.config.n_layers, model.config.n_ctx)


@pytest.mark.parametrize("observed", [False, True], ids=["fused", "explicit"])
@pytest.mark.parametrize("pieces", [[1] * 11, [11], [5, 1, 4, 1], [2, 9]])
@pytest.mark.parametrize(
    "surgery", [Surgery(), Surgery(positions=False, heads_off=((0, 0),), scale=False)], ids=["plain", "surgery"]
)
@torch.no_grad()
def test_cached_logits_are_the_uncached_ones(surgery, pieces, observed):
    model = tiny(surgery)
    ids, cache = some_ids(model), cache_for(model)
    whole = model(ids)
    with record(model, "*.hook_pattern" if observed else "hook_embed"):
        parts = [model(part, cache) for part in ids.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)
    assert cache.length == 11


@pytest.mark.parametrize("observed", [False, True], ids=["fused", "explicit"])
@torch.no_grad()
def test_left_padded_rows_are_what_they_are_alone(observed):
    model = tiny()
    ids, pad = some_ids(model), torch.tensor([0, 4, 7])
    padded = ids * (torch.arange(11) >= pad[:, None])
    alone = [model(row[None, n:])[0] for n, row in zip(pad, ids, strict=True)]
    cache = cache_for(model)
    with record(model, "*.hook_pattern" if observed else "hook_embed"):
        whole = model(padded, left_pad=pad)
        parts = torch.cat([model(part, cache, pad) for part in padded.split([8, 1, 2], dim=1)], dim=1)
    for row, n in enumerate(pad):
        torch.testing.assert_close(whole[row, n:], alone[row], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(parts[row, n:], alone[row], rtol=1e-5, atol=1e-5)
    assert whole.isfinite().all(), "padding sees itself, so that its softmax is never of nothing"


@torch.no_grad()
def test_padding_is_unseen_without_the_mask_too():
    model = tiny(Surgery(causal_mask=False))
    row = some_ids(model, batch=1, pos=6)
    padded = torch.cat([torch.full((1, 3), 9), row], dim=1)
    torch.testing.assert_close(model(padded, left_pad=torch.tensor([3]))[:, 3:], model(row), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_recorded_pattern_reaches_back_over_the_cache():
    model = tiny()
    ids, cache = some_ids(model), cache_for(model)
    with record(model, "blocks.0.attn.hook_pattern") as tape:
        model(ids)
        whole = tape["blocks.0.attn.hook_pattern"]
        model(ids[:, :10], cache)
        model(ids[:, 10:], cache)
    torch.testing.assert_close(tape["blocks.0.attn.hook_pattern"], whole[:, :, 10:], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_full_context_is_said():
    model = tiny()
    cache = cache_for(model)
    model(some_ids(model, pos=16), cache)
    with pytest.raises(GuppyError, match="17 tokens do not fit the context of 16"):
        model(some_ids(model, pos=1), cache)
    with pytest.raises(GuppyError, match="17 tokens"):
        model(some_ids(model, pos=17))
