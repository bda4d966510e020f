"""Architecture search for accuracy against multiply-adds or latency."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import shutil
import sys
import time
from typing import Any

from keras_efficientnet import Stage, format_stages, plan_cost, read_stages
from keras_efficientnet.architecture import Variant
from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.common.files import InUseError, write_text

from .. import base_network, calls, costs, trainer
from ..execution import trials
from ..execution.processes import POLL_S, is_orphan, run_processes
from ..reporting.folder import open_folder
from . import optuna_study, page, space
from .page import WINNER
from .records import SAMPLERS, Search, SearchOptions, SearchRow

OPTIONS = SearchOptions
_DIVERGED = "diverged"  # trial attribute
# Other trial attributes: all fields of its row except number and reward.
_ATTRIBUTES = [
    field.name
    for field in dataclasses.fields(SearchRow)
    if field.name not in ("number", "reward")
]


def run(options: SearchOptions, output_dir: pathlib.Path) -> None:
    """Runs the search, and writes the winner as a stage table.

    Args:
        options: Options of the study.
        output_dir: Folder to write into; an interrupted study is resumed.

    Raises:
        ValueError: An option is invalid, or the folder holds another study.
        ImportError: Optuna is not installed.
        RuntimeError: A training run failed.
    """
    options = base_network.resolve_data(options)
    optuna_study.import_optuna()
    with open_folder(output_dir, "nas", options) as folder:
        search = prepare(options, folder.root)
        study = optuna_study.open_study(search)
        target = optuna_study.agree_on_target(study, search)
        search = dataclasses.replace(search, target=target)
        optuna_study.requeue_interrupted(study, search)
        missing = options.trials - len(optuna_study.finished_trials(study))
        count = min(options.processes or trials.default_processes(), max(missing, 1))
        if missing > 0:
            optuna_study.enqueue_base(study, search)
        if count > 1:
            with trainer.SignalHandler():
                run_processes(count, work, (search,))
        elif missing > 0:
            work(search)
        rows = folder.rows(SearchRow, ("number",))
        for trial in optuna_study.finished_trials(study):
            known = {name: trial.user_attrs[name] for name in _ATTRIBUTES}
            rows.add(SearchRow(number=trial.number, reward=trial.value, **known))
        best = max(rows.rows, key=lambda row: row.reward)
        write_text(folder.root / WINNER, format_stages(read_stages(best.stages)))
        call = calls.describe_call(variant_of(search, best), search.classes, WINNER)
        page.write(search, rows.rows, best, call, folder)
    print(call)


def prepare(options: SearchOptions, root: pathlib.Path) -> Search:
    """Checks the options and creates the state that all processes share.

    Args:
        options: Options with a resolved data source.
        root: Folder of the study.

    Raises:
        ValueError: An option is invalid.
    """
    costs.check_kind(options.cost)
    check_choice("sampler", options.sampler, SAMPLERS)
    for name in ("trials", "target"):
        value, least = getattr(options, name), 1 if name == "trials" else 0
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}. Received: {value}")
    config = base_network.base_config(options)
    classes = base_network.count_classes(config)
    variant = trainer.variant_of(config)
    return Search(
        options=options,
        config=config,
        classes=classes,
        skeleton=_skeleton(options, config),
        target=options.target or costs.cost_of(options.cost, variant, classes),
        storage=_storage(options.storage) or str(root / "optuna.log"),
        folder=root / "trials",
    )


def work(search: Search) -> None:
    """Tries networks until the study has the requested number of trials.

    Args:
        search: Search to run.
    """
    optuna = optuna_study.import_optuna()
    study = optuna_study.open_study(search)
    optuna_study.enqueue_base(study, search)
    states = optuna.trial.TrialState

    def stop(study: Any, trial: Any) -> None:
        found = study.get_trials(deepcopy=False)
        done = sum(each.state == states.COMPLETE for each in found)
        failed = sum(_DIVERGED in each.user_attrs for each in found)
        _print_progress(trial, done, search.options.trials)
        if done >= search.options.trials or is_orphan():
            study.stop()
        elif failed > search.options.trials + done:
            raise RuntimeError(
                f"{failed} of {len(found)} training runs failed: their loss became "
                "non-finite"
            )

    study.optimize(
        lambda trial: objective(trial, search),
        callbacks=[stop],
        catch=(FloatingPointError, InUseError),
    )


def objective(trial: Any, search: Search) -> float:
    """Trains the network that a trial chooses, and returns its reward.

    Args:
        trial: Optuna trial.
        search: Search that the trial belongs to.

    Raises:
        FloatingPointError: The loss became non-finite.
        InUseError: Another process is training it.
    """
    stages = space.choose(
        lambda name, values: _suggest(trial, name, values), search.skeleton
    )
    twin = optuna_study.find_duplicate(trial)
    if twin is not None and twin.value is None:
        time.sleep(POLL_S)  # a small space may have no other network left
        raise InUseError(f"Trial {twin.number} is already training this network")
    if twin is not None:
        for name in _ATTRIBUTES:
            trial.set_user_attr(name, twin.user_attrs[name])
        return float(twin.value)
    table = format_stages(stages)
    config = dataclasses.replace(search.config, stages=table, seed=search.options.seed)
    variant, options = trainer.variant_of(config), search.options
    counted = plan_cost(variant, search.classes)
    cost = costs.cost_of(options.cost, variant, search.classes)
    job = trials.Trial(
        f"trial {trial.number}",
        config,
        options.train_images,
        options.validation_images,
        options.test_images,
    )
    trial.set_user_attr(
        optuna_study.PLACE, optuna_study.trial_location(search, job.key)
    )
    try:
        (result,) = trials.run_trials(
            [job], search.folder, processes=1, make=search.make, show=False
        )
    except FloatingPointError:
        trial.set_user_attr(_DIVERGED, True)
        shutil.rmtree(search.folder / job.key, ignore_errors=True)
        raise
    for name, value in {
        "cost": cost,
        "multiply_adds": counted.multiply_adds,
        "trainable_params": counted.trainable_params,
        "top1": result["validation_top1"],
        "test_top1": result["top1"],
        "seconds": result["seconds"],
        "stages": table.replace("\n", ""),
    }.items():
        trial.set_user_attr(name, value)
    top1 = result["validation_top1"]
    return costs.search_reward(top1, cost, search.target, options.weight)


def variant_of(search: Search, row: SearchRow) -> Variant:
    """Returns the network of a row.

    Args:
        search: Search that tried it.
        row: Result of the network.
    """
    return trainer.variant_of(dataclasses.replace(search.config, stages=row.stages))


def _storage(name: str) -> str:
    return name if not name or "://" in name else str(pathlib.Path(name).expanduser())


def _skeleton(
    options: SearchOptions, config: trainer.config.TrainConfig
) -> tuple[Stage, ...]:
    if options.skeleton in space.SKELETONS:
        return space.SKELETONS[options.skeleton]
    return read_stages(options.skeleton) if options.skeleton else config.stage_table


def _suggest(trial: Any, name: str, values: tuple[Any, ...]) -> Any:
    """Lets the sampler choose; evenly spaced integers are treated as a range."""
    steps = {b - a for a, b in itertools.pairwise(values)}
    is_range = all(type(value) is int for value in values) and len(steps) == 1
    if is_range:
        return trial.suggest_int(name, values[0], values[-1], step=steps.pop())
    return trial.suggest_categorical(name, values)


def _print_progress(trial: Any, done: int, of: int) -> None:
    if trial.value is not None:
        top1 = trial.user_attrs["top1"]
        line = f"[{done}/{of}] reward {trial.value:.4f}, top-1 {top1:.2%}"
    elif _DIVERGED in trial.user_attrs:
        line = f"trial {trial.number} failed: its loss became non-finite"
    else:
        return
    print(line, file=sys.stderr, flush=True)
