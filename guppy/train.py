"""Training as a generator of events. It knows no screen and no file format.

One step is: draw a batch, predict, differentiate, clip, update. Everything else here decides when to say something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from guppy.batches import BatchSampler, heldout_batches
from guppy.budget import Budget, CheckpointPlan, Progress
from guppy.config import ModelConfig, TrainConfig
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.evaluate import FUTURE_MASS_ROWS, HELDOUT_BATCH, future_mass, heldout_losses, token_loss
from guppy.events import Checkpoint, Control, Done, Eval, Event, Sample, Step, TrainerState
from guppy.generate import generate
from guppy.model import Guppy
from guppy.optim import build_optimizer, learning_rate, load_optimizer, optimizer_tensors
from guppy.precision import pick_precision
from guppy.surgery import Surgery

# A row of the training loss for every step at first, then for every second, third … step: about 1000·ln(steps).
ROWS_PER_THINNING = 1000
# Losses stay on the device until then, so that the device need not wait for us after every step.
SECONDS_BETWEEN_READS = 0.2


def train(
    model_config: ModelConfig,
    train_config: TrainConfig,
    corpus: Corpus,
    *,
    surgery: Surgery | None = None,
    device: str = "auto",
    resume: TrainerState | None = None,
    init: dict[str, Tensor] | None = None,
    control: Control | None = None,
) -> Iterator[Event]:
    """Train a model. Each event is yielded when it is known; the clock runs on while the caller handles it.

    At a checkpoint come Step, Eval, a Sample for each probe prompt, then Checkpoint, all with its step.

    Args:
        resume: go on from this state; takes the `weights` of the same Checkpoint as `init`.
        init: start from these weights instead of drawing them from the seed.

    With a budget of steps or tokens, the same arguments on the same device (and number of threads) give the same
    weights bit for bit, stopped and resumed or not. A budget of seconds depends on the clock and cannot.

    Raises:
        GuppyError: at once, for a model that the corpus or the surgery does not fit, or a device that is not there.
    """
    config = train_config.for_model(model_config)
    trainer = _Trainer(model_config, config, corpus, surgery or Surgery(), device, resume, init)
    return trainer.events(control or Control())


class _Trainer:
    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        corpus: Corpus,
        surgery: Surgery,
        device: str,
        resume: TrainerState | None,
        init: dict[str, Tensor] | None,
    ) -> None:
        if model_config.vocab_size < corpus.tokenizer.vocab_size:
            needed = f"{model_config.vocab_size} tokens and the corpus {corpus.tokenizer.vocab_size}"
            raise GuppyError(f"The model knows {needed}; give a corpus with the model's tokenizer.")
        self.config, self.corpus, self.fresh = config, corpus, resume is None
        self.precision = pick_precision(device, config.dtype)
        self.device = self.precision.device
        self.model = Guppy(model_config, surgery, config.seed)
        if init is not None:
            self.model.load_state_dict(init)
        self.model.to(self.device).train()
        self.optimizer = build_optimizer(self.model, config)
        self.scaler = self.precision.scaler()
        n_ctx, pad, rows = model_config.n_ctx, corpus.tokenizer.pad_id, config.heldout_rows
        self.sampler = BatchSampler(corpus.train, config.batch_size, n_ctx, pad, config.seed)
        self.heldout = heldout_batches(corpus.heldout, HELDOUT_BATCH, n_ctx, pad, rows)
        (self.some_rows,) = heldout_batches(corpus.heldout, FUTURE_MASS_ROWS, n_ctx, pad, FUTURE_MASS_ROWS)
        self.state = resume or TrainerState()
        self.plan = CheckpointPlan(config.checkpoints)
        if resume is not None:
            self.restore(resume)
        self.budget = Budget(config, self.state.start)
        self.step, self.tokens = self.state.progress.step, self.state.progress.tokens
        self.checkpoint_seconds, self.overhead = self.state.checkpoint_seconds, self.state.overhead_seconds
        self.cheapest = self.state.cheapest_seconds
        self.saved_at = -1 if self.fresh else self.step
        self.step_seconds = 0.0
        self.pending: list[tuple[Step, Tensor, Tensor]] = []

    def restore(self, state: TrainerState) -> None:
        load_optimizer(self.model, self.optimizer, state.tensors)
        if state.sampler:
            self.sampler.load_state(state.sampler)
        if state.plan:
            self.plan = CheckpointPlan(**state.plan)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)

    # -- the clock -------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        return self.state.progress.seconds + time.perf_counter() - self.began

    def share(self, steps: float = 0.0, tokens: float = 0.0, seconds: float = 0.0) -> float:
        """Share of the budget that is over so much after now; with time kept back for the last checkpoint."""
        reserve = 1.1 * self.checkpoint_seconds
        return self.budget.share(self.step + steps, self.tokens + tokens, self.seconds + seconds, reserve)

    def over(self) -> bool:
        """Whether the budget ends nearer to here than to the end of the next step."""
        tokens = self.tokens / max(self.step, 1)
        return self.share(0.5, tokens / 2, self.step_seconds / 2) >= 1

    # -- the run ---------------------------------------------------------------------------------

    def events(self, control: Control) -> Iterator[Event]:
        self.began = time.perf_counter()
        self.open_window()
        with self.precision.deterministic():
            try:
                yield from self.run(control)
            except _Diverged as where:
                mend = f"fork an earlier checkpoint, or begin again, with a lower rate (--lr {self.config.lr / 3:.2g})"
                yield Done(self.step, "diverged", f"The loss was no number any more at step {where.step}; {mend}.")

    def run(self, control: Control) -> Iterator[Event]:
        if self.fresh:
            yield from self.checkpoint()
        elif not self.state.measured:
            yield from self.measure()
        self.open_window()
        while not self.over() and not control.stop:
            began = time.perf_counter()
            self.learn()
            self.step_seconds += 0.2 * (time.perf_counter() - began - self.step_seconds)
            if time.perf_counter() - self.read_at > SECONDS_BETWEEN_READS:
                yield from self.read()
            if self.checkpoint_due():
                yield from self.checkpoint()
                self.open_window()
            control.poll()
            if control.paused:
                yield from self.read()
                self.began += control.wait()
                self.open_window()
        status = "finished" if self.over() else "stopped"
        if self.saved_at != self.step:
            yield from self.checkpoint()
        yield Done(self.step, status, f"{status.capitalize()} at step {self.step} after {self.seconds:.1f} s.")

    def learn(self) -> None:
        """One step."""
        batch = self.sampler.next()
        lr = learning_rate(self.share(0.5, batch.n_tokens / 2, self.step_seconds / 2), self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        ids, targets = (x.to(self.device, non_blocking=True) for x in (batch.ids, batch.targets))
        with self.dropout_of(self.step), self.precision.autocast():
            loss = token_loss(self.model(ids), targets) / batch.n_tokens
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += batch.n_tokens
        at = Step(self.step, self.tokens, self.seconds, math.nan, lr, math.nan, math.nan)
        self.pending.append((at, loss.detach(), norm.detach()))

    @contextmanager
    def dropout_of(self, step: int) -> Iterator[None]:
        """Draw what dropout drops from (seed, step), and leave the caller's random numbers alone."""
        if not self.model.config.dropout:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.config.seed * 1_000_003 + step)
            yield

    # -- what it says ----------------------------------------------------------------------------

    def open_window(self) -> None:
        """Speed is measured from here."""
        self.read_at, self.window = time.perf_counter(), self.tokens

    def read(self, row_now: bool = False) -> Iterator[Step]:
        """Fetch the losses that wait on the device and yield those that are due; the others wait for the next."""
        if not self.pending:
            return
        losses = torch.stack([torch.stack((loss, norm.to(loss.dtype))) for _, loss, norm in self.pending]).tolist()
        speed = (self.tokens - self.window) / max(time.perf_counter() - self.read_at, 1e-9)
        group: list[float] = []
        waiting = 0
        for (at, _, _), (loss, norm) in zip(self.pending, losses, strict=True):
            # With a loss scaler an infinite gradient is no failure: that update was left out.
            if not math.isfinite(loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
                raise _Diverged(at.step)
            group.append(loss)
            waiting += 1
            if at.step % (at.step // ROWS_PER_THINNING + 1) == 0 or (row_now and at.step == self.step):
                yield replace(at, loss=sum(group) / len(group), grad_norm=norm, tokens_per_second=speed)
                group, waiting = [], 0
        self.pending = self.pending[len(self.pending) - waiting :]
        self.open_window()

    def measure(self) -> Iterator[Eval | Sample]:
        """Score the held-out rows and ask the probe prompts, in float32, without touching the training."""
        loss, masked = heldout_losses(self.model, self.heldout)
        if not math.isfinite(loss):
            raise _Diverged(self.step)
        yield Eval(self.step, loss, masked, future_mass(self.model, self.some_rows), self.seconds)
        probes = self.corpus.probes
        prompts = [self.corpus.encode_probe(prompt) for prompt in probes]
        replies = generate(self.model, self.corpus.tokenizer, prompts, max_tokens=self.config.sample_tokens)
        for prompt, reply in zip(probes, replies, strict=True):
            yield Sample(self.step, prompt, reply.text)

    def checkpoint_due(self) -> bool:
        share = self.share()
        affordable = self.budget.affordable(self.cheapest, self.overhead, share)
        return self.plan.due(self.step - self.state.start.step, share, affordable)

    def checkpoint(self) -> Iterator[Event]:
        """Measure, then give the weights away. What it costs, the caller's part included, is reserved for the last."""
        began, first = time.perf_counter(), self.fresh
        if first or self.checkpoint_due():
            self.plan.take(self.step - self.state.start.step, self.share())
        self.fresh = False
        yield from self.read(row_now=True)
        yield from self.measure()
        yield Checkpoint(self.step, _copies(self.model.state_dict()), self.trainer_state())
        self.saved_at = self.step
        self.checkpoint_seconds = time.perf_counter() - began
        self.overhead += self.checkpoint_seconds
        if not first:  # the very first one warms the kernels up, so it is no measure of what others will cost
            self.cheapest = min(self.cheapest or self.checkpoint_seconds, self.checkpoint_seconds)

    def trainer_state(self) -> TrainerState:
        return TrainerState(
            progress=Progress(self.step, self.tokens, self.seconds),
            start=self.state.start,
            sampler=self.sampler.state(),
            plan=self.plan.to_dict(),
            scaler=self.scaler.state_dict(),
            checkpoint_seconds=self.checkpoint_seconds,
            overhead_seconds=self.overhead,
            cheapest_seconds=self.cheapest,
            tensors=_copies(optimizer_tensors(self.model, self.optimizer)),
        )


class _Diverged(Exception):
    """The loss or the gradient of a step is no number any more."""

    def __init__(self, step: int) -> None:
        self.step = step


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
