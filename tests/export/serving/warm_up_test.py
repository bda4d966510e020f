import numpy as np
import tensorflow as tf
from tensorflow.core.example import example_pb2  # noqa: F401
from tensorflow.core.protobuf import config_pb2, named_tensor_pb2  # noqa: F401

from export.formats import saved_model
from export.runtimes.embedded import EXTRA_ASSETS
from export.serving.warm_up import WARM_UP_FILE, write_warm_up
from tests.export.serving.published_protos import message_class
from tests.support import artefacts


def read_requests(path):
    """Reads a file of warm-up requests with TensorFlow Serving's messages."""
    kind = message_class("tensorflow_serving.binpb", "tensorflow.serving.PredictionLog")
    logs = [kind.FromString(x.numpy()) for x in tf.data.TFRecordDataset(str(path))]
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
    return [log.predict_log.request for log in logs]


def test_request_contains_one_grey_image(tmp_path):
    spec = tf.TensorSpec((None, 300, 200, 3), tf.float32, name="images")
    write_warm_up({"serving_default": spec}, tmp_path / "requests")
    assert (tmp_path / "requests").stat().st_size < 200  # no list of equal pixels
    (request,) = read_requests(tmp_path / "requests")
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.inputs) == ["images"]
    pixels = tf.make_ndarray(request.inputs["images"])
    np.testing.assert_array_equal(pixels, np.full((1, 300, 200, 3), 128, np.float32))


def test_saved_model_answers_every_warm_up_request():
    path, _ = artefacts.written(saved_model.write, "saved_model")
    loaded = tf.saved_model.load(str(path))
    requests = read_requests(path / EXTRA_ASSETS / WARM_UP_FILE)
    names = [request.model_spec.signature_name for request in requests]
    assert sorted(names) == sorted(loaded.signatures)
    for name, request in zip(names, requests, strict=True):
        signature = loaded.signatures[name]
        inputs = {key: tf.make_ndarray(x) for key, x in request.inputs.items()}
        found = signature(**{key: tf.constant(x) for key, x in inputs.items()})
        assert all(len(x) == 1 for x in found.values())
        assert np.all(found.get("valid", True))
