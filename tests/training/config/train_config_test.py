import dataclasses

import pytest

from keras_efficientnet import EvalPreprocessing
from training import config
from training.config import TrainConfig, checks

# One halving, after the stem's.
SMALL = '[{"repeats": 1, "kernel": 3, "stride": 2, "expand": 1, "filters": 8}]'


def valid(**changes):
    return dataclasses.replace(TrainConfig(data="digits"), **changes)


def test_defaults_are_valid_and_match_the_paper():
    run = valid(batch_size=2048)
    run.validate()
    assert run.peak_lr == pytest.approx(0.128)
    # Source: tensorflow/tpu, main.py: train_steps of 350 epochs.
    assert run.total_steps(1_281_167) == 218_949


@pytest.mark.parametrize("spelling", ["EfficientNetB3", "efficientnet-b3", "b3"])
def test_model_may_be_spelled_in_many_ways(spelling):
    run = valid(model=spelling)
    run.validate()
    assert run.variant == "EfficientNetB3"
    assert run.resolution == 300


def test_image_size_overrides_the_variant():
    assert valid(image_size=64).preprocessing.image_size == 64


def test_stage_table_allows_smaller_images(tmp_path):
    run = valid(model="EfficientNet", stages=SMALL, image_size=4)
    run.validate()
    assert [stage.filters for stage in run.stage_table] == [8]
    (tmp_path / "table.json").write_text(SMALL)
    of_file = dataclasses.replace(run, stages=str(tmp_path / "table.json"))
    assert of_file.self_contained() == run.self_contained()
    assert str(tmp_path) not in of_file.self_contained().to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "b33"}, "one of EfficientNetB0, .* Received: name='b33'"),
        ({"model": "EfficientNet"}, "at least 32 pixels with 'EfficientNet'"),
        ({"reject_precision": 95}, "a ratio above 0 .* Received: reject_precision=95"),
        ({"reject_precision": 0}, "`reject_precision` must be a ratio above 0"),
        ({"unknown": "other"}, "`unknown` must be None without `reject_precision`"),
        ({"width": 0.5}, "`width` must stay 1.0 unless .* Received: width=0.5"),
        ({"lite": True}, "`lite` must stay False unless"),
        ({"family": "v2"}, "`family` must stay 'v1' unless `model` is 'EfficientNet'"),
        (
            {"model": "EfficientNet", "image_size": 32, "family": "v3"},
            "one of 'v1', 'lite', 'v2', 'edgetpu'",
        ),
        (
            {"model": "EfficientNet", "image_size": 32, "family": "v2", "lite": True},
            "`lite` must be False unless `family` is 'v1' or 'lite'",
        ),
        ({"train_size": 16}, "`train_size` must be None .* Received: train_size=16"),
        ({"mixing": "half"}, "`mixing` must be one of 'per_batch', 'half_and_half'"),
        ({"min_steps": -1}, "`min_steps` must be at least 0"),
        ({"progressive_schedule": "papper"}, "Did you mean 'paper'"),
        ({"progressive_stages": 0}, "`progressive_stages` must be at least 1"),
        (
            {"progressive_schedule": "paper", "image_size": 96},
            "`progressive_start_size` must be 32 to 96 pixels, the training size at",
        ),
        ({"model": "EfficientNet", "image_size": 32, "depth": 0}, "`depth` must be ab"),
        ({"model": "EfficientNet", "image_size": 32, "width": -1}, "`width` must be a"),
        ({"image_size": 16}, "`image_size` must be None .* Received: image_size=16"),
        ({"stages": "[]"}, "`stages` must have 1 to 7 rows"),
        ({"stages": SMALL}, "`stages` must stay None unless `model` is 'EfficientNet'"),
        ({"head_filters": 8}, "`head_filters` must stay 1280 unless"),
        (
            {"model": "EfficientNet", "stages": SMALL, "image_size": 3},
            "at least 4 pixels .* Received: image_size=3",
        ),
        (
            {"model": "EfficientNet", "image_size": 32, "stem_filters": 0},
            "`stem_filters` must be above 0",
        ),
        ({"task": "multilabel"}, "Did you mean 'multi_label'"),
        (
            {"task": "multi_label", "sampling": "balanced"},
            "`sampling` must stay None with task='multi_label'",
        ),
        (
            {"task": "multi_label", "logit_adjustment": 1.0},
            "`logit_adjustment` must stay 0.0 with task='multi_label'",
        ),
        (
            {"task": "multi_label", "pseudo_labels": "p.npz"},
            "`pseudo_labels` must stay None with task='multi_label'",
        ),
        ({"interpolation": "bilinaer"}, "Did you mean 'bilinear'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"optimizer": "adam"}, "`optimizer` must be one of 'rmsprop', 'sgd', 'adamw'"),
        ({"augment": "flip"}, "`augment` must be one of 'none', 'crop_flip', 'shift'"),
        ({"precision": "mixed_float"}, "Did you mean 'mixed_float16'"),
        ({"strategy": "mirror"}, "Did you mean 'mirrored'"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"bn_group_size": 0}, "`bn_group_size` must be at least 1"),
        (
            {"sync_batch_norm": True, "bn_group_size": 8},
            "`bn_group_size` must be None with `sync_batch_norm`. Received: bn_group_s",
        ),
        ({"keep_checkpoints": 0}, "`keep_checkpoints` must be at least 1"),
        ({"epochs": 0}, "`epochs` must be a finite number above 0"),
        ({"lr_per_256": float("inf")}, "`lr_per_256` must be a finite number"),
        ({"weight_decay": -1e-5}, "`weight_decay` must be at least 0"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be at least 0 and under 1"),
        ({"ema_decay": 1.0}, "`ema_decay` must be at least 0 and under 1"),
        ({"dropout": -0.1}, "`dropout` must be at least 0 and under 1"),
        ({"grad_accum_steps": 0}, "`grad_accum_steps` must be at least 1"),
        ({"minival": -1}, "`minival` must be at least 0"),
        ({"random_erasing": 1.5}, "`random_erasing` must be 0 to 1"),
        ({"unfreeze_from_stage": 8}, "`unfreeze_from_stage` must be 1 to 7"),
        ({"on_bad_image": "skipp"}, "Did you mean 'skip'"),
        ({"augment_compat": "exactly"}, "Did you mean 'exact'"),
        ({"progressive_sizes": "128,16"}, "at least 32 pixels, as in '128,224'"),
        ({"progressive_sizes": "128;224"}, "Received: progressive_sizes='128;224'"),
        ({"remat": "1,8"}, "`remat` must be 'all' or stages 1 to 7"),
    ],
)
def test_rejects_fields_out_of_range_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        valid(**changes).validate()


def test_json_holds_every_field():
    run = valid(model="lite0", dropout=None, epochs=2.5)
    assert TrainConfig.from_json(run.to_json()) == run


def test_rejects_unknown_json_fields_with_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'batch_size'"):
        TrainConfig.from_json('{"batchsize": 3}')


def test_recipe_is_found_by_name_and_by_path():
    by_path = config.load(str(config.RECIPES / "digits.py"))
    by_name = config.load("digits")
    assert by_name == dataclasses.replace(by_path, recipe="digits")
    by_path.validate()


def test_copied_recipe_works_in_any_folder_and_takes_an_argument(tmp_path):
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from ..config import TrainConfig\n"
        "def get_config(size='32'):\n"
        "    return TrainConfig(image_size=int(size))\n"
    )
    assert config.load(f"{recipe}:64").image_size == 64
    assert config.load(str(recipe)).image_size == 32


def test_rejects_unknown_recipes_with_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        config.load("digit")


def test_recipe_must_return_a_config(tmp_path):
    recipe = tmp_path / "wrong.py"
    recipe.write_text("def get_config():\n    return {}\n")
    with pytest.raises(TypeError, match="must return a TrainConfig"):
        config.load(str(recipe))


RECIPES = sorted(path.stem for path in config.RECIPES.glob("[!_]*.py"))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_usable(name):
    recipe = config.load(name)
    dataclasses.replace(recipe, data=recipe.data or "folder:photos").validate()


def test_lists_are_read_from_text():
    run = valid(progressive_sizes="128, 160,224", remat="2,3")
    run.validate()
    assert run.sizes == (128, 160, 224)
    assert run.remat_stages == (2, 3)
    assert valid(remat="all").remat_stages == (1, 2, 3, 4, 5, 6, 7)
    assert valid(model="b1").sizes == (240,)
    assert valid().remat_stages == ()


def test_choices_are_the_keys_of_the_tables():
    """The names stand apart, so that reading a config does not import TensorFlow."""
    from training.augment import mixup, transforms
    from training.engine import distribution
    from training.optim import optimizers, schedules

    assert tuple(transforms.AUGMENTATIONS) == checks.AUGMENTATIONS
    assert checks.COMPAT == transforms.COMPAT
    assert tuple(mixup.MIXING) == checks.MIXING
    assert tuple(optimizers.OPTIMIZERS) == checks.OPTIMIZERS
    assert tuple(schedules.SCHEDULES) == checks.SCHEDULES
    assert tuple(distribution.STRATEGIES) == checks.STRATEGIES


def test_suggests_the_new_name_of_renamed_fields():
    with pytest.raises(ValueError, match="Did you mean 'grad_accum_steps'"):
        TrainConfig.from_json('{"accumulate": 2}')


# Source: google/automl, efficientnetv2/effnetv2_configs.py; (train, evaluation) pixels.
V2_SIZES = {
    "v2b0": (192, 224),
    "v2b1": (192, 240),
    "v2b2": (208, 260),
    "v2b3": (240, 300),
    "v2s": (300, 384),
    "v2m": (384, 480),
    "v2l": (384, 480),
    "v2xl": (384, 512),
}


@pytest.mark.parametrize(("name", "sizes"), V2_SIZES.items())
def test_v2_trains_and_evaluates_at_the_published_sizes(name, sizes):
    run = valid(model=name)
    run.validate()
    assert (*run.sizes, run.resolution) == sizes
    # A chosen size, and weights to start from, mean the same size for both.
    assert valid(model=name, image_size=64).sizes == (64,)
    assert valid(model=name, weights="imagenet21k").sizes == (run.resolution,)
    assert valid(model=name, image_size=64, train_size=40).sizes == (40,)


# Source: google/automl, efficientnetv2/preprocessing.py.
def test_evaluation_is_that_of_the_family():
    found = {name: valid(model=name).preprocessing for name in ("b0", "v2b0", "v2s")}
    assert found["b0"] == found["v2b0"] == EvalPreprocessing(224)
    assert found["v2s"] == EvalPreprocessing(
        384, 1.0, "bilinear_no_antialias", "squash"
    )
    # Below 320 pixels, the original crops.
    small = valid(model="v2s", image_size=224).preprocessing
    assert small == EvalPreprocessing(224, 224 / 256, "bilinear_no_antialias")
    chosen = valid(model="v2s", crop_ratio=0.5, interpolation="bicubic")
    assert chosen.preprocessing == EvalPreprocessing(384, 0.5, "bicubic")


def test_families_have_their_own_stages():
    general = dict(model="EfficientNet", image_size=32)
    run = valid(family="v2", remat="all", **general)
    run.validate()
    assert run.remat_stages == valid(model="v2b0", remat="all").remat_stages
    assert run.remat_stages == (1, 2, 3, 4, 5, 6)
    assert valid(family="lite", **general).architecture == (
        valid(lite=True, **general).architecture
    )
