"""What the Data page fetches, and what visitors write or upload there. Every failure is one sentence.

GET  /lab/data/characters                      {characters: [{id, name, description}]} that came with the lab
GET  /lab/data/character?name=&seed=&topic=    {about, samples}: who it is, and a dozen conversations
GET  /lab/data/counts?name=&leaky=             {counts}, or {pending} while 60,000 conversations are counted
GET  /lab/data/own?id=                         what a visitor kept: {entry, text or checked}
GET  /lab/data/speed                           {sizes: {size: {tokens_per_second, run}}} as measured here
POST /lab/data/preview                         {text, seed} → {about, samples}, or {error, line}; keeps nothing
POST /lab/data/keep                            {text} → {id, name}: a written persona, kept to be trained
POST /lab/data/bring?name=&tokens=             a file's bytes → {id, name, checked}, or {error, file, line}
"""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guppy.config import PRESETS
from guppy.errors import GuppyError
from guppy.personas import list_personas
from guppy.runs import files, list_runs
from lab import bringing, characters, shelf
from lab.answers import endpoint, now, number, receiver
from lab.counts import counts
from lab.listing import size_of

# Of JSON around a persona's text, each character of which may be spelled with six.
_MOST_JSON = 6 * characters.MOST_CHARACTERS + 1000
_SPEEDS = 50


def get_characters(request: Request) -> Response:
    known = {name: characters.describe(name, count=0)["about"] for name in list_personas()}
    told = [{"id": name, "name": about["name"], "description": about["description"]} for name, about in known.items()]
    return now(request, {"characters": told})


def get_character(request: Request) -> Response:
    name, topic = request.query_params.get("name", ""), request.query_params.get("topic")
    return now(request, characters.describe(name, seed=number(request, "seed", 0, int), topic=topic or None))


def get_counts(request: Request) -> Response:
    leaky = request.query_params.get("leaky", "") in ("1", "true")
    told = counts(request.query_params.get("name", ""), leaky=leaky)
    return now(request, {"pending": True} if told is None else {"counts": told})


def get_own(request: Request) -> Response:
    entry = shelf.find(request.query_params.get("id", ""))
    if entry is None:
        raise GuppyError("This is no longer here; write or upload it again.")
    told: dict[str, Any] = {"id": entry.id, "name": entry.name, "kind": entry.kind}
    if entry.kind == "persona":
        return now(request, told | {"text": entry.path.read_text(encoding="utf-8-sig")})
    return now(request, told | {key: entry.about.get(key) for key in ("checked", "tokens", "bytes")})


def get_speed(request: Request) -> Response:
    """Tokens a second of the newest run of each size, one's own before bundled ones: the median of its last rows."""
    sizes: dict[str, dict[str, Any]] = {}
    for run in sorted(list_runs(), key=lambda run: run.bundled):
        size = "custom" if run.error else size_of(run.manifest.get("model", {}))
        if size not in PRESETS or size in sizes:
            continue
        rows, _, _ = files.read_rows(run.path / files.METRICS)
        speeds = [row["tokens_per_second"] for row in rows if row.get("tokens_per_second")]
        if speeds:
            sizes[size] = {"tokens_per_second": median(speeds[-_SPEEDS:]), "run": run.name}
    return now(request, {"sizes": {size: sizes[size] for size in PRESETS if size in sizes}})


def post_preview(request: Request, body: bytes) -> Response:
    asked = _read(body)
    seed = asked.get("seed", 0)
    return now(request, characters.preview(asked["text"], seed=seed if isinstance(seed, int) else 0))


def post_keep(request: Request, body: bytes) -> Response:
    entry = characters.keep(_read(body)["text"])
    return now(request, {"id": entry.id, "name": entry.name, "kind": entry.kind})


def post_bring(request: Request, body: bytes) -> Response:
    query = request.query_params
    entry = bringing.bring(query.get("name", ""), query.get("tokens", "bpe"), body)
    told = {"id": entry.id, "name": entry.name, "kind": entry.kind}
    return now(request, told | {key: entry.about.get(key) for key in ("checked", "tokens", "bytes")})


def _read(body: bytes) -> dict[str, Any]:
    """What a page sent: {text, …}."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("text"), str):
        raise GuppyError("This cannot be read; send JSON with a text.")
    return asked


ROUTES = [
    Route("/lab/data/characters", endpoint(get_characters, "read"), methods=["GET"]),
    Route("/lab/data/character", endpoint(get_character, "read"), methods=["GET"]),
    Route("/lab/data/counts", endpoint(get_counts, "read"), methods=["GET"]),
    Route("/lab/data/own", endpoint(get_own, "read"), methods=["GET"]),
    Route("/lab/data/speed", endpoint(get_speed, "read"), methods=["GET"]),
    Route("/lab/data/preview", receiver(post_preview, "compute", "application/json", _MOST_JSON), methods=["POST"]),
    Route("/lab/data/keep", receiver(post_keep, "compute", "application/json", _MOST_JSON), methods=["POST"]),
    Route(
        "/lab/data/bring",
        receiver(post_bring, "upload", "application/octet-stream", bringing.LARGEST),
        methods=["POST"],
    ),
]
