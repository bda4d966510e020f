"""Classification of images with a model or an exported artefact.

python -m export.predict EfficientNetLite0 photo.jpg holiday/ 'shots/*.png' --top=3
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, run_app
from keras_efficientnet.common.image_folders import find_images
from keras_efficientnet.common.plain_text import printable

if TYPE_CHECKING:
    from .loading import Loaded

NO_LABEL = "no label"  # shown for an image without any, of a multi-label model


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image.

    Attributes:
        path: Path of the image.
        indices: Class indices, the most probable class first.
        labels: Names of these classes.
        probabilities: Probabilities of these classes, 0 to 1.
        is_recognised: Whether the top prediction reaches the model's rejection
            threshold; None for a model without one.
        thresholds: Thresholds of these classes, which they reach; None for a model
            with one label per image.
    """

    path: Path
    indices: tuple[int, ...]
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    is_recognised: bool | None = None
    thresholds: tuple[float, ...] | None = None


def predict(
    loaded: Loaded, paths: Sequence[Path], top: int = 5
) -> Iterator[Prediction]:
    """Classifies images; reports unreadable ones on standard error.

    Args:
        loaded: Model or artefact.
        paths: Paths of the images.
        top: Number of classes per image, at least 1; fewer are returned if fewer have
            a probability above 0. Of a multi-label model, all classes are returned
            whose probability reaches their threshold, however many.

    Yields:
        One prediction per readable image, in the order of `paths`.

    Raises:
        ValueError: `top` is less than 1, or the model's outputs are not finite.
    """
    if top < 1:
        raise ValueError(f"`top` must be at least 1. Received: top={top}")
    from keras_efficientnet.litert.conversion import MIN_IMAGES

    from .progress import progress_bar
    from .read_ahead import read_ahead

    bar = progress_bar(len(paths), "prediction", "images")
    if len(paths) >= MIN_IMAGES:  # importing what converts takes longer than a few
        from .batch.runtime import accelerate

        loaded = accelerate(loaded, paths)
    for batch in read_ahead(paths, loaded.preprocessing, loaded.channels):
        read: dict[Path, np.ndarray] = {}
        for path, found in batch:
            if isinstance(found, ValueError):
                bar.write(console.lines(f"skipped: {found}"), file=sys.stderr)
            else:
                read[path] = found
            bar.update()
        if read:
            scores = loaded.classify(np.stack(list(read.values())))
            for path, row in zip(read, scores, strict=True):
                yield _best(path, row, loaded, top)
    bar.close()


def rank_classes(
    scores: np.ndarray, top: int, thresholds: Sequence[float] | None = None
) -> list[int]:
    """Returns the most probable classes, the most probable first.

    Args:
        scores: Probabilities of an image, (classes,).
        top: Number of classes; fewer where the others have probability 0.
        thresholds: Threshold of each class of a multi-label model; all classes that
            reach theirs are returned. None: one label per image.

    Example:
        >>> rank_classes(np.array([0.0, 0.25, 0.0, 0.75]), top=3)
        [3, 1]
        >>> rank_classes(np.array([0.4, 0.25, 0.9]), top=1, thresholds=[0.3] * 3)
        [2, 0]
    """
    ranking = np.argsort(-scores, kind="stable")
    if thresholds is not None:
        limits = np.array(thresholds, np.float64)
        return [int(i) for i in ranking if scores[i] >= limits[i]]
    ranking = ranking[:top]
    # Integer models round most probabilities to 0, and the order of these is arbitrary.
    return [int(i) for i in ranking if scores[i] > 0]


def format_text(predictions: Sequence[Prediction]) -> str:
    """Formats predictions as text: one paragraph per image, columns aligned."""
    labels = [printable(label) for p in predictions for label in p.labels]
    width = max(map(len, labels), default=0)
    blocks = [
        "\n".join(
            [
                printable(p.path),
                *(["  not recognised; best guesses:"] if _is_rejected(p) else []),
                *([] if p.labels or p.thresholds is None else [f"  {NO_LABEL}"]),
                *(
                    f"  {printable(label):<{width}}  {share:>6.1%}"
                    for label, share in zip(p.labels, p.probabilities, strict=True)
                ),
            ]
        )
        for p in predictions
    ]
    return "\n".join(blocks)


def format_json(predictions: Sequence[Prediction]) -> str:
    """Formats predictions as JSON: a list with one object per image."""
    objects = [
        {
            "image": str(p.path),
            **({} if p.is_recognised is None else {"recognised": p.is_recognised}),
            "classes": [_as_json(p, place) for place in range(len(p.labels))],
        }
        for p in predictions
    ]
    # ASCII, because any encoding can print it, and no terminal acts on its escapes.
    return json.dumps(objects, indent=2)


def _as_json(prediction: Prediction, place: int) -> dict[str, Any]:
    found = {
        "index": prediction.indices[place],
        "label": prediction.labels[place],
        "probability": round(prediction.probabilities[place], 6),
    }
    if prediction.thresholds is not None:
        found["threshold"] = round(prediction.thresholds[place], 6)
    return found


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Flags to add to; `flags.FLAGS` in the command itself.
    """
    from keras_efficientnet.common.cli.model_flags import define_model_flags

    define_model_flags(values)
    flags.DEFINE_integer(
        "top",
        5,
        "Number of classes per image. A multi-label model lists all that reach their "
        "threshold.",
        flag_values=values,
        lower_bound=0,
    )
    flags.DEFINE_bool("json", False, "Print JSON.", flag_values=values)
    flags.DEFINE_string(
        "contact_sheet",
        None,
        "Contact sheet to write as well, a .png or .jpg file.",
        flag_values=values,
    )


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> int:
    """Classifies images as specified by the arguments and flags.

    Returns:
        Exit code: 0 if an image was classified, 1 if none could be read, 2 for a model
        that cannot be used or other wrong input.
    """
    if len(argv) < 3:
        print("Usage: predict MODEL IMAGE_OR_FOLDER... [flags]", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    from .loading import load

    try:
        loaded = load(
            argv[1],
            weights=values.weights,
            labels=values.labels,
            image_size=values.image_size,
            crop_ratio=values.crop_ratio,
            interpolation=values.interpolation,
            crop_mode=values.crop_mode,
            thresholds=values.thresholds,
        )
        paths = find_images(argv[2:])
        predictions = list(predict(loaded, paths, values.top))
    except (ValueError, OSError, ImportError) as error:
        console.report(f"Error: {error}")
        return ExitCode.WRONG_INPUT
    if not predictions:
        console.report(f"Error: none of {len(paths)} images could be read")
        return ExitCode.FAILURE
    print((format_json if values.json else format_text)(predictions))
    if values.contact_sheet:
        try:
            write_contact_sheet(
                loaded, predictions, Path(values.contact_sheet).expanduser()
            )
        except (ValueError, OSError) as error:
            console.report(f"Error: {error}")
            return ExitCode.WRONG_INPUT
    return ExitCode.SUCCESS


def write_contact_sheet(
    loaded: Loaded, predictions: Sequence[Prediction], path: Path
) -> None:
    """Writes a contact sheet of images with their most probable classes.

    Args:
        loaded: Model that made the predictions.
        predictions: Predictions, one per image.
        path: Path of the picture.
    """
    from keras_efficientnet.preprocessing.tf_files import read_image

    from .contact_sheet import Line, write_sheet

    captions = [
        [
            *([Line("not recognised", is_wrong=True)] if _is_rejected(p) else []),
            *(
                Line(f"{share:.0%} {label}")
                for label, share in zip(p.labels[:2], p.probabilities, strict=False)
            ),
        ]
        or [Line(NO_LABEL)]
        for p in predictions
    ]
    images = [read_image(p.path, loaded.preprocessing) for p in predictions]
    write_sheet(images, captions, path)


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    run_app(main)


def _best(path: Path, scores: np.ndarray, loaded: Loaded, top: int) -> Prediction:
    limits = loaded.thresholds
    order = rank_classes(scores, top, limits)
    return Prediction(
        path,
        tuple(order),
        tuple(loaded.labels[i] for i in order),
        tuple(float(scores[i]) for i in order),
        is_recognised=loaded.recognises(scores.max()),
        thresholds=None if limits is None else tuple(limits[i] for i in order),
    )


def _is_rejected(prediction: Prediction) -> bool:
    return prediction.is_recognised is False


if __name__ == "__main__":
    run()
