import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from tests.support.paths import ROOT
from tests.support.training_runs import grouped_steps, tiny_step
from training.engine import train_step
from training.metrics import losses
from training.optim import optimizers


@pytest.mark.parametrize("labels", ["indices", "probabilities"])
def test_step_matches_keras(labels):
    state, take = tiny_step.make(tiny_step.net(dropout=0), label_smoothing=0.1)
    reference = tiny_step.net(dropout=0)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    reference.compile(keras.optimizers.SGD(0.1), loss)
    for seed in range(3):
        images, indices, mask = tiny_step.batch(seed)
        targets = tf.one_hot(indices, 3)
        if labels == "probabilities":
            targets = 0.7 * targets + 0.3 * tf.one_hot(indices[::-1], 3)
        take(images, indices if labels == "indices" else targets, mask)
        reference.train_on_batch(images, targets)
    found, expected = state.model.get_weights(), reference.get_weights()
    assert tiny_step.largest_difference(found, expected) < 1e-5
    assert state.step.numpy() == 3
    assert state.sums.numpy()[2] == 24


def test_dropout_matches_keras():
    found = tiny_step.weights_after(2)
    reference = tiny_step.net()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    reference.compile(keras.optimizers.SGD(0.1), loss)
    for seed in range(2):
        images, labels, _ = tiny_step.batch(seed)
        reference.train_on_batch(images, tf.one_hot(labels, 3))
    expected = [v.numpy() for v in reference.variables]
    assert tiny_step.largest_difference(found, expected) < 1e-5


def test_masked_images_do_not_count():
    images, labels, _ = tiny_step.batch()
    mask = tf.constant([1.0] * 5 + [0.0] * 3)
    junk = tf.concat([images[:5], 9.0 * images[5:]], axis=0)
    model = tiny_step.net(batch_norm=False, dropout=0)
    start = model.get_weights()
    results = []
    for pixels in (images, junk):
        model.set_weights(start)
        state, take = tiny_step.make(model)
        take(pixels, labels, mask)
        results.append([*model.get_weights(), state.sums.numpy()])
    assert tiny_step.largest_difference(*results) == 0
    assert results[0][-1][2] == 5


def test_coupled_decay_shrinks_decayed_weights_only():
    nets = []
    for weight_decay in (0.0, 0.5):
        state, take = tiny_step.make(optimizer="sgd", weight_decay=weight_decay)
        before = state.model.get_weights()
        take(*tiny_step.batch())
        nets.append(state.model)
    shrinks = [w.name in ("kernel", "bias") for w in nets[0].weights]
    assert sum(shrinks) == 6
    rows = zip(*(n.weights for n in nets), before, shrinks, strict=True)
    for a, b, start, yes in rows:
        # SGD's step, rate 0.1, on the penalty's gradient, 0.5 * w.
        expected = 0.1 * 0.5 * start if yes else 0.0 * start
        np.testing.assert_allclose(a.numpy() - b.numpy(), expected, atol=1e-6)


def test_clipping_bounds_the_step():
    free = tiny_step.net(batch_norm=False, dropout=0)
    start = free.get_weights()
    state, take = tiny_step.make(free)
    take(*tiny_step.batch(scale=30))
    pairs = zip(start, free.get_weights(), strict=True)
    gradient = [(a - b) / 0.1 for a, b in pairs]
    norm = np.sqrt(sum((g**2).sum() for g in gradient))
    assert norm > 1
    state, take = tiny_step.make(
        tiny_step.net(batch_norm=False, dropout=0), clip_norm=0.5
    )
    take(*tiny_step.batch(scale=30))
    pairs = zip(start, gradient, strict=True)
    expected = [w - 0.1 * g * 0.5 / norm for w, g in pairs]
    found = state.model.get_weights()
    assert tiny_step.largest_difference(found, expected) < 1e-6


def test_accumulated_gradients_equal_the_full_batch():
    def after(**options):
        model = tiny_step.net(batch_norm=False, dropout=0)
        return tiny_step.weights_after(2, model, **options)

    whole = after()
    assert tiny_step.largest_difference(whole, after(grad_accum_steps=4)) < 1e-5


def test_each_part_updates_statistics_and_seeds_once():
    state, take = tiny_step.make(grad_accum_steps=2)
    take(*tiny_step.batch())
    seeds = [v.numpy() for v in state.model.variables if "seed" in v.path]
    assert [seed[1] for seed in seeds] == [2, 2]


def test_rejects_parts_of_unequal_size():
    with pytest.raises(
        ValueError, match=r"`grad_accum_steps` must divide .* 8\. Received: g"
    ):
        tiny_step.make(grad_accum_steps=3)


def test_rejects_parts_with_synchronised_statistics():
    class Two:
        num_replicas_in_sync = 2

    state, _ = tiny_step.make()
    config = tiny_step.dataclasses.replace(
        tiny_step.CONFIG, grad_accum_steps=2, sync_batch_norm=True
    )
    with pytest.raises(ValueError, match=r"must be 1 with `sync_batch_norm`"):
        train_step.make_train_step(state, Two(), config)


@pytest.mark.parametrize(
    ("name", "scaled"),
    [*((name, False) for name in optimizers.OPTIMIZERS), ("sgd", True)],
)
def test_frozen_layers_and_their_slots_do_not_change(name, scaled):
    model = tiny_step.net()
    optim = optimizers.make_optimizer(name, 0.1, 0.1)
    if scaled:
        optim = keras.optimizers.LossScaleOptimizer(optim, initial_scale=8.0)
    state, _ = tiny_step.make(model, optim)
    keras_efficientnet.freeze(model, "top")
    config = tiny_step.dataclasses.replace(
        tiny_step.CONFIG, optimizer=name, weight_decay=0.1
    )
    take = train_step.make_train_step(state, tf.distribute.get_strategy(), config)
    variables = [*model.weights, *state.optimizer.variables]
    before = [v.numpy() for v in variables]
    take(*tiny_step.batch())
    pairs = zip(variables, before, strict=True)
    moved = {v.path for v, old in pairs if (v.numpy() != old).any()}
    # Only the classifier is trained; BatchNorm is frozen.
    assert {"predictions/kernel", "predictions/bias"} <= moved
    assert not [path for path in moved if "block" in path]


def test_loss_scaling_works_with_clipping_and_accumulation():
    def after(optim):
        model = tiny_step.net(batch_norm=False, dropout=0)
        options = {"grad_accum_steps": 2, "clip_norm": 0.01}
        return tiny_step.weights_after(1, model, optim=optim, **options)

    plain = after(tiny_step.plain(0.01))
    scaled = after(keras.optimizers.LossScaleOptimizer(tiny_step.plain(0.01)))
    assert tiny_step.largest_difference(plain, scaled) < 1e-6


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_step_is_close_to_the_full_one(dtype, policy):
    full = tiny_step.weights_after(1, tiny_step.net(dropout=0))
    policy(f"mixed_{dtype}")
    half = tiny_step.weights_after(1, tiny_step.net(dropout=0))
    assert 0 < tiny_step.largest_difference(full, half) < 0.02


def test_images_of_any_size_train():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 2)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    state, take = tiny_step.make(model)
    images, labels, mask = tiny_step.batch()
    take(images, labels, mask)
    take(tf.image.resize(images, (6, 6)), labels, mask)
    assert np.isfinite(state.sums.numpy()).all()


def test_skipping_graph_optimization_restores_the_options():
    def is_off():
        options = tf.config.optimizer.get_experimental_options()
        return options.get("disable_meta_optimizer", False)

    with train_step.skip_graph_optimization():
        assert is_off() == (not tf.config.list_physical_devices("GPU"))
    assert not is_off()


REPLICAS = """
import dataclasses
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pair = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pair)
import keras, numpy as np
from tests.support.training_runs import tiny_step
from training.engine import distribution as strategy

def weights(used_strategy, scaled=False, **fields):
    with used_strategy.scope():
        model = tiny_step.net(dropout=0, synchronized=True)
        decay = fields.get("weight_decay", 0.0)
        optim = tiny_step.plain(fields.get("clip_norm"), decay)
        if scaled:
            optim = keras.optimizers.LossScaleOptimizer(optim)
    state, take = tiny_step.make(model, optim, used_strategy, **fields)
    for seed in range(3):
        batch = tiny_step.batch(seed, scale=5)
        if used_strategy.num_replicas_in_sync == 2:
            cut = [tf.split(x, 2) for x in batch]
            pick = lambda parts: lambda context: parts[
                context.replica_id_in_sync_group]
            batch = [
                used_strategy.experimental_distribute_values_from_function(pick(parts))
                for parts in cut
            ]
        take(*batch)
    return [v.numpy() for v in model.variables]

one, two = strategy.make_strategy("one_device"), strategy.make_strategy("mirrored")
assert two.num_replicas_in_sync == 2
settings = {
    "plain": {},
    "clipped": {"clip_norm": 0.05},
    "decayed": {"optimizer": "sgd", "weight_decay": 0.5},
    "recomputed": {"remat": "1,2"},
    "scaled": {"scaled": True, "clip_norm": 0.05},
}
print(json.dumps({
    name: tiny_step.largest_difference(weights(one, **s), weights(two, **s))
    for name, s in settings.items()
}))
"""


@pytest.mark.slow
def test_two_replicas_match_one():
    # Statistics of BatchNorm too: synchronised ones are those of the whole batch.
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    assert len(differences) == 5
    assert max(differences.values()) < 1e-5, differences


def run_groups(folder, cases):
    """Returns replicas -> case, place and path -> variable after the steps."""
    module = "tests.support.training_runs.grouped_steps"
    command = [sys.executable, "-m", module]
    running = {
        replicas: subprocess.Popen(
            [*command, str(replicas), str(folder / str(replicas)), *names],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for replicas, names in cases.items()
    }
    for process in running.values():
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    return {replicas: np.load(folder / f"{replicas}.npz") for replicas in running}


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    return run_groups(tmp_path_factory.mktemp("grouped"), grouped_steps.CASES)


def variables(found, case, trained=False):
    statistics = "moving_mean", "moving_variance"
    return [
        found[name]
        for name in found
        if name.startswith(f"{case}/") and not (trained and name.endswith(statistics))
    ]


def check_group(runs, case, replicas, reference):
    found = variables(runs[4], case)
    expected = variables(runs[replicas], reference)
    assert tiny_step.largest_difference(found, expected) < 1e-4
    # Separate statistics per replica give other weights.
    alone = variables(runs[4], "alone")
    assert tiny_step.largest_difference(alone, expected) > 1e-2


# Among the fast tests, distribution_test.py has a group of two workers.
@pytest.mark.slow
def test_group_of_all_replicas_matches_one_replica(grouped):
    check_group(grouped, "one_group", 1, "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "replicas", "reference"),
    [
        ("one_group", 4, "synchronised"),  # as Keras computes it
        ("two_groups", 2, "alone"),
    ],
)
def test_group_of_replicas_matches_fewer_replicas(grouped, case, replicas, reference):
    check_group(grouped, case, replicas, reference)


@pytest.mark.slow
def test_two_groups_match_the_halves_of_a_batch_on_one_device(grouped):
    found = variables(grouped[4], "two_groups", trained=True)
    expected = variables(grouped[1], "halves", trained=True)
    assert tiny_step.largest_difference(found, expected) < 1e-4


@pytest.mark.slow
def test_group_shares_statistics_with_advprop_and_recomputation(grouped):
    found, expected = (variables(grouped[n], "attacked") for n in (4, 1))
    assert len(found) == len(expected) > len(variables(grouped[1], "whole"))
    assert tiny_step.largest_difference(found, expected) < 1e-4


@pytest.mark.slow
def test_group_is_close_to_one_device_in_half_precision(grouped):
    found, expected = (variables(grouped[n], "bfloat16") for n in (4, 1))
    assert tiny_step.largest_difference(found, expected) < 5e-3


def test_rejects_a_keras_optimizer_on_several_replicas():
    class Two:
        num_replicas_in_sync = 2

    state, _ = tiny_step.make(optim=keras.optimizers.SGD(0.1))
    with pytest.raises(TypeError, match="On several replicas the optimizer must be"):
        train_step.make_train_step(state, Two(), tiny_step.CONFIG)


def test_rejects_parts_with_grouped_statistics():
    class Sixteen:
        num_replicas_in_sync = 16

    state, _ = tiny_step.make()
    config = tiny_step.dataclasses.replace(
        tiny_step.CONFIG, batch_size=32, grad_accum_steps=2
    )
    message = r"must be 1 with `bn_group_size`, 8; 1 turns it off: .*=2"
    with pytest.raises(ValueError, match=message):
        train_step.make_train_step(state, Sixteen(), config)


@pytest.mark.parametrize("parts", [1, 2])
def test_weighted_step_matches_keras_whatever_the_parts(parts):
    weights = {0: 0.5, 1: 2.0, 2: 1.0}
    loss = losses.make_weighted_loss(0.0, class_weights=np.array([*weights.values()]))
    net = tiny_step.net(batch_norm=False, dropout=0)
    state, _ = tiny_step.make(net)
    config = dataclasses.replace(
        tiny_step.CONFIG, label_smoothing=0.0, grad_accum_steps=parts
    )
    used = tf.distribute.get_strategy()
    take = train_step.make_train_step(state, used, config, loss)
    reference = tiny_step.net(batch_norm=False, dropout=0)
    reference.compile(
        keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(True)
    )
    images, labels, mask = tiny_step.batch()
    take(images, labels, mask)
    reference.train_on_batch(images, labels, class_weight=weights)
    found, expected = net.get_weights(), reference.get_weights()
    assert tiny_step.largest_difference(found, expected) < 1e-5
