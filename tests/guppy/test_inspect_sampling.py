import math

import pytest
import torch
from networks import TEXTS, tiny

from guppy.cache import KVCache
from guppy.errors import GuppyError
from guppy.generate import generate, slide
from guppy.inspect.asking import Subject
from guppy.inspect.questions import answer
from guppy.inspect.sampling import continued, next_token, tree
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def model_of(tokenizer, surgery=None, **changes):
    return tiny(surgery, vocab_size=tokenizer.padded_vocab_size, **changes)


def subject_of(model, tokenizer, ids):
    return Subject(model, tokenizer, torch.tensor(ids), tokenizer.token_strings(ids))


def test_stages_by_hand(tokenizer):
    model = model_of(tokenizer)
    found = next_token(model, torch.tensor([5, 6, 7]), temperature=0.8, top_k=20, top_p=0.6)
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7]]))[0, -1].double()
    p = logits.exp() / logits.exp().sum()
    torch.testing.assert_close(found.probability.double(), p, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.order, p.argsort(descending=True))
    tempered = (logits / 0.8).exp()
    tempered /= tempered.sum()
    torch.testing.assert_close(found.tempered.double(), tempered, rtol=1e-4, atol=1e-7)
    first = found.order[:20].tolist()
    assert set(found.kept_by_top_k.nonzero()[:, 0].tolist()) == set(first)
    within = tempered[first] / tempered[first].sum()
    kept, before = [], 0.0
    for token, share in zip(first, within.tolist(), strict=True):
        if before >= 0.6:
            break
        kept.append(token)
        before += share
    assert 1 < len(kept) < 20
    assert set(found.kept.nonzero()[:, 0].tolist()) == set(kept)
    expected = torch.zeros_like(p)
    expected[kept] = tempered[kept] / tempered[kept].sum()
    torch.testing.assert_close(found.drawn_from.double(), expected, rtol=1e-4, atol=1e-7)
    assert found.entropy == pytest.approx(-(p * p.log2()).sum().item(), rel=1e-4)
    drawn = expected[kept]
    assert found.drawn_entropy == pytest.approx(-(drawn * drawn.log2()).sum().item(), rel=1e-4)


@pytest.mark.parametrize("settings", [{"temperature": 1.5, "top_k": 5}, {"temperature": 0.7, "top_p": 0.5}])
def test_it_is_what_generate_draws_from(tokenizer, settings):
    model, prompt = model_of(tokenizer), tokenizer.encode("food")
    p = next_token(model, torch.tensor(prompt), **settings).drawn_from
    counts = torch.zeros_like(p)
    for seed in range(300):
        row = generate(model, tokenizer, [prompt], max_tokens=1, seed=seed, **settings)[0]
        counts[row.ids[0] if row.ids else tokenizer.im_end_id] += 1
    assert counts[p == 0].sum() == 0
    expected = 300 * p[p > 0]
    degrees = len(expected) - 1
    assert degrees >= 1
    chi2 = ((counts[p > 0] - expected) ** 2 / expected).sum().item()
    # Wilson and Hilferty's approximation of the quantile that chance passes once in 2,000 tests
    most = degrees * (1 - 2 / (9 * degrees) + 3.29 * math.sqrt(2 / (9 * degrees))) ** 3
    assert chi2 < most


def test_greedy_is_one_token(tokenizer):
    found = next_token(model_of(tokenizer), torch.tensor([5]), temperature=0)
    assert found.drawn_from[found.order[0]] == 1 and found.kept.sum() == 1 and found.drawn_entropy == 0


@pytest.mark.parametrize("surgery", [None, Surgery(causal_mask=False)])
def test_what_follows_is_read_as_generate_reads_it(tokenizer, surgery):
    model = model_of(tokenizer, surgery)
    prompt = tokenizer.encode("i like food and light")
    said = generate(model, tokenizer, [prompt], max_tokens=30)[0].ids
    assert len(prompt) + len(said) > model.config.n_ctx + 4, "it should slide"
    subject = subject_of(model, tokenizer, prompt)
    for i in range(len(said)):
        read = continued(subject, ",".join(map(str, said[:i])))
        assert next_token(model, read).order[0] == said[i]


def brute(model, ids, end_id, width, depth):
    """The tree by its definition: read every path from the start."""
    nodes = []

    def grow(context, parent, path, level):
        context = slide(context, model.config.n_ctx)
        with torch.no_grad():
            p = model(torch.tensor([context]))[0, -1].double().softmax(-1)
        return [
            (token.item(), parent, level, p[token].item(), path * p[token].item(), context)
            for token in p.argsort(descending=True)[:width]
        ]

    level = grow(list(ids), -1, 1.0, 1)
    while level and depth:
        start = len(nodes)
        nodes += level
        depth -= 1
        level = [
            child
            for i, (token, _, at, _, path, context) in enumerate(level)
            if token != end_id
            for child in grow([*context, token], start + i, path, at + 1)
        ]
    return nodes


@pytest.mark.parametrize("length", [5, 15, 16])
@pytest.mark.parametrize("surgery", [None, Surgery(causal_mask=False), Surgery(positions=False, mlp_off=(0,))])
def test_the_tree_is_that_of_reading_every_path(tokenizer, surgery, length):
    model = model_of(tokenizer, surgery)
    ids = torch.arange(5, 5 + length)
    end_id = next_token(model, ids).order[1].item()  # so that one branch ends
    found, expected = tree(model, ids, end_id), brute(model, ids.tolist(), end_id, 3, 3)
    token, parent, depth, probability, path, _ = zip(*expected, strict=True)
    assert found.token.tolist() == list(token)
    assert found.parent.tolist() == list(parent) and found.depth.tolist() == list(depth)
    torch.testing.assert_close(found.probability.double(), torch.tensor(probability).double(), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.path.double(), torch.tensor(path).double(), rtol=1e-3, atol=1e-6)
    assert found.ends[1] and 1 not in found.parent.tolist()
    assert len(token) <= 3 + 6 + 18 and found.depth.max() == 3


def test_a_tree_that_ends_at_once(tokenizer):
    model = model_of(tokenizer)
    likeliest = next_token(model, torch.tensor([5])).order[0].item()
    found = tree(model, torch.tensor([5]), likeliest, width=1)
    assert found.token.tolist() == [likeliest] and found.ends.tolist() == [True]


def test_a_cache_goes_on_with_chosen_rows(tokenizer):
    model = model_of(tokenizer)
    cache = KVCache(2, 16)
    rows = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with torch.no_grad():
        model(rows, cache)
        cache.select(torch.tensor([1, 1, 0]))
        found = model(torch.tensor([[11], [12], [13]]), cache)[:, -1]
        expected = model(torch.tensor([[8, 9, 10, 11], [8, 9, 10, 12], [5, 6, 7, 13]]))[:, -1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_questions_and_what_they_refuse(tokenizer):
    model = model_of(tokenizer)
    subject = subject_of(model, tokenizer, [5, 6, 7])
    told = answer(subject, "next-token", {"then": "8,9", "top_k": "4"})
    assert told.arrays["kept"].sum() == 4
    expected = next_token(model, torch.tensor([5, 6, 7, 8, 9]))
    torch.testing.assert_close(torch.from_numpy(told.arrays["logits"]), expected.logits)
    found = answer(subject, "tree", {"then": "8"})
    assert len(found.arrays["token"]) <= 39
    assert set(found.facts["words"]) == set(map(str, found.arrays["token"].tolist()))
    for name, options in [
        ("next-token", {"then": "8;9"}),
        ("next-token", {"then": "100000"}),
        ("next-token", {"temperature": -1}),
        ("next-token", {"top_k": 0}),
        ("tree", {"width": 0}),
        ("tree", {"width": 100, "depth": 4}),
    ]:
        with pytest.raises(GuppyError):
            answer(subject, name, options)
    with pytest.raises(GuppyError, match="empty"):
        next_token(model, torch.empty(0, dtype=torch.int64))
