from itertools import combinations, permutations

import pytest
import torch
import torch.nn.functional as F
from networks import some_ids, tiny

import guppy
from guppy.errors import GuppyError
from guppy.inspect import swaps
from guppy.inspect.ablation import ablate_all
from guppy.inspect.shapley import MOST_LAYERS, shapley
from guppy.surgery import Surgery


def text(model, pos=9, seed=0):
    return some_ids(model, 1, pos, seed)[0]


def losses_by_hand(model, ids, hook, put):
    """The loss with each set of layers on, one forward pass each."""
    layers = range(model.config.n_layers)
    found = {}
    for size in range(len(layers) + 1):
        for on in combinations(layers, size):
            changes = {
                hook.format(layer): lambda value, point: put(value, point) for layer in layers if layer not in on
            }
            with torch.no_grad(), guppy.intervene(model, changes):
                logits = model(ids[None])[0]
            found[on] = F.cross_entropy(logits[:-1], ids[1:]).item()
    return found


@pytest.mark.parametrize("part", ["mlp", "attention"])
@pytest.mark.parametrize(
    "surgery", [None, Surgery(causal_mask=False, layernorm=False), Surgery(residual=False), Surgery(mlp_off=(1,))]
)
def test_every_subset_and_every_order(part, surgery, monkeypatch):
    model = tiny(surgery, n_layers=3)
    ids = text(model)
    found = shapley(model, ids, part)
    hook = {"mlp": "blocks.{}.hook_mlp_out", "attention": "blocks.{}.hook_attn_out"}[part]
    loss = losses_by_hand(model, ids, hook, guppy.zero)
    assert len(found.loss) == 8 and not found.on[0].any() and found.on[-1].all()
    for on, nats in zip(found.on, found.loss, strict=True):
        assert nats == pytest.approx(loss[tuple(on.nonzero()[:, 0].tolist())], abs=1e-5)

    # Shapley's value is the mean gain over all orders of arrival.
    orders = list(permutations(range(3)))
    for layer in range(3):
        gains = []
        for order in orders:
            before = order[: order.index(layer)]
            gains.append(loss[tuple(sorted(before))] - loss[tuple(sorted((*before, layer)))])
        assert found.shapley[layer] == pytest.approx(sum(gains) / len(gains), abs=1e-5)
        rest = tuple(x for x in range(3) if x != layer)
        assert found.alone[layer] == pytest.approx(loss[()] - loss[(layer,)], abs=1e-5)
        assert found.last[layer] == pytest.approx(loss[rest] - loss[(0, 1, 2)], abs=1e-5)
    assert found.shapley.sum() == pytest.approx(found.total, abs=1e-9), "efficiency"
    assert found.total == pytest.approx(loss[()] - loss[(0, 1, 2)], abs=1e-5)

    for i, j in combinations(range(3), 2):
        (k,) = {0, 1, 2} - {i, j}
        synergy = []
        for others in ((), (k,)):
            with_i, with_j, both = (tuple(sorted({*others, *more})) for more in ({i}, {j}, {i, j}))
            synergy.append(-loss[both] + loss[with_i] + loss[with_j] - loss[others])
        assert found.interaction[i, j] == found.interaction[j, i] == pytest.approx(sum(synergy) / 2, abs=1e-5)
    assert found.interaction.diagonal().abs().sum() == 0

    monkeypatch.setattr(swaps, "MOST_NUMBERS", 1)  # in pieces as small as they get
    torch.testing.assert_close(shapley(model, ids, part).loss, found.loss, rtol=1e-5, atol=1e-5)


def test_a_part_that_surgery_took_away_is_worth_nothing():
    model = tiny(Surgery(mlp_off=(1,)), n_layers=3)
    found = shapley(model, text(model))
    assert found.shapley[1].abs() < 1e-6 and found.interaction[1].abs().max() < 1e-6
    assert found.shapley[[0, 2]].abs().min() > 1e-4


def test_mean_ablation_and_taking_out_the_last():
    model = tiny(n_layers=4)
    ids, reference = text(model), [text(model, 12, 1), text(model, 5, 2)]
    found = shapley(model, ids, "mlp", "mean", reference)
    one_by_one = ablate_all(model, ids, "mean", reference)
    torch.testing.assert_close(found.last.float(), one_by_one.loss[:, -1], rtol=1e-4, atol=1e-5)
    assert found.loss[-1] == pytest.approx(one_by_one.whole_loss, abs=1e-5)


def test_one_layer():
    found = shapley(tiny(n_layers=1), text(tiny()))
    assert found.on.tolist() == [[False], [True]] and found.interaction.tolist() == [[0.0]]
    assert found.shapley[0] == pytest.approx(found.total)


def test_what_is_refused():
    deep = tiny(n_layers=MOST_LAYERS + 1, d_model=4, d_mlp=4)
    with pytest.raises(GuppyError, match="11 layers are too many; this goes up to 10"):
        shapley(deep, text(deep))
    with pytest.raises(GuppyError, match="two tokens"):
        shapley(tiny(), text(tiny(), 1))
    with pytest.raises(GuppyError, match="choose mlp or attention"):
        shapley(tiny(), text(tiny()), "head")
