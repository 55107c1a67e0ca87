"""Is it the fish? All that `python -m guppy eval` measures of a model, put together for one run and its checkpoints.

Losses by split and topic (`evaluate`); what it replies to held-out prompts, scored for character (`character`) and for
what of it is remembered (`novelty`), beside the training data (the ceiling), the grammar's own held-out replies to the
same prompts, and an untrained model (the floor); and how surprised it is by prompts that no grammar made
(`prompt_pack`). What does not depend on the model is measured once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from guppy.character import Character
from guppy.config import ModelConfig
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.evaluate import evaluate, prompt_losses
from guppy.generate import Generation, check_sampling, generate
from guppy.model import Guppy
from guppy.novelty import Novelty, Verdict, shares
from guppy.personas import load_persona
from guppy.prompt_pack import load_pack
from guppy.replies import Exchange, exchanges
from guppy.surgery import Surgery

ROWS = 1000
"""Rows of each split that are scored unless more are asked for: the loss is within about 0.01 nats of the whole."""
PROMPTS = 200
"""Held-out prompts that are answered."""
AT_ONCE = 64
HELDOUT = "held-out"
"""What the group of held-out prompts is called."""


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn: as `talk` does, unless told otherwise. Greedy ones are not comparable with drawn data."""

    temperature: float = 0.7
    seed: int = 0
    max_tokens: int = 64

    def __post_init__(self) -> None:
        check_sampling(self.temperature, None, None, self.max_tokens)


class Examiner:
    """Measures models of one corpus. Its first measurement takes seconds more, for what the others share."""

    def __init__(self, corpus: Corpus, rows: int | None = ROWS, sampling: Sampling | None = None) -> None:
        """
        Args:
            rows: of each split that are scored; None takes all held-out ones.
        """
        self.corpus, self.rows, self.sampling = corpus, rows, sampling or Sampling()
        self.pack = load_pack()

    # -- one model -------------------------------------------------------------------------------

    def measure(self, model: Guppy) -> dict[str, Any]:
        """Everything about one model, as JSON.

        Returns: what `evaluate` returns; and for a corpus of conversations `scores` (of character and novelty),
        `surprise` (a row for the held-out prompts and each group of the pack), `replies` (each prompt with its reply
        and what that is), `theme` (the words that count as obsession) and `sampling`.
        """
        losses = evaluate(model, self.corpus, self.rows)
        if not self._asked:
            return losses
        replies, verdicts = self._replies(model)
        own = [reply["reply"] for reply in replies if reply["group"] == HELDOUT]
        return losses | {
            "scores": self._scores(own),
            "surprise": self._surprise(model, replies, verdicts),
            "replies": replies,
            "theme": self.theme,
            "sampling": vars(self.sampling),
        }

    def references(self, config: ModelConfig, surgery: Surgery) -> list[dict[str, Any]]:
        """What to hold a model's scores against: those of training replies (`of` "train"), of the held-out replies to
        the same prompts ("heldout") and of a model of that shape that has learned nothing ("untrained")."""
        if not self._asked:
            return []
        openings = [exchange for exchange in self._exchanges if exchange.opening]
        trained = _spread(openings, len(self._asked))
        said = self._say(Guppy(config, surgery), [exchange.prompt for exchange in self._asked])
        return [
            {"of": "train"} | self._scores([each.reply for each in trained], [each.topic for each in trained]),
            {"of": "heldout"} | self._scores([exchange.reply for exchange in self._asked]),
            {"of": "untrained"} | self._scores([each.text for each in said]),
        ]

    # -- what all models share -------------------------------------------------------------------

    @property
    def theme(self) -> list[str]:
        """The words that count as obsession; none in plain text."""
        return list(self._character.theme) if self._asked else []

    @cached_property
    def _exchanges(self) -> list[Exchange]:
        return exchanges(self.corpus.tokenizer, self.corpus.train)

    @cached_property
    def _asked(self) -> list[Exchange]:
        """Held-out exchanges, evenly spread over topics; empty when the corpus is plain text."""
        heldout = exchanges(self.corpus.tokenizer, self.corpus.heldout) if self.corpus.is_chat else []
        # A prompt asked twice gets the same reply twice.
        different = {exchange.prompt: exchange for exchange in heldout if exchange.opening}
        return _spread(list(different.values()), PROMPTS)

    @cached_property
    def _character(self) -> Character:
        return Character(self._exchanges, _obsession(self.corpus))

    @cached_property
    def _novelty(self) -> Novelty:
        return Novelty([exchange.reply for exchange in self._exchanges])

    # -- asked of one model ----------------------------------------------------------------------

    def _replies(self, model: Guppy) -> tuple[list[dict[str, Any]], list[Verdict]]:
        """What the model replies to held-out prompts and then to the pack's, and what each reply is."""
        asked = [(HELDOUT, exchange.prompt) for exchange in self._asked]
        asked += [(group.name, prompt) for group in self.pack for prompt in group.prompts]
        said = self._say(model, [prompt for _, prompt in asked])
        verdicts = self._novelty.judge([each.text for each in said])
        replies = [
            {
                "group": group,
                "prompt": prompt,
                "reply": each.text,
                "finished": each.stopped,
                "kind": verdict.kind,
                "containment": round(verdict.containment, 3),
                "nearest": verdict.nearest,
                "strange": verdict.strange,
            }
            for (group, prompt), each, verdict in zip(asked, said, verdicts, strict=True)
        ]
        return replies, verdicts

    def _say(self, model: Guppy, prompts: Sequence[str]) -> list[Generation]:
        tokenizer = self.corpus.tokenizer
        ids = sorted(((tokenizer.encode_chat(prompt), i) for i, prompt in enumerate(prompts)), key=lambda x: len(x[0]))
        said: list[Generation | None] = [None] * len(ids)
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            found = generate(model, tokenizer, [each for each, _ in some], **vars(self.sampling))
            for (_, i), each in zip(some, found, strict=True):
                said[i] = each
        return said

    def _scores(self, replies: Sequence[str], topics: Sequence[str] | None = None) -> dict[str, float | None]:
        topics = topics or [exchange.topic for exchange in self._asked]
        return self._character.scores(replies, topics) | shares(self._novelty.judge(replies))

    def _surprise(
        self, model: Guppy, replies: Sequence[dict[str, Any]], verdicts: Sequence[Verdict]
    ) -> list[dict[str, Any]]:
        """Bits a token (and a character) of each group's prompts, and how the replies keep to the character."""
        nats, tokens = prompt_losses(model, self.corpus.tokenizer, [reply["prompt"] for reply in replies])
        groups = np.array([reply["group"] for reply in replies])
        rows = []
        for name, inside in ({HELDOUT: True} | {group.name: group.inside for group in self.pack}).items():
            chosen = np.flatnonzero(groups == name)
            bits = nats[chosen].sum() / math.log(2)
            characters = sum(len(replies[i]["prompt"]) + 1 for i in chosen)  # and the end of the turn
            scores = self._character.scores([replies[i]["reply"] for i in chosen])
            rows.append(
                {"group": name, "inside": inside, "prompts": len(chosen)}
                | {"bits_per_token": float(bits / max(1, tokens[chosen].sum()))}
                | {"bits_per_character": float(bits / characters)}
                | {key: scores[key] for key in ("lowercase", "vocabulary", "obsession")}
                | shares([verdicts[i] for i in chosen])
            )
        return rows


def flat(step: int, measured: dict[str, Any]) -> dict[str, Any]:
    """One step's measurements as a row of a table: a number in every column but that of what was not measured."""
    row = {"step": step} | {f"loss_{name}": split["loss"] for name, split in measured["splits"].items()}
    row |= {key: measured[key] for key in ("masked_loss", "future_mass")}
    if "scores" not in measured:
        return row
    row |= measured["scores"]
    bits = {each["group"]: each["bits_per_token"] for each in measured["surprise"]}
    for side, inside in (("inside", True), ("outside", False)):
        groups = [each for each in measured["surprise"] if each["inside"] is inside and each["group"] != HELDOUT]
        row[f"bits_{side}"] = float(np.mean([each["bits_per_token"] for each in groups]))
    return row | {f"bits_{name.replace(' ', '_').replace('-', '')}": each for name, each in bits.items()}


def _spread(found: Sequence[Exchange], most: int) -> list[Exchange]:
    """So many of them, evenly over topics."""
    by_topic = sorted(range(len(found)), key=lambda i: (found[i].topic, i))
    places = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[by_topic[place]] for place in places]


def _obsession(corpus: Corpus) -> tuple[str, ...]:
    """The theme words that the corpus's persona names itself."""
    persona = corpus.describe().get("persona")
    try:
        return load_persona(persona).obsession if persona else ()
    except GuppyError:  # the persona is gone; its corpus was kept
        return ()
