import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_efficientnet.augmentation import image_ops
from tests.support.paths import PHOTOS

PHOTO = PHOTOS / "cat.jpg"


def photo():
    with Image.open(PHOTO) as file:
        return np.asarray(file.convert("RGB").resize((53, 41)))


def noise():
    return np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8)


def narrow():
    """An image with few values, and a channel with a single value."""
    image = np.random.default_rng(1).integers(90, 120, (41, 53, 3), np.uint8)
    image[..., 1] = 77
    return image


# Goldens: Pillow where its operation has the same bits, else the formula in NumPy.


def pillow(function, *arguments):
    return lambda image: np.asarray(function(Image.fromarray(image), *arguments))


def truncated(values):
    return np.clip(values, 0, 255).astype(np.uint8)


def blended(degenerate, image, factor):
    degenerate = np.asarray(degenerate, np.float32)
    return truncated(degenerate + np.float32(factor) * (image - degenerate))


def grey(image):
    """0.2989 R + 0.5870 G + 0.1140 B on 0 to 1 in float32, then times 255.5."""
    shares = image.astype(np.float32) * np.float32(1 / 255)
    weighted = shares * np.array([0.2989, 0.5870, 0.1140], np.float32)
    total = (weighted[..., 0] + weighted[..., 1]) + weighted[..., 2]
    return truncated(total * np.float32(255.5))[..., None]


def auto_contrast(image):
    out = image.copy()
    for c in range(3):
        low, high = np.float32(image[..., c].min()), np.float32(image[..., c].max())
        if high > low:
            scale = np.float32(255) / (high - low)
            out[..., c] = truncated(image[..., c] * scale - low * scale)
    return out


def smoothed(image):
    weights = np.full((3, 3), np.float32(1 / 13))
    weights[1, 1] = np.float32(5 / 13)
    total = np.zeros((39, 51, 3), np.float32)
    for i, j in np.ndindex(3, 3):
        total += weights[i, j] * image[i : i + 39, j : j + 51]
    return truncated(total)


def sharpened(factor):
    def golden(image):
        out = image.copy()
        out[1:-1, 1:-1] = blended(smoothed(image), image[1:-1, 1:-1], factor)
        return out

    return golden


def contrast(factor):
    def golden(image):
        mean = np.floor(grey(image).mean() + 0.5)
        return blended(np.full_like(image, mean), image, factor)

    return golden


def solarize_add(image):
    added = np.minimum(image.astype(int) + 33, 255)
    return np.where(image < 128, added, image).astype(np.uint8)


def moved(down, right):
    """Moves the content down and to the right."""

    def golden(image):
        padded = np.full((3 * 41, 3 * 53, 3), 128, np.uint8)
        padded[41 + down : 82 + down, 53 + right : 106 + right] = image
        return padded[41:82, 53:106]

    return golden


def cut_out(image):
    out = image.copy()
    # Centre (0.1, 0.5) of 41 x 53 is (4, 26).
    out[0:12, 18:34] = 128
    return out


CASES = {
    "invert": (image_ops.invert, pillow(ImageOps.invert)),
    "auto_contrast": (image_ops.auto_contrast, auto_contrast),
    "equalize": (image_ops.equalize, pillow(ImageOps.equalize)),
    "posterize": (lambda x: image_ops.posterize(x, 3), pillow(ImageOps.posterize, 3)),
    "posterize_0": (lambda x: image_ops.posterize(x, 0), np.zeros_like),
    "posterize_8": (lambda x: image_ops.posterize(x, 8), np.copy),
    "solarize": (lambda x: image_ops.solarize(x, 99), pillow(ImageOps.solarize, 99)),
    "solarize_0": (lambda x: image_ops.solarize(x, 0), pillow(ImageOps.invert)),
    "solarize_256": (lambda x: image_ops.solarize(x, 256), np.copy),
    "solarize_add": (lambda x: image_ops.solarize_add(x, 33), solarize_add),
    "color": (
        lambda x: image_ops.color(x, 1.72),
        lambda x: blended(grey(x), x, 1.72),
    ),
    "color_less": (
        lambda x: image_ops.color(x, 0.28),
        lambda x: blended(grey(x), x, 0.28),
    ),
    "color_1": (lambda x: image_ops.color(x, 1.0), np.copy),
    "contrast": (lambda x: image_ops.contrast(x, 1.9), contrast(1.9)),
    "contrast_grey": (
        lambda x: image_ops.contrast(x, 0.46, grey=196),
        lambda x: blended(np.full_like(x, 196), x, 0.46),
    ),
    "brightness": (
        lambda x: image_ops.brightness(x, 1.9),
        lambda x: truncated(np.float32(1.9) * x),
    ),
    "sharpness": (lambda x: image_ops.sharpness(x, 1.9), sharpened(1.9)),
    "sharpness_0": (lambda x: image_ops.sharpness(x, 0.0), sharpened(0)),
    "translate_x": (lambda x: image_ops.translate_x(x, 12.0), moved(0, -12)),
    "translate_y": (lambda x: image_ops.translate_y(x, -7.0), moved(7, 0)),
    "translate_far": (lambda x: image_ops.translate_x(x, 60.0), moved(0, -53)),
    "cutout": (lambda x: image_ops.cutout(x, 8, centre=(0.1, 0.5)), cut_out),
}


@pytest.mark.parametrize("name", CASES)
def test_operation_equals_its_golden_in_every_mode(name):
    function, golden = CASES[name]
    images = np.stack([photo(), noise(), narrow()])
    expected = np.stack([golden(image) for image in images])
    eager = np.stack([function(tf.constant(image)) for image in images])
    np.testing.assert_array_equal(eager, expected)
    compiled = tf.function(function, jit_compile=True, autograph=False)
    for run in (function, compiled):
        in_data = tf.data.Dataset.from_tensor_slices(images).map(run)
        np.testing.assert_array_equal(list(in_data.as_numpy_iterator()), expected)


# Name -> operation, and the row-major 2 x 3 matrix from output to input positions.
MATRICES = {
    "rotate_24": (lambda x: image_ops.rotate(x, 24.0), 24.0),
    "rotate_-84": (lambda x: image_ops.rotate(x, -84.0), -84.0),
    "rotate_90": (lambda x: image_ops.rotate(x, 90.0), 90.0),
    "shear_x": (lambda x: image_ops.shear_x(x, 0.27), (1, 0.27, 0, 0, 1, 0)),
    "shear_y": (lambda x: image_ops.shear_y(x, -0.12), (1, 0, 0, -0.12, 1, 0)),
    "shear_x_centred": (
        lambda x: image_ops.shear_x(x, 0.27, centred=True),
        (1, 0.27, -0.27 * 20, 0, 1, 0),
    ),
    "shear_y_centred": (
        lambda x: image_ops.shear_y(x, -0.12, centred=True),
        (1, 0, 0, -0.12, 1, 0.12 * 26),
    ),
    "translate_x": (lambda x: image_ops.translate_x(x, 12.4), (1, 0, 12.4, 0, 1, 0)),
}


def as_matrix(matrix):
    """Matrix of a rotation by degrees about the centre of 41 x 53 pixels."""
    if isinstance(matrix, tuple):
        return np.array(matrix, np.float32)
    angle = np.float32(matrix) * np.float32(np.pi / 180)
    cos, sin = np.cos(angle), np.sin(angle)
    x = (np.float32(52) - (cos * np.float32(52) - sin * np.float32(40))) / 2
    y = (np.float32(40) - (sin * np.float32(52) + cos * np.float32(40))) / 2
    return np.array([cos, -sin, x, sin, cos, y], np.float32)


@pytest.mark.parametrize("name", MATRICES)
def test_geometry_equals_the_kernel_of_tensorflow(name):
    """Golden: ImageProjectiveTransformV3; the original uses a copy of it."""
    function, matrix = MATRICES[name]
    image = noise()
    golden = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=[[*as_matrix(matrix), 0, 0]],
        output_shape=image.shape[:2],
        fill_value=128.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )[0]
    np.testing.assert_array_equal(function(tf.constant(image)), golden)
    compiled = tf.function(function, jit_compile=True, autograph=False)
    np.testing.assert_array_equal(compiled(image), golden)


@pytest.mark.parametrize("name", MATRICES)
def test_geometry_equals_pillow_except_for_ties(name):
    function, matrix = MATRICES[name]
    image = photo()
    if isinstance(matrix, tuple):
        a, b, c, d, e, f = matrix
        # Pillow starts at the pixel's centre, half a pixel further.
        at_middle = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
        golden = Image.fromarray(image).transform(
            (53, 41), Image.Transform.AFFINE, at_middle, fillcolor=(128,) * 3
        )
    else:
        golden = Image.fromarray(image).rotate(matrix, fillcolor=(128,) * 3)
    differs = (function(tf.constant(image)) != np.asarray(golden)).numpy().any(-1)
    assert differs.mean() < 0.01


def test_smoothing_equals_the_convolution_of_tensorflow():
    """Golden: the depthwise convolution that the original calls.

    With oneDNN it adds in another order, so that a sum that is a whole number but for
    rounding may be cut off to the one below.
    """
    image = noise()
    kernel = np.ones((3, 3, 3, 1), np.float32)
    kernel[1, 1] = 5
    smoothed = tf.nn.depthwise_conv2d(
        tf.cast(image, tf.float32)[None], kernel / np.float32(13), [1] * 4, "VALID"
    )
    golden = smoothed[0].numpy()
    ours = image_ops.sharpness(tf.constant(image), 0.0)[1:-1, 1:-1].numpy()
    is_whole = np.abs(golden - np.rint(golden)) < 1e-4
    wanted = truncated(golden)
    np.testing.assert_array_equal(ours[~is_whole], wanted[~is_whole])
    assert np.abs(ours.astype(int) - wanted).max() <= 1


def test_luma_equals_that_of_tensorflow_for_a_million_colors():
    colors = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    golden = tf.image.rgb_to_grayscale(colors)
    np.testing.assert_array_equal(image_ops.luma(tf.constant(colors)), golden)
    compiled = tf.function(image_ops.luma, jit_compile=True, autograph=False)
    np.testing.assert_array_equal(compiled(colors), golden)


def test_auto_contrast_is_within_one_of_pillow():
    ours = image_ops.auto_contrast(tf.constant(photo())).numpy().astype(int)
    assert np.abs(ours - pillow(ImageOps.autocontrast)(photo())).max() <= 1


def test_auto_contrast_of_every_range_keeps_its_bits_when_compiled():
    """Golden by hand. Fused products and sums would differ here."""
    compiled = tf.function(image_ops.auto_contrast, jit_compile=True, autograph=False)
    rng = np.random.default_rng(0)
    for _ in range(100):
        low, high = np.sort(rng.choice(256, 2, replace=False))
        ramp = np.resize(np.arange(low, high + 1, dtype=np.uint8), (16, 16))
        image = np.stack([ramp, ramp.T, ramp[::-1]], axis=-1)
        np.testing.assert_array_equal(compiled(image), auto_contrast(image))


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (image_ops.posterize, (1, 5)),
        (image_ops.solarize, (40, 200)),
        (image_ops.solarize_add, (0, 110)),
        (image_ops.color, (0.1, 1.9)),
        (image_ops.contrast, (0.1, 1.9)),
        (image_ops.brightness, (0.1, 1.9)),
        (image_ops.sharpness, (0.1, 1.9)),
        (image_ops.rotate, (10.0, -10.0)),
        (image_ops.shear_x, (0.1, -0.1)),
        (image_ops.shear_y, (0.1, -0.1)),
        (image_ops.translate_x, (5.0, -5.0)),
        (image_ops.translate_y, (5.0, -5.0)),
        (image_ops.cutout, (3, 9)),
    ],
)
def test_pick_chooses_among_the_values(function, values):
    image = tf.constant(photo())
    picked = tf.function(lambda pick: function(image, values, pick))
    for i, value in enumerate(values):
        golden = function(image, value)
        np.testing.assert_array_equal(picked(tf.constant(i)), golden)
    assert not np.array_equal(function(image, values[0]), function(image, values[1]))
