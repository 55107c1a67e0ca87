import numpy as np
import pytest
import torch
from networks import tiny

from guppy.inspect.weights import BINS, effective_rank, matrices, weight_matrices
from guppy.surgery import Surgery


def by_name(model):
    """Every matrix as TransformerLens orients it, taken from the state dict by hand."""
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    found = {"embed.W_E": state["embed.weight"], "pos_embed.W_pos": state["pos_embed.weight"]}
    for layer in range(model.config.n_layers):
        d = model.config.d_model
        for i, part in enumerate("QKV"):
            found[f"blocks.{layer}.attn.W_{part}"] = state[f"blocks.{layer}.attn.qkv.weight"][i * d : (i + 1) * d].T
        found[f"blocks.{layer}.attn.W_O"] = state[f"blocks.{layer}.attn.out.weight"].T
        found[f"blocks.{layer}.mlp.W_in"] = state[f"blocks.{layer}.mlp.up.weight"].T
        found[f"blocks.{layer}.mlp.W_out"] = state[f"blocks.{layer}.mlp.down.weight"].T
    return found


def test_every_matrix_is_measured_as_numpy_does():
    model = tiny()
    found, expected = weight_matrices(model), by_name(model)
    assert found.names == list(expected) == [name for name, _ in matrices(model)]
    entries = sum(rows * columns for rows, columns in zip(found.rows, found.columns, strict=True))
    assert entries == sum(p.numel() for p in model.parameters() if p.dim() > 1), "no matrix is left out"
    for i, (name, matrix) in enumerate(expected.items()):
        assert (found.rows[i], found.columns[i]) == matrix.shape, name
        singular = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(found.singular[i, : len(singular)], singular, rtol=1e-4, atol=1e-5)
        assert found.singular[i, len(singular) :].isnan().all()
        share = singular / singular.sum()
        assert found.effective_rank[i].item() == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)
        assert found.norm[i].item() == pytest.approx(np.linalg.norm(matrix), rel=1e-5)
        assert found.mean[i].item() == pytest.approx(matrix.mean(), abs=1e-6)
        assert found.std[i].item() == pytest.approx(matrix.std(), rel=1e-5)
        edge = np.abs(matrix).max()
        assert found.edge[i].item() == pytest.approx(edge)
        counts, _ = np.histogram(matrix.astype(np.float64), bins=BINS, range=(-edge, edge))
        assert found.histogram[i].sum() == matrix.size
        assert np.abs(found.histogram[i].numpy() - counts).sum() <= 2, "but for values on the edge of a bin"


def test_effective_rank_at_its_ends():
    assert effective_rank(torch.ones(7)).item() == pytest.approx(7)
    assert effective_rank(torch.tensor([3.0, 0.0, 0.0])).item() == pytest.approx(1)
    assert effective_rank(torch.zeros(4)).item() == 0


def test_zeros_and_what_surgery_leaves_unused():
    model = tiny(Surgery(mlp_off=(1,), attention_off=(0,), positions=False))
    with torch.no_grad():
        model.blocks[0].mlp.up.weight.zero_()
    found = weight_matrices(model)
    unused = {name for name, off in zip(found.names, found.unused, strict=True) if off}
    assert unused == {
        "pos_embed.W_pos",
        *(f"blocks.0.attn.W_{part}" for part in "QKVO"),
        "blocks.1.mlp.W_in",
        "blocks.1.mlp.W_out",
    }
    zero = found.names.index("blocks.0.mlp.W_in")
    assert found.norm[zero] == 0 and found.effective_rank[zero] == 0
    assert found.histogram[zero].argmax() == BINS // 2
