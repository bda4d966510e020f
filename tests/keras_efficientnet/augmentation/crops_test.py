import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientnet import EvalPreprocessing
from keras_efficientnet.augmentation import EvalCrop, TrainCrop
from keras_efficientnet.preprocessing import RESIZE_METHODS, numpy_ops, tf_ops
from tests.support.paths import PHOTOS

KOALA = PHOTOS / "koala.jpg"


def photo(width, height):
    with Image.open(KOALA) as file:
        return np.asarray(file.convert("RGB").resize((width, height)))


@pytest.mark.parametrize("method", RESIZE_METHODS)
@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(500, 375, 224), (60, 45, 64), (31, 100, 32), (32, 32, 32), (7, 5, 3), (1, 1, 8)],
)
def test_numpy_resizes_like_tensorflow(method, width, height, size):
    """Golden: TensorFlow's kernels, on a photo and on noise."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for pixels in (photo(width, height), noise, noise.astype(np.float32)):
        for ratio in (None, 1.0):
            crop = EvalCrop(size, crop_ratio=ratio, interpolation=method)
            found, golden = crop(pixels), crop(tf.constant(pixels))
            assert found.dtype == np.float32
            assert found.shape == (size, size, 3)
            np.testing.assert_allclose(found, golden, atol=0.01)


@pytest.mark.parametrize("method", RESIZE_METHODS)
@pytest.mark.parametrize("path", sorted(PHOTOS.glob("*.jpg")), ids=lambda p: p.stem)
def test_numpy_reads_photos_like_tensorflow(path, method):
    """TensorFlow decodes JPEG with a faster, rougher transform than Pillow."""
    spec = EvalPreprocessing(224, interpolation=method)
    found = EvalCrop(224, interpolation=method)(path)
    golden = tf_ops.eval_image(tf.constant(path.read_bytes()), spec).numpy()
    difference = np.abs(found - golden)
    assert difference.mean() < 1.2
    assert difference.max() < 8
    exact = tf.io.decode_jpeg(
        path.read_bytes(), channels=3, dct_method="INTEGER_ACCURATE"
    )
    golden = tf_ops.eval_image(exact, spec)
    np.testing.assert_allclose(found, golden, atol=0.01)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGB", "PNG"), ("L", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("RGB", "BMP")],
)
def test_lossless_files_give_the_pixels_of_tensorflow(mode, form):
    file = io.BytesIO()
    Image.fromarray(photo(40, 30)).convert(mode).save(file, form)
    crop = EvalCrop(24)
    golden = crop(tf.constant(file.getvalue()))
    np.testing.assert_allclose(crop(file.getvalue()), golden, atol=0.01)


def test_input_is_taken_by_its_type(tmp_path):
    path = tmp_path / "image.png"
    pixels = photo(40, 30)
    Image.fromarray(pixels).save(path)
    crop = EvalCrop(24)
    golden = crop(pixels)
    for form in (str(path), path, path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(crop(form), golden)
    np.testing.assert_array_equal(crop([path, pixels]), [golden, golden])
    np.testing.assert_array_equal(crop(np.stack([pixels] * 2)), [golden, golden])
    assert isinstance(crop(tf.constant(pixels)), tf.Tensor)


def test_datasets_give_the_bits_of_evaluation():
    encoded = KOALA.read_bytes()
    golden = tf_ops.eval_image(tf.constant(encoded), EvalPreprocessing(64))
    files = tf.data.Dataset.from_tensors(encoded)
    for data in (files.map(EvalCrop(64)), files.apply(EvalCrop(64))):
        (found,) = data
        np.testing.assert_array_equal(found, golden)
    (batch,) = files.batch(1).map(EvalCrop(64))
    np.testing.assert_array_equal(batch[0], golden)


def test_training_crops_an_encoded_file():
    encoded = tf.constant(KOALA.read_bytes())
    golden = tf_ops.train_image(encoded, EvalPreprocessing(64), (1, 2))
    np.testing.assert_array_equal(TrainCrop(64)(encoded, seed=(1, 2)), golden)


def test_rejects_unreadable_files(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(KOALA.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"must be a readable .*broken\.jpg"):
        EvalCrop(24)(broken)
    with pytest.raises(ValueError, match="must be a readable .* Received: 3 bytes"):
        EvalCrop(24)(b"abc")
    with pytest.raises(ValueError, match=r"must be a readable .*missing\.png"):
        EvalCrop(24)(tmp_path / "missing.png")


def test_rejects_arrays_that_are_not_rgb():
    with pytest.raises(ValueError, match=r"`images` must be .* shape \(8, 8\)"):
        EvalCrop(4)(np.zeros((8, 8)))


def test_resize_rejects_an_unknown_method():
    with pytest.raises(ValueError, match="antialias. Received: method='nearest'"):
        numpy_ops.resize(np.zeros((8, 8, 3)), 4, "nearest")
