"""Commands that ask a trained model: talk, sample, export."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guppy.errors import GuppyError

if TYPE_CHECKING:
    from guppy.model import Guppy
    from guppy.runs import Run

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's directory, or the name of one under checkpoints/.")
]
Step = Annotated[int | None, typer.Option(help="The checkpoint to use; the last one if left out.")]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token each time; higher is bolder.")]
TopK = Annotated[int | None, typer.Option(help="Keep only the K likeliest tokens.")]
TopP = Annotated[float | None, typer.Option(help="Keep the fewest tokens that together have probability P.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same reply to the same prompt.")]
MaxTokens = Annotated[int, typer.Option(help="Longest reply, in tokens.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def talk(
    run: RunName,
    step: Step = None,
    prompt: Annotated[
        str | None, typer.Option(help="Say this and print the reply; without it, a conversation.")
    ] = None,
    temperature: Temperature = 0.7,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = 0,
    max_tokens: MaxTokens = 64,
) -> None:
    """Talk with the model of a run: one prompt, or a conversation line by line."""
    from guppy.runs import open_run

    opened = open_run(run)
    model = opened.model(step)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "max_tokens": max_tokens}
    turns: list[tuple[str, str]] = []
    for line in [prompt] if prompt is not None else _lines(opened, model):
        turns = [*turns, ("user", line)] if opened.is_chat else []
        ids = opened.tokenizer.encode_chat(turns) if opened.is_chat else opened.tokenizer.encode(line)
        turns.append(("assistant", _say(opened, model, ids, settings)))


def _lines(run: Run, model: Guppy) -> Iterator[str]:
    """What a person types, until the end of input. The marks that ask for it are not part of the output."""
    typed = sys.stdin.isatty()
    if typed:
        under = f", under surgery: {run.surgery.description}" if run.surgery else ""
        print(f"{run.id} reads {model.config.n_ctx} tokens at once{under}. Ctrl-D ends.", file=sys.stderr)
    while True:
        if typed:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            if typed:
                print(file=sys.stderr)
            return
        if line.strip():
            yield line.strip()


def _say(run: Run, model: Guppy, ids: list[int], settings: dict[str, Any]) -> str:
    """Print the reply as it comes and return it."""
    from guppy.generate import generate_stream

    said, tokens = "", 0
    for token in generate_stream(model, run.tokenizer, ids, **settings):
        said, tokens = said + token.text, tokens + 1
        print(_printable(token.text), end="", flush=True)
    print()
    if len(ids) + tokens - 1 > model.config.n_ctx:
        message = f"(the beginning no longer fits the {model.config.n_ctx} tokens that the model reads)"
        print(message, file=sys.stderr)
    return said


def sample(
    run: RunName,
    prompt: Annotated[str, typer.Option(help="What to say to the model.")],
    steps: Annotated[str, typer.Option(help="Checkpoints: all, or numbers such as 0,64,512.")] = "all",
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = 0,
    max_tokens: MaxTokens = 64,
    as_json: Json = False,
) -> None:
    """What the model replies to the same prompt at many checkpoints."""
    from guppy.generate import check_sampling, generate
    from guppy.runs import open_run

    opened = open_run(run)
    chosen = steps_named(opened, steps)
    ids = opened.encode_prompt(prompt)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    check_sampling(**settings, max_tokens=max_tokens)
    samples = []
    for at in tracked(chosen):
        model = opened.model(at)
        (said,) = generate(model, opened.tokenizer, [ids], **settings, seed=seed, max_tokens=max_tokens)
        samples.append({"step": at, "text": said.text, "slid": said.slid, "stopped": said.stopped})
    if as_json:
        settings |= {"seed": seed, "max_tokens": max_tokens}
        _print_json({"run": opened.id, "prompt": prompt, "settings": settings, "samples": samples})
    else:
        for row in samples:
            print(f"{row['step']:>7}  {_printable(row['text']).replace(chr(10), '↵')}")


def export(
    run: RunName,
    to: Annotated[str, typer.Option(help="gpt2: for transformers and TransformerLens. run: a light copy of the run.")],
    out: Annotated[Path, typer.Option(help="A new directory.")],
    step: Annotated[int | None, typer.Option(help="gpt2: the checkpoint; the last one if left out.")] = None,
    steps: Annotated[str | None, typer.Option(help="run: checkpoints to keep, all or such as 0,64,512.")] = None,
    force: Annotated[bool, typer.Option("--force", help="gpt2: leave out surgery that GPT-2 cannot express.")] = False,
) -> None:
    """Write a run's model for other programs, or a light copy of the run to give away."""
    from guppy.runs import bundle, open_run

    opened = open_run(run)
    if to == "gpt2":
        from guppy.interop.gpt2 import export_gpt2

        if steps is not None:
            raise GuppyError("A GPT-2 is one checkpoint; name it with --step.")
        path = export_gpt2(opened.model(step), opened.tokenizer, out, force=force)
    elif to == "run":
        if step is not None or force:
            raise GuppyError("A copy of a run takes neither --step nor --force; choose its checkpoints with --steps.")
        path = bundle(opened, out, None if steps is None else steps_named(opened, steps))
    else:
        raise GuppyError(f"There is no format {to!r}; choose gpt2 or run.")
    print(path)


def steps_named(run: Run, text: str) -> list[int]:
    """The checkpoints that "all" or "0,64,512" name, in order. Raises GuppyError when one is not there."""
    if text.strip() == "all":
        return run.steps or [run.last_step]  # last_step says what to do when there is none
    try:
        chosen = sorted({int(step) for step in text.split(",")})
    except ValueError:
        raise GuppyError(f"{text!r} names no steps; say all, or numbers such as 0,64,512.") from None
    for step in chosen:
        run.step_path(step)
    return chosen


def tracked(steps: list[int]) -> Iterable[int]:
    """The steps, with a bar on the terminal of how far they are."""
    if not sys.stderr.isatty():
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, "checkpoints", console=Console(stderr=True), transient=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal, as a function of what is done and of how much there is; None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _printable(text: str) -> str:
    """A model can produce any byte; control characters would do things to the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value))
