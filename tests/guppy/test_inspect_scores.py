import math

import pytest
import torch
from networks import some_ids, tiny

from guppy.errors import GuppyError
from guppy.hooks import hook_points, record
from guppy.inspect.scores import cell, scores
from guppy.surgery import Surgery

SURGERIES = [
    None,
    Surgery(causal_mask=False),
    Surgery(scale=False),
    Surgery(layernorm=False, residual=False, positions=False),
    Surgery(attention_off=(1,), mlp_off=(0,)),
]


def taped(model, ids):
    with torch.no_grad(), record(model) as tape:
        model(ids[None])
    return tape


@pytest.mark.parametrize("surgery", SURGERIES)
def test_scores_are_what_the_softmax_is_given(surgery):
    model = tiny(surgery, n_layers=3)
    ids = some_ids(model)[0]
    found = scores(model, ids).scores
    assert found.shape == (3, 2, 11, 11)
    tape = taped(model, ids)
    for layer in range(3):
        torch.testing.assert_close(found[layer], tape[f"blocks.{layer}.attn.hook_attn_scores"][0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[layer].softmax(-1), tape[f"blocks.{layer}.attn.hook_pattern"][0])
    hidden = torch.ones(11, 11, dtype=torch.bool).triu(1) if model.causal else torch.zeros(11, 11, dtype=torch.bool)
    assert torch.equal(found.isneginf(), hidden.expand(3, 2, 11, 11))
    assert not any(point.listened and not surgery for point in hook_points(model).values())


@pytest.mark.parametrize("surgery", SURGERIES)
@pytest.mark.parametrize("at", [(0, 0, 10, 0), (1, 1, 5, 5), (1, 0, 4, 9), (0, 1, 0, 0)])
def test_a_cell_re_adds_and_is_what_the_model_computes(surgery, at):
    model = tiny(surgery)
    ids = some_ids(model)[0]
    layer, head, query, key = at
    found, tape = cell(model, ids, *at), taped(model, ids)
    place = f"blocks.{layer}.attn."

    # every stage from the one before it, with nothing but plain arithmetic
    exact = {"rel": 1e-12, "abs": 1e-14}
    assert math.fsum(a * b for a, b in zip(found.q.tolist(), found.k.tolist(), strict=True)) == pytest.approx(
        found.dot, **exact
    )
    assert torch.equal(found.products, found.q * found.k)
    assert found.scaled == found.dot * found.scale
    assert found.scale == (1.0 if surgery and not surgery.scale else 1 / math.sqrt(8))
    assert found.visible == (key <= query or not model.causal)
    assert found.scores[key].item() == (pytest.approx(found.scaled, **exact) if found.visible else -math.inf)
    assert found.dots[key].item() == pytest.approx(found.dot, **exact)
    assert found.largest == max(found.scores.tolist())
    terms = [math.exp(score - found.largest) for score in found.scores.tolist()]
    assert found.exponentials.tolist() == pytest.approx(terms, **exact)
    assert found.denominator == pytest.approx(math.fsum(terms), **exact)
    assert found.probability == pytest.approx(found.numerator / found.denominator, **exact)
    assert math.fsum(found.row.tolist()) == pytest.approx(1, **exact)
    assert (found.probability == 0) == (not found.visible)
    assert torch.equal(found.weighted, found.probability * found.v)

    # and what passed the hook points
    same = {"rtol": 1e-5, "atol": 1e-5, "check_dtype": False}
    torch.testing.assert_close(found.q, tape[place + "hook_q"][0, query, head], **same)
    torch.testing.assert_close(found.k, tape[place + "hook_k"][0, key, head], **same)
    torch.testing.assert_close(found.v, tape[place + "hook_v"][0, key, head], **same)
    torch.testing.assert_close(found.scores, tape[place + "hook_attn_scores"][0, head, query], **same)
    torch.testing.assert_close(found.row, tape[place + "hook_pattern"][0, head, query], **same)
    torch.testing.assert_close(found.z, tape[place + "hook_z"][0, query, head], **same)


def test_weighted_values_of_all_keys_add_up_to_z():
    model = tiny()
    ids = some_ids(model)[0]
    found = [cell(model, ids, 1, 0, -1, key) for key in range(len(ids))]
    torch.testing.assert_close(sum(each.weighted for each in found), found[0].z, rtol=1e-12, atol=1e-12)
    assert {each.query for each in found} == {10} and [each.key for each in found] == list(range(11))


def test_a_head_that_is_off_still_shows_how_it_looks():
    model = tiny(Surgery(heads_off=((1, 0),)))
    ids = some_ids(model)[0]
    found = cell(model, ids, 1, 0, 5, 2)
    assert found.probability > 0 and found.z.abs().sum() > 0
    assert taped(model, ids)["blocks.1.attn.hook_z"][0, 5, 0].abs().sum() == 0


@pytest.mark.parametrize("at", [(2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 11, 0), (0, 0, 0, -12)])
def test_what_is_not_there_is_refused(at):
    model = tiny()
    with pytest.raises(GuppyError, match="There is no"):
        cell(model, some_ids(model)[0], *at)


def test_one_token_looks_at_itself():
    model = tiny()
    found = cell(model, some_ids(model)[0, :1], 0, 0, 0, 0)
    assert found.probability == 1 and found.visible
