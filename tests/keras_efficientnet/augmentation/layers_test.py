import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.augmentation import (
    AugmentationLayer,
    AutoAugment,
    EvalCrop,
    RandAugment,
    RandomErasing,
    TrainCrop,
)
from tests.support.paths import ROOT


def images(count=4, size=16):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_augments_in_training_only(dtype):
    layer = RandomErasing(1.0, seed=3).as_layer(name="erase")
    pixels = images().astype(dtype)
    np.testing.assert_array_equal(layer(pixels), pixels)
    np.testing.assert_array_equal(layer(pixels, training=False), pixels)
    first, second = layer(pixels, training=True), layer(pixels, training=True)
    assert first.dtype == dtype
    for changed in (first != pixels, second != pixels, first != second):
        assert np.all(np.any(changed, axis=(1, 2, 3)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_trains_in_a_model_and_survives_saving(tmp_path, policy):
    inputs = keras.Input((16, 16, 3))
    layers = [
        TrainCrop(12, seed=1).as_layer(),
        AutoAugment(compiled=False, seed=1).as_layer(name="auto"),
        RandomErasing(seed=1).as_layer(),
    ]
    x = inputs
    for layer in layers:
        x = layer(x)
    assert x.shape == (None, 12, 12, 3)
    outputs = keras.layers.Dense(2, dtype=policy)(
        keras.layers.GlobalAveragePooling2D()(x)
    )
    model = keras.Model(inputs, outputs)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pixels = images().astype(np.float32)
    model.fit(pixels, np.array([0, 1, 0, 1]), batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(pixels, verbose=0), model.predict(pixels, verbose=0)
    )
    auto = loaded.get_layer("auto")
    assert auto.augmentation.get_config() == {
        "policy": "v0",
        "compat": "exact",
        "compiled": False,
        "seed": 1,
    }


@pytest.mark.parametrize("kind", [TrainCrop, EvalCrop])
def test_crops_take_the_central_crop_at_inference(kind):
    layer = kind(8, interpolation="bilinear", crop_ratio=0.5).as_layer()
    golden = EvalCrop(8, interpolation="bilinear", crop_ratio=0.5)
    pixels = images()
    np.testing.assert_array_equal(
        layer(pixels, training=False), golden(tf.constant(pixels))
    )
    trained = layer(pixels, training=True)
    assert trained.shape == (4, 8, 8, 3)
    differ = not np.array_equal(trained, layer(pixels, training=False))
    assert differ == (kind is TrainCrop)


def test_rejects_what_is_not_an_augmentation_of_images():
    with pytest.raises(TypeError, match=r"AutoAugment\(\). Received: augmentation=3"):
        AugmentationLayer(3)


def test_randaugment_compiled_by_xla_works_as_a_layer():
    layer = RandAugment(1, 5, seed=2).as_layer()
    plain = RandAugment(1, 5, compiled=False, seed=2).as_layer()
    np.testing.assert_array_equal(
        layer(images(3), training=True), plain(images(3), training=True)
    )


REPLICAS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
import keras, numpy as np
from keras_efficientnet.augmentation import AutoAugment, RandomErasing

x = np.zeros((8, 16, 16, 3), np.float32)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = RandomErasing(1.0, seed=3).as_layer()
    model = keras.Sequential([layer, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    mapped = AutoAugment(compiled=False, seed=1)
run = tf.function(lambda: layer(x[:1], training=True))
first, second = strategy.experimental_local_results(strategy.run(run))
assert not np.array_equal(first, second)
data = tf.data.Dataset.from_tensor_slices((x, np.zeros(8)))
model.fit(data.map(mapped).batch(4), epochs=2, verbose=0)
model.fit(data.apply(mapped).batch(4), epochs=2, verbose=0)
"""


@pytest.mark.slow
def test_replicas_draw_different_numbers():
    subprocess.run([sys.executable, "-c", REPLICAS], cwd=ROOT, check=True)
