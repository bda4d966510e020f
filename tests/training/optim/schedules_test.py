import pytest
import tensorflow as tf

from training.optim.schedules import SCHEDULES, make_schedule


def imagenet(kind):
    return make_schedule(
        kind,
        peak_lr=0.016 * 2048 / 256,
        steps_per_epoch=1_281_167 / 2048,
        warmup_epochs=5,
        total_steps=218_949,
    )


# Source: tensorflow/tpu's utils.build_learning_rate, run under TensorFlow 2.15.
@pytest.mark.parametrize(
    ("step", "rate"), [(1000, 0.0409338), (3127, 0.1204352), (4505, 0.1168222)]
)
def test_durations_in_epochs_give_the_original_s_schedule(step, rate):
    assert float(imagenet("exponential")(step)) == pytest.approx(rate, rel=4e-6)


@pytest.mark.parametrize("peak", [9.0, 0.02])
def test_poly_equals_the_original_after_the_warmup(peak):
    # tensorflow/tpu passes the steps since the warmup to TensorFlow 1, and one step
    # more than there are. Its peak must not be below its end.
    schedule = make_schedule(
        "poly", peak_lr=peak, steps_per_epoch=10, warmup_epochs=1.55, total_steps=100
    )
    assert float(schedule(5)) == pytest.approx(peak * 5 / 15)
    for step in (15, 16, 60, 99, 100):
        expected = tf.compat.v1.train.polynomial_decay(
            peak, max(1, step - 15), 100 - 15 + 1, min(peak, 0.1), power=2.0
        )()
        assert float(schedule(step)) == pytest.approx(float(expected), rel=1e-4)


def test_cosine_ends_at_zero():
    assert float(imagenet("cosine")(218_949)) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_warms_up(kind):
    schedule = imagenet(kind)
    assert float(schedule(0)) == 0.0
    # 5 epochs are 3127.8 steps, rounded down.
    assert float(schedule(3126)) == pytest.approx(0.128 * 3126 / 3127)
    assert schedule.warmup_steps == 3127
