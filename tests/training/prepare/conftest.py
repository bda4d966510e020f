"""ImageNet's archives in small: the same layout, a few photos in three classes."""

import dataclasses
import io
import pathlib
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.support.paths import PHOTOS
from training.prepare import PrepareOptions, open_images, prepare

WNIDS = ("n01440764", "n02123045", "n02510455")
SMALL = {"images_per_shard": 3}  # options of `prepared`
CMYK, PNG = "n01440764_1.JPEG", "n02123045_2.JPEG"


def encode(image, form="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def make_tar(path, files):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@dataclasses.dataclass(frozen=True)
class Archives:
    """Paths of the archives, and the content of each image by name."""

    train: pathlib.Path
    validation: pathlib.Path
    labels: pathlib.Path
    files: dict[str, bytes]


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """Nine training images, in reverse order, and three for validation."""
    root = tmp_path_factory.mktemp("archives")
    photos = [Image.open(p).convert("RGB") for p in sorted(PHOTOS.glob("*.jpg"))[:12]]
    sizes = [(64, 48), (48, 64), (80, 80)]
    small = [p.resize(sizes[i % 3]) for i, p in enumerate(photos)]
    files = {f"{WNIDS[i // 3]}_{i % 3}.JPEG": encode(small[i]) for i in range(9)}
    files[CMYK] = encode(small[1].convert("CMYK"))
    files[PNG] = encode(small[5], "PNG")
    validation = {
        f"ILSVRC2012_val_{i + 1:08d}.JPEG": encode(small[9 + i]) for i in range(3)
    }
    inner = {
        f"{wnid}.tar": make_tar(
            root / f"{wnid}.tar",
            {n: files[n] for n in sorted(files, reverse=True) if n.startswith(wnid)},
        ).read_bytes()
        for wnid in reversed(WNIDS)
    }
    labels = root / "validation_labels.txt"
    labels.write_text("\n".join(WNIDS[i] for i in (2, 0, 1)) + "\n")
    return Archives(
        make_tar(root / "train.tar", inner),
        make_tar(root / "val.tar", dict(reversed(validation.items()))),
        labels,
        {**files, **validation},
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Redirects cached indexes to a temporary folder."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.fixture(scope="session")
def images(archives):
    paths = (archives.train, archives.validation, archives.labels)
    return open_images(None, *map(str, paths))


@pytest.fixture(scope="session")
def prepared(images, tmp_path_factory):
    """Output folder of each format."""
    root = tmp_path_factory.mktemp("prepared")
    for kind in ("tfrecord", "arrayrecord"):
        prepare(images, root / kind, PrepareOptions(format=kind, **SMALL))
    return root


@pytest.fixture
def folder(prepared, tmp_path):
    """A copy of the TFRecord files."""
    return shutil.copytree(prepared / "tfrecord", tmp_path / "data")


def write_folder(root, images=30):
    for i in range(images):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(i).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(values).save(path)
    return root
