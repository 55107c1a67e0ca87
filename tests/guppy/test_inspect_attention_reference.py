"""What is asked of attention, beside TransformerLens's own answers on the same weights."""

import os

import pytest
import torch
from networks import TEXTS, tiny

from guppy.inspect.head_texts import CONVERSATIONS, Row
from guppy.inspect.heads import looked_at, score
from guppy.inspect.scores import scores
from guppy.inspect.value_weighted import value_weighted
from guppy.interop.gpt2 import export_gpt2
from guppy.tokenizer import train_bpe

os.environ["HF_HUB_OFFLINE"] = "1"
TransformerBridge = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge
from transformer_lens import head_detector  # noqa: E402


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A model and the same weights in TransformerLens."""
    tokenizer = train_bpe([*TEXTS, *(" ".join(each) for each in CONVERSATIONS)], 320)
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=3, n_ctx=64)
    exported = export_gpt2(model, tokenizer, tmp_path_factory.mktemp("gpt2") / "out")
    bridge = TransformerBridge.boot_transformers(str(exported))
    bridge.set_use_attn_result(True)
    bridge.enable_compatibility_mode(no_processing=True)
    return model, bridge.eval()


def read(bridge, text):
    ids = bridge.to_tokens(text)[0]
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids[None])
    return ids, cache


def test_scores(both):
    model, bridge = both
    ids, cache = read(bridge, "the water is warm, the water is light")
    theirs = torch.stack([cache[f"blocks.{layer}.attn.hook_attn_scores"][0] for layer in range(3)])
    torch.testing.assert_close(scores(model, ids).scores, theirs, rtol=1e-4, atol=1e-4)


def test_value_weighted(both):
    model, bridge = both
    ids, cache = read(bridge, "the water is warm, the water is light")
    found = value_weighted(model, ids)
    for layer in range(3):
        pattern, v = cache[f"blocks.{layer}.attn.hook_pattern"][0], cache[f"blocks.{layer}.attn.hook_v"][0]
        given = torch.einsum("hqk,khd,hdm->hqkm", pattern, v, bridge.W_O[layer].detach())
        torch.testing.assert_close(given.sum(2), cache[f"blocks.{layer}.attn.hook_result"][0].transpose(0, 1))
        torch.testing.assert_close(found.norms[layer], given.norm(dim=-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["previous token", "duplicate token", "induction"])
@pytest.mark.parametrize("text", ["the water is warm, the water is light, the water", "a a a b b a"])
def test_head_detector(both, kind, text):
    _, bridge = both
    ids, cache = read(bridge, text)
    name = kind.replace(" ", "_").removesuffix("_token") + ("_head" if kind == "induction" else "_token_head")
    row = Row(ids, *(torch.zeros(len(ids), dtype=torch.bool) for _ in range(4)))
    pattern = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"][0] for layer in range(3)])
    wanted = looked_at(kind, row) & torch.ones(len(ids), len(ids)).tril().bool()
    theirs = getattr(head_detector, f"get_{name}_detection_pattern")(ids[None])
    assert torch.equal(wanted.float(), theirs)
    # Theirs also counts the positions that have nothing to find.
    share = wanted.any(-1).float().mean()
    detected = head_detector.detect_head(bridge, text, name)
    torch.testing.assert_close(score(kind, pattern, row) * share, detected, rtol=1e-4, atol=1e-5)
