import numpy as np
import tensorflow as tf

from training import pictures


def test_curves_are_drawn_for_one_epoch_and_for_many(tmp_path):
    for count in (1, 40):
        rows = [
            {
                "epoch": e,
                "train_loss": 1 / e,
                "train_top1": 1 - 1 / (e + 1),
                "validation_loss": 1.2 / e,
                "validation_top1": 1 - 1 / (e + 2),
            }
            for e in range(1, count + 1)
        ]
        path = tmp_path / f"{count}.png"
        pictures.draw_curves(rows, path)
        height, width, _ = tf.io.decode_png(path.read_bytes()).shape
        assert width > 2 * height > 600


def test_wrong_and_unsure_answers_come_first_then_each_other_image_once():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1.0, 100)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    labels = np.zeros(100, int)
    labels[[7, 9]] = 1  # wrong answers
    order = pictures._order(probabilities, labels)
    half = pictures.COLUMNS * pictures.ROWS // 2
    assert set(order[:2]) == {7, 9}
    assert sorted(order) == list(range(100))
    doubt = sure[order[2:half]]
    assert list(doubt) == sorted(doubt)
    assert doubt.max() <= sure[order[half:]].min()


def test_long_names_are_cut():
    assert pictures._short("a" * 24) == "a" * 24
    assert len(pictures._short("a" * 25)) == 24
