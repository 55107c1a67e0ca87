"""What a question to a model is made of: whom it is asked of, what can be set, and what it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Int64
from torch import Tensor

from guppy.model import Guppy
from guppy.tokenizer import Tokenizer

if TYPE_CHECKING:
    from guppy.runs import Run


@dataclass(frozen=True)
class Subject:
    """A model at one step, and one text that it reads."""

    model: Guppy
    tokenizer: Tokenizer
    ids: Int64[Tensor, " pos"]
    """The text as the model reads it; of length 0 where a question needs none."""
    tokens: list[str]
    """The same as text, one string for each position."""
    run: Run | None = None
    """Where the model comes from, for questions that read the run's files."""
    step: int | None = None


@dataclass(frozen=True)
class Option:
    """Something that can be set when a question is asked."""

    name: str
    kind: type
    """int, float, str or bool."""
    default: Any
    about: str
    choices: tuple[str, ...] = ()
    """For a str: the only values there are; empty: any."""


@dataclass(frozen=True)
class Question:
    """Something that can be asked of every model, by its name: on the command line, in a notebook, in the lab."""

    name: str
    about: str
    """One line for a person."""
    ask: Callable[..., Any]
    """ask(subject, **options) -> a dataclass. Its tensors are the answer's arrays, all other fields its facts."""
    hooks: str = ""
    """Where in the model the numbers are read, such as "blocks.{layer}.attn.hook_pattern"."""
    exactness: str = "exact"
    """"exact", or "approximate: " and in what."""
    options: tuple[Option, ...] = ()
    prompt: bool = True
    """Whether it needs a text."""
    whole: bool = False
    """Whether it asks the run, of which it loads the checkpoints that it needs itself: `subject.model` is left alone,
    and others need not wait for it."""
    prepare: Callable[[Run, int, Callable[[int, int], None] | None], Any] | None = None
    """Long work that has to be done once before it can be asked, and is kept with the run: prepare(run, step, progress)
    with progress(done, of). The command line does it; the lab does it in a process of its own, never on a request."""
