"""Questions to kept models, and their answers, kept while there is room; safe to ask from many threads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from guppy.errors import GuppyError
from guppy.inspect.asking import Question, Subject
from guppy.inspect.questions import Answer, answer, settings
from guppy.runs import Run
from lab import models
from lab.models import Kept, Prompt, megabytes

NO_PROMPT = Prompt((), [], False)

_answers: Kept[Answer] = Kept(megabytes("GUPPY_ANSWERS_MB", 256))


def ask(run: Run, asked: Question, prompt: Prompt, steps: Sequence[int], options: Mapping[str, str]) -> list[Answer]:
    """What each of the steps answers.

    Raises GuppyError on an option or a checkpoint that is not right, or when it would be more than 128 MB."""
    given = settings(asked, options)
    answers, size = [], 0
    for step in steps:
        answers.append(_one(run, asked, prompt, step, given))
        size += sum(array.nbytes for array in answers[-1].arrays.values())
        if size > models.MAX_BUNDLE:
            raise GuppyError("That is too much at once; ask for fewer steps or a shorter prompt.")
    return answers


def _one(run: Run, asked: Question, prompt: Prompt, step: int, given: dict[str, Any]) -> Answer:
    def make() -> tuple[Answer, int]:
        loaded = models.get_model(run, step)
        ids = torch.tensor(prompt.ids, dtype=torch.int64)
        with nullcontext() if asked.whole else loaded.lock:
            subject = Subject(loaded.model, run.tokenizer, ids, prompt.tokens, run, step)
            made = answer(subject, asked.name, given)
        return made, sum(array.nbytes for array in made.arrays.values()) + len(json.dumps(made.facts))

    return _answers.get((*models.weights_at(run, step), asked.name, prompt.ids, json.dumps(given)), make)


def packed(answers: Sequence[Answer], steps: Sequence[int]) -> tuple[list[dict[str, Any]], bytes]:
    """For each step its facts and what its arrays are; and the arrays, little-endian, each from a multiple of 4 on."""
    described, payload = [], bytearray()
    for step, one in zip(steps, answers, strict=True):
        arrays = []
        for name, array in one.arrays.items():
            sent = _for_browser(array)
            kind = sent.dtype.str[1:]
            arrays.append({"name": name, "dtype": kind, "shape": list(array.shape), "offset": len(payload)})
            payload += sent.tobytes()
            payload += bytes(-len(payload) % 4)
        described.append({"step": step, "facts": one.facts, "arrays": arrays})
    return described, bytes(payload)


# What a browser's typed arrays hold; float64 is more than any screen shows.
_SENT = {"f2": "f2", "f4": "f4", "f8": "f4", "b1": "u1", "u1": "u1", "u2": "u2", "u4": "u4"}


def _for_browser(array: np.ndarray) -> np.ndarray:
    kind = _SENT.get(array.dtype.str[1:], "i4")
    if kind == "i4" and array.size and max(-int(array.min()), int(array.max())) > 2**31 - 1:
        raise GuppyError("These numbers are too large for a browser; take them as NPZ.")
    return np.ascontiguousarray(array, dtype=f"<{kind}")
