import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet as keras_applications
from keras.src.legacy.saving import legacy_h5_format

from keras_efficientnet import efficientnet
from keras_efficientnet.weights import load_weights
from keras_efficientnet.weights.formats import reading

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(**options):
    options = {"classes": 7, "classifier_activation": None, **options}
    return efficientnet.EfficientNet(0.25, 0.3, 32, **options)


def randomize(model, seed):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.weights and layer.name != "normalization":
            layer.set_weights([rng.uniform(0.3, 0.7, w.shape) for w in layer.weights])
    return model


def order(model):
    return [(type(layer).__name__, layer.name) for layer in model.layers]


def weights_of(model):
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}


def assert_same_weights(model, other):
    expected = weights_of(other)
    actual = weights_of(model)
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.fixture(scope="module")
def saved():
    return randomize(build(), seed=1)


@pytest.fixture(scope="module")
def foreign():
    """A model of keras.applications with the input normalisation of ours."""
    model = keras_applications.EfficientNet(
        width_coefficient=0.25,
        depth_coefficient=0.3,
        default_size=32,
        weights=None,
        classes=7,
        classifier_activation=None,
        name="foreign",
    )
    kind = keras.layers.Normalization  # Keras numbers its name per process
    (normalization,) = (layer for layer in model.layers if isinstance(layer, kind))
    normalization.adapt_mean.assign(MEAN)
    normalization.adapt_variance.assign(np.square(STD))
    normalization.finalize_state()
    return randomize(model, seed=2)


@pytest.fixture(scope="module")
def network():
    return build()


@pytest.fixture(scope="module")
def headless():
    return build(include_top=False)


@pytest.fixture
def target(network):
    return randomize(network, seed=3)


def save_keras2(model, path, depth_first=False):
    """Writes the layout and names of Keras 2's `save_weights("x.h5")`."""
    with h5py.File(path, "w") as file:
        names = [layer.name.encode() for layer in model.layers]
        half = len(names) // 2
        file.attrs["layer_names0"] = names[:half]  # split as lists over 64 kB are
        file.attrs["layer_names1"] = names[half:]
        for layer in model.layers:
            group = file.create_group(layer.name)
            weight_names = []
            for weight in layer.weights:
                variable = weight.name
                if isinstance(layer, keras.layers.DepthwiseConv2D):
                    variable = "depthwise_kernel"
                name = f"{layer.name}/{variable}:0"
                group[name] = keras.ops.convert_to_numpy(weight)
                weight_names.append(name.encode())
            group.attrs["weight_names"] = weight_names
    return path


def save_legacy_weights(model, path):
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def save_weights_only(model, path):
    path = path.with_suffix(".weights.h5")
    model.save_weights(path)
    return path


def save_nameless_weights(model, path):
    path = save_weights_only(model, path)
    drop_names(path)
    return path


def drop_names(path):
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            group["vars"].attrs.pop("name", None)


def save_whole(model, path):
    path = path.with_suffix(".keras")
    model.save(path)
    return path


def save_nameless_whole(model, path):
    path = save_whole(model, path)
    weights = path.with_name("model.weights.h5")
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
        weights.write_bytes(archive.read("model.weights.h5"))
    drop_names(weights)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.write(weights, "model.weights.h5")
    return path


def save_legacy_whole(model, path):
    model.save(path)
    return path


WRITERS = (
    save_keras2,
    save_legacy_weights,
    save_legacy_whole,
    save_weights_only,
    save_nameless_weights,
    save_whole,
    save_nameless_whole,
)
writers = pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__)


@writers
def test_loads_our_files_exactly(write, saved, target, tmp_path):
    load_weights(target, write(saved, tmp_path / "own.h5"))
    assert_same_weights(target, saved)


@writers
def test_files_of_keras_applications_reproduce_its_logits(
    write, foreign, target, tmp_path
):
    path = write(foreign, tmp_path / "foreign.h5")
    load_weights(target, path)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3))
    expected = keras.ops.convert_to_numpy(foreign(images))
    actual = keras.ops.convert_to_numpy(target(images))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@writers
def test_headless_model_loads_the_file_of_a_complete_one(
    write, saved, headless, tmp_path
):
    model = randomize(headless, seed=6)
    load_weights(model, write(saved, tmp_path / "own.h5"))
    expected = weights_of(saved)
    for name, array in weights_of(model).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("write", [save_whole, save_legacy_whole, save_weights_only])
def test_ignores_optimizer_variables(write, target, tmp_path):
    model = randomize(build(), seed=5)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    load_weights(target, write(model, tmp_path / "trained.h5"))
    assert_same_weights(target, model)


@pytest.mark.parametrize("write", [save_weights_only, save_whole])
def test_converts_bfloat16_weights_to_float32(write, target, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = randomize(build(), seed=4)
    finally:
        keras.config.set_dtype_policy(before)
    load_weights(target, write(model, tmp_path / "half.h5"))
    expected = weights_of(model)
    for name, array in weights_of(target).items():
        np.testing.assert_array_equal(array, expected[name].astype(np.float32))


def nest(kind, network):
    """Returns a user's model with a network as one of its layers."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    if kind == "sequential":
        return keras.Sequential(
            [inputs, layers.RandomFlip(), network, layers.Dense(2, name="mine")]
        )
    if kind == "twice nested":
        network = keras.Sequential([keras.Input((32, 32, 3)), network])
    head = keras.Sequential([keras.Input((7,)), layers.Dense(4), layers.Dense(2)])
    return keras.Model(inputs, head(network(layers.RandomFlip()(inputs))))


nested_writers = pytest.mark.parametrize(
    "write",
    [save_legacy_weights, save_legacy_whole, save_weights_only, save_whole],
)


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (save_legacy_weights, "sequential"),
        (save_whole, "functional"),
        (save_legacy_whole, "twice nested"),
        (save_weights_only, "twice nested"),
    ],
)
def test_finds_a_network_nested_in_a_model(write, kind, target, saved, tmp_path):
    path = write(nest(kind, saved), tmp_path / "outer.h5")
    with pytest.raises(ValueError, match="not belong to the network .* `load_weights"):
        load_weights(target, path)
    load_weights(target, path, ignore=["mine*", "dense*"])
    assert_same_weights(target, saved)
    headless = build(include_top=False)
    with pytest.warns(UserWarning, match="has a classifier .* skipped"):
        load_weights(headless, path)
    expected = weights_of(saved)
    for name, array in weights_of(headless).items():
        np.testing.assert_array_equal(array, expected[name])


def test_distinguishes_numbered_layers_of_a_nested_network(target, saved, tmp_path):
    """In files of Keras versions without names, the outer head must not be the
    network's."""
    path = save_weights_only(nest("sequential", saved), tmp_path / "outer.h5")
    with h5py.File(path, "r+") as file:

        def forget(_, item):
            item.attrs.pop("name", None)

        file.visititems(forget)
    load_weights(target, path, ignore="dense*")
    assert_same_weights(target, saved)


@nested_writers
def test_rejects_two_networks_nested_in_a_model(write, target, saved, tmp_path):
    inputs = keras.Input((32, 32, 3))
    twin = build(name="twin")
    outer = keras.Model(inputs, keras.layers.Add()([saved(inputs), twin(inputs)]))
    with pytest.raises(ValueError, match=r"it has stem_\w+/\w+ twice"):
        load_weights(target, write(outer, tmp_path / "outer.h5"))


def test_rejects_endlessly_nested_models(target, tmp_path):
    path = tmp_path / "cycle.weights.h5"
    with h5py.File(path, "w") as file:
        layers = file.create_group("layers")
        for i in range(30):
            inner = layers.create_group(f"model_{i}")
            inner["layers"] = layers
    with pytest.raises(ValueError, match="nested too deeply"):
        load_weights(target, path)


@writers
def test_error_names_a_truncated_file(write, saved, tmp_path):
    path = write(saved, tmp_path / "own.h5")
    data = path.read_bytes()
    for share in (0, 0.0001, 0.01, 0.5, 0.9, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=path.name) as caught:
            reading.read(path, order(saved), is_verified=True)
        assert type(caught.value) is ValueError
        assert share < 0.01 or caught.value.__cause__ is not None


def test_does_not_deserialise_an_archive_with_code(saved, target, tmp_path):
    # `keras.models.load_model` rejects or runs a Lambda; reading weights does neither.
    outputs = keras.layers.Lambda(lambda x: x)(saved.output)
    path = save_whole(keras.Model(saved.input, outputs), tmp_path / "lambda")
    load_weights(target, path)
    assert_same_weights(target, saved)


def test_rejects_an_archive_without_layers(tmp_path):
    path = tmp_path / "odd.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ValueError, match=r"odd\.keras.*does not list the layers"):
        reading.read(path, [])


def test_rejects_other_content(tmp_path):
    for content, reason in (
        (b"<html>404</html>", r"It begins with b'<html>404"),
        (b"", "must be HDF5"),
    ):
        (tmp_path / "net.h5").write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            reading.read(tmp_path / "net.h5", [])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "")
    with pytest.raises(ValueError, match=r"neither Keras nor torch: a\.txt"):
        reading.read(tmp_path / "x.zip", [])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = [1]
    with pytest.raises(ValueError, match=r"no group 'layers'. It holds images"):
        reading.read(tmp_path / "other.h5", [])


def edit_first(path, edit):
    """Applies `edit` to the group of the stem's kernel."""
    with h5py.File(path, "r+") as file:
        if "layers" in file:
            edit(file["layers/conv2d/vars"], "0")
        else:
            edit(file["stem_conv"], "stem_conv/kernel")


@pytest.mark.parametrize("write", [save_legacy_weights, save_weights_only])
def test_rejects_data_in_another_file(write, saved, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.zeros((3, 3, 3, 8), np.float32)

    def link(group, name):
        del group[name]
        group[name] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "data")

    def external(group, name):
        del group[name]
        raw = [(str(tmp_path / "secret.h5"), 0, h5py.h5f.UNLIMITED)]
        group.create_dataset(name, (3, 3, 3, 8), np.float32, external=raw)

    for edit, what in (
        (link, "a link to another"),
        (external, "refers to another file"),
    ):
        path = write(saved, tmp_path / "own.h5")
        edit_first(path, edit)
        with pytest.raises(ValueError, match=what):
            reading.read(path, order(saved))
        path.unlink()


@pytest.mark.parametrize("write", [save_legacy_weights, save_weights_only])
def test_rejects_missing_data(write, saved, tmp_path):
    def claim(group, name):
        del group[name]
        group.create_dataset(name, (3, 3, 3, 10**8), np.float32)

    def text(group, name):
        del group[name]
        group[name] = "kernel"

    for edit, reason in ((claim, "claims 10800000000 bytes"), (text, "hold numbers")):
        path = write(saved, tmp_path / "own.h5")
        edit_first(path, edit)
        with pytest.raises(ValueError, match=reason):
            reading.read(path, order(saved))
        path.unlink()


def test_unknown_layers_keep_the_name_of_their_group(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.PReLU(name="p")])
    path = save_nameless_weights(model, tmp_path / "x")
    assert list(reading.read(path, [])) == ["p_re_lu/0"]
