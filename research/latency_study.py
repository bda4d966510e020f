"""Inference latency on one core (Table 4 of the paper)."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from matplotlib.axes import Axes

import keras_efficientnet
from keras_efficientnet import profile
from keras_efficientnet.architecture import VARIANTS
from keras_efficientnet.baselines import ResNet
from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.common.markdown import table

from . import paper_data
from .exporter import convert
from .options import option
from .reporting.drawing import COLORS, new_figure, save, tidy
from .reporting.folder import StudyFolder, open_folder
from .reporting.page import picture, write_page

RESNET = "ResNet-152"
FAMILY = tuple(f"EfficientNetB{i}" for i in range(8))
WARM_UP = 3  # warmup runs, not counted
PICTURE = "latency.png"
_LINK = "EfficientNetB1"  # the network that the paper compares ResNet-152 with


@dataclasses.dataclass(frozen=True)
class LatencyOptions:
    """Options of the latency study."""

    models: tuple[str, ...] = option(
        (RESNET, *FAMILY),
        f"Variants and {RESNET}, in the order of measurement.",
        is_setting=False,
    )
    runs: int = option(20, "Number of timed runs per network, after three warmup runs.")
    core: int = option(
        -1, "CPU core to run on; -1: the last that this process may use."
    )


OPTIONS = LatencyOptions


@dataclasses.dataclass(frozen=True)
class Measured:
    """Latency of a network with batch size 1, float32, on one thread.

    Attributes:
        model: Name of the network.
        image_size: Image size in pixels.
        params_M: Trainable parameters in millions.
        multiply_adds_G: Multiply-adds for one image in units of 1e9.
        mean_s: Mean wall-clock time in seconds.
        deviation_s: Standard deviation of the wall-clock time in seconds.
        median_s: Median wall-clock time in seconds.
        cpu_s: Mean CPU time in seconds; less than `mean_s` if other processes used
            the core.
    """

    model: str
    image_size: int
    params_M: float  # noqa: N815
    multiply_adds_G: float  # noqa: N815
    mean_s: float
    deviation_s: float
    median_s: float
    cpu_s: float


def run(options: LatencyOptions, output_dir: pathlib.Path) -> None:
    """Measures each network and writes the report.

    Args:
        options: Options of the study.
        output_dir: Folder to write into; an interrupted study is resumed.

    Raises:
        ValueError: There is no such model, or `runs` is below 1.
    """
    for name in options.models:
        check_choice("models", name, [*VARIANTS, RESNET])
    if options.runs < 1:
        raise ValueError(f"`runs` must be at least 1. Received: runs={options.runs}")
    with open_folder(output_dir, "latency", options) as folder:
        rows = folder.rows(Measured, ("model",))
        for name in options.models:
            if rows.find(model=name) is None:
                rows.add(_measure(name, options))
                gc.collect()
        _write(folder, rows.rows)


def build(name: str) -> keras.Model:
    """Builds a network with random weights.

    Args:
        name: Key of `VARIANTS` or "ResNet-152".
    """
    if name == RESNET:
        return ResNet(152)
    return getattr(keras_efficientnet, name)(weights=None)


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Pins this thread to one core within a `with` block, if the system supports it.

    Args:
        core: Number of the core; -1 for the last that this process may use.

    Raises:
        ValueError: This process may not use that core.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    chosen = max(allowed) if core == -1 else core
    if chosen not in allowed:
        raise ValueError(
            f"`core` must be -1 or one of {', '.join(map(str, sorted(allowed)))}. "
            f"Received: core={core}"
        )
    os.sched_setaffinity(0, {chosen})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def time_calls(call: Callable[[], object], runs: int) -> tuple[np.ndarray, float]:
    """Times calls after warmup runs.

    Args:
        call: Function that classifies one image.
        runs: Number of timed calls.

    Returns:
        Wall-clock seconds of each call, and the mean CPU seconds per call.
    """
    for _ in range(WARM_UP):
        call()
    times = []
    spent = time.process_time()
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return np.array(times), (time.process_time() - spent) / runs


def _measure(name: str, options: LatencyOptions) -> Measured:
    model = build(name)
    cost, side = profile(model), model.input_shape[1]
    with pinned(options.core):
        pass  # reject an invalid core before minutes of conversion
    content = convert(model, side)
    del model
    keras.backend.clear_session()
    with pinned(options.core):
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        image = np.full((1, side, side, 3), 127, np.float32)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        times, cpu = time_calls(interpreter.invoke, options.runs)
    found = Measured(
        model=name,
        image_size=side,
        params_M=cost.trainable_params / 1e6,
        multiply_adds_G=cost.multiply_adds / 1e9,
        mean_s=float(times.mean()),
        deviation_s=float(times.std()),
        median_s=float(np.median(times)),
        cpu_s=cpu,
    )
    print(f"{name}: mean {found.mean_s:.3f} s, CPU time {cpu:.3f} s", flush=True)
    return found


def ratio(rows: Sequence[Measured], column: str = "mean_s") -> float | None:
    """Returns ResNet-152's latency divided by B1's, or None if one is missing.

    Args:
        rows: Measurements.
        column: Field of `Measured`.
    """
    found = {row.model: getattr(row, column) for row in rows}
    if not {RESNET, _LINK} <= found.keys():
        return None
    return found[RESNET] / found[_LINK]


def _write(folder: StudyFolder, rows: Sequence[Measured]) -> None:
    printed = {
        r["model"]: float(r["latency_s"]) for r in paper_data.read("table4_latency")
    }
    _draw(rows, printed, folder.root / PICTURE)
    cells = [
        {
            "model": row.model,
            "image size, pixels": row.image_size,
            "multiply-adds, G": f"{row.multiply_adds_G:.2f}",
            "mean, s": f"{row.mean_s:.3f}",
            "deviation, s": f"{row.deviation_s:.3f}",
            "CPU time, s": f"{row.cpu_s:.3f}",
            "paper, s": f"{printed[row.model]:g}" if row.model in printed else "",
        }
        for row in rows
    ]
    blocks = [_INTRODUCTION, table(cells), *_on_ratio(rows, printed)]
    blocks.append(picture(PICTURE, "Latency against multiply-adds."))
    write_page(
        folder,
        "Table 4: one image on one core",
        blocks,
        {"results.csv": "all measurements"},
    )


_INTRODUCTION = (
    "TFLite float32, batch size 1, one thread pinned to one core, random weights. The "
    "paper ran TensorFlow on an Intel Xeon E5-2690, so compare ratios rather than "
    "seconds. A CPU time well below the mean means that other processes used the core."
)


def _on_ratio(rows: Sequence[Measured], printed: dict[str, float]) -> list[str]:
    wall, cpu = ratio(rows), ratio(rows, "cpu_s")
    theirs = printed[RESNET] / printed[_LINK]
    if wall is None or cpu is None:
        return []
    return [
        f"ResNet-152 takes {wall:.1f} times as long as B1, or {cpu:.1f} times by CPU "
        f"time; the paper's ratio is {theirs:.1f}."
    ]


def _draw(
    rows: Sequence[Measured], printed: dict[str, float], path: pathlib.Path
) -> None:
    figure = new_figure(8, 5)
    axes = figure.subplots()
    family = sorted((row for row in rows if row.model != RESNET), key=_cost)
    others = [row for row in rows if row.model == RESNET]
    for shown, color, name in ((family, 1, "EfficientNet"), (others, 0, RESNET)):
        if shown:
            _draw_times(axes, shown, COLORS[color], name)
    known = [row for row in rows if row.model in printed]
    axes.plot(
        [row.multiply_adds_G for row in known],
        [printed[row.model] for row in known],
        "kx",
        label="paper",
    )
    for row in rows:
        name = row.model.removeprefix("EfficientNet")
        point = row.multiply_adds_G, row.mean_s
        right, up, side = (7, -11, "left") if row.model == RESNET else (-5, 6, "right")
        axes.annotate(
            name, point, (right, up), textcoords="offset points", ha=side, fontsize=9
        )
    axes.margins(x=0.08)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    tidy(
        axes,
        "One image on one core",
        "multiply-adds, G (log scale)",
        "seconds (log scale)",
    )
    axes.legend(frameon=False, loc="upper left")
    save(figure, path)


def _cost(row: Measured) -> float:
    return row.multiply_adds_G


def _draw_times(axes: Axes, rows: Sequence[Measured], color: str, name: str) -> None:
    places = [row.multiply_adds_G for row in rows]
    cpu, means = [row.cpu_s for row in rows], [row.mean_s for row in rows]
    axes.plot(places, cpu, "o-", color=color, label=f"{name}, CPU time")
    axes.plot(
        places,
        means,
        "o--",
        color=color,
        markerfacecolor="none",
        label=f"{name}, wall clock",
    )
