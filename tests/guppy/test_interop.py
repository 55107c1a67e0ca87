import json
import os

import pytest
import torch
from networks import TEXTS, some_ids, tiny
from safetensors.torch import load_file, save_file

os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from guppy.errors import GuppyError
from guppy.generate import generate
from guppy.interop.gpt2 import export_gpt2, import_gpt2
from guppy.surgery import Surgery
from guppy.tokenizer import train_bpe, train_char

EXPRESSIBLE = Surgery(mlp_off=(1,), attention_off=(0,), heads_off=((1, 0),), positions=False, scale=False)


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def opened(model, tokenizer, directory, **options):
    return GPT2LMHeadModel.from_pretrained(export_gpt2(model, tokenizer, directory, **options)).eval()


@pytest.mark.parametrize("surgery", [Surgery(), EXPRESSIBLE], ids=["plain", "surgery"])
@pytest.mark.parametrize("act_fn", ["relu", "gelu", "gelu_new"])
@torch.no_grad()
def test_logits_equal_transformers(tokenizer, out, act_fn, surgery):
    model = tiny(surgery, vocab_size=tokenizer.padded_vocab_size, act_fn=act_fn, d_mlp=40, ln_eps=1e-4)
    theirs = opened(model, tokenizer, out)
    ids = some_ids(model)
    torch.testing.assert_close(model(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)
    assert theirs.dtype == torch.float32 and theirs.config.n_inner == 40


def test_every_tensor_is_taken_and_none_is_missing(tokenizer, out):
    model = tiny(vocab_size=tokenizer.padded_vocab_size)
    export_gpt2(model, tokenizer, out)
    _, report = GPT2LMHeadModel.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]


def test_greedy_text_equals_transformers(tokenizer, out):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, n_ctx=64)
    theirs = opened(model, tokenizer, out)
    assert theirs.generation_config.eos_token_id == tokenizer.im_end_id
    prompts = [tokenizer.encode_chat(text) for text in ("food", "is the water warm", "héllo 🐟")]
    for prompt, ours in zip(prompts, generate(model, tokenizer, prompts, max_tokens=24), strict=True):
        out = theirs.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[0, len(prompt) :].tolist()
        assert ours.ids == [token for token in out if token != tokenizer.im_end_id]
        assert ours.stopped == (tokenizer.im_end_id in out)


@pytest.mark.parametrize("train", [lambda: train_bpe(TEXTS, 300), lambda: train_char(TEXTS)], ids=["bpe", "char"])
def test_auto_tokenizer_is_ours(out, train):
    tokenizer = train()
    export_gpt2(tiny(vocab_size=tokenizer.padded_vocab_size), tokenizer, out)
    theirs = AutoTokenizer.from_pretrained(out)
    for text in ("the water", "  spaces  and\nlines\t", "héllo 🐟 ☃", "", "it 's ok .", "\x00\x7f"):
        ids = theirs(text)["input_ids"]
        assert ids == tokenizer.encode(text, specials=True)
        assert theirs.decode(ids) == text
    assert [theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id] == [
        tokenizer.im_start_id,
        tokenizer.im_end_id,
        tokenizer.pad_id,
    ]
    turns = [("user", "hi there\n"), ("assistant", "food?"), ("user", "🐟 ")]
    messages = [{"role": role, "content": text} for role, text in turns]
    for reply in (True, False):
        ids = theirs.apply_chat_template(messages, add_generation_prompt=reply, return_dict=False)
        assert ids == tokenizer.encode_chat(turns, reply=reply)


@torch.no_grad()
def test_what_was_exported_is_imported(tokenizer, out):
    model = tiny(vocab_size=tokenizer.padded_vocab_size, act_fn="gelu", dropout=0.1, ln_eps=1e-6)
    back, tokens = import_gpt2(export_gpt2(model, tokenizer, out))
    assert back.config == model.config and back.surgery == Surgery() and not back.training
    assert tokens.sha256 == tokenizer.sha256
    ours, theirs = model.state_dict(), back.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@torch.no_grad()
def test_surgery_comes_back_in_the_weights(tokenizer, out):
    model = tiny(EXPRESSIBLE, vocab_size=tokenizer.padded_vocab_size)
    back, _ = import_gpt2(export_gpt2(model, tokenizer, out))
    assert back.surgery == Surgery()
    ids = some_ids(model)
    torch.testing.assert_close(back(ids), model(ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [True, False])
@torch.no_grad()
def test_a_gpt2_from_elsewhere(out, scale):
    sizes = {"vocab_size": 70, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 4}
    config = GPT2Config(**sizes, initializer_range=0.3, scale_attn_weights=scale, bos_token_id=0, eos_token_id=0)
    theirs = GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(out)
    model, tokens = import_gpt2(out)
    assert (
        tokens is None
        and model.surgery.scale == scale
        and model.config.act_fn == "gelu_new"
        and model.config.d_mlp == 64
    )
    ids = some_ids(model)
    torch.testing.assert_close(model(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)
    # The oldest files have no prefix, and carry the mask as a buffer.
    old = {k.removeprefix("transformer."): v for k, v in load_file(out / "model.safetensors").items()}
    save_file(old | {"h.0.attn.bias": torch.ones(1, 1, 16, 16)}, out / "model.safetensors")
    assert torch.equal(import_gpt2(out)[0](ids), model(ids))


@pytest.mark.parametrize("surgery", [Surgery(causal_mask=False), Surgery(layernorm=False), Surgery(residual=False)])
def test_what_gpt2_cannot_express_is_said(tokenizer, out, surgery):
    model = tiny(surgery, vocab_size=tokenizer.padded_vocab_size)
    with pytest.raises(GuppyError, match=surgery.description):
        export_gpt2(model, tokenizer, out)
    assert not (out).exists()
    theirs = opened(model, tokenizer, out, force=True)
    ids = some_ids(model)
    plain = tiny(vocab_size=tokenizer.padded_vocab_size)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, plain(ids), rtol=1e-4, atol=1e-4)


def test_a_tokenizer_of_another_run_is_refused(tokenizer, out):
    with pytest.raises(GuppyError, match="own tokenizer"):
        export_gpt2(tiny(vocab_size=64), tokenizer, out)


def test_nothing_half_written_is_left(tokenizer, out, monkeypatch):
    model = tiny(vocab_size=tokenizer.padded_vocab_size)

    def full_disk(path, tensors):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("guppy.interop.gpt2.write_tensors", full_disk)
    with pytest.raises(GuppyError, match="No space left"):
        export_gpt2(model, tokenizer, out)
    assert list(out.parent.iterdir()) == []


def test_a_directory_that_exists_is_left_as_it_is(tokenizer, out):
    out.mkdir()
    with pytest.raises(GuppyError, match="exists already"):
        export_gpt2(tiny(vocab_size=tokenizer.padded_vocab_size), tokenizer, out)
    assert list(out.iterdir()) == []


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda d: (d / "config.json").unlink(), "config.json"),
        (lambda d: (d / "config.json").write_text("{"), "cannot be read"),
        (lambda d: (d / "config.json").write_text("[]"), "not a JSON object"),
        (lambda d: edit(d / "config.json", model_type="llama"), "llama"),
        (lambda d: edit(d / "config.json", activation_function="silu"), "silu"),
        (lambda d: edit(d / "config.json", tie_word_embeddings=False), "tie_word_embeddings"),
        (lambda d: edit(d / "config.json", n_layer=3), "h.2"),
        (lambda d: edit(d / "config.json", n_inner=7), "shapes"),
        (lambda d: edit(d / "config.json", n_head=3), "multiple"),
        (lambda d: (d / "model.safetensors").unlink(), "model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b"\x00" * 50), "corrupt"),
    ],
)
def test_a_broken_directory_is_named(tokenizer, out, breaks, says):
    export_gpt2(tiny(vocab_size=tokenizer.padded_vocab_size), tokenizer, out)
    breaks(out)
    with pytest.raises(GuppyError, match=says):
        import_gpt2(out)


def test_an_untied_head_is_refused(tokenizer, out):
    export_gpt2(tiny(vocab_size=tokenizer.padded_vocab_size), tokenizer, out)
    tensors = load_file(out / "model.safetensors")
    head = tensors["transformer.wte.weight"] + 1
    save_file(tensors | {"lm_head.weight": head}, out / "model.safetensors")
    with pytest.raises(GuppyError, match="tied"):
        import_gpt2(out)
