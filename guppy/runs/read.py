"""Reading a run: its manifest, its curves, its samples, and its model at any checkpoint."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from guppy.config import ModelConfig, TrainConfig
from guppy.errors import GuppyError
from guppy.model import Guppy
from guppy.precision import DTYPES
from guppy.runs import files
from guppy.runs.lock import worker_of
from guppy.runs.scores import read_scores
from guppy.runs.tensors import check_tensors, read_tensors
from guppy.surgery import Surgery
from guppy.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pandas

FORMAT = 1
BUNDLED = Path(__file__).resolve().parents[2] / "checkpoints"
# The runs that come with the repository; a person's own may lie beside them.
BUNDLED_RUNS = ("fry", "guppy")
RUN_ID = re.compile(r"[a-z0-9._-]{1,80}")


class Run:
    """A run on disk. Opening reads the manifest; everything else is read when it is asked for.

    Attributes:
        path: its directory.
        id: the directory's name.
        manifest: run.json.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.id, self.manifest = path, path.name, manifest

    # -- what it was -----------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """queued, running, paused, finished, stopped, diverged or failed; "interrupted" when its worker is dead."""
        status = self.manifest["status"]
        return "interrupted" if status in ("running", "paused") and worker_of(self.path) is None else status

    @cached_property
    def model_config(self) -> ModelConfig:
        return ModelConfig.from_dict(self.manifest["model"])

    @cached_property
    def train_config(self) -> TrainConfig:
        return _train_config(self.manifest)

    @cached_property
    def surgery(self) -> Surgery:
        return Surgery.from_dict(self.manifest["surgery"])

    @property
    def parent(self) -> dict[str, Any] | None:
        """{"run", "step"} of the checkpoint that this run was forked from, or None."""
        return self.manifest.get("parent")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.path / files.TOKENIZER)

    @property
    def is_chat(self) -> bool:
        """Whether it learned conversations (ChatML) rather than plain text."""
        return bool(self.manifest["corpus"].get("chat", True))

    def encode_prompt(self, text: str) -> list[int]:
        """Tokens after which its model goes on: a user's turn and the header of the reply, or plain text as it is."""
        return self.tokenizer.encode_chat(text) if self.is_chat else self.tokenizer.encode(text)

    # -- over time -------------------------------------------------------------------------------

    @property
    def steps(self) -> list[int]:
        """The steps whose weights are there now."""
        return files.steps_in(self.path)

    @property
    def metrics(self) -> pandas.DataFrame:
        """metrics.jsonl as it is now: a row for each logged step and each evaluation, told apart by `kind`."""
        return self._frame(files.METRICS, ["kind", "step"])

    @property
    def samples(self) -> pandas.DataFrame:
        """samples.jsonl as it is now: step, prompt, text; replies to the prompt pack have a group, too."""
        return self._frame(files.SAMPLES, ["step", "prompt", "text"])

    @property
    def scores(self) -> pandas.DataFrame:
        """scores.json as it is now: a row for each checkpoint that `python -m guppy eval --steps` has measured, its
        columns as in `guppy.eval_report.flat`. Raises GuppyError when it is damaged."""
        import pandas

        kept = read_scores(self.path)
        return pandas.DataFrame(kept.table()) if kept and kept.rows else pandas.DataFrame(columns=["step"])

    def _frame(self, name: str, columns: list[str]) -> pandas.DataFrame:
        import pandas

        rows, _, _ = files.read_rows(self.path / name)
        return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=columns)

    # -- its model -------------------------------------------------------------------------------

    def step_path(self, step: int) -> Path:
        """The directory of a checkpoint. Raises GuppyError, with the steps there are, when it is not there."""
        path = files.step_path(self.path, step)
        if step < 0 or not (path / files.WEIGHTS).exists():
            steps = self.steps
            there = f"it has {_listed(steps)}" if steps else "it has none yet"
            raise GuppyError(f"Run {self.id} has no checkpoint at step {step}; {there}.")
        return path

    def weights(self, step: int | None = None) -> dict[str, Tensor]:
        """The weights of a checkpoint (the last one: None), float32, by parameter name.

        Raises GuppyError when it is not there, is damaged, or does not fit the manifest."""
        step = self.last_step if step is None else step
        path = self.step_path(step) / files.WEIGHTS
        others = [other for other in self.steps if other != step]
        mend = f"steps {_listed(others)} can still be opened" if others else "train the run again"
        tensors = read_tensors(path, mend)
        dtype = DTYPES.get(self.manifest.get("weights_dtype", "float32"), torch.float32)
        check_tensors(path, tensors, _shapes(self.model_config), dtype, mend)
        return {name: tensor.float() for name, tensor in tensors.items()}

    @property
    def last_step(self) -> int:
        """The last step with a checkpoint. Raises GuppyError when there is none yet."""
        steps = self.steps
        if not steps:
            raise GuppyError(f"Run {self.id} has no checkpoint yet; wait for its first, or resume it.")
        return steps[-1]

    def model(self, step: int | None = None) -> Guppy:
        """The model of a checkpoint (the last one: None) in evaluation mode, float32, on the CPU, after the run's
        surgery. Raises GuppyError as `weights` does."""
        weights = self.weights(step)
        with torch.device("meta"), _Unfilled():  # no time is spent on initial weights
            model = Guppy(self.model_config, self.surgery)
        model.load_state_dict(weights, assign=True)
        return model.eval().requires_grad_(True)


@dataclass(frozen=True)
class RunSummary:
    """One line about a run. A run that cannot be opened has an `error` and nothing else."""

    id: str
    path: Path
    name: str = ""
    status: str = "failed"
    bundled: bool = False
    created: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    surgery: list[str] = field(default_factory=list)
    surgery_text: str = ""
    error: str | None = None


def open_run(path: str | Path | Run) -> Run:
    """Open a run: a directory, or the id of one under `roots()`.

    Raises GuppyError when there is none, or when its manifest is damaged or of a newer format."""
    if isinstance(path, Run):
        return path
    folder = Path(path)
    if not (folder / files.MANIFEST).exists() and RUN_ID.fullmatch(str(path)):
        try:  # a name may also be that of a folder at hand, as `guppy` is in the repository
            folder = find_run(str(path))
        except GuppyError:
            if not folder.is_dir():
                raise
    if not folder.is_dir():
        raise GuppyError(f"There is no run at {path}; `python -m guppy runs` lists those there are.")
    manifest = files.read_json(folder / files.MANIFEST, "this is no run, or a damaged one")
    _check_manifest(folder, manifest)
    return Run(folder.resolve(), manifest)


def roots() -> list[Path]:
    """Where runs are: $GUPPY_CHECKPOINTS if set, for one's own, and the repository's checkpoints/."""
    own = os.environ.get("GUPPY_CHECKPOINTS")
    return [Path(own).expanduser().resolve(), BUNDLED] if own else [BUNDLED]


def find_run(run_id: str) -> Path:
    """The directory of a run id. Raises GuppyError when it is no id (a plain folder name) or no such run exists."""
    if not RUN_ID.fullmatch(run_id) or run_id.strip(".") == "":
        shown = run_id if len(run_id) <= 80 else run_id[:80] + "…"
        raise GuppyError(f"{shown!r} is not the name of a run; use up to 80 small letters, digits, '.', '_' and '-'.")
    for root in roots():
        if (root / run_id / files.MANIFEST).exists():
            return root / run_id
    raise GuppyError(f"There is no run {run_id!r}; `python -m guppy runs` lists those there are.")


def list_runs(root: str | Path | None = None) -> list[RunSummary]:
    """Every run under a root (all roots: None), newest first. Never raises on a broken run: it is listed with its
    error."""
    found: dict[str, RunSummary] = {}
    for folder in [Path(root)] if root is not None else roots():
        for manifest in sorted(folder.glob(f"*/{files.MANIFEST}")):
            if manifest.parent.name not in found and RUN_ID.fullmatch(manifest.parent.name):
                found[manifest.parent.name] = summary(manifest.parent)
    return sorted(found.values(), key=lambda run: run.created, reverse=True)


def summary(path: Path) -> RunSummary:
    """One line about the run in a directory; its error if it cannot be opened."""
    bundled = path.name in BUNDLED_RUNS and path.resolve().parent == BUNDLED
    try:
        run = open_run(path)
        surgery = run.surgery
        return RunSummary(
            id=run.id,
            path=path,
            name=str(run.manifest.get("name") or run.id),
            status=run.status,
            bundled=bundled,
            created=str(run.manifest.get("created", "")),
            manifest=run.manifest,
            steps=run.steps,
            surgery=surgery.names,
            surgery_text=surgery.description,
        )
    except (GuppyError, OSError) as error:
        return RunSummary(id=path.name, path=path, name=path.name, bundled=bundled, error=str(error))


def _check_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    version = manifest.get("format")
    if not isinstance(version, int) or version > FORMAT:
        mend = f"this guppy reads up to {FORMAT}, so bring it up to date"
        raise GuppyError(f"{folder / files.MANIFEST} is of format {version}; {mend}.")
    for key, kind in {"model": dict, "train": dict, "surgery": dict, "corpus": dict, "status": str}.items():
        if not isinstance(manifest.get(key), kind):
            raise GuppyError(f"{folder / files.MANIFEST} has no usable {key!r}; copy the run again.")
    try:
        model, surgery = ModelConfig.from_dict(manifest["model"]), Surgery.from_dict(manifest["surgery"])
        _train_config(manifest)
        surgery.check(model.n_layers, model.n_heads)
    except (GuppyError, TypeError, ValueError) as error:
        raise GuppyError(f"{folder / files.MANIFEST} is damaged: {error}") from None


def _train_config(manifest: dict[str, Any]) -> TrainConfig:
    # Manifests from when there was only AdamW do not name it.
    return TrainConfig.from_dict({"optimizer": "adamw"} | manifest["train"])


@lru_cache(maxsize=32)
def _shapes(config: ModelConfig) -> dict[str, torch.Size]:
    with torch.device("meta"), _Unfilled():
        return {name: tensor.shape for name, tensor in Guppy(config).state_dict().items()}


class _Unfilled(TorchFunctionMode):
    """Leaves new tensors as they are. On the meta device normal_() has nothing to fill, and yet makes torch import its
    compiler first, which takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _listed(steps: list[int]) -> str:
    """Steps for a person: all of a few, the ends of many."""
    if len(steps) > 12:
        return f"{', '.join(map(str, steps[:6]))} … {', '.join(map(str, steps[-3:]))}"
    return ", ".join(map(str, steps))
