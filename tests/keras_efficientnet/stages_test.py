import dataclasses

import pytest

import keras_efficientnet
from keras_efficientnet import STAGES, Stage, architecture, format_stages, read_stages
from keras_efficientnet.architecture import Variant, block_plan
from keras_efficientnet.efficientnet import build

# Two halvings, a stage without squeeze-excite, one without skips.
SMALL = (
    Stage(repeats=2, kernel=3, stride=1, expand=1, filters=16, se_ratio=0.0),
    Stage(repeats=2, kernel=5, stride=2, expand=3, filters=24, skip=False),
    Stage(repeats=1, kernel=3, stride=1, expand=2, filters=24, se_ratio=0.5),
)


@pytest.fixture(scope="module")
def small():
    return keras_efficientnet.EfficientNet(
        1.0, 1.0, 8, stages=SMALL, stem_filters=8, head_filters=40, classes=5
    )


def test_a_stage_table_determines_the_network(small):
    names = {layer.name for layer in small.layers}
    assert small.get_layer("stem_conv").filters == 8
    assert small.get_layer("top_conv").filters == 40
    assert {"block1b_add", "block3a_add"} <= names  # keep their shape
    assert "block2b_add" not in names
    assert not any(name.startswith("block1") and "_se_" in name for name in names)
    assert small.get_layer("block2a_se_reduce").filters == 4  # 16 * 0.25
    assert small.get_layer("block3a_se_reduce").filters == 12  # 24 * 0.5
    assert small.get_layer("block2b_dwconv").kernel_size == (5, 5)
    assert small.input_shape == (None, 8, 8, 3)


def test_cost_of_a_stage_table_equals_the_built_network(small):
    variant = Variant(1.0, 1.0, 8, 0.2, False, SMALL, 8, 40)
    planned = keras_efficientnet.plan_cost(variant, classes=5)
    assert keras_efficientnet.profile(small).layers[1:] == planned.layers[1:]
    assert planned.params == small.count_params()


def test_weights_of_a_stage_table_load_into_the_same(small, tmp_path):
    small.save_weights(tmp_path / "small.weights.h5")
    options = {"stages": SMALL, "stem_filters": 8, "head_filters": 40, "classes": 5}
    path = str(tmp_path / "small.weights.h5")
    again = keras_efficientnet.EfficientNet(1.0, 1.0, 8, weights=path, **options)
    for one, other in zip(small.get_weights(), again.get_weights(), strict=True):
        assert (one == other).all()


def test_default_stages_are_those_of_b0():
    assert keras_efficientnet.VARIANTS["EfficientNetB0"].stages == STAGES
    assert len(block_plan(Variant(1.0, 1.0, 224, 0.2))) == 16


def test_features_of_fewer_levels():
    variant = Variant(1.0, 1.0, 16, 0.2, False, SMALL)
    plan = block_plan(variant)
    assert architecture.reduction_blocks(plan) == {1: "block1b", 2: "block3a"}
    with pytest.raises(ValueError, match=r"out of 1 to 2. Received: features=\(3,\)"):
        build(variant, features=(3,))
    halving = (dataclasses.replace(SMALL[0], stride=2), *SMALL[1:])
    plan = block_plan(dataclasses.replace(variant, stages=halving))
    assert architecture.reduction_blocks(plan) == {2: "block1b", 3: "block3a"}


def test_rejects_a_resolution_below_the_smallest_image():
    with pytest.raises(ValueError, match="at least 4 pixels. Received: resolution=3"):
        keras_efficientnet.EfficientNet(1.0, 1.0, 3, stages=SMALL)


def test_stage_tables_are_read_from_text_and_from_files(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(format_stages(SMALL))
    assert read_stages(path) == read_stages(path.read_text()) == SMALL
    assert "kind" not in path.read_text()
    fused = tuple(dataclasses.replace(row, kind="fused") for row in SMALL)
    assert read_stages(format_stages(fused)) == fused
    short = '[{"repeats": 1, "kernel": 3, "stride": 1, "expand": 1, "filters": 16}]'
    assert read_stages(short) == STAGES[:1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.json", "JSON text or the path of a file. Received: stages='missing"),
        ("[", "must be a JSON list of objects with the keys repeats, kernel"),
        ('[{"kernle": 3}]', "unexpected keyword argument 'kernle'"),
        ("[3]", "must be a JSON list of objects"),
        ("[]", "1 to 7 rows, .* Received: 0 rows"),
    ],
)
def test_rejects_unreadable_stage_tables(source, message):
    with pytest.raises(ValueError, match=message):
        read_stages(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeats": 0}, "`repeats` of a stage must be an integer of at least 1"),
        ({"kernel": 4}, "`kernel` of a stage must be odd. Received: kernel=4"),
        ({"stride": 3}, "`stride` of a stage must be 1 or 2. Received: stride=3"),
        ({"expand": 1.5}, "`expand` of a stage must be an integer"),
        ({"filters": True}, "`filters` of a stage must be an integer"),
        ({"se_ratio": 2}, "`se_ratio` of a stage must be 0 to 1"),
        ({"kind": "fussed"}, "`kind` of a stage must be 'mbconv' or 'fused'"),
        ({"nominal_input": -8}, "`nominal_input` of a stage must be an integer"),
        ({"skip": 1}, "`skip` of a stage must be true or false. Received: skip=1"),
    ],
)
def test_rejects_stage_fields_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(STAGES[1], **change)


def test_rejects_rows_that_are_not_stages():
    with pytest.raises(TypeError, match=r"rows of `Stage`.* Received: \(1, 3\)"):
        Variant(1.0, 1.0, 32, 0.2, False, ((1, 3),))
