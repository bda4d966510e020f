"""The training loop: batches in, a run folder out."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

import keras_efficientnet

from . import augment, data, evaluate, model, optimizer, pictures, schedule, strategy
from .config import TrainConfig
from .report import Metrics, Progress, TensorBoard, write_report
from .run_folder import RunFolder
from .sources import Source, load
from .state import Checkpoints, TrainState

CHECK_EVERY_STEPS = 100  # a loss is fetched; each fetch waits for the device


@dataclasses.dataclass
class _Run:
    """The parts of a run in progress."""

    config: TrainConfig
    folder: RunFolder
    source: Source
    state: TrainState
    strategy: tf.distribute.Strategy
    checkpoints: Checkpoints
    evaluator: evaluate.Evaluator
    train_step: Callable[..., None]
    progress: Progress
    metrics: Metrics
    tensorboard: TensorBoard
    started: float  # seconds of `time.perf_counter`
    first_step_s: float = math.nan  # from the call to the end of the first step
    checked_step: int = 0  # up to here the losses are known to be finite

    @property
    def images(self) -> int:
        """Images of the training split."""
        return len(self.source.split("train"))


def train(
    config: TrainConfig,
    workdir: pathlib.Path | str,
    source: Source | None = None,
    *,
    stop_at_step: int | None = None,
    show: bool = True,
) -> dict[str, Any] | None:
    """Trains a model, or goes on with a run that was interrupted.

    Same config and same number of replicas give the same weights, to the bit on
    processors, however often the run was interrupted.

    Args:
        config: The run.
        workdir: Its folder. New or empty, or holding a run of the same config: an
            unfinished one is resumed, of a finished one the figures are returned.
        source: Images; None opens `config.data`.
        stop_at_step: Saves and returns after this many steps, as if interrupted.
        show: Whether to show progress on stderr.

    Returns:
        The final figures, as in summary.json; None when stopped before the end.

    Raises:
        ValueError: A config field or the data is not usable, or `workdir` holds
            another run.
        FloatingPointError: The loss is not finite any more.
    """
    started = time.perf_counter()
    config.validate()
    folder = RunFolder(workdir)
    folder.check_config(config)
    finished = folder.read_summary()
    if finished:
        return finished
    source = source or load(config.data)
    folder.begin(config, source.class_names)
    run = _set_up(config, folder, source, started, show)
    with run.progress, run.tensorboard:
        done = _run_epochs(run, stop_at_step)
    return _finish(run) if done else None


def make_train_step(
    state: TrainState,
    used_strategy: tf.distribute.Strategy,
    *,
    batch_size: int,
    label_smoothing: float,
    coupled_decay: float,
) -> Callable[..., None]:
    """Makes the function of one step, traced at its first call only.

    Args:
        state: What the step changes.
        used_strategy: That `state` was made under.
        batch_size: Images per step, over all replicas.
        label_smoothing: Of the loss.
        coupled_decay: Factor of the sum of 0.5 * w**2 in the loss.

    Returns:
        A function of (images, labels) as `data.train_batches` makes them.
    """
    net, optim = state.model, state.optimizer
    decaying = optimizer.decays(net) if coupled_decay else []
    replicas = used_strategy.num_replicas_in_sync

    def replica_step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = net(images, training=True)
            losses = evaluate.cross_entropy(labels, logits, label_smoothing)
            loss = tf.reduce_sum(losses) / batch_size
            if decaying:
                # The replicas' gradients are summed, and each adds its share.
                squares = tf.add_n([tf.nn.l2_loss(w.value) for w in decaying])
                loss += coupled_decay / replicas * squares
            loss = optim.scale_loss(loss)
        weights = net.trainable_variables
        optim.apply(tape.gradient(loss, weights), weights)
        hits = evaluate.right_answers(labels, logits, 1)
        columns = [losses, hits, tf.ones_like(losses)]
        return tf.stack([tf.reduce_sum(column) for column in columns])

    @tf.function
    def train_step(images: Any, labels: Any) -> None:
        sums = used_strategy.run(replica_step, (images, labels))
        state.sums.assign_add(used_strategy.reduce("SUM", sums, axis=None))
        state.step.assign_add(1)
        state.update_ema()

    return train_step


def epoch_ends(config: TrainConfig, images: int) -> dict[int, float]:
    """Returns the last step of each epoch, and the epoch's number from 1.

    Args:
        config: The run.
        images: Of the training split.

    Returns:
        Step -> epoch, in rising order. A fractional last epoch keeps its fraction;
        an epoch shorter than a step is left out.
    """
    total, per_epoch = config.total_steps(images), config.steps_per_epoch(images)
    whole = range(1, math.ceil(config.epochs))
    ends = {int(epoch * per_epoch): float(epoch) for epoch in whole}
    ends[total] = config.epochs
    return {step: epoch for step, epoch in ends.items() if 0 < step <= total}


def _set_up(
    config: TrainConfig, folder: RunFolder, source: Source, started: float, show: bool
) -> _Run:
    keras.utils.set_random_seed(config.seed)
    images = len(source.split("train"))
    used_strategy = strategy.make(config.strategy)
    with used_strategy.scope():
        net = model.build(config, len(source.class_names))
        state = TrainState(net, _optimizer(config, net, images), config.ema_decay)
    checkpoints = state.checkpoints(folder.checkpoints, config.keep_checkpoints)
    checkpoints.restore()
    is_coupled = config.optimizer in optimizer.COUPLED
    first_step = int(state.step.numpy())
    return _Run(
        config=config,
        folder=folder,
        source=source,
        state=state,
        strategy=used_strategy,
        checkpoints=checkpoints,
        evaluator=evaluate.Evaluator(
            net,
            used_strategy=used_strategy,
            from_logits=True,
            label_smoothing=config.label_smoothing,
        ),
        train_step=make_train_step(
            state,
            used_strategy,
            batch_size=config.batch_size,
            label_smoothing=config.label_smoothing,
            coupled_decay=config.weight_decay if is_coupled else 0.0,
        ),
        progress=Progress(config, images, first_step, show),
        metrics=Metrics(folder.metrics, first_step),
        tensorboard=TensorBoard(folder.tensorboard),
        started=started - float(state.seconds.numpy()),
        checked_step=first_step,
    )


def _optimizer(config: TrainConfig, net: keras.Model, images: int) -> Any:
    rate = schedule.Schedule(
        config.schedule,
        peak_lr=config.peak_lr,
        steps_per_epoch=config.steps_per_epoch(images),
        warmup_epochs=config.warmup_epochs,
        total_steps=config.total_steps(images),
    )
    optim = optimizer.make(config.optimizer, rate, config.weight_decay)
    optimizer.exclude_batch_norm(optim, net)
    if config.precision == "mixed_float16":
        optim = keras.optimizers.LossScaleOptimizer(optim)
    return optim


def _run_epochs(run: _Run, stop_at_step: int | None) -> bool:
    """Trains to the end, or to `stop_at_step`; returns whether to the end."""
    config, step = run.config, int(run.state.step.numpy())
    batches = iter(_batches(run, step))
    ends = epoch_ends(config, run.images)
    for end, epoch in ends.items():
        if end <= step:
            continue  # an earlier sitting finished this epoch
        while step < end:
            _step(run, batches, step)
            step += 1
            if step % CHECK_EVERY_STEPS == 0:
                _check_finite(run, step)
            every = config.checkpoint_every_steps
            stops = step == stop_at_step
            if step < end and (stops or (every and step % every == 0)):
                _check_finite(run, step)
                _save(run)
            if stops and step < end:
                return False
        _end_epoch(run, step, epoch)
        if stops and end < max(ends):
            return False
    return True


def _batches(run: _Run, first_step: int) -> tf.data.Dataset:
    return data.train_batches(
        run.source.split("train"),
        run.config.preprocessing,
        augment.AUGMENTATIONS[run.config.augment],
        batch_size=run.config.batch_size,
        seed=run.config.seed,
        first_step=first_step,
        last_step=run.config.total_steps(run.images),
        strategy=run.strategy,
    )


def _step(run: _Run, batches: Any, step: int) -> None:
    with data.naming_unreadable(run.source.split("train")):
        batch = next(batches)
    is_first = math.isnan(run.first_step_s)
    if is_first:
        images = run.strategy.experimental_local_results(batch[0])[0]
        keras_efficientnet.check_input_range(images)
    run.train_step(*batch)
    if is_first:
        _check_finite(run, step + 1)
        now = time.perf_counter() - run.started
        run.first_step_s = now - float(run.state.seconds.numpy())
    run.progress.step()


def _check_finite(run: _Run, step: int) -> float:
    """Returns the mean loss of the epoch so far, if it is finite."""
    loss, _, images = run.state.sums.numpy()
    if not math.isfinite(loss):
        raise FloatingPointError(
            "The loss must stay finite; lower the learning rate, or look at the data. "
            f"It became {loss} in steps {run.checked_step + 1} to {step}; the latest "
            f"checkpoint in {run.folder.checkpoints} is from before"
        )
    run.checked_step = step
    run.progress.loss(loss / images)
    return loss / images


def _save(run: _Run) -> None:
    run.state.seconds.assign(time.perf_counter() - run.started)
    run.checkpoints.save()


def _end_epoch(run: _Run, step: int, epoch: float) -> None:
    state = run.state
    train_loss = _check_finite(run, step)
    _, hits, images = state.sums.numpy()
    with state.ema_weights():
        scores = run.evaluator(
            run.source.split("validation"),
            run.config.preprocessing,
            run.config.batch_size,
        )
    row = {
        "epoch": epoch,
        "step": step,
        "learning_rate": float(state.optimizer.learning_rate.numpy()),
        "train_loss": train_loss,
        "train_top1": float(hits / images),
        "validation_loss": scores.loss,
        "validation_top1": scores.top1,
        "validation_top5": scores.top5,
        "seconds": time.perf_counter() - run.started,
    }
    run.metrics.add(row)
    run.tensorboard.add(row)
    run.progress.epoch(row)
    if state.is_best(scores.top1, scores.loss):
        state.best_top1.assign(scores.top1)
        state.best_loss.assign(scores.loss)
        state.best_epoch.assign(epoch)
        state.save_ema_weights(run.folder.best_weights)
    state.sums.assign(tf.zeros(3))
    _save(run)


def _finish(run: _Run) -> dict[str, Any]:
    """Scores the best weights once on the test split and writes what remains."""
    state, folder, source = run.state, run.folder, run.source
    state.model.load_weights(folder.best_weights)
    final = model.with_softmax(run.config, state.model)
    seconds = float(state.seconds.numpy())
    held_out = "test" if "test" in source.splits else "validation"
    split, spec = source.split(held_out), run.config.preprocessing
    scores = evaluate.evaluate(final, split, spec, run.config.batch_size)
    final.save(folder.model)
    folder.write_samples(source, run.config.export_samples)
    pictures.draw_curves(run.metrics.rows, folder.curves)
    pictures.draw_predictions(
        final, split, spec, source.class_names, run.config.seed, folder.predictions
    )
    summary = {
        "model": run.config.variant,
        "trainable_parameters": sum(
            math.prod(v.shape) for v in final.trainable_variables
        ),
        "steps": int(state.step.numpy()),
        "best_epoch": float(state.best_epoch.numpy()),
        "best_validation_top1": float(state.best_top1.numpy()),
        "final_split": held_out,
        **{f"final_{k}": v for k, v in dataclasses.asdict(scores).items()},
        "seconds": round(seconds, 1),
        # None when an earlier sitting made all steps but did not get to this line.
        "seconds_to_first_step": None
        if math.isnan(run.first_step_s)
        else round(run.first_step_s, 1),
    }
    write_report(folder, run.config, summary)
    folder.write_summary(summary)
    return summary
