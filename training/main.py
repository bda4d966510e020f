r"""Trains a model, or resumes a run.

python -m training.main --config=digits --workdir=runs/digits \
    --config.epochs=10 --config.seed=1
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import NoReturn

import tensorflow as tf
from absl import app, flags, logging

from keras_efficientnet.common import console
from keras_efficientnet.common.plain_text import tf_reason

from . import config_flags, dry_run
from .engine import trainer
from .engine.cluster.rendezvous import WorkerLostError
from .engine.preemption import Interrupted

# Exit codes, as in sysexits.h but for the first; 1 is every other error.
EX_USAGE = 2  # the run folder is none, or may not be written to
EX_UNAVAILABLE = 69  # another worker is missing or was lost: start all to resume
EX_IOERR = 74  # the run folder cannot be written: once it can, start again to resume
EX_TEMPFAIL = 75  # told to stop by a signal: start again to resume
_NO_RESTART_MENDS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
}


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
        raise app.UsageError(f"Not understood: {' '.join(argv[1:])}")
    args = flags.FLAGS
    if not args["verbosity"].present:
        # TensorFlow logs each checkpoint, right through the progress bar.
        logging.set_verbosity(logging.WARNING)
    if not (args.workdir or args.dry_run):
        raise app.UsageError("--workdir=DIR must be given.")
    try:
        if args.dry_run:
            print(console.lines(dry_run.describe_run(args.config)))
            return
        summary = trainer.train(args.config, args.workdir)
    except (ValueError, FloatingPointError, ImportError) as error:
        _exit(1, f"Error: {error}")
    except tf.errors.OpError as error:
        _exit(1, f"Error: TensorFlow cannot go on: {tf_reason(error)}")
    except Interrupted as signal:
        _exit(EX_TEMPFAIL, f"Stopped ({signal}); the same command resumes the run")
    except WorkerLostError as error:
        _exit(EX_UNAVAILABLE, f"Error: {error}")
    except OSError as error:
        _exit(_exit_code(error), f"Error: {_describe(error)}")
    if summary:
        print(
            f"{summary['final_split']} top-1 {summary['final_top1']:.2%}, "
            f"n={summary['final_images']}, {summary['seconds']:.0f} s of training; "
            f"see {args.workdir}/report.md"
        )


def _exit_code(error: OSError) -> int:
    # Our own, of weights that are missing, have no number.
    if error.errno is None:
        return 1
    return EX_USAGE if error.errno in _NO_RESTART_MENDS else EX_IOERR


def _describe(error: OSError) -> str:
    has_text = error.filename is None and error.strerror
    return str(error.strerror if has_text else error)


def _exit(code: int, text: str) -> NoReturn:
    console.report(text)
    sys.exit(code)


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    try:
        argv = define_flags(flags.FLAGS, sys.argv)
    except ValueError as error:
        _exit(1, f"Error: {error}")
    app.run(_main, argv)


if __name__ == "__main__":
    run()
