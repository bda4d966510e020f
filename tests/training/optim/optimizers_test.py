import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from tests.support.paths import ROOT
from training.optim import base, optimizers

RATES = (0.1, 0.05, 0.2, 0.2, 0.01)


class StepRates(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return tf.gather(tf.constant(RATES), step)


def test_rmsprop_takes_the_steps_of_tensorflow_1():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 2)).astype(np.float32)
    gradients = rng.normal(size=(len(RATES), 3, 2)).astype(np.float32)
    reference = tf.Variable(start)
    ours = keras.Variable(start)
    optim = optimizers.TF1RMSprop(StepRates())
    rate = tf.Variable(0.0)
    theirs = tf.compat.v1.train.RMSPropOptimizer(
        lambda: rate, decay=0.9, momentum=0.9, epsilon=1e-3
    )
    for step, gradient in enumerate(gradients):
        rate.assign(RATES[step])
        theirs.apply_gradients([(tf.constant(gradient), reference)])
        optim.apply([tf.constant(gradient)], [ours])
        np.testing.assert_allclose(ours.numpy(), reference.numpy(), atol=1e-6)
        for slot, name in (
            (optim._mean_squares, "rms"),
            (optim._momentums, "momentum"),
        ):
            expected = theirs.get_slot(reference, name).numpy()
            np.testing.assert_allclose(slot[0].numpy(), expected, atol=1e-6)


def test_rmsprop_first_step_by_hand():
    weight = keras.Variable([1.0])
    optim = optimizers.TF1RMSprop(0.1)
    optim.apply([tf.constant([2.0])], [weight])
    # ms = 0.9 * 1 + 0.1 * 4, because the mean square starts at one.
    expected = 1.0 - 0.1 * 2.0 / np.sqrt(1.3 + 1e-3)
    assert weight.numpy()[0] == pytest.approx(expected, rel=1e-6)


def test_rmsprop_survives_its_config():
    optim = optimizers.TF1RMSprop(0.1, rho=0.8, momentum=0.7, epsilon=1e-2, l2=0.3)
    again = optimizers.TF1RMSprop.from_config(optim.get_config())
    assert (again.rho, again.momentum, again.epsilon) == (0.8, 0.7, 1e-2)
    assert again.l2 == 0.3


def test_sgd_survives_its_config():
    optim = optimizers.SGD(0.1, momentum=0.5, l2=0.3)
    again = optimizers.SGD.from_config(optim.get_config())
    assert (again.momentum, again.l2) == (0.5, 0.3)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_moves_a_weight(name):
    weight = keras.Variable([1.0])
    optimizers.make_optimizer(name, 0.1, 0.0).apply([tf.constant([2.0])], [weight])
    assert weight.numpy()[0] < 1.0


def take_steps(optim, starts, gradients):
    """Returns the weights after each step."""
    weights = [keras.Variable(start) for start in starts]
    found = []
    for step in gradients:
        optim.apply([tf.constant(g) for g in step], weights)
        found.append([w.numpy() for w in weights])
    return found


def random_steps(steps=3):
    """A matrix, a bias and a matrix of zeros, which has no norm."""
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (4,), (2, 2)]
    draws = [
        [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        for _ in range(1 + steps)
    ]
    draws[0][2] *= 0
    return draws[0], draws[1:]


def test_lars_by_hand():
    # arXiv:1708.03888, algorithm 1, with the trust coefficient and the exceptions of
    # the original implementation.
    starts, gradients = random_steps()
    found = take_steps(optimizers.LARS(StepRates(), decay=0.1), starts, gradients)
    weights = [s.astype(np.float64) for s in starts]
    momentums = [np.zeros(w.shape) for w in weights]
    for step, (row, rate) in enumerate(zip(gradients, RATES, strict=False)):
        for i, g in enumerate(row):
            w, local = weights[i], rate
            if w.ndim > 1:
                size, slope = np.linalg.norm(w), np.linalg.norm(g)
                local *= 0.001 * size / (slope + 0.1 * size) if size else 1.0
                g = g + 0.1 * w
            momentums[i] = 0.9 * momentums[i] + local * g
            weights[i] = w - momentums[i]
            np.testing.assert_allclose(found[step][i], weights[i], rtol=1e-5)


def test_lamb_by_hand():
    # arXiv:1904.00962, algorithm 2.
    starts, gradients = random_steps()
    found = take_steps(optimizers.LAMB(StepRates(), decay=0.1), starts, gradients)
    weights = [s.astype(np.float64) for s in starts]
    means = [np.zeros(w.shape) for w in weights]
    squares = [np.zeros(w.shape) for w in weights]
    for t, (row, rate) in enumerate(zip(gradients, RATES, strict=False), start=1):
        for i, g in enumerate(row):
            means[i] = 0.9 * means[i] + 0.1 * g
            squares[i] = 0.999 * squares[i] + 0.001 * g.astype(np.float64) ** 2
            root = np.sqrt(squares[i] / (1 - 0.999**t)) + 1e-6
            update, ratio = means[i] / (1 - 0.9**t) / root, 1.0
            if weights[i].ndim > 1:
                update = update + 0.1 * weights[i]
                size, length = np.linalg.norm(weights[i]), np.linalg.norm(update)
                ratio = size / length if size else 1.0
            weights[i] = weights[i] - rate * ratio * update
            np.testing.assert_allclose(found[t - 1][i], weights[i], rtol=2e-5)


@pytest.mark.parametrize("kind", [optimizers.LARS, optimizers.LAMB])
def test_large_batch_optimizers_survive_their_config(kind):
    optim = kind(0.5, decay=0.3)
    again = kind.from_config(optim.get_config())
    assert vars(again)["decay"] == 0.3
    assert {**optim.get_config(), "name": ""} == {**again.get_config(), "name": ""}


def test_clipping_is_by_the_norm_of_all_gradients():
    weights = [keras.Variable([1.0]), keras.Variable([1.0])]
    optim = optimizers.make_optimizer("lars", 1.0, 0.0, clip_norm=1.0)
    optim.apply([tf.constant([3.0]), tf.constant([4.0])], weights)
    assert weights[0].numpy()[0] == pytest.approx(1 - 0.6)
    assert weights[1].numpy()[0] == pytest.approx(1 - 0.8)


def test_decay_covers_what_the_original_covers():
    # Source: tensorflow/tpu, B0 at 1000 classes: 115 tensors, 5,246,532 scalars.
    model = keras_efficientnet.EfficientNetB0(weights=None)
    kept = {id(w) for w in optimizers.batch_norm_weights(model.layers)}
    decaying = [w for w in model.trainable_weights if id(w) not in kept]
    assert len(decaying) == 115
    assert sum(int(np.prod(w.shape)) for w in decaying) == 5_246_532


# Name -> factor on a weight in a step without a gradient, at rate 0.1 and decay 0.5.
# By hand: coupled decay is the gradient 0.5 * w, which RMSProp divides by
# sqrt(0.9 + 0.1 * 0.25 + 0.001) where w is 1 and SGD multiplies by 1.9 (Nesterov).
DECAYED = {
    "rmsprop": 1 - 0.1 * 0.5 / np.sqrt(0.9 + 0.1 * 0.25 + 0.001),
    "sgd": 1 - 0.1 * 0.5 * 1.9,
    "adamw": 1 - 0.1 * 0.5,
    # The gradient is 0, so both norms are not: no trust ratio with LARS; with LAMB
    # the ratio is |w| / (0.5 * |w|).
    "lars": 1 - 0.1 * 0.5,
    "lamb": 1 - 0.1 * 2 * 0.5,
}


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_decay_leaves_batch_norm_alone(name):
    inputs = keras.Input((2,))
    x = keras.layers.Dense(2, kernel_initializer="ones", name="dense")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(x))
    model.get_layer("bn").trainable = False  # while the head is trained
    extra = keras.layers.BatchNormalization()
    extra.build((None, 2))
    optim = optimizers.make_optimizer(name, 0.1, 0.5, model=model, auxiliary=[extra])
    model.get_layer("bn").trainable = True
    weights = [*model.trainable_variables, *extra.trainable_variables]
    optim.apply([tf.zeros(v.shape) for v in weights], weights)
    kernel = model.get_layer("dense").kernel.numpy()
    np.testing.assert_allclose(kernel, np.full((2, 2), DECAYED[name]), rtol=1e-6)
    for layer in (model.get_layer("bn"), extra):
        np.testing.assert_array_equal(layer.gamma.numpy(), [1.0, 1.0])


def test_l2_skips_weights_without_a_gradient():
    weights = [keras.Variable([1.0]), keras.Variable([1.0])]
    optim = optimizers.SGD(0.1, l2=0.5)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optim.apply([tf.constant([2.0]), None], weights)
    assert weights[0].numpy()[0] == pytest.approx(1 - 0.1 * 2.5)
    assert weights[1].numpy()[0] == 1.0


def test_rejects_an_optimizer_that_would_sum_again():
    with pytest.raises(TypeError, match=r"must be one of `training\.optim"):
        base.expect_summed_gradients(keras.optimizers.SGD(0.1))


FIT = """
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
import keras, numpy as np
from training.optim import optimizers

RATES = {"rmsprop": 0.01, "sgd": 0.05, "adamw": 0.01, "lamb": 0.01, "lars": 10.0}
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
        optim = optimizers.make_optimizer(
            name, RATES[name], 0.01, clip_norm=0.5, model=model
        )
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
for name in optimizers.OPTIMIZERS:
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


def test_replicas_stay_equal_under_keras_fit():
    done = subprocess.run(
        [sys.executable, "-c", FIT], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == optimizers.OPTIMIZERS.keys()
    for name, row in found.items():
        assert row["replicas"] == 2, name
        assert row["moved"] > 0.01, (name, row)
        assert row["between_replicas"] == 0, (name, row)
        # Clipping and decay too are those of the summed gradients.
        assert row["from_one_device"] < 1e-4, (name, row)
