import dataclasses

import pytest
from absl import flags

from training import config
from training.config import flags as config_flags
from training.config import names


def parse(*arguments):
    values = flags.FlagValues()
    argv = config_flags.define(values, ["main", *arguments])
    values(argv)
    return values.config


@pytest.mark.parametrize("value", ["", "none", "None", " NONE "])
@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ("finetune", "weights"),
        ("finetune", "unfreeze_from_stage"),
        ("digits", "dropout"),
    ],
)
def test_none_unsets_text_integers_and_fractions(recipe, field, value):
    assert getattr(config.load(recipe), field) is not None
    assert (
        getattr(parse(f"--config={recipe}", f"--config.{field}={value}"), field) is None
    )


def test_the_last_value_of_a_field_counts():
    unset = ("--config.dropout=0.3", "--config.dropout=none")
    assert parse("--config=digits", *unset).dropout is None
    assert parse("--config=digits", *reversed(unset)).dropout == 0.3


def test_value_may_be_an_argument_of_its_own():
    assert parse("--config=digits", "--config.dropout", "none").dropout is None
    assert parse("--config=digits", "--config.image_size", "64").image_size == 64


def test_none_without_a_recipe():
    assert parse("--config.weights=none").weights is None


def test_rejects_none_for_required_fields():
    with pytest.raises(flags.IllegalFlagValueError, match="epochs"):
        parse("--config=digits", "--config.epochs=none")


def test_suggests_the_three_nearest_fields():
    parse("--config=digits", "--config.seed=1", "--noconfig.lite")
    with pytest.raises(ValueError, match="Did you mean 'lite'") as caught:
        parse("--noconfig.lit")
    assert "batch_size" not in str(caught.value)
    three = r"Did you mean '\w+', '\w+' or '\w+'\?"
    with pytest.raises(ValueError, match=three):
        parse("--config.warm_epochs=1")


# Names in Keras, timm, Hugging Face and Ultralytics.
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("learning_rate", "lr_per_256"),
        ("pretrained", "weights"),
        ("imgsz", "image_size"),
        ("gradient_accumulation_steps", "grad_accum_steps"),
        ("drop_path", "drop_connect"),
        ("LR", "lr_per_256"),
    ],
)
def test_suggests_the_field_for_names_of_other_trainers(name, field):
    with pytest.raises(ValueError, match=f"lists. Did you mean '{field}'. Received"):
        parse(f"--config.{name}=1")


def test_every_alias_names_a_field():
    fields = [field.name for field in dataclasses.fields(config.TrainConfig)]
    assert set(names._ALIASES.values()) <= set(fields)
    assert not set(names._ALIASES) & set(fields)


@pytest.mark.parametrize(("old", "new"), names.RENAMED.items())
def test_suggests_the_new_name_of_renamed_fields(old, new):
    with pytest.raises(ValueError, match=f"Did you mean '{new}'"):
        parse(f"--config.{old}=1")
