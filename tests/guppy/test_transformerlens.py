"""Every activation, at every hook point, equals TransformerLens's at the same name. Importing it is slow: only here."""

import os

import pytest
import torch
from networks import TEXTS, some_ids, tiny

import guppy
from guppy.interop.gpt2 import export_gpt2
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

os.environ["HF_HUB_OFFLINE"] = "1"
TransformerBridge = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge

# The bridge also hooks the way into and out of each of its components, under names of its own.
BRIDGES_OWN = ("hook_in", "hook_out", "hook_hidden_states", "hook_unembed")


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def bridge_of(model, tokenizer, directory):
    exported = export_gpt2(model, tokenizer, directory / "out")
    bridge = TransformerBridge.boot_transformers(str(exported))
    bridge.set_use_attn_result(True)
    bridge.enable_compatibility_mode(no_processing=True)  # masked scores are -inf, as in HookedTransformer
    return bridge.eval()


def run_both(model, bridge, ids):
    with torch.no_grad(), guppy.record(model, guppy.hook_points(model)) as tape:
        logits = model(ids)
    with torch.no_grad():
        bridge_logits, cache = bridge.run_with_cache(ids)
    return tape | {"logits": logits}, dict(cache.items()) | {"logits": bridge_logits}


def assert_equal(ours, theirs, names):
    for name in names:
        close = {"rtol": 1e-4, "atol": 1e-4}  # -inf equals -inf and nothing else
        torch.testing.assert_close(ours[name], theirs[name], **close, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("act_fn", ["relu", "gelu_new"])
def test_every_activation_at_every_hook_point(tokenizer, tmp_path, act_fn):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=3, act_fn=act_fn)
    ids = some_ids(model)
    ours, theirs = run_both(model, bridge_of(model, tokenizer, tmp_path), ids)
    names = set(ours) - {"logits"}
    assert names == set(guppy.hook_points(model))
    assert names == {name for name in theirs if not name.endswith(BRIDGES_OWN)} - {"logits"}
    assert len(names) == 4 + 3 * 18, "two embeddings, two in ln_final, eighteen in a layer"
    assert ours["blocks.0.attn.hook_attn_scores"].isneginf().any()
    assert_equal(ours, theirs, [*names, "logits"])


def test_surgery_in_the_weights_is_surgery_at_the_hook_points(tokenizer, tmp_path):
    surgery = Surgery(heads_off=((0, 1),), mlp_off=(1,), attention_off=(2,), positions=False, scale=False)
    model = tiny(surgery, vocab_size=tokenizer.padded_vocab_size, n_layers=3)
    ours, theirs = run_both(model, bridge_of(model, tokenizer, tmp_path), some_ids(model))
    # What is off is zero from its hook point on here, and from its output projection on there; and without the
    # scale the queries are larger there.
    inside = {"blocks.0.attn.hook_z", "blocks.2.attn.hook_result", *(f"blocks.{i}.attn.hook_q" for i in range(3))}
    assert_equal(ours, theirs, set(ours) - inside)


def test_interventions_mean_the_same(tokenizer, tmp_path):
    model = tiny(vocab_size=tokenizer.padded_vocab_size)
    bridge = bridge_of(model, tokenizer, tmp_path)
    ids = some_ids(model)

    def ablate(value, hook):
        value = value.clone()
        value[:, :, 1] = 0
        return value

    with torch.no_grad(), guppy.intervene(model, {"blocks.0.attn.hook_z": guppy.ablate_head(1)}):
        ours = model(ids)
    with torch.no_grad():
        theirs = bridge.run_with_hooks(ids, fwd_hooks=[("blocks.0.attn.hook_z", ablate)])
        assert (theirs - bridge(ids)).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_bridge_reads_the_tokenizer(tokenizer, tmp_path):
    bridge = bridge_of(tiny(vocab_size=tokenizer.padded_vocab_size), tokenizer, tmp_path)
    # TransformerLens puts the beginning of a text before it: a conversation's is <|im_start|>.
    assert bridge.to_tokens("user\nfood")[0].tolist() == tokenizer.encode_chat("food", reply=False)[:-1]
