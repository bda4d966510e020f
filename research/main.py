"""Command line of the studies.

python -m research.main STUDY --output_dir=DIR [--OPTION=VALUE ...]
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from keras_efficientnet.common.cli import console, help_text, missing_packages
from keras_efficientnet.common.cli.exit_codes import ExitCode

from .options import define_flags, read_flags
from .studies import Study, describe_studies, find_study

_USAGE = """usage: efficientnet-study STUDY --output_dir=DIR [--OPTION=VALUE ...]

Studies of arXiv:1905.11946. Run the same command again to resume a study.
"""


def main(argv: Sequence[str]) -> int:
    """Runs a study.

    Args:
        argv: Command line without the program's name.

    Returns:
        Exit code: 0 for success, 1 if a training run failed, 2 for bad input, 75
        if interrupted.
    """
    if not argv or argv[0].startswith("-"):
        wants_help = bool(argv) and argv[0].lstrip("-") in ("help", "h", "helpfull")
        more = "Use STUDY --help to list the options of a study."
        text = f"{_USAGE}\n{describe_studies()}\n\n{more}"
        print(text, file=sys.stdout if wants_help else sys.stderr)
        return ExitCode.SUCCESS if wants_help else ExitCode.WRONG_INPUT
    try:
        return _run_study(argv)
    except ModuleNotFoundError as error:
        missing_packages.end_program(error, "research")
        raise
    except (ValueError, OSError, ImportError, flags.Error) as error:
        console.report(f"Error: {error}")
        return ExitCode.WRONG_INPUT
    except (RuntimeError, FloatingPointError) as error:
        console.report(f"Error: {error}")
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to resume.", file=sys.stderr)
        return ExitCode.INTERRUPTED


def parse(argv: Sequence[str]) -> tuple[Study, flags.FlagValues]:
    """Parses the command line of a study.

    Args:
        argv: Name of the study, then flags.

    Returns:
        The study and the flags' values.

    Raises:
        ValueError: There is no such study, or an argument is not a flag.
        flags.Error: There is no such flag, or its value has the wrong type.
    """
    study = find_study(argv[0])
    values = flags.FlagValues()
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder to write into; an interrupted study is resumed.",
        flag_values=values,
    )
    flags.DEFINE_bool("help", False, "Show this help.", flag_values=values)
    define_flags(study.load().OPTIONS, values)
    rest = values(argv)[1:]
    if rest:
        raise ValueError(
            f"All arguments must be flags, --NAME=VALUE. Received: {rest[0]}"
        )
    return study, values


def _run_study(argv: Sequence[str]) -> int:
    study, values = parse(argv)
    if values.help:
        defined = [values[name] for name in values]
        about = f"{_USAGE}\n{study.about}"
        print(console.lines(help_text.describe(about, defined)))
        return ExitCode.SUCCESS
    if not values.output_dir:
        raise ValueError("--output_dir=DIR must be given.")
    folder = pathlib.Path(values.output_dir).expanduser()
    module = study.load()
    module.run(read_flags(module.OPTIONS, values), folder)
    print(f"See {folder / 'report.md'}")
    return ExitCode.SUCCESS


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
