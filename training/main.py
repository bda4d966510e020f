r"""Trains a model, or resumes a run.

python -m training.main --config=digits --workdir=runs/digits \
    --config.epochs=10 --config.seed=1
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tensorflow as tf
from absl import flags, logging

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, end, end_with, run_app
from keras_efficientnet.common.plain_text import tf_reason

from . import config_flags, dry_run
from .engine import trainer
from .engine.cluster.rendezvous import WorkerLostError
from .engine.preemption import Interrupted


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Defines the command's flags.

    Args:
        values: Where to define the flags; `flags.FLAGS` for the command itself.
        argv: Command line, the program's name first.

    Returns:
        The command line to parse.

    Raises:
        ValueError: A config field does not exist.
    """
    parsed = config_flags.define(values, argv)
    folder = "Folder of the run; resumed if it holds one."
    flags.DEFINE_string("workdir", None, folder, flag_values=values)
    flags.DEFINE_bool("dry_run", False, "Print the plan and stop.", flag_values=values)
    return parsed


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        end(ExitCode.WRONG_INPUT, f"Error: not understood: {' '.join(argv[1:])}")
    args = flags.FLAGS
    if not args["verbosity"].present:
        # TensorFlow logs each checkpoint, right through the progress bar.
        logging.set_verbosity(logging.WARNING)
    if not (args.workdir or args.dry_run):
        end(ExitCode.WRONG_INPUT, "Error: --workdir=DIR must be given.")
    try:
        if args.dry_run:
            print(console.lines(dry_run.describe_run(args.config)))
            return
        summary = trainer.train(args.config, args.workdir)
    except tf.errors.OpError as error:
        text = f"Error: TensorFlow cannot go on: {tf_reason(error)}"
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
            f"{summary['final_split']} top-1 {summary['final_top1']:.2%}, "
            f"n={summary['final_images']}, {summary['seconds']:.0f} s of training; "
            f"see {args.workdir}/report.md"
        )


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    try:
        argv = define_flags(flags.FLAGS, sys.argv)
    except ValueError as error:
        end_with(error)
    run_app(_main, argv)


if __name__ == "__main__":
    run()
