import hashlib
import json
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.support.paths import ROOT
from tests.training.prepare.conftest import CMYK, PNG, SMALL, WNIDS, write_folder
from training.data import sources
from training.prepare import Conversion, PrepareOptions, job, open_images, prepare


def read_all(split):
    return [*tf.data.Dataset.range(len(split)).map(split.read).as_numpy_iterator()]


def contents(root):
    return {p.name: p.read_bytes() for p in root.iterdir() if p.is_file()}


@pytest.mark.parametrize("kind", ["tfrecord", "arrayrecord"])
def test_the_trainer_reads_the_images_of_the_archives(archives, prepared, kind):
    source = sources.load(f"{kind}:{prepared / kind}")
    assert source.class_names == WNIDS
    found = {
        content: source.class_names[label]
        for split in source.splits.values()
        for content, label in zip(read_all(split), split.labels, strict=True)
    }
    assert len(found) == len(archives.files) == 12
    for name, content in archives.files.items():
        if name.startswith("n") and name not in (CMYK, PNG):
            assert found.pop(content) == name[:9]
        elif name.startswith("ILSVRC"):
            assert found.pop(content) in WNIDS
    assert sorted(found.values()) == [CMYK[:9], PNG[:9]]
    assert all(content.startswith(b"\xff\xd8") for content in found)  # JPEG


def test_images_are_shuffled_over_all_files(images, prepared):
    found = sources.load(f"tfrecord:{prepared / 'tfrecord'}").split("train")
    names = [found.names[i] for i in (0, 3, 6)]
    assert names == [f"train-0000{i}-of-00003#0" for i in range(3)]
    assert found.labels.tolist() != sorted(found.labels)


def test_same_seed_gives_the_same_bytes(images, prepared, tmp_path):
    prepare(images, tmp_path / "again", PrepareOptions(**SMALL))
    prepare(images, tmp_path / "other", PrepareOptions(seed=1, **SMALL))
    golden = contents(prepared / "tfrecord")
    assert contents(tmp_path / "again") == golden
    other = contents(tmp_path / "other")
    assert other.keys() == golden.keys()
    assert other["train-00000-of-00003"] != golden["train-00000-of-00003"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tfrecord", "arrayrecord"])
def test_bytes_do_not_depend_on_the_number_of_processes(
    images, prepared, tmp_path, kind
):
    options = PrepareOptions(format=kind, workers=2, **SMALL)
    prepare(images, tmp_path / "again", options)
    assert contents(tmp_path / "again") == contents(prepared / kind)


def test_manifest_describes_the_files(prepared):
    found = json.loads((prepared / "tfrecord" / "manifest.json").read_text())
    assert found["class_names"] == list(WNIDS)
    assert found["images"] == {"train": 9, "validation": 3}
    for name, facts in found["shards"].items():
        content = (prepared / "tfrecord" / name).read_bytes()
        assert facts["bytes"] == len(content)
        assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert {p.name for p in (prepared / "tfrecord").iterdir()} == {
        *found["shards"],
        "manifest.json",
    }


def test_resized_images_fit_the_requested_size(images, tmp_path):
    options = PrepareOptions(conversion=Conversion(resize=40), **SMALL)
    prepare(images, tmp_path / "out", options)
    split = sources.load(f"tfrecord:{tmp_path / 'out'}").split("train")
    shapes = [tf.io.decode_jpeg(content).shape[:2] for content in read_all(split)]
    assert {min(shape) for shape in shapes} == {40}


def test_folders_keep_their_classes_and_splits(tmp_path):
    root = write_folder(tmp_path / "photos")
    prepare(
        open_images(f"folder:{root}", None, None, None),
        tmp_path / "out",
        PrepareOptions(),
    )
    golden, found = (
        sources.load(name)
        for name in (f"folder:{root}", f"tfrecord:{tmp_path / 'out'}")
    )
    assert found.class_names == golden.class_names == ("a", "b")
    assert found.splits.keys() == golden.splits.keys()
    for name, split in found.splits.items():
        rows = zip(read_all(split), split.labels, strict=True)
        others = zip(
            read_all(golden.splits[name]), golden.splits[name].labels, strict=True
        )
        assert sorted(rows) == sorted(others)


def test_csv_files_keep_their_splits(tmp_path):
    root = write_folder(tmp_path / "photos", images=6)
    rows = [f"{'ab'[i % 2]}/{i}.png,{'ab'[i % 2]}" for i in range(6)]
    splits = ["train"] * 4 + ["validation"] * 2
    (root / "list.csv").write_text(
        "path,label,split\n"
        + "\n".join(f"{row},{split}" for row, split in zip(rows, splits, strict=True))
    )
    images = open_images(f"csv:{root}/list.csv", None, None, None)
    manifest = prepare(images, tmp_path / "out", PrepareOptions())
    assert manifest.images == {"train": 4, "validation": 2}


def test_rejects_a_csv_file_with_weights(tmp_path):
    root = write_folder(tmp_path / "photos", images=3)
    (root / "list.csv").write_text(
        "path,label,split,weight\n"
        "a/0.png,a,train,1\nb/1.png,b,train,2\na/2.png,a,validation,1\n"
    )
    with pytest.raises(ValueError, match="record files hold no weights"):
        open_images(f"csv:{root}/list.csv", None, None, None)


def test_resumes_after_the_finished_files(images, prepared, tmp_path, monkeypatch):
    real, written = job.write_shard, []

    def stop_after_two(task):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(task.name)
        return real(task)

    monkeypatch.setattr(job, "write_shard", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        prepare(images, tmp_path / "out", PrepareOptions(**SMALL))
    with pytest.raises(ValueError, match="run training.prepare again"):
        sources.load(f"tfrecord:{tmp_path / 'out'}/*")
    kept = tmp_path / "out" / written[0]
    before = kept.stat().st_mtime_ns
    monkeypatch.setattr(
        job, "write_shard", lambda task: written.append(task.name) or real(task)
    )
    prepare(images, tmp_path / "out", PrepareOptions(**SMALL))
    assert len(written) == len(set(written)) == 4
    assert kept.stat().st_mtime_ns == before
    assert contents(tmp_path / "out") == contents(prepared / "tfrecord")


def test_a_finished_folder_is_left_alone_and_lost_files_return(images, folder):
    before = contents(folder)
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    prepare(images, folder, PrepareOptions(**SMALL))
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    (folder / "train-00001-of-00003").unlink()
    prepare(images, folder, PrepareOptions(**SMALL))
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed=0, not 1"),
        ({"conversion": Conversion(resize=32)}, "resize=None, not 32"),
        ({"format": "arrayrecord"}, "format='tfrecord', not 'arrayrecord'"),
    ],
)
def test_rejects_a_folder_of_other_options(images, folder, changes, message):
    before = contents(folder)
    with pytest.raises(ValueError, match=f"choose another folder. .*{message}"):
        prepare(images, folder, PrepareOptions(**SMALL | changes))
    assert contents(folder) == before


def test_rejects_a_folder_of_other_files(images, tmp_path):
    (tmp_path / "train-00000-of-01024").write_bytes(b"not ours")
    with pytest.raises(ValueError, match="another folder. .*train-00000-of-01024"):
        prepare(images, tmp_path, PrepareOptions())
    assert (tmp_path / "train-00000-of-01024").read_bytes() == b"not ours"


def test_rejects_an_output_that_cannot_be_a_folder(images, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="must be a folder|Not a directory"):
        prepare(images, tmp_path / "file" / "out", PrepareOptions())


@pytest.fixture
def damaged(tmp_path):
    """202 training images, one of which is damaged, and two for validation."""
    root = tmp_path / "photos"
    write_folder(root / "train", images=202)
    write_folder(root / "validation", images=2)
    (root / "train" / "b" / "101.png").write_bytes(b"no image")
    return open_images(f"folder:{root}", None, None, None)


def test_error_names_a_bad_image(damaged, tmp_path):
    with pytest.raises(ValueError, match="b/101.png: it is not an image, or damaged"):
        prepare(damaged, tmp_path / "out", PrepareOptions())
    assert not [p for p in (tmp_path / "out").iterdir() if p.is_file()]


def test_skips_bad_images_and_lists_them(damaged, tmp_path):
    manifest = prepare(damaged, tmp_path / "out", PrepareOptions(skip_bad=True))
    assert manifest.images == {"train": 201, "validation": 2}
    (skipped,) = [n for shard in manifest.shards.values() for n in shard.skipped]
    assert skipped.startswith("b/101.png: ")
    assert len(sources.load(f"tfrecord:{tmp_path / 'out'}").split("train")) == 201


def test_rejects_more_than_one_bad_image_in_a_hundred(tmp_path):
    root = write_folder(tmp_path / "photos", images=90)
    (root / "b" / "1.png").write_bytes(b"no image")
    images = open_images(f"folder:{root}", None, None, None)
    with pytest.raises(ValueError, match="At most 1% .*b/1.png"):
        prepare(images, tmp_path / "out", PrepareOptions(skip_bad=True))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
def test_command_prepares_and_resumes(archives, tmp_path):
    command = [sys.executable, "-m", "training.prepare", f"--output={tmp_path}/out"]
    command += [f"--train_tar={archives.train}", "--images_per_shard=3"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert "out: 9 train images of 3 classes in 3 files" in done.stdout
    assert "9 images" not in done.stderr  # the second time
    done = subprocess.run(
        [*command, "--seed=1"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert "seed=0, not 1" in done.stderr
    assert "Traceback" not in done.stderr
