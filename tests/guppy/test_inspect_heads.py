import math

import pytest
import torch
from networks import TEXTS, tiny

from guppy.config import ModelConfig
from guppy.errors import GuppyError
from guppy.inspect.attention import patterns
from guppy.inspect.head_texts import CONVERSATIONS, Row, conversation, plain, repeated
from guppy.inspect.heads import KINDS, head_kinds, looked_at, score
from guppy.model import Guppy
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe, train_char

SIDE = 128  # positions, and dimensions for each of: where, which token, which token before


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe([*TEXTS, *(" ".join(each) for each in CONVERSATIONS * 3)], 400)


@pytest.fixture(scope="module")
def written(tokenizer):
    """Heads written by hand: 0.0 looks at the token before and notes which it was; 1.0 is the induction head that
    reads those notes; 0.1 looks at the first token; 0.2 evenly at everything; 1.1 at itself; 1.2 at the first token."""
    vocab = tokenizer.padded_vocab_size
    config = ModelConfig(vocab, n_ctx=SIDE, n_layers=2, n_heads=3, d_model=3 * SIDE, d_mlp=1)
    model = Guppy(config, Surgery(layernorm=False, mlp_off=(0, 1))).eval()
    generator = torch.Generator().manual_seed(0)
    where, which, before = (slice(i * SIDE, (i + 1) * SIDE) for i in range(3))
    place = torch.linalg.qr(torch.randn(SIDE, SIDE, generator=generator))[0]
    token = torch.nn.functional.normalize(torch.randn(vocab, SIDE, generator=generator), dim=1)
    sharp = 40 * math.sqrt(SIDE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.pos_embed.weight[:, where] = place
        model.embed.weight[:, which] = token
        first, second = model.blocks

        def rows(part: int, head: int) -> slice:
            return slice((part * 3 + head) * SIDE, (part * 3 + head + 1) * SIDE)

        eye = torch.eye(SIDE)
        # query at p is the place p - 1: the sum of place[p - 1] outer place[p]
        first.attn.qkv.weight[rows(0, 0), where] = sharp * place[:-1].T @ place[1:]
        first.attn.qkv.weight[rows(1, 0), where] = eye
        first.attn.qkv.weight[rows(2, 0), which] = eye
        first.attn.out.weight[before, :SIDE] = eye
        first.attn.qkv.bias[rows(0, 1)] = sharp * place[0]
        first.attn.qkv.weight[rows(1, 1), where] = eye
        second.attn.qkv.weight[rows(0, 0), which] = sharp * eye
        second.attn.qkv.weight[rows(1, 0), before] = eye
        second.attn.qkv.weight[rows(0, 1), where] = sharp * eye
        second.attn.qkv.weight[rows(1, 1), where] = eye
        second.attn.qkv.bias[rows(0, 2)] = sharp * place[0]
        second.attn.qkv.weight[rows(1, 2), where] = eye
    return model


def test_heads_written_by_hand_are_found(written, tokenizer):
    found = head_kinds(written, tokenizer)
    assert found.labels == [["previous token", "first token", "even"], ["induction", "current token", "first token"]]
    for name, layer, head in (("previous token", 0, 0), ("induction", 1, 0), ("first token", 0, 1), ("even", 0, 2)):
        kind = found.kinds.index(name)
        assert found.score[kind, layer, head] > 0.95
        assert found.confidence[kind, layer, head] == 1
        others = found.score[kind].clone()
        others[layer, head] = 0
        assert name == "first token" or (others < 0.9).all()
    assert found.score[found.kinds.index("induction"), 0, 0] < 0.1
    assert found.rows == {"random": 8, "text": len(CONVERSATIONS)}


def test_scores_are_sums_over_the_pattern(tokenizer):
    """The definition of every kind once more, position by position."""
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=128)
    row = conversation(tokenizer, *CONVERSATIONS[4])
    pattern = patterns(model, row.ids[None]).pattern[0]
    ids, n = row.ids.tolist(), len(row.ids)

    def seen(kind: str, q: int) -> list[int]:
        earlier = range(q)
        return {
            "previous token": [q - 1] if q else [],
            "duplicate token": [k for k in earlier if ids[k] == ids[q]],
            "recent tokens": [q - away for away in (1, 2, 3, 4)] if q >= 8 else [],
            "induction": [k + 1 for k in earlier if ids[k] == ids[q]],
            "first token": [0],
            "current token": [q],
            "punctuation": [k for k in earlier if row.punctuation[k]],
            "user's words": [k for k in range(q + 1) if row.words[k] and row.reply[q]],
            "user's noun": [k for k in range(q + 1) if row.noun[k] and row.reply[q]],
        }[kind]

    for kind in KINDS:
        if kind.name in ("even", "next token"):
            continue
        shares = [
            pattern[:, :, q, keys].sum(-1) for q in range(n) if (keys := seen(kind.name, q)) and len(keys) < q + 1
        ]
        assert shares, kind.name
        torch.testing.assert_close(score(kind.name, pattern, row), torch.stack(shares).mean(0), msg=kind.name)
    entropy = torch.stack([torch.distributions.Categorical(pattern[:, :, q, : q + 1]).entropy() for q in range(1, n)])
    expected = (entropy / torch.arange(2, n + 1).log()[:, None, None]).mean(0)
    torch.testing.assert_close(score("even", pattern, row), expected, rtol=1e-4, atol=1e-5)


def test_next_token_heads_are_looked_for_without_a_mask_only(tokenizer):
    sizes = {"vocab_size": tokenizer.padded_vocab_size, "n_ctx": 96}
    assert "next token" not in head_kinds(tiny(**sizes), tokenizer).kinds
    model = tiny(Surgery(causal_mask=False), **sizes)
    found = head_kinds(model, tokenizer)
    row = conversation(tokenizer, *CONVERSATIONS[0])
    pattern = patterns(model, row.ids[None]).pattern[0]
    ahead = torch.diagonal(pattern, 1, dim1=2, dim2=3).mean(-1)
    torch.testing.assert_close(score("next token", pattern, row, causal=False), ahead)
    assert found.chance[found.kinds.index("next token")] < 0.1


def test_the_words_and_the_noun_of_the_users_turn(tokenizer):
    for make in (tokenizer, train_char(TEXTS)):
        for user, noun, reply in CONVERSATIONS:
            row = conversation(make, user, noun, reply)
            assert make.decode(row.ids[row.words]).strip() == user
            assert make.decode(row.ids[row.noun]).strip().strip("?.!") == noun
            after = make.decode(row.ids[1:][row.reply[:-1]])
            assert after.strip() == f"{reply}<|im_end|>"
            stops = make.decode(row.ids[row.punctuation])
            assert set(stops.replace(" ", "")) <= set(".,?!") and "." in stops


def test_plain_text_has_no_turns(tokenizer):
    found = head_kinds(tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=96), tokenizer, chat=False)
    assert not {"user's words", "user's noun"} & set(found.kinds)
    row = plain(tokenizer, *CONVERSATIONS[0])
    assert tokenizer.im_start_id not in row.ids


def test_random_tokens_repeat_and_differ(tokenizer):
    rows = repeated(tokenizer, 3, 20, chat=True, seed=5)
    again = repeated(tokenizer, 3, 20, chat=True, seed=5)
    for row, same in zip(rows, again, strict=True):
        assert torch.equal(row.ids, same.ids) and row.ids[0] == tokenizer.im_start_id
        assert torch.equal(row.ids[1:21], row.ids[21:]) and len(set(row.ids.tolist())) == 21
        assert not {tokenizer.pad_id, tokenizer.im_end_id} & set(row.ids.tolist())
        looked = looked_at("induction", row)[21:]
        assert torch.equal(looked.nonzero()[:, 1], torch.arange(2, 22))
    assert not torch.equal(rows[0].ids, rows[1].ids)


def test_short_contexts_read_what_fits(tokenizer):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=12)
    found = head_kinds(model, tokenizer)
    assert found.score[found.kinds.index("previous token")].isfinite().all()
    assert found.score[found.kinds.index("user's noun")].isnan().all(), "the user's turn is out of sight"
    assert all(label != "user's noun" for layer in found.labels for label in layer)
    with pytest.raises(GuppyError, match="too short"):
        head_kinds(tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=4), tokenizer)


def test_chance_is_what_an_even_look_scores(tokenizer):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=96)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
    found = head_kinds(model, tokenizer)
    torch.testing.assert_close(found.score, found.chance[:, None, None].expand_as(found.score), rtol=1e-4, atol=1e-5)
    assert {label for layer in found.labels for label in layer} == {"even"}


def test_scores_come_with_their_spread_and_confidence(tokenizer):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=96)
    found = head_kinds(model, tokenizer)
    rows = [conversation(tokenizer, *each) for each in CONVERSATIONS]
    each = torch.stack([score("first token", patterns(model, row.ids[None]).pattern[0], row) for row in rows])
    kind = found.kinds.index("first token")
    torch.testing.assert_close(found.score[kind], each.mean(0))
    torch.testing.assert_close(found.spread[kind], each.std(0, correction=0))
    torch.testing.assert_close(found.confidence[kind], (each >= found.thresholds[kind]).float().mean(0))


def test_rows_keep_their_end():
    row = Row(*(torch.arange(5) for _ in range(5))).last(2)
    assert row.ids.tolist() == [3, 4] and row.reply.tolist() == [3, 4]
