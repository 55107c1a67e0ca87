"""What pages and people ask of a model's inside: every question of `guppy.inspect` by its name.

    GET /lab/inspect/{what}?run=&step=&prompt=&format=&<option>=    errors as in `lab.api`

`steps=0,64` or `steps=all` instead of `step` asks several at once; without either it is the last. An answer is binary:
a header (JSON: run, prompt, tokens, ids, cut, surgery, surgery_text, what, about, hooks, exactness, options, answers),
then the arrays that `answers`, one for each step, describe as {name, dtype, shape, offset}. `format=json`, `npz` and
`csv` are for people; the last two take one step.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guppy.errors import GuppyError
from guppy.inspect.questions import Answer, question
from guppy.inspect.writing import as_lists, csv_text, npz_bytes
from lab import inspecting, models
from lab.answers import as_json, endpoint, number, pack, unchanging

RESERVED = ("run", "step", "steps", "prompt", "format")
"""What no option of a question can be called."""
_KINDS = {"": "application/octet-stream", "json": "application/json", "npz": "application/zip", "csv": "text/csv"}


def get_answer(request: Request) -> Response:
    query = request.query_params
    form = query.get("format", "")
    if form not in _KINDS:
        raise GuppyError(f"There is no format {form[:40]!r}; choose json, npz or csv.")
    asked = question(request.path_params["what"])
    run = models.get_run(query.get("run", ""))
    text = query.get("prompt", "") if asked.prompt else None
    prompt = inspecting.NO_PROMPT if text is None else models.read_prompt(run, text)
    steps = (
        models.read_steps(run, query["steps"]) if "steps" in query else [number(request, "step", run.last_step, int)]
    )
    options = {name: value for name, value in query.items() if name not in RESERVED}
    answers = inspecting.ask(run, asked, prompt, steps, options)
    header = {
        "run": run.id,
        "prompt": None if text is None else text[-models.MAX_PROMPT :],
        "tokens": prompt.tokens,
        "ids": prompt.ids,
        "cut": prompt.cut,
        "surgery": run.surgery.names,
        "surgery_text": run.surgery.description,
        "what": asked.name,
        "about": asked.about,
        "hooks": asked.hooks,
        "exactness": asked.exactness,
        "options": answers[0].options if answers else {},
    }
    return unchanging(request, _body(form, header, steps, answers), _KINDS[form])


def _body(form: str, header: dict[str, Any], steps: list[int], answers: list[Answer]) -> bytes:
    if form == "":
        described, payload = inspecting.packed(answers, steps)
        return pack(header | {"answers": described}, payload)
    if form == "json":
        each = [
            {"step": step, "facts": one.facts, "arrays": as_lists(one.arrays)}
            for step, one in zip(steps, answers, strict=True)
        ]
        return as_json(header | {"answers": each})
    if len(answers) != 1:
        raise GuppyError(f"A file of {form.upper()} holds one step; name it with step=.")
    (one,) = answers
    if form == "csv":
        return csv_text(one.arrays).encode()
    return npz_bytes(header | {"step": steps[0]} | one.facts, one.arrays)


ROUTES = [Route("/lab/inspect/{what}", endpoint(get_answer, "compute"), methods=["GET"])]
