"""Log level of TensorFlow's native code in the processes of the commands."""

from __future__ import annotations

import os
import pathlib
import sys

# Installed command -> module of its program.
PROGRAMS = {
    "efficientnet-train": "training.main",
    "efficientnet-evaluate": "training.evaluate",
    "efficientnet-pseudo-label": "training.pseudo_label",
    "efficientnet-export": "export.main",
    "efficientnet-predict": "export.predict",
    "efficientnet-study": "research.main",
    "efficientnet-convert": "weights.convert",
}
_PACKAGE = "keras_efficientnet."
_ERRORS_ONLY = "2"


def hide_startup_lines() -> None:
    """Hides TensorFlow's start-up lines if this process runs one of the commands.

    Call it before TensorFlow is imported. Errors stay visible, other programs that
    import this package keep their log level, and a level set by the user takes
    precedence.
    """
    if _is_command(sys.orig_argv, sys.argv):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _ERRORS_ONLY)


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


def _is_command(orig_argv: list[str], argv: list[str]) -> bool:
    if "-m" in orig_argv[:-1]:
        module = orig_argv[orig_argv.index("-m") + 1]
        return module.removeprefix(_PACKAGE) in PROGRAMS.values()
    return bool(argv) and pathlib.Path(argv[0]).stem in PROGRAMS
