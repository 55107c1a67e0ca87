"""Loaded models and what was computed from them, kept while there is room; safe to ask from many threads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import UInt16

from guppy.errors import GuppyError
from guppy.generate import check_sampling, generate, generate_stream
from guppy.inspect.attention import patterns
from guppy.model import Guppy
from guppy.runs import Run, files, find_run, open_run

# Several small forward passes side by side beat each of them spread over all cores, above all while a worker trains.
torch.set_num_threads(1)

Value = TypeVar("Value")

RESOLUTION = 65535
"""Attention probabilities travel as whole multiples of 1/65535."""
MAX_PROMPT = 20_000
"""Characters of a prompt that are looked at, counted from its end: far more than any context holds."""
MAX_BUNDLE = 128 * 2**20
REPLY_TOKENS = 64


class Kept(Generic[Value]):
    """Values by key, the least recently used dropped when their sizes together pass `capacity` bytes.

    A missing value is made by the first thread that asks, while others that ask for it wait. A failure is raised to
    all of them and not kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.size = capacity, 0
        self._entries: OrderedDict[Hashable, tuple[Future[Value], int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], tuple[Value, int]]) -> Value:
        """The value of `key`, or what `make()` returns for it: the value and its size in bytes."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                future: Future[Value] = Future()
                self._entries[key] = (future, 0)
            else:
                self._entries.move_to_end(key)
        if found is not None:
            return found[0].result()
        try:
            value, size = make()
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            future.set_exception(error)
            raise
        with self._lock:
            self._entries[key] = (future, size)
            self.size += size
            self._drop_oldest(but=key)
        future.set_result(value)
        return value

    def _drop_oldest(self, but: Hashable) -> None:
        for key in list(self._entries):
            if self.size <= self.capacity:
                return
            size = self._entries[key][1]
            if size and key != but:  # what is still being made has no size yet
                del self._entries[key]
                self.size -= size

    def __len__(self) -> int:
        return len(self._entries)


@dataclass
class Loaded:
    """A run at one step. Hold `lock` around anything that hooks the model or runs it: hooks see every caller."""

    run: Run
    step: int
    model: Guppy
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Prompt:
    """What the model reads."""

    ids: tuple[int, ...]
    tokens: list[str]
    cut: bool
    """Whether only the end of it fits the context."""


@dataclass(frozen=True)
class Piece:
    """A part of a reply as it is spoken."""

    text: str
    note: str
    """What of the conversation the model could not read; empty when it read all of it."""


@dataclass(frozen=True)
class Reply:
    step: int
    text: str
    slid: bool
    """Whether the context was too short, so that the beginning was forgotten on the way."""
    stopped: bool
    """Whether the model ended its turn by itself."""


def megabytes(name: str, default: int) -> int:
    """What a variable of the environment grants, in bytes."""
    return int(os.environ.get(name, default)) * 2**20


_runs: Kept[Run] = Kept(megabytes("GUPPY_RUNS_MB", 64))
_models: Kept[Loaded] = Kept(megabytes("GUPPY_MODELS_MB", 1024))
_patterns: Kept[UInt16[np.ndarray, "layer head query key"]] = Kept(megabytes("GUPPY_PATTERNS_MB", 256))
_replies: Kept[Reply] = Kept(megabytes("GUPPY_REPLIES_MB", 16))


def get_run(run_id: str) -> Run:
    """The run of that id, read again when its manifest has changed. Raises GuppyError when there is none."""
    path = find_run(run_id)
    return _runs.get((path, _changed(path / files.MANIFEST)), lambda: (open_run(path), 2**20))


def looked_at(view: dict[str, Any] | None) -> tuple[Run, int]:
    """The run and the step that a page's frame shows. Raises GuppyError when one of them is not there, TypeError or
    ValueError when the step is no number."""
    run = get_run(str((view or {}).get("run") or ""))
    step = (view or {}).get("step")
    step = run.last_step if step is None else int(step)
    run.step_path(step)
    return run, step


def get_model(run: Run, step: int) -> Loaded:
    """The run's model at that step. Raises GuppyError when there is no such step or its file cannot be read."""

    def load() -> tuple[Loaded, int]:
        model = run.model(step=step)
        return Loaded(run, step, model), sum(p.numel() * p.element_size() for p in model.parameters())

    return _models.get(weights_at(run, step), load)


def read_prompt(run: Run, text: str) -> Prompt:
    """The prompt as the run's model reads it: a user's turn and the header of the reply, or plain text for a run
    trained on plain text. Raises GuppyError when plain text is empty."""
    cut = len(text) > MAX_PROMPT
    text = text[-MAX_PROMPT:]
    ids = run.tokenizer.encode_chat(text) if is_chat(run) else run.tokenizer.encode(text)
    if not ids:
        raise GuppyError("The prompt is empty; type at least one character.")
    n_ctx = run.model_config.n_ctx
    cut, ids = cut or len(ids) > n_ctx, ids[-n_ctx:]
    return Prompt(tuple(ids), run.tokenizer.token_strings(ids), cut)


def is_chat(run: Run) -> bool:
    """Whether the run learned conversations, rather than plain text."""
    corpus = run.manifest["corpus"]
    return corpus.get("chat", corpus.get("kind") == "persona")


def read_steps(run: Run, text: str) -> list[int]:
    """Steps asked for as "all" or "0,64,512". Raises GuppyError when one of them is not there."""
    if text == "all":
        return list(run.steps)
    try:
        steps = [int(step) for step in text.split(",")]
    except ValueError:
        raise GuppyError("Name steps by numbers, such as 0,64,512, or say all.") from None
    for step in steps:
        run.step_path(step)
    return steps


def attention(run: Run, prompt: Prompt, steps: Sequence[int]) -> UInt16[np.ndarray, "step layer head query key"]:
    """Attention probabilities times 65535, rounded, of every head at each of the steps.

    Raises GuppyError when a checkpoint cannot be read or when it would be more than 128 MB."""
    config, n = run.model_config, len(prompt.ids)
    size = 2 * len(steps) * config.n_layers * config.n_heads * n * n
    if size > MAX_BUNDLE:
        raise GuppyError("That is too much at once; ask for fewer steps or a shorter prompt.")
    packed = np.empty((len(steps), config.n_layers, config.n_heads, n, n), dtype="<u2")
    for index, step in enumerate(steps):
        packed[index] = _patterns.get(
            (*weights_at(run, step), prompt.ids), lambda step=step: _attention(run, prompt, step)
        )
    return packed


def _attention(run: Run, prompt: Prompt, step: int) -> tuple[UInt16[np.ndarray, "layer head query key"], int]:
    loaded = get_model(run, step)
    with loaded.lock:
        pattern = patterns(loaded.model, torch.tensor([prompt.ids])).pattern[0]
    packed = (pattern * RESOLUTION).round().to(torch.int32).numpy().astype("<u2")
    return packed, packed.nbytes


def reply(
    run: Run, prompt: Prompt, step: int, *, temperature: float, top_k: int | None, top_p: float | None, seed: int
) -> Reply:
    """What the model says to the prompt at that step. Raises GuppyError on settings out of range."""
    check_sampling(temperature, top_k, top_p)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}

    def make() -> tuple[Reply, int]:
        loaded = get_model(run, step)
        with loaded.lock:
            (said,) = generate(loaded.model, run.tokenizer, [prompt.ids], max_tokens=REPLY_TOKENS, **settings)
        return Reply(step, said.text, said.slid, said.stopped), 1000

    return _replies.get((*weights_at(run, step), prompt.ids, *settings.values()), make)


def converse(
    run: Run,
    step: int,
    turns: Sequence[tuple[str, str]],
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
) -> Iterator[Piece]:
    """The reply to a conversation of (role, text) turns, piece by piece. Raises GuppyError as `reply` does."""
    loaded = get_model(run, step)
    ids, note = _fit(run, turns)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    stream = generate_stream(loaded.model, run.tokenizer, ids, max_tokens=REPLY_TOKENS, **settings)
    while True:
        with loaded.lock:  # a token at a time, so that others have their turn
            token = next(stream, None)
        if token is None:
            return
        yield Piece(token.text, note)


def _fit(run: Run, turns: Sequence[tuple[str, str]]) -> tuple[list[int], str]:
    """The conversation's tokens without the oldest turns that leave no room for a reply, and what was left out."""
    n_ctx = run.model_config.n_ctx
    room = n_ctx - min(REPLY_TOKENS, n_ctx // 3)
    chat = is_chat(run)
    for first in range(len(turns)):
        kept = turns[first:]
        ids = run.tokenizer.encode_chat(kept) if chat else run.tokenizer.encode("".join(text for _, text in kept))
        if len(ids) <= room:
            break
    if not ids:
        raise GuppyError("There is nothing to reply to; type at least one character.")
    note = ""
    if first:
        messages = "first message is" if first == 1 else f"first {first} messages are"
        note = f"The context of {n_ctx} tokens is full: the {messages} forgotten."
    if len(ids) > n_ctx:
        note = f"Only the last {n_ctx} tokens of what was said fit the context."
    return ids[-n_ctx:], note


def weights_at(run: Run, step: int) -> tuple[Path, int, int]:
    """The step's weights as they are on disk now: a run made again under its old name is another run."""
    return run.path, step, _changed(run.step_path(step) / files.WEIGHTS)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
