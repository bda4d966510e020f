import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_efficientnet.schedules import (
    WarmupConstant,
    WarmupCosineDecay,
    WarmupPolynomialDecay,
    WarmupStaircaseDecay,
)

STEPS_PER_EPOCH = 1_281_167 / 2048  # of ImageNet
PEAK = 0.016 * 2048 / 256
SCHEDULES = [
    WarmupStaircaseDecay(PEAK, warmup_steps=3127, decay_steps=2.4 * STEPS_PER_EPOCH),
    WarmupCosineDecay(0.5, warmup_steps=10, total_steps=100),
    WarmupConstant(0.5, warmup_steps=10),
    WarmupPolynomialDecay(
        9.0, warmup_steps=15, total_steps=100, power=3.0, end_learning_rate=0.1
    ),
]
NAMES = [type(schedule).__name__ for schedule in SCHEDULES]


# Source: tensorflow/tpu's utils.build_learning_rate, run under TensorFlow 2.15.
@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),
        (1000, 0.0409338),
        (3126, 0.1279591),
        (3127, 0.1204352),
        (4504, 0.1204352),
        (4505, 0.1168222),
        (100_000, 0.0171453),
        (218_948, 0.00154566),
    ],
)
def test_staircase_decay_equals_the_original(step, rate):
    assert float(SCHEDULES[0](step)) == pytest.approx(rate, rel=4e-6)


def test_cosine_falls_from_the_peak_to_zero():
    schedule = WarmupCosineDecay(0.5, total_steps=100)
    for step in (0, 25, 50, 100, 120):
        expected = 0.25 * (1 + math.cos(math.pi * min(step, 100) / 100))
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_warmup_rises_linearly_from_zero(schedule):
    steps = schedule.warmup_steps
    for step in (0, 1, steps // 2, steps - 1):
        expected = schedule.peak_learning_rate * step / steps
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-6)
    assert float(schedule(steps)) > 0.9 * schedule.peak_learning_rate


def test_constant_stays_at_the_peak():
    assert float(SCHEDULES[2](10)) == float(SCHEDULES[2](100_000)) == 0.5


@pytest.mark.parametrize("peak", [9.0, 0.02])
def test_polynomial_decay_by_hand(peak):
    # tensorflow/tpu passes the steps since the warmup to TensorFlow 1, at least 1, and
    # one step more than there are.
    schedule = WarmupPolynomialDecay(
        peak, warmup_steps=15, total_steps=100, end_learning_rate=0.1
    )
    end = min(peak, 0.1)
    for step in (15, 16, 60, 99, 100, 101, 200):
        rest = 1 - min(max(1, step - 15), 86) / 86
        expected = (peak - end) * rest**2 + end
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_serialized_schedules_load_again(schedule):
    schedules = keras.optimizers.schedules
    again = schedules.deserialize(schedules.serialize(schedule))
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    for step in (3, 50, 5000):
        assert float(again(step)) == float(schedule(step))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_takes_tensors_and_returns_a_float32_scalar(schedule):
    rate = schedule(ops.convert_to_tensor(7, "int32"))
    assert keras.backend.standardize_dtype(rate.dtype) == "float32"
    assert rate.shape == ()
    np.testing.assert_allclose(float(rate), float(schedule(7)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: WarmupConstant(0.0),
            "`peak_learning_rate` must be finite and above 0",
        ),
        (
            lambda: WarmupConstant(0.1, warmup_steps=-1),
            "`warmup_steps` must be at least",
        ),
        (lambda: WarmupCosineDecay(0.1, total_steps=0), "`total_steps` must be finite"),
        (
            lambda: WarmupStaircaseDecay(0.1, decay_steps=0.0),
            "`decay_steps` must be finite and above 0. Received: decay_steps=0.0",
        ),
        (
            lambda: WarmupPolynomialDecay(0.1, total_steps=9, end_learning_rate=-1),
            "`end_learning_rate` must be at least 0. Received: end_learning_rate=-1",
        ),
    ],
)
def test_rejects_values_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
