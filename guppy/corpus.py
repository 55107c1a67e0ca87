"""A corpus: rows of tokens in training and held-out splits, with the tokenizer that made them.

It comes from a persona, from a directory that `python -m guppy data` wrote, or from a file of conversations or
plain text. The tokenizer is trained on training text only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from guppy.batches import Split
from guppy.draws import draw_split
from guppy.errors import GuppyError
from guppy.personas import load_persona
from guppy.reference import reference_lines
from guppy.rows import Passage, Row, decode_row, encode_rows, exchanges_of, read_rows, write_rows
from guppy.splits import leaky_split, split_rows
from guppy.tokenizer import Tokenizer, train_bpe, train_char
from guppy.yaml_lines import YamlFile

PROBES_FILE = Path(__file__).resolve().parent.parent / "data" / "probes.yaml"
# Of a BPE trained on a file.
VOCAB_SIZE = 2048
# Of one trained on a persona: the fish knows some 2,100 words. Its rows are 3% longer than with 2,048 tokens.
PERSONA_VOCAB_SIZE = 1536
# Shares that are held out: of a file's rows, which are all there is; of a plain text, at its end.
HELDOUT_FILE = 0.02
HELDOUT_TEXT = 0.1
# Beside the rows of a saved corpus, what is known of them and not of their text.
ABOUT_FILE = "corpus.json"


@dataclass
class Corpus:
    """What a model learns from and what it is tested on.

    Attributes:
        train, heldout: rows of tokens that share no prompt and no reply (unless the origin says `leaky`).
        probes: prompts that every checkpoint is asked; `encode_probe` makes tokens of them.
        origin: how it was made, see `describe`.
        composed: of a persona, rows with a combination of rules that is in no other split; see `guppy.draws.Sides`.
        nats: of a persona, for each split the sum of -ln p over all choices that drew its rows.
        sha256: of tokenizer, tokens and row bounds: corpora with the same hash train the same model.
    """

    name: str
    tokenizer: Tokenizer
    train: Split
    heldout: Split
    probes: list[str]
    origin: dict[str, Any]
    composed: Split | None = None
    nats: dict[str, float] = field(default_factory=dict)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.tokenizer.sha256.encode())
        for split in self.splits.values():
            digest.update(split.tokens.astype("<u2").tobytes())
            digest.update(split.offsets.astype("<i8").tobytes())
        self.sha256 = digest.hexdigest()

    # -- where it comes from ---------------------------------------------------------------------

    @classmethod
    def from_persona(
        cls,
        name: str | Path,
        rows: int = 60_000,
        seed: int = 0,
        tokenizer: str | Tokenizer = "bpe",
        *,
        leaky: bool = False,
    ) -> Corpus:
        """Draw a corpus from a persona (a name, or the path of a persona file or folder).

        Args:
            rows: of all splits together.
            seed: of the draw and of the split.
            tokenizer: "bpe" or "char" to train one, or one to use (a fork keeps its parent's).
            leaky: split at random, as guppylm does, so that most of the held-out replies stand in training too.

        Raises:
            GuppyError: the persona has a mistake, or says too little for a leak-free split.
        """
        persona = load_persona(name)
        sides = draw_split(persona, rows, seed, leaky=leaky)
        drawn = {"train": sides.train, "heldout": sides.heldout, "composed": sides.composed}
        origin = {"kind": "persona", "persona": str(name), "rows": rows, "seed": seed} | _only_if(leaky)
        splits = {split: [draw.conversation for draw in draws] for split, draws in drawn.items()}
        corpus = cls._build(persona.name, splits, tokenizer, origin, PERSONA_VOCAB_SIZE)
        corpus.nats = {split: sum(draw.nats for draw in draws) for split, draws in drawn.items() if draws}
        return corpus

    @classmethod
    def from_path(cls, path: str | Path, tokenizer: str | Tokenizer | None = None, *, leaky: bool = False) -> Corpus:
        """Read a corpus: a directory made by `guppy data`, or a file as `guppy.rows.read_rows` reads it.

        A directory brings its splits and its tokenizer. Other conversations are split as those of a persona are,
        but without combinations; of a plain text the last tenth is held out.

        Args:
            tokenizer: "bpe" or "char" to train one (default: the directory's own, else "bpe"), or one to use.
            leaky: split the rows of a file at random.

        Raises:
            GuppyError: something is missing, empty, ill-encoded or broken; with file and line.
        """
        path = Path(path)
        origin = {"kind": "path", "path": str(path.resolve())} | _only_if(leaky)
        if not path.is_dir():
            return cls._build(path.name.split(".")[0], _split_file(path, leaky), tokenizer or "bpe", origin)
        splits = {name: read_rows(path / f"{name}.jsonl") for name in ("train", "heldout")}
        if (path / "composed.jsonl").exists():
            splits["composed"] = read_rows(path / "composed.jsonl")
        if not isinstance(tokenizer, Tokenizer) and (path / "tokenizer.json").exists():
            own = Tokenizer.load(path / "tokenizer.json")
            tokenizer = own if tokenizer in (None, own.kind) else tokenizer
        corpus = cls._build(path.name.split(".")[0], splits, tokenizer or "bpe", origin)
        corpus.nats = _read_nats(path / ABOUT_FILE)
        return corpus

    @classmethod
    def from_description(cls, description: dict[str, Any], tokenizer: Tokenizer | None = None) -> Corpus:
        """The corpus that `describe` described, made again; `tokenizer` to use that one instead."""
        how, leaky = tokenizer or description.get("tokenizer", "bpe"), bool(description.get("leaky"))
        if description.get("kind") == "persona":
            asked = description["persona"], description["rows"], description["seed"]
            return cls.from_persona(*asked, how, leaky=leaky)
        if description.get("kind") == "path":
            return cls.from_path(description["path"], how, leaky=leaky)
        raise GuppyError(f"a corpus of kind {description.get('kind')!r} cannot be made again; give --persona or --data")

    @classmethod
    def _build(
        cls,
        name: str,
        rows: dict[str, list[Row]],
        tokenizer: str | Tokenizer,
        origin: dict[str, Any],
        vocab_size: int = VOCAB_SIZE,
    ) -> Corpus:
        if isinstance(tokenizer, str):
            tokenizer = train_tokenizer(tokenizer, rows["train"], vocab_size)
        if tokenizer.vocab_size > 2**16:
            raise GuppyError(
                f"a tokenizer of {tokenizer.vocab_size:,} tokens is too large here; use one of up to 65,536"
            )
        splits = {
            split: Split.from_rows(encode_rows(tokenizer, some), [row.category for row in some])
            for split, some in rows.items()
            if some
        }
        first = rows["train"][0]
        plain = isinstance(first, Passage) and not first.is_chat
        probes = ["\n", *_opening(rows["heldout"][0])] if plain else load_probes()
        origin = origin | {"tokenizer": tokenizer.kind, "chat": not plain}
        return cls(name, tokenizer, splits["train"], splits["heldout"], probes, origin, splits.get("composed"))

    # -- files -----------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> None:
        """Write a .jsonl for each split, tokenizer.json, and what else is known into a directory, each beside its
        name first.

        Raises:
            GuppyError: the directory cannot be written.
        """
        directory = Path(directory)
        writers: dict[str, Callable[[Path], object]] = {
            f"{name}.jsonl": partial(write_rows, rows=self.rows(split)) for name, split in self.splits.items()
        }
        writers["tokenizer.json"] = self.tokenizer.save
        if self.nats:
            writers[ABOUT_FILE] = lambda path: path.write_text(json.dumps({"nats": self.nats}) + "\n", "utf-8")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name in {"composed.jsonl", ABOUT_FILE} - set(writers):
                (directory / name).unlink(missing_ok=True)  # an older corpus's
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
    def splits(self) -> dict[str, Split]:
        """The splits by name: train, heldout, and composed if there is one."""
        splits = {"train": self.train, "heldout": self.heldout}
        return splits | ({"composed": self.composed} if self.composed is not None else {})

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
        path; also its tokenizer's kind, whether it is `chat`, and, only if it is, that it is `leaky`."""
        return dict(self.origin)

    def reference_entropies(self) -> dict[str, float]:
        """`guppy.reference.reference_lines` by name, in nats per token; `grammar` only where there is one."""
        return reference_lines(self).to_dict()


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


def _only_if(leaky: bool) -> dict[str, bool]:
    return {"leaky": True} if leaky else {}


def _split_file(path: Path, leaky: bool) -> dict[str, list[Row]]:
    rows = read_rows(path)
    if len(rows) == 1 and isinstance(rows[0], Passage) and not rows[0].is_chat:
        text = rows[0].text
        middle = round(len(text) * (1 - HELDOUT_TEXT))
        # At a line's start if one is near, so that the held-out part does not begin inside a word.
        middle = text.find("\n", middle, middle + len(text) // 50) + 1 or middle
        train, heldout = ([Passage(part, rows[0].category)] for part in (text[:middle], text[middle:]))
        enough = len(text) >= 100
    else:
        if leaky:
            dealt = leaky_split(len(rows), HELDOUT_FILE, seed=0)
        else:
            dealt = split_rows(
                [exchanges_of(row) for row in rows], [row.category for row in rows], HELDOUT_FILE, seed=0
            )
        train, heldout = ([rows[i] for i in side] for side in (dealt.train, dealt.heldout))
        enough = bool(train and heldout)
    if not enough:
        raise GuppyError(f"{path} holds too little to learn from and to be tested on; give some hundred rows or lines")
    return {"train": train, "heldout": heldout}


def _read_nats(path: Path) -> dict[str, float]:
    """What `save` knew of the splits; nothing where that is missing."""
    if not path.exists():
        return {}
    try:
        nats = json.loads(path.read_text(encoding="utf-8"))["nats"]
        return {str(name): float(sum_) for name, sum_ in nats.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise GuppyError(f"{path} is broken; delete it, or write the corpus again") from None


def _opening(row: Row) -> list[str]:
    """The first line of a text, as a prompt."""
    lines = row.text.strip().splitlines()
    return [lines[0][:40]] if lines else []
