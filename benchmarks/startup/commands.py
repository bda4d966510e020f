"""Time of small jobs, in which start-up counts most, against an earlier version.

python -m benchmarks.startup.commands --before=DIR [--rounds=3]
    [--jobs=predict,export,train]

`predict` classifies one photo with Lite0, `export` writes its default formats, and
`train` ends after the first step on the quickstart's digits. DIR is a checkout of the
earlier version. The versions take turns. Seconds are processor time of the command and
its children, so that other load on the machine counts little; the ratio is the median
over rounds. For comparison, importing TensorFlow alone is measured too.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.input_pipeline import PHOTOS
from benchmarks.workers import ROOT

BAR = 0.75  # highest ratio to the earlier version
TENSORFLOW = ["-c", "import tensorflow"]
_SAVE = (
    "import sys, keras_efficientnet; "
    "keras_efficientnet.EfficientNetLite0(weights='imagenet').save(sys.argv[1])"
)
# As the installed command, which has no flag for this.
_TRAIN = """
import sys
sys.argv[0] = "efficientnet-train"
import training.main
from training.configs import digits
training.main.trainer.train(digits.get_config(), sys.argv[1], stop_at_step=1)
"""


def commands(model: Path, output: Path) -> dict[str, list[str]]:
    """Returns the arguments of Python for each job."""
    export = ["-m", "export.main", f"--model={model}", f"--calibration={PHOTOS}"]
    return {
        "predict": ["-m", "export.predict", str(model), str(PHOTOS / "cat.jpg")],
        "export": [*export, f"--verify={PHOTOS}", f"--output_dir={output}"],
        "train": ["-c", _TRAIN, str(output)],
    }


def measure(arguments: list[str], root: Path) -> float:
    """Returns the processor time of a command and its children, seconds.

    Args:
        arguments: Arguments of Python.
        root: Checkout whose version runs.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(job: str, roots: list[Path], model: Path, rounds: int) -> list[list[float]]:
    """Measures a job in several versions in turn; returns their seconds by round."""
    found = []
    for _ in range(rounds):
        times = []
        for root in roots:
            with tempfile.TemporaryDirectory() as name:
                output = Path(name, "output")
                arguments = commands(model, output)[job]
                times.append(measure(arguments, root))
        found.append(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="other checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", default="predict,export,train")
    args = parser.parse_args()
    alone = [measure(TENSORFLOW, ROOT) for _ in range(args.rounds)]
    print(f"{'TensorFlow':<10} {statistics.median(alone):5.1f} s to import", flush=True)
    with tempfile.TemporaryDirectory() as name:
        model = Path(name, "model.keras")
        measure(["-c", _SAVE, str(model)], ROOT)
        for job in args.jobs.split(","):
            found = compare(job, [args.before.resolve(), ROOT], model, args.rounds)
            before, now = map(statistics.median, zip(*found, strict=True))
            ratio = statistics.median(b / a for a, b in found)
            print(
                f"{job:<10} {before:5.1f} s before, {now:5.1f} s now: {ratio:.2f} "
                f"(bar: {BAR})",
                flush=True,
            )


if __name__ == "__main__":
    main()
