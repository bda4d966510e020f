"""One-line errors of programs whose packages are not installed."""

from __future__ import annotations

import functools
import pathlib
import sys
from types import TracebackType

from . import console
from .exit_codes import ExitCode, end

# Installed command -> package that holds its program.
_COMMANDS = {
    "efficientnet-convert": "keras_efficientnet",
    "efficientnet-evaluate": "training",
    "efficientnet-export": "export",
    "efficientnet-predict": "export",
    "efficientnet-pseudo-label": "training",
    "efficientnet-study": "research",
    "efficientnet-train": "training",
}
# Package -> extras that install what its programs need.
_EXTRAS = {
    "export": "cpu,export",
    "keras_efficientnet": "cpu",
    "research": "cpu,train,export,research",
    "training": "cpu,train",
}


def explain_missing_packages() -> None:
    """Makes a program that lacks a package end with one line, not a traceback.

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
    """Returns the package of the program that the process was started as, if any."""
    if not sys.argv:
        return None
    if sys.argv[0] == "-m":  # until Python has found the module
        parts = _module_name(sys.orig_argv).split(".")
        return next((name for name in reversed(parts[:2]) if name in _EXTRAS), None)
    return _COMMANDS.get(pathlib.Path(sys.argv[0]).stem)


def _module_name(command_line: list[str]) -> str:
    """Returns the module of `python -m MODULE` or `python -mMODULE`."""
    for option, following in zip(command_line, [*command_line[1:], ""], strict=True):
        if option.startswith("-m"):
            return option[2:] or following
    return ""


def _handle(
    package: str,
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
) -> None:
    if isinstance(error, ModuleNotFoundError):
        end_program(error, package)
    sys.__excepthook__(kind, error, traceback)
