"""Trainings side by side: on the cores of a machine, and on several machines.

A trial is a config. Its key says all that its outcome depends on, so a storage may be
shared by studies, and whoever needs a trial that is there does not train it again. Who
holds a trial's lock trains it; the system releases the lock when the process ends,
however it ends, and the next one goes on from the trial's latest checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

from .. import trainer
from .processes import POLL_S, is_orphan, run_processes

Result = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A training that a study needs.

    Attributes:
        name: What people see.
        config: The training.
        train_images: Most images to train on; 0: all.
        validation_images: Most images to choose the best epoch on; 0: all.
        test_images: Most images to be scored at the end; 0: all.
    """

    name: str
    config: trainer.config.TrainConfig
    train_images: int = 0
    validation_images: int = 0
    test_images: int = 0

    @property
    def key(self) -> str:
        """Tells trials of different outcomes apart; a folder's name."""
        told = [
            self.config.to_json(),
            self.train_images,
            self.validation_images,
            self.test_images,
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]

    def check(self) -> None:
        """Checks that there is such a network.

        Raises:
            ValueError: There is none; the message says why.
        """
        self.config.validate()
        block_plan(trainer.variant_of(self.config))


def train(trial: Trial, folder: pathlib.Path) -> Result:
    """Trains, by the trainer's loop.

    Args:
        trial: What to train.
        folder: Of the run; one that was interrupted is gone on with.

    Returns:
        top1, of the final split; validation_top1, of the best epoch; seconds.

    Raises:
        FloatingPointError: The loss is not finite any more.
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
    summary = trainer.trainer.train(
        trial.config, folder, source, show=False, scores_only=True
    )
    if summary is None:
        raise RuntimeError(f"{folder} must hold a finished run")
    return {
        "top1": float(summary["final_top1"]),
        "validation_top1": float(summary["best_validation_top1"]),
        "seconds": float(summary["seconds"]),
    }


class Storage:
    """Results of trials, in a folder that processes and machines may share.

    Args:
        root: The folder; need not exist.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root

    def find(self, trial: Trial) -> Result | None:
        """Returns a trial's result; None while it is not there."""
        path = self._path(trial, "json")
        if not path.is_file():
            return None
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        return found

    def try_to_make(
        self, trial: Trial, make: Callable[[Trial, pathlib.Path], Result]
    ) -> bool:
        """Makes a trial's result, unless it is there or another process makes it.

        Args:
            trial: Of the result.
            make: From a trial and a folder of its own to the result.

        Returns:
            Whether it was made now.
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
    """Makes what is missing of some trials' results.

    Args:
        trials: In the order in which they are begun.
        root: Of the storage.
        processes: How many at a time on this machine; 0: `default_processes`.
        make: From a trial and a folder of its own to the result; importable by name.
        show: Whether to print a line per trial on stderr.

    Returns:
        A result per trial, in order. Those that other machines are making are waited
        for.

    Raises:
        ValueError: A trial's config is not usable; none has been begun then.
        RuntimeError: A process failed; the message says why.
    """
    storage = Storage(root)
    missing = [trial for trial in trials if storage.find(trial) is None]
    for trial in missing:
        trial.check()  # now, and not after hours of the others
    count = min(processes or default_processes(), len(missing))
    if count > 1:
        with trainer.SignalHandler():
            run_processes(count, _work, (missing, root, make, show))
    elif missing:
        _work(missing, root, make, show)
    found = [storage.find(trial) for trial in trials]
    results = [result for result in found if result is not None]
    if len(results) < len(found):
        raise RuntimeError("The process that began the study must not end before it")
    return results


def default_processes() -> int:
    """Returns the cores that this process may use; with GPUs 1, for all of them."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _work(
    trials: Sequence[Trial],
    root: pathlib.Path,
    make: Callable[[Trial, pathlib.Path], Result],
    show: bool,
) -> None:
    """Makes trials that nobody else is making, until all are there."""
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
                    _tell(trial, storage, trials)
        if not missing:
            return
        if not made:
            time.sleep(POLL_S)


def _tell(trial: Trial, storage: Storage, trials: Sequence[Trial]) -> None:
    done = sum(storage.find(each) is not None for each in trials)
    result = storage.find(trial) or {}
    text = f"[{done}/{len(trials)}] {trial.name}: {result.get('top1', 0):.2%}"
    print(text, file=sys.stderr, flush=True)
