"""Data set of rendered characters, from the fonts that come with Matplotlib."""

import csv
import pathlib
import shutil

import matplotlib
import numpy as np
import pytest
from PIL import Image

from research import main
from research.glyphs import rendering, typefaces
from research.glyphs.rendering import Difficulty, render_example
from training.data import sources

FONTS = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SMALL = ("--size=32", "--train_images=60", "--validation_images=30", "--processes=1")


@pytest.fixture(scope="module")
def found():
    return typefaces.find_typefaces([FONTS])


def run(folder, *flags):
    fonts = f"--fonts={FONTS}"
    return main.main(
        ["glyphs", f"--output_dir={folder}", fonts, *SMALL, "--test_images=30", *flags]
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glyphs")
    assert run(folder) == 0
    return folder


def test_finds_text_typefaces_and_no_symbols(found):
    """Matplotlib's fonts: cmsy10 and cmex10 hold mathematical symbols."""
    families = {typeface.family for typeface in found}
    assert {"DejaVu Sans", "DejaVu Serif", "STIXGeneral"} <= families
    assert not families & {"cmsy10", "cmex10", "STIXSizeOneSym"}


def test_typefaces_of_a_family_share_a_split(found):
    splits = typefaces.split_typefaces(found, {"train": 0.5, "test": 0.5})
    words = [{face.family.split()[0] for face in faces} for faces in splits.values()]
    assert words[0].isdisjoint(words[1])
    assert sorted(f.family for faces in splits.values() for f in faces) == sorted(
        face.family for face in found
    )


def test_trainer_reads_every_split(written):
    source = sources.load(f"folder:{written / 'images'}")
    assert "".join(source.class_names) == "".join(sorted(typefaces.CHARACTERS))
    sizes = {name: len(source.split(name)) for name in source.splits}
    assert sizes == {"train": 60, "validation": 30, "test": 30}
    with Image.open(next((written / "images").glob("test/A/*.png"))) as image:
        assert (image.size, image.mode) == ((32, 32), "L")


def test_lists_the_typefaces_of_each_split(written):
    with (written / "typefaces.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    assert len({row["family"] for row in rows}) == len(rows)


def test_images_are_the_same_again(written, tmp_path):
    assert run(tmp_path) == 0
    paths = sorted(path.relative_to(written) for path in written.rglob("*.png"))
    assert len(paths) == 121
    for path in paths:
        assert (tmp_path / path).read_bytes() == (written / path).read_bytes()


def test_finished_images_are_kept(written, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    removed = next((folder / "images").glob("train/A/*.png"))
    removed.unlink()
    assert run(folder) == 0
    assert not removed.exists()


def test_large_and_small_characters_differ_from_their_background(found):
    fonts = [face.path for face in found if face.family == "DejaVu Sans"]
    characters = typefaces.CHARACTERS * 2
    images = np.stack(
        [
            render_example((0, i), fonts, character, 64, Difficulty())
            for i, character in enumerate(characters)
        ]
    )
    assert images.dtype == np.uint8
    assert images.shape == (60, 64, 64)
    assert len(np.unique(images.reshape(60, -1), axis=0)) == 60
    assert images.std(axis=(1, 2)).min() > 2


def test_draws_only_the_chosen_characters(tmp_path):
    flags = ("--characters=AB7", "--min_height=0.5", "--max_strokes=0")
    assert run(tmp_path, *flags) == 0
    source = sources.load(f"folder:{tmp_path / 'images'}")
    assert source.class_names == ("7", "A", "B")
    assert "50% to 70%" in (tmp_path / "report.md").read_text()


def test_min_height_sets_the_smallest_character(found):
    """By hand: at least 0.5 * 64 pixels, less what the rotation and the blur take."""
    fonts = [face.path for face in found if face.family == "DejaVu Sans"]
    for i in range(20):
        random = np.random.default_rng(i)
        glyph = rendering._glyph("H", fonts[0], 64, random, 0.5)
        assert glyph.height >= 31


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--characters=AAB", "`characters` must be at least two different ones of A"),
        ("--characters=AO", "Received: characters='AO'"),
        ("--min_height=0.8", "`min_height` must be above 0 and at most 0.7"),
        ("--max_strokes=-1", "`max_strokes` must not be negative"),
        ("--train_images=29", "`train_images` must be at least 30, one per class"),
        ("--size=15", "`size` must be at least 16 pixels. Received: size=15"),
        ("--fonts=/no/such", "`fonts` must be folders of font files. Received: /no"),
    ],
)
def test_rejects_bad_options(flag, message, tmp_path, capsys):
    assert run(tmp_path / "new", flag) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_asks_for_more_fonts(tmp_path, capsys):
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    shutil.copy(FONTS / "DejaVuSans.ttf", fonts)
    assert run(tmp_path / "new", f"--fonts={fonts}") == 2
    assert "typefaces for every split; install more" in capsys.readouterr().err
