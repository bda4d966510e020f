"""Ray engine: Ray Data actors that load the model once and write whole parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..extras import require_package
from .options import ModelOptions
from .parts import Part, split_part, write_part
from .rows import Rows

# One thread per actor, as Ray schedules one processor for each.
_ENVIRONMENT = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


class PartWriter:
    """Actor that predicts and writes parts.

    Args:
        options: Model, and what to predict.
        listing_folder: Folder of the listing, on a file system that all nodes share.
        work_folder: Folder of unfinished files, in the file system of the parts.
        parts: Parts by number.
    """

    def __init__(
        self,
        options: ModelOptions,
        listing_folder: Path,
        work_folder: Path,
        parts: Sequence[Part],
    ) -> None:
        from .classifier import open_classifier

        self._predict = open_classifier(options, listing_folder)
        self._image_size = self._predict.image_size
        self._work_folder = work_folder
        self._parts = parts

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Writes the parts whose numbers are in a batch; returns their counts."""
        counts: dict[str, list[int]] = {"images": [], "errors": []}
        for number in batch["number"]:
            part, rows = self._parts[int(number)], Rows()
            for first, last in split_part(part, self._image_size):
                rows.extend(self._predict(first, last))
            write_part(rows, part, self._work_folder)
            counts["images"].append(len(rows))
            counts["errors"].append(rows.errors)
        return counts


def predict_on_ray(
    options: ModelOptions,
    listing_folder: Path,
    work_folder: Path,
    parts: Sequence[Part],
    workers: int,
) -> Iterator[tuple[int, int]]:
    """Predicts and writes parts on a Ray cluster.

    Ray connects to the cluster that RAY_ADDRESS or `ray start` names, or starts a
    local one. It runs the parts of a lost node again on another.

    Args:
        options: Model, and what to predict.
        listing_folder: Folder of the listing.
        work_folder: Folder of unfinished files.
        parts: Unfinished parts.
        workers: Number of actors; 0: one per processor of the cluster.

    Yields:
        Number of images and of errors of each part, in the order in which they are
        finished.

    Raises:
        ImportError: Ray is not installed.
        RuntimeError: An actor failed, or the cluster is lost.
    """
    ray = require_package("ray", "ray")
    data = require_package("ray.data", "ray")
    if not ray.is_initialized():
        ray.init(
            runtime_env={"env_vars": _ENVIRONMENT | _python_path()},
            log_to_driver=False,
        )
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    # Items of the driver: a task that reads would wait for a processor, all of which
    # the actors may hold.
    items = data.from_items(
        [{"number": i} for i in range(len(parts))], override_num_blocks=len(parts)
    )
    workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    done = items.map_batches(
        PartWriter,
        batch_size=1,
        num_cpus=1,
        compute=data.ActorPoolStrategy(size=min(workers, len(parts))),
        fn_constructor_args=(options, listing_folder, work_folder, list(parts)),
    )
    try:
        for row in done.iter_rows():
            yield int(row["images"]), int(row["errors"])
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            "Ray could not write all parts; the same command resumes. "
            f"Received: {error}"
        ) from error


def _python_path() -> dict[str, str]:
    # The packages are importable where the command was started, perhaps not elsewhere.
    folders = (os.getcwd(), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
