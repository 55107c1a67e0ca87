import math

import pytest
import torch
from networks import TEXTS, some_ids, tiny

from guppy.errors import GuppyError
from guppy.evaluate import token_loss
from guppy.inspect.asking import Subject
from guppy.inspect.questions import answer
from guppy.inspect.surprise import CHEATING, Turn, surprise, turns
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


@pytest.mark.parametrize("surgery", [None, Surgery(layernorm=False), Surgery(residual=False)])
def test_each_token_by_hand(surgery):
    model = tiny(surgery)
    ids = some_ids(model)[0]
    found = surprise(model, ids, k=4)
    assert found.bits[0].isnan() and found.entropy[0].isnan() and found.rank[0] == 0
    for position in range(1, len(ids)):
        with torch.no_grad():  # reads only what comes before
            p = model(ids[None, :position])[0, -1].double().softmax(-1)
        came = p[ids[position]].item()
        assert found.probability[position].item() == pytest.approx(came, rel=1e-3)
        assert found.bits[position].item() == pytest.approx(-math.log2(came), rel=1e-4, abs=1e-4)
        assert found.entropy[position].item() == pytest.approx(-(p * p.log2()).sum().item(), rel=1e-3)
        assert found.rank[position] == 1 + (p > came).sum()
        assert found.alternatives[position].tolist() == p.argsort(descending=True)[:4].tolist()
        torch.testing.assert_close(
            found.alternative_probability[position].double(), p.sort(descending=True).values[:4], rtol=1e-3, atol=1e-6
        )


def test_together_it_is_the_loss_that_training_minimises():
    model = tiny()
    ids = some_ids(model)[:1]
    with torch.no_grad():
        nats = token_loss(model(ids[:, :-1]), ids[:, 1:]).item()
    assert surprise(model, ids[0]).bits[1:].sum().item() == pytest.approx(nats / math.log(2), rel=1e-5)


def test_equals_rank_by_id():
    model = tiny()
    with torch.no_grad():
        model.embed.weight.copy_(model.embed.weight[:1].expand(64, -1))  # every token alike, every logit equal
    found = surprise(model, torch.tensor([3, 9, 0]))
    assert found.rank.tolist() == [0, 10, 1]
    torch.testing.assert_close(found.bits[1:], torch.full((2,), 6.0))


def test_one_token_and_a_text_too_long():
    model = tiny()
    alone = surprise(model, torch.tensor([5]))
    assert alone.bits.shape == (1,) and alone.alternatives.shape == (1, 5)
    long = surprise(model, torch.arange(30) % 64)
    assert long.ids.tolist() == list(range(14, 30))
    with pytest.raises(GuppyError, match="empty"):
        surprise(model, torch.empty(0, dtype=torch.int64))
    with pytest.raises(GuppyError, match="k must"):
        surprise(model, torch.tensor([5]), k=65)


def test_turns(tokenizer):
    ids = tokenizer.encode_chat([("user", "food"), ("assistant", "the light"), ("user", "warm")], reply=True)
    found = turns(tokenizer, torch.tensor(ids))
    assert [turn.role for turn in found] == ["user", "assistant", "user"], "the header alone is no turn"
    said = [tokenizer.decode(ids[turn.start : turn.end]) for turn in found]
    assert said == ["food<|im_end|>", "the light<|im_end|>", "warm<|im_end|>"]
    more = torch.tensor([*ids, *tokenizer.encode("glad")])
    assert tokenizer.decode(more[turns(tokenizer, more)[-1].start :]) == "glad"
    plain = torch.tensor(tokenizer.encode("the water"))
    assert turns(tokenizer, plain) == [Turn("text", 0, len(plain))]


def test_the_question_totals_every_turn(tokenizer):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=64)
    ids = tokenizer.encode_chat("food and light")
    subject = Subject(model, tokenizer, torch.tensor(ids), tokenizer.token_strings(ids))
    told = answer(subject, "surprise", {"then": "70,71", "top": 3})
    assert told.facts["exactness"] == "exact" and len(told.facts["text"]) == len(ids) + 2
    user, reply = told.facts["turns"]
    assert (user["role"], reply["role"], reply["tokens"]) == ("user", "assistant", 2)
    assert reply["bits"] == pytest.approx(told.arrays["bits"][-2:].sum(), rel=1e-5)
    assert user["bits_per_token"] == pytest.approx(told.arrays["bits"][user["start"] : user["end"]].mean(), rel=1e-5)
    blind = Subject(tiny(Surgery(causal_mask=False), vocab_size=320, n_ctx=64), tokenizer, subject.ids, subject.tokens)
    assert answer(blind, "surprise", {}).facts["exactness"] == CHEATING
