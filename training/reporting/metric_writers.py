"""Progress bar, metrics.csv and TensorBoard scalars."""

from __future__ import annotations

import csv
import math
import pathlib
import sys
import warnings

import tensorflow as tf
import tqdm

from keras_efficientnet.common.files import write_csv

from ..config import TrainConfig

METRICS = (
    "epoch",
    "step",
    "learning_rate",
    "train_loss",
    "train_top1",
    "validation_loss",
    "validation_top1",
    "validation_top5",
    "seconds",
)

# What `tf.summary.scalar` writes; that needs TensorBoard installed, this does not.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


class ProgressBar:
    """A bar with images per second and time left, or one line per epoch.

    The bar needs a terminal; files and pipes get lines. A context manager.

    Args:
        config: The run.
        images: Of the training split.
        first_step: Steps that earlier sittings have made.
        show: Whether to show anything.
    """

    def __init__(
        self, config: TrainConfig, images: int, first_step: int, show: bool
    ) -> None:
        self._batch_size = config.batch_size
        self._epochs = config.epochs
        self._chosen_on = "minival" if config.minival else "validation"
        self._show = show
        self._bar = tqdm.tqdm(
            total=config.total_steps(images) * config.batch_size,
            initial=first_step * config.batch_size,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not (show and sys.stderr.isatty()),
        )
        self._shown = {"loss": math.nan, self._chosen_on: math.nan}

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step(self) -> None:
        """Counts one step."""
        self._bar.update(self._batch_size)

    def loss(self, mean: float) -> None:
        """Shows the mean loss of the epoch so far."""
        self._shown["loss"] = mean
        self._update()

    def epoch(self, row: dict[str, float]) -> None:
        """Shows the figures of a finished epoch."""
        self._shown[self._chosen_on] = row["validation_top1"]
        self._update()
        if self._show and self._bar.disable:
            print(
                f"epoch {row['epoch']:g}/{self._epochs:g}  "
                f"loss {row['train_loss']:.4f}  "
                f"top-1 {row['train_top1']:.2%}  "
                f"{self._chosen_on} loss {row['validation_loss']:.4f}  "
                f"top-1 {row['validation_top1']:.2%}  "
                f"{row['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    def _update(self) -> None:
        known = {k: f"{v:.4f}" for k, v in self._shown.items() if not math.isnan(v)}
        self._bar.set_postfix(known, refresh=False)


class MetricsWriter:
    """metrics.csv: one row per epoch.

    Args:
        path: Of the file. Rows of an earlier sitting are kept up to `first_step`;
            later ones are about to be made again.
        first_step: Where training goes on.
    """

    def __init__(self, path: pathlib.Path, first_step: int) -> None:
        self._path = path
        self.rows: list[dict[str, float]] = []
        if path.is_file():
            try:
                rows = _read_metrics(path)
            except (ValueError, TypeError, csv.Error) as error:
                rows = []
                warnings.warn(
                    f"{path} is damaged ({error}); epochs of earlier sessions are "
                    "missing from the report",
                    stacklevel=2,
                )
            self.rows = [row for row in rows if row["step"] <= first_step]

    def add(self, row: dict[str, float]) -> None:
        """Adds a row; the file is never seen half written."""
        self.rows.append(row)
        rows = [{k: f"{v:.7g}" for k, v in old.items()} for old in self.rows]
        write_csv(self._path, rows)


def _read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != METRICS:
            raise ValueError(f"its columns must be {', '.join(METRICS)}")
        rows = list(reader)
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has too many or too few cells")
    return [{name: float(cell) for name, cell in row.items()} for row in rows]


class TensorBoardWriter:
    """The same figures as TensorBoard scalars. A context manager.

    Args:
        directory: Where the event files go.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._writer = tf.summary.create_file_writer(str(directory))

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def add(self, row: dict[str, float]) -> None:
        """Writes all figures of an epoch at its step."""
        with self._writer.as_default(step=int(row["step"])):
            for name, value in row.items():
                if name != "step":
                    tag = name.replace("_", "/", 1)
                    tf.summary.write(tag, value, metadata=_SCALAR)
        self._writer.flush()
