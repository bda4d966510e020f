"""Makes and verifies artefacts, and keeps the fastest of some."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import tqdm

from keras_efficientnet.common.files import scratch_folder

from .. import latency
from ..formats.export_inputs import ExportInputs
from ..formats.registry import FORMATS, Format
from ..output_folder import OutputFolder
from ..progress import progress_bar
from ..verify import (
    Reference,
    VerificationError,
    compare_with_reference,
    find_problems,
)
from .ranking import RankedFormat, Ranking, rank
from .result import Result


class Maker:
    """Makes artefacts, and chooses the fastest of some.

    Args:
        rows: Formats that were requested by name.
        candidates: Formats of which the fastest is kept.
        source: Network to export.
        reference: Predictions of the Keras model.
    """

    def __init__(
        self,
        rows: Mapping[str, Format],
        candidates: Mapping[str, Format],
        source: ExportInputs,
        reference: Reference,
    ):
        self._rows, self._candidates = rows, candidates
        self._source, self._reference = source, reference

    def run(
        self, folder: OutputFolder, skipped: Mapping[str, str]
    ) -> tuple[list[Result], Ranking | None]:
        """Publishes the requested artefacts and the fastest.

        Args:
            folder: Folder to publish to.
            skipped: Format -> reason why it is no candidate.

        Returns:
            Results for these, and the ranking of the candidates, if there are any.

        Raises:
            VerificationError: None of the candidates passes.
        """
        both, skipped = {**self._candidates, **self._rows}, dict(skipped)
        rows = {name: both[name] for name in FORMATS if name in both}
        folder.path.mkdir(parents=True, exist_ok=True)
        with (
            scratch_folder(folder.path, f"exports to {folder.path}") as scratch,
            progress_bar(len(rows), "export", "artefacts", is_immediate=True) as bar,
        ):
            made = []
            for name, row in rows.items():
                try:
                    made.append(self._make(name, row, scratch / row.artefact, bar))
                except ValueError as error:
                    if name in self._rows:
                        raise
                    skipped[name] = str(error)
                bar.update()
            ranking = self._rank(made, skipped) if self._candidates else None
            kept = [
                x
                for x in made
                if x.format in self._rows
                or (ranking and ranking.fastest and x.format == ranking.fastest.format)
            ]
            return folder.publish(kept), ranking

    def _make(self, name: str, row: Format, path: Path, bar: tqdm.tqdm) -> Result:
        spec = self._source.preprocessing
        start = time.perf_counter()
        bar.set_description_str(f"{name}: conversion")
        remarks = tuple(row.write(self._source, path))
        seconds = time.perf_counter() - start
        bar.set_description_str(f"{name}: verification and latency")
        comparison = compare_with_reference(row, path, self._reference, spec)
        return Result(
            format=name,
            path=path,
            seconds=seconds,
            megabytes=_bytes(path) / 1e6,
            latency=latency.measure_artefact(row, path, spec.image_size),
            comparison=comparison,
            remarks=remarks,
            problems=tuple(find_problems(comparison, row)),
        )

    def _rank(self, made: Sequence[Result], skipped: Mapping[str, str]) -> Ranking:
        entries = [
            RankedFormat(x.format, x.path, x.comparison.agreement, x.problems)
            for x in made
            if x.format in self._candidates
        ]
        ranking = rank(entries, self._source.image_size, skipped)
        if ranking.fastest is None:
            reasons = [f"{x.format}: {'; '.join(x.problems)}" for x in entries]
            reasons += [f"{name}: {reason}" for name, reason in skipped.items()]
            raise VerificationError(
                "At least one format must pass to be the fastest. "
                f"Received: {', '.join(reasons)}"
            )
        return ranking


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)
