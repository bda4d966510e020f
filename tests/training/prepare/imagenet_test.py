import io
import os
import tarfile

import numpy as np
import pytest
from scipy import io as scipy_io

from tests.training.prepare.conftest import WNIDS, make_tar
from training.prepare.imagenet import open_imagenet


def open_archives(archives, **changes):
    paths = {
        "train_tar": archives.train,
        "validation_tar": archives.validation,
        "validation_labels": archives.labels,
    } | changes
    return open_imagenet(**{k: v and str(v) for k, v in paths.items()})


def test_lists_nested_tars_by_class_and_name(archives):
    found = open_archives(archives)
    assert found.class_names == WNIDS
    train = found.splits["train"]
    assert [e.name for e in train] == sorted(n for n in archives.files if n[0] == "n")
    assert [e.label for e in train] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for entry in [*train, *found.splits["validation"]]:
        assert entry.read() == archives.files[entry.name]


def test_labels_follow_the_names_of_the_validation_images(archives):
    found = open_archives(archives).splits["validation"]
    assert [(e.name[-13:-5], e.label) for e in found] == [
        ("00000001", 2),
        ("00000002", 0),
        ("00000003", 1),
    ]


def test_without_training_images_the_classes_are_imagenets(archives):
    found = open_archives(archives, train_tar=None)
    assert list(found.splits) == ["validation"]
    assert len(found.class_names) == 1000
    assert [e.label for e in found.splits["validation"]] == [388, 0, 281]


def write_devkit(path, numbers, fields=("ILSVRC2012_ID", "WNID")):
    """Writes a devkit whose class numbers are not in the order of the WordNet ids."""
    synsets = np.array(
        [(1, WNIDS[2]), (2, WNIDS[0]), (3, WNIDS[1])],
        [(fields[0], "O"), (fields[1], "O")],
    )
    meta = io.BytesIO()
    scipy_io.savemat(meta, {"synsets": synsets})
    truth = "".join(f"{n}\n" for n in numbers).encode()
    folder = "ILSVRC2012_devkit_t12/data"
    plain = make_tar(
        path.with_suffix(".plain"),
        {
            f"{folder}/meta.mat": meta.getvalue(),
            f"{folder}/ILSVRC2012_validation_ground_truth.txt": truth,
        },
    )
    with tarfile.open(plain) as source, tarfile.open(path, "w:gz") as target:
        for member in source:
            target.addfile(member, source.extractfile(member))
    return path


def test_the_devkit_maps_its_class_numbers(archives, tmp_path):
    devkit = write_devkit(tmp_path / "devkit.tar.gz", [1, 2, 3])
    found = open_archives(archives, validation_labels=devkit)
    assert [e.label for e in found.splits["validation"]] == [2, 0, 1]


def test_rejects_class_numbers_that_the_devkit_does_not_have(archives, tmp_path):
    devkit = write_devkit(tmp_path / "devkit.tar.gz", [1, 2, 9])
    with pytest.raises(ValueError, match="class numbers of meta.mat. .*with 9"):
        open_archives(archives, validation_labels=devkit)


def test_rejects_class_numbers_without_the_devkit(archives, tmp_path):
    path = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    path.write_text("490\n361\n171\n")
    with pytest.raises(ValueError, match="pass the devkit .* with '490'"):
        open_archives(archives, validation_labels=path)


def test_rejects_labels_of_another_length(archives, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("n01440764\n" * 4)
    with pytest.raises(ValueError, match="4 labels in .*labels.txt for 3 images in .*"):
        open_archives(archives, validation_labels=path)


def test_rejects_labels_of_other_classes(archives, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("n01440764\nn01440764\nn99999999\n")
    with pytest.raises(ValueError, match="among the 3 classes .* with n99999999"):
        open_archives(archives, validation_labels=path)


@pytest.mark.parametrize("which", ["train", "validation"])
@pytest.mark.parametrize("cut", ["in a member", "before the end marker"])
def test_rejects_truncated_tars(archives, tmp_path, which, cut):
    whole = getattr(archives, which)
    with tarfile.open(whole) as archive:
        last = archive.getmembers()[-1]
    size = last.offset_data + (last.size // 2 if cut == "in a member" else 0)
    if cut == "before the end marker":
        size += -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    path = tmp_path / "cut.tar"
    path.write_bytes(whole.read_bytes())
    os.truncate(path, size)
    with pytest.raises(ValueError, match=r"tar file must be complete .*cut.tar"):
        open_archives(archives, **{f"{which}_tar": path})


def test_rejects_a_truncated_inner_tar(archives, tmp_path):
    inner = (archives.train.parent / f"{WNIDS[0]}.tar").read_bytes()
    whole = (archives.train.parent / f"{WNIDS[1]}.tar").read_bytes()
    files = {f"{WNIDS[1]}.tar": whole, f"{WNIDS[0]}.tar": inner[:1000]}
    path = make_tar(tmp_path / "train.tar", files)
    with pytest.raises(ValueError, match=rf"complete .*train.tar, {WNIDS[0]}.tar"):
        open_archives(archives, train_tar=path)


def test_rejects_a_class_without_images(archives, tmp_path):
    empty = make_tar(tmp_path / "empty.tar", {"readme.txt": b"none"}).read_bytes()
    path = make_tar(tmp_path / "train.tar", {f"{WNIDS[0]}.tar": empty})
    with pytest.raises(ValueError, match=rf"must have images. .*{WNIDS[0]}.tar, empty"):
        open_archives(archives, train_tar=path)


def test_rejects_other_tars(archives):
    with pytest.raises(ValueError, match="a tar file per class, .*val.tar with ILSVRC"):
        open_archives(archives, train_tar=archives.validation)


def test_rejects_validation_images_without_labels(archives):
    with pytest.raises(ValueError, match="given together. .*validation_labels=None"):
        open_archives(archives, validation_labels=None)
