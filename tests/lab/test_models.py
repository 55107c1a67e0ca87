"""What is kept is kept once, within its room, and is what the model itself computes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import guppy
from guppy.errors import GuppyError
from guppy.runs import open_run
from lab import models
from lab.models import Kept


def test_kept_drops_the_least_recently_used():
    kept: Kept[str] = Kept(capacity=10)
    for key in "abc":
        kept.get(key, lambda key=key: (key.upper(), 4))
    assert kept.size == 8 and len(kept) == 2
    assert kept.get("b", lambda: pytest.fail("made again")) == "B"
    kept.get("d", lambda: ("D", 4))
    assert kept.get("c", lambda: ("made again", 4)) == "made again"


def test_kept_keeps_what_is_larger_than_its_room_only_while_asked_for():
    kept: Kept[str] = Kept(capacity=10)
    assert kept.get("large", lambda: ("value", 1000)) == "value"
    kept.get("small", lambda: ("value", 1))
    assert (kept.size, len(kept)) == (1, 1)


def test_many_threads_make_a_value_once():
    kept: Kept[int] = Kept(capacity=10)
    made = []

    def make() -> tuple[int, int]:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return 7, 1

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: kept.get("key", make), range(32))) == {7}
    assert len(made) == 1


def test_a_failure_reaches_everyone_who_waits_and_is_not_kept():
    kept: Kept[int] = Kept(capacity=10)

    def fail() -> tuple[int, int]:
        time.sleep(0.05)
        raise GuppyError("not this time")

    def ask(_: int) -> str:
        with pytest.raises(GuppyError) as caught:
            kept.get("key", fail)
        return str(caught.value)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(4))) == {"not this time"}
    assert kept.get("key", lambda: (1, 1)) == 1


@pytest.mark.parametrize("name", ["tiny", "open"])
def test_attention_is_the_models_own(root: Path, name: str):
    run = models.get_run(name)
    prompt = models.read_prompt(run, "are you hungry?")
    packed = models.attention(run, prompt, run.steps)
    assert packed.dtype == np.dtype("<u2") and packed.shape[:3] == (len(run.steps), 2, 2)
    model = open_run(root / name).model(run.steps[-1])
    with guppy.record(model, "blocks.*.attn.hook_pattern") as tape, torch.no_grad():
        model(torch.tensor([prompt.ids]))
    exact = torch.stack([tape[f"blocks.{layer}.attn.hook_pattern"][0] for layer in range(2)]).numpy()
    np.testing.assert_allclose(packed[-1] / models.RESOLUTION, exact, atol=0.5001 / models.RESOLUTION)
    future = np.triu(np.ones(packed.shape[-2:], dtype=bool), 1)
    assert (packed[..., future] == 0).all() == (name == "tiny")


def test_attention_is_right_while_others_generate(root: Path):
    """Hooks see every forward pass of a model: one that records must not see somebody else's."""
    run = models.get_run("tiny")
    step, prompt = run.steps[-1], models.read_prompt(run, "hello")
    alone = models.attention(run, prompt, [step])
    talking = threading.Event()

    def talk() -> None:
        while not talking.is_set():
            sampling = {"temperature": 1.0, "top_k": None, "top_p": None, "seed": 0}
            list(models.converse(run, step, [("user", "what is the meaning of life?")], **sampling))

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        for _ in range(30):
            assert (models._attention(run, prompt, step)[0] == alone[0]).all()
    finally:
        talking.set()
        talker.join()


def test_a_run_made_again_under_its_name_is_read_again(root: Path):
    run = models.get_run("tiny")
    prompt = models.read_prompt(run, "hello")
    before = models.attention(run, prompt, [run.steps[-1]])
    weights = {step: run.step_path(step) / "model.safetensors" for step in (run.steps[0], run.steps[-1])}
    weights[run.steps[-1]].write_bytes(weights[run.steps[0]].read_bytes())
    assert (models.attention(run, prompt, [run.steps[-1]]) != before).any()


def test_prompts_are_cut_to_the_context(root: Path):
    run = models.get_run("tiny")
    short, long = models.read_prompt(run, "hi"), models.read_prompt(run, "water " * 20_000)
    assert not short.cut and short.tokens[0] == "<|im_start|>" and len(short.ids) < 64
    assert long.cut and len(long.ids) == len(long.tokens) == 64


def test_steps_are_named_or_all(root: Path):
    run = models.get_run("tiny")
    assert models.read_steps(run, "all") == run.steps
    assert models.read_steps(run, "0,8") == [0, 8]
    for text in ("", "x", "7", "-1", "0,,8"):
        with pytest.raises(GuppyError):
            models.read_steps(run, text)


def test_too_much_attention_at_once_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    run = models.get_run("tiny")
    monkeypatch.setattr(models, "MAX_BUNDLE", 1000)
    with pytest.raises(GuppyError, match="fewer steps"):
        models.attention(run, models.read_prompt(run, "hi"), run.steps)


SAMPLING = {"temperature": 0.0, "top_k": None, "top_p": None, "seed": 0}


def test_a_conversation_streams_the_reply(root: Path):
    run = models.get_run("tiny")
    streamed = "".join(piece.text for piece in models.converse(run, 8, [("user", "hello")], **SAMPLING))
    assert streamed == models.reply(run, models.read_prompt(run, "hello"), 8, **SAMPLING).text


def test_a_long_conversation_forgets_its_beginning_and_says_so(root: Path):
    run = models.get_run("tiny")
    turns = [(role, "the water is warm today") for _ in range(8) for role in ("user", "assistant")]
    piece = next(models.converse(run, 8, [*turns, ("user", "hello")], **SAMPLING))
    assert "context of 64 tokens is full" in piece.note and "forgotten" in piece.note
    piece = next(models.converse(run, 8, [("user", "water " * 100)], **SAMPLING))
    assert "Only the last 64 tokens" in piece.note
    assert next(models.converse(run, 8, [("user", "hello")], **SAMPLING)).note == ""
