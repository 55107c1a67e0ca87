import os

import pytest
import torch
from networks import TEXTS, tiny

from guppy.errors import GuppyError
from guppy.inspect.composition import composition
from guppy.interop.gpt2 import export_gpt2
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe


def whole_matrices(model, layer, head):
    """W_OV and W_QK of a head as they multiply row vectors, with LayerNorm's gain and centring before them."""
    config, block = model.config, model.blocks[layer]
    d, h = config.d_model, config.d_head
    q, k, v = (
        block.attn.qkv.weight[n * d + head * h : n * d + (head + 1) * h].T for n in range(3)
    )  # (d_model, d_head)
    o = block.attn.out.weight[:, head * h : (head + 1) * h].T  # (d_head, d_model)
    reads = torch.eye(d)
    writes = torch.eye(d)
    if model.surgery.layernorm:
        centre = torch.eye(d) - torch.full((d, d), 1 / d)
        reads, writes = centre @ torch.diag(block.ln1.weight), centre
    return reads @ v @ o @ writes, reads @ q @ k.T @ reads.T


@pytest.mark.parametrize("surgery", [None, Surgery(layernorm=False)])
def test_against_whole_matrices(surgery):
    model = tiny(surgery, n_layers=3)
    with torch.no_grad():
        found = composition(model)
        assert found.kinds == ["Q", "K", "V"] and found.score.shape == (3, 3, 2, 3, 2)
        for layer in range(3):
            for head in range(2):
                for reader in range(3):
                    for read_head in range(2):
                        ov, _ = whole_matrices(model, layer, head)
                        later_ov, qk = whole_matrices(model, reader, read_head)
                        for kind, right in enumerate((qk, qk.T, later_ov)):
                            expected = (ov @ right).norm() / ov.norm() / right.norm() if reader > layer else 0.0
                            score = found.score[kind, layer, head, reader, read_head]
                            assert score == pytest.approx(float(expected), abs=1e-5)
    later = found.score > 0
    torch.testing.assert_close(found.above[later], found.score[later] - found.baseline)
    assert later.sum() == 3 * 3 * 4 and found.above[~later].abs().sum() == 0


def test_against_transformerlens(tmp_path):
    os.environ["HF_HUB_OFFLINE"] = "1"
    bridge_class = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge
    tokenizer = train_bpe(TEXTS, 300)
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=3)
    bridge = bridge_class.boot_transformers(str(export_gpt2(model, tokenizer, tmp_path / "out")))
    bridge.enable_compatibility_mode()  # folds LayerNorm into the weights and centres what is written
    found = composition(model)
    for kind, name in enumerate(found.kinds):
        theirs = bridge.all_composition_scores(name).scores.detach()
        torch.testing.assert_close(found.score[kind], theirs, rtol=1e-3, atol=1e-4)


def test_the_baseline_is_what_random_heads_score():
    model = tiny(n_layers=2, n_heads=4, d_model=64, d_mlp=4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in model.blocks:
            block.ln1.weight.fill_(1)
            for parameter in (block.attn.qkv.weight, block.attn.out.weight):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    found = composition(model)
    assert found.baseline == pytest.approx(1 / 8, rel=0.05)  # 1/√d_model
    assert found.score[:, 0, :, 1].mean() == pytest.approx(found.baseline, rel=0.05)


def test_a_head_made_to_read_another():
    model = tiny(n_layers=2, n_heads=8, d_model=32, seed=2)
    with torch.no_grad():
        # The queries of 1.2 look exactly where 0.1 writes.
        written = model.blocks[0].attn.out.weight[:, 4:8]  # (d_model, d_head)
        model.blocks[1].attn.qkv.weight[8:12] = written.T
        model.blocks[1].ln1.weight.fill_(1)
    found = composition(model).above[:, 0, :, 1]  # (kind, head, reader_head)
    assert found.argmax() == 8 + 2, "for its queries, 0.1 -> 1.2"
    assert found[0, 1, 2] > 2 * found.flatten().sort().values[-2]


def test_heads_that_are_off_compose_with_nothing():
    found = composition(tiny(Surgery(heads_off=((0, 1),), attention_off=(1,)), n_layers=3))
    assert (found.score[:, 0, 0, 2] > 0).all() and (found.score[:, 0, 1] == 0).all()
    assert (found.score[:, :, :, 1] == 0).all() and (found.score[:, 1] == 0).all()


def test_without_a_residual_stream_nobody_reads():
    with pytest.raises(GuppyError, match="residual stream"):
        composition(tiny(Surgery(residual=False)))
    with pytest.raises(GuppyError, match="one layer"):
        composition(tiny(n_layers=1))
