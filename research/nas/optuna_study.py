"""Optuna study that the processes and machines of a search share."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pathlib
import socket
from typing import Any

from ..options import describe_changes, settings
from . import space
from .records import SAMPLERS, Search

PLACE = "place"  # trial attribute: machine and folder of its training
_SETTINGS, _TARGET = "settings", "target"  # study attributes


def import_optuna() -> Any:
    """Imports Optuna with logging reduced to errors.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "The study 'nas' needs Optuna: pip install 'efficientnet-keras[research]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_study(search: Search) -> Any:
    """Opens the study, or creates it.

    Args:
        search: Search with its storage and sampler.

    Returns:
        An `optuna.Study`.

    Raises:
        ValueError: The storage holds a search with other settings.
    """
    optuna = import_optuna()
    storage: Any = search.storage
    if "://" not in storage:
        pathlib.Path(storage).parent.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(storage)
        storage = optuna.storages.JournalStorage(backend)
    study: Any = optuna.create_study(
        study_name="nas", storage=storage, direction="maximize", load_if_exists=True
    )
    _check_settings(study, search)
    kind = getattr(optuna.samplers, SAMPLERS[search.options.sampler])
    study.sampler = kind(seed=_seed(search, len(study.get_trials(deepcopy=False))))
    return study


def finished_trials(study: Any) -> list[Any]:
    """Returns the completed trials in order.

    Args:
        study: Result of `open_study`.
    """
    states = (import_optuna().trial.TrialState.COMPLETE,)
    found: list[Any] = study.get_trials(states=states)
    return found


def agree_on_target(study: Any, search: Search) -> float:
    """Returns the target T of the process that started the study.

    Args:
        study: Result of `open_study`.
        search: Search with this process's target, possibly measured on this machine.
    """
    if _TARGET not in study.user_attrs:
        study.set_user_attr(_TARGET, search.target)
        return search.target
    return float(study.user_attrs[_TARGET])


def enqueue_base(study: Any, search: Search) -> None:
    """Queues the base network as the first trial, if it is in the search space.

    Args:
        study: Result of `open_study`.
        search: Search with the base's config.
    """
    try:
        point = space.encode(search.config.stage_table, search.skeleton)
    except ValueError:
        return
    study.enqueue_trial(point, skip_if_exists=True)


def requeue_interrupted(study: Any, search: Search) -> None:
    """Queues networks whose training was interrupted in this folder.

    Args:
        study: Result of `open_study`.
        search: Search whose folder no other process is using.
    """
    states = import_optuna().trial.TrialState
    found = study.get_trials(deepcopy=False)
    queued = [
        trial.system_attrs.get("fixed_params")
        for trial in found
        if trial.state == states.WAITING
    ]
    here = trial_location(search, "")
    for trial in found:
        there = trial.user_attrs.get(PLACE, "")
        if trial.state not in (states.RUNNING, states.FAIL):
            continue
        if not there.startswith(here):
            continue  # another machine may be training it
        if trial.state == states.RUNNING:
            study.tell(trial.number, state=states.FAIL)
        is_begun = (search.folder / there.removeprefix(here)).is_dir()
        if is_begun and trial.params not in queued:
            study.enqueue_trial(trial.params)
            queued.append(trial.params)


def find_duplicate(trial: Any) -> Any:
    """Returns an earlier, completed or running trial of the same network, or None.

    Args:
        trial: Optuna trial after all its parameters are chosen.
    """
    states = import_optuna().trial.TrialState
    twins = [
        other
        for other in trial.study.get_trials(
            deepcopy=False, states=(states.COMPLETE, states.RUNNING)
        )
        if other.number < trial.number and other.params == trial.params
    ]
    return min(twins, key=lambda twin: twin.state != states.COMPLETE, default=None)


def trial_location(search: Search, key: str) -> str:
    """Returns the machine and the folder of a training run.

    Args:
        search: Search that the run belongs to.
        key: Key of the run; see `trials.Trial`.
    """
    return f"{socket.gethostname()}:{search.folder.absolute()}/{key}"


def _check_settings(study: Any, search: Search) -> None:
    """Checks that all searches that share a study have the same settings."""
    wanted = settings(search.options)
    known = study.user_attrs.get(_SETTINGS)
    if known is None:
        study.set_user_attr(_SETTINGS, wanted)
        return
    changes = describe_changes(known, wanted)
    if changes:
        raise ValueError(
            "`storage` must be new or hold a search with the same settings; "
            f"{search.storage} differs in {changes}"
        )


def _seed(search: Search, trials_before: int) -> int:
    """Returns a seed that differs between sessions and between processes."""
    seed = search.options.seed + trials_before
    if search.options.storage or multiprocessing.parent_process() is not None:
        who = f"{socket.gethostname()} {os.getpid()}"
        seed += int(hashlib.sha256(who.encode()).hexdigest()[:7], 16)
    return seed
