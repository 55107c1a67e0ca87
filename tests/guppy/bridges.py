"""Our models opened in TransformerLens, with the same weights. Importing that is slow, so only a few tests do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from guppy.interop.gpt2 import export_gpt2
from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"


def bridge_of(model: Guppy, tokenizer: Tokenizer, directory: Path, **mode: Any) -> Any:
    """A TransformerBridge; `mode` as its compatibility mode takes it (default: weights as they are)."""
    bridges = pytest.importorskip("transformer_lens.model_bridge")
    bridge = bridges.TransformerBridge.boot_transformers(str(export_gpt2(model, tokenizer, directory / "out")))
    bridge.set_use_attn_result(True)
    bridge.enable_compatibility_mode(**mode or {"no_processing": True})
    return bridge.eval()
