"""Sources of labelled images: folders, record files, arrays, TensorFlow Datasets."""

from .arrays import DIGIT_SIZE, arrays, digits
from .base import HELD_OUT, SHARES, UNKNOWN, Source, Split, hold_out, stratify
from .csv_file import csv_file
from .folders import folder, folders, unlabelled
from .mnist import FASHION_MNIST, fashion_mnist, idx
from .pseudo import with_pseudo_labels
from .record_files import arrayrecord, tfrecord
from .registry import KINDS, load
from .tfds import tfds

__all__ = [
    "DIGIT_SIZE",
    "FASHION_MNIST",
    "HELD_OUT",
    "KINDS",
    "SHARES",
    "UNKNOWN",
    "Source",
    "Split",
    "arrayrecord",
    "arrays",
    "csv_file",
    "digits",
    "fashion_mnist",
    "folder",
    "folders",
    "hold_out",
    "idx",
    "load",
    "stratify",
    "tfds",
    "tfrecord",
    "unlabelled",
    "with_pseudo_labels",
]
