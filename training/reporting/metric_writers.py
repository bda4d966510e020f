"""metrics.csv and TensorBoard scalars."""

from __future__ import annotations

import csv
import pathlib
import warnings

import tensorflow as tf

from keras_efficientnet.common.files import write_csv

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
MULTI_LABEL_METRICS = (*METRICS, "validation_map")

# As written by `tf.summary.scalar`, which would require the package tensorboard.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


class MetricsWriter:
    """metrics.csv: one row per epoch.

    Args:
        path: Path of the file. Its rows are kept up to `first_step`; later epochs are
            trained again.
        first_step: Step from which training resumes.
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
        """Adds a row; the file is written atomically."""
        self.rows.append(row)
        rows = [{k: f"{v:.7g}" for k, v in old.items()} for old in self.rows]
        write_csv(self._path, rows)


def _read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) not in (METRICS, MULTI_LABEL_METRICS):
            raise ValueError(f"its columns must be {', '.join(METRICS)}")
        rows = list(reader)
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has too many or too few cells")
    return [{name: float(cell) for name, cell in row.items()} for row in rows]


class TensorBoardWriter:
    """Writes the metrics as TensorBoard scalars. A context manager.

    Args:
        directory: Folder of the event files.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._writer = tf.summary.create_file_writer(str(directory))

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def add(self, row: dict[str, float]) -> None:
        """Writes the metrics of an epoch at its step."""
        with self._writer.as_default(step=int(row["step"])):
            for name, value in row.items():
                if name != "step":
                    tag = name.replace("_", "/", 1)
                    tf.summary.write(tag, value, metadata=_SCALAR)
        self._writer.flush()
