"""Output folder of an export: publishes artefacts and sidecars, removes stale ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_efficientnet.common import sidecars
from keras_efficientnet.common.files import publish, write_text
from keras_efficientnet.common.models import KERAS_FILE
from keras_efficientnet.common.sidecars import (
    LABELS_FILE,
    PREPROCESSING_FILE,
    Sidecars,
    digest,
    write_labels,
)

from .artefacts.result import Result
from .formats.export_inputs import ExportInputs
from .formats.registry import FORMATS
from .loading import Loaded

FAILED_SUFFIX = ".failed"


class OutputFolder:
    """A folder with the artefacts of one model.

    Args:
        path: Path of the folder, which need not exist yet.
        source: Model that is exported.
        replaced: Names of the artefacts that this export writes.

    Raises:
        ValueError: The folder contains an artefact that may belong to another model
            and is not known to come from an export.
    """

    def __init__(
        self, path: Path, source: ExportInputs, replaced: Collection[str]
    ) -> None:
        self.path = path
        self._source = source
        self._model = model_digest(source)
        self._kept: dict[str, str] = {}
        self._stale: list[Path] = []
        self._sort_earlier(set(replaced) | {x + FAILED_SUFFIX for x in replaced})

    def publish(self, results: Sequence[Result]) -> list[Result]:
        """Moves new artefacts to their final paths and removes those of another model.

        Args:
            results: Artefacts in a folder of the same file system.

        Returns:
            The results with their final paths, which end in ".failed" for those with
            problems.
        """
        for path in self._stale:
            _remove(path)
            print(f"Removed {path}: it was exported from another model.")
        return [self._move(result) for result in results]

    def write_sidecars(self, loaded: Loaded, results: Sequence[Result]) -> None:
        """Writes labels.txt and preprocessing.json, which lists their artefacts.

        Args:
            loaded: The exported model.
            results: Artefacts at their final paths.
        """
        names = self._kept | {r.path.name: digest(r.path) for r in results}
        # A model in the same folder shares the sidecars.
        for file in (Path(loaded.name), Path(loaded.name) / KERAS_FILE):
            if file.is_file() and file.resolve().parent == self.path.resolve():
                names[file.name] = digest(file)
        write_labels(loaded.labels, self.path / LABELS_FILE)
        text = sidecars.format_preprocessing(
            loaded.preprocessing,
            self._source.output_activation,
            names,
            self._model,
            reject_threshold=self._source.reject_threshold,
            thresholds=self._source.thresholds,
        )
        write_text(self.path / PREPROCESSING_FILE, text)

    def _sort_earlier(self, replaced: Collection[str]) -> None:
        earlier, unknown = _read_earlier(self.path), []
        listed = earlier.artefacts or {}
        for name in {row.artefact for row in FORMATS.values()} | listed.keys():
            path = self.path / name
            if name in replaced or name.endswith(".keras") or not path.exists():
                continue
            if listed.get(name) != digest(path):
                unknown.append(name)
            elif earlier.model == self._model:
                self._kept[name] = listed[name]
            else:
                self._stale.append(path)
        if unknown:
            raise ValueError(
                "`output_dir` must not contain artefacts that may belong to another "
                "model; delete them, export them again too, or choose another folder. "
                f"Received: {self.path} with {', '.join(sorted(unknown))}"
            )

    def _move(self, result: Result) -> Result:
        good = self.path / result.path.name
        bad = self.path / (result.path.name + FAILED_SUFFIX)
        final = bad if result.problems else good
        # Delete artefacts of earlier exports, passing or failed.
        for old in (good, bad):
            if old != final or old.is_dir():
                _remove(old)
        publish(result.path, final)
        return dataclasses.replace(result, path=final)


def model_digest(source: ExportInputs) -> str:
    """Returns a digest of all that determines an artefact's outputs and labels."""
    whole, layers = hashlib.sha256(), source.model.layers
    facts = [
        *([type(x).__name__, _without_names(x.get_config())] for x in layers),
        source.labels,
        source.preprocessing_text,
    ]
    whole.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for weight in source.model.get_weights():
        whole.update(np.ascontiguousarray(weight).tobytes())
    return whole.hexdigest()


def _without_names(config: Any) -> Any:
    # Keras numbers default names by the layers created so far.
    if isinstance(config, dict):
        return {k: _without_names(v) for k, v in config.items() if k != "name"}
    return config


def _read_earlier(folder: Path) -> Sidecars:
    path = folder / PREPROCESSING_FILE
    try:
        return sidecars.parse_preprocessing(path.read_text("utf-8"), str(path))
    except (OSError, ValueError):  # missing or foreign
        return Sidecars()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
