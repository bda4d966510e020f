"""Training step."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_efficientnet.optimizers.tf_replicas import sum_over_replicas

from ..config import TrainConfig
from ..methods.teacher import Teacher
from ..metrics.losses import Loss, cross_entropy, distillation_loss, distilled
from ..metrics.metrics import any_top_k_correct, top_k_correct
from ..optim.optimizers import expect_summed_gradients
from ..run_checks import check_replicas
from . import advprop, model
from .forward import Forward
from .train_state import TrainState

# Function from images, labels, mask and number of the part to gradients and scores.
Part = Callable[[Any, Any, Any, Any], tuple[list[tf.Tensor], tf.Tensor]]


def make_train_step(
    state: TrainState,
    used_strategy: tf.distribute.Strategy,
    config: TrainConfig,
    loss: Loss | None = None,
    teacher: Teacher | None = None,
) -> Callable[..., None]:
    """Creates the function of a training step, traced at its first call only.

    It trains the weights that are trainable when it is created.

    Args:
        state: State to train.
        used_strategy: Distribution strategy of `state`.
        config: Configuration of the run.
        loss: Loss of each image. None: cross-entropy with label smoothing.
        teacher: Teacher of knowledge distillation. None: labels only.

    Returns:
        A function of (images, labels, mask) as `pipeline.train_batches` yields them.

    Raises:
        ValueError: `batch_size` or `grad_accum_steps` does not fit the replicas, or the
            network lacks a stage of `remat`.
    """
    optim, replicas = state.optimizer, used_strategy.num_replicas_in_sync
    check_replicas(config, replicas)
    group_size = model.bn_group_size(config, replicas)
    advprop.sync_trainable(state.model, state.auxiliary)
    weights = state.trainable_variables
    loss = loss or functools.partial(
        cross_entropy, label_smoothing=config.label_smoothing
    )
    compute = _make_part(state, config, loss, weights, group_size, teacher)
    if config.grad_accum_steps > 1:
        compute = _in_parts(compute, config.grad_accum_steps, weights)
    if replicas > 1:
        expect_summed_gradients(optim)

    def replica_step(images: Any, labels: Any, mask: Any) -> tf.Tensor:
        gradients, sums = compute(images, labels, mask, 0)
        state.average_statistics()
        # Before the overflow check, which must agree in all replicas.
        gradients = sum_over_replicas(gradients)
        optim.apply(gradients, weights)
        return sums

    # No code here branches on tensors, and AutoGraph would take a second to find out.
    @tf.function(autograph=False)
    def train_step(images: Any, labels: Any, mask: Any) -> None:
        sums = used_strategy.run(replica_step, (images, labels, mask))
        state.sums.assign_add(used_strategy.reduce("SUM", sums, axis=None))
        state.step.assign_add(1)
        state.update_ema()

    return train_step


@contextlib.contextmanager
def skip_graph_optimization() -> Iterator[None]:
    """Turns TensorFlow's graph optimizations off inside a block.

    On CPUs they delay the first step by seconds and do not speed up the others. Call a
    function either always or never inside such a block; otherwise it is optimized
    again. The setting affects the entire process, so this is for programs that do
    nothing but train.
    """
    name = "disable_meta_optimizer"
    if tf.config.list_physical_devices("GPU"):
        yield  # on GPUs, they choose the data layout
        return
    before = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def _make_part(
    state: TrainState,
    config: TrainConfig,
    image_loss: Loss,
    weights: list[Any],
    group_size: int,
    teacher: Teacher | None,
) -> Part:
    optim, stages = state.optimizer, config.remat_stages
    count_correct = any_top_k_correct if config.is_multi_label else top_k_correct
    main = Forward(state.model, stages, bn_group_size=group_size)
    auxiliary = Forward(state.model, stages, state.auxiliary, group_size)

    def part(
        images: Any, labels: Any, mask: Any, index: Any
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        taught = teacher(images) if teacher else None

        def losses_of(logits: tf.Tensor) -> tf.Tensor:
            losses = image_loss(labels, logits)
            if taught is not None:
                apart = distillation_loss(taught, logits, config.teacher_temperature)
                losses = distilled(losses, apart, labels, config.teacher_weight)
            return mask * losses

        def scaled(losses: tf.Tensor) -> tf.Tensor:
            return optim.scale_loss(tf.reduce_sum(losses) / config.batch_size)

        if config.adversarial_epsilon:
            attacked = advprop.attack(
                lambda pixels: scaled(losses_of(auxiliary(pixels))),
                images,
                epsilon=config.adversarial_epsilon,
                steps=config.adversarial_steps,
                seed=_seed(config.seed, state.step, index),
            )
        with tf.GradientTape() as tape:
            logits = main(images)
            losses = losses_of(logits)
            loss = scaled(losses)
            if config.adversarial_epsilon:
                loss += scaled(losses_of(auxiliary(attacked)))
        gradients = tape.gradient(
            loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        hits = count_correct(labels, logits, 1) * mask
        return gradients, tf.stack([tf.reduce_sum(c) for c in (losses, hits, mask)])

    return part


def _in_parts(part: Part, parts: int, weights: list[Any]) -> Part:
    """Turns a function of a part into one that accumulates over the batch."""

    def whole(
        images: Any, labels: Any, mask: Any, index: Any
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        del index

        def add_part(index: Any, sums: Any) -> Any:
            x, y, z = (_cut(batch, parts, index) for batch in (images, labels, mask))
            gradients, scores = part(x, y, z, index)
            terms = zip(sums, [*gradients, scores], strict=True)
            return index + 1, [total + term for total, term in terms]

        zeros = [tf.zeros(shape) for shape in (*[w.shape for w in weights], (3,))]
        _, sums = tf.while_loop(
            lambda index, _: index < parts,
            add_part,
            [tf.constant(0), zeros],
            parallel_iterations=1,  # one part's activations at a time
            maximum_iterations=parts,
        )
        return sums[:-1], sums[-1]

    return whole


def _cut(batch: tf.Tensor, parts: int, index: Any) -> tf.Tensor:
    """Returns part `index` of a batch, with a static size if the batch has one."""
    size = (batch.shape[0] or tf.shape(batch)[0]) // parts
    part = batch[index * size : (index + 1) * size]
    known = size if isinstance(size, int) else None
    return tf.ensure_shape(part, (known, *batch.shape[1:]))


def _seed(seed: int, step: tf.Variable, part: Any) -> tf.Tensor:
    """Returns the seed for one part of a replica's batch, (2,), int32."""
    fold_in = tf.random.fold_in
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    both = tf.stack([tf.constant(seed, tf.int32), tf.cast(step, tf.int32)])
    return fold_in(fold_in(both, replica), part)
