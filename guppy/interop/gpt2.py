"""A guppy is a GPT-2: out to the directory that `transformers` and TransformerLens open as it is, and back.

GPT-2 keeps its linear weights as [in, out] ("Conv1D") where PyTorch's Linear keeps [out, in]; the rest is names.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from guppy.config import ModelConfig
from guppy.errors import GuppyError
from guppy.model import Guppy
from guppy.runs import files
from guppy.runs.tensors import read_tensors, write_tensors
from guppy.surgery import Surgery
from guppy.tokenizer import Tokenizer

LINEAR = {"attn.qkv": "attn.c_attn", "attn.out": "attn.c_proj", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
NORMS = {"ln1": "ln_1", "ln2": "ln_2"}
# GPT-2's name of each activation, and other names of the same functions that configs carry.
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}

# ChatML as Tokenizer.encode_chat writes it.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '\\n' if not loop.first else '' }}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}"
)


def export_gpt2(model: Guppy, tokenizer: Tokenizer, out_dir: str | Path, *, force: bool = False) -> Path:
    """Write `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`
    for `GPT2LMHeadModel`, `AutoTokenizer` and TransformerLens, into a new directory that appears whole; returns it.

    Weights are float32. The embedding keeps its padded rows, so logits have the same width as the model's.
    Surgery that weights can express is put into them: heads, MLPs and attention layers off become zeros in their
    output projections, positions off zero positions, scale off queries that are larger by as much. Raises GuppyError
    for surgery that GPT-2 cannot express, unless `force`: then it is left out, and an ordinary GPT-2 is written; and
    when the directory exists or cannot be written.
    """
    surgery = model.surgery
    foreign = Surgery(causal_mask=surgery.causal_mask, layernorm=surgery.layernorm, residual=surgery.residual)
    if foreign and not force:
        raise GuppyError(
            f"GPT-2 cannot be built with {foreign.description}; choose a run without it, "
            "or force the export to leave that out."
        )
    if tokenizer.vocab_size > model.config.vocab_size:
        raise GuppyError(
            f"The tokenizer has {tokenizer.vocab_size} tokens and the model {model.config.vocab_size}; "
            "use the run's own tokenizer."
        )
    out = Path(out_dir)
    if out.exists():
        raise GuppyError(f"{out} exists already; choose another directory.")
    state = _with_surgery(model)
    tensors = {
        f"transformer.{theirs}": state[ours].T if turn else state[ours]
        for ours, theirs, turn in _names(model.config.n_layers)
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=files.UNFINISHED, dir=out.parent) as temporary:
            draft = Path(temporary) / out.name
            draft.mkdir()
            tokenizer.save(draft / files.TOKENIZER)
            files.write_json(draft / "tokenizer_config.json", _tokenizer_config(tokenizer, model.config))
            files.write_json(draft / "generation_config.json", _special_ids(tokenizer))
            files.write_json(draft / "config.json", _to_config(model.config) | _special_ids(tokenizer))
            write_tensors(draft / files.WEIGHTS, tensors)
            draft.rename(out)
    except OSError as error:
        raise GuppyError(f"{out} cannot be written ({error}); choose another directory or make room.") from error
    return out


def import_gpt2(directory: str | Path) -> tuple[Guppy, Tokenizer | None]:
    """Read what `export_gpt2` or `GPT2LMHeadModel.save_pretrained` wrote: the model in eval mode, and the tokenizer
    when there is one that guppy can use (byte-level or byte-fallback BPE with ChatML's tokens), else None.

    Raises GuppyError when a file is missing or broken, or the network is not plain GPT-2. Pickles are not opened."""
    directory = Path(directory)
    values = files.read_json(directory / "config.json", "give a directory that holds a GPT-2")
    config, surgery = _from_config(values)
    model = Guppy(config, surgery)
    path = directory / files.WEIGHTS
    tensors = read_tensors(path, "save the model as safetensors, or copy it again")
    # The oldest files leave the prefix out.
    tensors = {name.removeprefix("transformer."): tensor.float() for name, tensor in tensors.items()}
    try:
        if not torch.equal(tensors.get("lm_head.weight", tensors["wte.weight"]), tensors["wte.weight"]):
            raise GuppyError(f"{path} has an unembedding of its own; guppy's is tied to the embedding.")
        names = list(_names(config.n_layers))
        model.load_state_dict({ours: tensors[theirs].T if turn else tensors[theirs] for ours, theirs, turn in names})
    except KeyError as error:
        raise GuppyError(f"{path} has no tensor {error}; it is not the GPT-2 that config.json describes.") from error
    except RuntimeError as error:
        raise GuppyError(f"The shapes in {path} are not those of config.json; copy both again.") from error
    try:
        tokenizer = Tokenizer.load(directory / files.TOKENIZER)
    except GuppyError:
        tokenizer = None
    return model.eval(), tokenizer


def _names(n_layers: int) -> Iterator[tuple[str, str, bool]]:
    """(guppy's name, GPT-2's name under `transformer.`, whether one is the other's transpose) of each tensor."""
    yield "embed.weight", "wte.weight", False
    yield "pos_embed.weight", "wpe.weight", False
    for layer in range(n_layers):
        for ours, theirs in (NORMS | LINEAR).items():
            for part in ("weight", "bias"):
                yield f"blocks.{layer}.{ours}.{part}", f"h.{layer}.{theirs}.{part}", part == "weight" and ours in LINEAR
    for part in ("weight", "bias"):
        yield f"ln_final.{part}", f"ln_f.{part}", False


def _with_surgery(model: Guppy) -> dict[str, Float[Tensor, ...]]:
    """The weights in float32 on the CPU, changed so that they do without switches what the surgery did with them."""
    state = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in model.state_dict().items()}
    surgery, d_head = model.surgery, model.config.d_head
    if not surgery.positions:
        state["pos_embed.weight"].zero_()
    for layer in surgery.mlp_off:
        state[f"blocks.{layer}.mlp.down.weight"].zero_()
        state[f"blocks.{layer}.mlp.down.bias"].zero_()
    for layer in surgery.attention_off:
        state[f"blocks.{layer}.attn.out.weight"].zero_()
        state[f"blocks.{layer}.attn.out.bias"].zero_()
    for layer, head in surgery.heads_off:
        state[f"blocks.{layer}.attn.out.weight"][:, head * d_head : (head + 1) * d_head] = 0
    if not surgery.scale:
        # GPT-2's own switch, scale_attn_weights, is not read by every tool; in the queries it cannot be missed.
        for layer in range(model.config.n_layers):
            for part in ("weight", "bias"):
                state[f"blocks.{layer}.attn.qkv.{part}"][: model.config.d_model] *= math.sqrt(d_head)
    return state


def _to_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.n_ctx,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_mlp,
        "activation_function": config.act_fn,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "layer_norm_epsilon": config.ln_eps,
        "tie_word_embeddings": True,
    }


def _from_config(values: dict[str, Any]) -> tuple[ModelConfig, Surgery]:
    """The inverse of `_to_config`; what a GPT-2 config leaves out has GPT-2's default. Dropout is the residual's."""
    for name, plain in {
        "model_type": "gpt2",
        "tie_word_embeddings": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }.items():
        if values.get(name, plain) != plain:
            raise GuppyError(f"This model has {name} = {values[name]!r}; guppy reads GPT-2 with {plain!r}.")
    activation = values.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise GuppyError(f"This model's activation is {activation!r}; guppy has {', '.join(ACTIVATIONS)}.")
    width = values.get("n_embd", 768)
    config = ModelConfig(
        vocab_size=values.get("vocab_size", 50257),
        n_ctx=values.get("n_positions", 1024),
        n_layers=values.get("n_layer", 12),
        n_heads=values.get("n_head", 12),
        d_model=width,
        d_mlp=values.get("n_inner") or 4 * width,
        act_fn=ACTIVATIONS[activation],
        dropout=values.get("resid_pdrop", 0.1),
        ln_eps=values.get("layer_norm_epsilon", 1e-5),
    )
    return config, Surgery(scale=values.get("scale_attn_weights", True))


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    # A conversation begins with <|im_start|>; without a bos_token TransformerLens would put <|im_end|> before a text.
    return {
        "bos_token_id": tokenizer.im_start_id,
        "eos_token_id": tokenizer.im_end_id,
        "pad_token_id": tokenizer.pad_id,
    }


def _tokenizer_config(tokenizer: Tokenizer, config: ModelConfig) -> dict[str, Any]:
    pad, start, end = tokenizer.token_strings([tokenizer.pad_id, tokenizer.im_start_id, tokenizer.im_end_id])
    return {
        # The class that takes tokenizer.json as it is, pre-tokenizer and decoder included.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": start,
        "eos_token": end,
        "pad_token": pad,
        "model_max_length": config.n_ctx,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
