"""Names of the command-line programs, and how they import Keras."""

from __future__ import annotations

import gc
import importlib
import os
import pathlib
import sys
from contextlib import nullcontext

from .quiet import hidden_startup_lines

# Installed command -> module of its program.
PROGRAMS = {
    "efficientnet-train": "training.main",
    "efficientnet-evaluate": "training.evaluate",
    "efficientnet-pseudo-label": "training.pseudo_label",
    "efficientnet-prepare": "training.prepare",
    "efficientnet-inspect-data": "training.inspect_data",
    "efficientnet-export": "export.main",
    "efficientnet-predict": "export.predict",
    "efficientnet-batch-predict": "export.batch_predict",
    "efficientnet-study": "research.main",
    "efficientnet-convert": "weights.convert",
}
_PACKAGE = "keras_efficientnet."
_ROOT = pathlib.Path(__file__).parents[3]  # of a checkout or an installation
_LOG_LEVEL, _ERRORS_ONLY = "TF_CPP_MIN_LOG_LEVEL", "2"
# Keras imports these if they are installed, for functions that no command calls.
_UNUSED_BY_COMMANDS = ("cv2", "matplotlib", "sklearn")
_STARTED_BY_COMMANDS = "export.latency"


def hide_startup_lines() -> None:
    """Hides TensorFlow's start-up lines if this process runs one of the commands.

    Call it before TensorFlow is imported. Errors stay visible, other programs that
    import this package keep their log level, and a level set by the user takes
    precedence.
    """
    if started_program(sys.orig_argv, sys.argv) is not None:
        os.environ.setdefault(_LOG_LEVEL, _ERRORS_ONLY)


def import_keras() -> None:
    """Imports Keras; in our commands, without optional packages that they do not need.

    Scikit-learn's wrappers and drawings of images take a third of Keras' import time.
    Afterwards the packages can be imported as usual. Garbage collection, which finds
    nothing in modules but takes a fifth of the time, waits until they are imported.
    """
    is_part = any(x.endswith(_STARTED_BY_COMMANDS) for x in sys.orig_argv)
    is_command = is_part or started_program(sys.orig_argv, sys.argv) is not None
    names = _UNUSED_BY_COMMANDS if is_command else ()
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    was_enabled = gc.isenabled()
    gc.disable()
    hides = is_command and os.environ.get(_LOG_LEVEL) != "0"
    try:
        with hidden_startup_lines() if hides else nullcontext():
            importlib.import_module("keras")
    finally:
        for name in hidden:
            del sys.modules[name]
        if is_command:
            gc.freeze()  # leaves the modules out of all later collections
        if was_enabled:
            gc.enable()


def command_name(module: str) -> str:
    """Returns the command of a program, such as "python -m training.main".

    Args:
        module: Name of the program's module. Modules inside this package, as in a
            wheel, have an installed command.
    """
    program = module.removeprefix(_PACKAGE)
    for command, name in PROGRAMS.items():
        if name == program != module:
            return command
    return f"python -m {module}"


def started_program(orig_argv: list[str], argv: list[str]) -> str | None:
    """Returns the program that a process was started as, such as "training.main".

    Args:
        orig_argv: Command line of Python, `sys.orig_argv`.
        argv: Command line of the program, `sys.argv`.

    Returns:
        A value of `PROGRAMS`, or None in other processes.
    """
    options = iter(orig_argv[1:])
    for option in options:
        if option.startswith("-m"):  # "-m MODULE" or "-mMODULE"
            module = (option[2:] or next(options, "")).removeprefix(_PACKAGE)
            return module if module in PROGRAMS.values() else None
        if option in ("-W", "-X"):
            next(options, None)  # the option's value
        elif option == "-c" or not option.startswith("-"):
            break  # what follows are arguments of the program
    path = pathlib.Path(argv[0] if argv else "")
    if path.stem in PROGRAMS:
        return PROGRAMS[path.stem]
    if not path.is_relative_to(_ROOT):
        return None
    # Processes that multiprocessing starts have the path of the program's module.
    parts = path.relative_to(_ROOT).with_suffix("").parts
    module = ".".join(parts).removeprefix(_PACKAGE)
    return module if module in PROGRAMS.values() else None
