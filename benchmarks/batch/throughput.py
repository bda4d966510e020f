"""Times batch prediction against Keras' `model.predict`, on the same JPEG files.

python -m benchmarks.batch.throughput [--images=5000] [--networks=Lite0,B0] [--kills=0]
    [--torch_python=PATH]

Photos become JPEG files of 500 x 375 pixels. Contenders run in turn, each in its own
process, and report images/s; those of batch prediction include the start of the
workers, about 10 seconds, so use thousands of images:

- `predict`: `model.predict` over `image_dataset_from_directory`, as its users write it;
- `torch`: DataLoader, channels_last, inference_mode; needs efficientnet-pytorch in the
  environment of `--torch_python`;
- `float32` and `int8`: `export.batch_predict` on all processors;
- `shard` and `shards`: one pinned process, and two on a core each.

`--kills` also kills a job that many times with SIGKILL and compares the rows of the
resumed job with those of an undisturbed one.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.input_pipeline import PHOTOS, write_photos

# Least ratio of images/s: contender -> other contender -> bar.
BARS = {
    "float32": {"predict": 5.0, "torch": 2.0},
    "int8": {"predict": 9.0},
    "shards": {"shard": 1.7},
}
_PREDICT = """
import sys, time, keras, keras_efficientnet
name, folder, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = getattr(keras_efficientnet, name)(weights=None)
images = keras.utils.image_dataset_from_directory(
    folder, labels=None, shuffle=False, image_size=(size, size), verbose=False)
model.predict(images.take(1), verbose=0)
start = time.perf_counter()
found = model.predict(images, verbose=0)
print(f"{len(found) / (time.perf_counter() - start):.2f} images/s")
"""
_TORCH = """
import pathlib, sys, time, torch
from PIL import Image
from torchvision import transforms
from efficientnet_pytorch import EfficientNet
class Photos(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.paths = sorted(pathlib.Path(folder).rglob("*.jpg"))
        self.prepare = transforms.Compose([
            transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, i):
        return self.prepare(Image.open(self.paths[i]).convert("RGB"))
if __name__ == "__main__":
    model = EfficientNet.from_name(sys.argv[1]).eval()
    model = model.to(memory_format=torch.channels_last)
    data = Photos(sys.argv[2])
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in torch.utils.data.DataLoader(data, batch_size=32, num_workers=2):
            model(batch.to(memory_format=torch.channels_last))
    print(f"{len(data) / (time.perf_counter() - start):.2f} images/s")
"""
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


def rate(command: Sequence[str], cores: set[int] | None = None) -> float:
    """Runs a command; returns the last images/s that it prints."""
    return rates([command], [cores])[0]


def rates(
    commands: Sequence[Sequence[str]], cores: Sequence[set[int] | None]
) -> list[float]:
    """Runs commands at the same time; returns the images/s of each."""
    started = []
    for command, allowed in zip(commands, cores, strict=True):
        pin = ["taskset", "-c", ",".join(map(str, allowed))] if allowed else []
        started.append(
            subprocess.Popen(
                [*pin, *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        )
    texts = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("\n".join(texts))
    return [float(_RATE.findall(text)[-1]) for text in texts]


def batch_command(run: Path, photos: Path, output: Path, *more: str) -> list[str]:
    """Returns the command line of `export.batch_predict`."""
    return [
        *(sys.executable, "-m", "export.batch_predict", f"--model={run}"),
        *(f"--input={photos}", f"--output={output}", *more),
    ]


def measure(name: str, folder: Path, torch_python: str | None) -> dict[str, float]:
    """Measures all contenders on one network; returns images/s."""
    photos, run = folder / "images", folder / name
    size = export_network(name, run, photos)
    outputs = (folder / f"{name}-output{i}" for i in range(9))
    found = {
        "predict": rate([sys.executable, "-c", _PREDICT, name, str(photos), str(size)])
    }
    if torch_python and name.startswith("EfficientNetB"):
        script = folder / "torch_predict.py"
        script.write_text(_TORCH)
        key = f"efficientnet-b{name[-1]}"
        found["torch"] = rate([torch_python, str(script), key, str(photos)])
    litert = "--runtime=litert"
    found["float32"] = rate(batch_command(run, photos, next(outputs), litert))
    int8 = "--precision=int8"
    found["int8"] = rate(batch_command(run, photos, next(outputs), int8))
    cores = sorted(os.sched_getaffinity(0))[:2]
    one = batch_command(run, photos, next(outputs), litert, "--workers=1")
    found["shard"] = rate(one, {cores[0]})
    if len(cores) == 2:
        output = next(outputs)
        pair = [
            batch_command(
                *(run, photos, output, litert, "--workers=1"),
                *("--shards=2", f"--shard={i}"),
            )
            for i in range(2)
        ]
        found["shards"] = sum(rates(pair, [{core} for core in cores]))
    return found


def count_equal_after_kills(run: Path, photos: Path, folder: Path, kills: int) -> int:
    """Kills jobs once each at a random moment; returns how many have equal rows."""
    import pyarrow.parquet

    def rows(output: Path) -> list[dict[str, object]]:
        parts = sorted(output.glob("part-*.parquet"))
        return [r for p in parts for r in pyarrow.parquet.read_table(p).to_pylist()]

    options = ("--runtime=litert", "--part_size=20")
    undisturbed = folder / "undisturbed"
    begin = time.monotonic()
    rate(batch_command(run, photos, undisturbed, *options))
    seconds = time.monotonic() - begin
    equal = 0
    for kill in range(kills):
        output = folder / f"killed{kill}"
        command = batch_command(run, photos, output, *options)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.3, 0.95) * seconds)
        process.kill()
        process.wait()
        subprocess.run(command, check=True, capture_output=True)
        equal += rows(output) == rows(undisturbed)
    return equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--networks", default="Lite0,B0")
    parser.add_argument("--torch_python")
    parser.add_argument("--kills", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", args.images)
        for network in args.networks.split(","):
            key = f"EfficientNet{network}"
            found = measure(key, folder, args.torch_python)
            for contender, speed in found.items():
                print(f"{network} {contender}: {speed:.1f} images/s")
            for contender, others in BARS.items():
                for other, bar in others.items():
                    if contender in found and other in found:
                        ratio = found[contender] / found[other]
                        mark = "ok" if ratio >= bar else "MISSED"
                        text = f"{contender} / {other}: {ratio:.2f}"
                        print(f"{network} {text} (bar {bar}) {mark}", flush=True)
        if args.kills:
            equal = count_equal_after_kills(
                folder / key, folder / "images", folder, args.kills
            )
            print(f"rows equal after kill -9: {equal} of {args.kills}")


if __name__ == "__main__":
    main()
