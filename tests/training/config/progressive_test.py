"""Schedules of progressive learning, against google/automl and arXiv:2104.00298."""

import numpy as np
import pytest

from keras_efficientnet import VARIANTS
from training.config import progressive

# Source: google/automl, efficientnetv2/main.py: int(128 + (train - 128) * (k + 1) / 4).
AUTOML_SIZES = {
    "B0": (144, 160, 176, 192),
    "B1": (144, 160, 176, 192),
    "B2": (148, 168, 188, 208),
    "B3": (156, 184, 212, 240),
    "S": (171, 214, 257, 300),
    "M": (192, 256, 320, 384),
    "L": (192, 256, 320, 384),
    "XL": (192, 256, 320, 384),
}


@pytest.mark.parametrize(("size", "expected"), AUTOML_SIZES.items())
def test_sizes_match_the_original_code(size, expected):
    end = progressive.TRAIN_SIZES[f"EfficientNetV2{size}"]
    assert progressive.image_sizes("automl", 4, 128, end) == expected


def test_sizes_of_the_paper_start_at_the_smallest():
    # arXiv:2104.00298, algorithm 1: S_i = S_0 + (S_e - S_0) * i / (M - 1).
    assert progressive.image_sizes("paper", 4, 128, 300) == (128, 185, 242, 300)
    assert progressive.image_sizes("paper", 4, 128, 380) == (128, 212, 296, 380)


@pytest.mark.parametrize("schedule", progressive.SCHEDULES)
@pytest.mark.parametrize("stages", [1, 2, 3, 7])
def test_last_phase_has_the_final_size(schedule, stages):
    sizes = progressive.image_sizes(schedule, stages, 33, 64)
    assert len(sizes) == stages
    assert sizes[-1] == 64
    assert list(sizes) == sorted(sizes)


@pytest.mark.parametrize(("end", "stages"), [(10, 4), (15, 4), (20, 4), (7, 2), (9, 1)])
def test_strength_grows_linearly(end, stages):
    found = progressive.ramp(5, end, stages)
    expected = np.linspace(5, end, stages) if stages > 1 else [end]
    assert found == pytest.approx(tuple(expected))


def test_strength_never_falls():
    assert progressive.ramp(5, 3, 3) == (3, 3, 3)


def test_training_sizes_belong_to_v2_variants():
    of_v2 = [name for name, row in VARIANTS.items() if row.family == "v2"]
    assert list(progressive.TRAIN_SIZES) == of_v2
