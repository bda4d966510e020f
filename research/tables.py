"""Tables of the paper, printed against computed."""

from __future__ import annotations

import dataclasses
import pathlib

from keras_efficientnet import VARIANTS, plan_cost

from . import paper_data
from .folder import open_folder
from .page import table, write_page

TITLE = "The paper's tables, printed and computed"


@dataclasses.dataclass(frozen=True)
class Options:
    """The study has none."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A number of the paper and ours."""

    table: str
    model: str
    quantity: str
    printed: float
    computed: float

    @property
    def difference(self) -> float:
        """Relative to the printed number."""
        return self.computed / self.printed - 1


def run(options: Options, output_dir: pathlib.Path) -> None:
    """Compares and writes what it found.

    Args:
        options: None.
        output_dir: Folder to write into.
    """
    with open_folder(output_dir, "tables", options) as folder:
        rows = folder.rows(Comparison, ("table", "model", "quantity"))
        for row in family():
            rows.add(row)
        shown = [
            vars(row) | {"difference": f"{row.difference:+.1%}"} for row in rows.rows
        ]
        write_page(folder, TITLE, [table(shown)], {rows.path.name: "all numbers"})


def family() -> list[Comparison]:
    """Compares Table 2: parameters and multiply-adds of B0 to B7."""
    found = []
    for row in paper_data.read("table2_family"):
        model, cost = row["model"], plan_cost(VARIANTS[row["model"]])
        params = Comparison(
            "2",
            model,
            "parameters, M",
            float(row["params_M"]),
            cost.trainable_params / 1e6,
        )
        flops = Comparison(
            "2",
            model,
            "multiply-adds, G",
            float(row["flops_B"]),
            cost.multiply_adds / 1e9,
        )
        found += [params, flops]
    return found
