"""The transformer: GPT-2's architecture (Radford et al. 2019), read from top to bottom in the order data flows.

Learned positions, LayerNorm before each part, biases everywhere, the unembedding tied to the embedding. Hook points
carry TransformerLens's names. When nothing listens, attention and LayerNorm run through PyTorch's fused kernels (but
attention not in a CPU's bfloat16); when something does, through the formulas as written.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from guppy.cache import KVCache
from guppy.config import ModelConfig
from guppy.errors import GuppyError
from guppy.hooks import HookPoint, hook_points
from guppy.packing import Packing
from guppy.surgery import Surgery, operate

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh")}


class LayerNorm(nn.Module):
    """Centre each vector, divide it by its standard deviation, then scale and shift (Ba et al. 2016)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.bias = nn.Parameter(torch.zeros(config.d_model))
        self.eps = config.ln_eps
        self.on = True
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        if not self.on:
            return x
        if not (self.hook_scale.listened or self.hook_normalized.listened):
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        x = x - x.mean(-1, keepdim=True)
        scale = self.hook_scale((x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())  # (batch, pos, 1)
        return self.hook_normalized(x / scale) * self.weight + self.bias


class Attention(nn.Module):
    """Each position asks (query), every position answers (key) and gives (value): Vaswani et al. 2017, section 3.2."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_heads, self.dropout = layer, config.n_heads, config.dropout
        self.scale = 1 / math.sqrt(config.d_head)
        self.causal = True
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_z, self.hook_result = HookPoint(), HookPoint()

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        visible: Bool[Tensor, "batch 1 query key"] | None,
        cache: KVCache | None = None,
        packing: Packing | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        qkv = self.qkv(x) if packing is None else packing.unpack(self.qkv(x))
        q, k, v = rearrange(qkv, "batch pos (n head d_head) -> n batch pos head d_head", n=3, head=self.n_heads)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)  # (batch, key, head, d_head)
        listened = self.hook_attn_scores.listened or self.hook_pattern.listened
        # The CPU's fused kernel is slow to differentiate in bfloat16: it would be over a third of a step of `fry`.
        explicit = listened or (q.device.type, q.dtype) == ("cpu", torch.bfloat16)
        z = self.hook_z((self.explicit if explicit else self.fused)(q, k, v, visible))  # (batch, pos, head, d_head)
        z = z if packing is None else packing.pack(z)
        if not self.hook_result.listened:
            return self.out(rearrange(z, "batch pos head d_head -> batch pos (head d_head)"))
        w_o = rearrange(self.out.weight, "d_model (head d_head) -> head d_head d_model", head=self.n_heads)
        result = einsum(z, w_o, "batch pos head d_head, head d_head d_model -> batch pos head d_model")
        return self.hook_result(result).sum(-2) + self.out.bias

    def fused(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Float[Tensor, "batch pos head d_head"]:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (batch, head, pos, d_head)
        causal = visible is None and self.causal and q.shape[2] > 1
        p = self.dropout if self.training else 0.0
        z = F.scaled_dot_product_attention(q, k, v, visible, dropout_p=p, is_causal=causal, scale=self.scale)
        return z.transpose(1, 2)

    def explicit(
        self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None
    ) -> Float[Tensor, "batch pos head d_head"]:
        scores = einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key") * self.scale
        if visible is None and self.causal and q.shape[1] > 1:
            visible = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril()
        if visible is not None:
            scores = scores.masked_fill(~visible, -math.inf)
        pattern = self.hook_pattern(self.hook_attn_scores(scores).softmax(-1).to(v.dtype))
        pattern = F.dropout(pattern, self.dropout, self.training)
        return einsum(pattern, v, "batch head query key, batch key head d_head -> batch query head d_head")


class MLP(nn.Module):
    """The feed-forward layer: every position by itself, through d_mlp neurons and back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_mlp)
        self.down = nn.Linear(config.d_mlp, config.d_model)
        self.act = ACTIVATIONS[config.act_fn]
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return self.down(self.hook_post(self.act(self.hook_pre(self.up(x)))))  # d_model -> d_mlp -> d_model


class Block(nn.Module):
    """Attention, then the MLP; each reads the residual stream through a LayerNorm and adds to it what it found."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.ln1, self.attn = LayerNorm(config), Attention(config, layer)
        self.ln2, self.mlp = LayerNorm(config), MLP(config)
        self.dropout, self.residual = config.dropout, True
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_out, self.hook_mlp_out = HookPoint(), HookPoint()

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        visible: Bool[Tensor, "batch 1 query key"] | None = None,
        cache: KVCache | None = None,
        packing: Packing | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(self.add(x, self.hook_attn_out(self.attn(self.ln1(x), visible, cache, packing))))
        return self.hook_resid_post(self.add(x, self.hook_mlp_out(self.mlp(self.ln2(x)))))

    def add(self, stream: Tensor, out: Tensor) -> Float[Tensor, "batch pos d_model"]:
        out = F.dropout(out, self.dropout, self.training)
        return stream + out if self.residual else out


class Guppy(nn.Module):
    """A small GPT-2. Two models of one config and seed start with the same weights, whatever their surgery."""

    def __init__(self, config: ModelConfig, surgery: Surgery | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config, self.surgery = config, surgery or Surgery()
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.pos_embed = nn.Embedding(config.n_ctx, config.d_model)
        self.hook_embed, self.hook_pos_embed = HookPoint(), HookPoint()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.ln_final = LayerNorm(config)
        for name, point in hook_points(self).items():
            point.name = name
        self.init_weights(seed)
        operate(self, self.surgery)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """GPT-2's initialisation but for the embeddings, which are five times as large, and the last gain, a tenth.

        Small embeddings drown in what the first steps add to all of them alike; large ones keep the tokens apart from
        the start. Tied to the output they would start off sure that every token repeats itself; the small gain before
        the output makes the first loss log V again."""
        generator = torch.Generator().manual_seed(seed)
        residual = 0.02 / math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif "ln" not in name:
                std = {"embed": 0.1, "pos_embed": 0.1}.get(name.split(".")[0], 0.02)
                parameter.normal_(0, residual if "out." in name or "down." in name else std, generator=generator)
        self.ln_final.weight.fill_(0.1)

    def forward(
        self,
        ids: Int64[Tensor, "batch pos"],
        cache: KVCache | None = None,
        left_pad: Int64[Tensor, " batch"] | None = None,
        packing: Packing | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the next token at every position.

        `cache` holds the keys and values of the positions before `ids` and grows by them; `left_pad` counts the
        padding tokens at the start of each row; with a `packing` only the tokens that it keeps are computed, see only
        each other, and come back as one row. Raises GuppyError when there are more positions than n_ctx."""
        start = cache.length if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.config.n_ctx:
            raise GuppyError(f"{end} tokens do not fit the context of {self.config.n_ctx}; shorten the text.")
        position = torch.arange(start, end, device=ids.device)[None]  # (1, pos), the same for every row
        visible = None
        if left_pad is not None:
            position = (position - left_pad[:, None]).clamp(min=0)  # (batch, pos)
        if left_pad is not None or (start and ids.shape[1] > 1):
            visible = self.visible(start, end, ids.device, left_pad)
        if packing is not None:
            # With the mask no token sees the padding after it; without, it has to be hidden.
            visible = None if self.causal else packing.inside[:, None, None]
            ids, position = packing.pack(ids), packing.pack(position.expand_as(ids))  # (1, token)
        place = self.pos_embed(position).expand(*ids.shape, -1)
        x = self.hook_embed(self.embed(ids)) + self.hook_pos_embed(place)  # (batch, pos, d_model)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, visible, cache, packing)
        return F.linear(self.ln_final(x), self.embed.weight)  # (batch, pos, vocab)

    def visible(
        self, start: int, end: int, device: torch.device, left_pad: Int64[Tensor, " batch"] | None
    ) -> Bool[Tensor, "batch 1 query key"]:
        """Which keys each query may see: none of the future (with the mask on), no padding, always itself."""
        key, query = torch.arange(end, device=device), torch.arange(start, end, device=device)[:, None]
        seen = key <= query if self.causal else torch.ones_like(key <= query)
        if left_pad is None:
            return seen[None, None]
        return (seen & (key >= left_pad[:, None, None]) | (key == query))[:, None]

    @property
    def causal(self) -> bool:
        return all(block.attn.causal for block in self.blocks)

    @property
    def n_params(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
