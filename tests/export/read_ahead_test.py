"""Reading of images in threads."""

import numpy as np
import pytest

from export.read_ahead import read_ahead
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.tf_files import read_image
from tests.support import export_run

SPEC = EvalPreprocessing(16)


@pytest.mark.parametrize("repeats", [1, 5])  # without and with compilation
def test_images_and_errors_come_in_order(repeats, tmp_path):
    export_run.write_pictures(tmp_path, 2, seed=3)
    (tmp_path / "broken.png").write_bytes(b"broken")
    paths = sorted(tmp_path.rglob("*.png")) * repeats
    batches = list(read_ahead(paths, SPEC, 3))
    assert all(len(batch) <= 32 for batch in batches)
    found = [pair for batch in batches for pair in batch]
    assert [path for path, _ in found] == paths
    for path, outcome in found:
        if path.name == "broken.png":
            with pytest.raises(ValueError, match=r"Received: .*broken.png"):
                raise outcome
        else:
            np.testing.assert_array_equal(outcome, read_image(path, SPEC))


def test_no_images_give_no_batches():
    assert list(read_ahead([], SPEC, 3)) == []
