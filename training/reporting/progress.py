"""Progress of a training run on standard error: header, epoch lines and bar."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tqdm

from ..config import TrainConfig
from ..data.sources import Source

LOSS_S = 1.0  # seconds between two losses; each waits for the device


class ProgressBar:
    """A line per epoch and, on a terminal, a bar below them. A context manager.

    The bar shows epoch, step, images per second, the mean loss of the epoch so far and
    the time left.

    Args:
        config: Configuration of the run.
        images: Number of training images.
        first_step: Number of steps made in earlier sessions.
        show: Whether to show anything.
    """

    def __init__(
        self, config: TrainConfig, images: int, first_step: int, show: bool
    ) -> None:
        self._epochs = config.epochs_over(images)
        self._chosen_on = "minival" if config.minival else "validation"
        self._show = show
        self._shown_at = time.monotonic()
        self._bar = _Bar(
            batch_size=config.batch_size,
            steps_per_epoch=config.steps_per_epoch(images),
            epochs=self._epochs,
            total=config.total_steps(images),
            initial=first_step,
            dynamic_ncols=True,
            bar_format="{epochs} |{bar}| {steps}  {speed}  {loss}{remaining} left",
            disable=not (show and sys.stderr.isatty()),
        )

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def header(self, rows: Sequence[str]) -> None:
        """Prints the lines of `describe_start`."""
        if self._show:
            self._write("\n".join(rows))

    def step(self) -> None:
        """Counts one step."""
        self._bar.update()

    def is_loss_due(self) -> bool:
        """Returns whether the bar shows a loss that is over a second old."""
        return not self._bar.disable and time.monotonic() - self._shown_at > LOSS_S

    def loss(self, mean: float) -> None:
        """Shows the mean loss of the epoch so far."""
        self._bar.mean_loss = mean
        self._shown_at = time.monotonic()

    def epoch(self, row: dict[str, float]) -> None:
        """Prints the figures of a finished epoch."""
        if self._show:
            self._write(
                f"epoch {row['epoch']:g}/{self._epochs:g}  "
                f"loss {row['train_loss']:.4f}  "
                f"top-1 {row['train_top1']:.2%}  "
                f"{self._chosen_on} loss {row['validation_loss']:.4f}  "
                f"{_headline(row)}  "
                f"{row['seconds']:.0f} s"
            )

    def _write(self, text: str) -> None:
        # Clears the bar, prints above it and draws it again.
        self._bar.write(text, file=sys.stderr)
        sys.stderr.flush()


def _headline(row: dict[str, float]) -> str:
    if "validation_map" in row:
        return f"mAP {row['validation_map']:.2%}"
    return f"top-1 {row['validation_top1']:.2%}"


class _Bar(tqdm.tqdm):
    """A bar of steps whose format also has epochs, images per second and loss."""

    mean_loss = math.nan

    def __init__(
        self, *, batch_size: int, steps_per_epoch: float, epochs: float, **options: Any
    ) -> None:
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._epochs = epochs
        super().__init__(**options)

    @property
    def format_dict(self) -> dict[str, Any]:
        """Values of `bar_format`, which tqdm lets subclasses extend."""
        values: dict[str, Any] = super().format_dict
        epoch = min(math.ceil(self._epochs), int(self.n / self._steps_per_epoch) + 1)
        elapsed = values["elapsed"] or math.inf
        rate = values["rate"] or (self.n - self.initial) / elapsed
        known = not math.isnan(self.mean_loss)
        return values | {
            "epochs": f"epoch {epoch}/{self._epochs:g}",
            "steps": f"step {self.n:,}/{self.total:,}",
            "speed": f"{rate * self._batch_size:,.0f} images/s",
            "loss": f"loss {self.mean_loss:.4f}  " if known else "",
        }


def describe_start(
    config: TrainConfig,
    source: Source,
    strategy: tf.distribute.Strategy,
    first_step: int,
    workers: str = "",
) -> list[str]:
    """Returns the header of a run: model, data, devices and steps, one line each.

    Args:
        config: Configuration of the run.
        source: Images of the run.
        strategy: Distribution strategy of the run.
        first_step: Number of steps made in earlier sessions.
        workers: Number and launcher of the workers, if there are several.
    """
    images = len(source.split("train"))
    splits = ", ".join(f"{len(v):,} {name}" for name, v in source.splits.items())
    smoothing = config.label_smoothing
    smoothed = f", label smoothing {smoothing:g} in the loss" if smoothing else ""
    launched = f", {workers}" if workers else ""
    several = ", any number of labels per image" if config.is_multi_label else ""
    resumed = f", resumed after step {first_step:,}" if first_step else ""
    devices = describe_devices(strategy)
    is_slow = devices.endswith("CPU") and config.precision != "float32"
    precision = config.precision + " (slower than float32 on CPUs)" * is_slow
    return [
        f"model    {config.variant} at {config.resolution} pixels, "
        f"{len(source.class_names)} classes{several}{smoothed}",
        f"images   {splits}",
        f"devices  {devices}, {precision}{launched}",
        f"steps    {config.total_steps(images):,} of {config.batch_size} images in "
        f"{config.epochs_over(images):.4g} epochs{resumed}",
    ]


def describe_devices(strategy: tf.distribute.Strategy) -> str:
    """Returns the number and kind of a strategy's devices, such as "2 x NVIDIA L4".

    Args:
        strategy: Distribution strategy.
    """
    replicas = strategy.num_replicas_in_sync
    gpus = tf.config.list_physical_devices("GPU")
    kind = "CPU"
    if isinstance(strategy, tf.distribute.TPUStrategy):
        kind = "TPU core"
    elif gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        kind = details.get("device_name", "GPU")
    return kind if replicas == 1 else f"{replicas} x {kind}"
