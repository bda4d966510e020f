"""The Optuna study that the processes and machines of a search share."""

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

PLACE = "place"  # attribute of a trial: machine and folder of its training
_SETTINGS, _TARGET = "settings", "target"  # attributes of the study


def import_optuna() -> Any:
    """Imports Optuna, silent about what is caught.

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
    """Opens the study, new or to be gone on with.

    Args:
        search: With its storage and sampler.

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
    """Returns the trials that are done, in order.

    Args:
        study: Result of `open_study`.
    """
    states = (import_optuna().trial.TrialState.COMPLETE,)
    found: list[Any] = study.get_trials(states=states)
    return found


def agree_on_target(study: Any, search: Search) -> float:
    """Returns the T that whoever began the study had.

    Args:
        study: Result of `open_study`.
        search: With a target of its own, measured on this machine perhaps.
    """
    if _TARGET not in study.user_attrs:
        study.set_user_attr(_TARGET, search.target)
        return search.target
    return float(study.user_attrs[_TARGET])


def enqueue_base(study: Any, search: Search) -> None:
    """Lets the base be tried first, where it is in the space.

    Args:
        study: Result of `open_study`.
        search: With the base's config.
    """
    try:
        point = space.encode(search.config.stage_table, search.skeleton)
    except ValueError:
        return
    study.enqueue_trial(point, skip_if_exists=True)


def requeue_interrupted(study: Any, search: Search) -> None:
    """Queues the networks whose training an earlier sitting here did not end.

    Args:
        study: Result of `open_study`.
        search: Whose folder no other process works in.
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
            continue  # another machine may be at it
        if trial.state == states.RUNNING:
            study.tell(trial.number, state=states.FAIL)
        is_begun = (search.folder / there.removeprefix(here)).is_dir()
        if is_begun and trial.params not in queued:
            study.enqueue_trial(trial.params)
            queued.append(trial.params)


def find_duplicate(trial: Any) -> Any:
    """Returns an earlier trial of the same network, done or at work; None: none.

    Args:
        trial: Of Optuna, after it has chosen.
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
    """Returns the machine and the folder of a training.

    Args:
        search: That it belongs to.
        key: Of the training; see `trials.Trial`.
    """
    return f"{socket.gethostname()}:{search.folder.absolute()}/{key}"


def _check_settings(study: Any, search: Search) -> None:
    """Lets only searches share a study that look for the same."""
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
    """Returns a seed that no earlier sitting and no other process has."""
    seed = search.options.seed + trials_before
    if search.options.storage or multiprocessing.parent_process() is not None:
        who = f"{socket.gethostname()} {os.getpid()}"
        seed += int(hashlib.sha256(who.encode()).hexdigest()[:7], 16)
    return seed
