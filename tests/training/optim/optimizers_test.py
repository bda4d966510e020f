import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.paths import ROOT
from training.optim import optimizers


def test_sgd_config_creates_an_equal_optimizer():
    optim = optimizers.SGD(0.1, momentum=0.5, l2=0.3)
    again = optimizers.SGD.from_config(optim.get_config())
    assert (again.momentum, again.l2) == (0.5, 0.3)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_moves_a_weight(name):
    weight = keras.Variable([1.0])
    optimizers.make_optimizer(name, 0.1, 0.0).apply([tf.constant([2.0])], [weight])
    assert weight.numpy()[0] < 1.0


def test_clips_by_the_norm_of_all_gradients():
    weights = [keras.Variable([1.0]), keras.Variable([1.0])]
    optim = optimizers.make_optimizer("lars", 1.0, 0.0, clip_norm=1.0)
    optim.apply([tf.constant([3.0]), tf.constant([4.0])], weights)
    assert weights[0].numpy()[0] == pytest.approx(1 - 0.6)
    assert weights[1].numpy()[0] == pytest.approx(1 - 0.8)


# Name -> factor on a weight in a step without a gradient, at rate 0.1 and decay 0.5.
# By hand: coupled decay is the gradient 0.5 * w, which RMSProp divides by
# sqrt(0.9 + 0.1 * 0.25 + 0.001) where w is 1 and SGD multiplies by 1.9 (Nesterov).
DECAYED = {
    "rmsprop": 1 - 0.1 * 0.5 / np.sqrt(0.9 + 0.1 * 0.25 + 0.001),
    "sgd": 1 - 0.1 * 0.5 * 1.9,
    "adamw": 1 - 0.1 * 0.5,
    # The norm of the gradient is 0, so LARS has no trust ratio; that of LAMB is
    # |w| / (0.5 * |w|).
    "lars": 1 - 0.1 * 0.5,
    "lamb": 1 - 0.1 * 2 * 0.5,
}


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_decay_does_not_change_batch_norm(name):
    inputs = keras.Input((2,))
    x = keras.layers.Dense(2, kernel_initializer="ones", name="dense")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(x))
    extra = keras.layers.BatchNormalization()  # as adversarial training has
    extra.build((None, 2))
    optim = optimizers.make_optimizer(name, 0.1, 0.5)
    weights = [*model.trainable_variables, *extra.trainable_variables]
    optim.apply([tf.zeros(v.shape) for v in weights], weights)
    kernel = model.get_layer("dense").kernel.numpy()
    np.testing.assert_allclose(kernel, np.full((2, 2), DECAYED[name]), rtol=1e-6)
    for layer in (model.get_layer("bn"), extra):
        np.testing.assert_array_equal(layer.gamma.numpy(), [1.0, 1.0])


def test_rejects_optimizers_that_would_sum_again():
    with pytest.raises(TypeError, match=r"must be one of `training\.optim"):
        optimizers.expect_summed_gradients(keras.optimizers.SGD(0.1))


FIT = """
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
import keras, numpy as np
from training.optim import optimizers

RATES = {"sgd": 0.05, "adamw": 0.01}
rng = np.random.default_rng(0)
images = rng.normal(size=(48, 6)).astype("float32")
labels = rng.integers(0, 3, 48)

def fitted(strategy, name):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        x = keras.layers.Dense(8, activation="swish")(inputs)
        x = keras.layers.BatchNormalization(synchronized=True)(x)
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        optim = optimizers.make_optimizer(name, RATES[name], 0.01, clip_norm=0.5)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optim, loss)
    before = model.get_weights()
    model.fit(images, labels, batch_size=16, epochs=2, shuffle=False, verbose=0)
    moved = max(np.abs(a - b).max() for a, b in zip(before, model.get_weights()))
    return model, float(moved)

def largest(pairs):
    return float(max(np.abs(np.subtract(a, b)).max() for a, b in pairs))

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
found = {}
for name in RATES:
    model, moved = fitted(two, name)
    alone, _ = fitted(tf.distribute.get_strategy(), name)
    slots = model.optimizer.variables
    values = [v.value for v in [*model.variables, *slots] if "seed" not in v.path]
    replicas = [[p.numpy() for p in two.experimental_local_results(v)] for v in values]
    found[name] = {
        "replicas": len(replicas[0]),
        "moved": moved,
        "between_replicas": largest(replicas),
        "from_one_device": largest(zip(model.get_weights(), alone.get_weights())),
    }
print(json.dumps(found))
"""


@pytest.mark.slow  # optimizers/base_test.py has such a test of the same base class
def test_replicas_stay_equal_under_keras_fit():
    done = subprocess.run(
        [sys.executable, "-c", FIT], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # The library has such a test of the others.
    assert found.keys() == {"sgd", "adamw"}
    for name, row in found.items():
        assert row["replicas"] == 2, name
        assert row["moved"] > 0.01, (name, row)
        assert row["between_replicas"] == 0, (name, row)
        # Clipping and decay too are those of the summed gradients.
        assert row["from_one_device"] < 1e-4, (name, row)


@pytest.mark.parametrize("name", ["rmsprop", "sgd", "adamw"])
@pytest.mark.parametrize("decay_biases", [True, False])
def test_decay_may_leave_out_biases(name, decay_biases):
    layer = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")
    layer.build((None, 2))
    optim = optimizers.make_optimizer(name, 0.1, 0.5, decay_biases=decay_biases)
    optim.apply([tf.zeros(v.shape) for v in layer.weights], layer.weights)
    factor = DECAYED[name]
    np.testing.assert_allclose(layer.kernel, np.full((2, 2), factor), rtol=1e-6)
    np.testing.assert_allclose(layer.bias, 2 * [factor if decay_biases else 1.0])
