import dataclasses

import numpy as np

from training import dry_run
from training.config import TrainConfig
from training.data import run_source, sources

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
