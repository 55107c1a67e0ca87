"""A corpus: rows of tokens in a training and a held-out split, with the tokenizer that made them.

It comes from a persona, from a directory that `python -m guppy data` wrote, or from a file of conversations or
plain text. The tokenizer is trained on training text only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from guppy.batches import Split
from guppy.errors import GuppyError
from guppy.personas import Persona, load_persona
from guppy.rows import Passage, Row, decode_row, encode_row, pair_of, read_rows, write_rows
from guppy.splits import Dealt, split_pairs
from guppy.tokenizer import Tokenizer, train_bpe, train_char
from guppy.yaml_lines import YamlFile

PROBES_FILE = Path(__file__).resolve().parent.parent / "data" / "probes.yaml"
# Of a BPE trained on a file.
VOCAB_SIZE = 2048
# Of one trained on a persona: a fish knows some 1,300 words. With 1,536 tokens its rows are 2% longer than with 2,048
# and 5% longer than with every word whole (4,859 tokens, most of them misspellings seen a few times).
PERSONA_VOCAB_SIZE = 1536
# Shares that are held out: of a persona's rows, which cost nothing to draw; of a file's, which are all there is;
# of a plain text, at its end.
HELDOUT_PERSONA = 0.05
HELDOUT_FILE = 0.02
HELDOUT_TEXT = 0.1


@dataclass
class Corpus:
    """What a model learns from and what it is tested on.

    Attributes:
        train, heldout: rows of tokens that share no prompt and no reply.
        probes: prompts that every checkpoint is asked; `encode_probe` makes tokens of them.
        origin: how it was made, see `describe`.
        sha256: of tokenizer, tokens and row bounds: corpora with the same hash train the same model.
    """

    name: str
    tokenizer: Tokenizer
    train: Split
    heldout: Split
    probes: list[str]
    origin: dict[str, Any]
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.tokenizer.sha256.encode())
        for split in (self.train, self.heldout):
            digest.update(split.tokens.astype("<u2").tobytes())
            digest.update(split.offsets.astype("<i8").tobytes())
        self.sha256 = digest.hexdigest()

    # -- where it comes from ---------------------------------------------------------------------

    @classmethod
    def from_persona(
        cls, name: str | Path, rows: int = 60_000, seed: int = 0, tokenizer: str | Tokenizer = "bpe"
    ) -> Corpus:
        """Draw a corpus from a persona (a name, or the path of a persona file).

        Args:
            rows: training and held-out rows together.
            seed: of the draw and of the split.
            tokenizer: "bpe" or "char" to train one, or one to use (a fork keeps its parent's).

        Raises:
            GuppyError: the persona has a mistake, or says too little for a leak-free split.
        """
        persona = load_persona(name)
        train, heldout = draw_split(persona, rows, seed)
        origin = {"kind": "persona", "persona": str(name), "rows": rows, "seed": seed}
        return cls._build(persona.name, train, heldout, tokenizer, origin, PERSONA_VOCAB_SIZE)

    @classmethod
    def from_path(cls, path: str | Path, tokenizer: str | Tokenizer | None = None) -> Corpus:
        """Read a corpus: a directory made by `guppy data`, a .jsonl(.gz) of {input, output} or {text}, or a text.

        A directory brings its split and its tokenizer. Other conversations are split as those of a persona are;
        of a plain text the last tenth is held out.

        Args:
            tokenizer: "bpe" or "char" to train one (default: the directory's own, else "bpe"), or one to use.

        Raises:
            GuppyError: something is missing, empty, ill-encoded or broken; with file and line.
        """
        path = Path(path)
        if path.is_dir():
            train, heldout = read_rows(path / "train.jsonl"), read_rows(path / "heldout.jsonl")
            if not isinstance(tokenizer, Tokenizer) and (path / "tokenizer.json").exists():
                own = Tokenizer.load(path / "tokenizer.json")
                tokenizer = own if tokenizer in (None, own.kind) else tokenizer
        else:
            train, heldout = _split_file(path, read_rows(path))
        origin = {"kind": "path", "path": str(path.resolve())}
        return cls._build(path.name.split(".")[0], train, heldout, tokenizer or "bpe", origin)

    @classmethod
    def from_description(cls, description: dict[str, Any], tokenizer: Tokenizer | None = None) -> Corpus:
        """The corpus that `describe` described, made again; `tokenizer` to use that one instead."""
        how = tokenizer or description.get("tokenizer", "bpe")
        if description.get("kind") == "persona":
            return cls.from_persona(description["persona"], description["rows"], description["seed"], how)
        if description.get("kind") == "path":
            return cls.from_path(description["path"], how)
        raise GuppyError(f"a corpus of kind {description.get('kind')!r} cannot be made again; give --persona or --data")

    @classmethod
    def _build(
        cls,
        name: str,
        train: Sequence[Row],
        heldout: Sequence[Row],
        tokenizer: str | Tokenizer,
        origin: dict[str, Any],
        vocab_size: int = VOCAB_SIZE,
    ) -> Corpus:
        if isinstance(tokenizer, str):
            tokenizer = train_tokenizer(tokenizer, train, vocab_size)
        if tokenizer.vocab_size > 2**16:
            raise GuppyError(
                f"a tokenizer of {tokenizer.vocab_size:,} tokens is too large here; use one of up to 65,536"
            )
        splits = [
            Split.from_rows([encode_row(tokenizer, row) for row in rows], [row.category for row in rows])
            for rows in (train, heldout)
        ]
        first = train[0]
        plain = isinstance(first, Passage) and not first.is_chat
        probes = ["\n", *_opening(heldout[0])] if plain else load_probes()
        return cls(name, tokenizer, *splits, probes, origin | {"tokenizer": tokenizer.kind, "chat": not plain})

    # -- files -----------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> None:
        """Write train.jsonl, heldout.jsonl and tokenizer.json into a directory, each beside its name first.

        Raises:
            GuppyError: the directory cannot be written.
        """
        directory = Path(directory)
        writers: dict[str, Callable[[Path], None]] = {
            "train.jsonl": lambda path: write_rows(path, self.rows(self.train)),
            "heldout.jsonl": lambda path: write_rows(path, self.rows(self.heldout)),
            "tokenizer.json": self.tokenizer.save,
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, write in writers.items():
                write(directory / f"{name}.tmp")
                (directory / f"{name}.tmp").replace(directory / name)
        except OSError as error:
            raise GuppyError(f"{directory} cannot be written ({error.strerror}); choose another directory") from None

    @classmethod
    def load(cls, directory: str | Path) -> Corpus:
        """Read what `save` wrote; the same as `from_path(directory)`."""
        return cls.from_path(directory)

    # -- what is in it ---------------------------------------------------------------------------

    @property
    def is_chat(self) -> bool:
        """Whether rows are conversations (ChatML) rather than plain text."""
        return bool(self.train.tokens[0] == self.tokenizer.im_start_id)

    def rows(self, split: Split) -> list[Row]:
        """The rows of a split as text again."""
        return [decode_row(self.tokenizer, split.row(i), split.categories[i]) for i in range(len(split))]

    def encode_probe(self, prompt: str) -> list[int]:
        """Tokens after which the model should go on: a chat's user turn, or in plain text the prompt itself."""
        return self.tokenizer.encode_chat(prompt) if self.is_chat else self.tokenizer.encode(prompt)

    def describe(self) -> dict[str, Any]:
        """What makes this corpus again, for a run's manifest: its kind, and persona, rows and seed, or the
        path; also its tokenizer's kind and whether it is `chat`."""
        return dict(self.origin)

    def reference_entropies(self) -> dict[str, float]:
        """Losses that a model passes on its way down, in nats per token.

        `log_v`: ln of the padded vocabulary, what an untrained model with even guesses scores. `unigram`: the
        entropy of the training split's targets (all tokens but each row's first), what the best guess without
        looking scores. `bigram`: the entropy of a target given the token before it (Shannon 1948, F_1 and F_2).
        Both are plain counts of the training split scored on that split itself, without smoothing; so on a small
        corpus `bigram` lies below what a table of pairs would reach on held-out rows.
        """
        tokens = self.train.tokens.astype(np.int64)
        is_target = np.ones(len(tokens), dtype=bool)
        is_target[self.train.offsets[:-1][self.train.lengths > 0]] = False
        targets = tokens[is_target]
        before = tokens[:-1][is_target[1:]]
        pairs = before * self.tokenizer.vocab_size + targets
        return {
            "log_v": math.log(self.tokenizer.padded_vocab_size),
            "unigram": _entropy(targets),
            "bigram": _entropy(pairs) - _entropy(before),
        }


def draw_split(persona: Persona, rows: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Draw training and held-out conversations, `rows` in all, that share no prompt and no reply.

    Raises:
        GuppyError: the persona says too little, or `rows` is too small, to hold anything out.
    """
    if rows < 1:
        raise GuppyError(f"{rows} rows are no corpus; ask for some thousands")
    drawn = rows + rows // 8
    while True:
        conversations = persona.generate(drawn, seed)
        dealt = _split(conversations, HELDOUT_PERSONA, seed)
        kept = len(conversations) - len(dealt.lost)
        if kept >= rows:
            break
        if drawn > 8 * rows:
            raise GuppyError(
                f"persona '{persona.name}' repeats itself too much to fill {rows:,} rows without leaks; "
                "give it more prompts and replies"
            )
        drawn = round(1.1 * drawn * rows / max(kept, rows / 4))
    last = sorted(dealt.train + dealt.heldout)[rows - 1]
    train, heldout = ([conversations[i] for i in side if i <= last] for side in (dealt.train, dealt.heldout))
    if not train or not heldout:
        raise GuppyError(
            f"{rows:,} rows of persona '{persona.name}' leave nothing to hold out; "
            "ask for more rows, or give it more prompts and replies"
        )
    return train, heldout


def train_tokenizer(kind: str, rows: Sequence[Row], vocab_size: int) -> Tokenizer:
    """A tokenizer of a kind, "bpe" or "char", trained on rows.

    Raises:
        GuppyError: for another kind.
    """
    texts = (row.text for row in rows)
    if kind == "bpe":
        return train_bpe(texts, vocab_size)
    if kind == "char":
        return train_char(texts)
    raise GuppyError(f"unknown tokenizer {kind!r}; choose bpe or char")


def load_probes(path: Path = PROBES_FILE) -> list[str]:
    """The fixed probe prompts."""
    file = YamlFile(path)
    node = file.mapping(file.root, "the probes file", ("probes",))["probes"]
    return [file.text(item, "a probe") for item in file.items(node, "probes")]


def _split(rows: Sequence[Row], share: float, seed: int) -> Dealt:
    return split_pairs([pair_of(row) for row in rows], [row.category for row in rows], share, seed)


def _split_file(path: Path, rows: list[Row]) -> tuple[list[Row], list[Row]]:
    if len(rows) == 1 and isinstance(rows[0], Passage) and not rows[0].is_chat:
        text = rows[0].text
        middle = round(len(text) * (1 - HELDOUT_TEXT))
        # At a line's start if one is near, so that the held-out part does not begin inside a word.
        middle = text.find("\n", middle, middle + len(text) // 50) + 1 or middle
        train, heldout = ([Passage(part, rows[0].category)] for part in (text[:middle], text[middle:]))
        enough = len(text) >= 100
    else:
        dealt = _split(rows, HELDOUT_FILE, seed=0)
        train, heldout = ([rows[i] for i in side] for side in (dealt.train, dealt.heldout))
        enough = bool(train and heldout)
    if not enough:
        raise GuppyError(f"{path} holds too little to learn from and to be tested on; give some hundred rows or lines")
    return train, heldout


def _opening(row: Row) -> list[str]:
    """The first line of a text, as a prompt."""
    lines = row.text.strip().splitlines()
    return [lines[0][:40]] if lines else []


def _entropy(values: np.ndarray) -> float:
    """Entropy of the values' frequencies, in nats."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
