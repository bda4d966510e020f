"""The search behind B0: accuracy against multiply-adds or latency."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import pathlib
import shutil
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_efficientnet import Stage, format_stages, plan_cost, read_stages
from keras_efficientnet.architecture import Variant, check_choice

from . import base, calls, costs, nas_page, nas_space, trainer, trials
from .files import write_text
from .folder import open_folder
from .nas_page import WINNER
from .options import option
from .processes import is_orphan, run_processes

if TYPE_CHECKING:
    import optuna

_PLACE = "place"  # attribute of a trial
SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "nsga2": "NSGAIISampler"}


@dataclasses.dataclass(frozen=True)
class Options(base.TrainingOptions):
    """What is searched, and what for."""

    trials: int = option(
        40,
        "Networks that are tried; may be raised later. Those being trained when the "
        "number is reached are finished too.",
        is_setting=False,
    )
    skeleton: str = option(
        "", "mobilenet_v2, which B0 belongs to, or a stage table; empty: the base's."
    )
    cost: str = option("flops", "flops, counted, or latency, measured on this machine.")
    target: float = option(
        0.0, "T: multiply-adds, or ms with latency; 0: the cost of the base."
    )
    weight: float = option(-0.07, "w of the reward, top-1 * (cost / T) ** w.")
    sampler: str = option("tpe", f"Of Optuna: {', '.join(SAMPLERS)}.")
    seed: int = option(0, "Of the sampler and of each training.")
    storage: str = option(
        "",
        "Optuna's: a file in a folder that several machines share, or the URL of a "
        "database, such as mysql://HOST/NAME; empty: in output_dir.",
        is_setting=False,
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """One network that was tried.

    Attributes:
        number: Of the trial, from 0.
        cost: Multiply-adds or ms.
        multiply_adds: For one image.
        trainable_params: Of the network.
        top1: Of the validation images, ratio.
        test_top1: Of the final split, ratio.
        reward: What the search maximises.
        seconds: Of training.
        stages: Stage table, as JSON.
    """

    number: int
    cost: float
    multiply_adds: int
    trainable_params: int
    top1: float
    test_top1: float
    reward: float
    seconds: float
    stages: str


@dataclasses.dataclass(frozen=True)
class Search:
    """What every process of a search must know.

    Attributes:
        options: Resolved.
        config: Of the base.
        classes: Number of classes.
        skeleton: Of the space.
        target: T of the reward.
        storage: Of Optuna: a file, or the URL of a database.
        folder: Where trainings are kept while they run.
        make: Trains; see `trials.run_trials`.
    """

    options: Options
    config: trainer.config.TrainConfig
    classes: int
    skeleton: tuple[Stage, ...]
    target: float
    storage: str
    folder: pathlib.Path
    make: Callable[[trials.Trial, pathlib.Path], trials.Result] = trials.train


def run(options: Options, output_dir: pathlib.Path) -> None:
    """Searches, and writes the winner as a stage table.

    Args:
        options: What is searched, and what for.
        output_dir: Folder to write into; a study that was stopped is gone on with.

    Raises:
        ValueError: An option is not usable, or the folder holds another study.
        ImportError: Optuna is not installed.
        RuntimeError: A training failed.
    """
    options = base.resolve(options)
    _import_optuna()
    with open_folder(output_dir, "nas", options) as folder:
        search = prepare(options, folder.root)
        _take_up(search)
        missing = options.trials - len(finished(search))
        count = min(options.processes or trials.default_processes(), max(missing, 1))
        if count > 1:
            _enqueue_base(search)
            with trainer.Interrupts():
                run_processes(count, work, (search,))
        elif missing > 0:
            work(search)
        rows = folder.rows(Row, ("number",))
        for trial in finished(search):
            told = {k: v for k, v in trial.user_attrs.items() if k != _PLACE}
            rows.add(Row(number=trial.number, reward=trial.value, **told))
        best = max(rows.rows, key=lambda row: row.reward)
        write_text(folder.root / WINNER, format_stages(read_stages(best.stages)))
        call = calls.describe(variant_of(search, best), search.classes, WINNER)
        nas_page.write(search, rows.rows, best, call, folder)
    print(call)


def prepare(options: Options, root: pathlib.Path) -> Search:
    """Checks the options and gathers what all processes need.

    Args:
        options: Resolved.
        root: Of the study.

    Raises:
        ValueError: An option is not usable.
    """
    costs.check_kind(options.cost)
    check_choice("sampler", options.sampler, SAMPLERS)
    for name in ("trials", "target"):
        value, least = getattr(options, name), 1 if name == "trials" else 0
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}. Received: {value}")
    config = base.base_config(options)
    classes = base.count_classes(config)
    variant = trainer.variant_of(config)
    return Search(
        options=options,
        config=config,
        classes=classes,
        skeleton=_skeleton(options, config),
        target=options.target or costs.cost_of(options.cost, variant, classes),
        storage=options.storage or str(root / "optuna.log"),
        folder=root / "trials",
    )


def work(search: Search) -> None:
    """Tries networks until the study has as many as were asked for.

    Args:
        search: What to do.
    """
    optuna = _import_optuna()
    _enqueue_base(search)
    states = optuna.trial.TrialState

    def stop(study: Any, trial: Any) -> None:
        found = study.get_trials(deepcopy=False)
        done = sum(each.state == states.COMPLETE for each in found)
        failed = sum(each.state == states.FAIL for each in found)
        _tell(trial, done, search.options.trials)
        if done >= search.options.trials or is_orphan():
            study.stop()
        elif failed > search.options.trials + done:
            raise RuntimeError(
                f"{failed} of {len(found)} trainings failed: their loss does not stay "
                "finite"
            )

    study = open_study(search)
    study.optimize(
        lambda trial: objective(trial, search),
        callbacks=[stop],
        catch=(FloatingPointError,),
    )


def objective(trial: Any, search: Search) -> float:
    """Trains the network that a trial chooses; returns its reward.

    Args:
        trial: Of Optuna.
        search: What to do.
    """
    stages = nas_space.choose(
        lambda name, values: _suggest(trial, name, values), search.skeleton
    )
    config = dataclasses.replace(
        search.config, stages=format_stages(stages), seed=search.options.seed
    )
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
    trial.set_user_attr(_PLACE, _place(search, job.key))
    try:
        (result,) = trials.run_trials(
            [job], search.folder, processes=1, make=search.make, show=False
        )
    except FloatingPointError:
        shutil.rmtree(search.folder / job.key, ignore_errors=True)
        raise
    for name, value in {
        "cost": cost,
        "multiply_adds": counted.multiply_adds,
        "trainable_params": counted.trainable_params,
        "top1": result["validation_top1"],
        "test_top1": result["top1"],
        "seconds": result["seconds"],
        "stages": config.stages.replace("\n", ""),
    }.items():
        trial.set_user_attr(name, value)
    top1 = result["validation_top1"]
    return costs.reward(top1, cost, search.target, options.weight)


def open_study(search: Search) -> optuna.Study:
    """Opens the study that all processes and machines share.

    Args:
        search: With its storage and sampler.
    """
    optuna = _import_optuna()
    storage: Any = search.storage
    if "://" not in storage:
        pathlib.Path(storage).parent.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(storage)
        storage = optuna.storages.JournalStorage(backend)
    study = optuna.create_study(
        study_name="nas", storage=storage, direction="maximize", load_if_exists=True
    )
    kind = getattr(optuna.samplers, SAMPLERS[search.options.sampler])
    study.sampler = kind(seed=_seed(search, len(study.get_trials(deepcopy=False))))
    return study


def finished(search: Search) -> list[Any]:
    """Returns the trials that are done, in order.

    Args:
        search: With its storage.
    """
    optuna = _import_optuna()
    states = (optuna.trial.TrialState.COMPLETE,)
    return open_study(search).get_trials(states=states)


def variant_of(search: Search, row: Row) -> Variant:
    """Returns the network of a row.

    Args:
        search: That tried it.
        row: Of the network.
    """
    return trainer.variant_of(dataclasses.replace(search.config, stages=row.stages))


def _skeleton(
    options: Options, config: trainer.config.TrainConfig
) -> tuple[Stage, ...]:
    if options.skeleton in nas_space.SKELETONS:
        return nas_space.SKELETONS[options.skeleton]
    return read_stages(options.skeleton) if options.skeleton else config.stage_table


def _enqueue_base(search: Search) -> None:
    """Lets the base be tried first, where it is in the space."""
    try:
        point = nas_space.encode(search.config.stage_table, search.skeleton)
    except ValueError:
        return
    open_study(search).enqueue_trial(point, skip_if_exists=True)


def _take_up(search: Search) -> None:
    """Queues networks whose training an earlier sitting here did not end."""
    states = _import_optuna().trial.TrialState
    study = open_study(search)
    found = study.get_trials(deepcopy=False)
    queued = [
        trial.system_attrs["fixed_params"]
        for trial in found
        if trial.state == states.WAITING
    ]
    here = _place(search, "")
    for trial in found:
        place = trial.user_attrs.get(_PLACE, "")
        if trial.state.is_finished() and trial.state != states.FAIL:
            continue
        if not place.startswith(here):
            continue  # another machine may be at it
        if trial.state == states.RUNNING:
            study.tell(trial.number, state=states.FAIL)
        is_begun = (search.folder / place.removeprefix(here)).is_dir()
        if is_begun and trial.params not in queued:
            study.enqueue_trial(trial.params)
            queued.append(trial.params)


def _place(search: Search, key: str) -> str:
    """Returns the machine and the folder of a training."""
    return f"{socket.gethostname()}:{search.folder.absolute()}/{key}"


def _suggest(trial: Any, name: str, values: tuple[Any, ...]) -> Any:
    """Lets a sampler choose; numbers at equal distances have an order for it."""
    steps = {b - a for a, b in itertools.pairwise(values)}
    is_range = all(type(value) is int for value in values) and len(steps) == 1
    if is_range:
        return trial.suggest_int(name, values[0], values[-1], step=steps.pop())
    return trial.suggest_categorical(name, values)


def _seed(search: Search, trials_before: int) -> int:
    """Returns a seed that no earlier sitting and no other process has."""
    seed = search.options.seed + trials_before
    if multiprocessing.parent_process() is not None:
        seed += multiprocessing.current_process().pid or 0
    return seed


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "The study 'nas' needs Optuna: pip install 'keras-efficientnet[research]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # no traces of what we catch
    return optuna


def _tell(trial: Any, done: int, of: int) -> None:
    told = f"trial {trial.number} failed: its loss did not stay finite"
    if trial.value is not None:
        top1 = trial.user_attrs["top1"]
        told = f"[{done}/{of}] reward {trial.value:.4f}, top-1 {top1:.2%}"
    print(told, file=sys.stderr, flush=True)
