"""Ranking of the formats that a server can run, by latency on this machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_efficientnet.common import markdown

from .. import latency
from ..formats.registry import FASTEST, FORMATS, Format
from ..latency import Latency
from ..runtimes.base import SavedModelRunner
from .processor import describe_processor

# The web page runs in browsers; the other TFLite files are for phones.
CANDIDATES = (
    *("saved_model", "tflite", "tflite_int8"),
    *("onnx", "onnx_int8", "openvino", "openvino_int8"),
)
ROUNDS = 3  # of measurements in turn, so that other load affects all formats


@dataclasses.dataclass(frozen=True)
class RankedFormat:
    """Format in a ranking.

    Attributes:
        format: Key of the table of formats.
        path: Path of the artefact.
        agreement: Agreement with the Keras model, 0 to 1.
        problems: Missed thresholds, one sentence each; only artefacts without any can
            be the fastest.
        latency: Latency for one image on one thread; None if it was not measured.
    """

    format: str
    path: Path
    agreement: float
    problems: tuple[str, ...] = ()
    latency: Latency | None = None


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Formats in the order of their latency.

    Attributes:
        entries: Verified artefacts, the fastest first, and after them those that
            missed a threshold.
        skipped: Format -> reason why there is no artefact.
        processor: Description of the processor.
    """

    entries: tuple[RankedFormat, ...]
    skipped: Mapping[str, str]
    processor: str

    @property
    def fastest(self) -> RankedFormat | None:
        """The fastest verified artefact; None if there is none."""
        first = self.entries[0] if self.entries else None
        return None if first is None or first.problems else first

    def as_text(self) -> str:
        """Returns the latencies, and the agreement of the fastest if it is int8."""
        times = [
            f"{entry.format} {entry.latency.median_ms:.2f} ms"
            for entry in self.entries
            if entry.latency
        ]
        text = f"The fastest on {self.processor}: {', '.join(times)}."
        first = self.fastest
        if first is not None and FORMATS[first.format].needs_calibration:
            text += (
                f" {first.format} computes in integers and has the top-1 class of "
                f"Keras on {first.agreement:.1%} of the images."
            )
        return text

    def as_json(self) -> dict[str, Any]:
        """Returns the ranking for report.json."""
        rows = [
            {
                "format": x.format,
                "latency_ms": x.latency and round(x.latency.median_ms, 4),
                "latency_p95_ms": x.latency and round(x.latency.p95_ms, 4),
                "agreement": x.agreement,
                "problems": list(x.problems),
            }
            for x in self.entries
        ]
        return {
            "format": self.fastest and self.fastest.format,
            "artefact": self.fastest and self.fastest.path.name,
            "processor": self.processor,
            "ranking": rows,
            "skipped": dict(self.skipped),
        }

    def as_markdown(self) -> list[str]:
        """Returns a section of report.md, as lines."""
        rows = [
            {
                "format": x.format,
                "ms": f"{x.latency.median_ms:.2f}" if x.latency else "-",
                "p95": f"{x.latency.p95_ms:.2f}" if x.latency else "-",
                "agreement": f"{x.agreement:.1%}",
                "verdict": "FAILED" if x.problems else "ok",
            }
            for x in self.entries
        ]
        return [
            "## Ranking",
            "",
            f"{self.as_text()} Milliseconds are for one image on one thread, measured "
            "in turn. Only the fastest that passed is kept, besides formats that were "
            "requested by name.",
            "",
            markdown.table(rows),
            "",
            *(f"- {name}: {reason}" for name, reason in self.skipped.items()),
            "",
        ]


def find_candidates(
    formats: Sequence[str], has_calibration: bool
) -> tuple[dict[str, Format], dict[str, str]]:
    """Returns the formats to rank.

    Args:
        formats: Requested formats; without "fastest" among them, none are ranked.
        has_calibration: Whether there are images to quantise with.

    Returns:
        Formats, and the others with a reason.
    """
    rows: dict[str, Format] = {}
    skipped: dict[str, str] = {}
    for name in CANDIDATES if FASTEST in formats else ():
        row = FORMATS[name]
        missing = [x for x in row.packages if importlib.util.find_spec(x) is None]
        if missing:
            skipped[name] = f"{', '.join(missing)} is not installed."
        elif row.needs_calibration and not has_calibration:
            skipped[name] = "there are no calibration images."
        else:
            rows[name] = row
    return rows, skipped


def rank(
    entries: Sequence[RankedFormat], image_size: int, skipped: Mapping[str, str]
) -> Ranking:
    """Measures verified artefacts and sorts them by latency.

    Args:
        entries: Artefacts.
        image_size: Side of the input, pixels.
        skipped: Format -> reason why there is no artefact.
    """
    good = [x for x in entries if not x.problems]
    found = _measure(good, image_size)
    good = [dataclasses.replace(x, latency=found[x.format]) for x in good]
    good.sort(key=lambda x: found[x.format].median_ms)
    bad = [x for x in entries if x.problems]
    return Ranking((*good, *bad), skipped, describe_processor())


def _measure(entries: Sequence[RankedFormat], image_size: int) -> dict[str, Latency]:
    runners, found = {}, {}
    for entry in entries:
        row = FORMATS[entry.format]
        if row.runner is SavedModelRunner:  # in a process of its own
            found[entry.format] = latency.measure_artefact(row, entry.path, image_size)
        else:
            runners[entry.format] = row.runner(entry.path)
    rounds: dict[str, list[Latency]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, runner in runners.items():
            rounds[name].append(latency.measure_runner(runner, image_size))
    for name, times in rounds.items():
        found[name] = Latency(
            statistics.median(x.median_ms for x in times),
            statistics.median(x.p95_ms for x in times),
        )
    return found
