"""TFLite metadata, read by MediaPipe as a real client."""

import io
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.formats import metadata
from export.quantization.tflite_graph import Graph
from export.runtimes import base
from tests.support import artefacts, export_run

FILES = ("float32", "float16", "dynamic", "int8")


def exported(kind):
    export_run.exported()
    path = export_run.run_folder() / "export" / f"model_{kind}.tflite"
    return path.read_bytes()


def pictures():
    images = [export_run.pictures(label, 4, seed=3) for label in export_run.LABELS]
    return np.ascontiguousarray(np.concatenate(images)[:, 4:36, 8:40])


@pytest.mark.parametrize("kind", FILES)
def test_mediapipe_matches_the_plain_runtime(kind, tmp_path):
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    path = tmp_path / "model.tflite"
    path.write_bytes(exported(kind))
    expected = base.TFLiteRunner(path)(pictures().astype(np.float32))
    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(path))
    )
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for pixels, scores in zip(pictures(), expected, strict=True):
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels)
            (found,) = classifier.classify(image).classifications
            by_name = {c.category_name: c.score for c in found.categories}
            assert by_name.keys() == set(export_run.LABELS)
            for label, score in zip(export_run.LABELS, scores, strict=True):
                assert by_name[label] == pytest.approx(score, abs=0.01)
    assert len(set(expected.argmax(axis=1))) > 1


def test_metadata_conforms_to_the_published_schema():
    from mediapipe.tasks.metadata import metadata_schema_py_generated as published

    content = exported("float32")
    model = schema.ModelT.InitFromPackedBuf(content)
    (entry,) = [m for m in model.metadata if m.name == b"TFLITE_METADATA"]
    inner = bytes(model.buffers[entry.buffer].data)
    assert flatbuffers.util.BufferHasIdentifier(inner, 0, b"M001")
    found = published.ModelMetadataT.InitFromPackedBuf(inner)
    assert b"with 4 classes" in found.description
    (graph,) = found.subgraphMetadata
    (image,), (scores,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert image.content.contentProperties.colorSpace == published.ColorSpaceType.RGB
    (unit,) = image.processUnits
    assert (list(unit.options.mean), list(unit.options.std)) == ([0.0], [1.0])
    assert (image.stats.min, image.stats.max) == ([0.0], [255.0])
    (file,) = scores.associatedFiles
    assert file.name == b"labels.txt"
    assert file.type == published.AssociatedFileType.TENSOR_AXIS_LABELS


def test_labels_are_in_a_zip_archive_after_the_model():
    content = exported("int8")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        text = archive.read("labels.txt").decode()
    assert tuple(text.splitlines()) == export_run.LABELS


def test_packing_again_gives_the_same_bytes_and_outputs():
    images = pictures().astype(np.float32)
    plain = Graph(exported("float32"))
    before = plain.pack()
    content = metadata.pack_with_metadata(plain, artefacts.source())
    twin = metadata.pack_with_metadata(Graph(before), artefacts.source())
    assert content == twin
    runs = [base.open_tflite(file, "a test") for file in (before, content)]
    answers = []
    for interpreter in runs:
        (image,) = interpreter.get_input_details()
        (scores,) = interpreter.get_output_details()
        interpreter.set_tensor(image["index"], images[:1])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(scores["index"]))
    np.testing.assert_array_equal(*answers)
