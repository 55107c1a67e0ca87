"""Answers as files: lists for JSON, NPZ, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from guppy.errors import GuppyError

MOST_VALUES = 2_000_000
"""Numbers that are written as text; NPZ takes any count."""


def as_lists(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Nested lists, each number with as many digits as tell it from its neighbours.

    Raises GuppyError when there are more than MOST_VALUES numbers."""
    _check(arrays, "JSON")
    return {name: _shortest(array).tolist() for name, array in arrays.items()}


def json_text(value: Mapping[str, Any]) -> str:
    """JSON, with null for the numbers that it has no word for: masked scores are minus infinity."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None))


def npz_bytes(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file of the arrays, and of the facts beside them: plain ones as arrays, nested ones as JSON."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**{name: _as_array(value) for name, value in facts.items()}, **arrays})
    return buffer.getvalue()


def csv_text(arrays: Mapping[str, np.ndarray]) -> str:
    """A line for each number: which array, where in it, and the number.

    Raises GuppyError when there are more than MOST_VALUES numbers."""
    _check(arrays, "CSV")
    most = max((array.ndim for array in arrays.values()), default=0)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["array", *(f"index_{axis}" for axis in range(most)), "value"])
    for name, array in arrays.items():
        rest = [""] * (most - array.ndim)
        for index, value in zip(np.ndindex(array.shape), _shortest(array).ravel().tolist(), strict=True):
            writer.writerow([name, *index, *rest, value])
    return text.getvalue()


def _check(arrays: Mapping[str, np.ndarray], kind: str) -> None:
    count = sum(array.size for array in arrays.values())
    if count > MOST_VALUES:
        raise GuppyError(f"These are {count:,} numbers, too many for {kind}; take NPZ, or a shorter prompt.")


def _shortest(array: np.ndarray) -> np.ndarray:
    """Python prints a float32 as if it were a float64, with nine digits that say nothing."""
    return array.astype(str).astype(np.float64) if array.dtype in (np.float32, np.float16) else array


def _as_array(value: Any) -> Any:
    if isinstance(value, list | tuple):
        kinds = {type(each) for each in value}
        if not kinds:
            return np.array([], dtype=str)  # numpy would take an empty list of names for one of numbers
        if kinds <= {str} or kinds <= {int, float, bool}:
            return np.array(value)
    if value is None or isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return value
