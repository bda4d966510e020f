import keras
import numpy as np
import pytest
import tensorflow as tf

from training.engine import fused_layers

LAYERS = {
    "swish": lambda: keras.layers.Activation("silu"),
    "pointwise": lambda: keras.layers.Conv2D(5, 1, use_bias=False),
    "pointwise_with_bias": lambda: keras.layers.Conv2D(
        5, 1, activation="sigmoid", bias_initializer="ones"
    ),
    "strided": lambda: keras.layers.Conv2D(5, 1, strides=2),
    "spatial": lambda: keras.layers.Conv2D(5, 3, padding="same"),
    "batch_norm": lambda: keras.layers.BatchNormalization(gamma_initializer="ones"),
}


def trained(call, layer, x, upstream):
    """Returns the output, and the gradients of the input and of all weights."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = call(layer, x)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * upstream)
    return [y, *tape.gradient(loss, [x, *layer.trainable_variables])]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_fused_layer_matches_keras(name, policy):
    keras.utils.set_random_seed(0)
    layer = LAYERS[name]()
    layer.dtype_policy = keras.DTypePolicy(policy)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, 6, 4, 3)), tf.float32)
    layer.build(x.shape)
    shape = layer.compute_output_shape(x.shape)
    upstream = tf.constant(rng.normal(size=shape), tf.float32)
    options = {"training": True} if name == "batch_norm" else {}
    expected = trained(lambda layer, x: layer(x, **options), layer, x, upstream)
    found = trained(
        lambda layer, x: fused_layers.call_layer(layer, [x], {}), layer, x, upstream
    )
    tolerance = 1e-5 if policy == "float32" else 0.1  # bfloat16 has 8 bits
    for a, b in zip(expected, found, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            tf.cast(a, tf.float32),
            tf.cast(b, tf.float32),
            atol=tolerance,
            rtol=tolerance,
        )


@pytest.mark.parametrize("name", ["pointwise", "swish"])
def test_fused_layers_take_any_batch_and_image_size(name):
    layer = LAYERS[name]()
    layer.build((None, None, None, 3))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def call(x):
        return fused_layers.call_layer(layer, [x], {})

    for shape in ((1, 2, 3, 3), (3, 1, 5, 3)):
        x = tf.random.stateless_normal(shape, (0, 1))
        np.testing.assert_allclose(call(x), layer(x), atol=1e-5)
