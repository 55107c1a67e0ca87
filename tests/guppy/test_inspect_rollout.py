from itertools import product

import numpy as np
import pytest
import torch
from networks import some_ids, tiny

from guppy.errors import GuppyError
from guppy.inspect.attention import patterns
from guppy.inspect.flow import flow, largest_flows
from guppy.inspect.rollout import rollout
from guppy.surgery import Surgery


def test_rollout_is_the_product_of_the_layers():
    model = tiny(n_layers=3)
    ids = some_ids(model)[0]
    mean = patterns(model, ids[None]).pattern[0].double().mean(1)
    layers = [0.5 * mean[i] + 0.5 * torch.eye(11, dtype=torch.float64) for i in range(3)]
    found = rollout(model, ids)
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(found.rollout[0], layers[0], **close)
    torch.testing.assert_close(found.rollout[1], layers[1] @ layers[0], **close)
    torch.testing.assert_close(found.rollout[2], layers[2] @ layers[1] @ layers[0], **close)
    assert found.share == 0.5


@pytest.mark.parametrize(
    "surgery",
    [
        None,
        Surgery(causal_mask=False),
        Surgery(residual=False),
        Surgery(heads_off=((0, 1), (1, 0), (1, 1))),
        Surgery(attention_off=(0,), layernorm=False),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_every_row_sums_to_one(surgery, share):
    model = tiny(surgery)
    found = rollout(model, some_ids(model)[0], share)
    for each in (found.layers, found.rollout):
        torch.testing.assert_close(each.sum(-1), torch.ones(2, 11, dtype=torch.float64), rtol=1e-12, atol=1e-12)
        assert (each >= 0).all()
    if model.causal:
        assert found.rollout.triu(1).abs().sum() == 0


def test_heads_that_are_off_have_no_part_in_it():
    ids = some_ids(tiny())[0]
    off = rollout(tiny(Surgery(heads_off=((0, 1), (1, 0), (1, 1)))), ids)
    pattern = patterns(tiny(), ids[None]).pattern[0, 0, 0].double()
    torch.testing.assert_close(off.layers[0], 0.5 * pattern + 0.5 * torch.eye(11), rtol=1e-6, atol=1e-6)
    assert torch.equal(off.layers[1], torch.eye(11, dtype=torch.float64))
    assert rollout(tiny(Surgery(residual=False)), ids).share == 0


def test_what_has_no_rollout_is_refused():
    ids = some_ids(tiny())[0]
    with pytest.raises(GuppyError, match="neither attention nor a residual"):
        rollout(tiny(Surgery(residual=False, attention_off=(1,))), ids)
    with pytest.raises(GuppyError, match="between 0 and 1"):
        rollout(tiny(), ids, 1.5)


def smallest_cut(layers: np.ndarray, query: int, key: int) -> float:
    """The capacity of the narrowest cut between the query's node and the key's, over all divisions of the nodes: the
    largest flow, by the theorem of Ford and Fulkerson."""
    depth, n, _ = layers.shape
    free = [node for node in range((depth + 1) * n) if node not in (depth * n + query, key)]
    best = np.inf
    for sides in product([False, True], repeat=len(free)):
        above = np.zeros((depth + 1, n), dtype=bool)
        above.flat[free] = sides
        above[depth, query] = True
        cut = sum((layers[i] * (above[i + 1][:, None] & ~above[i][None])).sum() for i in range(depth))
        best = min(best, cut)
    return best


@pytest.mark.parametrize("causal", [True, False])
def test_flow_is_the_narrowest_cut_of_a_tiny_graph(causal):
    generator = np.random.default_rng(3)
    layers = generator.exponential(size=(3, 3, 3)) ** 2
    layers = np.tril(layers) if causal else layers
    layers /= layers.sum(-1, keepdims=True)
    for query in range(3):
        expected = [smallest_cut(layers, query, key) for key in range(3)]
        np.testing.assert_allclose(largest_flows(layers, query), expected, atol=1e-7)


@pytest.mark.parametrize("surgery", [None, Surgery(causal_mask=False), Surgery(residual=False)])
def test_flow_is_at_least_the_rollout_and_at_most_one(surgery):
    model = tiny(surgery, n_layers=3)
    ids = some_ids(model)[0]
    routes = rollout(model, ids)
    for layer, query in ((2, 10), (1, 4), (0, 7)):
        found = flow(model, ids, query, layer)
        assert (found.flow >= routes.rollout[layer, query] - 1e-6).all()  # the rollout's own routes are one flow
        assert (found.flow <= 1 + 1e-6).all()
        torch.testing.assert_close(found.rollout, routes.rollout[layer, query], rtol=1e-12, atol=1e-12)
        if model.causal:
            assert found.flow[query + 1 :].sum() == 0
    torch.testing.assert_close(flow(model, ids, 7, 0).flow, routes.layers[0, 7], rtol=1e-6, atol=1e-6)


def test_flow_counts_from_the_end_and_refuses_what_is_not_there():
    model = tiny()
    ids = some_ids(model)[0]
    found = flow(model, ids)
    assert (found.query, found.layer) == (10, 1)
    for query, layer in ((11, 0), (0, 2)):
        with pytest.raises(GuppyError, match="There is no"):
            flow(model, ids, query, layer)
    with pytest.raises(GuppyError, match="up to 256 tokens, not 257; shorten the text"):
        flow(tiny(n_ctx=300), torch.zeros(257, dtype=torch.int64))
