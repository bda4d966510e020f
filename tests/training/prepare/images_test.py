"""Golden for conversions: the functions of tensorflow/tpu's ImageCoder."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.training.prepare.conftest import encode
from training.prepare.images import Conversion, ImageEntry, convert, make_record

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), "uint8"))


def convert_as_the_original(encoded, decode):
    """`ImageCoder.cmyk_to_rgb` and `png_to_jpeg`."""
    pixels = decode(encoded, channels=0 if decode is tf.io.decode_jpeg else 3)
    return tf.io.encode_jpeg(pixels, format="rgb", quality=100).numpy()


def test_cmyk_becomes_rgb_as_in_the_original():
    cmyk = encode(NOISE.convert("CMYK"))
    found, kind, size = convert(cmyk, "n02077384_525.JPEG", Conversion())
    assert found == convert_as_the_original(cmyk, tf.io.decode_jpeg)
    assert (kind, size) == ("JPEG", (40, 60))


def test_png_in_a_jpeg_file_becomes_jpeg_as_in_the_original():
    png = encode(NOISE, "PNG")
    found, kind, _ = convert(png, "n02105855_2933.JPEG", Conversion())
    assert found == convert_as_the_original(png, tf.io.decode_png)
    assert kind == "JPEG"


@pytest.mark.parametrize(
    ("name", "form", "mode"),
    [
        ("a.JPEG", "JPEG", "RGB"),
        ("a.jpg", "JPEG", "L"),
        ("a.png", "PNG", "RGB"),
        ("a.webp", "WEBP", "RGB"),
    ],
)
def test_other_images_keep_their_bytes(name, form, mode):
    encoded = encode(NOISE.convert(mode), form)
    assert convert(encoded, name, Conversion()) == (encoded, form, (40, 60))


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 40), (30, 20)), ((40, 81), (20, 40)), ((20, 90), None)]
)
def test_resizes_the_shorter_side(size, expected):
    encoded = encode(NOISE.resize(size), "PNG")
    found, kind, shape = convert(encoded, "a.png", Conversion(resize=20, quality=90))
    image = Image.open(io.BytesIO(found))
    assert image.size == (expected or size) == shape[::-1]
    assert image.format == kind == ("JPEG" if expected else "PNG")


def test_resized_images_look_the_same():
    grey = Image.linear_gradient("L").convert("RGB")
    found, *_ = convert(encode(grey), "a.jpg", Conversion(resize=64, quality=95))
    expected = np.asarray(grey.resize((64, 64), Image.Resampling.BOX), int)
    assert np.abs(np.asarray(Image.open(io.BytesIO(found)), int) - expected).max() <= 4


def test_lower_quality_makes_smaller_files():
    encoded = encode(NOISE)
    sizes = [len(convert(encoded, "a.jpg", Conversion(20, q))[0]) for q in (50, 95)]
    assert sizes[0] < sizes[1]


def test_records_have_the_features_of_the_original(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(NOISE))
    entry = ImageEntry("cat/a.jpg", 4, str(tmp_path / "a.jpg"))
    found = tf.train.Example.FromString(make_record(entry, "cat", Conversion()))
    values = {
        name: list(feature.bytes_list.value or feature.int64_list.value)
        for name, feature in found.features.feature.items()
    }
    assert values == {
        "image/height": [40],
        "image/width": [60],
        "image/colorspace": [b"RGB"],
        "image/channels": [3],
        "image/class/label": [5],
        "image/class/synset": [b"cat"],
        "image/format": [b"JPEG"],
        "image/filename": [b"cat/a.jpg"],
        "image/encoded": [(tmp_path / "a.jpg").read_bytes()],
    }


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_error_names_a_damaged_image(tmp_path, keep):
    encoded = encode(NOISE)
    size = keep if isinstance(keep, int) else int(keep * len(encoded))
    (tmp_path / "a.jpg").write_bytes(encoded[:size])
    entry = ImageEntry("cat/a.jpg", 0, str(tmp_path / "a.jpg"))
    with pytest.raises(ValueError, match="^cat/a.jpg: ") as caught:
        make_record(entry, "cat", Conversion())
    assert "\n" not in str(caught.value)
