"""How the Neurons page has an index built, and hears how far it is.

GET  /lab/neurons/index?run=&step=    {index: what is known of it or null, job: {run, step, running, done, of, error}}
POST /lab/neurons/index               {run, step} → the same; begins to build it
POST /lab/neurons/stop                {run, step} → the same; ends that
"""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guppy.errors import GuppyError
from lab import indexing
from lab.answers import endpoint, now, number, receiver

_MOST_JSON = 1000


def get_index(request: Request) -> Response:
    return now(request, indexing.state(request.query_params.get("run", ""), number(request, "step", -1, int)))


def _post(order: Callable[[str, int], None]) -> Callable[[Request, bytes], Response]:
    def answer(request: Request, body: bytes) -> Response:
        try:
            told = json.loads(body)
            run, step = str(told["run"]), int(told["step"])
        except (ValueError, TypeError, KeyError):
            raise GuppyError("Name a run and a step.") from None
        order(run, step)
        return now(request, indexing.state(run, step))

    return answer


ROUTES = [
    Route("/lab/neurons/index", endpoint(get_index, "read"), methods=["GET"]),
    Route(
        "/lab/neurons/index",
        receiver(_post(indexing.start), "read", "application/json", _MOST_JSON),
        methods=["POST"],
    ),
    Route(
        "/lab/neurons/stop",
        receiver(_post(indexing.stop), "read", "application/json", _MOST_JSON),
        methods=["POST"],
    ),
]
