import os
from types import SimpleNamespace

import pytest
import torch
from networks import TEXTS, some_ids, tiny

import guppy
from guppy.errors import GuppyError
from guppy.inspect import swaps
from guppy.inspect.asking import Subject
from guppy.inspect.patching import (
    HEAD_SITES,
    POSITION_SITES,
    QUESTIONS,
    SITES,
    answers_after,
    find_answers,
    patch,
)
from guppy.inspect.questions import settings
from guppy.inspect.swaps import RESID_PRE, Swap, swapped
from guppy.interop.gpt2 import export_gpt2
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

SURGERIES = [None, Surgery(causal_mask=False), Surgery(layernorm=False), Surgery(heads_off=((1, 0),), mlp_off=(0,))]


def pair(model, pos=9):
    """Two texts that differ in two places."""
    clean = some_ids(model, 1, pos)[0]
    corrupted = clean.clone()
    corrupted[[2, 5]] = (corrupted[[2, 5]] + 7) % model.config.vocab_size
    return clean, corrupted


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def run(model, ids):
    with torch.no_grad(), guppy.record(model) as tape:
        logits = model(ids[None])
    return logits[0, -1], dict(tape)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("surgery", SURGERIES)
def test_one_patch_at_a_time(surgery, direction, monkeypatch):
    model = tiny(surgery, n_layers=3)
    clean, corrupted = pair(model)
    answer, wrong = 3, 40
    (best, clean_tape), (worst, corrupted_tape) = run(model, clean), run(model, corrupted)
    best, worst = (best[answer] - best[wrong]).item(), (worst[answer] - worst[wrong]).item()
    source, base = (clean_tape, corrupted) if direction == "denoise" else (corrupted_tape, clean)

    def patched(hook, where):
        def put(value, _):
            value = value.clone()
            value[where] = source[hook][where]
            return value

        with torch.no_grad(), guppy.intervene(model, {hook: put}):
            logits = model(base[None])[0, -1]
        return (logits[answer] - logits[wrong]).item()

    every = slice(None)
    for site in SITES:
        found = patch(model, clean, corrupted, answer, wrong, site, direction)
        expected = []
        for layer in range(3):
            heads = [(HEAD_SITES["z"].format(layer), (every, every, head)) for head in range(2)]
            if site in POSITION_SITES:
                cells = [(POSITION_SITES[site].format(layer), (every, position)) for position in range(9)]
            elif site == "parts":
                cells = [*heads, *((POSITION_SITES[part].format(layer), every) for part in ("attn_out", "mlp_out"))]
            elif site == "pattern":
                cells = [(HEAD_SITES[site].format(layer), (every, head)) for head in range(2)]
            else:
                cells = [(HEAD_SITES[site].format(layer), (every, every, head)) for head in range(2)]
            expected.append([patched(*cell) for cell in cells])
        expected = torch.tensor(expected)
        torch.testing.assert_close(found.logit_diff, expected, rtol=1e-4, atol=1e-4, msg=lambda m, s=site: f"{s}: {m}")
        torch.testing.assert_close(found.recovered, (found.logit_diff - worst) / (best - worst))
        assert found.clean_logit_diff == pytest.approx(best, abs=1e-5)
        assert found.corrupted_logit_diff == pytest.approx(worst, abs=1e-5)
        columns = {"parts": ["H0", "H1", "attention", "MLP"]} | {name: ["H0", "H1"] for name in HEAD_SITES}
        assert found.columns == columns.get(site, [])
    few = patch(model, clean, corrupted, answer, wrong, "resid_mid", direction).logit_diff
    monkeypatch.setattr(swaps, "MOST_NUMBERS", 1)
    torch.testing.assert_close(patch(model, clean, corrupted, answer, wrong, "resid_mid", direction).logit_diff, few)


@pytest.mark.parametrize("surgery", SURGERIES)
def test_all_of_a_layer_is_the_other_run(surgery):
    model = tiny(surgery, n_layers=3)
    clean, corrupted = pair(model)
    (wanted, source), (_, base) = run(model, clean), run(model, corrupted)
    everywhere = torch.ones(1, 1, 1, dtype=torch.bool)
    for layer in range(3):
        hook = RESID_PRE.format(layer)
        logits = swapped(model, base[hook], layer, [Swap(hook, everywhere, source[hook])], lambda x: x[:, -1])
        torch.testing.assert_close(logits[0], wanted, rtol=1e-5, atol=1e-5)


def test_against_transformerlens(tokenizer, tmp_path):
    os.environ["HF_HUB_OFFLINE"] = "1"
    bridge_class = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge
    patching = pytest.importorskip("transformer_lens.patching")
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=2)
    bridge = bridge_class.boot_transformers(str(export_gpt2(model, tokenizer, tmp_path / "out")))
    bridge.enable_compatibility_mode(no_processing=True)
    clean, corrupted = pair(model, 7)
    _, cache = bridge.run_with_cache(clean[None])

    def metric(logits):
        return logits[0, -1, 3] - logits[0, -1, 40]

    helpers = {
        "resid_pre": patching.get_act_patch_resid_pre,
        "attn_out": patching.get_act_patch_attn_out,
        "mlp_out": patching.get_act_patch_mlp_out,
        "z": patching.get_act_patch_attn_head_out_all_pos,
        "q": patching.get_act_patch_attn_head_q_all_pos,
        "k": patching.get_act_patch_attn_head_k_all_pos,
        "v": patching.get_act_patch_attn_head_v_all_pos,
        "pattern": patching.get_act_patch_attn_head_pattern_all_pos,
    }
    for site, helper in helpers.items():
        with torch.no_grad():
            theirs = helper(bridge, corrupted[None], cache, metric)
        ours = patch(model, clean, corrupted, 3, 40, site).logit_diff
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3, msg=lambda text, site=site: f"{site}: {text}")


def greedy(model, ids, count):
    said = ids.tolist()
    for _ in range(count):
        with torch.no_grad():
            said.append(int(model(torch.tensor([said]))[0, -1].argmax()))
    return said[len(ids) :]


def test_answers_are_where_the_replies_part():
    parted = 0
    for seed in range(12):
        model = tiny(n_ctx=32, seed=seed)
        clean, corrupted = pair(model)
        replies = list(zip(greedy(model, clean, 24), greedy(model, corrupted, 24), strict=True))
        n = next((i for i, (one, other) in enumerate(replies) if one != other), None)
        found = find_answers(model, clean, corrupted)
        assert found.shared == tuple(one for one, _ in replies[: n or 0]) and found.answer != found.wrong
        if n is not None:
            assert (found.answer, found.wrong) == replies[n]
            parted += n > 0
    assert parted, "some of these begin alike"


def test_replies_that_never_part_are_told_apart_by_what_tells_most():
    model = tiny(n_ctx=32)
    clean, corrupted = pair(model)
    with torch.no_grad():
        longest = int(model.embed.weight.norm(dim=1).argmax())
        model.ln_final.bias.add_(9 * model.embed.weight[longest])  # now both always say this token
    assert greedy(model, clean, 24) == greedy(model, corrupted, 24) == [longest] * 24

    def telling(shared):
        with torch.no_grad():
            texts = ([*ids.tolist(), *shared] for ids in (clean, corrupted))
            log_p = [model(torch.tensor([text]))[0, -1].double().log_softmax(-1) for text in texts]
        return tuple(int((p.exp() * (p - q)).argmax()) for p, q in (log_p, log_p[::-1]))

    for stop in (None, longest):
        found = find_answers(model, clean, corrupted, stop)
        assert (found.shared, found.answer, found.wrong) == ((), *telling(()))
    after = answers_after(model, clean, corrupted, (9, 9))
    assert (after.shared, after.answer, after.wrong) == ((9, 9), *telling((9, 9)))


def test_what_is_refused():
    model = tiny()
    clean, corrupted = pair(model)
    with pytest.raises(GuppyError, match="clean prompt has 9 tokens and the corrupted one 8"):
        patch(model, clean, corrupted[:8], 3, 40)
    with pytest.raises(GuppyError, match="are the same"):
        find_answers(model, clean, clean)
    with pytest.raises(GuppyError, match="same token"):
        patch(model, clean, corrupted, 3, 3)
    with pytest.raises(GuppyError, match="resid_pre, resid_mid"):
        patch(model, clean, corrupted, 3, 40, "resid")
    with pytest.raises(GuppyError, match="denoise or noise"):
        patch(model, clean, corrupted, 3, 40, "z", "both")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(GuppyError, match="nothing to recover"):
        patch(model, clean, corrupted, 3, 40)
    with pytest.raises(GuppyError, match="says the same"):
        find_answers(model, clean, corrupted)


def test_asked_of_two_prompts(tokenizer):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=64)
    (question,) = QUESTIONS
    run = SimpleNamespace(encode_prompt=tokenizer.encode_chat)
    ids = torch.tensor(tokenizer.encode_chat("like food"))
    subject = Subject(model, tokenizer, ids, tokenizer.token_strings(ids.tolist()), run, 0)
    found = question.ask(subject, **settings(question, {"corrupted": "like light"}))
    other = torch.tensor(tokenizer.encode_chat("like light"))
    answers = find_answers(model, ids, other, tokenizer.im_end_id)
    assert found.answer_ids == [answers.answer, answers.wrong]
    assert found.shared == tokenizer.decode(answers.shared)
    assert len(found.clean_tokens) == len(ids) + len(answers.shared) == found.recovered.shape[1]

    given = {"corrupted": "like light", "at": "words", "words": " the", "answer": " food", "wrong": " light"}
    found = question.ask(subject, **settings(question, given))
    assert found.shared == " the" and found.answers == [" food", " light"]
    after = [torch.tensor([*each, *tokenizer.encode(" the")]) for each in (ids.tolist(), other.tolist())]
    expected = patch(model, *after, *(tokenizer.encode(text)[0] for text in (" food", " light")))
    torch.testing.assert_close(found.recovered, expected.recovered)
    with pytest.raises(GuppyError, match=r"is \d+ tokens here"):
        question.ask(subject, **settings(question, given | {"answer": "xyzzy"}))
