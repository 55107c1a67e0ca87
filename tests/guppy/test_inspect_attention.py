import pytest
import torch
from networks import some_ids, tiny

from guppy.errors import GuppyError
from guppy.hooks import hook_points, record
from guppy.inspect.attention import future_mass, patterns
from guppy.surgery import Surgery


def test_patterns_are_what_passes_the_hook_points():
    model = tiny(n_layers=3)
    ids = some_ids(model)
    found = patterns(model, ids)
    assert found.pattern.shape == (3, 3, 2, 11, 11) and torch.equal(found.ids, ids)
    with torch.no_grad(), record(model, "blocks.*.attn.hook_pattern") as tape:
        model(ids)
    for layer in range(3):
        assert torch.equal(found.pattern[:, layer], tape[f"blocks.{layer}.attn.hook_pattern"])
    torch.testing.assert_close(found.pattern.sum(-1), torch.ones(3, 3, 2, 11))
    assert not found.pattern.requires_grad
    assert not any(point.listened for point in hook_points(model).values())


def test_future_mass_by_hand():
    model = tiny(Surgery(causal_mask=False))
    ids = some_ids(model)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[0, 4] = mask[2, 9] = True
    pattern = patterns(model, ids).pattern
    expected = (pattern[0, :, :, 4, 5:].sum(-1) + pattern[2, :, :, 9, 10]) / 2
    torch.testing.assert_close(future_mass(model, ids, mask), expected)
    everywhere = future_mass(model, ids)
    torch.testing.assert_close(everywhere, future_mass(model, ids, torch.ones_like(mask)))
    assert everywhere.shape == (2, 2) and (everywhere > 0.05).all()


def test_no_future_under_the_mask():
    model = tiny()
    assert future_mass(model, some_ids(model)).abs().sum() == 0


def test_a_look_spread_evenly_has_the_mass_that_geometry_gives():
    model = tiny(Surgery(causal_mask=False), n_layers=1)
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight.zero_()
        model.blocks[0].attn.qkv.bias.zero_()
    n = 8
    mass = future_mass(model, some_ids(model, pos=n))
    torch.testing.assert_close(mass, torch.full((1, 2), (n - 1) / (2 * n)))


def test_a_text_too_long_is_refused():
    model = tiny()
    with pytest.raises(GuppyError, match="17 tokens"):
        patterns(model, some_ids(model, pos=17))
