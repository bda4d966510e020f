import dataclasses
import math
import zipfile

import pytest

import keras_efficientnet
from keras_efficientnet import VARIANTS, plan_cost
from training import config, dry_run
from training.config import TrainConfig
from training.data import dataset_info
from training.engine.checkpoints import Checkpoints
from training.engine.train_state import TrainState
from training.optim import optimizers


def rows(text):
    return {line[:20].strip(): line[20:] for line in text.splitlines()}


def test_plan_of_the_paper_s_recipe_needs_no_images():
    found = rows(dry_run.describe_run(config.load("imagenet:b0")))
    # Table 2 of the paper: 5.3 M parameters and 0.39 B multiply-adds.
    assert found["parameters"] == "5,288,548 trainable, 5,330,564 in all"
    assert found["multiply-adds"] == "0.386 G per image"
    assert found["images"] == (
        "1,256,167 train, 50,000 validation, 25,000 minival "
        "(as published; not found here)"
    )
    assert found["peak learning rate"].startswith("0.128,")


def test_steps_without_a_minival_are_the_original_s():
    recipe = dataclasses.replace(config.load("imagenet:b7"), minival=0)
    # Source: tensorflow/tpu, main.py, `train_steps`.
    assert rows(dry_run.describe_run(recipe))["steps"].startswith(
        "218,949 of 2048 images, 625.5"
    )


def test_plan_lists_phases():
    recipe = dataclasses.replace(
        config.load("finetune"), data="digits", epochs=4, head_only_epochs=2
    )
    text = dry_run.describe_run(recipe)
    # 1,079 training images in batches of 32: 33.7 steps per epoch.
    assert "steps 1 to 67: the classifier, 224 pixels" in text
    assert "steps 68 to 134: stages from 5, 224 pixels" in text


def test_unknown_data_is_an_error():
    recipe = TrainConfig(data="folder:nowhere")
    with pytest.raises(ValueError, match="folder"):
        dry_run.describe_run(recipe)


def test_data_that_a_run_would_fetch_is_not_fetched(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    recipe = TrainConfig(data="tfds:mnist", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="must be on this machine to be counted"):
        dry_run.describe_run(recipe)
    known = dataclasses.replace(recipe, data="tfds:cifar10")
    assert dry_run.count_images(known) == dry_run.Counts(
        10,
        {"train": 45_000, "validation": 5_000, "test": 10_000},
        "as published; not found here",
    )
    assert not any(tmp_path.iterdir())


def test_activations_of_a_small_network_by_hand():
    cost = plan_cost(VARIANTS["EfficientNetLite0"], 10, resolution=32)
    sizes = {row.name: row.activation_bytes for row in cost.layers}
    # The first block, by hand: its input, then convolution, BatchNorm and activation
    # of the depthwise part, then the 1x1 convolution and its BatchNorm, which the
    # next block reads. 16 x 16 pixels, 32 and 16 channels, float32.
    block = 3 * 16 * 16 * 32 * 4 + 2 * 16 * 16 * 16 * 4
    assert sum(v for k, v in sizes.items() if k.startswith("block1a_")) == block
    whole = dry_run.activation_bytes(cost)
    # Recomputed, it keeps its last output only, and is held for a moment.
    last = sizes["block1a_project_bn"]
    assert dry_run.activation_bytes(cost, remat=[1]) == whole
    held = {i: dry_run.activation_bytes(cost, remat=[i]) for i in range(1, 8)}
    assert set(held.values()) == {whole}
    both = dry_run.activation_bytes(cost, remat=range(1, 8))
    assert last < both < 0.6 * whole


def test_half_precision_and_frozen_parts_need_less():
    cost = plan_cost(VARIANTS["EfficientNetB0"])
    whole = dry_run.activation_bytes(cost)
    assert 0.5 < dry_run.activation_bytes(cost, itemsize=2) / whole < 0.51
    # Only the features that the classifier reads.
    assert dry_run.activation_bytes(cost, last_frozen=8) == 4 * 1280
    kept = [dry_run.activation_bytes(cost, last_frozen=i) for i in range(-1, 8)]
    assert kept == sorted(kept, reverse=True)


def test_checkpoint_is_as_large_as_planned(tmp_path, tiny):
    run = TrainConfig(model="EfficientNet", width=0.25, depth=0.3, image_size=32)
    cost = keras_efficientnet.profile(tiny)
    state = TrainState(tiny, optimizers.make_optimizer("rmsprop", 0.1), ema_decay=0.9)
    state.save(Checkpoints(tmp_path, keep=1))
    (written,) = tmp_path.iterdir()
    checkpoint, disk = dry_run.disk_bytes(run, cost)
    with zipfile.ZipFile(written) as archive:
        overhead = 500 * len(archive.namelist())  # headers of the arrays
    assert checkpoint < written.stat().st_size < checkpoint + overhead
    assert disk == 4 * checkpoint + 8 * cost.params


def test_memory_of_a_part_of_a_batch():
    whole = TrainConfig(data="digits")
    parts = dataclasses.replace(whole, grad_accum_steps=4)
    one = dry_run.memory_bytes(whole, 1000, 10, share=64)
    four = dry_run.memory_bytes(parts, 1000, 10, share=64)
    assert four["activations"] == one["activations"] / 4
    assert four["slots"] == one["slots"] == 2 * one["gradients"]


def test_replicas_are_counted_without_asking_anybody(monkeypatch):
    cluster = '{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    assert dry_run._replicas("multi_worker") == 3
    assert dry_run._replicas("auto") == 3
    assert dry_run._replicas("one_device") == 1
    assert dry_run._replicas("tpu") is None
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(ValueError, match="TF_CONFIG must be a JSON object"):
        dry_run._replicas("auto")


def test_plan_shows_groups_of_batch_norm(monkeypatch):
    monkeypatch.setattr(dry_run, "_replicas", lambda _: 16)
    config = TrainConfig(data="digits", model="EfficientNet", image_size=32)
    assert "16, 16 images of a step each; BatchNorm over groups of 8 replicas" in (
        dry_run.describe_run(config)
    )
    config.sync_batch_norm = True
    assert "BatchNorm over groups of 16 replicas" in dry_run.describe_run(config)
    config.sync_batch_norm, config.bn_group_size = False, 1
    assert "BatchNorm" not in dry_run.describe_run(config)


def test_published_sizes_are_found_by_name():
    assert dataset_info.find("tfds:imagenet2012:5.1.0") is dataset_info.IMAGENET
    assert dataset_info.find("folder:somewhere") is None
    assert math.isclose(dataset_info.IMAGENET.train / 2048, 625.57, abs_tol=0.01)
