import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientnet import EvalPreprocessing
from keras_efficientnet.augmentation import (
    AugMix,
    AutoAugment,
    EvalCrop,
    RandAugment,
    RandomErasing,
    TrainCrop,
)
from tests.support.paths import PHOTOS
from training.augment import transforms

SIZE = 32
# XLA gives the same bits (policies_test) and takes seconds to compile.
POLICIES = {
    "autoaugment": lambda **seed: AutoAugment(compiled=False, **seed),
    "randaugment": lambda **seed: RandAugment(3, 13, compiled=False, **seed),
    "augmix": lambda **seed: AugMix(compat="fixed", compiled=False, **seed),
}
KINDS = {
    **POLICIES,
    "random_erasing": lambda **seed: RandomErasing(1.0, **seed),
    "train_crop": lambda **seed: TrainCrop(24, **seed),
}


# Policies are slow to trace, so the fast tests run only RandAugment.
QUICK = [
    pytest.param(
        name, marks=pytest.mark.slow if name in ("autoaugment", "augmix") else ()
    )
    for name in KINDS
]


def photo(width=SIZE, height=SIZE):
    with Image.open(PHOTOS / "koala.jpg") as file:
        return np.asarray(file.convert("RGB").resize((width, height)))


def copies(count=8):
    """A dataset of the same photo, so that results differ by their draws alone."""
    return tf.data.Dataset.from_tensors(photo()).repeat(count)


def results(dataset):
    return list(dataset.as_numpy_iterator())


def distinct(arrays):
    return len({array.tobytes() for array in arrays})


@pytest.mark.parametrize("name", [*POLICIES, "crop_flip"])
def test_gives_the_bits_of_the_trainer(name):
    options = {
        "randaugment": {"layers": 3, "magnitude": 13},
        "augmix": {"compat": "fixed"},
    }.get(name, {})
    trainer = transforms.make_augmentation(name, erasing=1.0, compiled=False, **options)
    crop, erase = TrainCrop(SIZE), RandomErasing(1.0)
    policy = POLICIES[name]() if name in POLICIES else None
    fold = tf.random.experimental.stateless_fold_in
    for i in range(4):
        seed = tf.constant([5, i])
        golden = trainer(tf.constant(photo(90, 70)), EvalPreprocessing(SIZE), seed)
        found = crop(photo(90, 70), seed=seed)
        if policy:
            found = policy(found, seed=fold(seed, 1))
        np.testing.assert_array_equal(erase(found, seed=fold(seed, 2)), golden)


@pytest.mark.parametrize("name", QUICK)
def test_applied_draws_depend_on_seed_epoch_and_position(name):
    data = copies().apply(KINDS[name](seed=1))
    assert data.cardinality() == 8  # `fit` knows the steps
    first, second = results(data), results(data)
    assert distinct([*first, *second]) >= 8  # a policy may leave images as they are
    assert not np.array_equal(first, second)
    # The same in another run, whatever runs in parallel.
    again = copies().apply(KINDS[name](seed=1))
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = 1
    options.threading.private_threadpool_size = 1
    for epoch in (first, second):
        np.testing.assert_array_equal(results(again.with_options(options)), epoch)
    other = results(copies().apply(KINDS[name](seed=2)))
    assert not np.array_equal(other, first)


def test_applied_draws_do_not_depend_on_the_global_seed():
    """The table of seeds in docs/augmentation.md; `set_seed` changes tf.data's own."""
    drawn = []
    for seed in (5, 6):
        tf.random.set_seed(seed)
        data = copies().cache().apply(RandomErasing(1.0, seed=1))
        drawn.append(results(data) + results(data))
    assert distinct(drawn[0]) == 16
    np.testing.assert_array_equal(*drawn)
    # One iteration over a repeated dataset is one epoch of other draws.
    repeated = copies().repeat(2).apply(RandomErasing(1.0, seed=1))
    np.testing.assert_array_equal(results(repeated)[:8], drawn[0][:8])
    assert distinct(results(repeated)) == 16


def test_mapped_draws_repeat_with_the_seed_and_differ_between_epochs():
    data = copies().map(AutoAugment(seed=1, compiled=False))
    first, second = results(data), results(data)
    assert distinct([*first, *second]) >= 8
    assert not np.array_equal(first, second)
    again = copies().map(AutoAugment(seed=1, compiled=False))
    for epoch in (first, second):
        np.testing.assert_array_equal(results(again), epoch)


def test_mapping_in_parallel_gives_the_same_draws_in_any_order():
    serial = results(copies(16).map(RandomErasing(1.0, seed=3)))
    parallel = copies(16).map(RandomErasing(1.0, seed=3), num_parallel_calls=4)
    assert {x.tobytes() for x in results(parallel)} == {x.tobytes() for x in serial}


def test_transforms_with_the_same_seed_draw_independently():
    seeds = []

    class Recording(RandomErasing):
        def augment_image(self, image, seed):
            seeds.append(np.asarray(seed).tolist())
            return image

    class Other(Recording):
        _stream = 99

    for kind in (Recording, Other, Recording):
        kind(seed=7)(photo())
    assert seeds[0] == seeds[2] != seeds[1]


def test_without_a_seed_draws_follow_the_seed_of_keras():
    import keras

    drawn = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        drawn.append(RandomErasing(1.0)(photo()).numpy())
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_labels_pass_through():
    data = tf.data.Dataset.from_tensors((photo(), 3, 0.5)).repeat(2)
    for transform in (RandomErasing(1.0, seed=1), EvalCrop(24)):
        for mapped in (data.map(transform), data.apply(transform)):
            assert [x[1:] for x in results(mapped)] == [(3, 0.5)] * 2


@pytest.mark.parametrize("name", QUICK)
def test_each_image_of_a_batch_has_its_own_draws(name):
    augmentation = KINDS[name]()
    batch = np.stack([photo()] * 6)
    found = augmentation(batch, seed=(1, 2))
    fold = tf.random.experimental.stateless_fold_in
    golden = [
        augmentation(photo(), seed=fold(tf.constant([1, 2]), i)) for i in range(6)
    ]
    np.testing.assert_array_equal(found, golden)
    assert distinct(found.numpy()) > 3
    (piped,) = tf.data.Dataset.from_tensors(batch).map(augmentation)
    assert piped.shape == found.shape


@pytest.mark.parametrize("name", [*POLICIES, "random_erasing"])
def test_keeps_the_dtype(name):
    augmentation = KINDS[name]()
    for i in range(3):
        as_bytes = augmentation(photo(), seed=(1, i))
        as_floats = augmentation(photo().astype(np.float32), seed=(1, i))
        assert as_bytes.dtype == tf.uint8
        assert as_floats.dtype == tf.float32
        np.testing.assert_array_equal(as_bytes, as_floats)


@pytest.mark.parametrize(
    "name", ["random_erasing", pytest.param("augmix", marks=pytest.mark.slow)]
)
def test_warns_about_images_scaled_to_0_to_1(name):
    scaled = photo().astype(np.float32) / 255
    kind = type(KINDS[name]()).__name__
    with pytest.warns(UserWarning, match=f"`{kind}` expects .* 0 to 255, .*within 0"):
        KINDS[name]()(scaled)
    with pytest.warns(UserWarning, match=f"`{kind}` expects"):
        results(tf.data.Dataset.from_tensors(scaled).map(KINDS[name]()))


def test_does_not_warn_about_dark_images_of_whole_numbers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RandomErasing()(np.float32(photo() > 127))
        RandomErasing()(np.float32(photo()))


def test_rejects_images_without_a_static_square_size():
    with pytest.raises(ValueError, match=r"`AutoAugment` needs square .*\(20, 30, 3\)"):
        AutoAugment()(photo(30, 20))
    unknown = tf.TensorSpec((None, None, 3), tf.uint8)
    for augmentation in (AugMix(), RandomErasing()):
        name = type(augmentation).__name__
        with pytest.raises(ValueError, match=f"`{name}` needs .*static .*TrainCrop"):
            tf.function(augmentation).get_concrete_function(unknown)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (2, 8, 8, 4), (1, 2, 8, 8, 3)])
def test_rejects_what_is_not_an_rgb_image(shape):
    for augmentation in (RandomErasing(), TrainCrop(4)):
        with pytest.raises(ValueError, match=r"takes images of shape .* Received: "):
            augmentation(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.uint16, bool])
def test_rejects_dtypes_that_do_not_hold_0_to_255(dtype):
    """16-bit pixels would come out white, masks almost black."""
    for augmentation in (RandomErasing(), EvalCrop(4), RandAugment(compiled=False)):
        with pytest.raises(TypeError, match="0 to 255.* Received: .* dtype"):
            augmentation(tf.constant(photo().astype(dtype)))


def test_rejects_ragged_batches_and_dictionaries():
    rows = [photo(8, 8), photo(8, 6)]
    ragged = tf.ragged.stack([tf.RaggedTensor.from_tensor(row) for row in rows])
    with pytest.raises(TypeError, match=r"before `dataset.batch`. Received: ragged"):
        TrainCrop(4)(ragged)
    data = tf.data.Dataset.from_tensors({"image": photo(), "label": 1})
    with pytest.raises(TypeError, match="Received: dictionaries of 'image', 'label'"):
        data.apply(TrainCrop(4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AutoAugment("v1"), "`policy` must be one of v0.*policy='v1'"),
        (lambda: AugMix(compat="fix"), "`compat` must be one of exact, fixed.*'fix'"),
        (lambda: RandAugment(0), "`layers` must be .* at least 1.*layers=0"),
        (lambda: RandAugment(2, -1), "`magnitude` must be .* at least 0.*magnitude=-1"),
        (lambda: RandAugment(2.5), "`layers` must be an integer.*layers=2.5"),
        (lambda: RandAugment(2, float("nan")), "`magnitude` .*magnitude=nan"),
        (lambda: RandomErasing(seed=3.5), "`seed` must be 0 to .*seed=3.5"),
        (lambda: RandomErasing(2), "`probability` must be 0 to 1.*probability=2"),
        (lambda: AutoAugment(seed=2**31), "`seed` must be 0 to 2147483647.*seed=2"),
        (lambda: TrainCrop(0), "`image_size` must be at least 1 pixel.*image_size=0"),
    ],
)
def test_rejects_invalid_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
