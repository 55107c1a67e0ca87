"""Tensors in safetensors files: with a checksum, and checked against what they should be when they are read."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from guppy.errors import GuppyError
from guppy.runs.files import write_bytes


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file as one event. Its metadata holds a CRC-32, which the format itself lacks."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # One entry: of several, safetensors writes now one, now the other first, and equal tensors would be unequal files.
    write_bytes(path, save(tensors, metadata={"crc32": _checksum(tensors)}))


def read_tensors(path: Path, mend: str) -> dict[str, Tensor]:
    """Every tensor of a file, as copies. Raises GuppyError, which ends in `mend`, when any of it is damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # Clones: the file is mapped into memory, and it may be replaced while the tensors live on.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            checksum = (file.metadata() or {}).get("crc32")
    except FileNotFoundError:
        raise GuppyError(f"{path} is missing; {mend}.") from None
    except (OSError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise GuppyError(f"{path} is truncated or corrupt ({str(error).splitlines()[0]}); {mend}.") from None
    if checksum is not None and checksum != _checksum(tensors):
        raise GuppyError(f"{path} is corrupt (its checksum does not match); {mend}.")
    return tensors


def check_tensors(
    path: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], dtype: torch.dtype, mend: str
) -> None:
    """Raise GuppyError, which ends in `mend`, unless the tensors have just these names and shapes and this dtype."""
    problem = ""
    if missing := sorted(set(shapes) - set(tensors)):
        problem = f"it lacks {missing[0]}"
    elif extra := sorted(set(tensors) - set(shapes)):
        problem = f"it has {extra[0]}, which the model does not"
    for name, tensor in tensors.items():
        if not problem and tensor.shape != shapes[name]:
            problem = f"{name} has the shape {list(tensor.shape)} instead of {list(shapes[name])}"
        if not problem and tensor.dtype != dtype:
            problem = f"{name} is {str(tensor.dtype).removeprefix('torch.')}"
    if problem:
        raise GuppyError(f"{path} does not fit the run's manifest: {problem}; {mend}.")


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"
