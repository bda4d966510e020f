import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.serving import graph_decoding, image_headers
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops
from tests.support import encoded_images, malformed
from tests.support.paths import PHOTOS

SPEC = EvalPreprocessing(64)
# Files that are read differently from Pillow: refused, or not rotated.
OTHER = {"black and white bmp", "turned png", "turned webp"}


def in_graph(function):
    spec = tf.TensorSpec((), tf.string)
    return tf.function(function, input_signature=[spec], autograph=False)


read_images = tf.function(
    lambda files: graph_decoding.read_images(files, SPEC),
    input_signature=[tf.TensorSpec((None,), tf.string)],
    autograph=False,
)
decode = in_graph(graph_decoding.decode_image)
orientation = in_graph(image_headers.jpeg_orientation)
webp_picture = in_graph(image_headers.webp_picture)


def jpeg_with_exif(entries, order="<", magic=None):
    """Returns a JPEG with Exif entries (tag, type, count, value bytes)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") if magic is None else magic
    tiff = head + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        tiff += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
    segment = b"Exif\0\0" + tiff + b"\0\0\0\0"
    plain = encoded_images.encode(encoded_images.smooth(), "JPEG")
    return (
        plain[:2]
        + b"\xff\xe1"
        + struct.pack(">H", len(segment) + 2)
        + segment
        + plain[2:]
    )


@pytest.mark.parametrize("name", sorted(encoded_images.LOSSLESS.keys() - OTHER))
def test_lossless_files_are_read_as_by_pillow(name):
    encoded = encoded_images.LOSSLESS[name]()
    np.testing.assert_array_equal(decode(encoded), encoded_images.by_pillow(encoded))


def test_photos_are_read_as_by_evaluation():
    files = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    assert len(files) > 10
    images, valid = read_images(files)
    assert valid.numpy().all()
    wanted = [tf_ops.eval_image(tf.constant(file), SPEC) for file in files]
    np.testing.assert_array_equal(images, wanted)


@pytest.mark.parametrize("turn", range(1, 9))
def test_jpegs_are_rotated_as_by_pillow(turn):
    encoded = encoded_images.turned("JPEG", turn)
    assert orientation(encoded).numpy() == turn
    decoded = decode(encoded).numpy().astype(int)
    difference = decoded - encoded_images.by_pillow(encoded)
    assert np.abs(difference).max() <= encoded_images.JPEG_TOLERANCE


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_either_byte_order(order):
    other = (0x010F, 2, 4, b"Cam\0")
    encoded = jpeg_with_exif(
        [other, (0x0112, 3, 1, struct.pack(order + "H", 8))], order
    )
    assert Image.open(io.BytesIO(encoded)).getexif()[0x0112] == 8
    assert orientation(encoded).numpy() == 8


@pytest.mark.parametrize(
    "encoded",
    [
        jpeg_with_exif([]),
        jpeg_with_exif([(0x0112, 3, 1, b"\x09\0")]),
        jpeg_with_exif([(0x0112, 3, 1, b"\x06\0")], magic=b""),
        jpeg_with_exif([(0x0112, 3, 1, b"\x06\0")], magic=b"II*\0\xff\xff\xff\xff"),
    ],
    ids=["empty", "no orientation", "cut off", "far away"],
)
def test_damaged_exif_data_do_not_rotate_the_image(encoded):
    assert orientation(encoded).numpy() == 1
    assert decode(encoded).shape == (40, 60, 3)


def test_only_a_still_frame_of_an_animated_webp_reaches_the_decoder():
    encoded = encoded_images.animated("WEBP", lossless=True)
    assert Image.open(io.BytesIO(encoded)).n_frames == 2
    still = webp_picture(encoded).numpy()
    picture = Image.open(io.BytesIO(still))
    assert (picture.format, picture.n_frames) == ("WEBP", 1)
    np.testing.assert_array_equal(picture.convert("RGB"), encoded_images.RGB)


def test_first_frame_of_a_gif_is_extracted():
    encoded = encoded_images.animated("GIF")
    still = in_graph(image_headers.gif_picture)(encoded).numpy()
    picture = Image.open(io.BytesIO(still))
    assert (picture.format, picture.n_frames) == ("GIF", 1)
    np.testing.assert_array_equal(
        picture.convert("RGB"), encoded_images.by_pillow(encoded)
    )


def test_rejects_one_pixel_too_many(monkeypatch):
    monkeypatch.setattr(graph_decoding, "MAX_PIXELS", 60 * 40)
    small = in_graph(graph_decoding.decode_image)
    for name, options in KINDS:
        for size in ((60, 40), (48, 50)):
            encoded = encoded_images.encode(Image.new("RGB", size), name, **options)
            assert small(encoded).shape == (*size[::-1], 3)
        for size in ((60, 41), (61, 40)):
            encoded = encoded_images.encode(Image.new("RGB", size), name, **options)
            with pytest.raises(tf.errors.InvalidArgumentError, match="Assert"):
                small(encoded)


KINDS = [(name, {}) for name in ("PNG", "BMP", "GIF", "JPEG", "WEBP")]
KINDS += [("WEBP", {"lossless": True})]


def test_invalid_files_do_not_affect_the_others():
    good = encoded_images.encode(encoded_images.smooth(), "PNG")
    cut = [b"", b"no image", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF", good[:50]]
    other = [b"II*\0", malformed.bomb(9000)]
    images, valid = read_images([*cut, good, *other, good])
    assert valid.numpy().tolist() == [False] * 7 + [True] + [False] * 2 + [True]
    wanted = tf_ops.eval_image(np.asarray(encoded_images.smooth()), SPEC)
    np.testing.assert_array_equal(images[7], wanted)
    np.testing.assert_array_equal(images[7], images[10])
    assert not images.numpy()[~valid.numpy()].any()


def test_all_files_may_be_invalid():
    images, valid = read_images([b"", b""])
    assert images.shape == (2, 64, 64, 3)
    assert not valid.numpy().any()
