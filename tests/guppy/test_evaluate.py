import math

import pytest
import torch
from networks import some_ids, tiny
from ponds import make_corpus

from guppy.batches import Batch
from guppy.evaluate import evaluate, future_mass, heldout_loss, heldout_losses, token_loss, with_causal_mask
from guppy.hooks import record
from guppy.surgery import Surgery


def batch_of(model, *, padded: int = 3, seed: int = 0) -> Batch:
    """Three rows, the second of which ends earlier."""
    ids = some_ids(model, seed=seed)
    targets = ids.roll(-1, 1)
    targets[:, -1] = -100
    targets[1, -padded:] = -100
    return Batch(ids, targets, int((targets != -100).sum()))


def by_hand(model, batches) -> float:
    """The mean over targets, one token at a time."""
    losses = []
    for batch in batches:
        p = model(batch.ids).detach().softmax(-1)
        for row, position in (batch.targets != -100).nonzero().tolist():
            losses.append(-math.log(p[row, position, batch.targets[row, position]]))
    return sum(losses) / len(losses)


def test_heldout_loss_is_the_mean_over_targets_of_all_batches():
    model = tiny()
    batches = [batch_of(model), batch_of(model, padded=7, seed=1)]
    assert math.isclose(heldout_loss(model, batches), by_hand(model, batches), rel_tol=1e-5)


def test_padding_does_not_count():
    model = tiny()
    batch = batch_of(model)
    other = Batch(batch.ids.clone(), batch.targets, batch.n_tokens)
    other.ids[1, -2:] = 5  # inputs that only positions without a target see
    assert heldout_loss(model, [batch]) == pytest.approx(heldout_loss(model, [other]), rel=1e-6)


def test_evaluation_drops_nothing_and_leaves_the_mode():
    model = tiny(dropout=0.5)
    batch = batch_of(model)
    expected = heldout_loss(model, [batch])
    model.train()
    assert heldout_loss(model, [batch]) == expected
    assert model.training


def test_losses_are_summed_in_float32():
    logits = torch.zeros(1, 4, 8, dtype=torch.bfloat16)
    loss = token_loss(logits, torch.tensor([[1, 2, 3, -100]]))
    assert loss.dtype == torch.float32
    assert math.isclose(loss.item(), 3 * math.log(8), rel_tol=1e-6)


def test_the_mask_is_put_back_and_taken_off_again():
    whole, cut = tiny(), tiny(Surgery(causal_mask=False))
    batch = batch_of(whole)
    masked = heldout_loss(whole, [batch])
    assert heldout_losses(whole, [batch]) == (masked, masked)
    unmasked, put_back = heldout_losses(cut, [batch])
    assert put_back == masked and abs(unmasked - masked) > 1e-3
    with pytest.raises(RuntimeError), with_causal_mask(cut):
        assert cut.causal
        raise RuntimeError
    assert not cut.causal


def test_future_mass_is_what_lies_above_the_diagonal():
    model = tiny(Surgery(causal_mask=False))
    batch = batch_of(model)
    shares = []
    for ids, targets in zip(batch.ids, batch.targets, strict=True):
        with record(model, "blocks.*.attn.hook_pattern") as tape:
            model(ids[None, : int((targets != -100).sum())])  # the row alone, without padding
        for pattern in tape.values():
            shares.extend(pattern.triu(1).sum(-1).flatten().tolist())
    assert math.isclose(future_mass(model, batch), sum(shares) / len(shares), rel_tol=1e-5)
    assert 0.1 < future_mass(model, batch) < 0.9
    assert future_mass(tiny(), batch) == 0


def test_a_report_covers_the_whole_split(tmp_path):
    corpus = make_corpus(tmp_path)
    model = tiny(vocab_size=corpus.tokenizer.padded_vocab_size, n_ctx=24)
    scores = evaluate(model, corpus)
    assert scores["tokens"] == int((corpus.heldout.lengths - 1).sum())
    assert scores["perplexity"] == pytest.approx(math.exp(scores["heldout_loss"]))
    assert scores["masked_loss"] == scores["heldout_loss"] and scores["future_mass"] == 0
    assert evaluate(model, corpus, max_rows=3)["rows"] == 3
