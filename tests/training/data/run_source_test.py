import dataclasses

import numpy as np
import pytest

from training import dry_run
from training.config import TrainConfig
from training.data import run_source, sources
from training.engine import distribution

DIGITS = TrainConfig(data="digits")


def lengths(source):
    return {name: len(split) for name, split in source.splits.items()}


def test_training_and_dry_run_open_the_same_images():
    digits = sources.load("digits")
    for config in (DIGITS, dataclasses.replace(DIGITS, minival=100)):
        source = run_source.open_source(config)
        assert dry_run.count_images(config).splits == lengths(source)
    assert lengths(source)["minival"] == 100
    assert lengths(source)["train"] == len(digits.split("train")) - 100


def test_given_source_replaces_the_named_one():
    images = np.zeros((20, 8, 8, 3), np.uint8)
    part = (images, np.arange(20) % 2)
    given = sources.arrays({"train": part, "validation": part}, ["a", "b"])
    config = dataclasses.replace(DIGITS, data="folder:not-there", minival=4)
    found = run_source.open_source(config, given)
    assert lengths(found) == {"train": 16, "minival": 4, "validation": 20}


def source_of_sets(sets, validation=None):
    """Returns a source of black images with several labels."""
    sets = np.array(sets, np.uint8)
    held_out = sets if validation is None else np.array(validation, np.uint8)
    images = [np.zeros((len(found), 8, 8, 3), np.uint8) for found in (sets, held_out)]
    parts = {"train": (images[0], sets), "validation": (images[1], held_out)}
    return sources.arrays(parts, ["a", "b"])


MULTI = TrainConfig(data="csv:x.csv", task="multi_label")


@pytest.mark.parametrize(
    ("config", "source", "message"),
    [
        (
            MULTI,
            sources.arrays(
                {
                    name: (np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
                    for name in ("train", "validation")
                },
                ["a", "b"],
            ),
            "any number of labels per image with task='multi_label': use 'csv:FILE'",
        ),
        (
            TrainConfig(data="csv:x.csv"),
            source_of_sets([[1, 1], [0, 0]]),
            "must have one label per image unless task='multi_label'",
        ),
        (
            MULTI,
            source_of_sets([[1, 1]], validation=[[0, 0]]),
            "a label in its split 'validation'. Received: 1 images without labels",
        ),
        (
            MULTI,
            source_of_sets([[1, 0]], validation=[[0, 1]]),
            "Each label must have training images. Received: none of b",
        ),
        (
            dataclasses.replace(MULTI, class_weights='{"a": 1, "c": 2}'),
            source_of_sets([[1, 1], [0, 0]]),
            "unknown c",
        ),
    ],
)
def test_rejects_data_that_does_not_fit_the_task(config, source, message):
    with pytest.raises(ValueError, match=message):
        run_source.open_source(config, source)


def test_batches_hold_all_labels_and_the_weight_of_each_image():
    source = source_of_sets([[1, 1], [0, 0], [0, 1], [1, 0]])
    train = dataclasses.replace(
        source.split("train"), weights=np.array([1, 2, 0.5, 0], np.float32)
    )
    source = dataclasses.replace(source, splits={**source.splits, "train": train})
    config = dataclasses.replace(MULTI, model="lite0", batch_size=4, augment="none")
    batches = run_source.train_batches(
        config,
        source,
        image_size=8,
        first_step=0,
        last_step=1,
        strategy=distribution.make_strategy("one_device"),
    )
    _, rows, mask = next(iter(batches))
    assert sorted(rows.numpy().tolist()) == [
        [0, 0, 0],
        [0, 0, 2],
        [0, 0.5, 0.5],
        [1, 1, 1],
    ]
    assert sorted(mask.numpy().tolist()) == [0, 1, 1, 1]
