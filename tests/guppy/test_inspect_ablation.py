import math
from types import SimpleNamespace

import pandas
import pytest
import torch
import torch.nn.functional as F
from networks import TEXTS, some_ids, tiny

import guppy
from guppy.cache import KVCache
from guppy.errors import GuppyError
from guppy.hooks import hook_points
from guppy.inspect import swaps
from guppy.inspect.ablation import Part, ablate, ablate_all, taking_out, text_loss
from guppy.inspect.asking import Subject
from guppy.inspect.fills import REFERENCE_LENGTH, at_positions, fills, reference_of
from guppy.inspect.without import without
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

SURGERIES = [
    None,
    Surgery(causal_mask=False),
    Surgery(layernorm=False, positions=False),
    Surgery(residual=False, scale=False),
    Surgery(heads_off=((0, 1),), mlp_off=(1,), attention_off=(2,)),
]


def text(model, pos=11, seed=0):
    return some_ids(model, 1, pos, seed)[0]


def references(model, pos=9):
    return [text(model, pos, seed) for seed in range(1, 5)]


def by_hand(model, ids, hook, replace):
    """The damage of one change, each number from its definition."""
    with torch.no_grad():
        whole = model(ids[None])[0]
        with guppy.intervene(model, {hook: replace}):
            changed = model(ids[None])[0]
    top = whole[-1].argmax()
    p, q = whole[-1].softmax(-1), changed[-1].softmax(-1)
    loss = F.cross_entropy(changed[:-1], ids[1:]) - F.cross_entropy(whole[:-1], ids[1:])
    kl = F.kl_div(q.log(), p, reduction="sum")
    return torch.stack([loss, changed[-1, top] - whole[-1, top], q[top] - p[top], kl])


def parts_of(model):
    """Hook and head of every column of every row of `ablate_all`."""
    for layer in range(model.config.n_layers):
        for head in range(model.config.n_heads):
            yield f"blocks.{layer}.attn.hook_z", head
        yield f"blocks.{layer}.hook_attn_out", None
        yield f"blocks.{layer}.hook_mlp_out", None


@pytest.mark.parametrize("surgery", SURGERIES)
def test_all_at_once_is_one_at_a_time(surgery, monkeypatch):
    model = tiny(surgery, n_layers=3)
    ids = text(model)
    found = ablate_all(model, ids)
    assert found.parts == ["H0", "H1", "attention", "MLP"] and found.loss.shape == (3, 4)
    expected = []
    for hook, head in parts_of(model):
        expected.append(by_hand(model, ids, hook, guppy.zero if head is None else guppy.ablate_head(head)))
    expected = torch.stack(expected).view(3, 4, 4)
    shown = torch.stack([found.loss, found.logit, found.probability, found.kl], dim=-1)
    torch.testing.assert_close(shown, expected, rtol=1e-4, atol=2e-5)
    assert torch.equal(found.order, found.loss.flatten().argsort(descending=True, stable=True))
    with torch.no_grad():
        logits = model(ids[None])[0]
    assert found.whole_loss == pytest.approx(F.cross_entropy(logits[:-1], ids[1:]).item(), abs=1e-5)
    assert found.top == logits[-1].argmax() and found.top_probability == pytest.approx(logits[-1].softmax(-1).max())
    assert not any(point.listened for name, point in hook_points(model).items() if surgery is None)
    monkeypatch.setattr(swaps, "MOST_NUMBERS", 1)  # a row at a time
    torch.testing.assert_close(ablate_all(model, ids).loss, found.loss, rtol=1e-4, atol=1e-5)


def test_what_surgery_took_away_is_missed_no_more():
    model = tiny(SURGERIES[-1], n_layers=3)
    for how in ("zero", "mean", "resample"):
        found = ablate_all(model, text(model), how, references(model))
        off = torch.zeros(3, 4, dtype=torch.bool)
        off[0, 1] = off[1, 3] = off[2, :3] = True
        assert found.kl[off].max() < 1e-6 and found.loss[off].abs().max() < 1e-6
        assert found.kl[~off].min() > 1e-4


def test_mean_is_the_mean_over_all_reference_positions():
    model = tiny()
    ids, reference = text(model), [text(model, pos, pos) for pos in (5, 9, 9)]
    outs = []
    for each in reference:
        with torch.no_grad(), guppy.record(model) as tape:
            model(each[None])
        outs.append(dict(tape))
    found = ablate_all(model, ids, "mean", reference)
    for index, (hook, head) in enumerate(parts_of(model)):
        mean = torch.cat([out[hook][0] for out in outs]).mean(0)

        def replace(value, _, mean=mean, head=head):
            value = value.clone()
            value[:, :, slice(None) if head is None else head] = mean if head is None else mean[head]
            return value

        expected = by_hand(model, ids, hook, replace)
        assert found.kl.flatten()[index] == pytest.approx(expected[3].item(), abs=1e-5), hook
        assert found.loss.flatten()[index] == pytest.approx(expected[0].item(), abs=1e-5), hook


def test_resampling_one_text_puts_that_text_there():
    model = tiny()
    ids, other = text(model), text(model, seed=5)
    with torch.no_grad(), guppy.record(model) as tape:
        model(other[None])
    found = ablate_all(model, ids, "resample", [other], seed=3)
    for index, (hook, head) in enumerate(parts_of(model)):

        def replace(value, point, head=head):
            value = value.clone()
            here = (slice(None), slice(None)) if head is None else (slice(None), slice(None), head)
            value[here] = tape[point.name][here]
            return value

        assert found.kl.flatten()[index] == pytest.approx(by_hand(model, ids, hook, replace)[3].item(), abs=1e-5)


def test_resampling_takes_each_position_from_a_text_that_has_it():
    model = tiny()
    hooks = ["blocks.0.hook_mlp_out", "blocks.1.attn.hook_z"]
    reference = [text(model, pos, seed) for seed, pos in enumerate((4, 9, 9, 9))]
    recorded = []
    for each in reference:
        with torch.no_grad(), guppy.record(model, hooks) as tape:
            model(each[None])
        recorded.append(dict(tape))
    drawn = fills(model, hooks, "resample", reference, seed=1)
    taken = {}
    for hook in hooks:
        assert len(drawn[hook]) == 9
        there = [(t, p) for t, each in enumerate(recorded) for p in range(len(each[hook][0]))]
        for position, vector in enumerate(drawn[hook]):
            (text_index,) = (t for t, p in there if p == position and torch.equal(recorded[t][hook][0, p], vector))
            taken.setdefault(position, set()).add(text_index)
    assert all(len(texts) == 1 for texts in taken.values()), "the same text at all hook points"
    assert len(set.union(*taken.values())) > 1
    again, other = (fills(model, hooks[:1], "resample", reference, seed=seed)[hooks[0]] for seed in (1, 2))
    assert torch.equal(again, drawn[hooks[0]]) and not torch.equal(other, again)
    assert torch.equal(at_positions(again, 7, 4), again[[7, 8, 0, 1]]), "beyond its texts it starts over"


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_any_hook_point(how):
    model = tiny()
    ids = text(model)
    reference = [text(model, 11, seed) for seed in (1, 2)]
    for hook in hook_points(model):
        if how == "zero" and hook.endswith(("hook_attn_scores", "hook_scale")):
            with pytest.raises(GuppyError, match="mean or resample"):
                ablate(model, ids, Part(hook), how)
            continue
        damage = ablate(model, ids, Part(hook), how, reference)
        assert all(map(math.isfinite, damage)), hook
        if (hook, how) == ("hook_pos_embed", "resample"):
            assert damage.kl == 0, "every text has the same positions"
        elif "scale" not in hook:
            assert damage.kl > 1e-6, hook


def test_a_head_of_a_pattern_from_another_text():
    model = tiny()
    ids, other = text(model), text(model, seed=4)
    with torch.no_grad(), guppy.record(model, "blocks.0.attn.hook_pattern") as tape:
        model(other[None])

    def replace(value, point):
        value = value.clone()
        value[:, 1] = tape[point.name][:, 1]
        return value

    found = ablate(model, ids, Part.named(model, "blocks.0.attn.hook_pattern[1]"), "resample", [other])
    expected = by_hand(model, ids, "blocks.0.attn.hook_pattern", replace)
    torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(GuppyError, match="have 9 tokens and it has 11"):
        ablate(model, ids, Part("blocks.0.attn.hook_pattern"), "mean", references(model))


def test_the_loss_of_a_text():
    model = tiny()
    ids = text(model)
    with torch.no_grad():
        logits = model(ids[None])
    assert text_loss(logits, ids).item() == pytest.approx(F.cross_entropy(logits[0, :-1], ids[1:]).item(), abs=1e-6)
    one = ablate_all(model, ids[:1])
    assert one.loss.isnan().all() and torch.equal(one.order, one.kl.flatten().argsort(descending=True, stable=True))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blocks.9.hook_mlp_out", "No hook point"),
        ("blocks.0.attn.hook_z[2]", "heads 0 to 1"),
        ("blocks.0.hook_mlp_out[0]", "no heads"),
        ("a part", "is no part"),
    ],
)
def test_parts_that_are_not_there(name, said):
    with pytest.raises(GuppyError, match=said):
        Part.named(tiny(), name)


def test_what_cannot_be_taken_out():
    model = tiny(Surgery(layernorm=False))
    with pytest.raises(GuppyError, match=r"Nothing passes .*hook_normalized"):
        ablate(model, text(model), Part("blocks.0.ln1.hook_normalized"))
    with pytest.raises(GuppyError, match="reference texts"):
        ablate_all(model, text(model), "mean")
    with pytest.raises(GuppyError, match="choose zero, mean, resample"):
        ablate_all(model, text(model), "noise")


# -- what it says without -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_replies_without_a_part(tokenizer, how, causal):
    model = tiny(Surgery(causal_mask=causal), vocab_size=tokenizer.padded_vocab_size, n_ctx=64, n_layers=2)
    ids = torch.tensor(tokenizer.encode_chat("food"))
    reference = [text(model, 64, seed) for seed in (1, 2)]
    part = Part("blocks.0.attn.hook_z", 1)
    found = without(model, tokenizer, ids, part, how, reference)
    assert found.hooks == "blocks.0.attn.hook_z[1]"

    fill = {} if how == "zero" else fills(model, [part.hook], how, reference)

    def replace(value, _):
        value = value.clone()
        value[:, :, 1] = 0 if how == "zero" else at_positions(fill[part.hook], 0, value.shape[1])[:, 1]
        return value

    for index, change in enumerate(({}, {part.hook: replace})):
        said = ids.tolist()
        with torch.no_grad(), guppy.intervene(model, change):
            first = model(ids[None])[0].softmax(-1)[-1]
            # Everything is read again at every token: no cache takes part.
            while len(said) < len(ids) + 48 and (not said[len(ids) :] or said[-1] != tokenizer.im_end_id):
                if len(said) == model.config.n_ctx:
                    break
                said.append(int(model(torch.tensor([said]))[0, -1].argmax()))
        spoken = [token for token in said[len(ids) :] if token != tokenizer.im_end_id]
        assert found.replies[index].startswith(tokenizer.decode(spoken)[:20])
        torch.testing.assert_close(found.probability[index], first.topk(10).values)
        assert found.next_ids[index].tolist() == first.topk(10).indices.tolist()
        torch.testing.assert_close(found.other[1 - index], first[found.next_ids[1 - index]])
        assert found.next_tokens[index] == tokenizer.token_strings(found.next_ids[index].tolist())
    assert found.replies[0] != found.replies[1] and found.kl > 0
    assert found.loss[1] - found.loss[0] == pytest.approx(ablate(model, ids, part, how, reference).loss, abs=1e-4)


def test_patterns_cannot_grow_with_a_reply(tokenizer):
    model = tiny(vocab_size=tokenizer.padded_vocab_size)
    with pytest.raises(GuppyError, match="hook_z"):
        without(model, tokenizer, text(model), Part("blocks.0.attn.hook_pattern", 0))


def test_reference_texts_are_the_runs_last_samples(tokenizer):
    rows = [
        {"step": step, "prompt": prompt, "text": f"{prompt} {step}"} for step in (0, 8) for prompt in ("hi", "food")
    ]
    run = SimpleNamespace(samples=pandas.DataFrame(rows), is_chat=True)
    model = tiny(n_ctx=256, vocab_size=tokenizer.padded_vocab_size)
    subject = Subject(model, tokenizer, text(model), [], run, 0)
    first, second = reference_of(subject, "mean")
    turns = [("user", "hi"), ("assistant", "hi 8"), ("user", "food"), ("assistant", "food 8")]
    assert first.tolist() == tokenizer.encode_chat(turns, reply=False)[:REFERENCE_LENGTH]
    assert second.tolist() == tokenizer.encode_chat(turns[2:] + turns[:2], reply=False)[:REFERENCE_LENGTH]
    assert reference_of(subject, "zero") == []
    run.is_chat = False
    assert tokenizer.decode(reference_of(subject, "mean")[0].tolist()) == "hihi 8\nfoodfood 8"
    run.samples = pandas.DataFrame(columns=["step", "prompt", "text"])
    with pytest.raises(GuppyError, match="no samples"):
        reference_of(subject, "resample")


def test_taking_out_follows_a_text_that_is_read_on():
    model = tiny(n_ctx=32)
    ids, reference = text(model, 12), [text(model, 16, 3)]
    part = Part("blocks.1.hook_mlp_out")
    cache = KVCache(2, 32)
    with torch.no_grad(), guppy.intervene(model, taking_out(model, ids, part, "resample", reference)):
        pieces = [model(ids[None, :9], cache)] + [model(ids[None, i : i + 1], cache) for i in range(9, 12)]
        whole = model(ids[None])
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-4, atol=1e-4)
