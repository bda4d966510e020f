import gzip

import numpy as np
from PIL import Image

from benchmarks.studies import fashion_folders


def test_writes_labelled_images_by_class_and_the_others_without(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), np.uint8)
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    for name in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = (
                bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            )
            path = tmp_path / f"{name}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(header + array.tobytes(), 1))
    counts = fashion_folders.write(tmp_path, tmp_path / "out")
    found = {
        part: len(list((tmp_path / "out" / part).rglob("*.png"))) for part in counts
    }
    assert found == counts
    with Image.open(tmp_path / "out" / "labelled/validation/7/00507.png") as image:
        np.testing.assert_array_equal(image, images[507])
    with Image.open(tmp_path / "out" / "unlabelled/01000.png") as image:
        np.testing.assert_array_equal(image, images[1000])
