"""Images of a listing to rows of predictions, with one loaded model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from keras_efficientnet.common.output_activation import to_probabilities

from ..loading import Loaded, load
from ..predict import rank_classes
from ..runtimes.base import KerasRunner
from .listing import Listing
from .options import ModelOptions
from .reading import ImageReader, decode_locations
from .rows import Rows


@dataclasses.dataclass(frozen=True)
class DecodedImages:
    """Pixels of a range of a listing.

    Attributes:
        paths: Names of all images of the range.
        errors: Position in `paths` -> reason why the image could not be read.
        pixels: Those of the other images, (images, size, size, channels), float32.
    """

    paths: tuple[str, ...]
    errors: dict[int, str]
    pixels: np.ndarray


class Classifier:
    """Predicts ranges of a listing. `decode` may run in threads ahead of `classify`.

    Args:
        loaded: Model.
        options: Model and prediction options.
        listing: Images of the job.

    Raises:
        ValueError: The model has no embeddings, which `options` requests.
    """

    def __init__(self, loaded: Loaded, options: ModelOptions, listing: Listing) -> None:
        self._loaded = loaded
        self._options = options
        self._listing = listing
        self._read = ImageReader(loaded.preprocessing, loaded.channels)
        self._embedder = embedding_model(loaded) if options.embeddings else None

    @property
    def image_size(self) -> int:
        """Side of the model's input, pixels."""
        return self._loaded.preprocessing.image_size

    def decode(self, start: int, stop: int) -> DecodedImages:
        """Reads a range of images.

        Args:
            start: Position of the first image.
            stop: Position after the last image.
        """
        locations = self._listing.read(start, stop)
        images, errors = decode_locations(self._read, locations)
        side = self.image_size
        empty = np.zeros((0, side, side, self._loaded.channels), np.float32)
        paths = tuple(location.path for location in locations)
        return DecodedImages(paths, errors, np.stack(images) if images else empty)

    def classify(self, decoded: DecodedImages) -> Rows:
        """Classifies decoded images.

        Args:
            decoded: Result of `decode`.
        """
        outputs, features = self._run(decoded.pixels)
        positions = iter(range(len(outputs)))
        has_threshold = self._loaded.reject_threshold is not None
        rows = Rows(
            recognised=[] if has_threshold else None,
            probabilities=[] if self._options.probabilities else None,
            embeddings=[] if self._options.embeddings else None,
        )
        for place, path in enumerate(decoded.paths):
            reason = decoded.errors.get(place)
            at = None if reason else next(positions)
            if at is not None and not np.isfinite(outputs[at]).all():
                at, reason = None, "the model's answer is not finite"
            scores = None if at is None else self._probabilities(outputs[at])
            best = None
            if scores is not None:
                limits = self._loaded.thresholds
                best = rank_classes(scores, self._options.top, limits)
            rows.path.append(path)
            rows.error.append(reason)
            rows.classes.append(best)
            rows.scores.append(
                None if scores is None else [float(scores[i]) for i in best or ()]
            )
            if rows.recognised is not None:
                rows.recognised.append(
                    None if scores is None else self._loaded.recognises(scores.max())
                )
            if rows.probabilities is not None:
                rows.probabilities.append(
                    None if scores is None else scores.astype(np.float16)
                )
            if rows.embeddings is not None:
                rows.embeddings.append(None if at is None else features[at])
        return rows

    def __call__(self, start: int, stop: int) -> Rows:
        """Predicts a range of images; see `decode`."""
        return self.classify(self.decode(start, stop))

    def _run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(pixels):
            return np.zeros((0, 1)), np.zeros((0, 1))
        if self._embedder is None:
            return self._loaded.runner(pixels), np.zeros((0, 1))
        outputs, features = self._embedder.predict_on_batch(pixels)
        return np.asarray(outputs, np.float32), np.asarray(features, np.float32)

    def _probabilities(self, outputs: np.ndarray) -> np.ndarray:
        return to_probabilities(outputs[np.newaxis], self._loaded.output_activation)[0]


def open_model(options: ModelOptions) -> Loaded:
    """Loads the model of a job; see `loading.load`."""
    return load(
        options.model,
        weights=options.weights,
        labels=options.labels,
        image_size=options.image_size,
        crop_ratio=options.crop_ratio,
        interpolation=options.interpolation,
        crop_mode=options.crop_mode,
        thresholds=options.thresholds,
    )


def open_classifier(options: ModelOptions, listing_folder: Path) -> Classifier:
    """Loads the model and the listing of a job, in a worker process.

    Args:
        options: Model, and what to predict.
        listing_folder: Folder of the listing.
    """
    return Classifier(open_model(options), options, Listing(listing_folder))


def embedding_model(loaded: Loaded) -> keras.Model:
    """Returns a model from images to its outputs and the input of its classifier.

    Args:
        loaded: Model with a Dense layer as its classifier.

    Raises:
        ValueError: It is not a Keras model, or has no such layer.
    """
    layers = (
        loaded.runner.model.layers if isinstance(loaded.runner, KerasRunner) else []
    )
    dense = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
    if not dense:
        raise ValueError(
            "`embeddings` needs a Keras model with a Dense layer as its classifier: a "
            f"run folder, a .keras file or a variant. Received: model={loaded.name}"
        )
    model = loaded.runner.model  # type: ignore[attr-defined]
    return keras.Model(model.inputs, [model.outputs[0], dense[-1].input])
