"""Complete networks of other projects with random weights, compared with ours.

`make test-oracles` installs the projects; without them these tests are skipped.
"""

import re

import keras
import numpy as np
import pytest

from keras_efficientnet import architecture, efficientnet
from keras_efficientnet.preprocessing import channel_statistics
from keras_efficientnet.weights import (
    convert,
    load_weights,
    name_mapping,
    network_options,
    reference_logits,
)

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4  # for logits of order 1
TENSORFLOW = {"padding": "same", "bn_epsilon": 1e-3}
TORCH = {"padding": "symmetric", "bn_epsilon": 1e-5}


def lukemelas(short):
    peer = pytest.importorskip("efficientnet_pytorch")
    return peer.EfficientNet.from_name(f"efficientnet-{short}", image_size=None)


def timm_tf(short):
    name = f"tf_{reference_logits.timm_name(short)}"
    return pytest.importorskip("timm").create_model(name)


def timm(short):
    name = reference_logits.timm_name(short)
    return pytest.importorskip("timm").create_model(name)


def geffnet(short):
    return pytest.importorskip("geffnet").create_model(f"tf_efficientnet_{short}")


def torchvision(short):
    peer = pytest.importorskip("torchvision")
    return getattr(peer.models, f"efficientnet_{short.replace('v2', 'v2_')}")()


def transformers(short):
    peer = pytest.importorskip("transformers")
    variant = architecture.VARIANTS[architecture.find_variant(short)]
    # Strided blocks with an odd input: in B3 those of 75 and 19 pixels.
    odd = {"b0": [], "b3": [5, 18]}[short]
    config = peer.EfficientNetConfig(
        width_coefficient=variant.width,
        depth_coefficient=variant.depth,
        image_size=variant.resolution,
        hidden_dim=variant.head_filters,
        depthwise_padding=odd,
        num_labels=1000,
    )
    return peer.EfficientNetForImageClassification(config)


CASES = [
    *((lukemelas, short, TENSORFLOW) for short in ("b0", "b3")),
    *((timm_tf, short, TENSORFLOW) for short in ("b0", "b3", "lite0", "lite3")),
    *((timm, short, TORCH) for short in ("b0", "b3", "lite0")),
    *((geffnet, short, TENSORFLOW) for short in ("b0", "b3", "lite0", "lite3")),
    *((torchvision, short, TORCH) for short in ("b0", "b3")),
    (torchvision, "b5", {**TORCH, "bn_epsilon": 1e-3}),
    *((transformers, short, TENSORFLOW) for short in ("b0", "b3")),
    *((timm_tf, short, TENSORFLOW) for short in ("v2b0", "v2b3", "v2s", "v2m")),
    *((timm_tf, short, TENSORFLOW) for short in ("edgetpus", "edgetpul")),
    *((timm, short, TORCH) for short in ("v2s", "edgetpus", "edgetpum")),
    *((torchvision, short, {**TORCH, "bn_epsilon": 1e-3}) for short in ("v2s", "v2m")),
]


def randomise(network, side=224):
    """Randomises the statistics and scales of every batch normalisation.

    They amplify the logits, so the classifier is scaled to logits of order 1.
    """
    import torch

    torch.manual_seed(0)
    last_norms = {}  # of each block
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            classifier = module  # after the loop, the last one
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            block = re.match(r"(blocks|features)\.\d+\.\d+\.", name)
            if block:
                last_norms[block[0]] = module
    # Small steps on the residual path, as in trained networks: else rounding grows
    # through deep ones until float32 and float64 differ in the first digits.
    for module in last_norms.values():
        module.weight.data *= 0.2
    greatest = np.abs(torch_logits(network.eval(), photos(side), "imagenet")).max()
    with torch.no_grad():
        classifier.weight /= float(greatest)
        classifier.bias /= float(greatest)
    return network


def photos(side):
    rng = np.random.default_rng(side)
    return rng.integers(0, 256, (1, side, side, 3)).astype(np.float32)


def torch_logits(network, images, normalization):
    import torch

    mean, std = (np.float32(s) for s in channel_statistics(normalization, 3))
    inputs = ((images - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        outputs = network(torch.from_numpy(np.ascontiguousarray(inputs)))
    return getattr(outputs, "logits", outputs).numpy()


def assert_close(ours, theirs):
    differs = np.abs(ours - theirs).max()
    print(f"differ by {differs:.2g}, greatest {np.abs(theirs).max():.2g}")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


def build(short, **options):
    factory = getattr(efficientnet, architecture.find_variant(short))
    return factory(
        weights=None,
        input_shape=(None, None, 3),
        classifier_activation=None,
        **options,
    )


@pytest.mark.parametrize(
    ("peer", "short", "options"),
    CASES,
    ids=[f"{peer.__name__}-{short}" for peer, short, _ in CASES],
)
def test_logits_equal_the_reference(peer, short, options, tmp_path):
    torch = pytest.importorskip("torch")
    native = architecture.VARIANTS[architecture.find_variant(short)].resolution
    network = randomise(peer(short), native)
    path = tmp_path / "net.pth"
    torch.save(network.state_dict(), path)
    # At a quarter of their size, since the large ones take minutes.
    first = native // 4 if "v2" in short else native
    model = build(short, **options)
    load_weights(model, path)
    kind = network_options(model)["normalization"]
    # transformers pads for the native size, whatever the image size.
    for side in (native,) if peer is transformers else (first, 197):
        images = photos(side)
        theirs = torch_logits(network, images, kind)
        ours = keras.ops.convert_to_numpy(model(images))
        assert_close(ours, theirs)


def test_loads_safetensors_of_timm(tmp_path):
    saver = pytest.importorskip("safetensors.torch")
    network = randomise(timm_tf("b0"))
    saver.save_file(network.state_dict(), tmp_path / "model.safetensors")
    model = build("b0", **TENSORFLOW)
    load_weights(model, tmp_path / "model.safetensors")
    kernel = network.state_dict()["conv_stem.weight"].numpy()
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel),
        kernel.transpose(2, 3, 1, 0),
    )


@pytest.mark.parametrize("name", ["tf_efficientnetv2_b0", "efficientnet_es"])
def test_repositories_that_timm_writes_give_its_logits(name, tmp_path, monkeypatch):
    """timm's own config.json and model.safetensors, from a local server."""
    peer = pytest.importorskip("timm")
    hub_server = pytest.importorskip("tests.support.weight_files.hub_server")
    network = randomise(peer.create_model(name, num_classes=7))
    peer.models.save_for_hf(network, tmp_path / "repository", safe_serialization=True)
    files = {path.name: path.read_bytes() for path in tmp_path.glob("repository/*")}
    short = {"tf_efficientnetv2_b0": "v2b0", "efficientnet_es": "edgetpus"}[name]
    with hub_server.serving() as server:
        hub_server.use(server, monkeypatch, tmp_path)
        server.commit("me/mine", files)
        factory = getattr(efficientnet, architecture.find_variant(short))
        model = factory(weights="hf://me/mine", classes=7, classifier_activation=None)
    images = photos(model.input_shape[1])
    theirs = torch_logits(network, images, network_options(model)["normalization"])
    assert_close(keras.ops.convert_to_numpy(model(images)), theirs)


@pytest.mark.parametrize("peer", [lukemelas, timm_tf])
def test_names_and_shapes_of_l2_match_its_plan(peer):
    torch = pytest.importorskip("torch")
    with torch.device("meta"):  # allocates no memory
        state = peer("l2").state_dict()
    arrays = {
        name: np.broadcast_to(np.float32(0), tuple(tensor.shape))
        for name, tensor in state.items()
    }
    mapped = name_mapping.to_model_names(arrays)
    shapes = {name: array.shape for name, array in mapped.arrays.items()}
    assert shapes == planned(architecture.VARIANTS["EfficientNetL2"])


def planned(variant):
    shapes = {}

    def norm(name, size):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{name}/{part}"] = (size,)

    shapes["stem_conv/kernel"] = (3, 3, 3, variant.stem_filters)
    norm("stem_bn", variant.stem_filters)
    for row in architecture.block_plan(variant):
        wide = row.expanded
        if row.expand != 1:
            shapes[f"{row.name}_expand_conv/kernel"] = (1, 1, row.filters_in, wide)
            norm(f"{row.name}_expand_bn", wide)
        shapes[f"{row.name}_dwconv/kernel"] = (row.kernel, row.kernel, wide, 1)
        norm(f"{row.name}_bn", wide)
        for part, ends in (
            ("se_reduce", (wide, row.se_filters)),
            ("se_expand", (row.se_filters, wide)),
        ):
            shapes[f"{row.name}_{part}/kernel"] = (1, 1, *ends)
            shapes[f"{row.name}_{part}/bias"] = ends[1:]
        shapes[f"{row.name}_project_conv/kernel"] = (1, 1, wide, row.filters_out)
        norm(f"{row.name}_project_bn", row.filters_out)
    top = variant.head_filters
    shapes["top_conv/kernel"] = (1, 1, row.filters_out, top)
    norm("top_bn", top)
    shapes["predictions/kernel"] = (top, 1000)
    shapes["predictions/bias"] = (1000,)
    return shapes


# Keras models.


def randomise_keras(model, images):
    """Like `randomise`, for a Keras model; `images` scale its logits."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("bn"):
            size = layer.gamma.shape
            # Small steps on the residual path, for the reason given in `randomise`.
            step = 0.2 if layer.name.endswith("project_bn") else 1
            layer.gamma.assign(step * rng.uniform(0.5, 1.5, size))
            layer.beta.assign(rng.normal(0, 0.2, size))
            layer.moving_mean.assign(rng.normal(0, 0.2, size))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, size))
    *_, classifier = (layer for layer in model.layers if hasattr(layer, "units"))
    activation, classifier.activation = classifier.activation, lambda logits: logits
    greatest = np.abs(np.array(model(images))).max()
    classifier.activation = activation
    for weight in classifier.weights:
        weight.assign(weight / greatest)
    return model


@pytest.fixture(autouse=True)
def seeded():
    """Seeds the random weights of both versions of Keras."""
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("short", ["b0", "b3"])
def test_keras_applications_logits(short, tmp_path):
    side = architecture.VARIANTS[architecture.find_variant(short)].resolution
    images = photos(side)
    theirs = randomise_keras(
        getattr(keras.applications, architecture.find_variant(short))(
            weights=None, classifier_activation=None
        ),
        images,
    )
    theirs.save_weights(tmp_path / "net.weights.h5")
    model = build(short, normalization="none")
    load_weights(model, tmp_path / "net.weights.h5")
    # With random weights this model only divides by 255.
    expected = keras.ops.convert_to_numpy(theirs(images))
    assert_close(keras.ops.convert_to_numpy(model(images / 255)), expected)


@pytest.mark.parametrize("short", ["b0", "b3"])
def test_qubvel_logits(short, tmp_path, monkeypatch):
    tf_keras = pytest.importorskip("tf_keras")
    monkeypatch.setenv("SM_FRAMEWORK", "tf.keras")
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    peer = pytest.importorskip("efficientnet.model")
    monkeypatch.setattr(
        peer,
        "get_submodules_from_kwargs",
        lambda kwargs: (tf_keras.backend, tf_keras.layers, tf_keras.models, tf_keras),
    )
    name = architecture.find_variant(short)
    images = photos(architecture.VARIANTS[name].resolution) / 255
    theirs = randomise_keras(getattr(peer, name)(weights=None), images)
    theirs.save_weights(tmp_path / "net.h5")
    model = build(short, normalization="none")
    load_weights(model, tmp_path / "net.h5")
    ours = keras.ops.convert_to_numpy(model(images))
    # Its logits up to a common constant.
    logits = np.log(theirs(images).numpy())
    assert_close(ours - ours.mean(), logits - logits.mean())


# Conversion.


@pytest.mark.parametrize("peer", [lukemelas, timm_tf, torchvision, transformers])
def test_convert_checks_against_the_reference(peer, tmp_path):
    torch = pytest.importorskip("torch")
    network = randomise(peer("b0"))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    options = {"bn_epsilon": 1e-5} if peer is torchvision else {}
    report = convert.convert(
        tmp_path / "net.pth", tmp_path / "net.safetensors", check=True, **options
    )
    assert "check      logits differ" in report


def test_convert_checks_against_keras_applications(tmp_path):
    randomise_keras(
        keras.applications.EfficientNetB0(weights=None), photos(224)
    ).save_weights(tmp_path / "net.weights.h5")
    report = convert.convert(
        tmp_path / "net.weights.h5", tmp_path / "net.safetensors", check=True
    )
    assert "check      logits differ from keras's by" in report


def test_timm_opens_converted_files(tmp_path):
    loader = pytest.importorskip("safetensors.torch")
    first = randomise(timm_tf("b0"))
    import torch

    torch.save(first.state_dict(), tmp_path / "net.pth")
    convert.convert(tmp_path / "net.pth", tmp_path / "ours.keras")
    convert.convert(
        tmp_path / "ours.keras", tmp_path / "back.safetensors", names="timm"
    )
    second = timm_tf("b0")
    second.load_state_dict(loader.load_file(tmp_path / "back.safetensors"))
    for name, tensor in first.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(second.state_dict()[name], tensor), name
