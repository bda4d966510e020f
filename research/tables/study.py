"""Tables 1, 2, 3 and 7 and Figures 1 and 5 of the paper, and four families compared.

The numbers of the paper are compared with computed ones.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import keras

from keras_efficientnet import VARIANTS, Scaling, plan_cost, profile
from keras_efficientnet.architecture import Variant, block_plan
from keras_efficientnet.baselines import MobileNetV1, MobileNetV2, ResNet
from keras_efficientnet.common.markdown import table

from .. import paper_data
from ..options import option
from ..reporting.folder import ResultsTable, open_folder
from ..reporting.page import picture, write_page
from . import families, figures

TITLE = "The paper's tables, printed and computed"
PARAMETERS, MULTIPLY_ADDS = "parameters, M", "multiply-adds, G"
_BASE = Scaling()
_BUILDERS: dict[str, Callable[[Scaling], keras.Model]] = {
    "MobileNetV1": MobileNetV1,
    "MobileNetV2": MobileNetV2,
    "ResNet-50": lambda scaling: ResNet(50, scaling),
    "ResNet-152": lambda scaling: ResNet(152, scaling),
}


@dataclasses.dataclass(frozen=True)
class TablesOptions:
    """Options of the tables; without any, the study is arithmetic."""

    measure: tuple[str, ...] = option(
        (),
        "Variants to measure on one TFLite thread, for the figure of accuracy by "
        "latency; all: every variant in it.",
        is_setting=False,
    )


OPTIONS = TablesOptions


@dataclasses.dataclass(frozen=True)
class TableComparison:
    """A printed number compared with the computed one.

    Attributes:
        table: Number of the paper's table.
        model: Row of the table.
        quantity: Name of the quantity, with its unit.
        printed: Number in the paper.
        computed: Number computed here.
        difference: Computed divided by printed, minus one.
        rounding: Half a unit of the last printed digit, as a ratio to the number.
    """

    table: int
    model: str
    quantity: str
    printed: float
    computed: float
    difference: float
    rounding: float

    @property
    def is_explained_by_rounding(self) -> bool:
        """Whether rounding the computed number may give the printed one."""
        return abs(self.difference) <= self.rounding


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of one of the paper's tables, with a function that computes it."""

    table: int
    model: str
    printed: dict[str, str]  # quantity -> number
    compute: Callable[[], dict[str, float]]  # quantity -> number


def run(options: TablesOptions, output_dir: pathlib.Path) -> None:
    """Compares all numbers, draws the figures and writes the report.

    Args:
        options: Options of the study.
        output_dir: Folder to write into.

    Raises:
        ValueError: There is no such network to measure.
    """
    families.check_networks(options.measure)
    with open_folder(output_dir, "tables", options) as folder:
        rows = folder.rows(TableComparison, ("table", "model", "quantity"))
        for row in _all_rows():
            _compare(row, rows)
        members = folder.rows(families.FamilyMember, ("model",), "families")
        families.add_members(members, options.measure)
        blocks = [_INTRODUCTION, *_sections(rows.rows)]
        blocks += _pictures(figures.draw(folder.root))
        blocks += families.section(members.rows)
        blocks += _pictures(families.draw(members.rows, folder.root))
        files = {rows.path.name: "all numbers", members.path.name: "the families"}
        write_page(folder, TITLE, blocks, files)


def _pictures(captions: dict[str, str]) -> list[str]:
    return [picture(name, about) for name, about in captions.items()]


def compare(
    table: int, model: str, quantity: str, printed: str, computed: float
) -> TableComparison:
    """Compares a printed number with a computed one.

    Args:
        table: Number of the paper's table.
        model: Row of the table.
        quantity: Name of the quantity, with its unit.
        printed: Number as printed.
        computed: Computed number, in the same unit.

    Example:
        >>> found = compare(2, "EfficientNetB0", MULTIPLY_ADDS, "0.40", 0.39)
        >>> round(found.difference, 6), round(found.rounding, 6)
        (-0.025, 0.0125)
    """
    number = float(printed)
    decimals = len(printed.partition(".")[2])
    return TableComparison(
        table=table,
        model=model,
        quantity=quantity,
        printed=number,
        computed=computed,
        difference=computed / number - 1,
        rounding=0.5 * 10**-decimals / number,
    )


def _compare(row: _Row, rows: ResultsTable[TableComparison]) -> None:
    known = [
        rows.find(table=row.table, model=row.model, quantity=quantity)
        for quantity in row.printed
    ]
    if all(known):
        return
    computed = row.compute()
    for quantity, printed in row.printed.items():
        rows.add(compare(row.table, row.model, quantity, printed, computed[quantity]))


def _all_rows() -> Iterator[_Row]:
    yield from _table1()
    yield from _table2()
    yield from _table3()
    yield from _table7()


def _table1() -> Iterator[_Row]:
    columns = {
        "input side, pixels": "input_resolution",
        "channels": "channels",
        "layers": "layers",
    }
    for row in paper_data.read("table1_b0"):
        printed = {quantity: row[column] for quantity, column in columns.items()}
        stage = int(row["stage"])
        name = f"stage {stage}: {row['operator']}"
        yield _Row(1, name, printed, functools.partial(_stage, stage))


def _stage(number: int) -> dict[str, float]:
    """Computes the row of Table 1 for a stage, 1 to 9."""
    variant = VARIANTS["EfficientNetB0"]
    plan = [block for block in block_plan(variant) if block.stage == number - 1]
    if plan:
        entry, channels, layers = plan[0].name, plan[0].filters_out, len(plan)
    elif number == 1:
        entry, channels, layers = "stem", variant.stem_filters, 1
    else:
        entry, channels, layers = "top", variant.head_filters, 1
    rows = plan_cost(variant).layers
    first = next(i for i, row in enumerate(rows) if row.name.startswith(entry))
    side = rows[first - 1].output_shape[0]
    return {"input side, pixels": side, "channels": channels, "layers": layers}


def _table2() -> Iterator[_Row]:
    peers = [
        row for row in paper_data.read("table2_peers") if row["model"] in _BUILDERS
    ]
    for row in [*paper_data.read("table2_family"), *peers]:
        printed = {PARAMETERS: row["params_M"], MULTIPLY_ADDS: row["flops_B"]}
        name = row["model"]
        yield _Row(2, name, printed, functools.partial(_quantities_of, name))


def _table3() -> Iterator[_Row]:
    for row in paper_data.read("table3_scaled_baselines"):
        name, scaling = row["model"], _scaling(row)
        yield _Row(
            3,
            f"{name}, {_describe(row)}",
            {MULTIPLY_ADDS: row["flops_B"]},
            functools.partial(_quantities_of, name, scaling),
        )


def _table7() -> Iterator[_Row]:
    for row in paper_data.read("table7_cam_models"):
        scaling = _scaling(row)
        variant = Variant(scaling.width, scaling.depth, scaling.image_size(), 0.2)
        yield _Row(
            7,
            f"EfficientNetB0, {_describe(row)}",
            {MULTIPLY_ADDS: row["flops_B"]},
            functools.partial(_quantities_of, variant),
        )


def _quantities_of(model: str | Variant, scaling: Scaling = _BASE) -> dict[str, float]:
    if isinstance(model, Variant):
        cost = plan_cost(model)
    elif model in VARIANTS:
        cost = plan_cost(VARIANTS[model])
    else:
        cost = profile(_BUILDERS[model](scaling))
    return {
        PARAMETERS: cost.trainable_params / 1e6,
        MULTIPLY_ADDS: cost.multiply_adds / 1e9,
    }


def _scaling(row: dict[str, str]) -> Scaling:
    return Scaling(*(float(row[k]) for k in ("depth", "width", "resolution")))


def _describe(row: dict[str, str]) -> str:
    ratios = {"d": row["depth"], "w": row["width"], "r": row["resolution"]}
    changed = [f"{k}={float(v):g}" for k, v in ratios.items() if float(v) != 1]
    return " ".join(changed) or "unscaled"


_INTRODUCTION = (
    "One multiply-add is one FLOP, as in the paper. The rounding column is half a unit "
    "of the last printed digit, relative to the number; smaller differences are not "
    "significant. Nothing was fitted to the printed numbers: channels are rounded to "
    "multiples of 8, and blocks per stage are rounded up, as in the original "
    "implementation."
)
_NOTES = {
    1: "",
    2: "B4's and B5's printed multiply-adds are lower than what their published "
    "architecture has. The ResNets stride in the 3x3 convolution (v1.5); with the "
    "stride in the 1x1 convolution (v1) ResNet-50 has 3.86 G.",
    3: """The paper does not say how it rounded its baselines. Other rules tried on the
compound rows, whose images of 224 * 1.3 = 291 pixels give odd feature maps:

- blocks rounded to nearest: MobileNetV1 -5.3%, MobileNetV2 -14.2%, ResNet-50 -15.2%;
- blocks rounded down: -23.2%, -22.2%, -18.5%;
- channels not rounded to multiples of 8: +6.7%, +3.9%, -4.9%;
- images of 288 pixels: -2.5%, -1.2%, -13.5%.

At depth 4 ResNet-50 has nothing to round. Four times the blocks, with one strided block
per stage as before, cost less than the printed number, which is nearly four times that
of the complete unscaled network.""",
    7: "The printed numbers of the rows that scale one dimension are higher than B0's "
    "block table gives with blocks rounded up and channels rounded to multiples of 8. "
    "The compound row agrees.",
}


def _sections(rows: Sequence[TableComparison]) -> list[str]:
    blocks = []
    for number, note in _NOTES.items():
        chosen = [row for row in rows if row.table == number]
        exact = [row for row in chosen if row.difference == 0]
        blocks.append(f"## Table {number}")
        if len(exact) == len(chosen):
            blocks.append(f"All {len(exact)} numbers are equal.")
        else:
            blocks += [_verdict(chosen), table([_cells(row) for row in chosen])]
        blocks += [note] if note else []
    return blocks


def _verdict(rows: Sequence[TableComparison]) -> str:
    rounded = sum(row.is_explained_by_rounding for row in rows)
    worst = max(rows, key=lambda row: abs(row.difference))
    return (
        f"{rounded} of {len(rows)} numbers agree within rounding; the largest "
        f"difference is {worst.difference:+.1%}, {worst.quantity} of {worst.model}."
    )


def _cells(row: TableComparison) -> dict[str, str]:
    return {
        "model": row.model,
        "quantity": row.quantity,
        "printed": f"{row.printed:g}",
        "computed": f"{row.computed:.4g}",
        "difference": f"{row.difference:+.1%}",
        "rounding": f"{row.rounding:.1%}",
        "within rounding": "yes" if row.is_explained_by_rounding else "no",
    }
