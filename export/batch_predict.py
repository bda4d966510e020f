"""Classifies very many images into Parquet or JSON lines, in parts; resumes.

python -m export.batch_predict --model=runs/mine --input=photos/ --output=predictions/

The output folder holds part-00000.parquet and so on, with the columns path, classes
(indices into labels.txt, the most probable first), scores and error. The same command
continues after a stop: finished parts are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, exit_code, run_app
from keras_efficientnet.common.cli.processes import sigterm_interrupts

from .batch.options import (
    ENGINES,
    FORMATS,
    PRECISIONS,
    RUNTIMES,
    Job,
    ModelOptions,
    find_shard,
)


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Registry of the flags; `flags.FLAGS` for the command itself.
    """
    from keras_efficientnet.common.cli.model_flags import define_model_flags

    def string(name: str, text: str, *, required: bool = False) -> None:
        flags.DEFINE_string(name, None, text, flag_values=values, required=required)

    def integer(name: str, default: int | None, text: str, least: int = 0) -> None:
        flags.DEFINE_integer(name, default, text, flag_values=values, lower_bound=least)

    def choice(name: str, choices: Sequence[str], text: str) -> None:
        flags.DEFINE_enum(name, choices[0], list(choices), text, flag_values=values)

    def switch(name: str, text: str) -> None:
        flags.DEFINE_bool(name, False, text, flag_values=values)

    string("model", "Model, as export.predict takes it.", required=True)
    string(
        "input",
        "Images: a folder, a glob pattern, a .txt, .csv, .tsv or .parquet file of "
        "paths, .tar, .tfrecord or .array_record files; local, or a URL of fsspec.",
        required=True,
    )
    string("output", "Folder of the predictions.", required=True)
    choice("format", FORMATS, f"Format of the parts: {' or '.join(FORMATS)}.")
    integer(
        "top",
        5,
        "Classes per image. A multi-label model lists all that reach their threshold.",
        least=1,
    )
    switch("probabilities", "Write the probabilities of all classes, float16.")
    switch("embeddings", "Write the input of the classifier, float32.")
    integer("part_size", None, "Images per part; default: by their number.", least=1)
    integer("workers", 0, "Worker processes or threads; 0: one per processor.")
    choice("engine", ENGINES, "Engine: local processes, or actors on a Ray cluster.")
    integer("shards", 1, "Tasks that share the images.", least=1)
    integer(
        "shard",
        None,
        "Index of this task, from 0; default: $JOB_COMPLETION_INDEX of Kubernetes or "
        "$SLURM_ARRAY_TASK_ID.",
    )
    choice(
        "precision", PRECISIONS, "Precision; int8 takes the model_int8.tflite of a run."
    )
    choice(
        "runtime",
        RUNTIMES,
        "Runtime of a Keras model; auto: LiteRT where its probabilities differ by at "
        "most 1e-4 and there are many images, else Keras.",
    )
    define_model_flags(values)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> int:
    """Predicts as the flags say.

    Returns:
        Exit code: 0 when an image was classified or all parts were finished, 1 when
        no image could be read, 2 for bad input, 74 when a file could not be written,
        75 when a signal stopped the job, which the same command resumes.
    """
    if len(argv) > 1:
        console.report(f"Error: all input goes into flags. Received: {argv[1]}")
        return ExitCode.WRONG_INPUT
    try:
        job = read_job(values)
        _make_folder(job.output)
        from .batch.job import run_job

        with sigterm_interrupts():
            result = run_job(job)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        console.report(f"Error: {error}")
        return exit_code(error)
    except KeyboardInterrupt:
        console.report("Stopped; the same command resumes after the finished parts")
        return ExitCode.INTERRUPTED
    if result.images and result.errors == result.images:
        console.report(f"Error: none of {result.images} images could be read")
        return ExitCode.FAILURE
    print(
        f"{job.output}: {result.parts} parts, {result.skipped} of them finished "
        f"earlier; {result.images} images now, {result.errors} of them unreadable"
    )
    return ExitCode.SUCCESS


def read_job(values: flags.FlagValues) -> Job:
    """Returns the job that the flags describe.

    Args:
        values: Parsed flags.

    Raises:
        ValueError: The index of the task is missing or not one of the tasks'.
    """
    options = ModelOptions(
        model=_absolute(values.model),
        weights=_absolute(values.weights),
        labels=_absolute(values.labels),
        image_size=values.image_size,
        crop_ratio=values.crop_ratio,
        interpolation=values.interpolation,
        crop_mode=values.crop_mode,
        thresholds=values.thresholds,
        top=values.top,
        probabilities=values.probabilities,
        embeddings=values.embeddings,
    )
    return Job(
        input=values.input,
        output=Path(values.output).expanduser().absolute(),
        options=options,
        precision=values.precision,
        format=values.format,
        part_size=values.part_size,
        shards=values.shards,
        shard=find_shard(values.shards, values.shard),
        workers=values.workers,
        engine=values.engine,
        runtime=values.runtime,
    )


def run() -> None:
    """Starts the command."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    run_app(main)


def _make_folder(output: Path) -> None:
    """Makes the output folder, before the work that takes time.

    Raises:
        ValueError: It cannot be made or written.
        OSError: The disk is full or failing.
    """
    reason = ""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if exit_code(error) != ExitCode.WRONG_INPUT:
            raise
        reason = error.strerror or str(error)
    if not reason and not os.access(output, os.W_OK):
        reason = "no permission, or a read-only file system"
    if reason:
        raise ValueError(
            f"`output` must be a folder that can be written. Received: output={output} "
            f"({reason})"
        )


def _absolute(name: str | None) -> Any:
    """Returns a name for workers in other folders: of a file, its absolute path."""
    if name is None or not Path(name).expanduser().exists():
        return name
    return str(Path(name).expanduser().absolute())


if __name__ == "__main__":
    run()
