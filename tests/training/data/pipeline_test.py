import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet import EvalPreprocessing
from training.augment import mixup, transforms
from training.data import pipeline, sampling, sources

SPEC = EvalPreprocessing(image_size=8, crop_ratio=1.0, interpolation="bilinear")


def numbered(count):
    """A split whose images are filled with their own position."""
    values = np.arange(count, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (count, 8, 8, 3))
    part = (images, np.zeros(count, np.int32))
    source = sources.arrays({"train": part, "validation": part}, ["a"])
    return source.split("train")


def make_batches(split, first, last, batch=4, seed=0, policy="none", **options):
    options = {"classes": 1, "strategy": tf.distribute.get_strategy()} | options
    return pipeline.train_batches(
        split,
        SPEC,
        transforms.make_augmentation(policy),
        batch_size=batch,
        seed=seed,
        first_step=first,
        last_step=last,
        **options,
    )


def train_batches(*arguments, **options):
    return [images.numpy() for images, _, _ in make_batches(*arguments, **options)]


def positions(batches):
    return np.concatenate([images[:, 0, 0, 0] for images in batches]).astype(int)


def test_every_epoch_has_each_image_once_in_a_new_order():
    # 10 images in batches of 4: the third batch spans two epochs.
    stream = positions(train_batches(numbered(10), 0, 5))
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:])


def test_does_not_wait_for_a_tuning_thread():
    batches = make_batches(numbered(10), 0, 5)
    assert batches.options().autotune.enabled is False


def test_order_depends_on_the_seed():
    streams = [positions(train_batches(numbered(20), 0, 5, seed=s)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(streams[0], streams[1])
    assert list(streams[0]) != list(streams[2])


@pytest.mark.parametrize("policy", ["none", "crop_flip", "shift"])
def test_training_can_start_at_any_step(policy):
    images = np.random.default_rng(0).integers(0, 256, (10, 12, 9, 3)).astype(np.uint8)
    part = (images, np.zeros(10, np.int32))
    split = sources.arrays({"train": part, "validation": part}, ["a"]).split("train")
    whole = train_batches(split, 0, 7, policy=policy)
    for first in (3, 6):
        resumed = train_batches(split, first, 7, policy=policy)
        np.testing.assert_array_equal(np.stack(whole[first:]), np.stack(resumed))


def test_augmentation_changes_from_epoch_to_epoch():
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    part = (image, [0])
    split = sources.arrays({"train": part, "validation": part}, ["a"]).split("train")
    epochs = train_batches(split, 0, 8, batch=1, policy="crop_flip")
    assert len({epoch.tobytes() for epoch in epochs}) > 2


def test_shift_translates_and_repeats_the_border():
    # At most one pixel, 1/32 of 32; each pixel encodes its own row and column.
    grid = np.stack([*np.indices((32, 32)), np.zeros((32, 32))], axis=-1)
    image = tf.constant(grid.astype(np.uint8))
    spec = EvalPreprocessing(image_size=32, crop_ratio=1.0, interpolation="bilinear")
    seen = set()
    for seed in range(60):
        moved = (
            transforms.make_augmentation("shift")(image, spec, (0, seed))
            .numpy()
            .astype(int)
        )
        rows, columns = moved[:, 0, 0], moved[0, :, 1]
        down, right = rows[16] - 16, columns[16] - 16
        np.testing.assert_array_equal(rows, np.clip(np.arange(32) + down, 0, 31))
        np.testing.assert_array_equal(columns, np.clip(np.arange(32) + right, 0, 31))
        seen.add((int(down), int(right)))
    assert seen == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}


@pytest.mark.parametrize(("count", "batch"), [(103, 16), (16, 16), (3, 16)])
def test_evaluation_has_each_image_once(count, batch):
    batches = pipeline.eval_batches(
        numbered(count), SPEC, batch_size=batch, strategy=tf.distribute.get_strategy()
    )
    counted = []
    for images, labels, mask in batches:
        assert images.shape == (batch, 8, 8, 3)
        assert labels.shape == mask.shape == (batch,)
        counted += images.numpy()[mask.numpy() == 1][:, 0, 0, 0].astype(int).tolist()
    assert counted == list(range(count))


def test_error_names_the_unreadable_image(tmp_path):
    split, bad = write_files(tmp_path, {"a2"})
    expected = f"Images must be readable. Received: {bad[0]}$"
    with (
        pytest.raises(ValueError, match=expected),
        pipeline.name_unreadable_image(split),
    ):
        train_batches(split, 0, 5)


def test_other_errors_pass_through():
    split = numbered(3)
    with pytest.raises(tf.errors.OpError), pipeline.name_unreadable_image(split):
        raise tf.errors.UnknownError(None, None, "elsewhere")


class Pair:
    num_replicas_in_sync = 2


def test_rejects_a_batch_that_replicas_cannot_share_evenly():
    with pytest.raises(ValueError, match="multiple of the number of replicas, 2"):
        pipeline.eval_batches(numbered(3), SPEC, batch_size=3, strategy=Pair())


class Workers:
    """Fake strategy that returns the input of one worker of two."""

    def __init__(self, worker, replicas=2):
        self.worker, self.num_replicas_in_sync = worker, replicas

    def distribute_datasets_from_function(self, share):
        context = tf.distribute.InputContext(2, self.worker, self.num_replicas_in_sync)
        return share(context)


class OneWorker(Pair):
    """Fake strategy that returns the input of two replicas in turn."""

    def distribute_datasets_from_function(self, share):
        return share(tf.distribute.InputContext(1, 0, 2))


def by_workers(split, first, last, **options):
    """Returns batches per worker: images, labels and mask, stacked over the steps."""
    parts = []
    for worker in (0, 1):
        batches = make_batches(split, first, last, strategy=Workers(worker), **options)
        parts.append([np.stack(column) for column in zip(*batches, strict=True)])
    return parts


def test_workers_share_each_batch():
    (first, *_), (second, *_) = by_workers(numbered(10), 0, 5)
    whole = train_batches(numbered(10), 0, 5)
    np.testing.assert_array_equal(
        np.concatenate([first, second], axis=1), np.stack(whole)
    )


@pytest.mark.parametrize("images", [3, 10, 16])
def test_workers_together_see_each_image_once_per_epoch(images):
    (first, *_), (second, *_) = by_workers(numbered(images), 0, images)
    stream = np.concatenate([first, second], axis=1)[..., 0, 0, 0].reshape(-1)
    for epoch in stream.reshape(4, images).astype(int):
        assert sorted(epoch) == list(range(images))


def test_mixing_is_the_same_on_any_number_of_workers():
    split, options = labelled(10), {"classes": 3, "mix": mixup.make_mix(0.4, 1.0)}
    workers = by_workers(split, 2, 5, policy="crop_flip", **options)
    one = make_batches(split, 2, 5, policy="crop_flip", strategy=OneWorker(), **options)
    for i, column in enumerate(zip(*one, strict=True)):
        # With one worker, the shares of its two replicas alternate.
        shares = np.stack(column)
        np.testing.assert_array_equal(shares[0::2], workers[0][i])
        np.testing.assert_array_equal(shares[1::2], workers[1][i])


def labelled(count):
    """Random images of three classes."""
    images = np.random.default_rng(0).integers(0, 256, (count, 12, 9, 3), np.uint8)
    part = (images, np.arange(count, dtype=np.int32) % 3)
    source = sources.arrays({"train": part, "validation": part}, ["a", "b", "c"])
    return source.split("train")


def test_mixing_depends_on_seed_and_step_alone():
    split, options = labelled(8), {"classes": 3, "mix": mixup.make_mix(0.4, 0.0)}
    whole, again = (list(make_batches(split, 0, 4, **options)) for _ in range(2))
    resumed = list(make_batches(split, 2, 4, **options))
    other = next(iter(make_batches(split, 0, 1, seed=1, **options)))
    for left, right in [*zip(whole, again), *zip(whole[2:], resumed)]:  # noqa: B905
        for one, two in zip(left, right, strict=True):
            np.testing.assert_array_equal(one, two)
    assert not np.array_equal(other[1], whole[0][1])


def test_mixed_targets_are_shares_of_the_labels():
    for images, targets, mask in make_batches(
        labelled(8), 0, 4, classes=3, mix=mixup.make_mix(0.4, 0.0)
    ):
        assert targets.shape == (4, 3)
        assert targets.dtype == images.dtype == mask.dtype == tf.float32
        np.testing.assert_allclose(np.sum(targets, axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(mask, np.ones(4))
        assert 0 < np.max(targets) <= 1


def test_soft_labels_become_targets():
    soft = np.random.default_rng(1).dirichlet(np.ones(3), 10).astype(np.float16)
    split = dataclasses.replace(numbered(10), soft_labels=soft)
    for images, targets, _ in make_batches(split, 0, 5, classes=3):
        expected = soft[images.numpy()[:, 0, 0, 0].astype(int)]
        np.testing.assert_array_equal(targets, expected.astype(np.float32))


def test_rejects_soft_labels_of_other_classes():
    soft = np.zeros((10, 3), np.float16)
    split = dataclasses.replace(numbered(10), soft_labels=soft)
    with pytest.raises(
        ValueError, match=r"must be .* \(10, 4\). Received: .* \(10, 3\)"
    ):
        make_batches(split, 0, 1, classes=4)


def test_positions_are_those_of_the_batches():
    stream = positions(train_batches(numbered(10), 0, 8, seed=3))
    found = pipeline.positions(10, seed=3, batch_size=4, first_step=3, last_step=7)
    np.testing.assert_array_equal(found, stream[12:28])


def write_files(root, bad=()):
    """Writes two classes of ten images each; some files are truncated."""
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(10):
            pixels = np.full((9, 9, 3), 10 * i + 5, np.uint8)
            png = tf.io.encode_png(pixels).numpy()
            is_bad = f"{name}{i}" in bad
            (root / name / f"{i}.png").write_bytes(png[:40] if is_bad else png)
    found = sources.unlabelled(str(root))
    return found, [n for n in found.names if "".join(n[:-4].split("/")[-2:]) in bad]


def test_bad_images_are_masked_and_reported(tmp_path):
    split, bad = write_files(tmp_path, {"a3", "b7"})
    recorder = pipeline.BadImages(split)
    batches = list(make_batches(split, 0, 10, bad_images=recorder))
    assert sorted(recorder.names) == bad
    masks = np.concatenate([mask for *_, mask in batches])
    assert masks.shape == (40,)
    at = pipeline.positions(20, seed=0, batch_size=4, first_step=0, last_step=10)
    np.testing.assert_array_equal(masks == 0, [split.names[i] in bad for i in at])
    for images, _, mask in batches:
        assert images.shape == (4, 8, 8, 3)
        assert np.all(images.numpy()[mask == 0] == 0)
        assert np.all(images.numpy()[mask == 1] > 0)


def test_skipping_does_not_change_good_images():
    split, recorder = labelled(10), pipeline.BadImages(labelled(10))
    guarded = train_batches(split, 0, 5, policy="crop_flip", bad_images=recorder)
    plain = train_batches(split, 0, 5, policy="crop_flip")
    np.testing.assert_array_equal(np.stack(guarded), np.stack(plain))
    assert recorder.names == []


def test_evaluation_masks_bad_images(tmp_path):
    split, bad = write_files(tmp_path, {"b0"})
    recorder = pipeline.BadImages(split)
    strategy = tf.distribute.get_strategy()
    batches = pipeline.eval_batches(
        split, SPEC, batch_size=8, strategy=strategy, bad_images=recorder
    )
    masks = np.concatenate([mask for *_, mask in batches])
    assert recorder.names == bad
    assert np.flatnonzero(masks == 0).tolist() == [10, 20, 21, 22, 23]


def test_rejects_more_than_one_percent_of_bad_images(tmp_path):
    split, bad = write_files(tmp_path, {"a3", "b7"})
    recorder = pipeline.BadImages(split)
    list(make_batches(split, 0, 5, bad_images=recorder))
    recorder.check(200)
    with pytest.raises(ValueError, match=rf"At most 1% .* 1 of 199. .* 2 .*{bad[0]}"):
        recorder.check(199)


def test_finds_the_unreadable_image_of_a_step(tmp_path):
    split, bad = write_files(tmp_path, {"a3", "b7"})
    # A batch of a small data set may contain an image twice.
    where = np.array([split.names.index(bad[1])] * 2)
    with (
        pytest.raises(ValueError, match=rf"Received: \S*{bad[1][-8:]}$"),
        pipeline.name_unreadable_image(split, lambda: where),
    ):
        list(make_batches(split, 0, 5))


def sampled(images=10):
    labels = np.array([0] * (images - 2) + [1] * 2, np.int32)
    split = dataclasses.replace(numbered(images), labels=labels)
    return split, sampling.make_sampler("balanced", labels, ("a", "b"))


def test_sampled_steps_can_be_entered_and_found_again():
    split, sampler = sampled()
    straight = train_batches(split, 0, 7, policy="crop_flip", sampler=sampler)
    resumed = train_batches(split, 4, 7, policy="crop_flip", sampler=sampler)
    np.testing.assert_array_equal(straight[4:], resumed)
    stream = positions(train_batches(split, 0, 5, sampler=sampler))
    assert [np.count_nonzero(epoch >= 8) for epoch in (stream[:10], stream[10:])] == [
        5,
        5,
    ]
    found = pipeline.positions(
        10, seed=0, batch_size=4, first_step=3, last_step=5, sampler=sampler
    )
    assert found.tolist() == stream[12:].tolist()


def test_copies_of_an_image_in_an_epoch_are_augmented_differently():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 9, 9, 3)).astype(np.uint8)
    labels = np.array([0] * 9 + [1], np.int32)
    part = (pixels, labels)
    split = sources.arrays({"train": part, "validation": part}, ["a", "b"])
    sampler = sampling.make_sampler("balanced", labels, ("a", "b"))
    batches = make_batches(
        split.split("train"),
        0,
        1,
        batch=10,
        policy="crop_flip",
        sampler=sampler,
        classes=2,
    )
    ((images, targets, _),) = batches
    copies = images.numpy()[targets.numpy() == 1]
    assert len(copies) == 5
    assert len({copy.tobytes() for copy in copies}) > 1


@pytest.mark.parametrize("mixing", [False, True])
def test_weights_scale_the_targets_of_their_images(mixing):
    split = dataclasses.replace(
        numbered(4), weights=np.array([0, 1, 0.5, 3], np.float32)
    )
    mix = mixup.make_mix(0.2, 0.0) if mixing else None
    ((images, targets, mask),) = make_batches(split, 0, 1, mix=mix)
    at = pipeline.positions(4, seed=0, batch_size=4, first_step=0, last_step=1)
    weights = split.weights[at]
    np.testing.assert_array_equal(mask, weights > 0)
    if not mixing:
        np.testing.assert_array_equal(targets[:, 0], weights)
        return
    # Both pixels and targets are mixed with those of the mirror in the batch.
    values, partners = at.astype(np.float32), at[::-1].astype(np.float32)
    share = (images.numpy()[:, 0, 0, 0] - partners) / (values - partners)
    expected = share * weights + (1 - share) * weights[::-1]
    np.testing.assert_allclose(targets[:, 0], expected, atol=1e-4)


def test_soft_labels_are_scaled_by_the_weights():
    soft = np.array([[0.25, 0.75], [1, 0]], np.float32)
    split = dataclasses.replace(
        numbered(2), soft_labels=soft, weights=np.array([2, 2], np.float32)
    )
    ((_, targets, _),) = make_batches(split, 0, 1, batch=2, classes=2)
    assert sorted(targets.numpy().tolist()) == [[0.5, 1.5], [2.0, 0.0]]
