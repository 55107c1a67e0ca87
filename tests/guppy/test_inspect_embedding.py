import numpy as np
import pytest
import torch
from networks import TEXTS, tiny

from guppy.errors import GuppyError
from guppy.inspect import embedding
from guppy.inspect.asking import Subject
from guppy.inspect.embedding import neighbours, position_embedding, principal, token_map
from guppy.inspect.questions import answer
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe


def test_principal_axes_are_those_of_an_svd():
    model = tiny()
    found = token_map(model, tokens=torch.arange(50))
    rows = model.embed.weight[:50].detach().double().numpy()
    centred = rows - rows.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points.numpy()), np.abs(u[:, :3] * s[:3]), atol=1e-4)
    np.testing.assert_allclose(found.explained.numpy(), (s**2 / (s**2).sum())[:3], rtol=1e-4)
    assert (found.points.double().pow(3).sum(0) >= 0).all()
    mirrored = tiny()
    with torch.no_grad():
        mirrored.embed.weight.neg_()
    np.testing.assert_allclose(
        token_map(mirrored, tokens=torch.arange(50)).points.abs().numpy(), found.points.abs().numpy(), atol=1e-4
    )


def test_fewer_axes_than_asked_for_are_zero():
    rows = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    points, explained = principal(rows, 3)
    assert points.shape == (3, 3) and points[:, 1:].abs().max() < 1e-6
    torch.testing.assert_close(explained, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    assert principal(torch.ones(4, 2), 3)[1].sum() == 0


def test_neighbours_by_hand():
    model = tiny()
    found = neighbours(model, 7, k=5, tokens=torch.arange(50))
    rows = model.embed.weight[:50].detach().numpy()
    cosine = [rows[i] @ rows[7] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[7]) for i in range(50)]
    order = [i for i in np.argsort(cosine)[::-1] if i != 7][:5]
    assert found.ids.tolist() == order
    np.testing.assert_allclose(found.cosine.numpy(), np.array(cosine)[order], rtol=1e-5)
    assert len(neighbours(model, 7, k=900).ids) == 63
    for bad in ({"token": 64}, {"token": -1}, {"token": 7, "k": 0}):
        with pytest.raises(GuppyError):
            neighbours(model, **{"k": 5, **bad})


def test_positions_by_hand():
    model = tiny()
    found = position_embedding(model)
    rows = model.pos_embed.weight.detach().numpy()
    centred = rows - rows.mean(0)
    expected = np.corrcoef(centred)  # not cosine: it centres rows again, so only as a check of the sizes
    assert found.similarity.shape == expected.shape == (16, 16)
    cosine = centred[3] @ centred[9] / np.linalg.norm(centred[3]) / np.linalg.norm(centred[9])
    assert found.similarity[3, 9].item() == pytest.approx(cosine, rel=1e-4)
    torch.testing.assert_close(found.similarity.diagonal(), torch.ones(16))
    np.testing.assert_allclose(found.norm.numpy(), np.linalg.norm(rows, axis=1), rtol=1e-5)
    with pytest.raises(GuppyError, match="positions"):
        position_embedding(tiny(Surgery(positions=False)))


def test_a_map_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    assert token_map(tiny()).methods == ["pca"]
    with pytest.raises(GuppyError, match="pip install umap-learn"):
        token_map(tiny(), "umap")
    with pytest.raises(GuppyError, match="choose pca"):
        token_map(tiny(), "sammon")


def test_tsne_where_it_is_installed():
    pytest.importorskip("sklearn.manifold")
    model = tiny()
    first, again = token_map(model, "tsne"), token_map(model, "tsne")
    assert torch.equal(first.points, again.points) and first.explained is None
    assert first.points[:, :2].std() > 0 and not first.points[:, 2].any()


def test_questions():
    tokenizer = train_bpe(TEXTS, 300)
    model = tiny(vocab_size=tokenizer.padded_vocab_size)
    subject = Subject(model, tokenizer, torch.empty(0, dtype=torch.int64), [])
    found = answer(subject, "embedding", {})
    assert found.arrays["points"].shape == (tokenizer.vocab_size, 3) and "pca" in found.facts["methods"]
    near = answer(subject, "neighbours", {"token": "#70", "top": 4})
    assert near.facts["token"] == 70
    assert set(near.facts["words"]) == {"70", *map(str, near.arrays["ids"])}
    assert answer(subject, "positions", {}).arrays["similarity"].shape == (16, 16)
