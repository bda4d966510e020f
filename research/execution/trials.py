"""Parallel training runs on the cores of one machine or of several machines.

A trial is a training configuration. Its key is a hash of everything that its result
depends on, so studies can share a storage and reuse each other's results. The process
that holds a trial's lock trains it. The operating system releases the lock when the
process ends for whatever reason, and the next process resumes from the trial's latest
checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet.architecture import block_plan
from keras_efficientnet.common.files import InUseError, lock, write_text
from keras_efficientnet.common.image_classes import choose_balanced

from .. import baselines, trainer
from .processes import POLL_S, is_orphan, run_processes

Result = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training run of a study.

    Attributes:
        name: Name to display.
        config: Training configuration.
        train_images: Maximum number of training images; 0 for all.
        validation_images: Maximum number of images to choose the best epoch on; 0
            for all.
        test_images: Maximum number of images that are scored at the end; 0 for all.
        baseline: Network to train in place of the config's, a key of
            `baselines.NETWORKS`; "" for the config's.
    """

    name: str
    config: trainer.config.TrainConfig
    train_images: int = 0
    validation_images: int = 0
    test_images: int = 0
    baseline: str = ""

    @property
    def key(self) -> str:
        """Hash of everything that the result depends on; a valid folder name."""
        identity = [
            self.config.to_json(),
            self.train_images,
            self.validation_images,
            self.test_images,
        ]
        identity += [self.baseline] if self.baseline else []
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:20]

    def check(self) -> None:
        """Checks that the network can be built.

        Raises:
            ValueError: It cannot be built; the message says why.
        """
        self.config.validate()
        if self.baseline:
            baselines.check(self.config)
        else:
            block_plan(trainer.variant_of(self.config))


def train(trial: Trial, folder: pathlib.Path, *, scores_only: bool = True) -> Result:
    """Trains a network with the trainer's loop.

    Args:
        trial: Trial to train.
        folder: Run folder; an interrupted run is resumed, a finished one is kept.
        scores_only: Whether to skip the model file and the report, as for baselines.

    Returns:
        "top1" on the final split, "validation_top1" of the best epoch, and "seconds".

    Raises:
        FloatingPointError: The loss is no longer finite.
    """
    source = trainer.sources.load(
        trial.config.source_name, data_dir=trial.config.data_dir
    )
    splits = dict(source.splits)
    limits = {
        "train": trial.train_images,
        source.selection_split: trial.validation_images,
        source.final_split: trial.test_images,
    }
    for name, most in limits.items():
        if most:
            split = splits[name]
            chosen = choose_balanced(split.labels, most)
            splits[name] = split.take(np.sort(chosen))
    source = dataclasses.replace(source, splits=splits)
    factory = None
    if trial.baseline:
        factory = functools.partial(baselines.build, trial.baseline)
    summary = trainer.trainer.train(
        trial.config,
        folder,
        source,
        show=False,
        scores_only=scores_only,
        factory=factory,
    )
    if summary is None:
        raise RuntimeError(
            f"The training run must finish. Received: {folder}, unfinished"
        )
    return {
        "top1": float(summary["final_top1"]),
        "validation_top1": float(summary["best_validation_top1"]),
        "seconds": float(summary["seconds"]),
    }


class Storage:
    """Results of trials in a folder that processes and machines may share.

    Args:
        root: Path of the folder, which is created if necessary.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root

    def find(self, trial: Trial) -> Result | None:
        """Returns a trial's result, or None if there is none yet."""
        path = self._path(trial, "json")
        if not path.is_file():
            return None
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        return found

    def try_to_make(
        self, trial: Trial, make: Callable[[Trial, pathlib.Path], Result]
    ) -> bool:
        """Runs a trial unless it is finished or another process is running it.

        Args:
            trial: Trial to run.
            make: Function from a trial and its folder to the result.

        Returns:
            Whether this call ran it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock(self._path(trial, "lock"), "storage"))
            except InUseError:
                return False
            if self.find(trial) is not None:
                return False
            work = self.root / trial.key
            result = make(trial, work)
            write_text(self._path(trial, "json"), json.dumps(result) + "\n")
            shutil.rmtree(work, ignore_errors=True)
        return True

    def _path(self, trial: Trial, suffix: str) -> pathlib.Path:
        return self.root / f"{trial.key}.{suffix}"


def run_trials(
    trials: Sequence[Trial],
    root: pathlib.Path,
    *,
    processes: int = 0,
    make: Callable[[Trial, pathlib.Path], Result] = train,
    show: bool = True,
) -> list[Result]:
    """Runs the trials that have no result yet, and returns all results.

    Args:
        trials: Trials, in the order in which they are started.
        root: Folder of the storage.
        processes: Number of parallel trials on this machine; 0 for
            `default_processes`.
        make: Function from a trial and its folder to the result; must be importable
            by name.
        show: Whether to print a line per trial on stderr.

    Returns:
        One result per trial, in order. The function waits for trials that run on
        other machines.

    Raises:
        ValueError: A trial's config is invalid; no trial has been started then.
        RuntimeError: A process failed; the message says why.
    """
    storage = Storage(root)
    missing = [trial for trial in trials if storage.find(trial) is None]
    for trial in missing:
        trial.check()  # before the others train for hours
    count = min(processes or default_processes(), len(missing))
    if count > 1:
        with trainer.SignalHandler():
            run_processes(count, _work, (missing, root, make, show))
    elif missing:
        _work(missing, root, make, show)
    found = [storage.find(trial) for trial in trials]
    results = [result for result in found if result is not None]
    if len(results) < len(found):
        raise RuntimeError("The process that started the study ended before the study")
    return results


def default_processes() -> int:
    """Returns the number of cores of this process, or 1 if there are GPUs."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _work(
    trials: Sequence[Trial],
    root: pathlib.Path,
    make: Callable[[Trial, pathlib.Path], Result],
    show: bool,
) -> None:
    """Runs trials that no other process is running, until all are finished."""
    storage = Storage(root)
    while True:
        missing = [trial for trial in trials if storage.find(trial) is None]
        made = False
        for trial in missing:
            if is_orphan():
                return
            if storage.try_to_make(trial, make):
                made = True
                if show:
                    _print_progress(trial, storage, trials)
        if not missing:
            return
        if not made:
            time.sleep(POLL_S)


def _print_progress(trial: Trial, storage: Storage, trials: Sequence[Trial]) -> None:
    done = sum(storage.find(each) is not None for each in trials)
    result = storage.find(trial) or {}
    text = f"[{done}/{len(trials)}] {trial.name}: {result.get('top1', 0):.2%}"
    print(text, file=sys.stderr, flush=True)
