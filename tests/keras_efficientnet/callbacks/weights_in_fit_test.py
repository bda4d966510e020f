"""Other code that reads, writes or trains the weights beside the moving average."""

import keras
import pytest

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
    live_weights,
    make_model,
    weights,
)


def interrupted(model):
    """Interrupts `fit` in its second epoch."""
    with pytest.raises(InterruptionError):
        fit(model, ExponentialMovingAverage(DECAY), Interrupt(1))
    return model


def assert_saves(model, expected, path):
    model.save(path)
    assert_close(weights(keras.saving.load_model(path)), expected)


@pytest.mark.parametrize("method", ["set_weights", "load_weights"])
def test_saves_weights_that_were_loaded_after_an_interruption(tmp_path, method):
    model = make_model()
    model.optimizer.build(model.trainable_variables)  # its slots are in the file
    initial, path = weights(model), str(tmp_path / "initial.weights.h5")
    model.save_weights(path)
    interrupted(model)
    getattr(model, method)(initial if method == "set_weights" else path)
    assert_saves(model, initial, tmp_path / "model.keras")


@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
def test_saves_weights_of_further_training_after_an_interruption(tmp_path, method):
    model = interrupted(make_model())
    model.train_on_batch(X, Y) if method == "train_on_batch" else fit(model)
    assert_saves(model, live_weights(model), tmp_path / "model.keras")


def test_training_continues_from_weights_that_a_callback_sets():
    class Rollback(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.initial = weights(self.model)

        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights(self.initial)

    for order in (slice(None), slice(None, None, -1)):
        rollback, recorder = Rollback(), Recorder()
        # `shuffle=False`: the first step of each epoch has the same images.
        callbacks = [ExponentialMovingAverage(DECAY), rollback][order]
        optimizer = keras.optimizers.SGD(0.1)
        model = make_model(optimizer=optimizer)
        fit(model, *callbacks, recorder, epochs=2)
        assert_close(recorder.steps[1], recorder.steps[4])
        assert_close(weights(model), rollback.initial)


@pytest.mark.parametrize("is_first", [True, False])
def test_early_stopping_restores_the_average_of_the_best_epoch(is_first):
    # The loss falls, so with mode="max" the first epoch is the best.
    stopping = keras.callbacks.EarlyStopping(
        "loss", patience=1, mode="max", restore_best_weights=True
    )
    average, recorder = ExponentialMovingAverage(DECAY), Recorder()
    order = [stopping, average] if is_first else [average, stopping]
    model = make_model()
    fit(model, *order, recorder)
    assert stopping.best_epoch == 0
    assert_close(weights(model), averages(recorder.steps)[3])


def test_averages_a_model_that_is_built_in_its_first_step():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    recorder = Recorder()
    fit(model, ExponentialMovingAverage(DECAY), recorder)
    if not recorder.steps[0]:  # on TensorFlow
        recorder.steps[0] = recorder.steps[1]
    assert_close(weights(model), averages(recorder.steps)[-1])


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_rejects_an_optimizer_that_averages_too(is_wrapped):
    optimizer = keras.optimizers.SGD(0.1, use_ema=True)
    if is_wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    with pytest.raises(ValueError, match="use_ema=False.* Received: optimizer 'sgd"):
        fit(make_model(optimizer=optimizer), ExponentialMovingAverage(DECAY))


def test_rejects_two_averages_of_one_model():
    model = make_model()
    two = [ExponentialMovingAverage(DECAY), ExponentialMovingAverage(0.9)]
    with pytest.raises(ValueError, match="once among the callbacks.*Received: two"):
        fit(model, *two)
    fit(model, two[0])


def test_training_continues_from_live_weights_after_an_interrupted_validation():
    class Fail(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise InterruptionError

    model, recorder, continued = make_model(), Recorder(), Recorder()
    average = ExponentialMovingAverage(DECAY)
    with pytest.raises(InterruptionError):
        fit(model, average, recorder, Fail(), validation_data=(X, Y))
    fit(model, continued)
    assert_close(continued.steps[0], recorder.steps[3])
