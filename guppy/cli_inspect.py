"""The command that looks inside a trained model: inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from guppy.cli_models import Json, RunName, Step, progress
from guppy.errors import GuppyError
from guppy.inspect.questions import names


def _list(wanted: bool) -> None:
    """Print every question with its options, and end."""
    if not wanted:
        return
    from guppy.inspect.questions import question

    for asked in map(question, names()):
        print(f"{asked.name:<18}{asked.about}{'' if asked.prompt else ' Needs no prompt.'}")
        for option in asked.options:
            kind = "|".join(option.choices) or option.kind.__name__
            default = "" if option.default in (None, "") else f" [{option.default}]"
            print(f"{'':<20}{option.name}={kind}: {option.about}{default}")
    raise typer.Exit


def inspect(
    run: RunName,
    prompt: Annotated[str | None, typer.Option(help="What the model reads; a few questions need none.")] = None,
    step: Step = None,
    what: Annotated[str, typer.Option(help=f"What to ask: {', '.join(names())}.")] = "attention",
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, a setting of the question; repeatable.")] = None,
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the exact arrays to this .npz or .csv file.")] = None,
    _listed: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list, help="All questions with their options.")
    ] = False,
) -> None:
    """Look inside the model: ask it a question while it reads a prompt.

    Arrays are named, and nested in the order of the question's documentation: attention gives
    pattern[layer][head][query][key].
    """
    from guppy.inspect.questions import answer, question, settings, subject
    from guppy.inspect.writing import as_lists, json_text
    from guppy.runs import open_run

    asked = question(what)
    given = settings(asked, _options(option or []))
    if not as_json and out is None and asked.prepare is None:
        raise GuppyError("Say where the numbers go: --json for stdout, or --out FILE.npz.")
    if out is not None and out.suffix not in (".npz", ".csv"):
        raise GuppyError(f"{out} is neither .npz nor .csv; name it so.")
    if asked.prompt and prompt is None:
        raise GuppyError(f"The question {what!r} needs a prompt; give one with --prompt.")
    opened = open_run(run)
    if asked.prepare is not None:
        step = opened.last_step if step is None else step
        with progress(f"{what} at step {step}") as tell:
            asked.prepare(opened, step, tell)
    about = subject(opened, step, prompt if asked.prompt else None)
    said = answer(about, what, given)
    facts: dict[str, Any] = {"run": opened.id, "step": about.step, "prompt": prompt if asked.prompt else None}
    facts |= {"what": what, "surgery": opened.surgery.names, "ids": about.ids.tolist(), "tokens": about.tokens}
    facts |= {"cut": asked.prompt and len(opened.encode_prompt(prompt or "")) > len(about.ids)}
    facts |= {"hook": asked.hooks, "exactness": asked.exactness, "options": said.options, **said.facts}
    if as_json:
        print(json_text(facts | as_lists(said.arrays)))
    if out is not None:
        _write(out, facts, said.arrays)


def _options(texts: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise GuppyError(f"{text!r} sets nothing; write --option KEY=VALUE.")
        options[name.strip()] = value
    return options


def _write(path: Path, facts: dict[str, Any], arrays: dict[str, Any]) -> None:
    from guppy.inspect.writing import csv_text, npz_bytes
    from guppy.runs.files import write_bytes

    data = csv_text(arrays).encode() if path.suffix == ".csv" else npz_bytes(facts, arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    except OSError as error:
        raise GuppyError(f"{path} cannot be written ({error.strerror}); choose another --out.") from error
