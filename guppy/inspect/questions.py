"""Every question by its name: asked with options as text or as values, answered with named arrays and facts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from guppy.errors import GuppyError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from guppy.inspect.asking import Option, Question, Subject
    from guppy.runs import Run

# The file of guppy/inspect that answers each question. It is imported, and torch with it, when it is asked.
HOMES = {
    "attention": "attention",
    "scores": "scores",
    "cell": "scores",
    "value-weighted": "value_weighted",
    "rollout": "rollout",
    "flow": "flow",
    "heads": "heads",
    "residual": "residual",
    "lens": "lens",
    "tuned-lens": "tuned_lens",
    "attribution": "attribution",
    "anatomy": "anatomy",
    "explain": "arithmetic",
    "vocabulary": "anatomy",
    "code": "code_lines",
    "matrices": "matrices",
    "circuits": "circuit_answers",
    "token-circuits": "circuit_answers",
    "copying": "circuit_answers",
    "positional-qk": "circuit_answers",
    "positional-reach": "circuit_answers",
    "embedding": "embedding",
    "neighbours": "embedding",
    "positions": "embedding",
    "weights": "weights",
    "next-token": "sampling",
    "tree": "sampling",
    "surprise": "surprise",
    "neurons": "neurons",
    "strongest-neurons": "neurons",
    "neuron": "neurons",
    "neuron-activity": "neuron_activity",
    "neuron-index": "neuron_index",
    "neuron-top": "neuron_index",
    "ablation": "ablation",
    "without": "without",
    "shapley": "shapley",
    "patching": "patching",
    "composition": "composition",
    "memory": "memory",
    "flops": "flops",
    "speed": "flops",
    "weight-path": "weight_path",
    "loss-slice": "weight_path",
    "similarity": "similarity",
    "context-price": "window",
    "position-loss": "window",
    "twins": "twins",
    "eaten": "eaten",
    "lesson": "lesson",
}
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Answer:
    """What came out, ready to be written down."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    """Strings, numbers, and lists and dicts of these."""
    options: dict[str, Any]
    """What the question was asked with, defaults included."""


def names() -> list[str]:
    """The names of all questions."""
    return list(HOMES)


def question(name: str) -> Question:
    """The question of that name. Raises GuppyError, with the nearest names, when there is none."""
    if name not in HOMES:
        raise GuppyError(f"There is no question {name[:40]!r}; {_nearest(name, names())}")
    module = import_module(f"guppy.inspect.{HOMES[name]}")
    return next(each for each in module.QUESTIONS if each.name == name)


def ask(run: str | Path | Run, what: str, prompt: str | None = None, step: int | None = None, **options: Any) -> Any:
    """Ask a run at a step (None: its last): the dataclass of the question `what`, such as `AttentionPatterns`.

    The prompt is read as the run's model reads it, the end of it when it is too long. Raises GuppyError when there is
    no such run, step, question or option, or when a question needs a prompt and has none."""
    from guppy.runs import open_run

    asked = question(what)
    given = settings(asked, options)
    opened = open_run(run)
    about = subject(opened, step, prompt if asked.prompt else None)
    _check_prompt(asked, about)
    return asked.ask(about, **given)


def subject(run: Run, step: int | None, prompt: str | None) -> Subject:
    """A run's model at a step, reading a prompt (None: nothing). Raises GuppyError when the prompt is empty."""
    import torch

    from guppy.inspect.asking import Subject

    step = run.last_step if step is None else step
    ids = [] if prompt is None else run.encode_prompt(prompt)[-run.model_config.n_ctx :]
    if prompt is not None and not ids:
        raise GuppyError("The prompt is empty; give at least one character.")
    tokens = run.tokenizer.token_strings(ids)
    return Subject(run.model(step), run.tokenizer, torch.tensor(ids, dtype=torch.int64), tokens, run, step)


def answer(subject: Subject, name: str, options: Mapping[str, Any]) -> Answer:
    """Ask `subject` the question of that name. Raises GuppyError on an unknown name or option, and as it does."""
    asked = question(name)
    given = settings(asked, options)
    _check_prompt(asked, subject)
    arrays, facts = laid_out(asked.ask(subject, **given))
    return Answer(arrays, facts, given)


def settings(asked: Question, options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a question: what `options` sets, as text or as a value, and defaults.

    Raises GuppyError on an option that it has not, or a value that does not fit."""
    known = {option.name: option for option in asked.options}
    for name in options:
        if name not in known:
            there = _nearest(name, list(known)) if known else "it has none."
            raise GuppyError(f"The question {asked.name!r} has no option {name[:40]!r}; {there}")
    return {name: _value(option, options.get(name)) for name, option in known.items()}


def laid_out(result: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the facts of a dataclass: tensors of at least one dimension, and all else. None is left out."""
    import numpy as np
    from torch import Tensor, bfloat16

    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = (value.float() if value.dtype == bfloat16 else value).numpy()
        if isinstance(value, np.ndarray | np.generic) and not value.ndim:
            value = value.item()
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif value is not None:
            facts[field.name] = value
    return arrays, facts


def _check_prompt(asked: Question, subject: Subject) -> None:
    if asked.prompt and not len(subject.ids):
        raise GuppyError(f"The question {asked.name!r} needs a prompt; give at least one character.")


def _value(option: Option, given: Any) -> Any:
    """What was given as the kind it should be; nothing is the default."""
    if given is None or (given == "" and option.kind is not str):
        return option.default
    text = str(given).strip()
    try:
        if option.kind is bool:
            return _truth(text)
        value = option.kind(given if option.kind is str else text)
        if option.kind is float and not math.isfinite(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        kind = {int: "a whole number", float: "a number", bool: "true or false"}[option.kind]
        raise GuppyError(f"The option {option.name!r} must be {kind}, not {text[:40]!r}.") from None
    if option.choices and value not in option.choices:
        there = _nearest(text, list(option.choices))
        raise GuppyError(f"The option {option.name!r} cannot be {text[:40]!r}; {there}")
    return value


def _truth(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise ValueError
    return text.lower() in _YES


def _nearest(name: str, there: list[str]) -> str:
    near = get_close_matches(name, there, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"choose {', '.join(there)}."
