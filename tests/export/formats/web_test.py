"""Web page: its folder, and its scripts run in Node."""

import contextlib
import dataclasses
import functools
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from export.formats import npm, web
from export.runtimes.web import WebRunner
from keras_efficientnet import EfficientNet, Stage
from keras_efficientnet.preprocessing import (
    CROP_MODES,
    RESIZE_METHODS,
    EvalPreprocessing,
    tf_ops,
)
from tests.support import export_run
from tests.support.npm_packages import fake_litert

HERE = Path(__file__).parent


def network(pooling, activation="softmax"):
    """Returns a small network of 8 pixels and three classes."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(5, 3, activation="relu")(inputs / 255)
    outputs = keras.layers.Dense(3, activation=activation, name="top")(
        pooling(features)
    )
    return keras.Model(inputs, outputs, name="efficientnetb0")


@functools.cache
def average():
    """Returns the network that has class activation maps."""
    return network(keras.layers.GlobalAveragePooling2D())


IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)


@contextlib.contextmanager
def fake_packages(folder):
    """Fake packages in the layout of LiteRT.js, inside a block."""
    with pytest.MonkeyPatch.context() as patch:
        fake_litert(folder, patch)
        yield


@pytest.fixture
def fake_runtime(tmp_path):
    with fake_packages(tmp_path):
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder of the network with class activation maps, and its remarks."""
    folder = tmp_path_factory.mktemp("page")
    with fake_packages(folder):
        remarks = web.write(export_run.source(average()), folder / "web")
    return folder / "web", remarks


def test_the_folder_has_the_page_the_runtime_and_the_model(page):
    folder, (remark,) = page
    assert re.fullmatch(
        r"A browser downloads \d.\d MB of it; the network is 0.0 MB.", remark
    )
    files = {str(p.relative_to(folder)) for p in folder.glob("**/*.*")}
    runtime = {f"litert/{name}" for name in web._BUILDS}
    runtime |= {"litert/core.js", "litert/wasm-utils.js", "litert/NOTICE.txt"}
    assert (
        files == {*web.PAGE_FILES, "model.tflite", "model.json", web.MANIFEST} | runtime
    )
    core = (folder / "litert" / "core.js").read_text()
    assert core == 'import {x} from "./wasm-utils.js";\n'


def test_the_page_knows_the_model(page):
    folder, _ = page
    content = (folder / "model.tflite").read_bytes()
    spec = json.loads((folder / "model.json").read_text())
    maps = spec.pop("maps")
    assert spec == {
        "name": "EfficientNetB0",
        "model": "model.tflite",
        "model_bytes": len(content),
        "image_size": 8,
        "crop_ratio": 1.0,
        "interpolation": "bilinear",
        "crop_mode": "center",
        "output_activation": "softmax",
        "labels": ["0", "1", "2"],
    }
    kernel = average().get_layer("top").kernel.numpy()
    assert maps["channels"] == len(kernel)
    found = np.frombuffer(content, np.float16, kernel.size, maps["offset"])
    np.testing.assert_array_equal(found.reshape(3, -1), kernel.T.astype(np.float16))


def test_the_page_knows_the_thresholds_of_a_multi_label_model(tmp_path, fake_runtime):
    model = network(keras.layers.GlobalAveragePooling2D(), activation="sigmoid")
    source = dataclasses.replace(export_run.source(model), thresholds=(0.5, 0.25, 1.0))
    web.write(source, tmp_path / "web")
    spec = json.loads((tmp_path / "web" / "model.json").read_text())
    assert spec["thresholds"] == [0.5, 0.25, 1.0]
    assert spec["output_activation"] == "sigmoid"
    assert spec["maps"]
    assert WebRunner(tmp_path / "web").embedded.thresholds == (0.5, 0.25, 1.0)


def test_the_title_is_that_of_the_page_and_the_installed_app(tmp_path, fake_runtime):
    title = 'Birds & "bees" <1>'
    source = dataclasses.replace(export_run.source(average()), title=title)
    web.write(source, tmp_path / "web")
    page = (tmp_path / "web" / "index.html").read_text()
    escaped = "Birds &amp; &quot;bees&quot; &lt;1&gt;"
    assert f"<title>{escaped}</title>" in page
    assert f'<h1 id="title">{escaped}</h1>' in page
    manifest = json.loads((tmp_path / "web" / web.MANIFEST).read_text())
    assert manifest["name"] == title
    assert json.loads((tmp_path / "web" / "model.json").read_text())["name"] == (
        "EfficientNetB0"
    )


def test_the_title_is_the_models_name_by_default(page):
    folder, _ = page
    assert "<title>EfficientNetB0</title>" in (folder / "index.html").read_text()


def test_the_page_network_matches_keras(page):
    folder, _ = page
    found = WebRunner(folder)(IMAGES)
    np.testing.assert_allclose(found, average().predict(IMAGES, verbose=0), atol=1e-3)


def test_swish_and_squeeze_excite_keep_their_class_maps(tmp_path, fake_runtime):
    stages = [Stage(repeats=1, kernel=3, stride=2, expand=4, filters=16)]
    model = EfficientNet(0.5, 1.0, 16, stages=stages, head_filters=64, classes=4)
    web.write(export_run.source(model), tmp_path / "web")
    assert json.loads((tmp_path / "web" / "model.json").read_text())["maps"]
    images = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    found = WebRunner(tmp_path / "web")(images)
    np.testing.assert_allclose(found, model.predict(images, verbose=0), atol=5e-3)


def test_a_network_with_another_head_has_no_class_maps(tmp_path, fake_runtime):
    model = network(keras.layers.GlobalMaxPooling2D())
    web.write(export_run.source(model), tmp_path / "web")
    assert json.loads((tmp_path / "web" / "model.json").read_text())["maps"] is None
    found = WebRunner(tmp_path / "web")(IMAGES)
    np.testing.assert_allclose(found, model.predict(IMAGES, verbose=0), atol=1e-3)


def test_a_missing_runtime_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(npm.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=web.CORE.tarball):
        web.write(export_run.source(average()), tmp_path / "web")
    assert not (tmp_path / "web").exists()


def test_a_network_that_tflite_cannot_run_leaves_no_folder(tmp_path, fake_runtime):
    inputs = keras.Input((8, 8, 3))
    strange = keras.ops.erfinv(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(strange))
    with pytest.raises(ValueError, match="only operations that are builtin in TFLite"):
        web.write(export_run.source(model), tmp_path / "web")
    assert not (tmp_path / "web").exists()


def test_rejects_a_runtime_without_the_expected_import():
    with pytest.raises(ValueError, match="must import '@litertjs/wasm-utils' once"):
        web._import_by_path(b"import x from './x.js'")


def test_the_page_names_only_its_own_files():
    """The page has no addresses of other servers, and its own files exist."""
    for name in web.PAGE_FILES:
        text = web._page_file(name).decode()
        addresses = set(re.findall(r"https?:[^\"\s]*", text))
        if name == "icon.svg":
            addresses.remove("http://www.w3.org/2000/svg")
        assert not addresses or name == "LICENSE.txt", name
    page = web._page_file("index.html").decode()
    for name in ("style.css", "app.js", "icon.svg", web.MANIFEST):
        assert f'"{name}"' in page
    script = web._page_file("app.js").decode()
    for name in ("worker.js", "service_worker.js", "model.json"):
        assert f'"{name}"' in script


def test_every_file_of_the_page_is_written():
    folder = Path(web.__file__).parent / "web_assets"
    assert {path.name for path in folder.iterdir()} == set(web.PAGE_FILES)


# --- Scripts of the page, in Node ---


def node():
    """Returns Node, or skips the test."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed")
    return program


def test_cropping_and_resizing_match_tensorflow():
    """Golden: TensorFlow's own kernels."""
    rng = np.random.default_rng(0)
    cases, wanted = [], []
    for height, width, size, ratio in [
        (75, 100, 44, 0.88),
        (31, 97, 32, 1.0),
        (3, 2, 5, 1.0),
        (64, 64, 64, 1.0),
        (1, 1, 4, 1.0),
        (700, 230, 24, 24 / 27),
    ]:
        pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
        for method, mode in itertools.product(RESIZE_METHODS, CROP_MODES):
            spec = EvalPreprocessing(size, ratio, method, mode)
            rgba = pixels.ravel().tolist()
            case = {"height": height, "width": width, "rgba": rgba, "spec": vars(spec)}
            cases.append(case)
            image = tf_ops.eval_image(pixels[..., :3], spec)
            wanted.append(image.numpy().ravel())
    results = numbers(images=cases, maps=[])["images"]
    for case, result, golden in zip(cases, results, wanted, strict=True):
        # TensorFlow computes positions in float32; the largest error seen is 0.003.
        message = str(case["spec"])
        np.testing.assert_allclose(result, golden, atol=0.01, err_msg=message)


def test_class_maps_are_products_with_the_weights_of_a_class():
    """Golden: NumPy's product and float16."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(6, 8)).astype(np.float32)
    weights = rng.normal(size=(3, 8)).astype(np.float16)
    weights[1] = [0, -0.0, 6e-8, -6e-5, 65504, 1, -2, 1 / 3]
    case = {
        "features": features.ravel().tolist(),
        "weights": weights.view(np.uint16).ravel().tolist(),
        "channels": 8,
    }
    found = numbers(images=[], maps=[{**case, "index": k} for k in range(3)])["maps"]
    wanted = weights.astype(np.float64) @ features.T.astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_service_worker_serves_kept_files_when_the_server_is_gone():
    script = HERE / "service_worker_test.mjs"
    worker = Path(web.__file__).parent / "web_assets" / "service_worker.js"
    command = [node(), str(script), str(worker)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    site = "https://a.example/birds/"
    assert json.loads(run.stdout) == {
        # All files that the page loads before this worker controls it.
        "installed": [
            *(f"{site}{name}" for name in ("?photo", "app.js", "icon.svg")),
            *(f"{site}{name}" for name in ("manifest.webmanifest", "style.css")),
        ],
        "online": "new model.tflite",
        "missing": 404,
        "foreign": "left to the browser",
        "posted": "left to the browser",
        "offline": "new model.tflite",
        "offlinePage": "new ?photo",
        "offlineNeverSeen": "TypeError: no network",
    }


def numbers(**cases):
    """Runs the page's arithmetic in Node."""
    script = HERE / "web_numbers_test.mjs"
    run = subprocess.run(
        [node(), str(script), str(Path(web.__file__).parent / "web_assets")],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)
