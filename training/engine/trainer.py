"""Training loop."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

import keras_efficientnet
from keras_efficientnet.common.files import lock
from keras_efficientnet.common.recursion_limit import raised_recursion_limit

from .. import run_checks
from ..config import TrainConfig
from ..data import pipeline, run_source
from ..data.decode_errors import suggest_skipping
from ..data.sources import Source
from ..methods import fixres
from ..methods.teacher import Teacher, open_teacher
from ..metrics.evaluator import Evaluator
from ..metrics.multi_label import extra_columns
from ..optim import optimizers, schedules
from ..reporting.metric_writers import MetricsWriter, TensorBoardWriter
from ..reporting.progress import ProgressBar, describe_start
from ..reporting.run_folder import RunFolder
from . import advprop, distribution, model, phases
from .checkpoints import Checkpoints
from .cluster import agreement
from .cluster.workers import Workers, naming_lost_workers
from .finalize import finish, rebuild_missing_model
from .preemption import Interrupted, SignalHandler
from .run import Run
from .train_state import TrainState
from .train_step import make_train_step

CHECK_EVERY_STEPS = 100  # steps between loss fetches, which wait for the device


@raised_recursion_limit()
def train(
    config: TrainConfig,
    workdir: pathlib.Path | str,
    source: Source | None = None,
    *,
    stop_at_step: int | None = None,
    show: bool = True,
    scores_only: bool = False,
    factory: model.NetworkFactory | None = None,
) -> dict[str, Any] | None:
    """Trains a model, or resumes a run that was interrupted.

    The same config on the same number of replicas gives the same weights, bit for bit
    on CPUs, however often the run was interrupted. SIGTERM and SIGINT save after the
    current step.

    Args:
        config: Configuration of the run.
        workdir: Folder of the run, new, empty, or with a run of the same config. An
            unfinished run is resumed; for a finished one, its summary is returned. All
            workers must share the folder.
        source: Images of the run. None: those that `config.data` names.
        stop_at_step: Step after which to save and return, as if interrupted.
        show: Whether to show progress on standard error.
        scores_only: Whether to skip the final model, the pictures, the samples for
            exports and the report, for a run that is one of many.
        factory: Function that builds another network than the config's from the config
            and the number of classes; it outputs logits. It requires `scores_only`.

    Returns:
        The contents of summary.json; None if the run stopped before its end.

    Raises:
        ValueError: A config field or the data is not usable, or `workdir` holds
            another run, or is in use.
        OSError: `workdir` cannot be written; its files are unchanged.
        FloatingPointError: The loss is no longer finite.
        Interrupted: A signal arrived; the run can be resumed.
        WorkerLostError: Another worker has died or cannot be reached; the run can be
            resumed.
    """
    started = time.perf_counter()
    if factory is not None and not scores_only:
        raise ValueError(
            "`factory` must be None unless `scores_only` is True. "
            f"Received: factory={factory!r}"
        )
    config.validate()
    config = config.self_contained()
    folder = RunFolder(workdir)
    with contextlib.ExitStack() as stack:
        stack.enter_context(suggest_skipping(config.on_bad_image))
        interrupts = stack.enter_context(SignalHandler())
        # First of all, because workers must meet before TensorFlow starts.
        timeouts = distribution.Timeouts(config.start_timeout, config.heartbeat_timeout)
        used_strategy = distribution.make_strategy(config.strategy, timeouts)
        workers = Workers(used_strategy)
        stack.enter_context(naming_lost_workers(workers))
        finished = _check_start(config, folder, workers)
        if finished:
            if not scores_only:
                workers.by_chief(lambda: rebuild_missing_model(config, folder))
            return finished
        source = workers.together(
            functools.partial(run_source.open_source, config, source)
        )
        agreement.check_source(workers, source)
        workers.together(
            functools.partial(
                run_checks.check_run,
                config,
                folder=folder,
                replicas=used_strategy.num_replicas_in_sync,
                class_names=source.class_names,
            )
        )
        teacher = _open_teacher(config, source, used_strategy, workers)

        def begin() -> None:
            stack.enter_context(lock(folder.lock))
            folder.begin(config, source, teacher.digest if teacher else None)

        workers.by_chief(begin)
        parts = (config, folder, source, used_strategy, workers, interrupts, teacher)
        run = _set_up(*parts, started, show, factory)
        launched = distribution.describe_workers(used_strategy)
        header = describe_start(config, source, used_strategy, run.step, launched)
        run.progress.header(header)
        board = run.tensorboard or contextlib.nullcontext()
        with run.progress, board, interrupts.postponed():
            done = _run_epochs(run, stop_at_step)
        return finish(run, scores_only=scores_only) if done else None


def _check_start(
    config: TrainConfig, folder: RunFolder, workers: Workers
) -> dict[str, Any] | None:
    """Checks the configuration and the folder before the data is opened.

    Returns:
        The summary of a finished run, or None.
    """
    agreement.check_config(workers, config)
    workers.together(lambda: folder.check_config(config))
    finished = workers.together(folder.read_summary)
    if workers.gather(bool(finished)).all():
        return finished
    agreement.check_shared(workers, folder.root)
    return None


def _open_teacher(
    config: TrainConfig,
    source: Source,
    used_strategy: tf.distribute.Strategy,
    workers: Workers,
) -> Teacher | None:
    if config.teacher is None:
        return None
    teacher: Teacher = workers.together(
        functools.partial(
            open_teacher, config.teacher, source.class_names, used_strategy
        )
    )
    if workers.count > 1:
        workers.check_equal("teacher", {"weights": teacher.digest[:12]})
    return teacher


def _set_up(
    config: TrainConfig,
    folder: RunFolder,
    source: Source,
    used_strategy: tf.distribute.Strategy,
    workers: Workers,
    interrupts: SignalHandler,
    teacher: Teacher | None,
    started: float,
    show: bool,
    factory: model.NetworkFactory | None,
) -> Run:
    keras.utils.set_random_seed(config.seed)
    images = len(source.split("train"))
    with used_strategy.scope():
        net = model.build(config, len(source.class_names), factory)
        auxiliary = _auxiliary(config, net)
        optim = _optimizer(config, images)
        state = TrainState(net, optim, config.ema_decay, auxiliary)
    checkpoints = Checkpoints(folder.checkpoints, config.keep_checkpoints)
    workers.together(lambda: state.restore(checkpoints))
    agreement.check_state(workers, state)
    first_step = int(state.step.numpy())
    # An epoch that has not been validated yet will be written again.
    known_step = first_step - 1 if state.sums.numpy().any() else first_step
    found = folder.read_bad_images()
    evaluator = Evaluator(
        net,
        used_strategy=used_strategy,
        from_logits=True,
        label_smoothing=config.label_smoothing,
        multi_label=config.is_multi_label,
    )
    evaluator.bad_images |= dict.fromkeys(found.evaluated)
    bad_images = None
    if config.on_bad_image == "skip":
        bad_images = pipeline.BadImages(source.split("train"), found.trained)
    return Run(
        config=config,
        folder=folder,
        source=source,
        state=state,
        strategy=used_strategy,
        workers=workers,
        checkpoints=checkpoints,
        interrupts=interrupts,
        evaluator=evaluator,
        progress=ProgressBar(config, images, first_step, show and workers.is_chief),
        metrics=MetricsWriter(folder.metrics, known_step),
        tensorboard=TensorBoardWriter(folder.tensorboard) if workers.is_chief else None,
        bad_images=bad_images,
        teacher=teacher,
        started=started - float(state.seconds.numpy()),
        checked_step=first_step,
    )


def _auxiliary(config: TrainConfig, net: keras.Model) -> dict[int, keras.Layer]:
    return advprop.auxiliary_batch_norms(net) if config.adversarial_epsilon else {}


def _optimizer(config: TrainConfig, images: int) -> Any:
    rate = schedules.make_schedule(
        config.schedule,
        peak_lr=config.peak_lr,
        steps_per_epoch=config.steps_per_epoch(images),
        warmup_epochs=config.warmup_epochs,
        total_steps=fixres.first_step(config, images),
        decay_epochs=config.decay_epochs,
    )
    if config.fixres_epochs:
        rate = fixres.make_schedule(config, rate, images)
    optim = optimizers.make_optimizer(
        config.optimizer,
        rate,
        config.weight_decay,
        config.clip_norm,
        config.decay_biases,
    )
    if config.precision == "mixed_float16":
        optim = keras.optimizers.LossScaleOptimizer(optim)
    return optim


def _run_epochs(run: Run, stop_at_step: int | None) -> bool:
    """Trains to the end or to `stop_at_step`; returns whether the end was reached."""
    ends = phases.epoch_ends(run.config, run.images)
    every = run.config.checkpoint_every_steps
    step = run.step
    if step in ends:
        if run.state.sums.numpy().any():  # the last session ended while validating
            _end_epoch(run, step, ends[step])
        if _is_stuck(run, step):
            return True
    for step in _steps(run):  # finished steps
        if run.should_stop(step):
            run.save(step)
            raise Interrupted(f"at step {step:,}")
        if step in ends:
            _end_epoch(run, step, ends[step])
            if _is_stuck(run, step):
                return True
        elif step == stop_at_step or (every and step % every == 0):
            run.save(step)
        elif step % CHECK_EVERY_STEPS == 0 or _is_loss_due(run):
            run.check_finite(step)
        if step == stop_at_step and step < max(ends):
            return False
    return True


def _is_loss_due(run: Run) -> bool:
    # Several workers must fetch it at the same steps.
    return run.workers.count == 1 and run.progress.is_loss_due()


def _steps(run: Run) -> Iterator[int]:
    """Runs the remaining steps, phase by phase, and yields the finished ones."""
    for phase in phases.plan_phases(run.config, run.images):
        first = max(phase.first_step, run.step)
        if first >= phase.last_step:
            continue  # an earlier session finished this phase
        _freeze(run, phase)
        config = phase.applied(run.config)
        model.set_dropout(run.state.model, config.architecture.dropout)
        loss = run_source.training_loss(config, run.source)
        train_step = make_train_step(run.state, run.strategy, config, loss, run.teacher)
        batches = run_source.train_batches(
            config,
            run.source,
            image_size=phase.image_size,
            first_step=first,
            last_step=phase.last_step,
            strategy=run.strategy,
            bad_images=run.bad_images,
        )
        batches = iter(batches)
        for step in range(first, phase.last_step):
            _step(run, train_step, batches, step)
            yield step + 1


def _freeze(run: Run, phase: phases.Phase) -> None:
    if phase.is_fixres:
        fixres.freeze_for_fixres(run.state.model)
    elif (
        phase.frozen is not None
        or run.config.head_only_epochs
        or run.config.freeze_batch_norm
    ):
        keras_efficientnet.freeze(
            run.state.model, phase.frozen, run.config.freeze_batch_norm
        )


def _step(
    run: Run, train_step: Callable[..., None], batches: Iterator[Any], step: int
) -> None:
    with pipeline.name_unreadable_image(
        run.source.split("train"),
        lambda: run_source.step_positions(run.config, run.source, step),
    ):
        batch = next(batches)
    is_first = math.isnan(run.first_step_s)
    if is_first:
        images = run.strategy.experimental_local_results(batch[0])[0]
        keras_efficientnet.check_input_range(images)
    train_step(*batch)
    if is_first:
        run.check_finite(step + 1)
        run.first_step_s = run.seconds - float(run.state.seconds.numpy())
    run.progress.step()


def _is_stuck(run: Run, step: int) -> bool:
    """Returns whether validation has not improved for `patience_epochs`."""
    config = run.config
    epoch = step / config.steps_per_epoch(run.images)
    waited = epoch - float(run.state.best_epoch.numpy())
    return config.patience_epochs is not None and waited > config.patience_epochs


def _end_epoch(run: Run, step: int, epoch: float) -> None:
    """Validates the averaged weights, and keeps them if they are the best so far."""
    state, config = run.state, run.config
    # Validation may take long, and the epoch's training must survive it.
    run.save(step)
    if run.bad_images:
        run.bad_images.check(run.images)
    loss, hits, images = state.sums.numpy()
    with run.interrupts.at_once(), state.ema_weights():
        split = run.source.split(run.source.selection_split)
        scores = run.evaluator(
            split, config.preprocessing, config.batch_size, run.skips_bad_images
        )
    row = {
        "epoch": epoch,
        "step": step,
        "learning_rate": float(state.optimizer.learning_rate.numpy()),
        "train_loss": float(loss / images),
        "train_top1": float(hits / images),
        "validation_loss": scores.loss,
        "validation_top1": scores.top1,
        "validation_top5": scores.top5,
        "seconds": run.seconds,
        **extra_columns(scores),
    }
    run.progress.epoch(row)
    is_best = state.is_best(scores.selection, scores.loss)
    run.workers.by_chief(lambda: run.write_epoch(row, is_best))
    if is_best:
        state.best_top1.assign(scores.selection)
        state.best_loss.assign(scores.loss)
        state.best_epoch.assign(epoch)
    state.sums.assign(tf.zeros(3))
    run.save(step)
