import dataclasses
import shutil

import keras
import numpy as np
import pytest

from keras_efficientnet.preprocessing import tf_ops
from tests.support.training_runs.tiny_run import TINY, read_checkpoint, tiny_source
from training.config import TrainConfig
from training.data import run_source
from training.engine import distribution, phases, trainer
from training.engine import model as engine_model
from training.methods import fixres
from training.optim.schedules import make_schedule

# 100 images at 10 a step: 10 steps an epoch, 60 in all.
RUN = TrainConfig(
    batch_size=10,
    epochs=6,
    image_size=224,
    fixres_epochs=1.5,
    progressive_sizes="128,192",
)
# 20 images at 8 a step: 4 steps, then one of FixRes.
TINY_FIXRES = dataclasses.replace(
    TINY,
    image_size=48,
    epochs=2.0,
    progressive_sizes="32",
    fixres_epochs=0.5,
    fixres_lr_per_256=5.0,
    mixup_alpha=0.2,
    checkpoint_every_steps=1,
)


def test_fixres_is_the_last_phase_at_the_size_of_evaluation():
    found = phases.plan_phases(RUN, 100)
    assert [(p.first_step, p.last_step, p.image_size, p.is_fixres) for p in found] == [
        (0, 22, 128, False),
        (22, 45, 192, False),
        (45, 60, 224, True),
    ]
    assert found[-1].describe() == "FixRes: head and BatchNorm, 224 pixels"


def test_learning_rate_starts_again_and_falls_to_zero():
    config = dataclasses.replace(RUN, schedule="cosine", lr_per_256=2.56)
    before = make_schedule(
        "cosine", peak_lr=0.1, steps_per_epoch=10, warmup_epochs=0, total_steps=45
    )
    rates = [float(fixres.make_schedule(config, before, 100)(i)) for i in range(61)]
    steps = np.arange(45)
    np.testing.assert_allclose(
        rates[:45], 0.05 * (1 + np.cos(np.pi * steps / 45)), atol=1e-7
    )
    # A tenth of the peak, 0.1, then half a cosine over 15 steps.
    steps = np.arange(16)
    np.testing.assert_allclose(
        rates[45:], 0.005 * (1 + np.cos(np.pi * steps / 15)), atol=1e-8
    )


def test_images_of_the_last_phase_are_evaluation_images():
    source = tiny_source()
    config = fixres.phase_config(TINY_FIXRES)
    batches = run_source.train_batches(
        config,
        source,
        image_size=48,
        first_step=4,
        last_step=5,
        strategy=distribution.make_strategy("one_device"),
    )
    images, labels, _ = next(iter(batches))
    split = source.split("train")
    positions = run_source.step_positions(config, source, 4)
    expected = [
        tf_ops.eval_image(split.read(i), config.preprocessing) for i in positions
    ]
    np.testing.assert_array_equal(images, np.stack(expected))
    np.testing.assert_array_equal(labels, split.labels[positions])


def test_only_head_and_batch_norm_are_trained():
    net = engine_model.build(TINY_FIXRES, 3)
    fixres.freeze_for_fixres(net)
    trained = {w.path for w in net.trainable_variables}
    expected = {
        w.path
        for layer in net.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        or layer.name in ("top_conv", "predictions")
        for w in layer.trainable_variables
    }
    assert trained == expected
    assert any("block" in path for path in trained)
    frozen = {w.path for w in net.non_trainable_variables}
    assert {p for p in frozen if p.endswith("kernel")} == {
        w.path for w in net.weights if w.path.endswith("kernel")
    } - expected


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixres")
    config = TINY_FIXRES
    return folder, trainer.train(
        config, folder, tiny_source(), show=False, scores_only=True
    )


@pytest.mark.slow
def test_last_phase_changes_head_and_batch_norm_only(finished):
    folder, summary = finished
    assert summary["steps"] == 5
    net = engine_model.build(TINY_FIXRES, 3)
    before, after = (read_checkpoint(folder, step) for step in (4, 5))
    moved = {
        variable.path
        for i, variable in enumerate(net.variables)
        if (before[f"model/{i}"] != after[f"model/{i}"]).any()
    }
    assert any("block" in path and path.endswith("moving_mean") for path in moved)
    assert any("block" in path and path.endswith("gamma") for path in moved)
    kernels = {path for path in moved if path.endswith("kernel")}
    assert kernels == {"top_conv/kernel", "predictions/kernel"}
    # The moving average continues through both phases.
    ema = [i for i in before if i.startswith("ema/")]
    assert any((before[i] != after[i]).any() for i in ema)


# The first run crosses the change of phase, the second begins in the last phase.
@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4])
def test_run_resumed_in_either_phase_ends_bit_identical(finished, tmp_path, step):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    (workdir / "summary.json").unlink()
    for path in (workdir / "checkpoints").glob("step-*.npz"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()
    trainer.train(TINY_FIXRES, workdir, tiny_source(), show=False, scores_only=True)
    expected, found = read_checkpoint(finished[0]), read_checkpoint(workdir)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensor, found[name], err_msg=name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fixres_epochs": 6}, "`fixres_epochs` must leave epochs"),
        ({"head_only_epochs": 4.5}, "`fixres_epochs` must leave epochs"),
        ({"freeze_batch_norm": True}, "`freeze_batch_norm` must be False"),
        ({"patience_epochs": 2}, "`patience_epochs` must be None"),
        ({"fixres_epochs": -1}, "`fixres_epochs` must be at least 0"),
        ({"fixres_lr_per_256": 0}, "`fixres_lr_per_256` must be a finite number"),
    ],
)
def test_rejects_fields_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RUN, **fields).validate()
