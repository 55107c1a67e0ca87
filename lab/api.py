"""What pages fetch: runs, news, scores, tokens, attention, replies. Read-only; every failure is one sentence.

Routes (all GET; errors are {"error": sentence} with a 4xx or 5xx status):

    /lab/runs                                 all runs, a person's own first, newest first
    /lab/run/{id}?cursor=                     one run's manifest, and the metrics and samples since the cursor
    /lab/scores/{id}                          what was measured of its checkpoints, and how; null if nothing was
    /lab/tokens?run=&prompt=                  the prompt as the run's model reads it
    /lab/attention?run=&prompt=&steps=        binary: every head's pattern at some steps, or at "all"
    /lab/replies?run=&prompt=&steps=&temperature=&top_k=&top_p=&seed=    what each of the steps replies
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import struct
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guppy.errors import GuppyError
from guppy.runs import Run, find_run
from guppy.runs.scores import read_scores
from lab import models
from lab.listing import listing, news

log = logging.getLogger("lab")

# Reading waits for the disk; computing takes a core. Thirty viewers at once wait in line instead of sharing two cores.
_LIMITS = {"read": 16, "compute": max(2, os.cpu_count() or 2)}
_limiters: dict[str, anyio.CapacityLimiter] = {}
# Below this a packet is sent as it is; above, gzip's fastest level costs less time than it saves on any network.
_GZIP_FROM = 16_384


def _endpoint(answer: Callable[[Request], Response], kind: str) -> Callable[[Request], Any]:
    """An endpoint that runs `answer` in a thread, at most as many at once as its kind allows."""

    async def endpoint(request: Request) -> Response:
        limiter = _limiters.setdefault(kind, anyio.CapacityLimiter(_LIMITS[kind]))
        try:
            return await anyio.to_thread.run_sync(answer, request, limiter=limiter)
        except GuppyError as error:
            return _now(request, {"error": str(error)}, 400)
        except Exception as error:
            log.exception("%s failed", request.url.path)
            sentence = f"The lab could not do that ({type(error).__name__}); its log says why."
            return _now(request, {"error": sentence}, 500)

    return endpoint


def get_runs(request: Request) -> Response:
    return _now(request, {"runs": listing()})


def get_run(request: Request) -> Response:
    return _now(request, news(find_run(request.path_params["id"]), request.query_params.get("cursor", "")))


def get_scores(request: Request) -> Response:
    kept = read_scores(find_run(request.path_params["id"]))
    return _now(request, {"scores": asdict(kept) | {"rows": kept.table()} if kept else None})


def get_tokens(request: Request) -> Response:
    prompt = _prompt(request)[1]
    return _unchanging(request, _json({"tokens": prompt.tokens, "ids": prompt.ids, "cut": prompt.cut}))


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
    return _unchanging(request, pack(header, packed.tobytes()), "application/octet-stream")


def get_replies(request: Request) -> Response:
    run, prompt = _prompt(request)
    settings = {
        "temperature": _number(request, "temperature", 0.0),
        "top_k": _number(request, "top_k", None, int),
        "top_p": _number(request, "top_p", None),
        "seed": _number(request, "seed", 0, int),
    }
    steps = models.read_steps(run, request.query_params.get("steps", "all"))
    replies = [asdict(models.reply(run, prompt, step, **settings)) for step in steps]
    return _unchanging(request, _json({"replies": replies}))


def get_nothing(request: Request) -> Response:
    return _now(request, {"error": "There is nothing at this address of the lab."}, 404)


ROUTES = [
    Route("/lab/runs", _endpoint(get_runs, "read"), methods=["GET"]),
    Route("/lab/run/{id}", _endpoint(get_run, "read"), methods=["GET"]),
    Route("/lab/scores/{id}", _endpoint(get_scores, "read"), methods=["GET"]),
    Route("/lab/tokens", _endpoint(get_tokens, "read"), methods=["GET"]),
    Route("/lab/attention", _endpoint(get_attention, "compute"), methods=["GET"]),
    Route("/lab/replies", _endpoint(get_replies, "compute"), methods=["GET"]),
    Route("/lab/{rest:path}", _endpoint(get_nothing, "read"), methods=["GET"]),
]


def pack(header: dict[str, Any], payload: bytes) -> bytes:
    """The header's length (uint32, little-endian), the header as JSON, spaces up to a multiple of 4, the payload."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + payload


def _prompt(request: Request) -> tuple[Run, models.Prompt]:
    run = models.get_run(request.query_params.get("run", ""))
    return run, models.read_prompt(run, request.query_params.get("prompt", ""))


def _number(request: Request, name: str, default: Any, kind: type = float) -> Any:
    text = request.query_params.get(name, "")
    try:
        return kind(text) if text else default
    except ValueError:
        raise GuppyError(f"{name} must be a {'whole ' if kind is int else ''}number, not {text[:40]!r}.") from None


def _json(content: dict[str, Any]) -> bytes:
    try:
        return json.dumps(content, allow_nan=False).encode()
    except ValueError:  # a diverged run has losses that JSON has no word for
        return json.dumps(json.loads(json.dumps(content), parse_constant=lambda _: None)).encode()


def _now(request: Request, content: dict[str, Any], status: int = 200) -> Response:
    """What may be something else the next time."""
    return _send(request, _json(content), status, {"Cache-Control": "no-store"}, "application/json")


def _unchanging(request: Request, body: bytes, kind: str = "application/json") -> Response:
    """What stays the same until the run's files change: the browser may keep it, and asks whether it still holds."""
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return _send(request, body, 200, headers, kind)


def _send(request: Request, body: bytes, status: int, headers: dict[str, str], kind: str) -> Response:
    if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=1)
        headers = headers | {"Content-Encoding": "gzip"}
    return Response(body, status, headers | {"Vary": "Accept-Encoding"}, kind)
