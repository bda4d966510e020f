"""Contenders of `benchmarks.inference`: a network in every runtime.

A contender runs in its own process, which reads requests, "[images, runs]" in JSON, and
answers with the milliseconds of each run.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 224  # pixels
TOP = 5  # classes
PHOTO = "photo.jpg"  # of the requests
# Files in the folder of a network; PyTorch needs none.
FILES = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "saved_model_onednn": "saved_model",
    "tflite": "model_float32.tflite",
    "tflite_int8": "model_int8.tflite",
    "keras_litert": "keras.tflite",
    "onnx": "model.onnx",
    "onnx_int8": "model_int8.onnx",
    "openvino": "openvino",
    "openvino_int8": "openvino_int8",
}
# TensorFlow uses oneDNN by default only on processors with int8 dot products.
ENVIRONMENT = {"saved_model_onednn": {"TF_ENABLE_ONEDNN_OPTS": "1"}}
TIMM_NAMES = {"b0": "efficientnet_b0", "lite0": "tf_efficientnet_lite0"}

Run = Callable[[Any], Any]  # from pixels to probabilities, or from files to labels


def open_keras(path: Path, threads: int) -> Run:
    """Opens a Keras model for `predict`; the threads are TensorFlow's."""
    import keras

    model = keras.models.load_model(path, compile=False)
    return lambda pixels: model.predict(pixels, batch_size=len(pixels), verbose=0)


def open_saved_model(path: Path, threads: int) -> Run:
    """Opens a SavedModel; the threads are TensorFlow's."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def run(pixels: np.ndarray) -> Any:
        signature = loaded.signatures["serving_default"]
        (scores,) = signature(images=tf.constant(pixels)).values()
        return scores.numpy()

    return run


def open_tflite(path: Path, threads: int) -> Run:
    """Opens a .tflite file, which takes one image at a time."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    (answer,) = interpreter.get_output_details()

    def run(pixels: np.ndarray) -> Any:
        found = []
        for one in pixels:
            interpreter.set_tensor(
                image["index"], one[np.newaxis].astype(image["dtype"])
            )
            interpreter.invoke()
            found.append(interpreter.get_tensor(answer["index"])[0])
        return np.stack(found)

    return run


def open_onnx(path: Path, threads: int) -> Run:
    """Opens an .onnx file with ONNX Runtime."""
    from export.runtimes import onnx

    session = onnx.open_onnx(path, threads)
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels})[0]


def open_openvino(path: Path, threads: int) -> Run:
    """Opens an OpenVINO folder; what is not int8 is computed in float32."""
    from export.runtimes import onnx

    model = onnx.open_openvino(path, threads)
    return lambda pixels: np.array(model([pixels])[0])


def open_torch(path: Path, threads: int) -> Run:
    """Opens timm's network in eager mode, channels_last; the name is the folder's."""
    import torch

    torch.set_num_threads(threads)
    net = _import_timm().create_model(TIMM_NAMES[path.name]).eval()
    net = net.to(memory_format=torch.channels_last)

    def run(pixels: np.ndarray) -> Any:
        with torch.inference_mode():
            # A view of pixels in NHWC has the strides of channels_last.
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
            return net(images).softmax(1).numpy()

    return run


def _import_timm() -> Any:
    """Imports timm, even if torchvision was built for another PyTorch.

    timm imports torchvision, whose Python part refers to two operators of the compiled
    part. These networks need neither.
    """
    import torch

    try:
        import timm
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float iou) -> Tensor")
        import timm
    return timm


OPENERS: dict[str, Callable[[Path, int], Run]] = {
    "keras": open_keras,
    "saved_model": open_saved_model,
    "saved_model_onednn": open_saved_model,
    "tflite": open_tflite,
    "tflite_int8": open_tflite,
    "keras_litert": open_tflite,
    "onnx": open_onnx,
    "onnx_int8": open_onnx,
    "openvino": open_openvino,
    "openvino_int8": open_openvino,
    "torch": open_torch,
}


def open_classify(folder: Path, threads: int) -> Run:
    """Opens the SavedModel's signature from image files to labels."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / FILES["saved_model"]))

    def run(files: list[bytes]) -> Any:
        found = loaded.signatures["classify"](encoded=tf.constant(files))
        return found["labels"].numpy()

    return run


def open_decode(folder: Path, threads: int) -> Run:
    """Opens the part of `classify` before the network, as a function of its own."""
    import tensorflow as tf

    from export.serving.graph_decoding import read_images

    spec = _preprocessing(folder)
    files = tf.TensorSpec((None,), tf.string)
    decode = tf.function(lambda x: read_images(x, spec), input_signature=[files])
    return lambda encoded: decode(tf.constant(encoded))[0].numpy()


def open_request(name: str, folder: Path, threads: int) -> Run:
    """Opens a runtime behind Pillow and NumPy, from image files to labels."""
    from keras_efficientnet.common.sidecars import LABELS_FILE
    from keras_efficientnet.preprocessing.numpy_ops import eval_image
    from keras_efficientnet.preprocessing.pillow_decoding import decode_rgb

    spec = _preprocessing(folder)
    labels = (folder / LABELS_FILE).read_text().split("\n")
    classify = OPENERS[name](folder / FILES[name], threads)

    def run(files: list[bytes]) -> Any:
        pixels = np.stack([eval_image(decode_rgb(file), spec) for file in files])
        best = np.argsort(-classify(pixels.astype(np.float32)), axis=1)[:, :TOP]
        return [[labels[i] for i in row] for row in best]

    return run


def _preprocessing(folder: Path) -> Any:
    from keras_efficientnet.common.sidecars import read_sidecars
    from keras_efficientnet.preprocessing import EvalPreprocessing

    return EvalPreprocessing(**read_sidecars(folder).preprocessing)


REQUESTS: Mapping[str, Callable[[Path, int], Run]] = {
    "classify": open_classify,
    "decode": open_decode,
    **{
        name: functools.partial(open_request, name)
        for name in OPENERS
        if name.startswith(("tflite", "onnx", "openvino"))
    },
}


def main() -> None:
    """Answers requests until the standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--requests", action="store_true", help="image files")
    parser.add_argument("--clients", type=int, default=1, help="runs at once")
    args = parser.parse_args()
    if args.requests:
        run = REQUESTS[args.name](args.folder, args.threads)
        one: Any = [(args.folder / PHOTO).read_bytes()]
    else:
        path = args.folder / FILES.get(args.name, "")
        opened = [OPENERS[args.name](path, args.threads) for _ in range(args.clients)]
        run = opened[0] if args.clients == 1 else _run_at_once(opened)
        one = np.full((1, SIZE, SIZE, 3), 99, np.float32)
    for line in sys.stdin:
        images, runs = json.loads(line)
        batch = one * images if args.requests else np.repeat(one, images, axis=0)
        print(json.dumps([_milliseconds(run, batch) for _ in range(runs)]), flush=True)


def _run_at_once(runs: Sequence[Run]) -> Run:
    """Returns a function that passes its argument to several others at once."""
    pool = concurrent.futures.ThreadPoolExecutor(len(runs))
    return lambda batch: list(pool.map(lambda run: run(batch), runs))


def _milliseconds(run: Run, batch: Any) -> float:
    start = time.perf_counter()
    run(batch)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
