"""Variant tables, compared with the resolved numbers of the original code.

Source of the goldens: the original graph code (tensorflow/tpu,
models/official/efficientnet) run under TensorFlow 2.15.
"""

import dataclasses
import itertools
import math

import pytest

from keras_efficientnet import architecture
from keras_efficientnet.architecture import VARIANTS, block_plan

# stem; stage outputs; head; repeats; feature sizes after stem, stages 2, 3, 4, 6.
RESOLVED = """
B0 32 16 24 40 80 112 192 320 1280 1 2 2 3 3 4 1 112 56 28 14 7
B1 32 16 24 40 80 112 192 320 1280 2 3 3 4 4 5 2 120 60 30 15 8
B2 32 16 24 48 88 120 208 352 1408 2 3 3 4 4 5 2 130 65 33 17 9
B3 40 24 32 48 96 136 232 384 1536 2 3 3 5 5 6 2 150 75 38 19 10
B4 48 24 32 56 112 160 272 448 1792 2 4 4 6 6 8 2 190 95 48 24 12
B5 48 24 40 64 128 176 304 512 2048 3 5 5 7 7 9 3 228 114 57 29 15
B6 56 32 40 72 144 200 344 576 2304 3 6 6 8 8 11 3 264 132 66 33 17
B7 64 32 48 80 160 224 384 640 2560 4 7 7 10 10 13 4 300 150 75 38 19
B8 72 32 56 88 176 248 424 704 2816 4 8 8 11 11 15 4 336 168 84 42 21
L2 136 72 104 176 344 480 824 1376 5504 6 11 11 16 16 22 6 400 200 100 50 25
Lite0 32 16 24 40 80 112 192 320 1280 1 2 2 3 3 4 1 112 56 28 14 7
Lite1 32 16 24 40 80 112 192 320 1280 1 3 3 4 4 5 1 120 60 30 15 8
Lite2 32 16 24 48 88 120 208 352 1280 1 3 3 4 4 5 1 130 65 33 17 9
Lite3 32 24 32 48 96 136 232 384 1280 1 3 3 5 5 6 1 140 70 35 18 9
Lite4 32 24 32 56 112 160 272 448 1280 1 4 4 6 6 8 1 150 75 38 19 10
"""
ROWS = {
    "EfficientNet" + name: tuple(map(int, numbers))
    for name, *numbers in map(str.split, RESOLVED.strip().splitlines())
}
# Blocks and dropout rate. Source: as above.
BLOCKS = dict(
    zip(
        ROWS,
        [16, 23, 23, 26, 32, 39, 45, 55, 61, 88, 16, 21, 21, 24, 30],
        strict=True,
    )
)
DROPOUT = dict(
    zip(
        ROWS,
        [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5, 0.2, 0.2, 0.3, 0.3, 0.3],
        strict=True,
    )
)


def test_the_first_family_has_all_its_variants():
    families = {key: row.family for key, row in VARIANTS.items()}
    assert [key for key, family in families.items() if family == "v1"] == list(ROWS)


@pytest.mark.parametrize("key", ROWS)
def test_channels_repeats_and_sizes(key):
    variant, golden = VARIANTS[key], ROWS[key]
    plan = block_plan(variant)
    stages = [list(group) for _, group in itertools.groupby(plan, lambda b: b.stage)]
    assert variant.stem_filters == golden[0]
    assert tuple(stage[-1].filters_out for stage in stages) == golden[1:8]
    assert variant.head_filters == golden[8]
    assert tuple(len(stage) for stage in stages) == golden[9:16]
    assert len(plan) == BLOCKS[key]
    assert variant.dropout == DROPOUT[key]
    size = math.ceil(variant.resolution / 2)
    sizes = [size]
    for block in plan:
        size = math.ceil(size / block.stride)
        sizes += [size] if block.stride == 2 else []
    assert tuple(sizes) == golden[16:]


def test_squeeze_excite_channels_of_b0():
    """First and further blocks of each stage, worked out by hand in the original."""
    plan = block_plan(VARIANTS["EfficientNetB0"])
    widths = {block.name: block.se_filters for block in plan}
    assert widths["block1a"] == 8
    assert (widths["block2a"], widths["block2b"]) == (4, 6)
    assert (widths["block3a"], widths["block3b"]) == (6, 10)
    assert (widths["block6a"], widths["block6d"]) == (28, 48)
    assert widths["block7a"] == 48
    assert not any(b.se_filters for b in block_plan(VARIANTS["EfficientNetLite0"]))


def test_drop_rates_of_b0():
    """Source: rates printed by the original graph code."""
    rates = {
        block.name: block.drop_rate
        for block in block_plan(VARIANTS["EfficientNetB0"], 0.2)
        if block.has_skip
    }
    assert rates == pytest.approx(
        {
            "block2b": 0.025,
            "block3b": 0.05,
            "block4b": 0.075,
            "block4c": 0.0875,
            "block5b": 0.1125,
            "block5c": 0.125,
            "block6b": 0.15,
            "block6c": 0.1625,
            "block6d": 0.175,
        }
    )


@pytest.mark.parametrize("key", ROWS)
def test_drop_rates_rise_evenly_to_just_under_the_setting(key):
    rates = [block.drop_rate for block in block_plan(VARIANTS[key], 0.2)]
    n = BLOCKS[key]
    assert rates == pytest.approx([0.2 * i / n for i in range(n)])


def test_reduction_levels_of_b0():
    """Source: endpoints of the original; blocks 0, 2, 4, 10 and 15."""
    plan = block_plan(VARIANTS["EfficientNetB0"])
    assert architecture.reduction_blocks(plan) == {
        1: "block1a",
        2: "block2b",
        3: "block3b",
        4: "block5c",
        5: "block7a",
    }


def test_block_plan_rejects_a_drop_rate_of_one():
    with pytest.raises(ValueError, match=r"under 1. Received: drop_connect=1.0"):
        block_plan(VARIANTS["EfficientNetB0"], 1.0)


def test_block_plan_rejects_more_blocks_than_letters():
    deep = dataclasses.replace(VARIANTS["EfficientNetB0"], depth=176)
    with pytest.raises(
        ValueError, match="at most 702 .* 6 would have 704. .*depth=176"
    ):
        block_plan(deep)


def test_blocks_beyond_z_have_two_letters():
    """Figure 3 of the paper has 8 times B0's depth."""
    names = [
        block.name
        for block in block_plan(
            dataclasses.replace(VARIANTS["EfficientNetB0"], depth=8)
        )
        if block.stage == 6
    ]
    assert len(names) == 32
    assert names[25:28] == ["block6z", "block6aa", "block6ab"]
    for index in (0, 25, 26, 27, 51, 52, 701):
        name = architecture.block_name(6, index)
        assert architecture.read_block_name(name) == (6, index)
        assert architecture.read_block_name(f"{name}_se_reduce") == (6, index)
    assert architecture.block_name(6, 701) == "block6zz"
    assert architecture.read_block_name("top_conv") is None


@pytest.mark.parametrize("name", ["b4", "B4", "efficientnet-b4", "EfficientNetB4"])
def test_find_variant_takes_common_spellings(name):
    assert architecture.find_variant(name) == "EfficientNetB4"


def test_find_variant_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'EfficientNetB1'"):
        architecture.find_variant("EfficientNetB11")
