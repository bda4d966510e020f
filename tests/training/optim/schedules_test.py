import math

import pytest
import tensorflow as tf

from training.optim.schedules import SCHEDULES, Schedule


def imagenet(kind="exponential"):
    return Schedule(
        kind,
        peak_lr=0.016 * 2048 / 256,
        steps_per_epoch=1_281_167 / 2048,
        warmup_epochs=5,
        total_steps=218_949,
    )


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
def test_exponential_equals_the_original(step, rate):
    assert float(imagenet()(step)) == pytest.approx(rate, rel=4e-6)


def test_cosine_falls_from_peak_to_zero_over_the_run():
    schedule = Schedule(
        "cosine", peak_lr=0.5, steps_per_epoch=10, warmup_epochs=0, total_steps=100
    )
    for step in (0, 25, 50, 100):
        expected = 0.25 * (1 + math.cos(math.pi * step / 100))
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("peak", [9.0, 0.02])
def test_poly_equals_the_original_after_the_warmup(peak):
    # tensorflow/tpu hands TensorFlow 1 the steps since the warmup, and one more step
    # than there are. It takes no peak under its end.
    schedule = Schedule(
        "poly", peak_lr=peak, steps_per_epoch=10, warmup_epochs=1.55, total_steps=100
    )
    assert float(schedule(5)) == pytest.approx(peak * 5 / 15)
    for step in (15, 16, 60, 99, 100):
        expected = tf.compat.v1.train.polynomial_decay(
            peak, max(1, step - 15), 100 - 15 + 1, min(peak, 0.1), power=2.0
        )()
        assert float(schedule(step)) == pytest.approx(float(expected), rel=1e-4)


def test_constant_stays_at_the_peak_after_warmup():
    schedule = imagenet("constant")
    assert float(schedule(3127)) == float(schedule(200_000)) == pytest.approx(0.128)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedule_survives_its_config(kind):
    schedule = imagenet(kind)
    again = Schedule(**schedule.get_config())
    assert float(again(5000)) == float(schedule(5000))
