import os

import numpy as np
import pytest
from PIL import Image

from keras_efficientnet.preprocessing import EvalPreprocessing, tf_files, tf_ops
from tests.support.image_files import write_image

SPEC = EvalPreprocessing(32, 0.8)


def test_reads_images_as_evaluation_does(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    wanted = tf_ops.eval_image(pixels, SPEC).numpy()
    found = tf_files.read_image(tmp_path / "1.png", SPEC)
    np.testing.assert_array_equal(found, wanted)


def test_batches_contain_every_image_once(tmp_path):
    paths = [tmp_path / f"{i:02}.png" for i in range(tf_files.BATCH_SIZE + 3)]
    for i, path in enumerate(paths):
        write_image(path, value=i)
    batches = list(tf_files.read_batches(paths, SPEC))
    assert [len(batch) for batch in batches] == [tf_files.BATCH_SIZE, 3]
    reds = np.concatenate(batches)[:, 16, 16, 0]
    np.testing.assert_allclose(reds, np.arange(len(paths)), atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n truncated"])
def test_error_names_the_unreadable_file(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"readable JPEG.* Received: .*bad.png"):
        tf_files.read_image(tmp_path / "bad.png", SPEC)


def test_rejects_pipes_devices_and_folders_without_opening_them(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(ValueError, match="must be a regular file"):
            tf_files.read_image(path, SPEC)
    with pytest.raises(ValueError, match="must be a regular file"):
        tf_files.read_image(tmp_path, SPEC)


def test_file_names_need_not_be_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    write_image(path)
    assert tf_files.read_image(path, SPEC).shape == (32, 32, 3)
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"Received: .*caf\\udce9.png"):
        tf_files.read_image(path, SPEC)
