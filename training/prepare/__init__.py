r"""Prepares a data set for training: shuffled TFRecord or ArrayRecord files.

python -m training.prepare --data=folder:photos --output=/data/photos
python -m training.prepare --output=/data/imagenet --resize=256 \
    --train_tar=ILSVRC2012_img_train.tar --validation_tar=ILSVRC2012_img_val.tar \
    --validation_labels=ILSVRC2012_devkit_t12.tar.gz
python -m training.main --config.data='tfrecord:/data/imagenet' ...

Archives are read without being extracted. The same command continues after a stop:
finished files are kept. The files do not depend on the number of processes.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, end, end_with, run_app
from keras_efficientnet.common.cli.processes import sigterm_interrupts
from keras_efficientnet.common.image_folders import shorten
from keras_efficientnet.litert.interpreters import usable_processors

from ..data.sources.shard_manifest import FORMATS, MANIFEST
from .imagenet import open_imagenet
from .images import Conversion, ImageList
from .inputs import open_input
from .job import PrepareOptions, prepare


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Registry of the flags; `flags.FLAGS` for the command itself.
    """

    def string(name: str, text: str) -> None:
        flags.DEFINE_string(name, None, text, flag_values=values)

    def integer(
        name: str, default: int | None, text: str, least: int, most: int | None = None
    ) -> None:
        flags.DEFINE_integer(
            name,
            default,
            text,
            flag_values=values,
            lower_bound=least,
            upper_bound=most,
        )

    def choice(name: str, choices: list[str], text: str) -> None:
        flags.DEFINE_enum(name, choices[0], choices, text, flag_values=values)

    string("data", "Images: folder:DIR or csv:FILE, as in --config.data.")
    string("train_tar", "ImageNet's training archive, ILSVRC2012_img_train.tar.")
    string("validation_tar", "ImageNet's validation archive, ILSVRC2012_img_val.tar.")
    string(
        "validation_labels",
        "Labels of the validation archive: ILSVRC2012_devkit_t12.tar.gz, or a text "
        "file with a WordNet id per line.",
    )
    flags.DEFINE_string(
        "output", None, "Folder of the record files.", flag_values=values, required=True
    )
    choice("format", list(FORMATS), f"Format of the files: {' or '.join(FORMATS)}.")
    integer(
        "resize",
        None,
        "Maximum length of the shorter side, pixels; larger images are resized. "
        "Default: no resizing.",
        1,
    )
    integer("quality", 95, "JPEG quality of resized images.", 1, 100)
    integer("images_per_shard", 1251, "Approximate number of images per file.", 1)
    integer("seed", 0, "Seed of the order of the images.", 0, 2**32 - 1)
    integer("workers", 0, "Number of processes; 0: one per processor.", 0)
    choice(
        "on_bad_image",
        ["raise", "skip"],
        "Action for images that cannot be decoded: raise an error, or skip up to 1% "
        "of a split.",
    )


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    run_app(_main)


def open_images(
    data: str | None,
    train_tar: str | None,
    validation_tar: str | None,
    validation_labels: str | None,
) -> ImageList:
    """Lists the images that the flags name.

    Args:
        data: "folder:DIR" or "csv:FILE", or None.
        train_tar: See `open_imagenet`.
        validation_tar: See `open_imagenet`.
        validation_labels: See `open_imagenet`.

    Raises:
        ValueError: Both or neither kind of input is given, or the input is not usable.
    """
    archives = (train_tar, validation_tar, validation_labels)
    has_archives = any(name is not None for name in archives)
    if (data is not None) == has_archives:
        raise ValueError(
            "Either `data` or ImageNet's archives must be given. "
            f"Received: data={data!r}, train_tar={train_tar!r}, "
            f"validation_tar={validation_tar!r}"
        )
    if data is not None:
        return open_input(data)
    return open_imagenet(train_tar, validation_tar, validation_labels)


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        end(ExitCode.WRONG_INPUT, f"Error: unknown arguments: {' '.join(argv[1:])}")
    args = flags.FLAGS
    output = Path(args.output).expanduser().absolute()
    options = PrepareOptions(
        format=args.format,
        conversion=Conversion(args.resize, args.quality),
        images_per_shard=args.images_per_shard,
        seed=args.seed,
        skip_bad=args.on_bad_image == "skip",
        workers=args.workers or usable_processors(),
    )
    try:
        with sigterm_interrupts():
            images = open_images(
                args.data, args.train_tar, args.validation_tar, args.validation_labels
            )
            manifest = prepare(images, output, options)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        end_with(error)
    except KeyboardInterrupt:
        end(
            ExitCode.INTERRUPTED,
            "Stopped; the same command resumes after the finished files",
        )
    skipped = [name for shard in manifest.shards.values() for name in shard.skipped]
    if skipped:
        console.report(
            f"Warning: {len(skipped)} images were left out, which {MANIFEST} lists: "
            f"{shorten(skipped)}"
        )
    counts = ", ".join(f"{n:,} {split}" for split, n in manifest.images.items())
    print(
        f"{output}: {counts} images of {len(manifest.class_names)} classes in "
        f"{len(manifest.shards)} files"
    )
