"""Runs .tflite files in tests."""

from ai_edge_litert.interpreter import Interpreter


def run(content, images):
    """Returns the first output of a .tflite file for a batch of images."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
