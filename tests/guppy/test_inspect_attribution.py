"""Direct logit attribution: its sum, TransformerLens's, and what a logit loses when one part alone is missing."""

import pytest
import torch
from bridges import bridge_of
from networks import TEXTS, some_ids, tiny

from guppy.errors import GuppyError
from guppy.hooks import intervene, record
from guppy.inspect.attribution import attribution, token_named
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe

SURGERIES = [
    Surgery(),
    Surgery(layernorm=False),
    Surgery(residual=False),
    Surgery(positions=False),
    Surgery(mlp_off=(0,), attention_off=(1,), heads_off=((0, 1),)),
    Surgery(causal_mask=False, scale=False),
    Surgery(residual=False, layernorm=False, mlp_off=(1,)),
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


@pytest.mark.parametrize("folded", [False, True], ids=["weights as they are", "weights folded and centred"])
def test_parts_are_transformer_lenses(tokenizer, tmp_path, folded):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_layers=3)
    mode = {"fold_value_biases": False} if folded else {"no_processing": True}
    if not folded:  # its logit_attrs leaves out gain and bias, which it expects to be folded into the unembedding
        with torch.no_grad():
            model.ln_final.weight.fill_(1)
            model.ln_final.bias.zero_()
    ids = some_ids(model, batch=1)
    found = attribution(model, ids[0], token=17, against=40)
    bridge = bridge_of(model, tokenizer, tmp_path, **mode)
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(ids)
        pair = {"tokens": torch.tensor([17]), "incorrect_tokens": torch.tensor([40])}
        parts = cache.logit_attrs(cache.decompose_resid(mode="all"), **pair)[:, 0]  # (component, pos)
        heads = cache.logit_attrs(cache.stack_head_results(), **pair)[:, 0].unflatten(0, (3, 2))
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(found.logit, logits[0, :, 17] - logits[0, :, 40], **close)
    torch.testing.assert_close(found.embed, parts[0], **close)
    torch.testing.assert_close(found.pos_embed, parts[1], **close)
    torch.testing.assert_close(found.heads.sum(1) + found.attn_bias, parts[2:8:2], **close)
    torch.testing.assert_close(found.mlp + found.mlp_bias, parts[3:8:2], **close)
    torch.testing.assert_close(found.heads, heads, **close)


@pytest.mark.parametrize("surgery", SURGERIES, ids=lambda surgery: ",".join(surgery.names) or "none")
@pytest.mark.parametrize("difference", [True, False])
def test_the_parts_add_up_to_the_models_own_logit(surgery, difference):
    model = tiny(surgery, n_layers=2)
    ids = some_ids(model, batch=1)[0]
    found = attribution(model, ids, difference=difference)
    with torch.no_grad():
        logits = model(ids[None])[0]
    top = logits.sort(descending=True).values
    torch.testing.assert_close(found.logit, top[:, 0] - top[:, 1] if difference else top[:, 0])
    parts = found.embed + found.pos_embed + found.heads.sum((0, 1)) + found.attn_bias.sum(0)
    parts = parts + found.mlp.sum(0) + found.mlp_bias.sum(0) + found.ln_bias
    assert found.error == (found.total - found.logit).abs().max()
    assert (parts - found.logit).abs().max() < 1e-4 and found.error < 1e-4
    zero = found.pos_embed if not surgery.positions else found.mlp[list(surgery.mlp_off)]
    assert zero.abs().sum() == 0
    assert all(found.heads[layer, head].abs().sum() == 0 for layer, head in surgery.heads_off)
    assert found.attn_bias[list(surgery.attention_off)].abs().sum() == 0
    assert surgery.residual or found.embed.abs().sum() + found.heads.abs().sum() == 0
    assert surgery.layernorm or (found.ln_bias.abs().sum() == 0 and (found.scale == 1).all())


@pytest.mark.parametrize("surgery", [Surgery(), Surgery(layernorm=False)], ids=["none", "no-layernorm"])
def test_a_part_is_what_the_logit_loses_without_it_and_all_else_held(surgery):
    """Everything that is added, and the final scale, is put back as it was; then one part is taken away."""
    model = tiny(surgery)
    ids = some_ids(model, batch=1)
    found = attribution(model, ids[0], token=3, against=9)
    with torch.no_grad(), record(model) as tape:
        before = model(ids)[0]
    held = [name for name in tape if name.endswith(("_out", "ln_final.hook_scale", "embed"))]

    def without(at, part):
        changes = [(name, lambda value, point: tape[point.name]) for name in held]
        changes.append((at, lambda value, point: value - part))
        with torch.no_grad(), intervene(model, changes):
            lost = before - model(ids)[0]
        return lost[:, 3] - lost[:, 9]

    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(without("hook_embed", tape["hook_embed"]), found.embed, **close)
    torch.testing.assert_close(without("hook_pos_embed", tape["hook_pos_embed"]), found.pos_embed, **close)
    for layer, block in enumerate(model.blocks):
        z, post = tape[f"blocks.{layer}.attn.hook_z"], tape[f"blocks.{layer}.mlp.hook_post"]
        for head in range(2):
            written = z[:, :, head] @ block.attn.out.weight[:, 8 * head : 8 * head + 8].T
            torch.testing.assert_close(
                without(f"blocks.{layer}.hook_attn_out", written), found.heads[layer, head], **close
            )
        bias = block.attn.out.bias.expand(1, 11, -1)
        torch.testing.assert_close(without(f"blocks.{layer}.hook_attn_out", bias), found.attn_bias[layer], **close)
        bias = block.mlp.down.bias.expand(1, 11, -1)
        torch.testing.assert_close(without(f"blocks.{layer}.hook_mlp_out", bias), found.mlp_bias[layer], **close)
        neurons = post @ block.mlp.down.weight.T
        torch.testing.assert_close(without(f"blocks.{layer}.hook_mlp_out", neurons), found.mlp[layer], **close)
    for pos in (0, 7):  # the neurons that are named are the largest, and write what they are said to
        parts = {}
        for layer, block in enumerate(model.blocks):
            for neuron in range(24):
                activation = tape[f"blocks.{layer}.mlp.hook_post"][:, :, neuron, None]
                written = activation * block.mlp.down.weight[:, neuron]
                if activation[0, pos]:
                    parts[layer, neuron] = without(f"blocks.{layer}.hook_mlp_out", written)[pos].item()
        largest = sorted(parts, key=lambda at: -abs(parts[at]))[:5]
        assert list(zip(found.neuron_layer[pos, :5].tolist(), found.neuron[pos, :5].tolist(), strict=True)) == largest
        expected = torch.tensor([parts[at] for at in largest])
        torch.testing.assert_close(found.neuron_part[pos, :5], expected, **close)
        first = tape[f"blocks.{largest[0][0]}.mlp.hook_post"][0, pos, largest[0][1]]
        torch.testing.assert_close(found.neuron_activation[pos, 0], first)


def test_which_tokens_are_compared():
    model = tiny()
    ids = some_ids(model, batch=1)[0]
    with torch.no_grad():
        order = model(ids[None])[0].argsort(descending=True)
    best, second = order[:, 0], order[:, 1]
    found = attribution(model, ids)
    assert torch.equal(found.token, best) and torch.equal(found.against, second)
    assert torch.equal(found.top_ids, order[:, :10])
    torch.testing.assert_close(found.top_probs.sum(-1) < 1, torch.ones(11, dtype=torch.bool))
    given = int(best[4])
    found = attribution(model, ids, token=given)
    assert (found.token == given).all() and found.against[4] == second[4]
    assert (found.against == torch.where(best == given, second, best)).all()
    found = attribution(model, ids, against=given)
    assert (found.against == given).all() and torch.equal(found.token, torch.where(best == given, second, best))
    found = attribution(model, ids, token=given, difference=False)
    assert (found.token == given).all() and (found.against == -1).all()


def test_what_cannot_be_asked():
    model = tiny()
    ids = some_ids(model, batch=1)[0]
    with pytest.raises(GuppyError, match="no token 64"):
        attribution(model, ids, token=64)
    with pytest.raises(GuppyError, match="same"):
        attribution(model, ids, token=3, against=3)
    with pytest.raises(GuppyError, match="-1 neurons"):
        attribution(model, ids, neurons=-1)
    assert attribution(model, ids, neurons=0).neuron.shape == (11, 0)
    assert attribution(model, ids, neurons=1000).neuron.shape == (11, 48)


def test_tokens_are_named_by_text_or_id(tokenizer):
    assert token_named(tokenizer, "") is None
    assert token_named(tokenizer, "#17") == 17
    assert token_named(tokenizer, "<|im_end|>") == tokenizer.im_end_id
    (food,) = tokenizer.encode(" food")
    assert token_named(tokenizer, " food") == food
    with pytest.raises(GuppyError, match="is 2 tokens"):
        token_named(tokenizer, " food food")
