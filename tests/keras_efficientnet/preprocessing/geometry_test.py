import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_efficientnet
from keras_efficientnet import VARIANTS, preprocessing
from keras_efficientnet.preprocessing import EvalPreprocessing, numpy_ops, tf_ops


def test_imagenet_classes_are_in_the_standard_order():
    """Source: well-known ILSVRC2012 indices."""
    classes = preprocessing.imagenet_classes()
    assert len(classes) == len(set(classes)) == 1000
    assert classes[0] == ("n01440764", "tench")
    assert classes[388] == ("n02510455", "giant panda")
    assert classes[999][1] == "toilet tissue"
    assert [wnid for wnid, _ in classes] == sorted(wnid for wnid, _ in classes)


def test_decode_predictions_returns_the_highest_scores():
    scores = np.zeros((2, 1000))
    scores[0, [388, 0]] = 0.7, 0.2
    scores[1, 999] = 1.0
    first, second = keras_efficientnet.decode_predictions(scores, top=2)
    assert first == [("n02510455", "giant panda", 0.7), ("n01440764", "tench", 0.2)]
    assert second[0] == ("n15075141", "toilet tissue", 1.0)


@pytest.mark.parametrize(
    ("scores", "top", "message"),
    [
        (np.zeros((1, 10)), 5, r"shape \(batch, 1000\).*\(1, 10\)"),
        (np.zeros(1000), 5, r"Received: preds of shape \(1000,\)"),
        (np.zeros((1, 1000)), 0, "`top` must be 1 to 1000. Received: top=0"),
    ],
)
def test_decode_predictions_rejects_invalid_arguments(scores, top, message):
    with pytest.raises(ValueError, match=message):
        keras_efficientnet.decode_predictions(scores, top)


def test_preprocess_input_returns_its_input():
    images = np.ones((1, 2, 2, 3))
    assert keras_efficientnet.preprocess_input(images) is images


@pytest.mark.parametrize(
    ("height", "width", "size", "box"),
    [
        # Computed by hand from the original's formula: s / (s + 32) of the shorter
        # side, truncated; an odd pixel is cut before the crop.
        (375, 500, 224, (24, 86, 328, 328)),
        (500, 375, 224, (86, 24, 328, 328)),
        (256, 256, 224, (16, 16, 224, 224)),
        (1, 1, 224, (0, 0, 1, 1)),
        (600, 600, 600, (16, 16, 569, 569)),
    ],
)
def test_eval_crop(height, width, size, box):
    assert preprocessing.eval_crop(height, width, EvalPreprocessing(size)) == box


PUBLISHED_SIZES = sorted({variant.resolution for variant in VARIANTS.values()})


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_default_crop_equals_the_original_at_every_published_size(size):
    """Golden: tensorflow/tpu, preprocessing.py: `_decode_and_center_crop`."""
    spec = EvalPreprocessing(size)
    for shorter in (*range(1, 700), 1023, 1024, 2448, 4000):
        padded = tf.cast(
            np.float32(size / (size + 32)) * tf.cast(shorter, tf.float32), tf.int32
        )
        side = preprocessing.eval_crop(shorter, shorter + 7, spec)[2]
        assert side == max(1, int(padded)), (size, shorter)


def test_crop_ratio_of_small_images_is_seven_eighths():
    assert EvalPreprocessing(96).crop_ratio == 0.875
    assert preprocessing.eval_crop(96, 96, EvalPreprocessing(96)) == (6, 6, 84, 84)


def test_eval_crop_with_ratio_1_is_the_largest_square():
    spec = EvalPreprocessing(32, crop_ratio=1.0)
    assert preprocessing.eval_crop(32, 32, spec) == (0, 0, 32, 32)


def test_eval_crop_equals_its_tensorflow_version():
    rng = np.random.default_rng(0)
    crop = tf.function(tf_ops.eval_crop, autograph=False)
    for size, ratio, mode in (
        (224, None, "center"),
        (380, 380 / 434, "center"),
        (300, 0.9, "squash"),
    ):
        spec = EvalPreprocessing(size, ratio, crop_mode=mode)
        for height, width in rng.integers(1, 2000, (100, 2)):
            expected = preprocessing.eval_crop(int(height), int(width), spec)
            box = crop(
                tf.constant(height, tf.int32), tf.constant(width, tf.int32), spec
            )
            assert tuple(box.numpy()) == expected


@pytest.mark.parametrize("size", [(61, 90), (90, 61), (33, 33)])
def test_squashing_resizes_the_whole_image_without_its_aspect_ratio(size):
    """Golden: Pillow, which timm's `crop_mode="squash"` uses."""
    # Pillow clips and rounds between its two passes.
    pixels = np.random.default_rng(0).integers(64, 192, (*size, 3), "uint8")
    spec = EvalPreprocessing(48, 1.0, "bicubic", "squash")
    golden = np.asarray(Image.fromarray(pixels).resize((48, 48), Image.BICUBIC))
    for eval_image in (tf_ops.eval_image, numpy_ops.eval_image):
        ours = np.clip(eval_image(pixels, spec), 0, 255)
        np.testing.assert_allclose(ours, golden, atol=1.5)


def test_squashing_with_a_ratio_crops_after_the_resize():
    """Golden: Pillow in timm's order, data/transforms_factory.py: resize to 320, crop
    the central 288."""
    rows, columns = np.mgrid[:640, :960]
    pixels = np.stack([rows / 4, columns / 6, (rows + columns) / 10], -1).astype(
        "uint8"
    )
    resized = Image.fromarray(pixels).resize((320, 320), Image.BILINEAR)
    golden = np.asarray(resized.crop((16, 16, 304, 304)))
    spec = EvalPreprocessing(288, 0.9, "bilinear", "squash")
    np.testing.assert_allclose(tf_ops.eval_image(pixels, spec), golden, atol=1.01)


def test_squashed_jpeg_files_equal_their_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 71, 3), "uint8")
    encoded = tf.io.encode_jpeg(pixels)
    spec = EvalPreprocessing(32, 0.9, "bilinear", "squash")
    decoded = tf.io.decode_jpeg(encoded)
    np.testing.assert_array_equal(
        tf_ops.eval_image(encoded, spec), tf_ops.eval_image(decoded, spec)
    )


def test_train_crop_equals_its_tensorflow_version():
    rng = np.random.default_rng(0)
    crop = tf.function(tf_ops.train_crop, autograph=False)
    for height, width in [*rng.integers(1, 1500, (300, 2)), (20, 900), (1, 1)]:
        uniforms = rng.random((10, 4), np.float32)
        size = tf.constant(height, tf.int32), tf.constant(width, tf.int32)
        for min_area in (None, 0.05):
            golden = preprocessing.train_crop(
                int(height), int(width), uniforms, min_area
            )
            assert tuple(crop(*size, uniforms, min_area).numpy()) == golden


@pytest.mark.parametrize(
    ("min_area", "lowest", "covered"), [(None, 0.08, 0.1), (0.05, 0.05, 0.0)]
)
def test_train_crop_has_the_distribution_of_tensorflow(min_area, lowest, covered):
    """Golden: tf.image.stateless_sample_distorted_bounding_box with the recipes'
    arguments; mean and spread of area, aspect ratio and position."""
    rng = np.random.default_rng(0)
    height, width, n = 300, 400, 1500

    @tf.function
    def theirs(seed):
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            [height, width, 3],
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            seed=seed,
            min_object_covered=covered,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(lowest, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], size[:2]], 0)

    golden = np.array([theirs(tf.constant([i, 7])) for i in range(n)], float)
    ours = np.array(
        [
            preprocessing.train_crop(
                height, width, rng.random((10, 4), np.float32), min_area
            )
            for _ in range(n)
        ],
        float,
    )

    def summary(boxes):
        area = boxes[:, 2] * boxes[:, 3] / (height * width)
        columns = [area, boxes[:, 3] / boxes[:, 2], boxes[:, 0] / height]
        columns += [boxes[:, 1] / width]
        moments = [(c.mean(), c.std()) for c in columns]
        return np.array([*moments, (area.min(), area.max())])

    np.testing.assert_allclose(summary(ours), summary(golden), atol=0.02)
    smallest = max(lowest, covered)
    assert smallest - 0.005 < summary(ours)[-1, 0] < smallest + 0.02


@pytest.mark.parametrize("size", [(40, 30), (224, 224), (61, 200)])
def test_legacy_bicubic_follows_its_published_formula(size):
    """Golden by hand: source = i * in / out, Keys' cubic with a = -0.75, fractions in
    steps of 1/1024, edges replicated."""
    height, width = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    ours = tf_ops.resize(tf.constant(image, tf.uint8), 48, "bicubic_legacy")

    def weights(fraction, a=-0.75):
        d = np.abs(np.array([fraction + 1, fraction, 1 - fraction, 2 - fraction]))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, far)

    def matrix(length):
        out = np.zeros((48, length))
        for i in range(48):
            source = np.float32(i) * np.float32(length / 48)
            base = int(source)
            fraction = np.round((source - base) * 1024) / 1024
            for offset, weight in zip(range(-1, 3), weights(fraction), strict=True):
                out[i, np.clip(base + offset, 0, length - 1)] += weight
        return out

    golden = np.einsum("yh,xw,hwc->yxc", matrix(height), matrix(width), image)
    np.testing.assert_allclose(ours, golden, atol=2e-2)


@pytest.mark.parametrize(
    ("method", "filter_"),
    [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)],
)
def test_antialiased_resize_equals_pillow(method, filter_):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120), "uint8")
    ours = tf_ops.resize(pixels[..., None], 32, method)[..., 0]
    golden = np.asarray(Image.fromarray(pixels).resize((32, 32), filter_))
    np.testing.assert_allclose(np.clip(ours, 0, 255), golden, atol=1.01)


def test_eval_image_crops_and_resizes():
    image = np.zeros((40, 60, 3), "uint8")
    image[:, 30:] = 200
    out = tf_ops.eval_image(image, EvalPreprocessing(32, interpolation="bilinear"))
    assert out.shape == (32, 32, 3)
    assert float(out[0, 0, 0]) == 0
    assert float(out[0, -1, 0]) == pytest.approx(200, abs=1e-3)


def test_train_image_depends_only_on_its_seed():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), "uint8")
    spec = EvalPreprocessing(32)
    train = tf.function(lambda seed: tf_ops.train_image(image, spec, seed))
    first, again = train(tf.constant([1, 2])), train(tf.constant([1, 2]))
    np.testing.assert_array_equal(first, again)
    others = [train(tf.constant([1, i])).numpy() for i in range(3, 9)]
    assert all(not np.array_equal(first, other) for other in others)
    eager = tf_ops.train_image(image, spec, tf.constant([1, 2]))
    np.testing.assert_allclose(eager, first, atol=1e-3)


def test_train_image_flips_half_of_the_images():
    ramp = np.tile(np.arange(0, 250, 5, "uint8")[None, :, None], (50, 1, 3))
    spec = EvalPreprocessing(32, interpolation="bilinear")
    train = tf.function(lambda seed: tf_ops.train_image(ramp, spec, seed))
    flips = [
        float(out[0, 0, 0]) > float(out[0, -1, 0])
        for out in (train(tf.constant([0, i])) for i in range(100))
    ]
    assert 30 <= sum(flips) <= 70


def test_decode_image_returns_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7), "uint8")
    path = tmp_path / "grey.png"
    Image.fromarray(pixels).save(path)
    decoded = tf_ops.decode_image(tf.io.read_file(str(path)))
    np.testing.assert_array_equal(decoded, np.repeat(pixels[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "`image_size` must .* Received: image_size=0"),
        (
            {"image_size": 9, "crop_ratio": 1.01},
            "`crop_ratio` must be above 0 and at most 1. Received: crop_ratio=1.01",
        ),
        (
            {"image_size": 9, "interpolation": "cubic"},
            "`interpolation` must .*='cubic'",
        ),
        (
            {"image_size": 9, "crop_mode": "squach"},
            "`crop_mode` must .* Did you mean 'squash'.*='squach'",
        ),
    ],
)
def test_eval_preprocessing_rejects_invalid_fields(options, message):
    with pytest.raises(ValueError, match=message):
        EvalPreprocessing(**options)
