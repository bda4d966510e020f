"""Result of the export to one format."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..latency import Latency
from ..verify import Comparison


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of the export to one format.

    Attributes:
        format: Key of the table of formats.
        path: Path of the artefact, with the suffix .failed if it missed a threshold.
        seconds: Time of the conversion.
        megabytes: Size in 1e6 bytes.
        latency: Latency for one image on one thread.
        comparison: Comparison with the Keras model.
        remarks: Remarks of the converter, one sentence each.
        problems: Missed thresholds, one sentence each.
    """

    format: str
    path: Path
    seconds: float
    megabytes: float
    latency: Latency
    comparison: Comparison
    remarks: tuple[str, ...]
    problems: tuple[str, ...]
