"""Hugging Face datasets: a folder of Parquet files with a card, which `datasets.load_dataset` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.grammar import Conversation
from guppy.personas import list_personas
from guppy.rows import Row, messages_of

# The names that data sets have there for our splits.
SPLITS = {"train": "train", "heldout": "test", "composed": "composed"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def export_dataset(corpus: Corpus, directory: str | Path, counts: dict[str, Any]) -> None:
    """Write data/<split>.parquet and README.md into a directory.

    Conversations have the columns input and output (of the first turn), category, and messages (all turns, as chat
    templates want them); other texts have text and category. The held-out split is called test there.

    Args:
        counts: `guppy.report.report` of the corpus, for the card.

    Raises:
        GuppyError: the directory cannot be written.
    """
    from pyarrow import parquet

    directory = Path(directory)
    rows = {SPLITS[name]: corpus.rows(split) for name, split in corpus.splits.items()}
    chat = all(isinstance(row, Conversation) for some in rows.values() for row in some)
    try:
        (directory / "data").mkdir(parents=True, exist_ok=True)
        for name, some in rows.items():
            path = directory / "data" / f"{name}.parquet"
            beside = path.with_suffix(".tmp")
            parquet.write_table(_conversations(some) if chat else _texts(some), beside, compression="zstd")
            beside.replace(path)
        beside = directory / "README.md.tmp"
        beside.write_text(_card(corpus, counts, list(rows), chat), encoding="utf-8")
        beside.replace(directory / "README.md")
    except OSError as error:
        raise GuppyError(f"{directory} cannot be written ({error.strerror}); choose another directory") from None


def _conversations(rows: Sequence[Conversation]) -> Any:
    import pyarrow

    message = pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string()})
    return pyarrow.table(
        {
            "input": pyarrow.array([row.input for row in rows], pyarrow.string()),
            "output": pyarrow.array([row.output for row in rows], pyarrow.string()),
            "category": pyarrow.array([row.category for row in rows], pyarrow.string()),
            "messages": pyarrow.array([messages_of(row) for row in rows], pyarrow.list_(message)),
        }
    )


def _texts(rows: Sequence[Row]) -> Any:
    import pyarrow

    return pyarrow.table(
        {
            "text": pyarrow.array([row.text for row in rows], pyarrow.string()),
            "category": pyarrow.array([row.category for row in rows], pyarrow.string()),
        }
    )


def _card(corpus: Corpus, counts: dict[str, Any], splits: list[str], chat: bool) -> str:
    """The dataset card: what the Hub reads (YAML) and what people read."""
    total = counts["splits"]["all"]
    size = next((name for limit, name in _SIZES if total["rows"] < limit), "n>1M")
    # What comes with Guppy is ours to license; of anyone else's rows we know neither licence nor language.
    ours = ["license: mit", "language: [en]"] if counts["corpus"].get("persona") in list_personas() else []
    head = [
        "---",
        f"pretty_name: {corpus.name!r}",
        *ours,
        "task_categories: [text-generation]",
        f"size_categories: ['{size}']",
        "tags: [synthetic, conversational]" if ours else "tags: [conversational]" if chat else "tags: [text]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *(line for name in splits for line in (f"  - split: {name}", f"    path: data/{name}.parquet")),
        "---",
    ]
    columns = (
        "`input` and `output` are the first question and its answer, `category` the topic, `messages` all turns."
        if chat
        else "`text` is the text, `category` what kind it is."
    )
    shares = [
        f"| {SPLITS[name]} | {counts['splits'][name]['rows']:,} | {counts['splits'][name]['prompts']:,} "
        f"| {counts['splits'][name]['replies']:,} |"
        for name in corpus.splits
    ]
    body = [
        f"# {corpus.name}",
        "",
        _origin(counts["corpus"]),
        columns,
        "",
        "| split | rows | different prompts | different replies |",
        "|---|---|---|---|",
        *shares,
        "",
        *_split_notes(counts),
        "",
        f"Hash of tokens and tokenizer: `{counts['sha256']}`.",
        "",
    ]
    return "\n".join([*head, "", *body])


def _origin(made: dict[str, Any]) -> str:
    if made["kind"] != "persona":
        return "Made with Guppy Lab from a file."
    options = f"--persona {Path(made['persona']).name} --rows {made['rows']} --seed {made['seed']}"
    return (
        "Conversations drawn from a persona of Guppy Lab, a grammar; "
        f"`python -m guppy data {options}{' --leaky' if made.get('leaky') else ''} --export DIR` draws them again."
    )


def _split_notes(counts: dict[str, Any]) -> list[str]:
    overlap = counts["overlap"]["heldout"]
    if counts["corpus"].get("leaky"):
        return [
            f"The split is random, on purpose: {overlap['prompts']:,} prompts and {overlap['replies']:,} replies of "
            "`test` stand in `train` too, so scores on it say little."
        ]
    notes = [
        f"`test` shares {overlap['prompts']:,} prompts and {overlap['replies']:,} replies with `train`; "
        f"{overlap['prompts_near']:,} prompts and {overlap['replies_near']:,} replies are nearly in it (more than 0.8 "
        "of their 8-grams stand in one text)."
    ]
    if "composed" in counts["overlap"]:
        notes += ["`composed` has combinations of the grammar's rules that are in no other split."]
    return notes
