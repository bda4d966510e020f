"""The Python example of docs/deploy.md answers as `export.predict` does."""

import re

import numpy as np
import pytest
from PIL import Image

from export import loading, predict
from keras_efficientnet.common.image_folders import list_images
from keras_efficientnet.preprocessing import eval_crop
from tests.support import export_run
from tests.support.paths import ROOT


def example(file):
    """Returns the page's `classify`, for another TFLite file."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    (block,) = [
        block
        for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
        if "def classify" in block
    ]
    code = block.partition("\n\n\nfor ")[0].replace("model_float32.tflite", file)
    assert file in code
    names = {}
    exec(compile(code, "docs/deploy.md", "exec"), names)
    return names["classify"]


@pytest.mark.parametrize(
    "file", ["model_float32.tflite", "model_int8.tflite", "model_int16x8.tflite"]
)
def test_the_python_example_answers_as_predict_does(file, tmp_path, monkeypatch):
    export_run.exported()
    run = export_run.run_folder()
    (tmp_path / "exported").symlink_to(run / "export")
    monkeypatch.chdir(tmp_path)
    classify = example(file)
    images = list_images(run / "samples" / "verification")
    boxes = []
    crop = Image.Image.crop

    def record(photo, box):
        boxes.append((photo.size, box))
        return crop(photo, box)

    monkeypatch.setattr(Image.Image, "crop", record)
    loaded = loading.load(run / "export" / file)
    found = [classify(image, top=4) for image in images]
    monkeypatch.undo()
    for (width, height), box in boxes:
        top, left, rows, columns = eval_crop(height, width, loaded.preprocessing)
        assert box == (left, top, left + columns, top + rows)
    assert len(boxes) == len(images)
    wanted = list(predict.predict(loaded, images, top=4))
    same = [f[0][0] == w.labels[0] for f, w in zip(found, wanted, strict=True)]
    # Pillow's resizing is not evaluation's, so images between two classes may differ.
    assert np.mean(same) > 0.9
    for answers, prediction in zip(found, wanted, strict=True):
        chances = dict(zip(prediction.labels, prediction.probabilities, strict=True))
        for label, probability in answers:
            assert probability == pytest.approx(chances.get(label, 0), abs=0.25)
