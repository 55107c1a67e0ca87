import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from networks import TEXTS, some_ids, tiny

import guppy
from guppy.batches import Split
from guppy.errors import GuppyError
from guppy.inspect.asking import Subject
from guppy.inspect.neuron_activity import activity, listen, texts_of
from guppy.inspect.neurons import QUESTIONS, activations, looks_for, output_norms, promotes, strongest
from guppy.interop.gpt2 import export_gpt2
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

os.environ["HF_HUB_OFFLINE"] = "1"
ASK = {question.name: question.ask for question in QUESTIONS}


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def some_split(vocab=64, rows=60, longest=15, seed=0):
    """Rows of which many begin alike, and some are copies or longer than a context of 16."""
    random = np.random.default_rng(seed)
    openings = [random.integers(0, vocab, 5).tolist() for _ in range(4)]
    made = [
        openings[i % 4][: 2 + i % 4] + random.integers(0, vocab, int(random.integers(1, longest - 5))).tolist()
        for i in range(rows)
    ]
    made += [*made[:10], random.integers(0, vocab, 37).tolist(), [7]]
    return Split.from_rows(made, [""] * len(made))


# -- one text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act_fn", ["relu", "gelu_new"])
def test_activations_are_transformer_lenss(tokenizer, tmp_path, act_fn):
    bridges = pytest.importorskip("transformer_lens.model_bridge")
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=3, act_fn=act_fn)
    bridge = bridges.TransformerBridge.boot_transformers(str(export_gpt2(model, tokenizer, tmp_path / "out")))
    bridge.enable_compatibility_mode(no_processing=True)
    ids = some_ids(model, batch=1)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids)
    found = activations(model, ids[0])
    assert found.post.shape == (3, 11, 24) and found.layers == [0, 1, 2]
    some = activations(model, ids[0], layers=[2, 0], neurons=[5, 3])
    for name in ("pre", "post"):
        theirs = torch.stack([cache[f"blocks.{layer}.mlp.hook_{name}"][0] for layer in range(3)])
        torch.testing.assert_close(getattr(found, name), theirs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(getattr(some, name), theirs[[2, 0]][..., [5, 3]], rtol=1e-4, atol=1e-4)


def test_the_strongest_neurons_are_found_among_all():
    model = tiny(Surgery(mlp_off=(1,)), n_layers=3)
    ids = some_ids(model)[0]
    post = activations(model, ids).post
    found = strongest(model, ids, position=4, k=7)
    rows = sorted((-float(post[a, 4, n]), a, n) for a in range(3) for n in range(24))[:7]
    assert list(zip(found.layer.tolist(), found.neuron.tolist(), strict=True)) == [(a, n) for _, a, n in rows]
    writing = strongest(model, ids, k=72, by="written")
    there = writing.written > 0
    assert writing.position == 10 and 1 not in writing.layer[there], "what is off writes nothing"
    for i in (0, 5, int(there.sum()) - 1):
        layer, neuron = int(writing.layer[i]), int(writing.neuron[i])
        written = post[layer, -1, neuron] * model.blocks[layer].mlp.down.weight[:, neuron]
        torch.testing.assert_close(writing.written[i], written.norm().detach())
    assert (writing.written.diff() <= 0).all()


@pytest.mark.parametrize("layernorm", [True, False])
def test_promoted_tokens_are_those_whose_logits_rise(layernorm):
    """Against a change of the neuron in a model in which its output goes straight to the unembedding."""
    model = tiny(Surgery(mlp_off=(1,), attention_off=(1,), layernorm=layernorm))
    ids = some_ids(model, batch=1)
    scales = {}
    if layernorm:
        with torch.no_grad(), guppy.record(model, "ln_final.hook_scale") as tape:
            model(ids)
        scales = {"ln_final.hook_scale": lambda value, point: tape["ln_final.hook_scale"]}

    def more(value, point):
        value = value.clone()
        value[..., 9] += 0.5
        return value

    with torch.no_grad(), guppy.intervene(model, scales):
        before = model(ids)
        with guppy.intervene(model, {"blocks.0.mlp.hook_post": more}):
            rise = (model(ids) - before)[0, -1]
    scale = tape["ln_final.hook_scale"][0, -1] if layernorm else 1
    torch.testing.assert_close(promotes(model, 0, 9), (rise - rise.mean()) * scale / 0.5, rtol=1e-3, atol=1e-4)


def test_promoted_tokens_by_hand():
    model = tiny()
    gain, out, embed = (
        w.detach() for w in (model.ln_final.weight, model.blocks[1].mlp.down.weight, model.embed.weight)
    )
    column = torch.einsum("dn,n->d", out, torch.eye(24)[3])
    effect = torch.einsum("td,d->t", embed[:50], (column - column.mean()) * gain)
    torch.testing.assert_close(promotes(model, 1, 3, tokens=50), effect - effect.mean())
    torch.testing.assert_close(output_norms(model)[1, 3], column.square().sum().sqrt())


def test_a_neuron_looks_for_what_raises_it_most():
    """In a model whose MLP reads nothing but embeddings, the cosines are what reaches the neuron."""
    model = tiny(Surgery(positions=False, attention_off=(0,)))
    block = model.blocks[0]
    ids = torch.arange(16)
    with torch.no_grad(), guppy.record(model, ["blocks.0.ln2.hook_normalized", "blocks.0.mlp.hook_pre"]) as tape:
        model(ids[None])
    always = block.mlp.up.weight[7] @ block.ln2.bias + block.mlp.up.bias[7]
    direction = block.mlp.up.weight[7] * block.ln2.weight
    length = (direction - direction.mean()).norm() * tape["blocks.0.ln2.hook_normalized"][0].norm(dim=-1)
    expected = ((tape["blocks.0.mlp.hook_pre"][0, :, 7] - always) / length).detach()
    torch.testing.assert_close(looks_for(model, 0, 7)[:16], expected, rtol=1e-4, atol=1e-5)
    plain = tiny(Surgery(layernorm=False))
    row, weight = plain.embed.weight[5].detach(), plain.blocks[1].mlp.up.weight[2].detach()
    torch.testing.assert_close(looks_for(plain, 1, 2)[5], row @ weight / row.norm() / weight.norm())


def test_surgery_that_leaves_nothing_to_say_says_so(tokenizer):
    apart = tiny(Surgery(residual=False), vocab_size=tokenizer.padded_vocab_size)
    with pytest.raises(GuppyError, match="only layer 1 writes"):
        promotes(apart, 0, 0)
    with pytest.raises(GuppyError, match="not the embeddings"):
        looks_for(apart, 0, 0)
    assert promotes(apart, 1, 0).shape == (tokenizer.padded_vocab_size,)
    with pytest.raises(GuppyError, match="MLP of layer 1 is off"):
        promotes(tiny(Surgery(mlp_off=(1,))), 1, 0)
    ids = some_ids(apart)[0]
    told = ASK["neuron"](Subject(apart, tokenizer, ids, tokenizer.token_strings(ids)), layer=0, neuron=2, k=5)
    assert told.promoted is None and "layer 1" in told.why_no_output and "attention" in told.why_no_input
    assert told.activation.shape == (11,)


def test_questions_by_name(tokenizer):
    model = tiny(vocab_size=tokenizer.padded_vocab_size)
    ids = some_ids(model)[0]
    subject = Subject(model, tokenizer, ids, tokenizer.token_strings(ids))
    told = ASK["neuron"](subject, layer=1, neuron=2, k=4)
    post = activations(model, ids).post
    torch.testing.assert_close(told.activation, post[1, :, 2])
    effect = promotes(model, 1, 2, tokenizer.vocab_size)
    assert told.promoted[0] == tokenizer.token_strings([int(effect.argmax())])[0]
    assert told.suppressed[0] == tokenizer.token_strings([int(effect.argmin())])[0]
    assert told.suppressed_effect[0] == effect.min() and len(told.nearest) == 4 and told.why_no_output is None
    whole = ASK["neurons"](subject, layer=-1)
    assert torch.equal(whole.activation, post) and whole.norm.shape == (2, 24)
    assert torch.equal(ASK["neurons"](subject, layer=1).activation, post[1:])


@pytest.mark.parametrize(("layer", "neuron", "named"), [(2, 0, "layer 2"), (-1, 0, "layer -1"), (0, 24, "neuron 24")])
def test_what_is_not_there_is_named(layer, neuron, named):
    model = tiny()
    for ask in (promotes, looks_for):
        with pytest.raises(GuppyError, match=f"There is no {named}"):
            ask(model, layer, neuron)
    with pytest.raises(GuppyError, match=f"There is no {named}"):
        activations(model, some_ids(model)[0], [layer], [neuron])
    with pytest.raises(GuppyError, match="positions 0 to 10"):
        strongest(model, some_ids(model)[0], position=11)


# -- a corpus --------------------------------------------------------------------------------------------


def test_texts_are_what_is_read_each_once():
    split = some_split()
    texts = texts_of(split, 16)
    pieces = [
        tuple(split.row(row)[at : min(at + 16, len(split.row(row)) - 1)].tolist())
        for row in range(len(split))
        for at in range(0, len(split.row(row)) - 1, 16)
    ]
    read = [tuple(texts.tokens[a:b].tolist()) for a, b in zip(texts.offsets[:-1], texts.offsets[1:], strict=True)]
    assert read == sorted(set(pieces)) and max(map(len, read)) == 16
    assert texts.copies.tolist() == [pieces.count(text) for text in read] and texts.copies.max() > 1
    for text, row in zip(read, texts.rows, strict=True):
        assert any(tuple(split.row(row)[at : at + len(text)].tolist()) == text for at in (0, 16, 32))
    for i in range(1, len(read)):
        n = texts.shared[i]
        assert read[i][:n] == read[i - 1][:n] and read[i][: n + 1] != read[i - 1][: n + 1]
    batches = list(texts.batches(np.arange(len(texts)), tokens=40))
    assert sorted(np.concatenate(batches)) == list(range(len(texts)))
    for batch in batches:
        assert len(set(texts.lengths[batch])) == 1 and len(batch) * texts.lengths[batch[0]] <= 40
        assert texts.ids(batch)[-1].tolist() == list(read[batch[-1]])
    with pytest.raises(GuppyError, match="no row of two tokens"):
        texts_of(Split.from_rows([[3]], [""]), 16)


def test_listening_ends_after_the_last_layer():
    model = tiny()
    ids = some_ids(model)
    heard, beyond = {}, []
    with guppy.intervene(model, {"ln_final.hook_normalized": lambda value, point: beyond.append(value)}):
        listen(model, ids, lambda layer, post: heard.update({layer: post}))
    assert sorted(heard) == [0, 1] and not beyond
    torch.testing.assert_close(heard[1][2], activations(model, ids[2]).post[1])
    assert not any(point.listened for point in guppy.hook_points(model).values())


@pytest.mark.parametrize("act_fn", ["relu", "gelu"])
def test_activity_by_brute_force(act_fn):
    model = tiny(act_fn=act_fn)
    with torch.no_grad():
        model.blocks[0].mlp.up.bias[4] = -1000.0
        model.blocks[1].mlp.up.bias[5] = 1000.0
        model.blocks[1].mlp.up.weight[6] *= 1e-5  # smaller than the first edge
        model.blocks[1].mlp.up.bias[6] = 1e-4
    split, told = some_split(), []
    found = activity(model, split, most=10_000, progress=lambda done, of: told.append((done, of)))
    texts = texts_of(split, 16)
    post = [activations(model, texts.ids(np.array([i]))[0]).post for i in range(len(texts))]
    every = torch.cat(post, dim=1)  # (layer, token, neuron)
    assert found.tokens == every.shape[1] == told[-1][0] == told[-1][1] and found.texts == found.texts_there == len(
        texts
    )
    torch.testing.assert_close(found.mean, every.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.largest, every.amax(1))
    torch.testing.assert_close(found.share, (every > 0).float().mean(1))
    assert found.dead[0, 4] and found.saturated[1, 5] and found.share[1, 6] == 1
    assert torch.equal(found.dead, (every <= 0).all(1)) and torch.equal(found.saturated, found.share > 0.9)
    edges = [*found.edges.tolist(), float("inf")]
    assert edges[:2] == [0, 2**-8] and edges[2] == pytest.approx(2**-7.5) and edges[-2] == 64
    for layer, neuron in ((0, 3), (1, 5), (1, 6), (0, 4)):
        values = every[layer, :, neuron].numpy()
        counts = found.counts[layer, neuron].tolist()
        assert counts[0] == (values <= 0).sum() and sum(counts) == found.tokens
        positive = values[values > 0]
        # A value may lie at an edge: then the text read alone or with others may differ in the last bit.
        expected = [((positive >= a) & (positive < b)).sum() for a, b in pairwise(edges)]
        assert np.abs(np.array(counts[1:]) - expected).max() <= 1
    few = activity(model, split, most=5)
    assert few.texts == 5 and few.texts_there == len(texts) and few.tokens < found.tokens
