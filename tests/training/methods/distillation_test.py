import dataclasses
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.common import models
from tests.support.paths import ROOT
from tests.support.training_runs import tiny_step
from tests.support.training_runs.tiny_run import TINY, read_checkpoint, tiny_source
from training.engine import distribution, train_step, trainer
from training.engine import model as engine_model
from training.methods import teacher
from training.metrics import losses

NAMES = ("apple", "pear", "plum")


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def classifier(size=8, classes=3, activation="softmax", seed=0):
    """Returns a small convolutional classifier."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation)(x))


def make_teacher(model, names=NAMES, labels=NAMES):
    return teacher.Teacher(models.open_model(model, labels=labels), names)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_loss_equals_hinton_s_in_numpy(temperature):
    rng = np.random.default_rng(0)
    ours, theirs = (rng.normal(size=(6, 4), scale=3) for _ in range(2))
    p, q = (log_softmax(x / temperature) for x in (theirs, ours))
    expected = temperature**2 * (np.exp(p) * (p - q)).sum(axis=1)
    found = losses.distillation_loss(
        tf.constant(theirs, tf.float32), tf.constant(ours, tf.float32), temperature
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(tf.reduce_min(found)) > 0


def test_distillation_loss_is_zero_for_the_teacher_s_own_logits():
    logits = tf.constant([[3.0, -20.0, 80.0]])
    # A constant per image does not change a prediction.
    assert float(losses.distillation_loss(logits, logits + 7.0, 2.0)[0]) < 1e-5


def test_weighted_images_weight_the_divergence_too():
    rows = np.array([[1.0, 0, 0], [0, 0.5, 0], [1.5, 1.5, 0]], np.float32)
    found = losses.distilled(tf.constant([1.0, 2.0, 3.0]), 10 * tf.ones(3), rows, 0.25)
    np.testing.assert_allclose(found, [0.75 + 2.5, 1.5 + 1.25, 2.25 + 7.5])


@pytest.mark.parametrize("parts", [1, 2])
def test_step_follows_the_gradient_of_both_losses(parts):
    """The expected step is computed by Keras from the formula, without our loss."""
    images, labels, mask = tiny_step.batch()
    images = 50 * images
    taught = make_teacher(classifier(size=4, activation=None, seed=3))
    net = tiny_step.net(batch_norm=False, dropout=0)
    config = dataclasses.replace(
        tiny_step.CONFIG,
        label_smoothing=0.0,
        teacher_weight=0.3,
        teacher_temperature=4.0,
        grad_accum_steps=parts,
    )
    state, _ = tiny_step.make(net)
    used = tf.distribute.get_strategy()
    take = train_step.make_train_step(state, used, config, teacher=taught)
    reference = tiny_step.net(batch_norm=False, dropout=0)
    with tf.GradientTape() as tape:
        logits = reference(images)
        hard = keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(labels, logits, True)
        )
        soft = keras.losses.KLDivergence()(
            tf.nn.softmax(taught(images) / 4.0), tf.nn.softmax(logits / 4.0)
        )
        loss = 0.7 * hard + 0.3 * 16 * soft
    weights = reference.trainable_variables
    gradients = tape.gradient(loss, [w.value for w in weights])
    tiny_step.plain().apply(gradients, weights)
    before = [v.numpy() for v in taught._model.variables]
    take(images, labels, mask)
    found, expected = net.get_weights(), reference.get_weights()
    assert tiny_step.largest_difference(found, expected) < 2e-6
    assert float(state.sums[0]) / 8 == pytest.approx(float(loss), rel=1e-4)
    # Neither BatchNorm's statistics nor the seeds of dropout change.
    after = [v.numpy() for v in taught._model.variables]
    assert tiny_step.largest_difference(before, after) == 0


def test_images_are_resized_to_the_teacher_s_input():
    model = classifier(size=16)
    taught = make_teacher(model)
    images = np.full((2, 8, 8, 3), 120.0, np.float32)
    expected = log_softmax(np.log(model(np.full((2, 16, 16, 3), 120.0))))
    np.testing.assert_allclose(log_softmax(taught(images).numpy()), expected, rtol=1e-5)
    smaller = taught(np.full((2, 40, 40, 3), 120.0, np.float32))
    np.testing.assert_allclose(log_softmax(smaller.numpy()), expected, rtol=1e-5)


def test_classes_are_matched_by_name():
    model = classifier()
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    plain = make_teacher(model)(images).numpy()
    turned = make_teacher(model, NAMES[::-1])
    np.testing.assert_array_equal(turned(images), plain[:, ::-1])
    assert turned.digest != make_teacher(model).digest


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_single_output_gives_the_logits_of_two_classes(activation):
    model = classifier(classes=1, activation=activation)
    images = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    out = model(images).numpy()[:, 0]
    second = out if activation else 1 / (1 + np.exp(-out))
    found = make_teacher(model, ("no", "yes"), ("no", "yes"))(images)
    expected = np.stack([1 - second, second], axis=1)
    np.testing.assert_allclose(tf.nn.softmax(found), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "names", "message"),
    [
        (classifier, ("apple", "pear"), "`teacher` must have the 2 classes of `data`"),
        (classifier, ("apple", "pear", "fig"), "missing or ambiguous classes: fig"),
        (
            lambda: classifier(activation="sigmoid"),
            NAMES,
            "must have mutually exclusive classes",
        ),
    ],
)
def test_rejects_a_teacher_with_other_classes(model, names, message):
    with pytest.raises(ValueError, match=message):
        make_teacher(model(), names)


def test_rejects_a_teacher_of_grey_images():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match="`teacher` must take RGB images. Received"):
        make_teacher(keras.Model(inputs, x))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "`teacher` must be a model"),
        ("EfficientNetB1:advprop-typo", "`weights`"),
        ("EfficientNetLite0:noisy-student", "noisy-student"),
    ],
)
def test_rejects_an_unknown_teacher_before_writing(tmp_path, name, message):
    config = dataclasses.replace(TINY, teacher=name)
    with pytest.raises((ValueError, OSError), match=message):
        trainer.train(config, tmp_path / "run", tiny_source(), show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", [{"teacher_weight": 1.1}, {"teacher_temperature": 0}])
def test_rejects_weight_and_temperature_out_of_range(field):
    ((name, value),) = field.items()
    with pytest.raises(ValueError, match=f"`{name}` must .* Received: {name}={value}"):
        dataclasses.replace(TINY, **field).validate()


def test_rejects_a_teacher_of_several_labels_per_image():
    config = dataclasses.replace(TINY, task="multi_label", teacher="EfficientNetB0")
    with pytest.raises(ValueError, match="`teacher` must stay None with task="):
        config.validate()


def test_names_with_weights_are_split():
    assert models.split_weights("b4:noisy-student") == ("b4", "noisy-student")
    assert models.split_weights("EfficientNetB4") == ("EfficientNetB4", None)
    assert models.split_weights("C:\\runs\\a") == ("C:\\runs\\a", None)


@pytest.fixture(scope="module")
def taught_run(tmp_path_factory):
    """A config with a teacher file, and the folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("distillation")
    (folder / "teacher").mkdir()
    path = folder / "teacher" / "model.keras"
    classifier(size=24).save(path)
    (folder / "teacher" / "labels.txt").write_text("plum\napple\npear\n")
    config = dataclasses.replace(
        TINY, teacher=str(path), epochs=1.2, augment="none", checkpoint_every_steps=1
    )
    train(config, folder / "run")
    return config, folder / "run"


def train(config, workdir):
    trainer.train(config, workdir, tiny_source(), show=False, scores_only=True)


@pytest.fixture
def killed_run(taught_run, tmp_path):
    """The run as if it had been killed after its first step."""
    shutil.copytree(taught_run[1], tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    for path in (tmp_path / "run" / "checkpoints").glob("step-*[2-9].npz"):
        path.unlink()
    return tmp_path / "run"


@pytest.mark.slow
def test_resumed_run_with_a_teacher_ends_bit_identical(taught_run, killed_run):
    config, straight = taught_run
    train(config, killed_run)
    expected, found = read_checkpoint(straight), read_checkpoint(killed_run)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensor, found[name], err_msg=name)


def test_checkpoints_do_not_hold_the_teacher(taught_run):
    config, straight = taught_run
    expected = len(engine_model.build(config, 3).variables)
    names = read_checkpoint(straight)
    assert sum(name.startswith("model/") for name in names) == expected
    assert {name.partition("/")[0] for name in names} == {
        *("model", "optimizer", "ema", "step", "sums"),
        *("best_top1", "best_loss", "best_epoch"),
    }


def test_rejects_another_teacher_on_resuming(taught_run, killed_run):
    config, _ = taught_run
    record = killed_run / "teacher.json"
    assert json.loads(record.read_text())["teacher"] == config.teacher
    record.write_text(json.dumps({"teacher": config.teacher, "digest": "0" * 64}))
    message = "`teacher` must have the weights that .* was started with"
    with pytest.raises(ValueError, match=message):
        train(config, killed_run)


def test_teacher_opens_a_variant_with_published_weights(monkeypatch):
    opened = []

    def open_model(name, weights, *, calibrate):
        assert not calibrate
        opened.append((name, weights))
        return models.OpenedModel(
            name, classifier(), "softmax", NAMES, models.EvalPreprocessing(8)
        )

    monkeypatch.setattr(teacher, "open_model", open_model)
    used = distribution.make_strategy("one_device")
    assert teacher.open_teacher("EfficientNetB4:noisy-student", NAMES, used).digest
    assert opened == [("EfficientNetB4", "noisy-student")]


def test_mixed_precision_step_is_close_to_the_full_one(policy):
    taught = make_teacher(classifier(size=4, seed=3))

    def after():
        net = tiny_step.net(dropout=0)
        state, _ = tiny_step.make(net)
        config = dataclasses.replace(tiny_step.CONFIG, teacher_weight=0.9)
        used = tf.distribute.get_strategy()
        images, labels, mask = tiny_step.batch()
        take = train_step.make_train_step(state, used, config, teacher=taught)
        take(images, labels, mask)
        return net.get_weights()

    full = after()
    policy("mixed_bfloat16")
    assert 0 < tiny_step.largest_difference(full, after()) < 0.02


REPLICAS = """
import dataclasses
import json
import sys
import keras
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
from tests.support.training_runs import tiny_step
from training.engine import distribution, train_step
from training.methods.teacher import open_teacher

def weights(used):
    with used.scope():
        net = tiny_step.net(dropout=0, synchronized=True)
    state, _ = tiny_step.make(net, None, used)
    taught = open_teacher(sys.argv[1], ("apple", "pear", "plum"), used)
    config = dataclasses.replace(tiny_step.CONFIG, teacher_weight=0.9)
    take = train_step.make_train_step(state, used, config, teacher=taught)
    for seed in range(3):
        batch = tiny_step.batch(seed, scale=50)
        if used.num_replicas_in_sync == 2:
            cut = [tf.split(x, 2) for x in batch]
            batch = [
                used.experimental_distribute_values_from_function(
                    lambda context, parts=parts: parts[
                        context.replica_id_in_sync_group]
                )
                for parts in cut
            ]
        take(*batch)
    return [v.numpy() for v in net.variables], taught.digest

one, two = map(weights, map(distribution.make_strategy, ("one_device", "mirrored")))
assert one[1] == two[1]
print(json.dumps(float(tiny_step.largest_difference(one[0], two[0]))))
"""


@pytest.mark.slow
def test_two_replicas_with_a_teacher_match_one(tmp_path):
    classifier(size=6).save(tmp_path / "model.keras")
    (tmp_path / "labels.txt").write_text("plum\napple\npear\n")
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tmp_path / "model.keras")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) < 1e-5
