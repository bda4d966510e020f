import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.augmentation import random_erasing


def test_erasing_covers_one_rectangle_in_its_share_of_images():
    image = tf.fill((24, 40, 3), -1.0)  # a value that noise has not
    seeds = np.array([(3, i) for i in range(300)], np.int32)
    data = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: random_erasing.erase(image, seed, 0.4)
    )
    count = 0
    for out in data.as_numpy_iterator():
        erased = (out >= 0).all(-1)
        np.testing.assert_array_equal(erased, (out >= 0).any(-1))
        if not erased.any():
            continue
        count += 1
        rows, columns = erased.any(1), erased.any(0)
        np.testing.assert_array_equal(erased, np.outer(rows, columns))
        assert 0.015 < erased.mean() < 0.36  # 0.02 to 0.33, and whole pixels
        assert 0.2 < rows.sum() / columns.sum() < 4.5
        noise = out[erased]
        assert np.all((noise < 256) & (noise == np.round(noise)))
        if noise.size > 200:
            assert noise.mean() == pytest.approx(127.5, abs=30)
    assert count / 300 == pytest.approx(0.4, abs=3 * (0.24 / 300) ** 0.5)


def test_erased_boxes_are_those_of_the_paper():
    """Golden: algorithm 1 of the paper in NumPy; deciles of area and aspect."""
    rng = np.random.default_rng(0)
    height, width, count = 60, 80, 1500
    golden = []
    while len(golden) < count:
        area = rng.uniform(0.02, 0.33) * height * width
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        rows, columns = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if rows < height and columns < width:
            golden.append((rows * columns, np.log(rows / columns)))
    uniforms = rng.random((count, 10, 4), np.float32)
    boxes = tf.data.Dataset.from_tensor_slices(uniforms).map(
        lambda drawn: random_erasing.find_box(height, width, drawn)
    )
    top, left, rows, columns = np.transpose(list(boxes.as_numpy_iterator()))
    assert np.all((top >= 0) & (left >= 0))
    assert np.all((top + rows <= height) & (left + columns <= width))
    ours = np.stack([rows * columns, np.log(rows / columns)], axis=1)
    shares = np.arange(1, 10) / 10
    scale = np.array([height * width, 5.0])
    differences = np.quantile(ours, shares, axis=0) - np.quantile(
        golden, shares, axis=0
    )
    assert np.abs(differences / scale).max() < 0.03


def test_finds_no_box_when_none_fits():
    tall = tf.constant([[0.99, 0.99, 0.5, 0.5]])
    assert random_erasing.find_box(10, 400, tall).numpy().tolist() == [0, 0, 0, 0]
