"""Guppy: one small language model, whole: data, training, runs on disk, and every number inside."""

from guppy.config import PRESETS, ModelConfig, TrainConfig, preset
from guppy.errors import GuppyError
from guppy.hooks import HookPoint, ablate_head, hook_points, intervene, record, zero
from guppy.model import Guppy
from guppy.surgery import Surgery, operated

__all__ = [
    "PRESETS",
    "Guppy",
    "GuppyError",
    "HookPoint",
    "ModelConfig",
    "Surgery",
    "TrainConfig",
    "ablate_head",
    "hook_points",
    "intervene",
    "operated",
    "preset",
    "record",
    "zero",
]
