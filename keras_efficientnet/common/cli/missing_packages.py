"""One-line errors of programs whose packages are not installed."""

from __future__ import annotations

import functools
import sys
from types import TracebackType

from . import console, startup
from .exit_codes import ExitCode, end

# Package -> extras that install what its programs need.
_EXTRAS = {
    "export": "cpu,export",
    "keras_efficientnet": "cpu",
    "research": "cpu,train,export,research",
    "training": "cpu,train",
}


def explain_missing_packages() -> None:
    """Ends a program that lacks a package with a one-line error, not a traceback.

    The packages that hold programs call it before their programs import anything. In
    a process that was not started as one of our programs, it does nothing.
    """
    package = _started_package()
    if package is not None:
        sys.excepthook = functools.partial(_handle, package)


def end_program(error: ImportError, package: str | None = None) -> None:
    """Ends a program that lacks a package; returns in other processes.

    Args:
        error: Error of the import.
        package: Package that holds the program. None: that of the process, if it was
            started as one of our programs.
    """
    package = package or _started_package()
    if package is None or not error.name or error.name.split(".")[0] in _EXTRAS:
        return
    console.prepare_streams()
    end(
        ExitCode.WRONG_INPUT,
        f"Error: {error.name} must be installed: "
        f"pip install 'efficientnet-keras[{_EXTRAS[package]}]' "
        "(or gpu or tpu in place of cpu)",
    )


def _started_package() -> str | None:
    """Returns the package of the program that this process was started as, if any."""
    program = startup.started_program(sys.orig_argv, sys.argv)
    return None if program is None else _package_of(program)


def _package_of(program: str) -> str:
    package = program.split(".")[0]
    return package if package in _EXTRAS else "keras_efficientnet"


def _handle(
    package: str,
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
) -> None:
    if isinstance(error, ModuleNotFoundError):
        end_program(error, package)
    sys.__excepthook__(kind, error, traceback)
