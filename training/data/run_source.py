"""Opens the images of a training run."""

from __future__ import annotations

from ..config import TrainConfig
from . import sources
from .sources import Source


def open_source(config: TrainConfig, source: Source | None = None) -> Source:
    """Opens a run's images, with its minival held out and its pseudo labels added.

    Args:
        config: Configuration of the run.
        source: Images to use instead of those that `config.data` names.

    Raises:
        ValueError: The data, or the file of pseudo labels, is not usable.
        ImportError: The package that holds the images is missing.
    """
    source = source or sources.load(config.source_name, data_dir=config.data_dir)
    if config.minival:
        source = sources.hold_out(source, config.minival)
    if config.pseudo_labels:
        classes = len(source.class_names)
        source = sources.with_pseudo_labels(source, config.pseudo_labels, classes)
    source.check_trainable()
    return source
