"""Augmentation operations against those of TensorFlow Addons, on photos."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.addons import tfa
from keras_efficientnet.augmentation import image_ops
from tests.support.paths import PHOTOS

FILES = sorted(PHOTOS.glob("*.jpg"))


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def photo(request):
    return tf.io.decode_jpeg(tf.io.read_file(str(request.param)), channels=3)


def differences(ours, theirs):
    return np.abs(np.asarray(ours, np.int32) - np.asarray(theirs, np.int32))


GREY = [image_ops.GREY] * 3


@pytest.mark.parametrize("degrees", [-30.0, 17.0, 90.0])
def test_rotate(photo, degrees):
    theirs = tfa.image.rotate(
        photo, math.radians(degrees), fill_mode="constant", fill_value=image_ops.GREY
    )
    apart = differences(image_ops.rotate(photo, degrees), theirs)
    # The last bit of the sine decides between two equally near pixels.
    assert (apart > 0).mean() < 1e-4


@pytest.mark.parametrize("slope", [-0.2, 0.3])
def test_shear(photo, slope):
    for ours, theirs in (
        (image_ops.shear_x, tfa.image.shear_x),
        (image_ops.shear_y, tfa.image.shear_y),
    ):
        assert differences(ours(photo, slope), theirs(photo, slope, GREY)).max() == 0


@pytest.mark.parametrize("pixels", [-40.0, 7.6, 13.0])
def test_translate(photo, pixels):
    """Positive offsets move left and up here, right and down there."""
    for ours, direction in (
        (image_ops.translate_x, [-pixels, 0.0]),
        (image_ops.translate_y, [0.0, -pixels]),
    ):
        theirs = tfa.image.translate(
            photo, direction, fill_mode="constant", fill_value=image_ops.GREY
        )
        assert differences(ours(photo, pixels), theirs).max() == 0


def test_equalize(photo):
    theirs = tfa.image.equalize(photo)
    assert differences(image_ops.equalize(photo), theirs).max() == 0
    assert differences(photo, theirs).mean() > 1


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.3, 1.9])
def test_sharpness(photo, factor):
    apart = differences(
        image_ops.sharpness(photo, factor), tfa.image.sharpness(photo, factor)
    )
    # Ours truncates twice, like the original; theirs rounds in between.
    assert apart.max() <= 2
    assert (apart > 1).mean() < 2e-3


def test_cutout(photo):
    height, width = photo.shape[:2]
    for pad, down, across in ((20, 0.25, 0.6), (60, 0.05, 0.98)):
        offset = (int(height * down), int(width * across))
        theirs = tfa.image.cutout(photo[None], 2 * pad, offset, image_ops.GREY)[0]
        ours = image_ops.cutout(photo, pad, centre=(down, across))
        assert differences(ours, theirs).max() == 0
