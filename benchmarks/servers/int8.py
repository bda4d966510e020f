"""Our int8 files for servers against those of ONNX Runtime's quantiser and NNCF.

python -m benchmarks.servers.int8 [--model=EfficientNetLite0] [--photos=DIR]
    [--crops=10] [--nncf_python=PATH] [--rounds=15] [--runs=10] [--core=0]
    [--output_dir=DIR]
python -m benchmarks.servers.int8 --run=RUN ...

All quantisers get the same network and the same calibration images. Agreement is the
share of images with the same top-1 class as the float32 file. Images are crops of
photos with published weights (see `benchmarks.quantization`), or the test split of the
quickstart's digits with a run that was trained on them.

Latencies are for one image on one core, in processor time, so that other load counts
little. The files take turns, a few runs each, so that changes in the machine's speed
affect all of them; ratios are medians over rounds. NNCF may be installed in another
environment, whose interpreter is `--nncf_python`; without it, it is skipped. Files that
are in the output folder are not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import quantization
from benchmarks.workers import ROOT, Worker
from export.artefacts.processor import describe_processor
from export.formats import registry
from export.loading import CALIBRATION_SAMPLES
from export.output_folder import FAILED_SUFFIX
from export.runtimes.base import Runner, TFLiteRunner
from export.runtimes.onnx import OnnxRunner, OpenVinoRunner
from keras_efficientnet.common.models import open_model

FORMATS = ("onnx", "onnx_int8", "openvino", "openvino_int8", "tflite", "tflite_int8")
FILES = {name: registry.FORMATS[name].artefact for name in FORMATS}
# Ours, and the peers' files in the same runtime.
PAIRS = {
    "onnx_int8": ("onnxruntime", "onnxruntime, 7 bits"),
    "openvino_int8": ("NNCF",),
}
NNCF_SCRIPT = Path(__file__).with_name("nncf_quantize.py")


def write_peers(
    made: Path, images: np.ndarray, folder: Path, nncf_python: str
) -> dict[str, Path]:
    """Writes int8 files of the same network with other quantisers.

    Args:
        made: Folder of our files.
        images: Calibration images, preprocessed.
        folder: Folder to write into.
        nncf_python: Interpreter of an environment with NNCF.

    Returns:
        Name of the quantiser -> its file.
    """
    files = {
        "onnxruntime": folder / "onnxruntime.onnx",
        "onnxruntime, 7 bits": folder / "onnxruntime_7_bits.onnx",
        "NNCF": folder / "nncf.xml",
    }
    for name, path in files.items():
        if not path.exists() and name != "NNCF":
            has_7_bits = "7 bits" in name
            _quantize_static(made / FILES["onnx"], images, path, has_7_bits)
    if not files["NNCF"].exists():
        np.save(folder / "images.npy", images)
        source = made / FILES["openvino"] / "model.xml"
        command = [nncf_python, NNCF_SCRIPT, source, folder / "images.npy"]
        done = subprocess.run(
            [*map(str, command), str(files["NNCF"])],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"NNCF is skipped: {done.stderr.strip().splitlines()[-1]}")
            del files["NNCF"]
    return files


def _quantize_static(
    source: Path, images: np.ndarray, target: Path, has_7_bits: bool
) -> None:
    from onnxruntime import quantization as peer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(peer.CalibrationDataReader):
        """Calibration images, one at a time."""

        def __init__(self) -> None:
            self._rest: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Returns the next image."""
            image = next(self._rest, None)
            return None if image is None else {"images": image[np.newaxis]}

    # As its guide advises for x86: int8 for both, or 7 bits of weights and uint8.
    activations = peer.QuantType.QUInt8 if has_7_bits else peer.QuantType.QInt8
    prepared = target.with_suffix(".prepared")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    peer.quantize_static(
        str(prepared),
        str(target),
        Reader(),
        per_channel=True,
        reduce_range=has_7_bits,
        activation_type=activations,
        weight_type=peer.QuantType.QInt8,
    )


def open_runner(path: Path) -> Runner:
    """Opens an artefact with the runner for its suffix."""
    kinds = {".tflite": TFLiteRunner, ".onnx": OnnxRunner}
    return kinds.get(path.suffix, OpenVinoRunner)(path)


def classify(path: Path, images: np.ndarray) -> np.ndarray:
    """Returns the top-1 class of each image, (images,), int."""
    runner = open_runner(path)
    return np.array([int(runner(image[np.newaxis]).argmax()) for image in images])


def compare(
    files: dict[str, Path], images: np.ndarray, correct: Sequence[set[int]]
) -> dict[str, dict[str, Any]]:
    """Returns each file's agreement with the first one, and its top-1 accuracy.

    Args:
        files: Name -> artefact; the first is in float32.
        images: Preprocessed images.
        correct: See `quantization.score`.
    """
    found = {}
    reference = None
    for name, path in files.items():
        predicted = classify(path, images)
        reference = predicted if reference is None else reference
        agreement, top1 = quantization.score(predicted, reference, correct)
        found[name] = {"agreement": agreement, "top1": top1}
    return found


def work(path: Path) -> None:
    """Runs an artefact: reads numbers of runs from stdin, writes milliseconds."""
    runner = open_runner(path)
    shape = [1, *(int(side or 0) for side in runner.input_shape)]
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    for line in sys.stdin:
        start = time.process_time()
        for _ in range(int(line)):
            runner(pixels)
        print(json.dumps(1000 * (time.process_time() - start) / int(line)), flush=True)


def measure(
    files: dict[str, Path], rounds: int, runs: int, core: int
) -> dict[str, list[float]]:
    """Returns the milliseconds per image of each file in each round."""
    command = [sys.executable, "-m", "benchmarks.servers.int8"]
    workers = {
        name: Worker([*command, f"--worker={path}"], [core])
        for name, path in files.items()
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
    return found


def find_artefact(path: Path) -> Path:
    """Returns an artefact's path, which has a suffix if it missed a threshold."""
    return path if path.exists() else path.with_name(path.name + FAILED_SUFFIX)


def print_table(
    found: dict[str, dict[str, Any]], times: dict[str, list[float]]
) -> None:
    """Prints one line per file, and the ratios of our files to their peers."""
    print(describe_processor())
    for name, row in found.items():
        print(
            f"  {name:<20} agreement {row['agreement']:6.1%}  top-1 {row['top1']:6.1%}"
            f"  {statistics.median(times[name]):6.2f} ms"
        )
    for ours, peers in PAIRS.items():
        for peer in peers:
            if peer in times:
                pairs = zip(times[ours], times[peer], strict=True)
                ratio = statistics.median(a / b for a, b in pairs)
                print(f"  {ours} / {peer}: {ratio:.2f} of its latency (bar: 1.0)")


def on_photos(args: argparse.Namespace, folder: Path) -> tuple[Any, ...]:
    """Exports a network with published weights.

    Returns:
        Calibration images, other images, and the correct classes of these.
    """
    photos = quantization.calibration_photos()
    calibration, crops = folder / "calibration", folder / "crops"
    count = quantization.CALIBRATION_IMAGES // len(photos)
    classes = quantization.read_correct_classes(args.photos)
    paths = [args.photos / f"{name}.jpg" for name in classes]
    if not (folder / "out").exists():
        quantization.write_crops(photos, count, calibration)
        quantization.write_crops(paths, args.crops, crops)
        options = {"calibration": calibration, "verify": crops, "weights": args.weights}
        made = folder / "out"
        quantization.export(args.model, [*FORMATS], output_dir=made, **options)
    spec = open_model(args.model, args.weights).preprocessing
    files, images = quantization.read_all(crops, spec)
    correct = [classes[path.stem.rsplit("-", 1)[0]] for path in files]
    return quantization.read_all(calibration, spec)[1], images, correct


def on_digits(args: argparse.Namespace, folder: Path) -> tuple[Any, ...]:
    """Exports a run that was trained on digits; returns the same as `on_photos`."""
    if not (folder / "out").exists():
        quantization.export(str(args.run), [*FORMATS], output_dir=folder / "out")
    spec = open_model(args.run).preprocessing
    images, correct = quantization.read_digits(spec)
    calibration = args.run / CALIBRATION_SAMPLES
    return quantization.read_all(calibration, spec)[1], images, correct


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="EfficientNetLite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--photos", type=Path, default=ROOT / "examples" / "photos")
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--nncf_python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = args.output_dir or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        prepare = on_digits if args.run else on_photos
        calibrated, images, correct = prepare(args, folder)
        made = folder / "out"
        files = {key: find_artefact(made / FILES[key]) for key in FORMATS}
        files |= write_peers(made, calibrated, folder, args.nncf_python)
        found = compare(files, images, correct)
        print_table(found, measure(files, args.rounds, args.runs, args.core))


if __name__ == "__main__":
    main()
