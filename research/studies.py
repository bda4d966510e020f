"""Table of the studies."""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of the paper.

    Attributes:
        about: Description in one line.
        module: Module of this package. It has `OPTIONS`, a frozen dataclass whose
            fields are created with `options.option`, and `run(options, output_dir)`,
            which writes into the folder and resumes an interrupted study.
    """

    about: str
    module: str

    def load(self) -> ModuleType:
        """Imports the study, without the packages that other studies need."""
        return importlib.import_module(f".{self.module}", __package__)


STUDIES = {
    "cam": Study(
        "Figure 7: class activation maps of several models on photos", "class_maps"
    ),
    "latency": Study(
        "Table 4: latency of B0 to B7 and ResNet-152 on one core", "latency_study"
    ),
    "transfer": Study(
        "Table 5, Figure 6: fine-tuning on the transfer data sets, with tuned settings",
        "transfer.study",
    ),
    "server": Study(
        "Table 8: accuracy on ImageNet's validation and test images", "server.study"
    ),
    "tables": Study(
        "Tables 1, 2, 3 and 7, Figures 1 and 5: paper against computed; V1, Lite, V2 "
        "and EdgeTPU compared",
        "tables.study",
    ),
    "glyphs": Study(
        "a data set of rendered characters, with detail at every scale, to scale on",
        "glyphs.study",
    ),
    "scaling": Study(
        "Figures 3, 4 and 8: scaling width, depth, resolution or all three",
        "scaling.study",
    ),
    "grid": Study("Section 4: grid search of alpha, beta and gamma", "grid"),
    "nas": Study("Section 4: the architecture search behind B0", "nas.search"),
}


def find_study(name: str) -> Study:
    """Returns a row of `STUDIES`.

    Args:
        name: Key of the study.

    Raises:
        ValueError: There is no such study; the message suggests the nearest.
    """
    if name in STUDIES:
        return STUDIES[name]
    # Imported here, because listing the studies should not need to import Keras.
    from keras_efficientnet.common.choices import did_you_mean

    raise ValueError(
        f"STUDY must be one of {', '.join(STUDIES)}."
        f"{did_you_mean(name, STUDIES)} Received: {name!r}"
    )


def describe_studies() -> str:
    """Returns one line per study, for help texts."""
    width = max(map(len, STUDIES))
    return "\n".join(f"  {key:<{width}}  {row.about}" for key, row in STUDIES.items())
