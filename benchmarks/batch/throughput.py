"""Throughput of batch prediction, against Keras' `model.predict` and PyTorch.

python -m benchmarks.batch.throughput [--images=5000] [--networks=Lite0,B0] [--rounds=1]
    [--torch_python=PATH] [--only=float32,predict]

Photos become JPEG files of 500 x 375 pixels. The contenders take turns, each in its own
process. Rates do not count the start: imports, conversion, tracing, and the first
batch. It is printed beside the rate, as the rest of the time that the process took.

- `predict`: `benchmarks.peers.keras_predict`;
- `torch`: `benchmarks.peers.torch_predict` with the interpreter of `--torch_python`;
- `float32` and `int8`: `export.batch_predict` on all processors;
- `shard` and `shards`: one task, and two tasks, with one worker and one core each.

The printed ratios are medians of the ratios per round.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.input_pipeline import PHOTOS, write_photos
from benchmarks.workers import ROOT

# Least ratio of images/s: contender -> other contender -> bar.
BARS = {
    "float32": {"predict": 5.0, "torch": 2.0},
    "int8": {"predict": 9.0},
    "shards": {"shard": 1.7},
}
CONTENDERS = ("predict", "torch", "float32", "int8", "shard", "shards")
_RATE = re.compile(r"([\d.]+) images/s")


def write_images(folder: Path, count: int) -> None:
    """Writes JPEG files of 500 x 375 pixels; photos repeat."""
    with tempfile.TemporaryDirectory() as name:
        written = write_photos(PHOTOS, Path(name))
        (folder / "photos").mkdir(parents=True)
        for i in range(count):
            target = folder / "photos" / f"{i:06}.jpg"
            shutil.copy(written[i % len(written)], target)


def export_network(name: str, folder: Path, photos: Path) -> int:
    """Writes a run folder of random weights with its int8 file; returns its size."""
    import keras_efficientnet
    from export.api import export_model

    model = getattr(keras_efficientnet, name)(weights=None)
    folder.mkdir()
    model.save(folder / "model.keras")
    few = folder / "few"
    few.mkdir()
    for path in sorted(photos.rglob("*.jpg"))[:16]:
        shutil.copy(path, few)
    try:
        export_model(
            folder, ["tflite_int8"], calibration=few, calibration_images=16, verify=few
        )
    except Exception as error:
        # Random weights may round badly; the file is as fast.
        print(f"int8 of random weights: {str(error).splitlines()[0]}")
    found = folder / "export" / "model_int8.tflite"
    failed = found.with_name(f"{found.name}.failed")
    if failed.exists():
        failed.rename(found)
    return int(model.input_shape[1])


@dataclasses.dataclass(frozen=True)
class Speed:
    """Speed of a contender.

    Attributes:
        rate: Images per second after the start.
        start: Duration of the start, seconds.
    """

    rate: float
    start: float


def run_together(
    commands: Sequence[Sequence[str]], images: int, cores: Sequence[int | None]
) -> Speed:
    """Runs commands at the same time and adds up their rates.

    Args:
        commands: Command lines whose last printed rate counts.
        images: Number of images that they process in all.
        cores: Core of each command; None: any.

    Raises:
        RuntimeError: A command fails; the message is its output.
    """
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    start, started = time.perf_counter(), []
    for command, core in zip(commands, cores, strict=True):
        pin = [] if core is None else ["taskset", "-c", str(core)]
        started.append(
            subprocess.Popen(
                [*pin, *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                cwd=ROOT,
            )
        )
    texts = [process.communicate()[0] for process in started]
    seconds = time.perf_counter() - start
    if any(process.returncode for process in started):
        raise RuntimeError("\n".join(texts))
    rate = sum(float(_RATE.findall(text)[-1]) for text in texts)
    return Speed(rate, seconds - images / rate)


class Contenders:
    """Contenders on one network.

    Args:
        network: Name after "EfficientNet".
        folder: Folder for the run and the outputs, with the photos in `images`.
        torch_python: Interpreter with timm; None: PyTorch does not take part.
    """

    def __init__(self, network: str, folder: Path, torch_python: str | None) -> None:
        self._network, self._torch_python = network, torch_python
        self._photos, self._run = folder / "images", folder / network
        self._images = len(list(self._photos.rglob("*.jpg")))
        self._size = export_network(f"EfficientNet{network}", self._run, self._photos)
        self._output = folder / "output"

    def measure(self, contender: str) -> Speed | None:
        """Runs a contender; returns None if it does not take part."""
        if contender == "predict":
            name = f"EfficientNet{self._network}"
            return self._peer(sys.executable, "keras_predict", name)
        if contender == "torch":
            if not self._torch_python:
                return None
            name = f"efficientnet_{self._network.lower()}"
            return self._peer(self._torch_python, "torch_predict", name)
        if contender == "float32":
            return self._batch([["--runtime=litert"]], [None])
        if contender == "int8":
            return self._batch([["--precision=int8"]], [None])
        cores = sorted(os.sched_getaffinity(0))[: 2 if contender == "shards" else 1]
        if contender == "shards" and len(cores) < 2:
            return None
        tasks = [
            [
                "--runtime=litert",
                "--workers=1",
                f"--shards={len(cores)}",
                f"--shard={i}",
            ]
            for i in range(len(cores))
        ]
        return self._batch(tasks, cores)

    def _peer(self, python: str, module: str, name: str) -> Speed:
        arguments = [name, str(self._photos), str(self._size)]
        command = [python, "-m", f"benchmarks.peers.{module}", *arguments]
        return run_together([command], self._images, [None])

    def _batch(
        self, tasks: Sequence[Sequence[str]], cores: Sequence[int | None]
    ) -> Speed:
        """Runs tasks of `export.batch_predict` that share an output folder."""
        shutil.rmtree(self._output, ignore_errors=True)
        commands = [
            [
                *(sys.executable, "-m", "export.batch_predict"),
                *(f"--model={self._run}", f"--input={self._photos}"),
                *(f"--output={self._output}", *more),
            ]
            for more in tasks
        ]
        return run_together(commands, self._images, cores)


def verdict(rates: Mapping[str, Sequence[float]]) -> list[str]:
    """Returns a line for each bar of contenders that ran.

    Args:
        rates: Contender -> images/s in each round.
    """
    lines = []
    for contender, others in BARS.items():
        for other, bar in others.items():
            if contender in rates and other in rates:
                pairs = zip(rates[contender], rates[other], strict=True)
                ratio = statistics.median(a / b for a, b in pairs)
                mark = "ok" if ratio >= bar else "MISSED"
                lines.append(f"{contender} / {other}: {ratio:.2f} (bar {bar}) {mark}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--networks", default="Lite0,B0")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--torch_python", help="interpreter with timm")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name) / "images", args.images)
        for network in args.networks.split(","):
            contenders = Contenders(network, Path(name), args.torch_python)
            rates: dict[str, list[float]] = {}
            for _ in range(args.rounds):
                for contender in args.only.split(","):
                    found = contenders.measure(contender)
                    if found is not None:
                        rates.setdefault(contender, []).append(found.rate)
                        print(
                            f"{network} {contender}: {found.rate:.1f} images/s "
                            f"after {found.start:.0f} s",
                            flush=True,
                        )
            for line in verdict(rates):
                print(f"{network} {line}", flush=True)


if __name__ == "__main__":
    main()
