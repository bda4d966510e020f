"""Every recipe, for every argument, against the published settings."""

import pathlib

import pytest

from keras_efficientnet import VARIANTS
from training import config
from training.data import dataset_info
from training.optim import schedules

NAMES = [name.removeprefix("EfficientNet").lower() for name in VARIANTS]
# Source: arXiv:1905.11946, Table 6; (train, test, classes).
TABLE_6 = {
    "cifar10": (50000, 10000, 10),
    "cifar100": (50000, 10000, 100),
    "birdsnap": (47386, 2443, 500),
    "cars": (8144, 8041, 196),
    "flowers": (2040, 6149, 102),
    "aircraft": (6667, 3333, 100),
    "pets": (3680, 3369, 37),
    "food101": (75750, 25250, 101),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "recipe", ["imagenet", "imagenet_randaugment", "noisy_student", "advprop"]
)
def test_imagenet_recipes_exist_for_every_variant(recipe, name):
    found = config.load(f"{recipe}:{name}")
    found.validate()
    assert found.resolution == VARIANTS[found.variant].resolution


def test_imagenet_matches_the_paper():
    run = config.load("imagenet:b3")
    assert (run.peak_lr, run.epochs, run.batch_size) == (0.128, 350, 2048)
    assert (run.weight_decay, run.label_smoothing, run.ema_decay) == (1e-5, 0.1, 0.9999)
    assert (run.augment, run.augment_compat) == ("autoaugment", "exact")
    assert (run.precision, run.optimizer) == ("mixed_bfloat16", "rmsprop")
    assert run.drop_connect == pytest.approx(0.2)
    assert run.dropout is None  # the variant's
    rate = schedules.make_schedule(
        run.schedule,
        peak_lr=run.peak_lr,
        steps_per_epoch=run.steps_per_epoch(dataset_info.IMAGENET.train),
        warmup_epochs=run.warmup_epochs,
        total_steps=run.total_steps(dataset_info.IMAGENET.train),
        decay_epochs=run.decay_epochs,
    )
    # Values of the original graph, which ran on all images.
    samples = {1000: 0.0409338, 3126: 0.1279591, 3127: 0.1204352, 100_000: 0.0171453}
    for step, expected in samples.items():
        assert float(rate(step)) == pytest.approx(expected, rel=1e-4)


def test_randaugment_magnitudes_match_the_readme():
    found = {}
    for name in ("b0", "b5", "b7", "b8"):
        run = config.load(f"imagenet_randaugment:{name}")
        assert run.augment == "randaugment"
        found[name] = (run.randaugment_layers, run.randaugment_magnitude)
    assert found == {"b0": (2, 10), "b5": (2, 17), "b7": (2, 28), "b8": (2, 28)}


@pytest.mark.parametrize(
    ("name", "epochs", "decay_epochs"),
    [("b0", 350, 2.4), ("b4", 350, 2.4), ("b5", 700, 4.8), ("l2", 700, 4.8)],
)
def test_large_students_train_twice_as_long(name, epochs, decay_epochs):
    run = config.load(f"noisy_student:{name}")
    assert (run.epochs, run.decay_epochs) == (epochs, decay_epochs)
    assert (run.randaugment_layers, run.randaugment_magnitude) == (2, 27)
    assert (run.dropout, run.drop_connect, run.pseudo_labels != "") == (0.5, 0.2, True)


def test_small_networks_get_a_weaker_attacker():
    # arXiv:1911.09665: B0 one step of 1; by default five steps up to 4.
    weak, strong = config.load("advprop:b0"), config.load("advprop:b8")
    assert (weak.adversarial_epsilon, weak.adversarial_steps) == (1, 1)
    assert (strong.adversarial_epsilon, strong.adversarial_steps) == (4, 5)
    assert weak.normalization == strong.normalization == "inception"


@pytest.mark.parametrize("name", TABLE_6)
def test_transfer_trains_20_000_steps_at_the_published_sizes(name):
    run = config.load(f"transfer:b0,{name}")
    run.validate()
    train, test, classes = TABLE_6[name]
    known = dataset_info.TRANSFER[name]
    assert (known.train, known.classes) == (train, classes)
    # The table's 3,369 for pets is a typo; the data set lists 3,669.
    assert known.test == (3669 if name == "pets" else test)
    left = known.splits["train"]
    # Flowers has official validation images; the others hold out a tenth.
    assert left == (1020 if name == "flowers" else pytest.approx(0.9 * train, abs=1))
    assert run.total_steps(left) == 20_000
    # Momentum rule of arXiv:1805.08974: max(1 - 10 / steps per epoch, 0.9).
    assert run.bn_momentum == pytest.approx(max(1 - 10 / (left / 256), 0.9))
    assert (run.optimizer, run.schedule, run.label_smoothing) == ("sgd", "cosine", 0)


def test_transfer_takes_data_sets_that_tfds_has():
    tfds = pytest.importorskip("tensorflow_datasets")
    for known in (dataset_info.IMAGENET, *dataset_info.TRANSFER.values()):
        kind, _, name = known.data.partition(":")
        if kind == "tfds":
            assert name in tfds.list_builders()


def test_transfer_rejects_unknown_data_sets_with_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'cifar100'"):
        config.load("transfer:b0,cifar-100")


def test_recipes_state_measured_results():
    for path in pathlib.Path(config.RECIPES).glob("[!_]*.py"):
        text = path.read_text()
        assert f"--config={path.stem}" in text, path
        assert "Measured here:" in text or path.stem == "finetune", path
