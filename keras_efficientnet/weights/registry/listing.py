"""Lists published weights as a Markdown table.

python -m keras_efficientnet.weights.registry.listing "*b4*"
python -m keras_efficientnet.weights.registry.listing --write=docs/weights.md
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ...common.files import write_text
from ...common.markdown import table
from .table import list_weights, named_files
from .weight_file import WeightFile

BEGIN = "<!-- made by `python -m keras_efficientnet.weights.registry.listing` -->"
END = "<!-- end -->"


def weights_table(pattern: str = "*") -> str:
    """Returns a table of published weights.

    Args:
        pattern: Shell pattern, as in `list_weights`.
    """
    wanted = set(list_weights(pattern))
    return table([_row(name, row) for name, row in named_files() if name in wanted])


def update_page(text: str) -> str:
    """Returns a page with its table updated.

    Args:
        text: Text of the page, with the table between `BEGIN` and `END`.

    Raises:
        ValueError: `text` lacks `BEGIN` or `END`.
    """
    place = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.S)
    if not place.search(text):
        raise ValueError(f"The page must have the lines {BEGIN!r} and {END!r}.")
    return place.sub(lambda _: f"{BEGIN}\n\n{weights_table()}\n\n{END}", text)


def _row(name: str, row: WeightFile) -> dict[str, str]:
    kind = "none"
    if row.checksum:
        algorithm, _, digest = row.checksum.partition(":")
        kind = f"{algorithm}, 8 digits" if len(digest) == 8 else algorithm
    squashed = ", squashed" if row.crop_mode == "squash" else ""
    return {
        "name": name.removeprefix("EfficientNet"),
        "top-1": "unknown" if row.top1 is None else f"{row.top1:g} ({row.top1_source})",
        "pixels": f"{row.resolution}{squashed}",
        "normalisation": row.normalization,
        "padding, epsilon": f"{row.padding}, {row.bn_epsilon:g}",
        "checksum": kind,
        "file of": f"{row.source}; {row.licence}",
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Lists published weights.")
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--write", type=Path, help="page whose table to update")
    values = parser.parse_args()
    if values.write:
        text = values.write.read_text(encoding="utf-8")
        write_text(values.write, update_page(text))
    else:
        print(weights_table(values.pattern))


if __name__ == "__main__":
    main()
