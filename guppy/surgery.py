"""Surgery: named changes to the network, the same in training and on a finished model.

What a hook point can express exactly is done there; the rest are switches that the model reads. Weights are never
touched, so two models of one seed and different surgery start alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from guppy.errors import GuppyError
from guppy.hooks import Hook, ablate_head, attach, zero

if TYPE_CHECKING:
    from guppy.model import Guppy

NAMES = (
    "no-causal-mask, no-mlp, no-mlp:0,3, no-attention:2, no-head:2.4, no-positions, no-layernorm, no-residual, no-scale"
)


@dataclass(frozen=True)
class Surgery:
    """What is removed from the network. The default removes nothing."""

    causal_mask: bool = True
    mlp_off: tuple[int, ...] = ()
    """Layers whose feed-forward output is zero."""
    attention_off: tuple[int, ...] = ()
    """Layers whose attention output is zero."""
    heads_off: tuple[tuple[int, int], ...] = ()
    """(layer, head) pairs whose output is zero, taken at `hook_z`."""
    positions: bool = True
    layernorm: bool = True
    residual: bool = True
    scale: bool = True
    """Whether attention scores are divided by the square root of d_head."""

    def __bool__(self) -> bool:
        return self != Surgery()

    @property
    def names(self) -> list[str]:
        """The command line's names of what was done; `parse` reads them back."""
        switches = {"no-causal-mask": self.causal_mask, "no-positions": self.positions}
        switches |= {"no-layernorm": self.layernorm, "no-residual": self.residual, "no-scale": self.scale}
        names = [name for name, on in switches.items() if not on]
        if self.mlp_off:
            names.append("no-mlp:" + ",".join(map(str, self.mlp_off)))
        if self.attention_off:
            names.append("no-attention:" + ",".join(map(str, self.attention_off)))
        if self.heads_off:
            names.append("no-head:" + ",".join(f"{layer}.{head}" for layer, head in self.heads_off))
        return names

    @property
    def description(self) -> str:
        """In words, for a person: "no causal mask · no MLP in layers 0, 3"; empty when nothing was done."""
        words = [name.replace("no-", "no ").replace("-", " ") for name in self.names if ":" not in name]
        for layers, part in ((self.mlp_off, "MLP"), (self.attention_off, "attention")):
            if layers:
                plural = "s" if len(layers) > 1 else ""
                words.append(f"no {part} in layer{plural} {', '.join(map(str, layers))}")
        if self.heads_off:
            plural = "s" if len(self.heads_off) > 1 else ""
            words.append(f"no head{plural} " + ", ".join(f"{layer}.{head}" for layer, head in self.heads_off))
        return " · ".join(words)

    @classmethod
    def parse(cls, text: str, n_layers: int, n_heads: int) -> Surgery:
        """Read names separated by commas, such as `no-causal-mask,no-mlp:0,3,no-head:2.4`; `no-mlp` and
        `no-attention` without layers mean all. Raises GuppyError on an unknown name or a part that is not there."""
        off: dict[str, Any] = {"mlp_off": [], "attention_off": [], "heads_off": []}
        switches = {"no-causal-mask": "causal_mask", "no-positions": "positions", "no-layernorm": "layernorm"}
        switches |= {"no-residual": "residual", "no-scale": "scale"}
        # A comma before a digit continues a list of layers; a comma before a letter starts the next name.
        for entry in re.split(r"\s*,\s*(?=[^\d\s])", text.strip()) if text.strip() else []:
            name, _, where = entry.partition(":")
            try:
                if name in switches and not where:
                    off[switches[name]] = False
                elif name in ("no-mlp", "no-attention"):
                    layers = [int(x) for x in where.split(",")] if where else range(n_layers)
                    off["mlp_off" if name == "no-mlp" else "attention_off"] += layers
                elif name == "no-head" and where:
                    heads = [tuple(int(x) for x in pair.split(".")) for pair in where.split(",")]
                    off["heads_off"] += [(layer, head) for layer, head in heads]
                else:
                    raise ValueError
            except ValueError:
                raise GuppyError(f"{entry!r} is not a surgery; the forms are {NAMES}.") from None
        for key in ("mlp_off", "attention_off", "heads_off"):
            off[key] = tuple(sorted(set(off[key])))
        surgery = cls(**off)
        surgery.check(n_layers, n_heads)
        return surgery

    def check(self, n_layers: int, n_heads: int) -> None:
        """Raise GuppyError when a layer or head is named that the model does not have."""
        for layer in (*self.mlp_off, *self.attention_off, *(layer for layer, _ in self.heads_off)):
            if not 0 <= layer < n_layers:
                raise GuppyError(f"There is no layer {layer}; the model has layers 0 to {n_layers - 1}.")
        for layer, head in self.heads_off:
            if not 0 <= head < n_heads:
                raise GuppyError(f"There is no head {layer}.{head}; layer {layer} has heads 0 to {n_heads - 1}.")

    def interventions(self) -> dict[str, Hook]:
        """The part of the surgery that hook points express exactly, as `guppy.intervene` takes it."""
        changes: dict[str, Hook] = {} if self.positions else {"hook_pos_embed": zero}
        changes |= {f"blocks.{layer}.hook_mlp_out": zero for layer in self.mlp_off}
        changes |= {f"blocks.{layer}.hook_attn_out": zero for layer in self.attention_off}
        for layer in sorted({layer for layer, _ in self.heads_off}):
            heads = [head for at, head in self.heads_off if at == layer]
            changes[f"blocks.{layer}.attn.hook_z"] = ablate_head(*heads)
        return changes

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Surgery:
        """Read what `to_dict` wrote, lists for tuples allowed (JSON has no tuples)."""
        values = dict(values)
        for key in ("mlp_off", "attention_off"):
            values[key] = tuple(values.get(key, ()))
        values["heads_off"] = tuple((layer, head) for layer, head in values.get("heads_off", ()))
        try:
            return cls(**values)
        except TypeError as error:
            raise GuppyError(f"This surgery cannot be read: {error}.") from error


def operate(model: Guppy, surgery: Surgery) -> ExitStack:
    """Perform the surgery on a model; closing what is returned undoes it. Raises GuppyError on a missing part."""
    surgery.check(model.config.n_layers, model.config.n_heads)
    undo = ExitStack()

    def switch(module: Any, name: str, value: object) -> None:
        undo.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, value)

    for block in model.blocks:
        if not surgery.causal_mask:
            switch(block.attn, "causal", False)
        if not surgery.scale:
            switch(block.attn, "scale", 1.0)
        if not surgery.residual:
            switch(block, "residual", False)
        if not surgery.layernorm:
            switch(block.ln1, "on", False)
            switch(block.ln2, "on", False)
    if not surgery.layernorm:
        switch(model.ln_final, "on", False)
    undo.enter_context(attach(model, surgery.interventions()))
    return undo


@contextmanager
def operated(model: Guppy, surgery: Surgery) -> Iterator[Guppy]:
    """The model under surgery inside the block, as it was after it; on top of the surgery it was made with."""
    with operate(model, surgery):
        yield model
