"""Writing a run: training's events become files, so that a run killed at any moment goes on as if it had not been."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import safetensors
import tokenizers
import torch

from guppy import corpora
from guppy.budget import Progress
from guppy.config import ModelConfig, TrainConfig
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.events import Checkpoint, Control, Cooldown, Done, Eval, Event, Ratios, Sample, Step, TrainerState
from guppy.precision import pick_device, pick_precision
from guppy.runs import files
from guppy.runs.lock import clear_command, locked, received
from guppy.runs.read import FORMAT, RUN_ID, Run, open_run
from guppy.runs.scores import drop_scores
from guppy.runs.tensors import read_tensors, write_tensors
from guppy.surgery import Surgery
from guppy.train import train

POLL_SECONDS = 0.25
# A checkpoint's optimizer state is twice its weights, so only these many newest keep it: the last one, and one more
# in case that is damaged. `keep_trainer="all"` keeps every one, for forks that go on exactly.
KEPT_TRAINERS = 2

KeepTrainer = Literal["last", "all"]


def create_run(
    path: str | Path,
    *,
    model: ModelConfig,
    train: TrainConfig,
    corpus: Corpus,
    surgery: Surgery | None = None,
    device: str = "auto",
    threads: int | None = None,
    name: str = "",
    notes: str = "",
    parent: dict[str, Any] | None = None,
    checkpoint: Checkpoint | None = None,
    keep_trainer: KeepTrainer = "last",
) -> Run:
    """Write a queued run: manifest and tokenizer; `train_run` does the rest.

    Args:
        path: a new directory whose name is the run's id.
        threads: CPU threads to train with; None leaves it to whoever trains it first. A run that resumes uses the
            same number, because sums over another number of threads differ in the last bit.
        parent: {"run", "step"} of a fork.
        checkpoint: what to start from, instead of initial weights.
        notes: in words, such as the command that made it.
        keep_trainer: whether old checkpoints keep their optimizer state ("all") or only the newest two do.

    Raises:
        GuppyError: the name is no id, the directory exists, or surgery and device do not fit.
    """
    path, surgery = Path(path), surgery or Surgery()
    if not RUN_ID.fullmatch(path.name) or path.name.startswith("."):
        raise GuppyError(f"{path.name!r} is no name for a run; use up to 80 small letters, digits, '.', '_' and '-'.")
    if path.exists():
        raise GuppyError(f"{path} exists already; choose another name, or resume it.")
    surgery.check(model.n_layers, model.n_heads)
    train = train.for_model(model)
    pick_precision(device, train.dtype)
    now = datetime.now(timezone.utc)
    manifest = {
        "format": FORMAT,
        "id": path.name,
        "name": name or path.name,
        "created": now.isoformat(timespec="milliseconds"),
        "status": "queued",
        "message": "",
        "model": model.to_dict(),
        "train": train.to_dict(),
        "surgery": surgery.to_dict(),
        "seed": train.seed,
        "corpus": corpus.describe() | {"name": corpus.name, "sha256": corpus.sha256},
        "tokenizer_sha256": corpus.tokenizer.sha256,
        "reference": corpus.reference_entropies(),
        "parent": parent,
        "start": asdict(checkpoint.trainer.start if checkpoint else Progress()),
        "device": device,
        "dtype": train.dtype,
        "threads": threads,
        "weights_dtype": "float32",
        "keep_trainer": keep_trainer,
        "versions": _versions(),
        "seconds": 0.0,
        "steps_done": checkpoint.step if checkpoint else 0,
        "stop": None,
        "notes": notes,
    }
    try:
        with files.whole_directory(path) as draft:
            corpus.tokenizer.save(draft / files.TOKENIZER)
            files.write_json(draft / files.MANIFEST, manifest)
            if checkpoint is not None:
                write_checkpoint(draft, checkpoint.step, checkpoint.weights, checkpoint.trainer)
    except OSError as error:
        raise files.disk_error(error, path) from error
    return open_run(path)


def train_run(path: str | Path | Run, control: Control | None = None, **options: Any) -> Run:
    """Train a queued or unfinished run to its end, or until it is told to stop; options as in `training`."""
    for _ in training(path, control, **options):
        pass
    return open_run(path if not isinstance(path, Run) else path.path)


def resume_run(path: str | Path | Run, control: Control | None = None, **options: Any) -> Run:
    """`train_run`, whatever an earlier worker was told."""
    clear_command(open_run(path).path)
    return train_run(path, control, **options)


def training(
    path: str | Path | Run,
    control: Control | None = None,
    *,
    corpus: Corpus | None = None,
    threads: int | None = None,
) -> Iterator[Event]:
    """Train a run from its last checkpoint (from scratch if it has none), yielding each event after it was written.

    `control.json` in the run's directory commands it (see `guppy.runs.send`), and so does `control`.

    A run that was stopped with a cool-down goes on from where that began, as if it had not been stopped: the steps of
    the cool-down, and the checkpoint at their end, are dropped. A fork (of either checkpoint) keeps both.

    Args:
        corpus: the run's corpus, if it is at hand; it is made again from the manifest otherwise.
        threads: CPU threads; None: as many as the run had before.

    Raises:
        GuppyError: another process trains it; its data are not what they were; no checkpoint can be read; the disk
            is full. In the last three cases its status is then "failed", with the reason as message.
    """
    run = open_run(path)
    with locked(run.path):
        run = open_run(run.path)
        if run.manifest["status"] == "finished":
            yield Done(run.last_step, "finished", run.manifest["message"])
            return
        writer = RunWriter(run)
        try:
            yield from _train(run, writer, control, corpus, threads)
        except (GeneratorExit, KeyboardInterrupt):
            if writer.manifest["status"] in ("running", "paused"):
                writer.update(status="stopped", message="Left between checkpoints; resume it from the last one.")
            raise
        except OSError as error:
            raise writer.failed(str(files.disk_error(error, run.path))) from error
        except GuppyError as error:
            raise writer.failed(str(error)) from error
        except Exception as error:
            writer.failed(f"{type(error).__name__}: {error}")
            raise
        finally:
            writer.close()


def _train(
    run: Run, writer: RunWriter, control: Control | None, corpus: Corpus | None, threads: int | None
) -> Iterator[Event]:
    writer.update(status="running", message="")
    files.clear_unfinished(run.path)
    threads = threads or run.manifest.get("threads") or torch.get_num_threads()
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    corpus = corpus or corpus_of(run)
    if corpus.sha256 != run.manifest["corpus"]["sha256"]:
        raise GuppyError(f"The data of run {run.id} are not what they were; bring them back, or fork it with --data.")
    state, weights = last_state(run)
    writer.rewind(state)
    device = _device(run.manifest["device"])
    dtype = pick_precision(device, run.train_config.dtype)
    writer.update(device=dtype.device.type, dtype=dtype.name, threads=threads)
    events = train(
        run.model_config,
        run.train_config,
        corpus,
        surgery=run.surgery,
        device=device,
        resume=state,
        init=weights,
        control=_Orders(run.path, control, lambda paused: writer.update(status="paused" if paused else "running")),
    )
    for event in events:
        writer.write(event)
        yield event


def corpus_of(run: Run) -> Corpus:
    """The corpus that a run learns from: kept from the last time, or made again with the run's own tokenizer."""
    described = run.manifest["corpus"]
    corpus = corpora.find(described["sha256"])
    if corpus is None:
        corpus = Corpus.from_description(described, run.tokenizer)
        if corpus.sha256 == described["sha256"]:
            corpora.keep(corpus)
    return corpus


def last_state(run: Run) -> tuple[TrainerState | None, dict[str, torch.Tensor] | None]:
    """Trainer state and weights of the newest checkpoint from which a run can go on; (None, None): from scratch.

    Raises GuppyError when there are checkpoints but none can be read."""
    problem: GuppyError | None = None
    for step in reversed(run.steps):
        try:
            return trainer_state(run, step), run.weights(step)
        except GuppyError as error:
            problem = problem or error
    if problem:
        raise problem
    return None, None


def trainer_state(run: Run, step: int) -> TrainerState:
    """How to go on from a checkpoint. Raises GuppyError when that was not kept, or is damaged."""
    folder, mend = run.step_path(step), "fork from this step instead"
    values = files.read_json(folder / files.TRAINER, mend)
    tensors = read_tensors(folder / files.TRAINER_TENSORS, mend)
    return TrainerState.from_dict(values, tensors)


class RunWriter:
    """The one who writes a run's directory; only while its lock is held."""

    def __init__(self, run: Run) -> None:
        self.path, self.manifest = run.path, dict(run.manifest)
        self._rows: dict[str, Any] = {}
        self._cooled = False

    def update(self, **changes: Any) -> None:
        """Change the manifest, on disk as well."""
        self.manifest |= changes
        files.write_json(self.path / files.MANIFEST, self.manifest)

    def rewind(self, state: TrainerState | None) -> None:
        """Forget everything after the checkpoint that training goes on from."""
        stop = self.manifest.get("stop")
        if stop is not None:
            if state is None or state.progress.step <= stop["step"]:
                files.drop_steps(self.path, stop["step"])
            self.update(stop=None)
        last = state.progress.step - (0 if state.measured else 1) if state else -1
        for name in (files.METRICS, files.SAMPLES):
            files.drop_rows(self.path / name, last)
            self._rows[name] = (self.path / name).open("ab")
        drop_scores(self.path, state.progress.step if state else -1)

    def write(self, event: Event) -> None:
        """Bring an event to disk."""
        if isinstance(event, Step):
            self._append(files.METRICS, {"kind": "step"} | _rounded(vars(event)))
        elif isinstance(event, Eval):
            values = _rounded(vars(event))
            row = {"kind": "eval", "step": event.step, "heldout_loss": values.pop("loss")}
            self._append(files.METRICS, row | values)
        elif isinstance(event, Ratios):
            rounded = {key: _rounded(getattr(event, key)) for key in ("update", "gradient")}
            self._append(files.METRICS, {"kind": "ratios", "step": event.step} | rounded)
        elif isinstance(event, Sample):
            self._append(files.SAMPLES, vars(event))
        elif isinstance(event, Cooldown):
            self.update(stop={"step": event.step, "cooldown_steps": event.steps})
        elif isinstance(event, Checkpoint):
            self.checkpoint(event)
        else:
            stop = self.manifest.get("stop") if self._cooled else None
            self.update(status=event.status, message=event.message, stop=stop)
            if event.status == "stopped":
                clear_command(self.path)

    def checkpoint(self, event: Checkpoint) -> None:
        """Write a checkpoint's directory, whole; and before it all rows that belong to it."""
        for file in self._rows.values():
            files.sync(file)
        self._cooled = event.cooled
        write_checkpoint(self.path, event.step, event.weights, event.trainer, moments=not event.cooled)
        if self.manifest["keep_trainer"] == "last" and not event.cooled:
            for step in files.steps_in(self.path)[:-KEPT_TRAINERS]:
                files.step_path(self.path, step).joinpath(files.TRAINER_TENSORS).unlink(missing_ok=True)
        self.update(steps_done=event.step, seconds=round(event.trainer.progress.seconds, 3))

    def failed(self, message: str) -> GuppyError:
        """Note the failure, if the disk still lets us, and return it as an error to raise."""
        files.clear_unfinished(self.path)
        # Where not even that can be written, the manifest says "running" and the lock goes: readers see "interrupted".
        with suppress(OSError):
            self.update(status="failed", message=message)
        return GuppyError(message)

    def close(self) -> None:
        for file in self._rows.values():
            file.close()

    def _append(self, name: str, row: dict[str, Any]) -> None:
        self._rows[name].write(files.row_bytes(row))
        self._rows[name].flush()


def write_checkpoint(
    run: Path, step: int, weights: dict[str, torch.Tensor], trainer: TrainerState | None, *, moments: bool = True
) -> None:
    """Write steps/<step>/ as one event; one that was there is replaced. It cannot be resumed without a trainer, or
    without its `moments`: those of a checkpoint that cooled down are left out."""
    with files.whole_directory(files.step_path(run, step), replace=True) as draft:
        write_tensors(draft / files.WEIGHTS, weights)
        if trainer is not None:
            if moments:
                write_tensors(draft / files.TRAINER_TENSORS, trainer.tensors)
            files.write_json(draft / files.TRAINER, trainer.to_dict())


class _Orders(Control):
    """What control.json says, and what the caller's own control says."""

    def __init__(self, run: Path, other: Control | None, on_pause: Callable[[bool], None]) -> None:
        self.run, self.other, self.on_pause = run, other or Control(), on_pause
        self.looked = 0.0
        self.command: str | None = None

    def poll(self) -> None:
        self.other.poll()
        if self.other.cool and not self.cool and self.command == "pause":
            clear_command(self.run)
            self.looked = 0.0
        self.cooldown_seconds = self.other.cooldown_seconds
        if time.monotonic() - self.looked >= POLL_SECONDS:
            self.looked, self.command = time.monotonic(), received(self.run)
        self.stop = self.stop or self.other.stop or self.command == "stop"
        self.cool = self.cool or self.other.cool or self.command == "cool"
        self.paused = self.other.paused or self.command == "pause"

    def wait(self) -> float:
        self.on_pause(True)
        seconds = super().wait()
        self.on_pause(False)
        return seconds


def _device(name: str) -> str:
    """The device a run was on, or what this machine has instead."""
    try:
        return pick_device(name).type
    except GuppyError:
        return "auto"


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers as JSON needs them: clocks and rates to a sensible digit, losses as they are."""
    digits = {"seconds": 3, "tokens_per_second": 1}
    return {key: round(value, digits[key]) if key in digits else value for key, value in values.items()}


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "tokenizers": tokenizers.__version__,
        "safetensors": safetensors.__version__,
    }
