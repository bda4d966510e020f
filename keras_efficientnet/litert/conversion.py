"""Conversion of Keras models to LiteRT (TFLite) in float32."""

from __future__ import annotations

import keras

from ..common.cli.quiet import quiet_stderr

# When a copy replaces its model.
MIN_IMAGES = 1000  # fewer are classified sooner than a model is converted
COMPARED_IMAGES = 16  # the first ones, whose answers are compared with the model's
MAX_DIFFERENCE = 1e-4  # of a probability


def convert_to_litert(model: keras.Model, image_size: int) -> bytes:
    """Converts a model as it is, for inference on this machine.

    `export.formats.tflite` makes artefacts for other machines.

    Args:
        model: Model with one image input and one output.
        image_size: Side of the input, pixels.

    Returns:
        Content of a .tflite file for batches of one image.

    Raises:
        ImportError: TensorFlow is not installed.
        ValueError: The model uses an operation that LiteRT lacks, or Keras does not
            use the TensorFlow backend.
    """
    # Imported here because the models themselves do not need TensorFlow.
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "A model can only be converted with Keras' TensorFlow backend. "
            f"Received: {keras.backend.backend()!r}"
        )
    shape = (1, image_size, image_size, model.inputs[0].shape[-1])
    call = tf.function(lambda images: model(images, training=False), autograph=False)
    function = call.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    # The converter would keep Keras' variables, which makes the model ten times slower.
    frozen = convert_variables_to_constants_v2(function)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
    try:
        with quiet_stderr():
            content: bytes = converter.convert()
    except ConverterError as error:
        raise ValueError(
            "A model must use only operations that LiteRT has. "
            f"Received: {model.name!r} ({error})"
        ) from error
    return content
