import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.augmentation import AutoAugment, EvalCrop, MixUp, TrainCrop

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)


def test_augments_datasets_under_keras_2():
    def make():
        data = tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(4)))
        data = data.apply(TrainCrop(12, seed=1))
        data = data.apply(AutoAugment(compiled=False, seed=1)).batch(2)
        return data.apply(MixUp(num_classes=4, seed=1))

    data = make()
    first, second = ([x for x, _ in data.as_numpy_iterator()] for _ in range(2))
    assert first[0].shape == (2, 12, 12, 3)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal([x for x, _ in make().as_numpy_iterator()], first)


def test_crops_for_evaluation_under_keras_2():
    np.testing.assert_allclose(
        EvalCrop(8)(IMAGES), EvalCrop(8)(tf.constant(IMAGES)), atol=0.01
    )


def test_layers_need_keras_3():
    with pytest.raises(RuntimeError, match="Keras 3 must be .*`AutoAugment`.* 2.15"):
        AutoAugment().as_layer()
