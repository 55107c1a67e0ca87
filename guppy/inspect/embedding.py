"""The tables of token and position embeddings: maps of them, and what lies near what."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.errors import GuppyError
from guppy.inspect.asking import Option, Question, Subject
from guppy.inspect.circuits import Tokens
from guppy.inspect.vocabulary import TOKENS, asked_tokens, token_id, words
from guppy.model import Guppy

AXES = 3
METHODS = {"pca": "", "tsne": "sklearn", "umap": "umap"}
"""How the map is made, and the package that it needs."""
_INSTALL = {"tsne": "scikit-learn", "umap": "umap-learn"}
_BEFORE_TSNE = 50
"""Principal components that t-SNE and UMAP start from (van der Maaten & Hinton 2008, section 4.2, use 30)."""


@dataclass(frozen=True)
class EmbeddingMap:
    """Vectors as points that can be drawn."""

    ids: Int64[Tensor, " vector"]
    """The token of each point."""
    points: Float[Tensor, "vector 3"]
    """Coordinates. Of PCA in the units of the vectors, the first axis the longest; an axis points to where its
    coordinates reach farther (their third moment is positive), so that maps of two steps are seldom mirrored. The
    third axis is 0 for t-SNE and UMAP, which draw in two."""
    explained: Float[Tensor, " 3"] | None
    """The share of the variance along each axis, with PCA."""
    method: str
    methods: list[str]
    """Those whose packages are installed."""


@dataclass(frozen=True)
class Neighbours:
    """The tokens whose vectors point most nearly the same way."""

    token: int
    ids: Int64[Tensor, " neighbour"]
    """Nearest first, the token itself left out."""
    cosine: Float[Tensor, " neighbour"]


@dataclass(frozen=True)
class PositionEmbedding:
    """The vectors of positions."""

    points: Float[Tensor, "pos 3"]
    """Principal components, as in `EmbeddingMap.points`."""
    explained: Float[Tensor, " 3"]
    similarity: Float[Tensor, "pos pos"]
    """Cosines, after the mean over positions is taken away: it is the same everywhere."""
    norm: Float[Tensor, " pos"]


@torch.no_grad()
def token_map(model: Guppy, method: str = "pca", tokens: Tokens = None, seed: int = 0) -> EmbeddingMap:
    """A map of the token embeddings by "pca", "tsne" (van der Maaten & Hinton 2008) or "umap" (McInnes et al. 2018).

    PCA is exact; the others keep who is near whom, not how far, and depend on `seed`. Raises GuppyError on an
    unknown method or one whose package is not installed."""
    ids = torch.arange(model.config.vocab_size) if tokens is None else tokens
    rows = model.embed.weight[ids].float().cpu()
    if method not in METHODS:
        raise GuppyError(f"There is no map {method!r}; choose {', '.join(METHODS)}.")
    installed = [name for name, package in METHODS.items() if not package or find_spec(package)]
    if method not in installed:
        raise GuppyError(f"{method} needs the package {_INSTALL[method]}: pip install {_INSTALL[method]}, or take pca.")
    if method == "pca":
        points, explained = principal(rows, AXES)
        return EmbeddingMap(ids, points, explained, method, installed)
    start = principal(rows, _BEFORE_TSNE)[0].numpy()
    if method == "tsne":
        maker = _load("sklearn.manifold").TSNE(2, perplexity=min(30.0, (len(rows) - 1) / 3), random_state=seed)
    else:
        maker = _load("umap").UMAP(n_components=2, random_state=seed)
    flat = torch.from_numpy(maker.fit_transform(start)).float()
    return EmbeddingMap(ids, F.pad(flat, (0, AXES - 2)), None, method, installed)


def _load(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise GuppyError(
            f"{package} is installed but cannot be loaded ({error}); install it again, or take pca."
        ) from error


@torch.no_grad()
def neighbours(model: Guppy, token: int, k: int = 12, tokens: Tokens = None) -> Neighbours:
    """The `k` tokens nearest to one by the cosine of their embeddings. Raises GuppyError when there is none such."""
    vocabulary = model.config.vocab_size
    if not 0 <= token < vocabulary:
        raise GuppyError(f"There is no token {token}; ids go from 0 to {vocabulary - 1}.")
    if not 1 <= k <= 1000:
        raise GuppyError(f"k must be between 1 and 1000, not {k}.")
    ids = torch.arange(vocabulary) if tokens is None else tokens
    ids = ids[ids != token]
    rows = model.embed.weight.float()
    cosine = F.normalize(rows[ids], dim=-1) @ F.normalize(rows[token], dim=-1)
    nearest = cosine.topk(min(k, len(ids)))
    return Neighbours(token, ids[nearest.indices], nearest.values)


@torch.no_grad()
def position_embedding(model: Guppy) -> PositionEmbedding:
    """The position embeddings' map and how alike they are. Raises GuppyError when the model has no positions."""
    rows = model.pos_embed.weight.float()
    if not model.hook_pos_embed(rows[None]).any():
        raise GuppyError("This model has no positions: they were taken out. Choose a run that has them.")
    points, explained = principal(rows, AXES)
    unit = F.normalize(rows - rows.mean(0), dim=-1)
    return PositionEmbedding(points, explained, unit @ unit.T, rows.norm(dim=-1))


def principal(
    rows: Float[Tensor, "vector d"], axes: int
) -> tuple[Float[Tensor, "vector axis"], Float[Tensor, " axis"]]:
    """The rows' coordinates along their principal axes, and the share of the variance along each; 0 where there are
    fewer axes than asked for. Signs as `EmbeddingMap.points` says."""
    centred = (rows - rows.mean(0)).double()
    variance, directions = torch.linalg.eigh(centred.T @ centred)  # smallest first
    variance, directions = variance.flip(0).clamp(min=0), directions.flip(1)[:, :axes]
    points = centred @ directions
    points = points * torch.where(points.pow(3).sum(0) < 0, -1.0, 1.0)
    share = variance / variance.sum().clamp(min=torch.finfo(variance.dtype).tiny)
    missing = axes - points.shape[1]
    return F.pad(points, (0, max(0, missing))).float(), F.pad(share[:axes], (0, max(0, missing))).float()


# -- as questions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedNeighbours:
    """`Neighbours` with the text of each id."""

    token: int
    ids: Int64[Tensor, " neighbour"]
    cosine: Float[Tensor, " neighbour"]
    words: dict[str, str]


def _ask_map(subject: Subject, method: str, tokens: str) -> EmbeddingMap:
    return token_map(subject.model, method, asked_tokens(subject, tokens))


def _ask_neighbours(subject: Subject, token: str, top: int, tokens: str) -> NamedNeighbours:
    at = token_id(subject.tokenizer, token)
    near = neighbours(subject.model, at, top, asked_tokens(subject, tokens))
    return NamedNeighbours(at, near.ids, near.cosine, words(subject.tokenizer, [at], near.ids))


def _ask_positions(subject: Subject) -> PositionEmbedding:
    return position_embedding(subject.model)


QUESTIONS = (
    Question(
        "embedding",
        "A map of the token embeddings.",
        _ask_map,
        options=(Option("method", str, "pca", "How the map is made.", tuple(METHODS)), TOKENS),
        prompt=False,
    ),
    Question(
        "neighbours",
        "The tokens whose embeddings are nearest to one token's.",
        _ask_neighbours,
        options=(
            Option("token", str, "#1", "One token: its text, or # and its id."),
            Option("top", int, 12, "How many neighbours."),
            TOKENS,
        ),
        prompt=False,
    ),
    Question("positions", "A map of the position embeddings, and how alike they are.", _ask_positions, prompt=False),
)
