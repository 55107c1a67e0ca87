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

from guppy.allocator import keep_freed_memory
from guppy.batches import BatchSampler, heldout_batches
from guppy.budget import Budget, CheckpointPlan, Decline, Pace, Progress, cooldown_steps
from guppy.config import ModelConfig, TrainConfig
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.evaluate import FUTURE_MASS_ROWS, HELDOUT_BATCH, batch_loss, future_mass, heldout_losses
from guppy.events import Checkpoint, Control, Cooldown, Done, Eval, Event, Ratios, Sample, Step, TrainerState
from guppy.generate import generate
from guppy.model import Guppy
from guppy.optim import build_optimizer, learning_rate, load_optimizer, optimizer_tensors
from guppy.precision import pick_precision
from guppy.ratios import Watch
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

    At a checkpoint come Step, Eval, a Sample for each probe prompt, then Checkpoint, all with its step; after the next
    step Ratios.

    `control` may stop it at any step, raw or with a cool-down. A cool-down begins with a Cooldown event that says how
    long it will be, and a checkpoint of the weights as they were; its own end is a second checkpoint. A budget of
    seconds holds for it too. Where the schedule's own decay ends sooner, the run is simply finished.

    Args:
        resume: go on from this state; takes the `weights` of the same Checkpoint as `init`.
        init: start from these weights instead of drawing them from the seed.

    With a budget of steps or tokens, the same arguments on the same device (and number of threads) give the same
    weights bit for bit, stopped and resumed or not; resumed from where a cool-down began, too. A budget of seconds
    depends on the clock and cannot. It is kept to within a few percent or half a step, whichever is more: building the
    model, evaluation, checkpoints and what the caller does with them are in it, and the schedule follows its share.

    Raises:
        GuppyError: at once, for a model that the corpus or the surgery does not fit, or a device that is not there;
            later, when a budget of seconds is over before the first step.
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
        began = time.perf_counter()
        if model_config.vocab_size < corpus.tokenizer.vocab_size:
            needed = f"{model_config.vocab_size} tokens and the corpus {corpus.tokenizer.vocab_size}"
            raise GuppyError(f"The model knows {needed}; give a corpus with the model's tokenizer.")
        self.config, self.corpus, self.fresh = config, corpus, resume is None
        self.precision = pick_precision(device, config.dtype)
        self.device = self.precision.device
        if self.device.type == "cpu":
            keep_freed_memory()
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
        self.budget = Budget(config, self.state.start, self.state.lead_seconds)
        self.step, self.tokens = self.state.progress.step, self.state.progress.tokens
        self.checkpoint_seconds, self.overhead = self.state.checkpoint_seconds, self.state.overhead_seconds
        self.cheapest = self.state.cheapest_seconds
        self.saved_at = -1 if self.fresh else self.step
        self.pace = Pace()
        self.cooldown: Cooldown | None = None
        """What a stop with a cool-down was answered with."""
        self.decline: Decline | None = None
        """The rate's way in it; None too where the schedule's own decay ends sooner."""
        self.pending: list[tuple[Step, Tensor, Tensor]] = []
        self.prepared = time.perf_counter() - began

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
        reserve = 1.1 * self.checkpoint_seconds * self.pace.slowdown
        return self.budget.share(self.step + steps, self.tokens + tokens, self.seconds + seconds, reserve)

    def over(self) -> bool:
        """Whether the budget ends nearer to here than to the end of the next step, or the cool-down is over."""
        if self.decline is not None and self.step >= self.decline.step + self.decline.steps:
            return True
        return self.share(0.5, self.step_tokens / 2, self.pace.seconds / 2) >= 1

    @property
    def step_tokens(self) -> float:
        return self.tokens / max(self.step, 1)

    @property
    def begun(self) -> bool:
        """Whether a step of this budget was done."""
        return self.step > self.state.start.step

    def begin_budget(self) -> None:
        """The first step comes now. Raises GuppyError when the time for it is over."""
        seconds = self.config.max_seconds
        if self.begun or seconds is None:
            return
        lead = self.seconds - self.state.start.seconds
        if lead >= seconds:
            mend = f"give {max(5, math.ceil(4 * lead))} s or more"
            raise GuppyError(
                f"The {seconds:g} s were over before the first step: it took {lead:.1f} s to begin; {mend}."
            )
        self.budget = replace(self.budget, lead=lead)

    # -- the run ---------------------------------------------------------------------------------

    def events(self, control: Control) -> Iterator[Event]:
        self.began = time.perf_counter() - self.prepared
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
        self.begin_budget()
        self.open_window()
        while not self.over() and not control.stop and (self.begun or not control.cool):
            if control.cool and self.cooldown is None:
                yield from self.cool(control.cooldown_seconds)
                self.open_window()
            yield from self.learn()
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
        over = self.over()
        if self.saved_at != self.step:
            yield from self.checkpoint()
        yield self.done(over)

    def done(self, over: bool) -> Done:
        """The last word, after a budget or a cool-down that is over, or was not."""
        at = f"at step {self.step} after {self.seconds:.1f} s"
        if self.decline is None:
            status = "finished" if over else "stopped"
            return Done(self.step, status, f"{status.capitalize()} {at}.", decayed=over)
        begin, steps = self.decline.step, self.step - self.decline.step
        if over:
            told = f"Cooled down over {_steps(steps)} after a stop at step {begin}; ended {at}."
        else:
            told = f"Stopped {at}, {_steps(steps)} into the cool-down of {self.decline.steps} from step {begin}."
        return Done(self.step, "stopped", told, decayed=over)

    def cool(self, longest: float) -> Iterator[Event]:
        """Begin to cool down, for at most `longest` seconds. The weights as they are become a checkpoint first."""
        pace, share, last = self.pace.seconds, self.share(), self.checkpoint_seconds * self.pace.slowdown
        first = 0.0 if self.saved_at == self.step else last
        a_step = max(self.share(1, self.step_tokens, pace) - share, 1e-12)
        left = (1 - self.share(seconds=first)) / a_step
        done = self.step - self.state.start.step
        steps = cooldown_steps(done, longest / max(pace, 1e-12))
        if left <= steps and share >= 1 - self.config.decay:  # the schedule's own decay is the shorter one
            steps = max(1, round((1 - share) / a_step))
            self.cooldown = Cooldown(self.step, steps, steps * pace + last)
            yield self.cooldown
            return
        steps = cooldown_steps(done, steps, left)
        self.cooldown = Cooldown(self.step, steps, first + steps * pace + last)
        yield self.cooldown
        if self.saved_at != self.step:
            yield from self.checkpoint()
        lr = learning_rate(share, self.config)
        self.decline = Decline(self.step, steps, min(self.share(), 1 - 1e-9), lr, min(lr, self.config.min_lr))

    def learn(self) -> Iterator[Ratios]:
        """One step; after a checkpoint it is watched."""
        watch = Watch(self.model) if self.step == self.saved_at else None
        batch = self.sampler.next()
        lr = self.rate(batch.n_tokens)
        self.optimizer.set_rate(lr)
        with self.dropout_of(self.step), self.precision.autocast():
            loss = batch_loss(self.model, batch) / batch.n_tokens
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        if watch:
            watch.see_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += batch.n_tokens
        at = Step(self.step, self.tokens, self.seconds, math.nan, lr, math.nan, math.nan)
        self.pending.append((at, loss.detach(), norm.detach()))
        if watch and (ratios := watch.ratios(self.step)):
            yield ratios

    def rate(self, tokens: int) -> float:
        """The learning rate of the next step, which learns from so many tokens: that in its middle."""
        share = self.share(0.5, tokens / 2, self.pace.seconds / 2)
        return self.decline.rate(self.step + 0.5, share) if self.decline else learning_rate(share, self.config)

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
        self.read_at, self.window, self.window_step = time.perf_counter(), self.tokens, self.step

    def read(self, row_now: bool = False) -> Iterator[Step]:
        """Fetch the losses that wait on the device and yield those that are due; the others wait for the next."""
        if not self.pending:
            return
        losses = torch.stack([torch.stack((loss, norm.to(loss.dtype))) for _, loss, norm in self.pending]).tolist()
        elapsed = max(time.perf_counter() - self.read_at, 1e-9)
        if self.step > self.window_step:
            self.pace.add(elapsed, self.step - self.window_step)
        speed = (self.tokens - self.window) / elapsed
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
        # None in a cool-down, and none so late that the budget would be over after it, before its last steps are done.
        cost = self.checkpoint_seconds * self.pace.slowdown if self.cheapest else 0.0
        if self.decline is not None or self.share(seconds=2 * cost) >= 1:
            return False
        affordable = self.budget.affordable(self.cheapest, self.overhead, share)
        return self.plan.due(self.step - self.state.start.step, share, affordable)

    def checkpoint(self) -> Iterator[Event]:
        """Measure, then give the weights away. What it costs, the caller's part included, is reserved for the last."""
        began, first = time.perf_counter(), self.fresh
        if first:
            self.plan.take(0, 0.0)
        elif self.checkpoint_due():
            self.plan.take(self.step - self.state.start.step, self.share())
        self.fresh = False
        yield from self.read(row_now=True)
        yield from self.measure()
        weights, cooled = _copies(self.model.state_dict()), self.decline is not None
        yield Checkpoint(self.step, weights, self.trainer_state(), cooled)
        self.saved_at = self.step
        self.checkpoint_seconds = time.perf_counter() - began
        self.pace.mark()
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
            lead_seconds=self.budget.lead,
            tensors=_copies(optimizer_tensors(self.model, self.optimizer)),
        )


class _Diverged(Exception):
    """The loss or the gradient of a step is no number any more."""

    def __init__(self, step: int) -> None:
        self.step = step


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
