"""Memory and time per image of batch prediction, by the number of images.

python -m benchmarks.batch.scaling [--images=1000,10000,100000] [--workers=2]

A network of 32 pixels classifies JPEG files of 40 x 40 pixels in tar files of 10,000,
so that little besides the job itself takes memory and time. The memory is the peak of
the command's process and that of its largest worker. `make benchmark-all` includes a
million images. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from benchmarks.input_pipeline import PHOTOS
from benchmarks.memory import resident_mib
from benchmarks.workers import ROOT

_PER_TAR = 10_000  # images
_RATE = re.compile(r"([\d.]+) images/s")


def encode_photos() -> list[bytes]:
    """Returns the example photos as small JPEG files."""
    found = []
    for path in sorted(PHOTOS.glob("*.jpg")):
        stream = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize((40, 40)).save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


def write_tars(folder: Path, images: int) -> None:
    """Writes tar files of repeated photos.

    Args:
        folder: Folder to write to.
        images: Number of images.
    """
    photos = encode_photos()
    folder.mkdir()
    for start in range(0, images, _PER_TAR):
        with tarfile.open(folder / f"{start // _PER_TAR:05}.tar", "w") as tar:
            for i in range(start, min(start + _PER_TAR, images)):
                content = photos[i % len(photos)]
                member = tarfile.TarInfo(f"{i:08}.jpg")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_run(folder: Path) -> None:
    """Writes a run folder with a small network of random weights."""
    from keras_efficientnet.efficientnet import EfficientNet

    folder.mkdir()
    EfficientNet(0.25, 0.3, 32, lite=True, classes=10).save(folder / "model.keras")


class MemoryPeaks:
    """Peaks of resident memory of a process and of its largest child.

    Attributes:
        own: Peak of the process, MiB.
        child: Peak of its largest child, MiB.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Starts a thread that measures until the process ends.

        Args:
            process: Running process.
        """
        self.own = self.child = 0.0
        self._process = process
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        # A process that has just ended has no files in /proc.
        with contextlib.suppress(OSError):
            while self._process.poll() is None:
                self.own = max(self.own, resident_mib(self._process.pid))
                for child in _children(self._process.pid):
                    self.child = max(self.child, resident_mib(child))
                time.sleep(0.2)


def _children(process: int) -> list[int]:
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for file in files for number in file.read_text().split()]


def measure(images: int, run: Path, folder: Path, workers: int) -> str:
    """Predicts a number of images; returns a row of the table.

    Args:
        images: Number of images.
        run: Run folder of the model.
        folder: Folder for the tar files and the output, deleted afterwards.
        workers: Number of worker processes.

    Raises:
        RuntimeError: The command fails; the message is its output.
    """
    write_tars(folder / "tars", images)
    start = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "export.batch_predict", f"--model={run}"),
            *(f"--input={folder}/tars/*.tar", f"--output={folder}/output"),
            *("--runtime=litert", f"--workers={workers}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    peaks = MemoryPeaks(process)
    text = process.communicate()[0]
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(text)
    rate = float(_RATE.findall(text)[-1])
    shutil.rmtree(folder)
    return (
        f"| {images:,} | {1000 / rate:.2f} | {seconds:.0f} | {peaks.own:.0f} "
        f"| {peaks.child:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="1000,10000,100000")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print("| images | ms per image | s with the start | command, MiB | worker, MiB |")
    with tempfile.TemporaryDirectory() as name:
        run = Path(name, "run")
        write_run(run)
        for images in map(int, args.images.split(",")):
            folder = Path(name, str(images))
            folder.mkdir()
            print(measure(images, run, folder, args.workers), flush=True)


if __name__ == "__main__":
    main()
