"""Guppy: one small language model, whole: data, training, runs on disk, and every number inside.

The names below are loaded when they are first used, so that `python -m guppy --help` need not wait for torch.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# A thread that waits for the others may spin or sleep. Spinning for as long as OpenMP likes to keeps the others from
# finishing on shared cores: two training threads beside one busy process ran 5 times slower so. Sleeping at once costs
# a quarter of the speed on idle ones. So long is as fast as spinning there and costs a third beside a busy process.
# PyTorch's OpenMP reads this once, when it is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "8000")

_HOMES = {
    "guppy.config": ("PRESETS", "ModelConfig", "TrainConfig", "preset"),
    "guppy.corpus": ("Corpus",),
    "guppy.errors": ("GuppyError",),
    "guppy.events": ("Checkpoint", "Control", "Cooldown", "Done", "Eval", "Event", "Ratios", "Sample", "Step"),
    "guppy.generate": ("Generation", "generate", "generate_stream", "next_token_distribution"),
    "guppy.hooks": ("HookPoint", "ablate_head", "hook_points", "intervene", "record", "zero"),
    "guppy.interop.gpt2": ("export_gpt2", "import_gpt2"),
    "guppy.model": ("Guppy",),
    "guppy.personas": ("Persona", "list_personas", "load_persona"),
    "guppy.runs": ("Run", "bundle", "create_run", "fork", "list_runs", "open_run", "resume_run", "train_run"),
    "guppy.surgery": ("Surgery", "operated"),
    "guppy.tokenizer": ("Tokenizer", "train_bpe", "train_char"),
    "guppy.train": ("train",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted([*_HOME, "inspect"])


def __getattr__(name: str) -> Any:
    if name == "inspect":  # guppy.inspect.ask(…) needs no import of its own
        return import_module("guppy.inspect")
    if name not in _HOME:
        raise AttributeError(f"module 'guppy' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Lets `guppy.train` and `guppy.generate` be the functions, though there are modules of these names.

    Importing a module binds it to its package; here that would put it in the place of the function, or not, by the
    order of imports."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
