"""Help text of commands that use absl flags."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

_HELP = {"--help", "-help", "-h", "-?", "--helpshort", "--helpfull"}
_WIDTH = 88  # maximum line length, columns
_SHOWN = (bool, int, float, str)  # types of defaults that are readable


def is_requested(arguments: Sequence[str]) -> bool:
    """Returns whether a command line requests help.

    Args:
        arguments: Command line without the program's name.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return not _HELP.isdisjoint(arguments[:end])


def describe(about: str, defined: Iterable[Any], details: str = "") -> str:
    """Returns the help text of a command.

    Args:
        about: Description of the command and its usage.
        defined: Absl flags of the command.
        details: Text below the flags.
    """
    listed = "\n".join(["Flags:", describe_flags(defined)])
    parts = (about.strip(), listed, details.strip("\n"))
    return "\n\n".join(part for part in parts if part)


def describe_flags(defined: Iterable[Any]) -> str:
    """Describes flags in order of their names, with meaning and default.

    Args:
        defined: Absl flags.
    """
    return "\n".join(
        entry(f"--{'[no]' if flag.boolean else ''}{flag.name}", _describe_flag(flag))
        for flag in sorted(defined, key=lambda flag: flag.name)
    )


def entry(name: str, text: str) -> str:
    """Formats a name with its description below, wrapped to the terminal width.

    Args:
        name: Name of a flag, a field or another item.
        text: Description, whose line breaks are kept.
    """
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    lines = [
        textwrap.fill(
            line,
            max(width, 40),
            initial_indent=" " * 6,
            subsequent_indent=" " * (6 + len(line) - len(line.lstrip())),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    ]
    return "\n".join([f"  {name}", *lines])


def _describe_flag(flag: Any) -> str:
    text = flag.help
    if any("other than None" in validator.message for validator in flag.validators):
        return f"{text} Required."
    default = flag.default
    if isinstance(default, list):
        default = ",".join(map(str, default))
    if not isinstance(default, _SHOWN) or default == "":
        return str(text)
    return f"{text} Default: {str(default).lower() if flag.boolean else default}."
