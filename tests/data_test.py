import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet import EvalPreprocessing
from training import data, sources
from training.augment import AUGMENTATIONS

SPEC = EvalPreprocessing(image_size=8, crop_padding=0, resize="bilinear")


def numbered(count):
    """A split whose images are filled with their own position."""
    values = np.arange(count, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (count, 8, 8, 3))
    part = (images, np.zeros(count, np.int32))
    source = sources.arrays({"train": part, "validation": part}, ["a"])
    return source.split("train")


def train_batches(split, first, last, batch=4, seed=0, augment="none"):
    batches = data.train_batches(
        split,
        SPEC,
        AUGMENTATIONS[augment],
        batch_size=batch,
        seed=seed,
        first_step=first,
        last_step=last,
        strategy=tf.distribute.get_strategy(),
    )
    return [images.numpy() for images, _ in batches]


def positions(batches):
    return np.concatenate([images[:, 0, 0, 0] for images in batches]).astype(int)


def test_every_epoch_has_each_image_once_in_another_order():
    # 10 images at 4 a step: the third batch spans two epochs.
    stream = positions(train_batches(numbered(10), 0, 5))
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:])


def test_order_depends_on_the_seed():
    streams = [positions(train_batches(numbered(20), 0, 5, seed=s)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(streams[0], streams[1])
    assert list(streams[0]) != list(streams[2])


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("first", [1, 3, 6])
def test_any_step_can_be_entered(augment, first):
    images = np.random.default_rng(0).integers(0, 256, (10, 12, 9, 3)).astype(np.uint8)
    part = (images, np.zeros(10, np.int32))
    split = sources.arrays({"train": part, "validation": part}, ["a"]).split("train")
    whole = train_batches(split, 0, 7, augment=augment)
    resumed = train_batches(split, first, 7, augment=augment)
    np.testing.assert_array_equal(np.stack(whole[first:]), np.stack(resumed))


def test_augmentation_changes_from_epoch_to_epoch():
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    part = (image, [0])
    split = sources.arrays({"train": part, "validation": part}, ["a"]).split("train")
    epochs = train_batches(split, 0, 8, batch=1, augment="crop_flip")
    assert len({epoch.tobytes() for epoch in epochs}) > 2


def test_shift_moves_and_repeats_the_border():
    # One pixel at most, 1/32 of 32; each pixel tells its own row and column.
    grid = np.stack([*np.indices((32, 32)), np.zeros((32, 32))], axis=-1)
    image = tf.constant(grid.astype(np.uint8))
    spec = EvalPreprocessing(image_size=32, crop_padding=0, resize="bilinear")
    seen = set()
    for seed in range(60):
        moved = AUGMENTATIONS["shift"](image, spec, (0, seed)).numpy().astype(int)
        rows, columns = moved[:, 0, 0], moved[0, :, 1]
        down, right = rows[16] - 16, columns[16] - 16
        np.testing.assert_array_equal(rows, np.clip(np.arange(32) + down, 0, 31))
        np.testing.assert_array_equal(columns, np.clip(np.arange(32) + right, 0, 31))
        seen.add((int(down), int(right)))
    assert seen == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}


@pytest.mark.parametrize(("count", "batch"), [(103, 16), (16, 16), (3, 16)])
def test_evaluation_has_each_image_once(count, batch):
    batches = data.eval_batches(
        numbered(count), SPEC, batch_size=batch, strategy=tf.distribute.get_strategy()
    )
    counted = []
    for images, labels, mask in batches:
        assert images.shape == (batch, 8, 8, 3)
        assert labels.shape == mask.shape == (batch,)
        counted += images.numpy()[mask.numpy() == 1][:, 0, 0, 0].astype(int).tolist()
    assert counted == list(range(count))


def test_unreadable_image_is_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(5):
            png = tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy()
            (tmp_path / name / f"{i}.png").write_bytes(png)
    split = sources.folder(str(tmp_path)).split("train")
    with open(split.names[2], "wb") as file:
        file.write(b"no image")
    expected = f"These are not: .*{split.names[2]}"
    with pytest.raises(ValueError, match=expected), data.naming_unreadable(split):
        train_batches(split, 0, 4)


def test_other_errors_pass_through():
    split = numbered(3)
    with pytest.raises(tf.errors.OpError), data.naming_unreadable(split):
        raise tf.errors.UnknownError(None, None, "elsewhere")


class Pair:
    num_replicas_in_sync = 2


def test_replicas_must_share_a_batch_evenly():
    with pytest.raises(ValueError, match="multiple of the number of replicas, 2"):
        data.eval_batches(numbered(3), SPEC, batch_size=3, strategy=Pair())


class Workers:
    """Hands out the input of one worker of a pair, as MultiWorker would."""

    num_replicas_in_sync = 2

    def __init__(self, worker):
        self.worker = worker

    def distribute_datasets_from_function(self, share):
        return share(tf.distribute.InputContext(2, self.worker, 2))


def test_workers_share_each_batch():
    parts = []
    for worker in (0, 1):
        batches = data.train_batches(
            numbered(10),
            SPEC,
            AUGMENTATIONS["none"],
            batch_size=4,
            seed=0,
            first_step=0,
            last_step=5,
            strategy=Workers(worker),
        )
        parts.append([images.numpy() for images, _ in batches])
    joined = [np.concatenate(pair) for pair in zip(*parts, strict=True)]
    whole = train_batches(numbered(10), 0, 5)
    np.testing.assert_array_equal(np.stack(joined), np.stack(whole))
