"""Decay, clipping, saving and replication of all optimizers."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_efficientnet.optimizers import LAMB, LARS, TF1RMSprop
from keras_efficientnet.schedules import WarmupCosineDecay
from tests.support.paths import ROOT

KINDS = [TF1RMSprop, LARS, LAMB]
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs tf.distribute"
)


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def small_model():
    inputs = keras.Input((2,))
    x = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")(
        inputs
    )
    return keras.Model(inputs, keras.layers.BatchNormalization()(x))


def apply_zeros(optimizer, weights):
    optimizer.apply([ops.zeros(w.shape) for w in weights], weights)


def test_l2_covers_kernels_and_biases_but_not_normalization():
    model = small_model()
    kernel, bias, gamma, beta = model.trainable_weights
    beta.assign([1.0, 1.0])
    apply_zeros(TF1RMSprop(0.1, l2=0.5), model.trainable_weights)
    # The gradient is 0.5 * w, which RMSProp divides by the root of the mean square.
    expected = 1 - 0.1 * 0.5 / np.sqrt(0.9 + 0.1 * 0.25 + 0.001)
    for weight in (kernel, bias):
        found = ops.convert_to_numpy(weight)
        np.testing.assert_allclose(found, np.full(found.shape, expected), rtol=1e-6)
    for weight in (gamma, beta):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), [1.0, 1.0])


def test_l2_covers_the_weights_that_the_original_decays():
    # Source: tensorflow/tpu, B0 at 1000 classes: 115 tensors, 5,246,532 scalars.
    import keras_efficientnet

    model = keras_efficientnet.EfficientNetB0(weights=None)
    optimizer = TF1RMSprop(0.1, l2=1e-5)
    optimizer.build(model.trainable_variables)
    decayed = [w for w in model.trainable_weights if optimizer._use_weight_decay(w)]
    assert len(decayed) == 115
    assert sum(int(np.prod(w.shape)) for w in decayed) == 5_246_532


def test_l2_leaves_out_excluded_weights():
    model = small_model()
    optimizer = TF1RMSprop(0.1, l2=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    apply_zeros(optimizer, model.trainable_weights)
    kernel, bias, gamma, _ = model.trainable_weights
    assert (ops.convert_to_numpy(kernel) < 1.0).all()
    np.testing.assert_array_equal(ops.convert_to_numpy(bias), [1.0, 1.0])
    np.testing.assert_array_equal(ops.convert_to_numpy(gamma), [1.0, 1.0])


def test_l2_is_added_before_clipping():
    weights = [keras.Variable([6.0]), keras.Variable([0.0])]
    optimizer = LARS(1.0, global_clipnorm=1.0)
    # Biases take a plain step; the norm of (3, 4) is 5.
    optimizer.apply(
        [ops.convert_to_tensor([3.0]), ops.convert_to_tensor([4.0])], weights
    )
    assert float(ops.convert_to_numpy(weights[0])[0]) == pytest.approx(6 - 0.6)
    kernel = keras.Variable([[6.0]])
    optimizer = TF1RMSprop(1.0, momentum=0.0, epsilon=0.0, l2=0.5, global_clipnorm=1.0)
    optimizer.apply([ops.convert_to_tensor([[0.0]])], [kernel])
    # The gradient is 0.5 * 6 = 3, clipped to 1, and so is the mean square.
    assert float(ops.convert_to_numpy(kernel)[0, 0]) == pytest.approx(5.0)


def test_l2_does_not_depend_on_the_scale_of_the_loss():
    found = []
    for factor in (None, 8.0):
        weight = keras.Variable([[2.0]])
        optimizer = TF1RMSprop(0.1, l2=0.5, loss_scale_factor=factor)
        optimizer.apply([ops.convert_to_tensor([[1.0]]) * (factor or 1.0)], [weight])
        found.append(float(ops.convert_to_numpy(weight)[0, 0]))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_l2_skips_weights_without_a_gradient():
    weights = [keras.Variable([[1.0]]), keras.Variable([[1.0]])]
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        TF1RMSprop(0.1, l2=0.5).apply([ops.convert_to_tensor([[2.0]]), None], weights)
    assert float(ops.convert_to_numpy(weights[0])[0, 0]) < 1.0
    assert float(ops.convert_to_numpy(weights[1])[0, 0]) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_config_creates_an_equal_optimizer(kind):
    rate = WarmupCosineDecay(0.3, warmup_steps=2, total_steps=9)
    optimizer = kind(rate, l2=0.25, global_clipnorm=2.0)
    again = kind.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert again.l2 == 0.25
    assert float(again.learning_rate) == float(optimizer.learning_rate)


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_model_resumes_after_loading(kind, tmp_path):
    keras.utils.set_random_seed(0)
    model = small_model()
    model.compile(kind(0.05, l2=0.1), "mse")
    x, y = np.random.default_rng(0).normal(size=(2, 8, 2)).astype(np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is kind
    for either in (model, again):
        either.fit(x, y, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.slow  # source_tree_test.py looks for the names that this needs
def test_importing_the_package_is_enough_to_load_a_compiled_model(tmp_path):
    model = small_model()
    rate = WarmupCosineDecay(0.3, warmup_steps=2, total_steps=9)
    model.compile(TF1RMSprop(rate), "mse")
    path = str(tmp_path / "model.keras")
    model.save(path)
    code = (
        "import keras, keras_efficientnet;"
        f"model = keras.models.load_model({path!r});"
        "print(type(model.optimizer).__name__, float(model.optimizer.learning_rate))"
    )
    assert run_python(code) == "TF1RMSprop 0.0"


# What one and two devices train, for each optimizer; STRATEGY differs by the backend.
FIT = """
import json, keras, numpy as np
from keras_efficientnet.callbacks import ExponentialMovingAverage
from keras_efficientnet.optimizers import LAMB, LARS, TF1RMSprop
rng = np.random.default_rng(0)
x = rng.normal(size=(48, 6)).astype("float32")
y = rng.integers(0, 3, 48)

def fitted(kind, rate):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    h = keras.layers.Dense(8, activation="swish")(inputs)
    h = keras.layers.BatchNormalization(synchronized=SYNCHRONIZED)(h)
    model = keras.Model(inputs, keras.layers.Dense(3)(h))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kind(rate, l2=0.01, global_clipnorm=0.5), loss)
    before = model.get_weights()
    average = ExponentialMovingAverage(0.3)
    options = {"epochs": 2, "shuffle": False, "verbose": 0, "callbacks": [average]}
    model.fit(x, y, batch_size=16, validation_data=(x, y), **options)
    return model, largest(zip(before, model.get_weights()))

def largest(pairs):
    return float(max(np.abs(np.subtract(a, b)).max() for a, b in pairs))

found = {}
RATES = {TF1RMSprop: 0.01, LARS: 10.0, LAMB: 0.01}
for kind, rate in ((kind, RATES[kind]) for kind in USED):
    model, moved, copies = on_two_devices(kind, rate)
    alone, _ = on_one_device(kind, rate)
    found[kind.__name__] = {
        "devices": len(copies[0]),
        "moved": moved,
        "between_devices": largest(copies),
        "from_one_device": largest(zip(model.get_weights(), alone.get_weights())),
    }
print(json.dumps(found))
"""
MIRRORED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
SYNCHRONIZED = True

def on_two_devices(kind, rate):
    with two.scope():
        model, moved = fitted(kind, rate)
    variables = [*model.variables, *model.optimizer.variables]
    values = [v.value for v in variables if "seed" not in v.path]
    return model, moved, [
        [copy.numpy() for copy in two.experimental_local_results(v)] for v in values
    ]

def on_one_device(kind, rate):
    return fitted(kind, rate)
"""
DATA_PARALLEL = """
import keras, numpy as np
SYNCHRONIZED = False  # one program for all devices, so it is synchronized anyway

def on_two_devices(kind, rate):
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    model, moved = fitted(kind, rate)
    variables = [*model.variables, *model.optimizer.variables]
    return model, moved, [
        [np.asarray(shard.data) for shard in v.value.addressable_shards]
        for v in variables
        if "seed" not in v.path
    ]

def on_one_device(kind, rate):
    keras.distribution.set_distribution(None)
    return fitted(kind, rate)
"""


def check_devices(found, kinds):
    assert found.keys() == {kind.__name__ for kind in kinds}
    for name, row in found.items():
        assert row["devices"] == 2, name
        assert row["moved"] > 0.01, (name, row)
        assert row["between_devices"] == 0, (name, row)
        assert row["from_one_device"] < 1e-4, (name, row)


def fit_with(kinds):
    return FIT.replace("USED", f"({', '.join(kind.__name__ for kind in kinds)},)")


# The base class sums, decays and clips the gradients of all three.
@on_tensorflow
@pytest.mark.parametrize(
    "kinds", [KINDS[:1], pytest.param(KINDS[1:], marks=pytest.mark.slow)], ids=len
)
def test_replicas_stay_equal_under_mirrored_strategy(kinds):
    check_devices(json.loads(run_python(MIRRORED + fit_with(kinds))), kinds)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="is JAX's")
def test_devices_stay_equal_under_data_parallel():
    flags = "--xla_force_host_platform_device_count=2"
    code = DATA_PARALLEL + fit_with(KINDS)
    check_devices(json.loads(run_python(code, XLA_FLAGS=flags)), KINDS)


@on_tensorflow
@pytest.mark.parametrize("is_optimizer_inside", [True, False])
def test_rejects_variables_of_another_strategy(is_optimizer_inside):
    import tensorflow as tf

    class TwoReplicas(tf.distribute.MirroredStrategy):
        num_replicas_in_sync = 2  # one CPU is all there is

    strategy = TwoReplicas(["CPU:0"])
    if is_optimizer_inside:
        with strategy.scope():
            optimizer = TF1RMSprop(0.1)
        model = small_model()
        received = r"optimizer under TwoReplicas \(2 replicas\), variable 'kernel' "
        received += "under no strategy"
    else:
        optimizer = TF1RMSprop(0.1)
        with strategy.scope():
            model = small_model()
        received = "optimizer under no strategy, variable 'kernel' under TwoReplicas"
    message = f"'tf1_rmsprop' and the variables .* same .* strategy.*: {received}"
    with pytest.raises(ValueError, match=message):
        optimizer.build(model.trainable_variables)


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_train_as_products_with_one_hot_rows(kind):
    """Golden: a dense layer, whose gradient is no sparse one with repeated rows."""
    tokens = np.array([[1, 1, 2], [2, 2, 0]], np.int32)
    start = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    trained = []
    for layer, x in (
        (keras.layers.Embedding(4, 2), tokens),
        (keras.layers.Dense(2, use_bias=False), np.eye(4, dtype=np.float32)[tokens]),
    ):
        inputs = keras.Input(x.shape[1:], dtype=x.dtype.name)
        model = keras.Model(
            inputs, keras.layers.GlobalAveragePooling1D()(layer(inputs))
        )
        layer.set_weights([start])
        model.compile(kind(0.1, l2=0.1, global_clipnorm=0.5), "mse")
        model.fit(x, np.ones((2, 2)), epochs=3, verbose=0)
        trained.append(layer.get_weights()[0])
    np.testing.assert_allclose(*trained, rtol=1e-5, atol=1e-6)
