import dataclasses
import functools
import math

import pytest

from training import config, dry_run
from training.config import TrainConfig
from training.data import dataset_info
from training.reporting.run_folder import RunFolder


def rows(text):
    return {line[:20].strip(): line[20:] for line in text.splitlines()}


def test_plan_of_the_imagenet_recipe_needs_no_images():
    found = rows(dry_run.describe_run(config.load("imagenet:b0")))
    # Table 2 of the paper: 5.3 M parameters and 0.39 B multiply-adds.
    assert found["parameters"] == "5,288,548 trainable, 5,330,564 in all"
    assert found["multiply-adds"] == "0.386 G per image"
    assert found["images"] == (
        "1,256,167 train, 50,000 validation, 25,000 minival "
        "(published sizes; not on this machine)"
    )
    assert found["peak learning rate"].startswith("0.128,")


def test_steps_without_minival_match_the_original():
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


def test_plan_lists_what_grows_from_phase_to_phase():
    text = dry_run.describe_run(config.load("imagenet_v2:m"), replicas=8)
    # 1,256,167 images at 4096 a step; phases start at epochs 0, 87, 175 and 262.
    for line in (
        "steps 1 to 26,681: all weights, 192 pixels, RandAugment 5, MixUp 0, CutMix 0",
        "steps 26,682 to 53,669: all weights, 256 pixels, RandAugment 8.33, "
        "MixUp 0.0667, CutMix 0.0667",
        "steps 80,351 to 107,338: all weights, 384 pixels, RandAugment 15, MixUp 0.2, ",
    ):
        assert line in text
    assert "EfficientNetV2M at 480 pixels" in text
    assert "BatchNorm over groups of 8 replicas" in text


def test_plan_names_the_teacher_and_lists_the_fixres_phase():
    recipe = dataclasses.replace(
        config.load("digits"), fixres_epochs=3, teacher="EfficientNetB0:advprop"
    )
    found = rows(dry_run.describe_run(recipe))
    assert found["teacher"].startswith("EfficientNetB0:advprop ")
    text = dry_run.describe_run(recipe)
    assert "steps 911 to 1,011: FixRes: head and BatchNorm, 32 pixels" in text


def test_plan_rejects_an_unknown_teacher():
    recipe = dataclasses.replace(config.load("digits"), teacher="EfficientNetB0:advprp")
    with pytest.raises((ValueError, OSError), match="advprp"):
        dry_run.describe_run(recipe)


def test_rejects_unknown_data():
    recipe = TrainConfig(data="folder:nowhere")
    with pytest.raises(ValueError, match="folder"):
        dry_run.describe_run(recipe)


def test_plan_does_not_download_data(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    recipe = TrainConfig(data="tfds:mnist", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="must be on this machine to be counted"):
        dry_run.describe_run(recipe)
    known = dataclasses.replace(recipe, data="tfds:cifar10")
    assert dry_run.count_images(known) == dry_run.Counts(
        10,
        {"train": 45_000, "validation": 5_000, "test": 10_000},
        "published sizes; not on this machine",
    )
    assert not any(tmp_path.iterdir())


def test_replicas_are_counted_without_connecting_to_workers(monkeypatch):
    cluster = (
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    monkeypatch.setenv("TF_CONFIG", cluster)
    assert dry_run._replicas("multi_worker") == 3
    assert dry_run._replicas("auto") == 3
    assert dry_run._replicas("one_device") == 1
    assert dry_run._replicas("tpu") is None
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(ValueError, match="TF_CONFIG must be a JSON object"):
        dry_run._replicas("auto")


@pytest.fixture
def small():
    return TrainConfig(data="digits", model="EfficientNet", image_size=32)


def test_plan_shows_groups_of_batch_norm(small):
    plan = functools.partial(dry_run.describe_run, replicas=16)
    assert "16, 16 images per step each; BatchNorm over groups of 8 replicas" in (
        plan(small)
    )
    small.sync_batch_norm = True
    assert "BatchNorm over groups of 16 replicas" in plan(small)
    small.sync_batch_norm, small.bn_group_size = False, 1
    assert "BatchNorm" not in plan(small)


def test_plans_for_devices_of_other_machines(small, monkeypatch):
    monkeypatch.setattr(dry_run, "device_memory", lambda: 1)  # this machine's
    found = rows(dry_run.describe_run(small, replicas=8))
    assert found["replicas"].startswith("8, 32 images per step each")
    assert "warning" not in found
    one = rows(dry_run.describe_run(small, replicas=1))["memory per replica"]
    assert found["memory per replica"] != one


def test_plan_rejects_what_the_run_rejects(small, tmp_path):
    changed = functools.partial(dataclasses.replace, small)
    for refused, replicas, match in (
        (small, 3, "`batch_size` must be a multiple of the number of replicas, 3"),
        (changed(grad_accum_steps=3), 1, "`grad_accum_steps` must divide"),
        (changed(grad_accum_steps=2), 16, "must be 1 with `bn_group_size`, 8"),
        (changed(bn_group_size=3), 8, "`bn_group_size` must divide"),
        (changed(weights="imagenet"), 1, "`weights` must be a path or None"),
        (changed(weights="nowhere.h5"), 1, "`weights` must be the path of a file"),
        (changed(minival=2000), 1, "`minival` must be above 0 and under the 1079"),
        (changed(strategy="multi_worker"), None, "needs a cluster"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            dry_run.describe_run(refused, replicas=replicas)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError, match="`workdir` must be a folder"):
        dry_run.describe_run(small, file)


def test_plan_rejects_the_folder_of_another_run(small, tmp_path):
    folder = RunFolder(tmp_path)
    folder.config.write_text(dataclasses.replace(small, seed=7).to_json())
    dry_run.describe_run(small, tmp_path)  # no steps would be lost yet
    folder.summary.write_text("{}")
    with pytest.raises(ValueError, match="differs in seed: 7 -> 0"):
        dry_run.describe_run(small, tmp_path)


def test_plan_warns_about_memory_and_suggests_settings(small):
    plan = dry_run.describe_run(small, replicas=1, device_gb=0.3)
    assert "warning" in plan
    assert "the memory estimate exceeds the 300.0 MB of a device" in plan
    assert "--config.remat=all needs about" in plan
    assert "--config.grad_accum_steps=" in plan
    assert "warning" not in dry_run.describe_run(small, replicas=1, device_gb=80)


def test_published_sizes_are_found_by_name():
    assert dataset_info.find("tfds:imagenet2012:5.1.0") is dataset_info.IMAGENET
    assert dataset_info.find("folder:somewhere") is None
    assert math.isclose(dataset_info.IMAGENET.train / 2048, 625.57, abs_tol=0.01)
