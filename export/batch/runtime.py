"""Choice of the runtime: LiteRT where it gives the Keras model's answers."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.common.files import replacing
from keras_efficientnet.litert.conversion import (
    COMPARED_IMAGES,
    MAX_DIFFERENCE,
    MIN_IMAGES,
)
from keras_efficientnet.litert.interpreters import usable_processors

from ..api import EXPORT_FOLDER
from ..formats.export_inputs import ExportInputs
from ..formats.registry import FORMATS
from ..formats.tflite import write_float32
from ..loading import Loaded
from ..output_folder import model_digest
from ..runtimes.base import KerasRunner, SavedModelRunner, TFLiteRunner
from ..runtimes.onnx import OnnxRunner, OpenVinoRunner
from ..runtimes.web import WebRunner
from ..transforms.inference_model import inference_model
from .listing import ImageLocation, Listing
from .options import ModelOptions
from .reading import ImageReader, decode_locations

_NAMES = {
    KerasRunner: "keras",
    SavedModelRunner: "saved_model",
    TFLiteRunner: "litert",
    OnnxRunner: "onnx",
    OpenVinoRunner: "openvino",
    WebRunner: "web",
}
# These compute with all of TensorFlow's threads; the others with one per process.
_THREADED = ("keras", "saved_model")
_INT8 = FORMATS["tflite_int8"].artefact


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Runtime of a job.

    Attributes:
        name: Name in the manifest, such as "litert".
        options: Those of the job; the model may be a converted copy.
        reason: Why a Keras model is not converted; empty otherwise.
    """

    name: str
    options: ModelOptions
    reason: str = ""

    @property
    def uses_processes(self) -> bool:
        """Whether several processes with one thread each are faster than one."""
        return self.name not in _THREADED


def find_int8(options: ModelOptions) -> ModelOptions:
    """Returns options whose model is the int8 file of a run or an export.

    Args:
        options: Those of the user; the model is a run folder, the folder of an
            export, or an int8 file itself.

    Raises:
        ValueError: There is no such file.
    """
    model = Path(options.model).expanduser()
    for path in (model / EXPORT_FOLDER / _INT8, model / _INT8):
        if path.is_file():
            return dataclasses.replace(options, model=str(path))
    if model.is_file() and model.suffix == ".tflite" and "int8" in model.name:
        return options
    raise ValueError(
        f"`precision` int8 needs the {_INT8} of an export; make it with python -m "
        "export.main --model=RUN --formats=tflite_int8. "
        f"Received: model={options.model}"
    )


def choose_runtime(
    loaded: Loaded,
    options: ModelOptions,
    listing: Listing,
    copy: Path,
    requested: str,
    is_verified: bool = False,
) -> Runtime:
    """Chooses the runtime that classifies fastest with the model's own answers.

    Args:
        loaded: Model of the job.
        options: Model, and what to predict.
        listing: Images of the job; the first of them verify a converted copy.
        copy: Path of the converted copy; written if it is chosen.
        requested: One of `options.RUNTIMES`.
        is_verified: Whether an earlier session has verified the copy.

    Raises:
        ValueError: `requested` is "litert" and the copy cannot be made or has other
            answers, or `requested` is not the runtime of an artefact.
    """
    own = _NAMES[type(loaded.runner)]
    if own != "keras":
        if requested not in ("auto", own):
            raise ValueError(
                f"`runtime` must be auto for an artefact, whose runtime is {own}. "
                f"Received: runtime={requested}, model={options.model}"
            )
        return Runtime(own, options)
    reason = "it was requested" if requested == "keras" else ""
    if requested == "auto":
        reason = reason_for_keras(len(listing))
        if options.embeddings:
            reason = "embeddings are requested"
    if not reason:
        first = (
            () if is_verified else listing.read(0, min(COMPARED_IMAGES, len(listing)))
        )
        reason = convert_copy(loaded, copy, first)
    if not reason:
        return Runtime("litert", _of_copy(options, copy))
    if requested == "litert":
        raise ValueError(
            "`runtime` litert needs a model that LiteRT computes alike. "
            f"Received: model={options.model}: {reason}"
        )
    return Runtime("keras", options, reason)


def digest_model(loaded: Loaded) -> str:
    """Returns a digest of all that decides on a model's answers and class names."""
    from hashlib import sha256

    from keras_efficientnet.common.sidecars import digest

    if isinstance(loaded.runner, KerasRunner):
        return model_digest(_export_inputs(loaded, loaded.runner.model))
    facts = [digest(Path(loaded.name)), loaded.labels, loaded.preprocessing]
    if loaded.thresholds is not None:
        facts.append(loaded.thresholds)
    return sha256(repr(tuple(facts)).encode()).hexdigest()


def accelerate(loaded: Loaded, paths: Sequence[Path]) -> Loaded:
    """Returns a model with the same answers that uses all processors.

    Args:
        loaded: Model.
        paths: Images that it will classify; the first of them verify the copy.

    Returns:
        A model in LiteRT, with a thread per processor. `loaded` itself if there are
        few images, it runs in another runtime, or LiteRT's answers differ.
    """
    threads = usable_processors()
    if isinstance(loaded.runner, TFLiteRunner):
        if threads == 1 or len(paths) < MIN_IMAGES:
            return loaded
        runner = TFLiteRunner(loaded.name, threads)
        return dataclasses.replace(loaded, runner=runner)
    if not isinstance(loaded.runner, KerasRunner) or reason_for_keras(len(paths)):
        return loaded
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model.tflite")
        first = [ImageLocation(str(path)) for path in paths[:COMPARED_IMAGES]]
        if convert_copy(loaded, copy, first):
            return loaded
        return dataclasses.replace(loaded, runner=TFLiteRunner(copy, threads))


def reason_for_keras(images: int) -> str:
    """Returns why a Keras model should not be converted; empty if it should.

    Args:
        images: Number of images to classify.
    """
    if keras.backend.backend() != "tensorflow":
        return f"the backend is {keras.backend.backend()}"
    if tf.config.list_physical_devices("GPU"):
        return "there is a GPU"
    if images < MIN_IMAGES:
        return f"converting takes longer than {images} images"
    return ""


def convert_copy(loaded: Loaded, copy: Path, first: Sequence[ImageLocation]) -> str:
    """Writes a LiteRT copy of a Keras model and verifies it.

    Args:
        loaded: Keras model.
        copy: Path of the copy; kept if it exists.
        first: Images on which the answers are compared. Empty: the copy was verified
            before.

    Returns:
        Reason why the copy cannot be used; empty if it can.
    """
    if not isinstance(loaded.runner, KerasRunner):
        raise TypeError(f"Only Keras models are converted. Received: {loaded.runner}")
    if not copy.is_file():
        size = loaded.preprocessing.image_size
        try:
            network = inference_model(loaded.runner.model, size)
            with replacing(copy, shared=True) as unfinished:
                write_float32(_export_inputs(loaded, network), unfinished)
        except ValueError as error:
            return str(error)
    found = _difference(loaded, TFLiteRunner(copy), first) if first else 0.0
    if found <= MAX_DIFFERENCE:
        return ""
    return f"LiteRT's probabilities differ by {found:.1e}, more than {MAX_DIFFERENCE}"


def _difference(
    loaded: Loaded, runner: TFLiteRunner, first: Sequence[ImageLocation]
) -> float:
    read = ImageReader(loaded.preprocessing, loaded.channels)
    images, _ = decode_locations(read, first)
    if not images:  # noise decides, which networks answer less clearly
        side, channels = loaded.preprocessing.image_size, loaded.channels
        noise = np.random.default_rng(0).uniform(0, 255, (4, side, side, channels))
        images = list(noise.astype(np.float32))
    pixels = np.stack(images)
    copied = dataclasses.replace(loaded, runner=runner)
    return float(np.abs(loaded.classify(pixels) - copied.classify(pixels)).max())


def _of_copy(options: ModelOptions, copy: Path) -> ModelOptions:
    """Returns options for the copy, which holds its preprocessing and labels."""
    return ModelOptions(
        str(copy),
        top=options.top,
        probabilities=options.probabilities,
        embeddings=options.embeddings,
    )


def _export_inputs(loaded: Loaded, network: keras.Model) -> ExportInputs:
    spec = loaded.preprocessing
    return ExportInputs(
        network,
        spec.image_size,
        loaded.labels,
        spec,
        reject_threshold=loaded.reject_threshold,
        thresholds=loaded.thresholds,
    )
