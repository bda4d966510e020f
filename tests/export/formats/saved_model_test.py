import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from export import loading
from export.formats import saved_model
from export.serving import graph_decoding
from keras_efficientnet.preprocessing import EvalPreprocessing, imagenet_classes
from keras_efficientnet.preprocessing.tf_files import read_image
from tests.support import artefacts, encoded_images, export_run, malformed
from tests.support.paths import PHOTOS

HERE = pathlib.Path(__file__).parent
FILES = sorted(PHOTOS.glob("*.jpg"))
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
# Packages that a serving machine does not have cannot be imported. Reads files, each
# after its length; for every 50 of them, prints which are valid and by how many MB the
# process has grown; and the errors of wrong calls. Then writes the results of every
# signature.
SERVER = """
import json, resource, struct, sys
sys.modules.update(dict.fromkeys(["keras", "keras_efficientnet", "export", "PIL"]))
import numpy as np
import tensorflow as tf

def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000

def read():
    while head := sys.stdin.buffer.read(4):
        yield sys.stdin.buffer.read(struct.unpack("<I", head)[0])

run = tf.saved_model.load(sys.argv[1]).signatures
classify = run["classify"]
files = list(read())
classify(encoded=tf.constant(files[:1]))
before = memory()
valid, growth, errors = [], [], []
for start in range(0, len(files), 50):
    batch = tf.constant(files[start : start + 50])
    valid.append(classify(encoded=batch)["valid"].numpy().tolist())
    growth.append(memory() - before)
for wrong in (tf.constant([files[:1]]), tf.constant(b""), tf.zeros((2,))):
    try:
        classify(encoded=wrong)
    except (tf.errors.OpError, TypeError, ValueError) as error:
        errors.append(type(error).__name__)

images = np.load(sys.argv[2])
floats = run["serving_default"](images=tf.constant(images, tf.float32))
integers = run["serving_uint8"](images=tf.constant(images))
features = run["features"](images=tf.constant(images, tf.float32))
files = [tf.io.read_file(path) for path in sys.argv[4:]]
found = classify(encoded=tf.stack(files))
found = {key: value.numpy() for key, value in found.items()}
found["labels"] = found["labels"].astype("S")
np.savez(
    sys.argv[3], floats=floats["probabilities"], integers=integers["probabilities"],
    features=features["features"], **found,
)
print(json.dumps({"valid": valid, "growth": growth, "errors": errors}))
"""


def artefact():
    path, _ = artefacts.written(saved_model.write, "saved_model")
    return path


@functools.cache
def signatures():
    loaded = tf.saved_model.load(str(artefact()))
    return loaded, loaded.signatures


def keras_scores(paths, model, spec):
    pixels = np.stack([read_image(path, spec) for path in paths])
    return model.predict_on_batch(pixels)


@functools.cache
def served():
    """Serves decompression bombs, 200 malformed files and photos in another process.

    Returns the report on the files, and the results of every signature.
    """
    good = FILES[0].read_bytes()
    bombs = [good, malformed.bomb(), malformed.animation(), good]
    assert max(map(len, bombs)) < 1_000_000
    files = [*bombs, *[b""] * 46, *malformed.malformed_files(200), good]
    stream = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    folder = artefact().parent
    np.save(folder / "images.npy", PIXELS)
    paths = [artefact(), folder / "images.npy", folder / "found.npz", *FILES[:3]]
    command = [sys.executable, "-c", SERVER, *map(str, paths)]
    done = subprocess.run(command, input=stream, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:].decode(errors="replace")
    with np.load(folder / "found.npz") as found:
        return json.loads(done.stdout), dict(found)


def test_plain_tensorflow_runs_every_signature():
    _, found = served()
    model = export_run.fitted_network()
    floats = PIXELS.astype(np.float32)
    wanted = model.predict_on_batch(floats)
    np.testing.assert_allclose(found["floats"], wanted, atol=1e-5)
    np.testing.assert_allclose(found["integers"], wanted, atol=1e-5)
    pooled = keras_efficientnet.feature_extractor(model).predict_on_batch(floats)
    assert pooled.shape[0] == 5
    np.testing.assert_allclose(found["features"], pooled, rtol=1e-4, atol=1e-4)
    first = keras_scores(FILES[:3], model, artefacts.SPEC).argmax(axis=1)
    names = [export_run.LABELS[i].encode() for i in first]
    assert found["labels"][:, 0].tolist() == names
    assert found["valid"].all()


def check_classify(run, labels, model, spec):
    """Compares all ranks of `classify` on the photos with Keras."""
    files = [path.read_bytes() for path in FILES]
    found = run(encoded=tf.constant(files))
    scores = keras_scores(FILES, model, spec)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : saved_model.TOP]
    sorted_scores = np.take_along_axis(scores, order, axis=1)
    np.testing.assert_allclose(found["scores"], sorted_scores, atol=1e-5)
    np.testing.assert_array_equal(found["classes"][:, 0], order[:, 0])
    # Equal scores may come in any order, but each has its class and label.
    classes = found["classes"].numpy()
    np.testing.assert_allclose(
        np.take_along_axis(scores, classes, axis=1), found["scores"], atol=1e-5
    )
    names = np.array([label.encode() for label in labels], object)
    np.testing.assert_array_equal(found["labels"].numpy(), names[classes])
    assert found["valid"].numpy().all()


def test_classify_matches_keras_on_photos():
    _, run = signatures()
    assert len(FILES) > saved_model.CHUNK  # more than one chunk
    check_classify(
        run["classify"],
        export_run.LABELS,
        export_run.fitted_network(),
        artefacts.SPEC,
    )


def test_an_invalid_file_does_not_affect_the_others():
    _, run = signatures()
    good = FILES[0].read_bytes()
    files = [b"", *[good] * 9, good[:1000], b"no image"]
    found = {k: v.numpy() for k, v in run["classify"](encoded=files).items()}
    assert found["valid"].tolist() == [False] + [True] * 9 + [False] * 2
    bad = ~found["valid"]
    assert (found["classes"][bad] == -1).all()
    assert (found["scores"][bad] == 0).all()
    assert (found["labels"][bad] == b"").all()
    assert len({tuple(row) for row in found["classes"][~bad]}) == 1
    assert (found["scores"][~bad].sum(axis=1) > 0.99).all()  # all four classes


def test_an_empty_batch_gives_no_rows():
    _, run = signatures()
    found = run["classify"](encoded=tf.constant([], tf.string))
    assert found["scores"].shape == found["labels"].shape == (0, 4)
    assert found["valid"].shape == (0,)


def test_survives_malformed_files():
    report, _ = served()
    valid = [found for batch in report["valid"][1:] for found in batch]
    assert len(valid) == 201
    assert valid[-1]  # the good one
    # Some stay valid: a few changed bytes give another image, not a broken file.
    assert 2 < sum(valid) < 80
    assert len(report["errors"]) == 3  # wrong rank, no rank, wrong type
    assert report["growth"][-1] < 400


def test_huge_images_allocate_no_memory():
    """Decoded, the PNG would take 2.7 GB, and all of the animation 800 MB."""
    report, _ = served()
    assert report["valid"][0] == [True, False, True, True] + [False] * 46
    assert report["growth"][0] < 150


def test_c_program_classifies(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program, libraries = tmp_path / "classify", pathlib.Path(tf.sysconfig.get_lib())
    if not (libraries / "libtensorflow_cc.so.2").exists():
        pytest.skip("this TensorFlow has no libtensorflow_cc.so.2")
    command = [compiler, "-Wall", "-Werror", str(HERE / "classify.c"), "-o", program]
    command += ["-I", tf.sysconfig.get_include(), "-L", libraries]
    command += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    command += [f"-Wl,-rpath,{libraries}"]
    if shutil.which("ld.gold"):  # the usual linker takes seconds for these libraries
        command += ["-fuse-ld=gold"]
    subprocess.run(command, check=True)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    files = [FILES[0], tmp_path / "bad.jpg", FILES[1]]
    done = subprocess.run(
        [program, artefact(), *tensor_names(), *files],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [valid for valid, _, _ in lines] == ["1", "0", "1"]
    scores = keras_scores(
        [FILES[0], FILES[1]], export_run.fitted_network(), artefacts.SPEC
    )
    names = [export_run.LABELS[i] for i in scores.argmax(axis=1)]
    assert [name for _, _, name in lines] == [names[0], "", names[1]]
    found = [float(score) for _, score, _ in lines]
    np.testing.assert_allclose(found, [scores[0].max(), 0, scores[1].max()], atol=1e-5)


def meta_graph():
    from tensorflow.core.protobuf import saved_model_pb2

    content = (artefact() / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    return graph


def tensor_names():
    """Returns the names in the graph that the C program needs."""
    signature = meta_graph().signature_def["classify"]
    outputs = [signature.outputs[key].name for key in ("labels", "scores", "valid")]
    return [signature.inputs["encoded"].name, *outputs]


def test_graph_has_no_python():
    content = (artefact() / "saved_model.pb").read_bytes()
    assert b"DecodeWebP" in content
    assert b"PyFunc" not in content


def test_every_weight_of_a_large_network_is_saved_once(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "MAX_CONSTANTS", 0)
    monkeypatch.setattr(saved_model, "_classify", lambda *_: {})  # quicker to trace
    saved_model.write(artefacts.source(), tmp_path)
    saved = tf.train.list_variables(str(tmp_path / "variables" / "variables"))
    shapes = sorted(tuple(shape) for name, shape in saved if name[0] != "_")
    kernels = [
        tuple(layer.kernel.shape)
        for layer in export_run.fitted_network().layers
        if hasattr(layer, "kernel")
    ]
    assert sorted(shape for shape in shapes if len(shape) > 1) == sorted(kernels)
    # One bias each, and nothing else: normalisation is folded.
    assert len(shapes) == 2 * len(kernels)


def test_file_contains_the_weights_of_a_small_network_once():
    constants = [
        tuple(dim.size for dim in node.attr["value"].tensor.tensor_shape.dim)
        for function in meta_graph().graph_def.library.function
        for node in function.node_def
        if node.op == "Const"
    ]
    kernels = [
        tuple(layer.kernel.shape)
        for layer in export_run.fitted_network().layers
        if "Conv2D" in type(layer).__name__
    ]
    assert sorted(x for x in constants if len(x) == 4) == sorted(kernels)


def test_remark_names_the_signatures():
    _, remarks = artefacts.written(saved_model.write, "saved_model")
    assert remarks == (
        "Signatures: serving_default, serving_uint8, classify, features. Images of "
        "over 50 megapixels are refused.",
    )
    assert graph_decoding.MAX_PIXELS == 50_000_000


def test_version_gets_a_folder_that_runners_open(tmp_path):
    inputs = keras.Input((16, 16, 4))
    x = keras.layers.GlobalMaxPooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(x))
    source = export_run.source(model)
    for version in (9, 10):
        versioned = dataclasses.replace(source, saved_model_version=version)
        saved_model.write(versioned, tmp_path)
    assert (tmp_path / "9" / "saved_model.pb").is_file()
    shutil.rmtree(tmp_path / "9" / "variables")  # it must not be opened
    loaded = loading.load(tmp_path)
    assert loaded.labels == source.labels
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 4)).astype("f4")
    np.testing.assert_allclose(
        loaded.classify(images), model.predict_on_batch(images), atol=1e-6
    )


def test_foreign_network_has_no_features():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalMaxPooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(x))
    network = saved_model._network(model, "probabilities")
    found = saved_model._signatures(export_run.source(model), network)
    assert sorted(found) == ["classify", "serving_default", "serving_uint8"]
    files = [encoded_images.encode(encoded_images.smooth(), "PNG")]
    assert found["classify"](tf.constant(files))["classes"].shape == (1, 5)


@pytest.mark.slow
def test_real_weights_classify_the_photos(tmp_path):
    model = keras_efficientnet.EfficientNetLite0(weights="imagenet")
    spec = EvalPreprocessing(224)
    source = export_run.ExportInputs(
        model, 224, tuple(n for _, n in imagenet_classes()), spec
    )
    saved_model.write(source, tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    check_classify(loaded.signatures["classify"], source.labels, model, spec)
