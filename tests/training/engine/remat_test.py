import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from tests.support.training_runs import tiny_step
from training.engine.forward import Forward


@pytest.mark.parametrize("stages", ["2", "1,2"])
def test_recomputation_changes_no_result(stages):
    # Weights, statistics of BatchNorm and seeds of dropout, over three steps.
    kept = tiny_step.weights_after(3)
    again = tiny_step.weights_after(3, remat=stages)
    assert tiny_step.largest_difference(kept, again) < 1e-6


def test_recomputation_works_with_accumulation_and_half_precision(policy):
    policy("mixed_bfloat16")
    kept = tiny_step.weights_after(2, grad_accum_steps=2)
    again = tiny_step.weights_after(2, grad_accum_steps=2, remat="1,2")
    assert tiny_step.largest_difference(kept, again) < 1e-6


def test_recomputed_stages_run_twice_and_the_rest_once():
    model = tiny_step.net()
    images, _, _ = tiny_step.batch()

    def convolutions(stages):
        @tf.function(autograph=False)
        def gradients():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(Forward(model, stages)(images))
            return tape.gradient(loss, model.trainable_variables)

        graph = gradients.get_concrete_function().graph
        return sum(op.type == "Conv2D" for op in graph.get_operations())

    assert [convolutions(s) for s in ((), (2,), (1, 2))] == [2, 3, 4]


def test_frozen_stage_is_not_recomputed():
    model = tiny_step.net(batch_norm=False, dropout=0)
    for layer in model.layers[:-1]:
        layer.trainable = False
    before = model.get_weights()
    _, take = tiny_step.make(model, remat="1,2")
    take(*tiny_step.batch())
    pairs = zip(before, model.get_weights(), strict=True)
    moved = [(a != b).any() for a, b in pairs]
    assert moved == [False] * 4 + [True] * 2


def test_rejects_a_stage_that_the_network_lacks():
    with pytest.raises(ValueError, match=r"`remat` must name .* Received: stages 3, 7"):
        tiny_step.make(remat="1,3,7")


def test_forward_equals_keras_on_a_branching_network(tiny):
    model = keras.models.clone_model(tiny)
    model.set_weights(tiny.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
    images = tf.constant(images.astype(np.float32))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    start = model.get_weights()
    found = Forward(model)(images)
    moved = model.get_weights()
    model.set_weights(start)
    wanted = model(images, training=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(moved, model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["v2", "edgetpu"])
def test_fused_blocks_train_alike_with_and_without_recomputing(family, policy):
    policy("float64")  # rounding of float32 grows through the batch statistics
    net = keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, classes=3, family=family, classifier_activation=None
    )
    for layer in net.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
    images, start = tf.constant(images), net.get_weights()

    def gradients(compute):
        net.set_weights(start)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(compute(images)))
        variables = [weight.value for weight in net.trainable_variables]
        return tape.gradient(loss, variables), net.get_weights()

    plain = gradients(lambda x: net(x, training=True))
    for stages in ((), (1, 2, 3)):
        found = gradients(Forward(net, stages))
        for ours, theirs in zip(found, plain, strict=True):
            # Kernels before batch normalisation have gradients near zero.
            largest = max(np.abs(other).max() for other in theirs)
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-9 * largest)
