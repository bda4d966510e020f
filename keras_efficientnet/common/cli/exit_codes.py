"""Exit codes of the commands; docs/training.md has the table."""

from __future__ import annotations

import enum
import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import console, help_text, startup


class ExitCode(enum.IntEnum):
    """Exit code of a command. A scheduler may restart on 69, 74 and 75.

    Attributes:
        SUCCESS: The command succeeded.
        FAILURE: The command ran, but its result is not usable: an artefact missed its
            threshold, the loss became infinite or NaN, or no image could be read.
        WRONG_INPUT: An argument, a file or the environment is not usable; the message
            explains what to change.
        WORKER_LOST: Another worker did not start or died.
        CANNOT_WRITE: The disk is full, failing, or has become read-only.
        INTERRUPTED: A signal was received; the work was saved.
    """

    SUCCESS = 0
    FAILURE = 1
    WRONG_INPUT = 2
    WORKER_LOST = 69  # EX_UNAVAILABLE of sysexits.h
    CANNOT_WRITE = 74  # EX_IOERR
    INTERRUPTED = 75  # EX_TEMPFAIL


_NEEDS_USER_ACTION = {
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


def exit_code(error: BaseException) -> ExitCode:
    """Returns the exit code for an error.

    Args:
        error: Exception that ended a command.
    """
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno in _NEEDS_USER_ACTION:
            return ExitCode.WRONG_INPUT
        return ExitCode.CANNOT_WRITE
    is_input = isinstance(error, (ValueError, ImportError, OSError))
    return ExitCode.WRONG_INPUT if is_input else ExitCode.FAILURE


def end(code: ExitCode, message: object) -> NoReturn:
    """Ends the process with a message on standard error.

    Args:
        code: Exit code.
        message: Text, printed without control characters.
    """
    console.report(message)
    sys.exit(int(code))


def end_with(error: BaseException) -> NoReturn:
    """Ends the process with an error's message and exit code."""
    text: object = error
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        text = error.strerror
    end(exit_code(error), f"Error: {text}")


def run_app(
    main: Callable[[list[str]], Any],
    argv: list[str] | None = None,
    details: Callable[[], str] | None = None,
) -> None:
    """Runs a command that uses absl flags; invalid flags exit with `WRONG_INPUT`.

    `--help` prints the docstring of the module of `main` and the flags defined there.
    (absl would list the flags of `__main__`, which is another module in an installed
    command.)

    Args:
        main: Function of the remaining arguments; returns the exit code.
        argv: Command line, starting with the program's name. Defaults to `sys.argv`.
        details: Function that returns additional text for `--help`.
    """
    from absl import app, flags

    arguments = sys.argv if argv is None else argv
    if help_text.is_requested(arguments[1:]):
        print(_help(sys.modules[main.__module__], details))
        sys.exit(int(ExitCode.SUCCESS))

    def parse(arguments: Sequence[str]) -> list[str]:
        try:
            return flags.FLAGS(arguments)
        except flags.Error as error:
            end(ExitCode.WRONG_INPUT, f"Error: {error}")

    app.run(main, argv, flags_parser=parse)


def _help(module: Any, details: Callable[[], str] | None) -> str:
    from absl import flags

    is_main = module.__name__ == "__main__"
    name = module.__spec__.name if is_main and module.__spec__ else module.__name__
    program = name.removeprefix("keras_efficientnet.")
    about = (module.__doc__ or "").replace(
        f"python -m {program}", startup.command_name(name)
    )
    # absl files the flags of `__main__` under the path of the script.
    defined = flags.FLAGS.get_flags_for_module(sys.argv[0] if is_main else name)
    return help_text.describe(about, defined, details() if details else "")
