r"""Trains a model, or resumes a run.

python -m training.main --config=digits --workdir=runs/digits \
    --config.epochs=10 --config.seed=1
"""

from __future__ import annotations

import re
import sys

from absl import app, flags, logging
from ml_collections import config_flags

import keras_efficientnet

from . import config, loop, model, sources


def _define_flags() -> None:
    config_flags.DEFINE_config_dataclass(
        "config",
        config.TrainConfig(),
        "Recipe, NAME[:ARG] or FILE.py[:ARG]; its fields are set as "
        "--config.FIELD=VALUE.",
        parse_fn=config.load,
    )
    flags.DEFINE_string("workdir", None, "Folder of the run; resumed if it holds one.")
    flags.DEFINE_bool("dry_run", False, "Print the plan and stop.")


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Not understood: {' '.join(argv[1:])}")
    args = flags.FLAGS
    if not args["verbosity"].present:
        # TensorFlow logs each checkpoint, right through the progress bar.
        logging.set_verbosity(logging.WARNING)
    if not (args.workdir or args.dry_run):
        raise app.UsageError("--workdir=DIR must be given.")
    try:
        if args.dry_run:
            print(plan(args.config))
            return
        summary = loop.train(args.config, args.workdir)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    if summary:
        print(
            f"{summary['final_split']} top-1 {summary['final_top1']:.2%}, "
            f"n={summary['final_images']}, {summary['seconds']:.0f} s of training; "
            f"see {args.workdir}/report.md"
        )


def plan(run_config: config.TrainConfig) -> str:
    """Describes a run without training.

    Args:
        run_config: The run.

    Returns:
        Text: model, cost, images, steps, peak learning rate.

    Raises:
        ValueError: A config field or the data is not usable.
    """
    run_config.validate()
    source = sources.load(run_config.data)
    images = len(source.split("train"))
    net = model.build(run_config, len(source.class_names))
    counts = {name: len(split) for name, split in source.splits.items()}
    rows = {
        "model": f"{run_config.variant} at {run_config.resolution} pixels",
        "cost": str(keras_efficientnet.profile(net)),
        "classes": len(source.class_names),
        "images": ", ".join(f"{count:,} {name}" for name, count in counts.items()),
        "steps": f"{run_config.total_steps(images):,} of {run_config.batch_size} "
        f"images, {run_config.steps_per_epoch(images):.2f} per epoch",
        "optimizer": f"{run_config.optimizer}, {run_config.schedule} schedule",
        "peak learning rate": f"{run_config.peak_lr:g}",
    }
    return "\n".join(f"{name:20}{value}" for name, value in rows.items())


def _check_overrides(argv: list[str]) -> None:
    # config_flags reports an unknown field by a traceback without a suggestion.
    for argument in argv:
        match = re.match(r"--?(?:no)?config\.(\w+)", argument)
        if match:
            config.check_field(match[1])


def run() -> None:
    """Runs the command line."""
    try:
        _check_overrides(sys.argv)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    _define_flags()
    app.run(_main)


if __name__ == "__main__":
    run()
