"""What pages fetch: runs, news, scores, tokens, attention, replies. Read-only; every failure is one sentence.

Routes (all GET; errors are {"error": sentence} with a 4xx or 5xx status; what starts with data/ is in `lab.data_api`,
with neurons/ in `lab.neuron_api`):

    /lab/runs                                 all runs, a person's own first, newest first
    /lab/run/{id}?cursor=                     one run's manifest, and the metrics and samples since the cursor
    /lab/scores/{id}                          what was measured of its checkpoints, and how; null if nothing was
    /lab/tuned/{id}                           which of its checkpoints have a tuned lens, and what it is worth
    /lab/tokens?run=&prompt=                  the prompt as the run's model reads it
    /lab/attention?run=&prompt=&steps=        binary: every head's pattern at some steps, or at "all"
    /lab/replies?run=&prompt=&steps=&temperature=&top_k=&top_p=&seed=    what each of the steps replies
    /lab/inspect/{what}?run=&step=&prompt=&…  what a step answers to a question of guppy.inspect: `lab.inspect_api`
"""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guppy.inspect.tuned_lens import trained
from guppy.runs import Run, find_run
from guppy.runs.scores import read_scores
from lab import data_api, inspect_api, models, neuron_api
from lab.answers import as_json, endpoint, now, number, pack, unchanging
from lab.listing import listing, news


def get_runs(request: Request) -> Response:
    return now(request, {"runs": listing()})


def get_run(request: Request) -> Response:
    return now(request, news(find_run(request.path_params["id"]), request.query_params.get("cursor", "")))


def get_scores(request: Request) -> Response:
    kept = read_scores(find_run(request.path_params["id"]))
    return now(request, {"scores": asdict(kept) | {"rows": kept.table()} if kept else None})


def get_tuned(request: Request) -> Response:
    return now(request, {"steps": trained(models.get_run(request.path_params["id"]))})


def get_tokens(request: Request) -> Response:
    prompt = _prompt(request)[1]
    return unchanging(request, as_json({"tokens": prompt.tokens, "ids": prompt.ids, "cut": prompt.cut}))


def get_attention(request: Request) -> Response:
    run, prompt = _prompt(request)
    steps = models.read_steps(run, request.query_params.get("steps", "all"))
    packed = models.attention(run, prompt, steps)
    header = {
        "run": run.id,
        "prompt": request.query_params.get("prompt", "")[-models.MAX_PROMPT :],
        "steps": steps,
        "layers": packed.shape[1],
        "heads": packed.shape[2],
        "n": packed.shape[3],
        "tokens": prompt.tokens,
        "cut": prompt.cut,
        "surgery": run.surgery.names,
        "surgery_text": run.surgery.description,
        "hook": "blocks.{layer}.attn.hook_pattern",
        "resolution": f"1/{models.RESOLUTION}",
    }
    return unchanging(request, pack(header, packed.tobytes()), "application/octet-stream")


def get_replies(request: Request) -> Response:
    run, prompt = _prompt(request)
    settings = {
        "temperature": number(request, "temperature", 0.0),
        "top_k": number(request, "top_k", None, int),
        "top_p": number(request, "top_p", None),
        "seed": number(request, "seed", 0, int),
    }
    steps = models.read_steps(run, request.query_params.get("steps", "all"))
    replies = [asdict(models.reply(run, prompt, step, **settings)) for step in steps]
    return unchanging(request, as_json({"replies": replies}))


def get_nothing(request: Request) -> Response:
    return now(request, {"error": "There is nothing at this address of the lab."}, 404)


ROUTES = [
    *data_api.ROUTES,
    *inspect_api.ROUTES,
    *neuron_api.ROUTES,
    Route("/lab/runs", endpoint(get_runs, "read"), methods=["GET"]),
    Route("/lab/run/{id}", endpoint(get_run, "read"), methods=["GET"]),
    Route("/lab/scores/{id}", endpoint(get_scores, "read"), methods=["GET"]),
    Route("/lab/tuned/{id}", endpoint(get_tuned, "read"), methods=["GET"]),
    Route("/lab/tokens", endpoint(get_tokens, "read"), methods=["GET"]),
    Route("/lab/attention", endpoint(get_attention, "compute"), methods=["GET"]),
    Route("/lab/replies", endpoint(get_replies, "compute"), methods=["GET"]),
    Route("/lab/{rest:path}", endpoint(get_nothing, "read"), methods=["GET"]),
]


def _prompt(request: Request) -> tuple[Run, models.Prompt]:
    run = models.get_run(request.query_params.get("run", ""))
    return run, models.read_prompt(run, request.query_params.get("prompt", ""))
