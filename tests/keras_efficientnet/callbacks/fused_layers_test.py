import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_efficientnet
from keras_efficientnet.callbacks import FusedLayers
from tests.support.training_runs.two_stages import two_stages

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs the TensorFlow backend"
)


@pytest.fixture
def tf_fused_layers():
    from keras_efficientnet import tf_fused_layers

    return tf_fused_layers


def network():
    """A tiny network of this package inside a model of the user's own."""
    keras.utils.set_random_seed(0)
    backbone = two_stages(include_top=False, pooling="avg", drop_connect=0.0)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(4)(backbone(inputs)))
    model.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def images():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (16, 32, 32, 3)), rng.integers(0, 4, 16)


def fit(model, callbacks):
    x, y = images()
    return model.fit(
        x, y, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=callbacks
    )


@pytest.fixture(scope="module")
def plain():
    model = network()
    return model, fit(model, []).history["loss"]


@on_tensorflow
def test_trains_as_without_it_and_leaves_the_layers_as_they_were(
    plain, tf_fused_layers, monkeypatch, tmp_path
):
    used, find = set(), tf_fused_layers.fused_call

    def counting(layer):
        fused = find(layer)
        if fused is not None:
            used.add(type(layer).__name__)
        return fused

    monkeypatch.setattr(tf_fused_layers, "fused_call", counting)
    model = network()
    losses = fit(model, [FusedLayers()]).history["loss"]
    np.testing.assert_allclose(losses, plain[1], rtol=1e-4)
    assert "BatchNormalization" in used
    for ours, theirs in zip(model.weights, plain[0].weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    layers = model._flatten_layers()
    assert not [layer.name for layer in layers if "call" in vars(layer)]
    assert "train_step" not in vars(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images()[0], verbose=0), model.predict(images()[0], verbose=0)
    )


@on_tensorflow
def test_layers_are_replaced_inside_the_training_step_only(
    tf_fused_layers, monkeypatch
):
    model = network()

    def refuse(layer):
        raise AssertionError(layer.name)

    class Evaluate(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            monkeypatch.setattr(tf_fused_layers, "fused_call", refuse)
            self.model(images()[0])
            self.model(images()[0], training=True)
            monkeypatch.undo()

    model.fit(*images(), epochs=1, verbose=0, callbacks=[FusedLayers(), Evaluate()])


@on_tensorflow
def test_frozen_batch_normalization_keeps_its_statistics():
    model = network()
    keras_efficientnet.freeze(model)
    model.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = [np.array(w) for w in model.non_trainable_weights]
    fit(model, [FusedLayers()])
    for value, weight in zip(before, model.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(value, weight)


MIRRORED = """
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
from keras_efficientnet.callbacks import FusedLayers
from tests.keras_efficientnet.callbacks.fused_layers_test import fit, network

losses = []
for callbacks in [], [FusedLayers()]:
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = network()
    losses.append(fit(model, callbacks).history["loss"])
print(json.dumps(losses))
"""


@pytest.mark.slow
@on_tensorflow
def test_replicas_of_a_mirrored_strategy():
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], capture_output=True, text=True, check=True
    )
    plain, fused = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(fused, plain, rtol=1e-4)


def test_warns_on_other_backends(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.warns(UserWarning, match="on TensorFlow .*Received: backend=jax"):
        FusedLayers().on_train_begin()


@on_tensorflow
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "mixed_bfloat16"])
def test_trains_in_other_precisions(dtype):
    """TensorFlow's fused operation takes neither float64 nor half-precision scales."""
    losses = []
    for callbacks in ([], [FusedLayers()]):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4, 4, 3), dtype="float32")
        x = keras.layers.BatchNormalization(dtype=dtype)(inputs)
        x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x**2)
        model = keras.Model(inputs, keras.layers.Dense(1)(x))
        model.compile("sgd", "mse")
        pixels = np.random.default_rng(0).normal(size=(8, 4, 4, 3))
        history = model.fit(
            pixels, np.ones(8), shuffle=False, verbose=0, epochs=2, callbacks=callbacks
        )
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-2)


@on_tensorflow
def test_keeps_methods_that_the_user_has_replaced():
    model, calls = network(), []
    dense = model.layers[-1]

    def counting(owner, name):
        method = getattr(owner, name)

        def replaced(*args, **kwargs):
            calls.append(name)
            return method(*args, **kwargs)

        setattr(owner, name, replaced)
        return replaced

    methods = counting(model, "train_step"), counting(dense, "call")
    fit(model, [FusedLayers()])
    assert {"train_step", "call"} <= set(calls)
    assert (model.train_step, dense.call) == methods
