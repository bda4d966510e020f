"""Latency of one image on one core, against Keras, other runtimes and PyTorch.

python -m benchmarks.inference [--networks=b0,lite0] [--rounds=15] [--runs=10]
    [--conversions=3] [--core=0] [--torch_python=PATH]

Every contender classifies the same image in its own process, all of them on the same
core. They take turns, a few runs each, so that changes in the machine's speed
affect all of them; the printed ratio is the median of the ratios per round. A run goes
from an array of pixels to an array of probabilities.

`keras` is the file that `model.export(format="litert")` writes for keras.applications'
network, `torch` is efficientnet-pytorch in eager mode; neither has Lite networks. The
conversion is timed on our own network, by our exporter and by Keras in turn. PyTorch
may be installed in another environment, whose interpreter is `--torch_python`; without
PyTorch, it is skipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.workers import Worker

SIZE, CLASSES = 224, 1000
# Highest ratio of milliseconds: (ours, theirs) -> network -> bar.
BARS = {
    ("float32", "keras"): {"b0": 1.02},
    ("float32", "onnx"): {"b0": 1.05, "lite0": 1.05},
    ("float32", "openvino"): {"b0": 1.05, "lite0": 1.05},
    ("float32", "torch"): {"b0": 0.4},
    ("int8", "float32"): {"b0": 0.6, "lite0": 0.45},
}
CONVERSION_BAR = 0.8  # highest ratio of our seconds to Keras'
# Files in the folder that `prepare` fills; PyTorch needs none.
FILES = {
    "float32": "model_float32.tflite",
    "int8": "model_int8.tflite",
    "keras": "keras.tflite",
    "onnx": "model.onnx",
    "openvino": "openvino",
}

Run = Callable[[], Any]  # classifies one image


def litert(path: Path) -> Run:
    """Returns a run of a .tflite file on one thread."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    (answer,) = interpreter.get_output_details()
    pixels = np.full(image["shape"], 99, image["dtype"])

    def run() -> Any:
        interpreter.set_tensor(image["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])

    return run


def other_runtime(path: Path) -> Run:
    """Returns a run of an ONNX file or an OpenVINO folder on one thread."""
    import numpy as np

    from export.runtimes.onnx import OnnxRunner, OpenVinoRunner

    runner = (OpenVinoRunner if path.is_dir() else OnnxRunner)(path)
    shape = [SIZE if side is None else side for side in runner.input_shape]
    pixels = np.full((1, *shape), 99, np.float32)
    return lambda: runner(pixels)


def torch(path: Path) -> Run:
    """Returns a run of efficientnet-pytorch's B0, tuned for eager mode."""
    import efficientnet_pytorch
    import torch

    torch.set_num_threads(1)
    net = efficientnet_pytorch.EfficientNet.from_name("efficientnet-b0").eval()
    net.set_swish(memory_efficient=False)
    net = net.to(memory_format=torch.channels_last)
    pixels = torch.full((1, 3, SIZE, SIZE), 0.1)
    pixels = pixels.contiguous(memory_format=torch.channels_last)

    def run() -> Any:
        with torch.inference_mode():
            return net(pixels).softmax(1).numpy()

    return run


OPENERS: dict[str, Callable[[Path], Run]] = {
    "float32": litert,
    "int8": litert,
    "keras": litert,
    "onnx": other_runtime,
    "openvino": other_runtime,
    "torch": torch,
}


def work(name: str, folder: Path) -> None:
    """Runs a contender: reads numbers of runs from stdin, writes milliseconds."""
    run = OPENERS[name](folder / FILES.get(name, ""))
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            run()
        print(json.dumps(1000 * (time.perf_counter() - start) / int(line)), flush=True)


def start(name: str, folder: Path, core: int, python: str = sys.executable) -> Worker:
    """Starts a contender on one core."""
    command = [python, "-m", "benchmarks.inference", f"--worker={name}"]
    return Worker([*command, f"--folder={folder}"], core)


def prepare(network: str, folder: Path, conversions: int) -> list[tuple[float, float]]:
    """Writes all files of a network.

    Args:
        network: "b0" or "lite0".
        folder: Folder to write to.
        conversions: Number of conversions to TFLite.

    Returns:
        Seconds of each conversion, by our exporter and by Keras.
    """
    import keras
    import numpy as np

    import keras_efficientnet
    from export.formats import onnx, openvino, tflite
    from export.formats.export_inputs import ExportInputs
    from export.quantization import calibration, recipes
    from keras_efficientnet.preprocessing import EvalPreprocessing

    keras.utils.set_random_seed(0)
    factory = {
        "b0": keras_efficientnet.EfficientNetB0,
        "lite0": keras_efficientnet.EfficientNetLite0,
    }[network]
    model = factory(weights=None)
    spec = EvalPreprocessing(SIZE, 1.0, "bilinear")
    source = ExportInputs(model, SIZE, tuple(map(str, range(CLASSES))), spec)
    path = folder / FILES["float32"]
    seconds = []
    for _ in range(conversions):
        ours = _seconds(lambda: tflite.write_float32(source, path))
        theirs = _seconds(lambda: _export(model, folder / "again.tflite"))
        seconds.append((ours, theirs))
    images = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3))
    content = path.read_bytes()
    ranges = calibration.find_ranges(
        content,
        calibration.collect_activations(content, [images.astype(np.float32)]),
        0.0,
    )
    graph = recipes.apply_recipe(content, recipes.integer_recipe(8), ranges)
    recipes.use_uint8_io(graph)
    (folder / FILES["int8"]).write_bytes(graph.pack())
    onnx.write(source, folder / FILES["onnx"])
    openvino.write(source, folder / FILES["openvino"])
    if network == "b0":
        theirs = keras.applications.EfficientNetB0(weights=None)
        _export(theirs, folder / FILES["keras"])
    return seconds


def _export(model: Any, path: Path) -> None:
    model.export(str(path), format="litert", verbose=False)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Returns the median over pairs of the first value divided by the second."""
    return statistics.median(a / b for a, b in pairs)


def verdict(network: str, found: dict[str, list[float]]) -> list[str]:
    """Compares latencies with the bars.

    Args:
        network: "b0" or "lite0".
        found: Contender -> milliseconds in each round.

    Returns:
        One line per ratio that has a bar.
    """
    lines = []
    for (ours, theirs), bars in BARS.items():
        if network in bars and ours in found and theirs in found:
            ratio = median_ratio(zip(found[ours], found[theirs], strict=True))
            lines.append(
                f"  {ours} / {theirs} {ratio:.2f} (bar: at most {bars[network]})"
            )
    return lines


def compete(
    network: str, folder: Path, rounds: int, runs: int, core: int, torch_python: str
) -> None:
    """Prints the latencies of all contenders, and our ratio to each."""
    with_torch = network == "b0" and has_torch(torch_python)
    workers = {
        name: start(name, folder, core, torch_python if name == "torch" else python)
        for name, python in dict.fromkeys(OPENERS, sys.executable).items()
        if (with_torch if name == "torch" else (folder / FILES[name]).exists())
    }
    for worker in workers.values():
        worker.ask(runs)
    found: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            worker.ask(1)  # warms up the caches
            found[name].append(worker.ask(runs))
    for worker in workers.values():
        worker.stop()
    print(f"{network}, milliseconds per image, {rounds} rounds of {runs} runs")
    for name, times in found.items():
        print(f"  {name:<8} {statistics.median(times):6.2f}")
    print("\n".join(verdict(network, found)))


def has_torch(python: str) -> bool:
    """Returns whether an interpreter can run the PyTorch contender."""
    probe = [python, "-c", "import numpy, torch, efficientnet_pytorch"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="b0,lite0")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--conversions", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--worker", choices=OPENERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.folder)
        return
    for network in args.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            seconds = prepare(network, Path(folder), args.conversions)
            compete(
                network,
                Path(folder),
                args.rounds,
                args.runs,
                args.core,
                args.torch_python,
            )
        ours, theirs = (statistics.median(x) for x in zip(*seconds, strict=True))
        print(
            f"  seconds to convert {ours:.1f}, Keras {theirs:.1f}, ratio "
            f"{median_ratio(seconds):.2f} (bar: at most {CONVERSION_BAR})"
        )


if __name__ == "__main__":
    main()
