"""The studies: one row each."""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of the paper.

    Attributes:
        about: What it shows, in a line.
        module: Of this package. It has `OPTIONS`, a frozen dataclass whose fields
            are made with `options.option`, and `run(options, output_dir)`, which
            writes into the folder and goes on where it was stopped.
    """

    about: str
    module: str

    def load(self) -> ModuleType:
        """Imports the study; the others' packages are not needed."""
        return importlib.import_module(f".{self.module}", __package__)


STUDIES = {
    "cam": Study(
        "Figure 7: class activation maps of several models on photos", "class_maps"
    ),
    "latency": Study(
        "Table 4: one image on one core, B0 to B7 and ResNet-152", "latency_study"
    ),
    "tables": Study(
        "Tables 1, 2, 3 and 7, Figures 1 and 5: printed, computed", "tables.study"
    ),
    "scaling": Study(
        "Figures 3, 4 and 8: width, depth, resolution, all together", "scaling.study"
    ),
    "grid": Study("Section 4: alpha, beta, gamma, and the family they give", "grid"),
    "nas": Study("Section 4: the search behind B0", "nas.search"),
}


def find_study(name: str) -> Study:
    """Returns a row of `STUDIES`.

    Args:
        name: Its key.

    Raises:
        ValueError: There is no such study; the message names the nearest.
    """
    if name in STUDIES:
        return STUDIES[name]
    # Imported here, because the list of studies should not wait for Keras.
    from keras_efficientnet.common.choices import did_you_mean

    raise ValueError(
        f"STUDY must be one of {', '.join(STUDIES)}."
        f"{did_you_mean(name, STUDIES)} Received: {name!r}"
    )


def describe_studies() -> str:
    """Returns a line per study, for help texts."""
    width = max(map(len, STUDIES))
    return "\n".join(f"  {key:<{width}}  {row.about}" for key, row in STUDIES.items())
