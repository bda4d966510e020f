import keras
import numpy as np
import pytest

from export.transforms import inference_model


def test_float32_model_is_returned_unchanged(tiny):
    assert inference_model.inference_model(tiny) is tiny


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_becomes_float32_with_the_same_weights(policy, name):
    def network():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Rescaling(1 / 255, dtype="float32")(inputs)
        x = keras.layers.Conv2D(8, 3, activation="swish")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
        return keras.Model(inputs, keras.layers.Softmax(dtype="float32")(x))

    policy(name)
    mixed = network()
    policy("float32")
    copy, wanted = inference_model.inference_model(mixed), network()
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
    scores = copy.predict_on_batch(images)
    np.testing.assert_array_equal(scores, wanted.predict_on_batch(images))
    assert np.any(scores != mixed.predict_on_batch(images))


def test_nested_models_become_float32():
    inputs = keras.Input((4, 4, 3))
    inner = keras.Sequential([keras.layers.Dense(2, dtype="mixed_bfloat16")])
    model = keras.Model(inputs, inner(inputs))
    copy = inference_model.inference_model(model)
    assert [layer.compute_dtype for layer in copy.layers] == ["float32"] * 2
