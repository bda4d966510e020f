r"""Inspects a data set: wrong labels, near-duplicates, confused classes.

python -m training.inspect_data --model=runs/photos
"""

from __future__ import annotations

import pathlib
from typing import Any

import tensorflow as tf
from absl import flags

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, end, end_with, run_app
from keras_efficientnet.common.models import OpenedModel, open_model, split_weights
from keras_efficientnet.common.plain_text import tf_reason

from .config import TrainConfig
from .data import sources
from .data_quality.inspection import inspect_source
from .data_quality.report import write_report
from .reporting.run_folder import RunFolder


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Registry of the flags; `flags.FLAGS` for the command itself.
    """

    def string(name: str, text: str, *, required: bool = False) -> None:
        flags.DEFINE_string(name, None, text, flag_values=values, required=required)

    model = "Run folder or .keras file of a model that was trained on the data."
    string("model", model, required=True)
    string("data", "Images, as in --config.data. Default: those of the run.")
    string("data_dir", "Folder in which TFDS keeps its data sets.")
    string("output_dir", "Folder of the report. Default: RUN/data_report.")
    flags.DEFINE_integer(
        "batch_size", 64, "Images per step.", flag_values=values, lower_bound=1
    )


def open_images(
    opened: OpenedModel, data: str | None, data_dir: str | None
) -> sources.Source:
    """Opens the images to inspect.

    Args:
        opened: Model; a run folder knows its images.
        data: Source as in `TrainConfig.data`. None: that of the run, with its minival.
        data_dir: Folder in which TFDS keeps its data sets. None: the run's.

    Raises:
        ValueError: `data` must be given, or cannot be opened.
    """
    if data is not None:
        return sources.load(data, data_dir=data_dir)
    if opened.run_folder is None:
        raise ValueError(
            "`data` must be given for a model that is not a run folder. "
            f"Received: model={opened.name!r}"
        )
    path = RunFolder(opened.run_folder).config
    config = TrainConfig.from_json(path.read_text(encoding="utf-8"))
    source = sources.load(config.source_name, data_dir=data_dir or config.data_dir)
    return sources.hold_out(source, config.minival) if config.minival else source


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        end(ExitCode.WRONG_INPUT, f"Error: unknown arguments: {' '.join(argv[1:])}")
    try:
        _run(flags.FLAGS)
    except (ValueError, ImportError, OSError) as error:
        end_with(error)
    except tf.errors.OpError as error:
        end(ExitCode.FAILURE, f"Error: TensorFlow failed: {tf_reason(error)}")


def _run(args: Any) -> None:
    opened = open_model(*split_weights(args.model))
    if args.output_dir:
        folder = pathlib.Path(args.output_dir).expanduser()
    elif opened.run_folder:
        folder = opened.run_folder / "data_report"
    else:
        raise ValueError(
            "`output_dir` must be given for a model that is not a run folder. "
            f"Received: model={args.model!r}"
        )
    source = open_images(opened, args.data, args.data_dir)
    found = inspect_source(opened, source, args.batch_size)
    write_report(found, opened.name, folder)
    for split, suspects in found.suspects.items():
        print(f"{split}: {len(suspects)} probably wrong labels")
    print(f"{len(found.pairs)} near-duplicate pairs across splits")
    print(f"Report: {folder / 'report.md'}")


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    run_app(_main)


if __name__ == "__main__":
    run()
