"""Fine-tunes EfficientNet-Lite0 on a folder of photos and exports it to TFLite.

python -m examples.fine_tuning_with_the_trainer PHOTOS [--workdir=runs/mine]

PHOTOS has one folder of images per class. Start it again to resume.
"""

from __future__ import annotations

import argparse

from export import export_model
from training.fine_tune import fine_tune


def main(photos: str, workdir: str) -> float:
    """Trains, writes the TFLite file, and returns the top-1."""
    mine = fine_tune("EfficientNetLite0", photos, workdir=workdir)
    (result,) = export_model(mine.workdir, ["tflite_float16"])
    print(f"{result.format}: top-1 {mine.scores.top1:.1%} on the {mine.split} photos")
    return mine.scores.top1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("--workdir", default="runs/mine")
    main(**vars(parser.parse_args()))
