"""Artefacts of the tiny run's network, each written once per process."""

import atexit
import functools
import pathlib
import shutil
import tempfile

from ai_edge_litert.interpreter import Interpreter

from export.formats.export_inputs import ExportInputs
from keras_efficientnet.preprocessing import EvalPreprocessing
from tests.support import export_run

SPEC = EvalPreprocessing(export_run.SIZE, 0.8)


def source():
    """Returns the tiny run's network with its labels and preprocessing."""
    size = export_run.SIZE
    return ExportInputs(export_run.fitted_network(), size, export_run.LABELS, SPEC)


@functools.cache
def written(write, name):
    """Returns the path of an artefact called `name`, and the writer's remarks."""
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return folder / name, write(source(), folder / name)


def run_tflite(content, images):
    """Returns the first output of a .tflite file for a batch of images."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
