import io
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientnet.preprocessing import EvalPreprocessing, tf_decoding, tf_ops
from tests.support.encoded_images import (
    JPEG_TOLERANCE,
    LOSSLESS,
    NOISE,
    PHOTO,
    RGB,
    TIFF,
    by_pillow,
    encode,
    smooth,
    turned,
)


def decode(encoded):
    """Decodes eagerly and in tf.data, and checks that both agree."""
    eager = tf_decoding.decode_image(tf.constant(encoded)).numpy()
    (piped,) = tf.data.Dataset.from_tensors(encoded).map(tf_decoding.decode_image)
    np.testing.assert_array_equal(eager, piped)
    return eager


@pytest.mark.parametrize("name", [*LOSSLESS, *TIFF])
def test_decodes_lossless_files_like_pillow(name):
    encoded = {**LOSSLESS, **TIFF}[name]()
    np.testing.assert_array_equal(decode(encoded), by_pillow(encoded))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_decodes_jpeg_like_pillow(mode, progressive):
    """Pillow writes CMYK with inverted values, like Adobe."""
    encoded = encode(smooth(mode), "JPEG", progressive=progressive)
    difference = decode(encoded).astype(int) - by_pillow(encoded)
    assert np.abs(difference).max() <= (12 if mode == "CMYK" else JPEG_TOLERANCE)
    assert np.abs(difference).mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_applies_the_exif_orientation(orientation):
    encoded = turned("JPEG", orientation)
    assert Image.open(io.BytesIO(encoded)).size == (60, 40)
    decoded = decode(encoded)
    assert decoded.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    difference = decoded.astype(int) - by_pillow(encoded)
    assert np.abs(difference).max() <= JPEG_TOLERANCE
    assert tf_decoding.is_plain_jpeg(encoded).numpy() == (orientation == 1)


@pytest.mark.parametrize("turn", [{}, {"exif": Image.Exif()}])
def test_16_bit_images_keep_the_upper_8_bits(turn):
    if turn:
        turn["exif"][0x0112] = 6
    wide = NOISE[..., 0].astype(np.uint16) * 256 + NOISE[..., 1]
    decoded = decode(encode(Image.fromarray(wide), "PNG", **turn))
    upper = np.rot90(NOISE[..., 0], -1) if turn else NOISE[..., 0]
    np.testing.assert_array_equal(decoded, np.repeat(upper[..., None], 3, axis=2))


def test_decodes_lossy_webp_like_pillow():
    encoded = encode(smooth(), "WEBP", quality=90)
    np.testing.assert_array_equal(decode(encoded), by_pillow(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"no image",
        b"\xff\xd8\xff",
        b"BM",
        b"RIFF1234WEBP",
        b"\x89PNG eXIf",
        b"II*",
    ],
)
def test_rejects_other_files(encoded):
    with pytest.raises(tf.errors.OpError):
        tf_decoding.decode_image(tf.constant(encoded))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP"])
def test_rejects_truncated_files(form):
    encoded = encode(smooth(), form)
    with pytest.raises(tf.errors.OpError):
        tf_decoding.decode_image(tf.constant(encoded[: len(encoded) // 2]))


@pytest.mark.parametrize("lost", [1, 2, 3, 50, 500])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"orientation": 6}])
def test_rejects_truncated_jpegs_whatever_crop_is_read(lost, options):
    """Otherwise a random crop could fail in a later epoch of a run."""
    if "orientation" in options:
        encoded = turned("JPEG", 6)
    else:
        encoded = encode(smooth(), "JPEG", **options)
    short = tf.constant(encoded[:-lost])
    with pytest.raises(tf.errors.OpError):
        tf_decoding.decode_image(short)
    with pytest.raises(tf.errors.OpError):
        tf_ops.eval_image(short, EvalPreprocessing(8, crop_ratio=0.2))
    for seed in range(5):
        with pytest.raises(tf.errors.OpError):
            tf_ops.train_image(short, EvalPreprocessing(8), tf.constant([seed, 0]))


@pytest.mark.parametrize("tail", [b"\0" * 512, b"\xff\xd8 a second picture"])
def test_ignores_trailing_data_of_a_jpeg(tail):
    encoded = encode(smooth(), "JPEG")
    spec = EvalPreprocessing(8)
    np.testing.assert_array_equal(decode(encoded + tail), decode(encoded))
    np.testing.assert_array_equal(
        tf_ops.eval_image(encoded + tail, spec), tf_ops.eval_image(encoded, spec)
    )


def test_decodes_avif_like_pillow():
    encoded = encode(smooth(), "AVIF", quality=90)
    np.testing.assert_array_equal(decode(encoded), by_pillow(encoded))


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff_keeps_the_upper_8_bits(order):
    wide = NOISE[..., 0].astype(np.uint16) * 256 + NOISE[..., 1]
    decoded = decode(encode(Image.fromarray(wide.astype(f"{order}u2")), "TIFF"))
    np.testing.assert_array_equal(decoded, np.repeat(NOISE[..., :1], 3, axis=2))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_rejects_32_bit_tiff(dtype):
    """Pillow would clip the values to 0 to 255."""
    encoded = encode(Image.fromarray(NOISE[..., 0].astype(dtype) * 1000), "TIFF")
    with pytest.raises(tf.errors.OpError, match="8 or 16 bits per channel, not 32"):
        tf_decoding.decode_image(tf.constant(encoded))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_partial_decoding_of_plain_jpegs_is_exact(mode):
    encoded = encode(smooth(mode), "JPEG")
    assert tf_decoding.is_plain_jpeg(encoded)
    part = tf.io.decode_and_crop_jpeg(encoded, [8, 5, 20, 30], channels=3)
    np.testing.assert_array_equal(part, decode(encoded)[8:28, 5:35])


def test_other_files_are_not_plain_jpegs():
    assert not tf_decoding.is_plain_jpeg(encode(RGB, "PNG"))
    assert not tf_decoding.is_plain_jpeg(b"")


@pytest.mark.slow
def test_detection_of_unusual_files_is_cheap():
    """Compared with decoding the same 500 x 375 JPEG; measured 3% to 6%."""
    image = Image.open(PHOTO).convert("RGB").resize((500, 375))
    encoded = encode(image, "JPEG", quality=95)

    def seconds(function):
        files = tf.data.Dataset.from_tensors(encoded).repeat(150).map(function)
        best = []
        for _ in range(3):
            started = time.perf_counter()
            for _ in files:
                pass
            best.append(time.perf_counter() - started)
        return min(best)

    plain = seconds(lambda file: tf.io.decode_jpeg(file, channels=3))
    assert seconds(tf_decoding.decode_image) < 1.4 * plain
