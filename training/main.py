r"""Trains a model, or resumes a run.

python -m training.main --config=digits --workdir=runs/digits \
    --config.epochs=10 --config.seed=1
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import flags, logging

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, end, end_with, run_app
from keras_efficientnet.common.plain_text import tf_reason

from . import dry_run
from .config import flags as config_flags
from .config import help as config_help
from .engine import trainer
from .engine.cluster.rendezvous import WorkerLostError
from .engine.preemption import Interrupted


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Defines the command's flags.

    Args:
        values: Registry of the flags; `flags.FLAGS` for the command itself.
        argv: Command line, the program's name first.

    Returns:
        The command line to parse.

    Raises:
        ValueError: A config field does not exist.
    """
    parsed = config_flags.define(values, argv)

    def switch(name: str, text: str) -> None:
        flags.DEFINE_bool(name, False, text, flag_values=values)

    folder = "Folder of the run. A run that it holds is resumed."
    flags.DEFINE_string("workdir", None, folder, flag_values=values)
    switch("dry_run", "Check the configuration and the data, print the plan and stop.")
    flags.DEFINE_integer(
        "replicas",
        None,
        "Number of devices to plan for with --dry_run. Default: those of this machine.",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_float(
        "device_memory_gb",
        None,
        "Memory in GB of each device to plan for. Default: that of this machine's, "
        "unless --replicas is given.",
        flag_values=values,
        lower_bound=0.0,
    )
    switch("list_recipes", "Print the recipes and stop.")
    return parsed


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        end(ExitCode.WRONG_INPUT, f"Error: unknown arguments: {' '.join(argv[1:])}")
    args = flags.FLAGS
    if not args["verbosity"].present:
        # TensorFlow would log each checkpoint across the progress bar.
        logging.set_verbosity(logging.WARNING)
    if args.list_recipes:
        print(config_help.describe_recipes())
        return
    if (args.replicas or args.device_memory_gb) and not args.dry_run:
        text = "Error: --replicas and --device_memory_gb need --dry_run."
        end(ExitCode.WRONG_INPUT, text)
    if not (args.workdir or args.dry_run):
        end(ExitCode.WRONG_INPUT, "Error: --workdir=DIR must be given.")
    try:
        if args.dry_run:
            plan = dry_run.describe_run(
                args.config,
                args.workdir,
                replicas=args.replicas,
                device_gb=args.device_memory_gb,
            )
            print(console.lines(plan))
            return
        summary = trainer.train(args.config, args.workdir)
    except tf.errors.OpError as error:
        text = f"Error: TensorFlow failed: {tf_reason(error)}"
        end(ExitCode.FAILURE, text)
    except Interrupted as signal:
        text = f"Stopped ({signal}); the same command resumes the run"
        end(ExitCode.INTERRUPTED, text)
    except WorkerLostError as error:
        end(ExitCode.WORKER_LOST, f"Error: {error}")
    except (ValueError, FloatingPointError, ImportError, OSError) as error:
        end_with(error)
    if summary:
        print(
            f"{summary['final_split']} {_headline(summary)}, "
            f"n={summary['final_images']}, {summary['seconds']:.0f} s of training; "
            f"see {args.workdir}/report.md"
        )


def _headline(summary: dict[str, Any]) -> str:
    if "final_map" in summary:
        return f"mAP {summary['final_map']:.2%}"
    return f"top-1 {summary['final_top1']:.2%}"


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    try:
        argv = define_flags(flags.FLAGS, sys.argv)
    except ValueError as error:
        end_with(error)
    run_app(_main, argv, _describe_config)


def _describe_config() -> str:
    return f"{config_help.describe_recipes()}\n\n{config_help.describe_fields()}"


if __name__ == "__main__":
    run()
