"""Parts of a run in progress, with checks for divergence and checkpointing."""

from __future__ import annotations

import dataclasses
import math
import time

import tensorflow as tf

from ..config import TrainConfig
from ..data import pipeline
from ..data.sources import Source
from ..methods.teacher import Teacher
from ..metrics.evaluator import Evaluator
from ..reporting.metric_writers import MetricsWriter, TensorBoardWriter
from ..reporting.progress import ProgressBar
from ..reporting.run_folder import BadImageRecord, RunFolder
from .checkpoints import Checkpoints
from .cluster.workers import Workers
from .preemption import SignalHandler
from .train_state import TrainState

AGREE_EVERY_S = 5  # seconds between stop votes of the workers
MOST_STEPS_APART = 1000  # steps between stop votes


@dataclasses.dataclass
class Run:
    """The parts of a run in progress.

    Attributes:
        config: Configuration of the run.
        folder: Run folder; only the chief writes to it.
        source: Images of the run.
        state: State that training changes.
        strategy: Distribution strategy of `state`.
        workers: Processes that share the run.
        checkpoints: Checkpoints in `folder`.
        interrupts: Handler of the signals that stop the run.
        evaluator: Evaluator of the model.
        progress: Progress bar and epoch lines.
        metrics: Writer of metrics.csv.
        tensorboard: TensorBoard writer; None on workers that do not write.
        bad_images: Images that could not be decoded; None if these raise an error.
        teacher: Teacher of knowledge distillation; None without one.
        started: `time.perf_counter` at the start, minus the time of earlier sessions.
        first_step_s: Seconds until the end of the first step; NaN before.
        checked_step: Last step up to which the losses are known to be finite.
    """

    config: TrainConfig
    folder: RunFolder
    source: Source
    state: TrainState
    strategy: tf.distribute.Strategy
    workers: Workers
    checkpoints: Checkpoints
    interrupts: SignalHandler
    evaluator: Evaluator
    progress: ProgressBar
    metrics: MetricsWriter
    tensorboard: TensorBoardWriter | None
    bad_images: pipeline.BadImages | None
    teacher: Teacher | None
    started: float
    first_step_s: float = math.nan
    checked_step: int = 0
    _agree_at_step: int = 0
    _agreed: tuple[int, float] = (0, math.nan)  # step, seconds

    @property
    def skips_bad_images(self) -> bool:
        """Whether images that cannot be decoded are left out."""
        return self.config.on_bad_image == "skip"

    @property
    def images(self) -> int:
        """Number of training images."""
        return len(self.source.split("train"))

    @property
    def step(self) -> int:
        """Number of finished steps; waits for the device."""
        return int(self.state.step.numpy())

    @property
    def seconds(self) -> float:
        """Seconds of training, over all sessions."""
        return time.perf_counter() - self.started

    def check_finite(self, step: int) -> float:
        """Checks that the loss is finite and returns its mean over the epoch so far.

        Raises:
            FloatingPointError: A value is not finite; the message names the steps.
        """
        loss, _, images = self.state.sums.numpy()
        if not math.isfinite(loss):
            raise FloatingPointError(self._describe_range(f"It became {loss}", step))
        self.checked_step = step
        mean = loss / max(images, 1.0)
        if images:
            self.progress.loss(mean)
        return mean

    def save(self, step: int) -> None:
        """Writes a checkpoint, unless the loss or a weight is not finite.

        Raises:
            FloatingPointError: A value is not finite; the message names the steps.
        """
        since = self.checked_step
        self.check_finite(step)
        self.state.seconds.assign(self.seconds)
        self.workers.by_chief(lambda: self._write_checkpoint(step, since))

    def write_epoch(self, row: dict[str, float], is_best: bool) -> None:
        """Writes the metrics of an epoch, and its averaged weights if they are best."""
        self.metrics.add(row)
        if self.tensorboard:
            self.tensorboard.add(row)
        if is_best:
            self.state.save_ema_weights(self.folder.best_weights)

    def _write_checkpoint(self, step: int, since: int) -> None:
        try:
            self.state.save(self.checkpoints)
        except FloatingPointError as error:
            self.checked_step = since
            reason = f"The loss was finite, but {error} after an update"
            raise FloatingPointError(self._describe_range(reason, step)) from error
        if self.bad_images:
            found = BadImageRecord(
                tuple(self.bad_images.positions), tuple(self.evaluator.bad_images)
            )
            self.folder.write_bad_images(found)

    def should_stop(self, step: int) -> bool:
        """Returns whether a worker has received a signal; all get the same answer.

        Several workers vote only every few seconds, because a vote waits for the
        devices.
        """
        if self.workers.count == 1:
            return bool(self.interrupts.requested)
        if step < self._agree_at_step:
            return False
        before, then = self._agreed
        now = time.perf_counter()
        step_s = 0.0 if math.isnan(then) else (now - then) / (step - before)
        requested, step_ms = self.workers.gather(
            bool(self.interrupts.requested), min(int(step_s * 1000), 10**9)
        ).max(axis=0)
        # The slowest worker decides, so that all agree on the step of the next vote.
        apart = AGREE_EVERY_S * 1000 / max(int(step_ms), 1) if step_ms else 1
        self._agree_at_step = step + int(min(max(apart, 1), MOST_STEPS_APART))
        self._agreed = (step, time.perf_counter())
        return bool(requested)

    def _describe_range(self, what: str, step: int) -> str:
        return (
            "The loss must stay finite; lower the learning rate, or look at the data. "
            f"{what} in steps {self.checked_step + 1} to {step}; the latest checkpoint "
            f"in {self.folder.checkpoints} is older"
        )
