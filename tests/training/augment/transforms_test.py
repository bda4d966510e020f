import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientnet import EvalPreprocessing
from keras_efficientnet.augmentation import policies
from keras_efficientnet.preprocessing import tf_ops
from tests.support.paths import PHOTOS
from training.augment import transforms

PHOTO = PHOTOS / "koala.jpg"
SPEC = EvalPreprocessing(image_size=32)


def photo(width=90, height=70):
    with Image.open(PHOTO) as file:
        return np.asarray(file.convert("RGB").resize((width, height)))


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def in_data(augmentation, image, seeds):
    """Augments the image once per seed, to (seeds, size, size, 3)."""
    seeds = np.array([(7, seed) for seed in seeds], np.int32)
    data = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: augmentation(tf.constant(image), SPEC, seed)
    )
    return np.stack(list(data.as_numpy_iterator()))


@functools.cache
def augmented(name):
    """Augments a photo with 30 seeds, without XLA, which policies_test compares."""
    return in_data(
        transforms.make_augmentation(name, compiled=False), photo(), range(30)
    )


@pytest.mark.parametrize("name", transforms.AUGMENTATIONS)
def test_gives_the_same_bits_eagerly_and_in_tf_data(name):
    found = augmented(name)
    assert found.shape == (30, 32, 32, 3)
    assert found.dtype == np.float32
    augmentation = transforms.make_augmentation(name, compiled=False)
    eager = augmentation(tf.constant(photo()), SPEC, tf.constant([7, 1]))
    np.testing.assert_array_equal(eager, found[1])
    assert (len(np.unique(found, axis=0)) == 1) == (name == "none")


@pytest.mark.parametrize("name", ["none", "shift", "autoaugment"])
def test_encoded_files_give_the_same_bits_as_their_pixels(name):
    encoded = jpeg(photo())
    pixels = tf.io.decode_jpeg(encoded, channels=3).numpy()
    augmentation = transforms.make_augmentation(name, compiled=False)
    found = in_data(augmentation, encoded, range(6))
    np.testing.assert_array_equal(found, in_data(augmentation, pixels, range(6)))


@pytest.mark.parametrize("name", ["autoaugment", "randaugment", "augmix"])
def test_policies_start_from_the_cropped_image_as_uint8(name):
    """Pixels that no operation changes are clipped and truncated."""
    cropped = np.floor(np.clip(augmented("crop_flip"), 0, 255))
    found = augmented(name)
    assert np.all((found >= 0) & (found <= 255))
    np.testing.assert_array_equal(found, np.round(found))
    unchanged = np.all(found == cropped, axis=(1, 2, 3))
    assert unchanged.any() == (name == "autoaugment")
    if name == "augmix":  # the mean of a mixture stays close
        assert np.abs(found.mean((1, 2, 3)) - cropped.mean((1, 2, 3))).max() < 60


def test_compiled_is_the_default_and_gives_the_same_bits():
    options = {"layers": 3, "magnitude": 4.0, "compat": "fixed"}
    compiled = in_data(
        transforms.make_augmentation("randaugment", **options), photo(), range(40)
    )
    plain = transforms.make_augmentation("randaugment", **options, compiled=False)
    np.testing.assert_array_equal(compiled, in_data(plain, photo(), range(40)))


def test_randaugment_receives_its_settings(monkeypatch):
    settings = []

    def randaugment(size, compat, *, layers, magnitude):
        settings.append((size, compat, layers, magnitude))
        return lambda image, uniforms: image, 1

    monkeypatch.setattr(policies, "randaugment", randaugment)
    made = transforms.make_augmentation(
        "randaugment", layers=4, magnitude=17.0, compat="fixed"
    )
    made(tf.constant(photo()), SPEC, tf.constant([1, 2]))
    assert settings == [(32, "fixed", 4, 17.0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "autoaugmet"}, "`name` must .*autoaugment.* name='autoaugmet'"),
        ({"compat": "fix"}, "`compat` must be one of exact, fixed.*compat='fix'"),
        ({"layers": 0}, "`layers` must be .* at least 1.*layers=0"),
        ({"magnitude": -1}, "`magnitude` must be .* at least 0.*magnitude=-1"),
        ({"erasing": 1.5}, "`probability` must be 0 to 1. Received: probability=1.5"),
    ],
)
def test_rejects_invalid_settings(options, message):
    with pytest.raises(ValueError, match=message):
        transforms.make_augmentation(**{"name": "randaugment", **options})


def test_erasing_applies_to_the_result():
    plain = in_data(transforms.make_augmentation("none"), photo(), range(20))
    erased = in_data(
        transforms.make_augmentation("none", erasing=1.0), photo(), range(20)
    )
    changed = (plain != erased).any(-1).mean(axis=(1, 2))
    assert np.all((changed > 0.01) & (changed < 0.4))
    assert len(set(changed)) > 10


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"subsampling": 2, "progressive": True},
        {"subsampling": 2, "restart_marker_rows": 1},
    ],
)
def test_decoding_only_the_crop_gives_the_pixels_of_the_full_image(options):
    """Golden: decoding the full file, then cropping. Noise reveals every border."""
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    encoded = jpeg(pixels, **options)
    whole = tf.io.decode_jpeg(encoded, channels=3)
    train = tf.function(lambda x, seed: tf_ops.train_image(x, SPEC, seed))
    for seed in range(25):
        found = train(tf.constant(encoded), tf.constant([1, seed]))
        golden = train(whole, tf.constant([1, seed]))
        np.testing.assert_array_equal(found, golden)
    for ratio in (1.0, 0.82, 0.5):
        spec = EvalPreprocessing(32, crop_ratio=ratio)
        found = tf_ops.eval_image(tf.constant(encoded), spec)
        np.testing.assert_array_equal(found, tf_ops.eval_image(whole, spec))


@pytest.mark.parametrize("kind", ["grey JPEG", "PNG"])
def test_other_formats_are_cropped_like_their_pixels(kind):
    file = io.BytesIO()
    image = Image.fromarray(photo())
    if kind == "PNG":
        image.save(file, "PNG")
    else:
        image.convert("L").save(file, "JPEG")
    encoded = tf.constant(file.getvalue())
    pixels = tf_ops.pixels(encoded)
    assert tf_ops.pixels(pixels) is pixels
    for seed in range(5):
        found = tf_ops.train_image(encoded, SPEC, tf.constant([1, seed]))
        golden = tf_ops.train_image(pixels, SPEC, tf.constant([1, seed]))
        np.testing.assert_array_equal(found, golden)


def test_only_the_crop_is_decoded(monkeypatch):
    """A plain JPEG never passes through `decode_image`."""

    def fail(encoded):
        return tf.raise_if_not_plain  # an attribute that does not exist

    monkeypatch.setattr(tf_ops, "decode_image", fail)
    encoded = tf.constant(jpeg(photo()))
    out = tf_ops.train_image(encoded, SPEC, tf.constant([1, 2]))
    assert out.shape == (32, 32, 3)


def test_flip_cutout_squashes_the_image_and_erases_a_bright_square():
    pixels = np.zeros((70, 90, 3), np.uint8)
    pixels[:, 45:] = 100  # the right half
    augmentation = transforms.make_augmentation("flip_cutout")
    sides, flips = set(), 0
    for image in in_data(augmentation, pixels, range(40)):
        erased = image.min(axis=2) >= 127.5
        rows, columns = erased.any(axis=1), erased.any(axis=0)
        np.testing.assert_array_equal(erased, np.outer(rows, columns))
        sides |= {rows.sum(), columns.sum()}
        is_right = image[~rows][:, 24:30].mean() > 50
        flips += not is_right
        # Squashed, not cropped: each half has half of the columns.
        bright = image[~rows][0, :, 0] > 50
        assert 15 <= bright.sum() <= 17
    # Half of the side, less where the square crosses the border.
    assert max(sides) == 16
    assert min(sides) >= 8
    assert 10 <= flips <= 30
