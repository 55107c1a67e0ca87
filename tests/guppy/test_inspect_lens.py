"""The logit lens against TransformerLens's stream and modules, and its numbers against their definitions."""

import pytest
import torch
from bridges import bridge_of
from networks import TEXTS, some_ids, tiny

from guppy.errors import GuppyError
from guppy.hooks import record
from guppy.inspect import lens as module
from guppy.inspect.lens import logit_lens, with_words
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

SURGERIES = [
    Surgery(),
    Surgery(layernorm=False),
    Surgery(residual=False),
    Surgery(positions=False, mlp_off=(0,), attention_off=(1,), causal_mask=False),
]


def by_hand(model, ids):
    """Log-probabilities at every point, (point, pos, vocab), from the definition."""
    with torch.no_grad(), record(model) as tape:
        model(ids[None])
        names = ["blocks.0.hook_resid_pre"]
        names += [f"blocks.{i}.hook_resid_{at}" for i in range(model.config.n_layers) for at in ("mid", "post")]
        found = []
        for x in (tape[name][0] for name in names):
            if model.surgery.layernorm:
                x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + model.ln_final.eps).sqrt()
                x = x * model.ln_final.weight + model.ln_final.bias
            found.append((x @ model.embed.weight.T).log_softmax(-1))
    return names, torch.stack(found)


def test_it_reads_what_transformer_lens_reads(tmp_path):
    tokenizer = train_bpe(TEXTS, 300)
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=3)
    ids = some_ids(model, batch=1)
    found = logit_lens(model, ids[0], k=5)
    bridge = bridge_of(model, tokenizer, tmp_path)
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(ids)
        probs = bridge.unembed(bridge.ln_final(cache.accumulated_resid(incl_mid=True)[:, 0])).softmax(-1)
    torch.testing.assert_close(found.top_probs, probs.topk(5).values, rtol=1e-4, atol=1e-6)
    assert (found.top_ids[:, :, 0] == probs.argmax(-1)).all()
    assert torch.equal(found.final_ids, logits[0].argmax(-1))
    following = probs[:, torch.arange(10), ids[0, 1:]]
    torch.testing.assert_close(found.next_prob[:, :-1], following, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("surgery", SURGERIES, ids=lambda surgery: ",".join(surgery.names) or "none")
def test_every_number_is_what_its_name_says(surgery):
    model = tiny(surgery, n_layers=3)
    ids = some_ids(model, batch=1)[0]
    found = logit_lens(model, ids, k=4)
    names, log_probs = by_hand(model, ids)
    probs, final = log_probs.exp(), log_probs[-1]
    assert found.points == names
    close = {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(found.top_probs, probs.sort(descending=True).values[..., :4], **close)
    torch.testing.assert_close(found.entropy, torch.distributions.Categorical(logits=log_probs).entropy(), **close)
    both = [torch.distributions.Categorical(logits=each) for each in (final.expand_as(log_probs), log_probs)]
    torch.testing.assert_close(found.kl, torch.distributions.kl_divergence(*both), **close)
    assert torch.equal(found.final_ids, final.argmax(-1)) and (found.kl[-1] == 0).all()
    for pos in (0, 4, 10):
        for point in range(7):
            order = log_probs[point, pos].argsort(descending=True).tolist()
            assert found.final_rank[point, pos] == order.index(found.final_ids[pos])
            assert pos == 10 or found.next_rank[point, pos] == order.index(ids[pos + 1])
    torch.testing.assert_close(found.final_prob, probs[:, torch.arange(11), final.argmax(-1)], **close)
    torch.testing.assert_close(found.next_prob[:, :-1], probs[:, torch.arange(10), ids[1:]], **close)
    assert (found.next_rank[:, -1] == -1).all() and found.next_prob[:, -1].isnan().all()


def test_an_answer_settles_where_it_comes_first_for_good():
    model = tiny(n_layers=3)
    found = logit_lens(model, some_ids(model, batch=1, pos=16)[0])
    for pos, ranks in enumerate(found.final_rank.T.tolist()):
        last_other = max((i for i, rank in enumerate(ranks) if rank), default=-1)
        assert found.settled[pos] == last_other + 1
    assert len(found.settled.unique()) > 1


def test_a_text_read_in_pieces_gives_the_same(monkeypatch):
    model = tiny()
    ids = some_ids(model, batch=1)[0]
    whole = logit_lens(model, ids)
    monkeypatch.setattr(module, "AT_ONCE", 5 * 64 * 3)  # three positions at a time
    pieces = logit_lens(model, ids)
    for name in ("top_ids", "top_probs", "entropy", "kl", "final_rank", "next_rank", "next_prob", "settled"):
        close = {"rtol": 1e-5, "atol": 1e-6, "equal_nan": True}
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), **close)


def test_the_tokens_have_words():
    tokenizer = train_bpe(TEXTS, 300)
    model = tiny(vocab_size=tokenizer.padded_vocab_size)
    found = with_words(logit_lens(model, some_ids(model, batch=1)[0], k=3), tokenizer)
    named = {str(i) for i in found.top_ids.flatten().tolist()}
    assert named <= set(found.words)
    assert all(found.words[i] == tokenizer.token_strings([int(i)])[0] for i in named)


def test_what_cannot_be_asked():
    model = tiny()
    assert logit_lens(model, some_ids(model, batch=1)[0], k=1000).top_ids.shape == (5, 11, 64)
    with pytest.raises(GuppyError, match="at least 1"):
        logit_lens(model, some_ids(model, batch=1)[0], k=0)
    with pytest.raises(GuppyError, match="17 tokens"):
        logit_lens(model, some_ids(model, batch=1, pos=17)[0])
