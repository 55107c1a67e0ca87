"""Small networks for the tests, with no weight left at a value that would hide a mistake (such as a zero bias)."""

from __future__ import annotations

from typing import Any

import torch

from guppy.config import ModelConfig
from guppy.model import Guppy
from guppy.surgery import Surgery

TEXTS = ["the water is warm today", "i like food and light", "héllo 🐟 in the tank"] * 3


def tiny(surgery: Surgery | None = None, seed: int = 0, **changes: Any) -> Guppy:
    """A model in eval mode whose every weight, bias and gain is random and large enough to matter."""
    sizes = {"vocab_size": 64, "n_ctx": 16, "n_layers": 2, "n_heads": 2, "d_model": 16, "d_mlp": 24}
    return scrambled(Guppy(ModelConfig(**{**sizes, **changes}), surgery), seed)


@torch.no_grad()
def scrambled(model: Guppy, seed: int = 0) -> Guppy:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        spread = 0.2 if name.endswith("bias") or "ln" in name else 0.3
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        if "ln" in name and name.endswith("weight"):
            parameter += 1
    return model.eval()


def some_ids(model: Guppy, batch: int = 3, pos: int = 11, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (batch, pos), generator=generator)
