"""Figure 7 of the paper: class activation maps of several models on photos."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from keras_efficientnet import explain
from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.common.image_folders import list_images
from keras_efficientnet.common.markdown import table
from keras_efficientnet.common.plain_text import literal
from keras_efficientnet.preprocessing.tf_files import read_image

from .exporter import KerasRunner, Loaded, load
from .options import option
from .reporting.drawing import new_figure, save
from .reporting.folder import ResultsTable, StudyFolder, open_folder
from .reporting.page import picture, write_page

PICTURE = "class_maps.jpg"
_CELL = 1.75  # inches, side of a photo
_LINE = _CELL + 0.2  # inches, height of a photo with its caption
_WIDTH = 15.0  # inches, of a picture of several columns of photos
_COLORS = "turbo"


@dataclasses.dataclass(frozen=True)
class ClassMapsOptions:
    """Options of the study of class activation maps."""

    photos: tuple[str, ...] = option(
        (), "Photos or folders of photos.", is_setting=False
    )
    models: tuple[str, ...] = option(
        ("EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2"),
        "Variants, run folders or .keras files.",
        is_setting=False,
    )
    weights: str = option("imagenet", "Published family of weights for the variants.")
    method: str = option("cam", f"Method: {' or '.join(explain.METHODS)}.")


OPTIONS = ClassMapsOptions


@dataclasses.dataclass(frozen=True)
class Explained:
    """Prediction of a model for a photo, with its class map.

    Attributes:
        photo: Path of the photo.
        model: Name of the model, as given.
        answer: Name of the top-1 class.
        probability: Probability of that class.
        place: Row and column of the map's maximum, as fractions of its height and
            width.
        area: Fraction of the crop where the map exceeds half of its maximum.
        map: Rows of the class map, separated by ";".
    """

    photo: str
    model: str
    answer: str
    probability: float
    place: str
    area: float
    map: str


def run(options: ClassMapsOptions, output_dir: pathlib.Path) -> None:
    """Draws the class maps of every model for every photo side by side.

    Args:
        options: Options of the study.
        output_dir: Folder to write into; an interrupted study is resumed.

    Raises:
        ValueError: There is no photo, or a model has no class maps.
    """
    check_choice("method", options.method, explain.METHODS)
    photos = _photos(options.photos)
    with open_folder(output_dir, "cam", options) as folder:
        rows = folder.rows(Explained, ("photo", "model"))
        crops: dict[str, np.ndarray] = {}
        for name in options.models:
            loaded = _load(name, options.weights)
            for photo in photos:
                if rows.find(photo=str(photo), model=name) is None:
                    rows.add(_explain(name, loaded, photo, options.method))
            if not crops:  # those of the first model; the others' are nearly the same
                spec = loaded.preprocessing
                crops = {str(photo): read_image(photo, spec) for photo in photos}
        _draw(crops, options.models, rows, folder.root / PICTURE)
        _write(folder, options, rows.rows)


def _photos(names: Sequence[str]) -> list[pathlib.Path]:
    paths: list[pathlib.Path] = []
    for name in names:
        path = pathlib.Path(name).expanduser()
        is_folder = path.is_dir()
        paths += map(pathlib.Path, list_images(path)) if is_folder else [path]
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise ValueError(
            "`photos` must be existing photos or folders of photos. "
            f"Received: photos={','.join(map(str, missing or names))}"
        )
    return paths


def _load(name: str, weights: str) -> Loaded:
    loaded = load(name, weights=None if pathlib.Path(name).exists() else weights)
    _model_of(loaded)
    return loaded


def _model_of(loaded: Loaded) -> keras.Model:
    if isinstance(loaded.runner, KerasRunner):
        return loaded.runner.model
    raise ValueError(
        "`models` must be variants, run folders or .keras files, because exported "
        f"files do not output features. Received: models={loaded.name}"
    )


def _explain(name: str, loaded: Loaded, photo: pathlib.Path, method: str) -> Explained:
    image = read_image(photo, loaded.preprocessing, loaded.channels)[np.newaxis]
    probabilities = loaded.classify(image)[0]
    index = int(probabilities.argmax())
    maps = explain.class_maps(_model_of(loaded), image, index, method)
    heat = explain.heatmaps(maps, 100, 100)[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return Explained(
        photo=str(photo),
        model=name,
        answer=loaded.labels[index],
        probability=float(probabilities[index]),
        place=f"{row / 100:.2f} {column / 100:.2f}",
        area=float((heat > 0.5).mean()),
        map=";".join(" ".join(f"{v:.5g}" for v in line) for line in maps[0]),
    )


def _read_map(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.split(";")], np.float32)


def _draw(
    crops: dict[str, np.ndarray],
    models: Sequence[str],
    rows: ResultsTable[Explained],
    path: pathlib.Path,
) -> None:
    cells = 1 + len(models)
    blocks = blocks_in_a_row(len(crops), cells)
    lines = -(-len(crops) // blocks)
    # A narrow empty column sets the blocks apart.
    ratios = [*([1.0] * cells + [0.1]) * (blocks - 1), *[1.0] * cells]
    figure = new_figure(_CELL * sum(ratios) + 1, _LINE * lines + 0.3)
    grid = figure.subplots(lines, len(ratios), squeeze=False, width_ratios=ratios)
    for axes in grid.ravel():
        axes.set_axis_off()
    for i, (photo, crop) in enumerate(crops.items()):
        first = i % blocks * (cells + 1)
        block = list(grid[i // blocks, first : first + cells])
        _draw_photo(block, photo, crop, models, rows)
        if i < blocks:
            for axes, title in zip(block, ("photo", *models), strict=True):
                axes.set_title(literal(pathlib.Path(title).name), fontsize=9)
    scale = ScalarMappable(Normalize(0, 1), _COLORS)
    label = "Share of the map's maximum"
    figure.colorbar(scale, ax=grid.ravel().tolist(), label=label, aspect=40)
    save(figure, path)


def blocks_in_a_row(photos: int, cells: int) -> int:
    """Returns how many photos, each with its maps, to draw side by side.

    As many as bring the picture nearest to three by two, within `_WIDTH`.

    Args:
        photos: Number of photos.
        cells: Number of pictures per photo: itself and its maps.
    """

    def misfit(blocks: int) -> float:
        height = _LINE * -(-photos // blocks)
        return abs(math.log(_CELL * cells * blocks / height / 1.5))

    most = max(1, int(_WIDTH / (_CELL * cells)))
    return min(range(1, min(most, photos) + 1), key=misfit)


def _draw_photo(
    block: Sequence[Axes],
    photo: str,
    crop: np.ndarray,
    models: Sequence[str],
    rows: ResultsTable[Explained],
) -> None:
    _show(block[0], crop, pathlib.Path(photo).stem)
    for axes, model in zip(block[1:], models, strict=True):
        row = rows.find(photo=photo, model=model)
        if row is None:
            continue
        _show(axes, crop, f"{row.answer}, {row.probability:.0%}")
        heat = explain.heatmaps(_read_map(row.map)[np.newaxis], *crop.shape[:2])[0]
        axes.imshow(heat, cmap=_COLORS, vmin=0, vmax=1, alpha=0.15 + 0.5 * heat)


def _show(axes: Axes, crop: np.ndarray, caption: str) -> None:
    axes.imshow(np.clip(crop / 255, 0, 1))
    axes.set_axis_on()
    axes.set_xlabel(literal(caption), fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _write(
    folder: StudyFolder, options: ClassMapsOptions, rows: Sequence[Explained]
) -> None:
    cells = [
        {
            "photo": pathlib.Path(row.photo).name,
            "model": row.model,
            "answer": row.answer,
            "probability": f"{row.probability:.1%}",
            "area over half of the maximum": f"{row.area:.0%} of the crop",
        }
        for row in rows
    ]
    blocks = [
        "Each model's top-1 class, and the evidence for it "
        f"({options.method}): red is strong, blue is none.",
        picture(PICTURE, "Photos with class maps"),
        table(cells),
    ]
    files = {"results.csv": "predictions and class maps", PICTURE: "the picture"}
    write_page(folder, "Figure 7: class activation maps", blocks, files)
