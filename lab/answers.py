"""How routes answer: in threads that wait in line, as JSON, every failure as one sentence."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import struct
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from guppy.errors import GuppyError

log = logging.getLogger("lab")

# Reading waits for the disk or another process; computing takes a core. Thirty viewers at once wait in line instead of
# sharing two cores.
_LIMITS = {"read": 16, "compute": max(2, os.cpu_count() or 2), "upload": 4}
_limiters: dict[str, anyio.CapacityLimiter] = {}
# Below this a packet is sent as it is; above, gzip's fastest level costs less time than it saves on any network.
_GZIP_FROM = 16_384
# Seconds in which what is sent must have arrived.
_PATIENCE = 60


def endpoint(answer: Callable[[Request], Response], kind: str) -> Callable[[Request], Any]:
    """An endpoint that runs `answer` in a thread, at most as many at once as its kind allows."""

    async def answering(request: Request) -> Response:
        return await _in_thread(request, kind, answer, request)

    return answering


def receiver(answer: Callable[[Request, bytes], Response], kind: str, media_type: str, most: int) -> Callable[..., Any]:
    """As `endpoint`, for requests with a body of up to `most` bytes.

    The media type must be one that a page of another site cannot send without asking first (no form can), so that
    nobody who merely visits such a page leaves anything in a lab on the same machine."""

    async def answering(request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0].strip() != media_type:
            return now(request, {"error": f"Send this as {media_type}."}, 415)
        try:
            with anyio.fail_after(_PATIENCE):
                body = await _body(request, most)
        except TimeoutError:
            return now(request, {"error": "The upload took too long; try again."}, 408)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return now(request, {"error": f"This is more than {_size(most)}; give a part of it."}, 413)
        return await _in_thread(request, kind, answer, request, body)

    return answering


async def _body(request: Request, most: int) -> bytes | None:
    """What is sent; None as soon as it is more than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)


async def _in_thread(request: Request, kind: str, answer: Callable[..., Response], *given: Any) -> Response:
    limiter = _limiters.setdefault(kind, anyio.CapacityLimiter(_LIMITS[kind]))
    try:
        return await anyio.to_thread.run_sync(answer, *given, limiter=limiter)
    except GuppyError as error:
        # An error may know where in a text it stands.
        return now(request, {"error": str(error), **getattr(error, "place", {})}, 400)
    except Exception as error:
        log.exception("%s failed", request.url.path)
        sentence = f"The lab could not do that ({type(error).__name__}); its log says why."
        return now(request, {"error": sentence}, 500)


def number(request: Request, name: str, default: Any, kind: type = float) -> Any:
    """A number of the query. Raises GuppyError when it is something else."""
    text = request.query_params.get(name, "")
    try:
        return kind(text) if text else default
    except ValueError:
        raise GuppyError(f"{name} must be a {'whole ' if kind is int else ''}number, not {text[:40]!r}.") from None


def as_json(content: dict[str, Any]) -> bytes:
    """JSON, with null for numbers that it has no word for."""
    try:
        return json.dumps(content, allow_nan=False).encode()
    except ValueError:  # a diverged run has such losses
        return json.dumps(json.loads(json.dumps(content), parse_constant=lambda _: None)).encode()


def pack(header: dict[str, Any], payload: bytes) -> bytes:
    """The header's length (uint32, little-endian), the header as JSON, spaces up to a multiple of 4, the payload."""
    text = as_json(header)
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + payload


def now(request: Request, content: dict[str, Any], status: int = 200) -> Response:
    """What may be something else the next time."""
    return _send(request, as_json(content), status, {"Cache-Control": "no-store"}, "application/json")


def unchanging(request: Request, body: bytes, kind: str = "application/json") -> Response:
    """What stays the same until files change: the browser may keep it, and asks whether it still holds."""
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


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 2**20 else f"{count // 1000} kB"
