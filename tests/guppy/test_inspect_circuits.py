import os

import pytest
import torch
from networks import TEXTS, tiny

import guppy
from guppy.errors import GuppyError
from guppy.inspect import circuits
from guppy.inspect.asking import Subject
from guppy.inspect.circuits import (
    Circuit,
    copying,
    ov_circuit,
    positional_qk,
    positional_reach,
    qk_circuit,
    typical_scale,
)
from guppy.inspect.questions import answer
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

ALL_KEYS = Surgery(causal_mask=False, positions=False)
ODD = Surgery(causal_mask=False, positions=False, layernorm=False, scale=False)


def dense(circuit):
    return circuit.left @ circuit.right.T


def reading_embeddings(model, layer, names, pattern=None):
    """What a layer's head does when it reads every token's embedding itself, its LayerNorm dividing by one number."""
    ids = torch.arange(model.config.vocab_size)[None]
    scale = typical_scale(model)
    embedded = model.embed.weight[None]
    changes = {
        f"blocks.{layer}.hook_resid_pre": lambda value, _: embedded,
        f"blocks.{layer}.ln1.hook_scale": lambda value, _: torch.full_like(value, scale),
    }
    if pattern is not None:
        changes[f"blocks.{layer}.attn.hook_pattern"] = lambda value, _: pattern.expand_as(value)
    with torch.no_grad(), guppy.intervene(model, changes), guppy.record(model, names) as tape:
        model(ids)
    return tape


@pytest.mark.parametrize("surgery", [ALL_KEYS, ODD])
@pytest.mark.parametrize("layer", [0, 1])
def test_qk_is_what_the_model_computes_of_embeddings(surgery, layer):
    model = tiny(surgery, n_ctx=64)
    name = f"blocks.{layer}.attn.hook_attn_scores"
    scores = reading_embeddings(model, layer, name)[name][0]
    for head in range(2):
        expected = scores[head] - scores[head].mean(-1, keepdim=True)
        torch.testing.assert_close(dense(qk_circuit(model, layer, head)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("surgery", [ALL_KEYS, ODD])
@pytest.mark.parametrize("layer", [0, 1])
def test_ov_is_what_the_model_writes_when_it_attends_to_one_token(surgery, layer):
    model = tiny(surgery, n_ctx=64)
    name = f"blocks.{layer}.attn.hook_result"
    result = reading_embeddings(model, layer, name, pattern=torch.eye(64))[name][0]  # (token, head, d_model)
    for head in range(2):
        written = result[:, head]
        if surgery.layernorm:
            written = (written - written.mean(-1, keepdim=True)) * model.ln_final.weight
        logits = written @ model.embed.weight.T
        expected = logits - logits.mean(-1, keepdim=True)
        torch.testing.assert_close(dense(ov_circuit(model, layer, head)), expected, rtol=1e-4, atol=1e-4)


def test_typical_scale_is_the_mean_over_all_pairs_of_token_and_position():
    model = tiny()
    both = model.embed.weight[:40, None] + model.pos_embed.weight[None]
    expected = (both.var(-1, correction=0).mean() + model.config.ln_eps).sqrt()
    assert typical_scale(model, torch.arange(40)) == pytest.approx(expected.item(), rel=1e-5)
    assert typical_scale(tiny(Surgery(layernorm=False))) == 1
    alone = model.embed.weight.var(-1, correction=0).mean().sqrt()
    assert typical_scale(tiny(Surgery(positions=False))) == pytest.approx(alone.item(), rel=1e-3)


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_extreme_pairs_are_those_of_the_whole_matrix(monkeypatch, block):
    monkeypatch.setattr(circuits, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(30, 5, generator=generator), torch.randn(30, 5, generator=generator)
    circuit = Circuit(torch.arange(30) * 3, left, right)
    whole = dense(circuit)
    for largest in (True, False):
        pairs = circuit.extreme(12, largest=largest)
        torch.testing.assert_close(pairs.value, whole.flatten().sort(descending=largest).values[:12])
        torch.testing.assert_close(whole[pairs.ids[:, 0] // 3, pairs.ids[:, 1] // 3], pairs.value)
    assert len(circuit.extreme(5000).value) == 30 * 30
    torch.testing.assert_close(circuit.row(21), whole[7])
    torch.testing.assert_close(circuit.column(27), whole[:, 9])
    with pytest.raises(GuppyError, match="not among"):
        circuit.row(22)
    assert circuit.spread == pytest.approx(whole.std(correction=0).item(), rel=1e-5)


@pytest.mark.parametrize("surgery", [None, Surgery(layernorm=False)])
def test_copying_score_from_the_eigenvalues_of_the_whole_matrix(surgery):
    model = tiny(surgery)
    found = copying(model, torch.arange(50))
    for layer, head in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        block = model.blocks[layer]
        x, out = model.embed.weight[:50].double(), model.embed.weight[:50].double()
        if surgery is None:
            x = (x - x.mean(-1, keepdim=True)) / typical_scale(model, torch.arange(50)) * block.ln1.weight.double()
            centring = torch.eye(16, dtype=torch.float64) - 1 / 16
            out = out @ torch.diag(model.ln_final.weight.double()) @ centring
        w_v = block.attn.qkv.weight[32 + 8 * head : 40 + 8 * head].double()
        w_o = block.attn.out.weight[:, 8 * head : 8 * head + 8].double()
        values = torch.linalg.eigvals(x @ w_v.T @ w_o.T @ out.T)
        values = values[values.abs().argsort(descending=True)]
        assert values[8:].abs().max() < 1e-6 < values[7].abs()
        expected = (values.sum().real / values.abs().sum()).item()
        assert found.score[layer, head].item() == pytest.approx(expected, abs=1e-4)
        torch.testing.assert_close(
            torch.hypot(found.eigenvalue_real, found.eigenvalue_imaginary)[layer, head].double(),
            values[:8].abs(),
            rtol=1e-3,
            atol=1e-4,
        )
    assert 0.01 < found.score.abs().max() < 0.99


@torch.no_grad()
def test_copying_score_of_heads_that_copy_negate_and_are_silent():
    model = tiny(n_heads=1, n_layers=3)
    for block, sign in zip(model.blocks, (1.0, -1.0, 0.0), strict=True):
        block.attn.qkv.weight[32:] = torch.eye(16)
        block.attn.out.weight.copy_(sign * torch.eye(16))
        block.ln1.weight.fill_(1)
    model.ln_final.weight.fill_(1)
    score = copying(model).score[:, 0]
    torch.testing.assert_close(score, torch.tensor([1.0, -1.0, 0.0]), atol=1e-4, rtol=0)


def test_eigenvalues_equal_transformerlens():
    os.environ["HF_HUB_OFFLINE"] = "1"
    factored = pytest.importorskip("transformer_lens.FactoredMatrix").FactoredMatrix
    model = tiny()
    found = copying(model)
    for layer, head in [(0, 1), (1, 0)]:
        x = circuits._read(model.blocks[layer].ln1, model.embed.weight, typical_scale(model))[0]
        w_v = model.blocks[layer].attn.qkv.weight[32 + 8 * head : 40 + 8 * head]
        out = circuits._unembedding(model, None) @ model.blocks[layer].attn.out.weight[:, 8 * head : 8 * head + 8]
        with torch.no_grad():
            values = factored(x @ w_v.T, out.T).eigenvalues
        expected = values.sum().real / values.abs().sum()
        torch.testing.assert_close(found.score[layer, head], expected.float(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_positional_scores_are_the_models_own_when_all_tokens_are_nothing(causal):
    model = tiny(Surgery(causal_mask=causal))
    found_before = typical_scale(model)
    expected_scale = {
        f"blocks.{layer}.ln1.hook_scale": lambda value, _: torch.full_like(value, found_before) for layer in (0, 1)
    }
    positions = model.pos_embed.weight[None]
    changes = expected_scale | {f"blocks.{layer}.hook_resid_pre": lambda value, _: positions for layer in (0, 1)}
    with guppy.intervene(model, changes), guppy.record(model, "blocks.*.attn.hook_*") as tape:
        model(torch.zeros(1, 16, dtype=torch.int64))
    for layer, head in [(0, 0), (1, 1)]:
        found = positional_qk(model, layer, head)
        assert found.causal is causal
        pattern = tape[f"blocks.{layer}.attn.hook_pattern"][0, head]
        torch.testing.assert_close(found.pattern, pattern, rtol=1e-4, atol=1e-5)
        scores = tape[f"blocks.{layer}.attn.hook_attn_scores"][0, head]
        for query in range(16):
            seen = scores[query][scores[query].isfinite()]
            ours = found.score[query, : len(seen)]
            torch.testing.assert_close(ours, seen - seen.mean(), rtol=1e-4, atol=1e-4)
    share = positional_reach(model).share
    assert share.shape == (2, 2, 16)
    by_hand = torch.stack([found.pattern[q, q - 3] for q in range(3, 16)]).mean()
    torch.testing.assert_close(share[1, 1, 3], by_hand)


def test_what_surgery_leaves_no_circuit_of_says_why():
    stream = tiny(Surgery(residual=False))
    for ask in (lambda: ov_circuit(stream, 0, 0), lambda: copying(stream), lambda: qk_circuit(stream, 1, 0)):
        with pytest.raises(GuppyError, match="residual stream"):
            ask()
    assert qk_circuit(stream, 0, 0).left.shape == (64, 8)
    with pytest.raises(GuppyError, match="positions"):
        positional_qk(tiny(Surgery(positions=False)), 0, 0)
    for layer, head in [(2, 0), (0, 2), (-1, 0)]:
        with pytest.raises(GuppyError, match="layers 0 to 1"):
            qk_circuit(tiny(), layer, head)


def test_questions_name_their_tokens():
    tokenizer = train_bpe(TEXTS, 300)
    model = tiny(Surgery(heads_off=((1, 0),)), vocab_size=tokenizer.padded_vocab_size)
    subject = Subject(model, tokenizer, torch.empty(0, dtype=torch.int64), [])
    found = answer(subject, "circuits", {"layer": "1", "pairs": "7"})
    assert found.facts["off"] is True and found.arrays["ov_ids"].shape == (7, 2)
    names = {str(i) for name in ("qk_ids", "qk_low_ids", "ov_ids", "ov_low_ids") for i in found.arrays[name].flat}
    assert names == set(found.facts["words"])
    assert max(map(int, names)) < tokenizer.vocab_size < model.config.vocab_size, "padding is no token"

    word = next(i for i in range(260, tokenizer.vocab_size) if " " in tokenizer.token_strings([i])[0].strip() + " ")
    text = tokenizer.token_strings([word])[0]
    for given in (text, f"#{word}"):
        told = answer(subject, "token-circuits", {"layer": 0, "head": 1, "token": given})
        assert told.facts["token"] == word and told.facts["words"][str(word)] == text
    row = ov_circuit(model, 0, 1, torch.arange(tokenizer.vocab_size)).row(word)
    assert told.arrays["writes_ids"][0] == row.argmax() and told.arrays["suppresses_ids"][0] == row.argmin()
    assert told.facts["own_logit"] == pytest.approx(row[word].item())
    with pytest.raises(GuppyError, match="tokens"):
        answer(subject, "token-circuits", {"token": "zebra quagga"})
    with pytest.raises(GuppyError, match="no token"):
        answer(subject, "token-circuits", {"token": "#99999"})
    with pytest.raises(GuppyError, match="pairs"):
        answer(subject, "circuits", {"pairs": 0})


def test_a_part_of_the_vocabulary_is_a_part_of_the_circuit():
    model, ids = tiny(Surgery(layernorm=False)), torch.tensor([3, 9, 11, 40])
    part, whole = ov_circuit(model, 1, 0, ids), ov_circuit(model, 1, 0)
    found = dense(whole)[ids][:, ids]
    torch.testing.assert_close(dense(part), found - found.mean(-1, keepdim=True), rtol=1e-4, atol=1e-4)
    assert part.extreme(2).ids.flatten().tolist() != [] and set(part.extreme(9).ids.flatten().tolist()) <= set(
        ids.tolist()
    )
