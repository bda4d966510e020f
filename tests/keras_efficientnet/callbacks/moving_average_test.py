import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_efficientnet.callbacks import ExponentialMovingAverage
from tests.keras_efficientnet.callbacks.average_cases import (
    DECAY,
    Interrupt,
    InterruptionError,
    Recorder,
    X,
    Y,
    assert_close,
    averages,
    fit,
    make_model,
    weights,
)
from tests.support.paths import ROOT


@pytest.mark.parametrize("batch_norm", [True, False])
def test_fit_ends_with_the_average_of_weights_and_statistics(batch_norm):
    model, recorder = make_model(batch_norm), Recorder()
    fit(model, ExponentialMovingAverage(DECAY), recorder)
    expected = averages(recorder.steps)
    assert len(expected) == 10
    assert_close(weights(model), expected[-1])
    for epoch, step in enumerate((3, 6, 9)):
        assert_close(recorder.epochs[epoch], expected[step])
    # The ramp: 2 / 11 after the first step, not 0.4.
    pairs = zip(*recorder.steps[:2], strict=True)
    assert_close(expected[1], [2 / 11 * a + 9 / 11 * b for a, b in pairs])


def test_training_itself_does_not_change():
    with_average, without = Recorder(), Recorder()
    fit(
        make_model(),
        ExponentialMovingAverage(DECAY),
        with_average,
        validation_split=0.5,
    )
    fit(make_model(), without, validation_split=0.5)
    for a, b in zip(with_average.steps, without.steps, strict=True):
        assert_close(a, b)


def test_validation_uses_the_average():
    model = make_model()
    history = fit(
        model, ExponentialMovingAverage(DECAY), validation_data=(X, Y)
    ).history
    # The average of the last step stays in the model.
    expected = model.evaluate(X, Y, verbose=0)
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)


# Each pair of values occurs.
@pytest.mark.parametrize(
    ("is_first", "has_validation", "suffix"),
    [
        (True, True, ".keras"),
        (False, False, ".keras"),
        (True, False, ".weights.h5"),
        (False, True, ".weights.h5"),
    ],
)
def test_checkpoints_hold_the_average(tmp_path, is_first, has_validation, suffix):
    model, recorder = make_model(), Recorder()
    pattern = str(tmp_path / "epoch-{epoch}") + suffix
    checkpoint = keras.callbacks.ModelCheckpoint(
        pattern, save_weights_only=suffix == ".weights.h5"
    )
    average = ExponentialMovingAverage(DECAY)
    order = [checkpoint, average] if is_first else [average, checkpoint]
    options = {"validation_data": (X, Y)} if has_validation else {}
    fit(model, recorder, *order, **options)
    expected = averages(recorder.steps)
    for epoch, step in ((1, 3), (2, 6), (3, 9)):
        path = tmp_path / f"epoch-{epoch}{suffix}"
        if suffix == ".keras":
            saved = keras.models.load_model(path)
        else:
            saved = make_model()
            saved.optimizer.build(saved.trainable_variables)
            saved.load_weights(path)
        assert_close(weights(saved), expected[step])


def test_checkpoints_between_epochs_hold_the_average(tmp_path):
    model, recorder = make_model(), Recorder()
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "{epoch}-{batch}.keras"), save_freq=2
    )
    fit(model, ExponentialMovingAverage(DECAY), checkpoint, recorder)
    saved = keras.models.load_model(tmp_path / "1-2.keras")
    assert_close(weights(saved), averages(recorder.steps)[2])
    assert_close(weights(model), averages(recorder.steps)[-1])


@pytest.mark.parametrize("is_first", [True, False])
def test_early_stopping_restores_the_best_average(is_first):
    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = (0.1, 0.3, 0.2)[epoch]

    model, recorder, average = make_model(), Recorder(), ExponentialMovingAverage(DECAY)
    stopping = keras.callbacks.EarlyStopping(
        "score", mode="max", patience=9, restore_best_weights=True
    )
    order = [stopping, average] if is_first else [average, stopping]
    fit(model, Score(), recorder, *order, validation_data=(X, Y))
    assert_close(weights(model), averages(recorder.steps)[6])


@pytest.mark.parametrize(("is_first", "has_validation"), [(True, True), (False, False)])
def test_an_interrupted_fit_resumes(tmp_path, is_first, has_validation):
    options = {"validation_data": (X, Y)} if has_validation else {}

    def run(*others):
        model = make_model()
        average = ExponentialMovingAverage(DECAY, tmp_path / "average")
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        order = [average, backup] if is_first else [backup, average]
        fit(model, *order, *others, epochs=4, **options)
        return model

    straight = weights(run())
    with pytest.raises(InterruptionError):
        run(Interrupt(2))
    assert sorted(p.name for p in (tmp_path / "average").iterdir()) == [
        "average-000000003.npz",
        "average-000000006.npz",
    ]
    recorder = Recorder()
    assert_close(weights(run(recorder)), straight)
    assert len(recorder.epochs) == 2
    assert not list((tmp_path / "average").iterdir())


def interrupted(folder):
    average = ExponentialMovingAverage(DECAY, folder)
    with pytest.raises(InterruptionError):
        fit(make_model(), average, Interrupt(1))


def test_warns_about_a_backup_of_another_step(tmp_path):
    interrupted(tmp_path)
    message = "starts over .* belongs to step 0, as the model does: .*000003.npz"
    with pytest.warns(UserWarning, match=message):
        fit(make_model(), ExponentialMovingAverage(DECAY, tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK damaged", "average-000000000.npz is damaged"),
        (None, "average-000000000.npz has other weights"),
    ],
)
def test_warns_about_a_backup_that_does_not_fit(tmp_path, content, message):
    path = tmp_path / "average-000000000.npz"
    if content is None:
        np.savez(path, step=np.array(3))
    else:
        path.write_bytes(content)
    with pytest.warns(UserWarning, match=f"starts over .*{message}"):
        fit(make_model(), ExponentialMovingAverage(DECAY, tmp_path))


def test_each_fit_starts_a_new_average():
    model, average = make_model(), ExponentialMovingAverage(DECAY)
    fit(model, average)
    recorder = Recorder()
    fit(model, average, recorder)
    assert_close(weights(model), averages(recorder.steps)[-1])


def test_saving_works_as_before_once_fit_has_ended(tmp_path):
    model = make_model()
    fit(model, ExponentialMovingAverage(DECAY))
    model.set_weights([w + 1 for w in weights(model)])
    model.save(tmp_path / "model.keras")
    saved = keras.models.load_model(tmp_path / "model.keras")
    assert_close(weights(saved), weights(model))


def test_a_weight_that_is_not_finite_keeps_its_average():
    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = self.model.layers[1].kernel
            kernel.assign(ops.full(kernel.shape, float("nan")))

    model = make_model(batch_norm=False)
    before = weights(model)
    fit(model, Break(), ExponentialMovingAverage(DECAY), epochs=1)
    assert_close(weights(model)[0], before[0])


def test_warns_about_a_model_that_is_frozen():
    model = make_model()
    model.trainable = False
    model.compile(keras.optimizers.SGD(0.1), "mse")
    average = ExponentialMovingAverage(DECAY)
    average.set_model(model)
    message = f"all weights of the model '{model.name}' are frozen"
    with pytest.warns(UserWarning, match=message):
        average.on_train_begin()


def test_rejects_several_steps_per_execution():
    model = make_model()
    model.compile("sgd", "mse", steps_per_execution=2)
    with pytest.raises(ValueError, match="Received: steps_per_execution=2"):
        fit(model, ExponentialMovingAverage(DECAY))


def test_rejects_decay_out_of_range():
    with pytest.raises(ValueError, match="at least 0 and under 1. Received: decay=1.0"):
        ExponentialMovingAverage(1.0)


MIRRORED = """
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
import keras, numpy as np
from keras_efficientnet.callbacks import ExponentialMovingAverage
from keras_efficientnet.optimizers import TF1RMSprop
rng = np.random.default_rng(0)
x = rng.normal(size=(32, 3)).astype("float32")
y = rng.normal(size=(32, 2)).astype("float32")

def fitted(strategy, synchronized):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((3,))
        h = keras.layers.Dense(4)(inputs)
        h = keras.layers.BatchNormalization(synchronized=synchronized, momentum=0.5)(h)
        model = keras.Model(inputs, keras.layers.Dense(2)(h))
        model.compile(TF1RMSprop(0.01), "mse")
    average = ExponentialMovingAverage(0.5)
    history = model.fit(
        x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[average],
        validation_data=(x, y),
    ).history
    return model, history["val_loss"][-1]

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
found = {}
alone, alone_loss = fitted(tf.distribute.get_strategy(), False)
for synchronized in USED:
    model, loss = fitted(two, synchronized)
    copies = [
        [copy.numpy() for copy in two.experimental_local_results(w.value)]
        for w in model.weights
    ]
    found[str(synchronized)] = {
        "replicas": len(copies[0]),
        "between": float(max(np.abs(a - b).max() for a, b in copies)),
        "loss": [loss, float(model.evaluate(x, y, verbose=0))],
        "from_one": [
            float(np.abs(a - b).max())
            for a, b in zip(model.get_weights(), alone.get_weights())
        ],
    }
print(json.dumps(found))
"""


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs tf.distribute"
)
@pytest.mark.parametrize(
    "synchronized", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_replicas_have_the_same_average_under_mirrored_strategy(synchronized):
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED.replace("USED", f"[{synchronized}]")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    (row,) = found.values()
    assert row["replicas"] == 2
    assert row["between"] == 0
    assert row["loss"][0] == pytest.approx(row["loss"][1], rel=1e-5)
    # Synchronized BatchNorm makes two replicas train like one device. Otherwise the
    # moving mean is that of both replicas, as on one device.
    assert max(row["from_one"]) < (1e-4 if synchronized else 0.2)
