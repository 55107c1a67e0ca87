"""What a model and its training are made of, validated where they are built."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar

from guppy.errors import GuppyError

Config = TypeVar("Config", bound="ModelConfig | TrainConfig")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise GuppyError(message)


def _from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
    known = {field.name for field in fields(cls)}
    unknown = sorted(set(values) - known)
    _require(not unknown, f"{cls.__name__} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    try:
        return cls(**values)
    except TypeError as error:
        raise GuppyError(f"{cls.__name__} cannot be made from these settings: {error}.") from error


@dataclass(frozen=True)
class ModelConfig:
    """GPT-2's architecture with a free MLP width and activation. Raises GuppyError on an impossible shape."""

    vocab_size: int
    """Rows of the embedding: the tokens that exist, rounded up to a multiple of 64."""
    n_ctx: int = 128
    """Context length in tokens; positions are learned, so nothing longer can be read at once."""
    n_layers: int = 6
    n_heads: int = 6
    d_model: int = 384
    """Width of the residual stream."""
    d_mlp: int = 768
    """Width of the feed-forward layer."""
    act_fn: Literal["relu", "gelu", "gelu_new"] = "relu"
    dropout: float = 0.0
    ln_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_ctx", "n_layers", "n_heads", "d_model", "d_mlp"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            _require(whole and value >= 1, f"{name} must be a whole number of at least 1, not {value!r}.")
        _require(
            self.d_model % self.n_heads == 0,
            f"d_model ({self.d_model}) must be a multiple of n_heads ({self.n_heads}): heads share it equally.",
        )
        _require(
            self.act_fn in ("relu", "gelu", "gelu_new"),
            f"act_fn must be relu, gelu or gelu_new, not {self.act_fn!r}.",
        )
        _require(0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, not {self.dropout}.")
        _require(self.ln_eps > 0, f"ln_eps must be above 0, not {self.ln_eps}.")

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        return _from_dict(cls, values)


PRESETS: dict[str, dict[str, Any]] = {
    "fry": {"n_layers": 4, "n_heads": 4, "d_model": 128, "d_mlp": 512},
    "guppy": {"n_layers": 6, "n_heads": 6, "d_model": 384, "d_mlp": 768},
    "pike": {"n_layers": 8, "n_heads": 8, "d_model": 512, "d_mlp": 2048},
}
"""Model sizes: `fry` about 1M parameters, `guppy` 8M, `pike` 26M."""


def preset(size: str, vocab_size: int, **changes: Any) -> ModelConfig:
    """The ModelConfig of a named size; `changes` override its settings. Raises GuppyError on an unknown size."""
    _require(size in PRESETS, f"There is no size {size!r}; choose {', '.join(PRESETS)}.")
    return ModelConfig(vocab_size=vocab_size, **{**PRESETS[size], **changes})


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Exactly one of `steps`, `tokens` and `max_seconds` is the budget that the schedule follows."""

    steps: int | None = None
    tokens: int | None = None
    """Budget in non-padding target tokens."""
    max_seconds: float | None = None
    """Budget in seconds of wall time, checkpoints and evaluation included, pauses not."""
    seed: int = 0
    """Seeds the initial weights, the data order and the samples."""
    batch_size: int | None = None
    """Rows a step. None: 32 for each 128 of the model's width. Muon's work a step grows by one power of the width more
    than that of the rows, so this keeps its share of the time the same."""
    lr: float | None = None
    """Highest learning rate. None: up to a width of 128 it is 0.012 for muon and 0.003 for adamw; beyond, in inverse
    proportion to d_model, as the rates of hidden matrices should be (Yang et al. 2021, table 3)."""
    min_lr: float = 0.0
    """Learning rate at the end of the decay."""
    warmup: float = 0.02
    """Share of the budget over which the rate rises from 0 to lr."""
    decay: float = 0.8
    """Share of the budget at its end over which the rate falls to min_lr (warmup-stable-decay)."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the matrices inside the blocks, AdamW for all else. adamw: AdamW for all."""
    momentum: float = 0.9
    """Muon's."""
    beta1: float = 0.9
    """AdamW's, as beta2."""
    beta2: float = 0.95
    weight_decay: float = 0.05
    """On matrices only; biases, LayerNorm gains and positions are not decayed."""
    grad_clip: float = 1.0
    """Largest global gradient norm."""
    checkpoints: int = 24
    """How many checkpoints to aim for, step 0 and the last included."""
    heldout_rows: int = 128
    """Held-out rows scored at each checkpoint."""
    sample_tokens: int = 40
    """Longest reply to a probe prompt, in tokens."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the matrix products; weights and optimizer state stay float32."""

    def __post_init__(self) -> None:
        budgets = {name: getattr(self, name) for name in ("steps", "tokens", "max_seconds")}
        named = [name for name, value in budgets.items() if value is not None]
        _require(len(named) == 1, "Give exactly one of steps, tokens and max_seconds as the training budget.")
        _require(budgets[named[0]] > 0, f"{named[0]} must be above 0, not {budgets[named[0]]}.")
        for name in ("batch_size", "checkpoints", "heldout_rows", "sample_tokens"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} must be at least 1, not {value}.")
        for name in ("lr", "grad_clip"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} must be above 0, not {value}.")
        for name in ("min_lr", "weight_decay"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, not {getattr(self, name)}.")
        _require(
            self.warmup >= 0 and self.decay >= 0 and self.warmup + self.decay <= 1,
            f"warmup ({self.warmup}) and decay ({self.decay}) are shares of the budget; together at most 1.",
        )
        for name in ("beta1", "beta2", "momentum"):
            _require(0 <= getattr(self, name) < 1, f"{name} must be at least 0 and below 1.")
        _require(
            self.optimizer in ("muon", "adamw"),
            f"optimizer must be muon or adamw, not {self.optimizer!r}.",
        )
        _require(
            self.dtype in ("auto", "float32", "bfloat16", "float16"),
            f"dtype must be auto, float32, bfloat16 or float16, not {self.dtype!r}.",
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        return _from_dict(cls, values)

    def with_changes(self, **changes: Any) -> TrainConfig:
        return replace(self, **changes)

    def for_model(self, model: ModelConfig) -> TrainConfig:
        """The same settings with what depends on the model's size filled in."""
        lr = {"muon": 0.012, "adamw": 0.003}[self.optimizer] * min(1, 128 / model.d_model)
        rows = 32 * max(1, round(model.d_model / 128))
        return replace(
            self,
            lr=lr if self.lr is None else self.lr,
            batch_size=rows if self.batch_size is None else self.batch_size,
        )
