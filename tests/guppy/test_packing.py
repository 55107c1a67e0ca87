import pytest
import torch
from networks import tiny

from guppy.batches import Batch
from guppy.evaluate import batch_loss, token_loss
from guppy.hooks import record
from guppy.packing import EVEN, Packing
from guppy.surgery import Surgery

LENGTHS = (5, 1, 8, 3)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 64, (len(LENGTHS), max(LENGTHS)), generator=generator)
    targets = torch.randint(0, 64, ids.shape, generator=generator)
    for row, length in enumerate(LENGTHS):
        targets[row, length:] = -100
    return Batch(ids, targets, sum(LENGTHS))


def test_packing_and_unpacking(batch):
    packing = batch.packing
    inside = torch.arange(8) < torch.tensor(LENGTHS)[:, None]
    x = torch.randn(4, 8, 3, requires_grad=True)
    packed = packing.pack(x)
    assert packed.shape == (1, 32, 3), "17 tokens, filled up with all the padding there is"
    back = packing.unpack(packed)
    assert torch.equal(back[inside], x[inside])
    weight = torch.randn(4, 8, 3) * inside[..., None]
    (back * weight).sum().backward()
    assert torch.equal(x.grad, weight)


def test_tokens_before_a_target_are_kept_though_they_have_none(batch):
    batch.targets[2, :4] = -100
    assert torch.equal(batch.packing.inside, torch.arange(8) < torch.tensor(LENGTHS)[:, None])


def trained(model):
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.grad is not None]


@pytest.mark.parametrize("surgery", [Surgery(), Surgery(heads_off=((0, 1),), mlp_off=(1,)), Surgery(positions=False)])
def test_loss_and_gradients_are_those_with_padding(batch, surgery):
    model = tiny(surgery)
    packed = batch_loss(model, batch)
    packed.backward()
    # What surgery takes out has no gradient, or zeros.
    gradients = {name: parameter.grad.clone() for name, parameter in trained(model)}
    model.zero_grad(set_to_none=True)
    padded = token_loss(model(batch.ids), batch.targets)
    padded.backward()
    torch.testing.assert_close(packed, padded)
    assert gradients.keys() == {name for name, _ in trained(model)} and len(gradients) > 10
    for name, parameter in trained(model):
        torch.testing.assert_close(gradients[name], parameter.grad, msg=name, atol=1e-5, rtol=1e-4)


def test_without_the_mask_no_token_sees_padding(batch):
    model = tiny(Surgery(causal_mask=False))
    with torch.no_grad(), record(model, "blocks.*.attn.hook_pattern") as tape:
        loss = batch_loss(model, batch)
        alone = [
            Batch(batch.ids[row : row + 1, :n], batch.targets[row : row + 1, :n], n) for row, n in enumerate(LENGTHS)
        ]
        patterns = dict(tape)
        assert torch.allclose(loss, sum(batch_loss(model, each) for each in alone), atol=1e-4)
    for pattern in patterns.values():
        for row, length in enumerate(LENGTHS):
            assert (pattern[row, :, :length, length:] == 0).all() and (pattern[row, :, 0, 1:length] > 0).all()


def test_few_different_sizes():
    sizes = set()
    for seed in range(20):
        lengths = torch.randint(1, 40, (16,), generator=torch.Generator().manual_seed(seed))
        packing = Packing.of(torch.arange(40) < lengths[:, None])
        sizes.add(len(packing.where))
        assert len(packing.where) % EVEN == 0 and lengths.sum() <= len(packing.where) < lengths.sum() + EVEN
        assert (packing.where.diff() > 0).all()
    assert len(sizes) < 8
    assert len(Packing.of(torch.ones(3, 5, dtype=torch.bool)).where) == 15, (
        "without padding there is nothing to fill up with"
    )
